// SPDX-License-Identifier: Apache-2.0
// Open files: their life, and writing to them.
#include "base/cleanup.h"
#include "ctl/handle_int.h"
#include "ctl/image_names.h"
#include "ctl/kept.h"
#include "ctl/line.h"
#include "ctl/pulls.h"
#include "ctl/report.h"
#include "ctl/volumes.h"

#include <fcntl.h>
#include <string.h>

static int file_open(const struct ctl_at *at, int flags, int *ret, struct msb_err *e)
{
	struct ctl_kept *f = ctl_kept_by_serial(at->sb, at->aux);
	int r;

	if (!f)
		return msb_err_set(e, ENODEV, "it was removed");
	if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
		r = ctl_kept_truncate(at->sb, f, 0, e);
		if (r < 0)
			return r;
	}
	*ret = ctl_kept_open(at->sb, f);
	return *ret < 0 ? msb_err_set(e, -*ret, "cannot open %s: %s", f->name, strerror(-*ret)) : 0;
}

uint64_t ctl_handle_changes(const struct ctl_at *at)
{
	unsigned int flags = at->node->flags;

	if (at->job || !at->sb)
		return at->job ? at->job->changes : 0;
	return (flags & NF_STATE ? at->sb->changes : 0) +
	       (flags & NF_HEALTH ? at->sb->health.changes : 0);
}

int ctl_handle_room(const struct ctl *c, bool others, struct msb_err *e)
{
	if (c->nhandles >= CTL_MAX_HANDLES)
		return msb_err_set(
			e, ENFILE, "%d files are open, the most there can be", CTL_MAX_HANDLES);
	if (others && c->nothers >= CTL_OTHERS_SHARE(CTL_MAX_HANDLES))
		return msb_err_set(e, ENFILE,
			"%d files are open, the most for users other than the instance's",
			CTL_OTHERS_SHARE(CTL_MAX_HANDLES));
	return 0;
}

int ctl_handle_new(const struct ctl_at *at, uid_t uid, gid_t gid, int flags,
	struct ctl_handle **ret, struct msb_err *e)
{
	bool others = uid != at->c->uid;
	struct ctl_handle *h;
	int room = ctl_handle_room(at->c, others, e);

	if (room < 0)
		return room;
	if (at->node->flags & NF_FEW && at->c->nfew[others] == CTL_OTHERS_SHARE(CTL_MAX_SCRAPES))
		return msb_err_set(e, ENFILE, "%s is open %d times, the most there can be",
			at->node->name, CTL_OTHERS_SHARE(CTL_MAX_SCRAPES));
	h = calloc(1, sizeof(*h));
	if (!h)
		return msb_err_set(e, ENOMEM, "no memory");
	h->at = *at;
	h->file = -1;
	if (at->node->kind == K_FILE) {
		int r = file_open(at, flags, &h->file, e);

		if (r < 0) {
			free(h);
			return r;
		}
	}
	if (at->node->kind == K_CLONE) {
		int r = ctl_job_new(at->sb, &h->at.job, e);

		if (r < 0) {
			free(h);
			return r;
		}
	}
	if (at->sb)
		ctl_sandbox_ref(at->sb);
	if (at->img)
		ctl_image_ref(at->img);
	if (at->vol)
		ctl_volume_ref(at->vol);
	h->pull = at->node->kind == K_PULL ? ctl_pull_find(at->c, at->serial) : NULL;
	if (h->pull)
		h->pull->refs++;
	h->refs = 1;
	h->nonblock = (flags & O_NONBLOCK) != 0;
	h->append = (flags & O_APPEND) != 0;
	h->rdwr = (flags & O_ACCMODE) == O_RDWR;
	h->rdonly = (flags & O_ACCMODE) == O_RDONLY;
	if (h->at.job)
		ctl_job_opened(ctl_job_ref(h->at.job), at->node->kind == K_IN);
	if (at->node->kind == K_OUT)
		ctl_job_reader_add(h->at.job, &h->stream, (unsigned int)at->node->arg);
	h->uid = uid;
	h->gid = gid;
	h->others = others;
	h->owner = ctl_at_owner(at);
	h->ring.seq = 1;
	h->seen = ctl_handle_changes(&h->at);
	pthread_mutex_init(&h->lock, NULL);
	at->c->nhandles++;
	at->c->nothers += others;
	at->c->nfew[others] += (at->node->flags & NF_FEW) != 0;
	*ret = h;
	return 0;
}

void ctl_handle_unref(struct ctl_handle *h)
{
	bool last;

	if (!h)
		return;
	pthread_mutex_lock(&h->at.c->lock);
	last = --h->refs == 0;
	if (last) {
		h->at.c->nhandles--;
		h->at.c->nothers -= h->others;
		h->at.c->nfew[h->others] -= (h->at.node->flags & NF_FEW) != 0;
		if (h->pull)
			ctl_pull_unref(h->pull);
	}
	if (last && h->at.job) {
		ctl_job_reader_remove(h->at.job, &h->stream);
		ctl_job_closed(h->at.job, h->at.node->kind == K_IN);
		ctl_job_unref(h->at.job);
	}
	pthread_mutex_unlock(&h->at.c->lock);
	if (!last)
		return;
	ctl_command_free(h->job);
	(void)ctl_logfile_close(h->log);
	if (h->file >= 0)
		close(h->file);
	msb_str_done(&h->snap);
	msb_str_done(&h->answer);
	pthread_mutex_destroy(&h->lock);
	ctl_sandbox_unref(h->at.sb);
	ctl_image_unref(h->at.img);
	ctl_volume_unref(h->at.vol);
	free(h);
}

bool ctl_handle_streams(const struct ctl_handle *h)
{
	switch (h->at.node->kind) {
	case K_OUT:
	case K_PULL: return true;
	case K_CTL:
	case K_EXEC: return h->rdwr;
	default: return false;
	}
}

bool ctl_handle_waits(struct ctl_handle *h, uint64_t off)
{
	switch (h->at.node->kind) {
	case K_WAIT: return off == 0;
	case K_OUT:
	case K_FILE: return true;
	case K_EXEC: return h->rdwr;
	case K_LOG:
	case K_PULL: return true;
	default: return h->at.node->flags & NF_SLOW;
	}
}

bool ctl_handle_may_wait(const struct ctl_handle *h, uint64_t off)
{
	return h->at.node->kind == K_OUT || (h->at.node->kind == K_WAIT && off == 0);
}

bool ctl_handle_writes_now(const struct ctl_handle *h)
{
	return (h->at.node->flags & NF_QUICK) || (h->at.node->kind == K_IN && h->nonblock);
}

/* A verb or a value is carried out with the rights of whose the sandbox is now: who had it has no
 * use of those by a descriptor of former times. */
int ctl_handle_still_its(const struct ctl_handle *h, struct msb_err *e)
{
	LOCK_SCOPE(&h->at.c->lock);
	if (!h->others || ctl_at_owner(&h->at) == h->owner)
		return 0;
	return msb_err_set(e, EACCES, "%s is another user's since it was opened",
		h->at.node->name ?: "the file");
}

/* Takes the job for a while; who else comes is refused. */
int ctl_handle_take(struct ctl_handle *h, struct ctl_command **ret, struct msb_err *e)
{
	LOCK_SCOPE(&h->lock);
	if (h->busy)
		return msb_err_set(e, EBUSY, "another thread uses this descriptor");
	h->busy = true;
	*ret = h->job;
	return 0;
}

void ctl_handle_give(struct ctl_handle *h, struct ctl_command *j)
{
	LOCK_SCOPE(&h->lock);
	h->busy = false;
	h->job = j;
	ctl_handle_wake(h);
}

void ctl_handle_report(const struct ctl_req *q, struct ctl_handle *h, const struct msb_err *err)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;

	pthread_mutex_lock(&h->at.c->lock);
	ctl_at_path(&h->at, NULL, &path);
	pthread_mutex_unlock(&h->at.c->lock);
	ctl_error(q, h->at.sb, path.buf ?: "?", err);
}

/* ---- writing */

static int write_exec(
	const struct ctl_req *q, struct ctl_handle *h, const struct ctl_line *l, struct msb_err *e)
{
	struct ctl_command *j = NULL, *fresh = NULL;
	int r;

	if (l->n == 0)
		return 0;
	if (!h->rdwr) {
		r = ctl_command_start(q, h->at.sb, l->p, l->n, &j, e);
		if (r == 0)
			r = ctl_command_wait(q, j, e);
		ctl_command_free(j);
		return r;
	}
	r = ctl_handle_take(h, &j, e);
	if (r < 0)
		return r;
	if (j && (!j->ended || j->bytes))
		r = msb_err_set(e, EBUSY,
			"the last command of this descriptor has not been read to its end");
	else
		r = ctl_command_start(q, h->at.sb, l->p, l->n, &fresh, e);
	/* poll found its end, and nobody read it. */
	if (r == 0 && j && j->result < 0)
		ctl_handle_report(q, h, &j->err);
	if (r == 0)
		j = (ctl_command_free(j), fresh);
	ctl_handle_give(h, j);
	return r;
}

static void answer(struct ctl_handle *h, int r, const struct msb_err *e)
{
	LOCK_SCOPE(&h->lock);
	if (h->answer.len > CTL_MAX_ANSWER)
		return; /* nobody reads them */
	if (r < 0)
		msb_str_addf(&h->answer, "error %s %s\n", strerrorname_np(-r) ?: "EIO", e->msg);
	else
		msb_str_adds(&h->answer, "ok\n");
}

static int one_line(
	const struct ctl_req *q, struct ctl_handle *h, const struct ctl_line *l, struct msb_err *e)
{
	const struct ctl_node *n = h->at.node;
	int r;

	if (n->kind == K_EXEC)
		return write_exec(q, h, l, e);
	if (!n->write)
		return msb_err_set(e, EPERM, "%s cannot be written", n->name);
	r = n->write(&h->at, l, e);
	if (n->kind == K_CTL && h->rdwr && l->n)
		answer(h, r, e);
	return r;
}

/* The error of a line that an earlier write came to but could not report: it had consumed others.
 */
static int owed(struct ctl_handle *h, uint64_t off, struct msb_err *e)
{
	int r = 0;

	LOCK_SCOPE(&h->lock);
	if (h->owed.code && (h->append || off == h->owed_off)) {
		r = -h->owed.code;
		*e = h->owed;
	}
	h->owed.code = 0;
	return r;
}

int64_t ctl_handle_write(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, const char *p,
	size_t n, struct msb_err *e)
{
	size_t pos = 0;
	int r = ctl_handle_still_its(h, e);

	if (r < 0)
		return r;
	if (h->at.node->kind == K_IN)
		return ctl_job_write(q, h->at.job, p, n, h->nonblock || q->no_wait, e);
	if (h->at.node->kind == K_FILE)
		return ctl_kept_write(h->at.sb, h->at.aux, h->file, off, h->append, p, n, e);
	r = owed(h, off, e);
	while (r == 0 && pos < n) {
		struct ctl_line l = {.q = q,
			.replace = pos == 0 && off == 0 && !h->append,
			.more = pos > 0 || off > 0};
		size_t at = pos;

		if (h->at.node->flags & NF_WHOLE) {
			l.p = p;
			l.n = n;
			l.used = &pos;
			r = one_line(q, h, &l, e);
			break;
		}
		r = ctl_line_next(p, n, &at, &l.p, &l.n);
		r = r < 0 ? ctl_line_error(r, e) : one_line(q, h, &l, e);
		if (r == 0)
			pos = at;
		/* One command of a read-write descriptor at a time: the rest is the next write's.
		 */
		if (r == 0 && h->at.node->kind == K_EXEC && h->rdwr)
			break;
	}
	if (r == 0 || pos == 0)
		return r < 0 ? r : (int64_t)pos;
	/* The lines before it took effect; the writer comes again with this one, which must not be
	 * done twice. An interrupted one was not done. */
	LOCK_SCOPE(&h->lock);
	if (r != -EINTR) {
		h->owed = *e;
		h->owed_off = off + pos;
	}
	return (int64_t)pos;
}
