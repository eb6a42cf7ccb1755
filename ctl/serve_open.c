// SPDX-License-Identifier: Apache-2.0
// Open files and listings.
#include "ctl/serve_int.h"
#include "base/cleanup.h"
#include "ctl/instance.h"
#include "ctl/report.h"

#include <string.h>

void serve_opened(const struct ctl_handle *h, struct fuse_file_info *fi)
{
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->direct_io = 1;
	fi->keep_cache = 0;
	fi->noflush = 1; /* everything has taken effect when write(2) returns */
	/* A transaction is a stream: reading and writing do not share a position. */
	fi->nonseekable = h->at.node->kind == K_IN || h->at.node->kind == K_OUT ||
			  (h->rdwr && (h->at.node->kind == K_CTL || h->at.node->kind == K_EXEC));
}

/* What open(2) with @flags takes. */
static mode_t wanted(int flags)
{
	mode_t want = (flags & O_ACCMODE) == O_RDONLY	? SERVE_READ
		      : (flags & O_ACCMODE) == O_WRONLY ? SERVE_WRITE
							: SERVE_READ | SERVE_WRITE;

	return flags & O_TRUNC ? want | SERVE_WRITE : want;
}

void serve_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl *c = serve_ctl(req);
	uid_t uid = fuse_req_ctx(req)->uid;
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	struct ctl_sandbox *sb = NULL;
	struct ctl_handle *h = NULL;
	struct msb_err e = {0};
	struct ctl_at at;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = serve_find(req, ino, wanted(fi->flags), &at);
	if (found && ctl_handle_new(&at, uid, fuse_req_ctx(req)->gid, fi->flags, &h, &e) < 0) {
		ctl_at_path(&at, NULL, &path);
		sb = at.sb ? ctl_sandbox_ref(at.sb) : NULL;
	}
	pthread_mutex_unlock(&c->lock);
	if (!found)
		return;
	if (!h) {
		const struct fuse_ctx *ctx = fuse_req_ctx(req);
		const struct ctl_req q = {.c = c, .pid = ctx->pid, .uid = uid, .gid = ctx->gid};

		ctl_error(&q, sb, path.buf ?: "?", &e);
		ctl_sandbox_unref(sb);
		fuse_reply_err(req, e.code);
		return;
	}
	serve_opened(h, fi);
	if (fuse_reply_open(req, fi) < 0)
		ctl_handle_unref(h); /* the opener was killed: no RELEASE follows */
}

void serve_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl_handle *h = serve_handle(fi);

	ctl_handle_unpoll(h);
	ctl_handle_unref(h);
	fuse_reply_err(req, 0);
}

static void do_read(struct ctl_work *w)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	int r = ctl_handle_read(&w->q, w->h, w->off, w->size, &s, &e);

	if (r < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	ctl_work_answer(w);
	fuse_reply_buf(w->req, s.buf, s.len);
}

/* A set-user-ID program that prints into what its caller has opened, or who was handed that, lends
 * its rights to nobody. */
static void as_opened(struct ctl_req *q, const struct ctl_handle *h)
{
	if (!h->others)
		return;
	q->uid = h->uid;
	q->gid = h->gid;
}

static struct ctl_work *work_on(fuse_req_t req, struct ctl_handle *h, size_t n)
{
	struct ctl_work *w;

	pthread_mutex_lock(&h->at.c->lock);
	w = serve_work(req, &h->at, NULL, n);
	if (w) {
		h->refs++;
		w->h = h;
		as_opened(&w->q, h);
	}
	pthread_mutex_unlock(&h->at.c->lock);
	if (!w)
		fuse_reply_err(req, ENOMEM);
	return w;
}

/* Answers a read that waits for nothing. False: it does, and was not answered. */
static bool read_now(fuse_req_t req, struct ctl_handle *h, uint64_t off, size_t size)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct ctl_req q = {.c = serve_ctl(req), .pid = ctx->pid, .uid = ctx->uid, .gid = ctx->gid};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	int r;

	as_opened(&q, h);
	q.no_wait = ctl_handle_may_wait(h, off);
	if (ctl_handle_waits(h, off) && !q.no_wait)
		return false;
	r = ctl_handle_read(&q, h, off, size, &s, &e);
	if (r == -EAGAIN && q.no_wait && !h->nonblock)
		return false;
	if (r < 0)
		fuse_reply_err(req, e.code ?: EIO);
	else
		fuse_reply_buf(req, s.buf, s.len);
	return true;
}

void serve_op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct ctl_handle *h = serve_handle(fi);
	struct ctl_work *w;

	/* sendfile(2), which goes through the page cache, would end at the first short read and
	 * lose what it asked for past that; who uses it falls back to read(2). Only those reads
	 * say no owner (fs/fuse/file.c, fuse_send_read()). */
	if (!fi->lock_owner && ctl_handle_streams(h)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (read_now(req, h, (uint64_t)off, size))
		return;
	w = work_on(req, h, 0);
	if (!w)
		return;
	w->off = (uint64_t)off;
	w->size = size;
	ctl_work_run(w, CLASS_READ, do_read);
}

static void do_write(struct ctl_work *w)
{
	struct msb_err e = {0};
	int64_t n = ctl_handle_write(&w->q, w->h, w->off, w->data, w->size, &e);

	if (n < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	ctl_work_answer(w);
	fuse_reply_write(w->req, (size_t)n);
	ctl_answered(w->q.c);
}

void serve_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct ctl_handle *h = serve_handle(fi);
	struct ctl_work *w = work_on(req, h, size);
	enum ctl_kind kind = h->at.node->kind;

	if (!w)
		return;
	memcpy(w->data, buf, size);
	if (h->at.node->dir == D_LOGINS)
		explicit_bzero((char *)buf, size); /* a secret, in the session's own buffer */
	w->off = (uint64_t)off;
	w->size = size;
	if (ctl_handle_writes_now(h)) {
		do_write(w);
		ctl_work_done(w);
		return;
	}
	ctl_work_run(w,
		kind == K_EXEC || kind == K_IN				? CLASS_EXEC
		: kind == K_CTL && size >= 4 && !memcmp(buf, "kill", 4) ? CLASS_KILL
									: CLASS_COMMAND,
		do_write);
}

void serve_op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	fuse_reply_poll(req, ctl_handle_poll(serve_handle(fi), ph));
}

/* ---- directories: a listing is taken when it is begun */

struct listing {
	fuse_req_t req;
	struct msb_str buf;
	off_t next;
	bool others; /* it is another user's than the instance's */
};

static struct listing *listing_free(struct ctl *c, struct listing *l)
{
	{
		LOCK_SCOPE(&c->lock);
		c->nhandles--;
		c->nothers -= l->others;
	}
	msb_str_done(&l->buf);
	free(l);
	return NULL;
}

static void list_one(struct listing *l, const char *name, const struct ctl_at *at)
{
	size_t n = fuse_add_direntry(l->req, NULL, 0, name, NULL, 0), old = l->buf.len;
	struct stat st;

	ctl_at_stat_sizeless(at, &st); /* fuse_add_direntry() takes number and type */
	for (size_t i = 0; i < n; i++)
		msb_str_add(&l->buf, "", 1);
	if (!l->buf.oom)
		(void)fuse_add_direntry(l->req, l->buf.buf + old, n, name, &st, ++l->next);
}

static int list_child(void *arg, const char *name, const struct ctl_at *child)
{
	list_one(arg, name, child);
	return 0;
}

void serve_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl *c = serve_ctl(req);
	struct listing *l = calloc(1, sizeof(*l));
	struct msb_err e = {0};
	struct ctl_at at;
	bool found;

	if (!l) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	l->req = req;
	l->others = fuse_req_ctx(req)->uid != c->uid;
	pthread_mutex_lock(&c->lock);
	found = serve_find(req, ino, SERVE_READ, &at);
	if (found && ctl_handle_room(c, l->others, &e) == 0) {
		list_one(l, ".", &at);
		list_one(l, "..", &at);
		ctl_at_list(&at, list_child, l);
		c->nhandles++;
		c->nothers += l->others;
	}
	pthread_mutex_unlock(&c->lock);
	if (!found || e.code) {
		free(l);
		if (found)
			fuse_reply_err(req, e.code);
		return;
	}
	if (l->buf.oom) {
		listing_free(c, l);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	fi->fh = (uint64_t)(uintptr_t)l;
	if (fuse_reply_open(req, fi) < 0)
		listing_free(c, l); /* the opener was killed: no RELEASEDIR follows */
}

void serve_op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct msb_str *s = &((const struct listing *)(uintptr_t)fi->fh)->buf;
	size_t at = 0, end;

	/* Offsets count entries: pass over those that were given. An entry is a fuse_dirent: ino,
	 * off, namelen, type, name, padded to 8 bytes. */
	for (off_t i = 0; i < off && at < s->len; i++) {
		uint32_t n;

		memcpy(&n, s->buf + at + 16, sizeof(n));
		at += (24 + n + 7) & ~(size_t)7;
	}
	for (end = at; end < s->len;) {
		uint32_t n;
		size_t one;

		memcpy(&n, s->buf + end + 16, sizeof(n));
		one = (24 + n + 7) & ~(size_t)7;
		if (end + one - at > size)
			break;
		end += one;
	}
	fuse_reply_buf(req, s->len ? s->buf + at : NULL, end - at);
}

void serve_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	listing_free(serve_ctl(req), (struct listing *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}
