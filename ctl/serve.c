// SPDX-License-Identifier: Apache-2.0
// The FUSE session: what the kernel asks, and who answers.
#include "ctl/work.h"
#include "ctl/serve.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/conf.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/instance.h"
#include "ctl/report.h"
#include "ctl/scripts.h"
#include "ctl/kept.h"
#include "ctl/volumes.h"

#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

/* Names come and go and node ids are fresh: the kernel keeps neither. */
#define TIMEOUT 0.0

static struct ctl *ctl_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Fills what a reply to LOOKUP, MKDIR or CREATE needs; ctl.lock held. */
static void entry_of(const struct ctl_at *at, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){
		.ino = ctl_at_make_id(at), .attr_timeout = TIMEOUT, .entry_timeout = TIMEOUT};
	ctl_at_stat(at, &ret->attr);
}

/* Answers and records a refusal that needs no thread. */
static void refuse(fuse_req_t req, const struct ctl_at *at, const char *child, struct msb_err *e)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct ctl_req q = {at->c, ctx->pid, ctx->uid, ctx->gid, NULL};
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	struct ctl_sandbox *sb;

	pthread_mutex_lock(&at->c->lock);
	ctl_at_path(at, child, &path);
	sb = at->sb ? ctl_sandbox_ref(at->sb) : NULL;
	pthread_mutex_unlock(&at->c->lock);
	ctl_error(&q, sb, path.buf ?: "?", e);
	ctl_sandbox_unref(sb);
	fuse_reply_err(req, e->code);
}

/* Where @ino is; answers ENOENT itself and returns false where it is gone. The thread that answers
 * the kernel is the only one that removes nothing: what @ret borrows outlives the lock only with a
 * reference, so callers take what they need under it. */
static bool find(fuse_req_t req, fuse_ino_t ino, struct ctl_at *ret)
{
	int r = ctl_at_id(ctl_of(req), ino, ret);

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		ret->uid = fuse_req_ctx(req)->uid;
	return r == 0;
}

static void op_init(void *arg, struct fuse_conn_info *conn)
{
	/* One writer's lines arrive in one piece up to this. */
	conn->max_write = 128 * 1024;
	conn->want &= ~(unsigned int)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctl *c = ctl_of(req);
	struct fuse_entry_param entry;
	struct ctl_at dir, at;
	int r;

	pthread_mutex_lock(&c->lock);
	r = ctl_at_id(c, parent, &dir);
	dir.uid = fuse_req_ctx(req)->uid;
	if (r == 0)
		r = ctl_at_child(&dir, name, &at);
	if (r == 0)
		entry_of(&at, &entry);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_entry(req, &entry);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
	struct ctl *c = ctl_of(req);
	struct ctl_at at;
	struct stat st;
	int r;

	pthread_mutex_lock(&c->lock);
	r = ctl_at_id(c, ino, &at);
	if (r == 0)
		ctl_at_stat(&at, &st);
	pthread_mutex_unlock(&c->lock);
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_attr(req, &st, TIMEOUT);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	reply_attr(req, ino);
}

static struct ctl_work *work_at(
	fuse_req_t req, const struct ctl_at *at, const char *child, size_t n)
{
	struct ctl_work *w = ctl_work_new(at->c, req, n);
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;

	if (!w)
		return NULL;
	w->sb = at->sb ? ctl_sandbox_ref(at->sb) : NULL;
	w->img = at->img ? ctl_image_ref(at->img) : NULL;
	w->vol = at->vol ? ctl_volume_ref(at->vol) : NULL;
	ctl_at_path(at, child, &path);
	w->path = steal_ptr(path.buf);
	path = (struct msb_str)MSB_STR_INIT;
	if (child)
		(void)snprintf(w->name, sizeof(w->name), "%s", child);
	return w;
}

/* What is below scripts/ and patches/ is bytes, and patches have modes. False: it is no such file.
 */
static bool setattr_kept(fuse_req_t req, fuse_ino_t ino, const struct stat *attr, int to_set)
{
	struct ctl *c = ctl_of(req);
	struct ctl_kept *f = NULL;
	struct msb_err e = {0};
	struct ctl_at at;

	if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		return false;
	pthread_mutex_lock(&c->lock);
	if (ctl_at_id(c, ino, &at) == 0 && (at.node->dir == D_SCRIPTS || at.node->dir == D_PATCHES))
		f = ctl_kept_by_serial(at.sb, at.aux);
	if (f && (to_set & FUSE_SET_ATTR_SIZE) && S_ISREG(f->mode))
		(void)ctl_kept_truncate(at.sb, f, (uint64_t)attr->st_size, &e); /* said in e */
	if (f && !e.code && (to_set & FUSE_SET_ATTR_MODE))
		(void)ctl_kept_chmod(at.sb, f, attr->st_mode, &e);
	pthread_mutex_unlock(&c->lock);
	if (f && e.code)
		refuse(req, &at, NULL, &e);
	else if (f)
		reply_attr(req, ino);
	return f;
}

/* Uid, gid and mode are in off, size and fi.fh. */
static void do_own_volume(struct ctl_work *w)
{
	struct msb_err e = {0};
	struct ctl_at at = {.c = w->q.c, .vol = w->vol, .node = &ctl_nodes[D_VOLUME]};
	struct stat st;

	if (ctl_volume_own(w->vol, (uid_t)w->off, (gid_t)w->size, (mode_t)w->fi.fh, &e) < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	pthread_mutex_lock(&w->q.c->lock);
	ctl_at_stat(&at, &st);
	pthread_mutex_unlock(&w->q.c->lock);
	ctl_work_answer(w);
	fuse_reply_attr(w->req, &st, TIMEOUT);
}

static bool own_volume(fuse_req_t req, fuse_ino_t ino, const struct stat *attr, int to_set)
{
	struct ctl *c = ctl_of(req);
	struct ctl_work *w = NULL;
	struct ctl_at at;
	bool is = false;

	pthread_mutex_lock(&c->lock);
	is = ctl_at_id(c, ino, &at) == 0 && at.node == &ctl_nodes[D_VOLUME];
	w = is ? work_at(req, &at, NULL, 0) : NULL;
	if (w) {
		w->off = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : at.vol->uid;
		w->size = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : at.vol->gid;
		w->fi.fh = to_set & FUSE_SET_ATTR_MODE ? attr->st_mode & 0777 : at.vol->mode;
	}
	pthread_mutex_unlock(&c->lock);
	if (w)
		ctl_work_run(w, CLASS_COMMAND, do_own_volume);
	else if (is)
		fuse_reply_err(req, ENOMEM);
	return is;
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	const int owner = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID;
	struct ctl *c = ctl_of(req);
	struct ctl_sandbox *sb = NULL;
	struct ctl_image *img = NULL;
	struct msb_err e = {0};
	struct ctl_at at;
	uid_t uid = 0;
	gid_t gid = 0;
	mode_t mode = 0;
	bool found;

	if (setattr_kept(req, ino, attr, to_set))
		return;
	/* Sizes and times change nothing: commands and values are not files of bytes. */
	if (!(to_set & owner)) {
		reply_attr(req, ino);
		return;
	}
	if (own_volume(req, ino, attr, to_set))
		return;
	pthread_mutex_lock(&c->lock);
	found = find(req, ino, &at);
	if (found && at.sb)
		sb = ctl_sandbox_ref(at.sb);
	if (found && at.img)
		img = ctl_image_ref(at.img);
	if (sb) {
		uid = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : sb->uid;
		gid = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : sb->gid;
		mode = to_set & FUSE_SET_ATTR_MODE ? attr->st_mode & 0777 : sb->mode;
	}
	pthread_mutex_unlock(&c->lock);
	if (!found)
		return;
	if (at.node == &ctl_nodes[D_SANDBOX])
		(void)ctl_sandbox_own(sb, uid, gid, mode, &e); /* said in e */
	else
		msb_err_set(&e, EPERM,
			"owner and mode are the directory's of the sandbox, or volume: chown or chmod that");
	if (e.code)
		refuse(req, &at, NULL, &e);
	else
		reply_attr(req, ino);
	ctl_sandbox_unref(sb);
	ctl_image_unref(img);
}

/* ---- making and removing names */

/* Finds @ino and makes a work for it, or answers the request itself and returns NULL. */
static struct ctl_work *begin(
	fuse_req_t req, fuse_ino_t ino, const char *child, size_t n, struct ctl_at *ret)
{
	struct ctl *c = ctl_of(req);
	struct ctl_work *w = NULL;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = find(req, ino, ret);
	if (found)
		w = work_at(req, ret, child, n);
	pthread_mutex_unlock(&c->lock);
	if (found && !w)
		fuse_reply_err(req, ENOMEM);
	return w;
}

/* What is made in scripts/ and patches/; in @ret the new one. */
static int make_kept(struct ctl_work *w, mode_t mode, struct ctl_at *ret, struct msb_err *e)
{
	enum ctl_area area = w->off == D_SCRIPTS ? AREA_SCRIPTS : AREA_PATCHES;
	struct ctl_at dir = {
		.c = w->q.c, .sb = w->sb, .node = &ctl_nodes[w->off], .aux = (uint32_t)w->size};
	struct ctl_kept *f;
	int r;

	{
		LOCK_SCOPE(&dir.c->lock);
		r = ctl_kept_make(w->sb, area, dir.aux, w->name, mode, w->data, &f, e);
		if (r == 0)
			r = ctl_at_child(&dir, w->name, ret);
	}
	if (r < 0 || area != AREA_SCRIPTS)
		return r;
	r = ctl_scripts_live(w->sb, e);
	if (r < 0) {
		LOCK_SCOPE(&dir.c->lock);
		(void)ctl_kept_remove(w->sb, area, w->name, NULL); /* as if it had not been */
	}
	return r;
}

static bool makes_kept(const struct ctl_at *dir)
{
	return dir->node == &ctl_nodes[D_SCRIPTS] || dir->node == &ctl_nodes[D_PATCHES] ||
	       dir->node == &ctl_nodes[D_PATCH];
}

static void run_kept(struct ctl_work *w, const struct ctl_at *dir, void (*fn)(struct ctl_work *))
{
	w->off = (uint64_t)(dir->node - ctl_nodes);
	w->size = dir->aux;
	ctl_work_run(w, CLASS_COMMAND, fn);
}

/* A directory or link; its mode is in fi.fh. */
static void do_make_kept(struct ctl_work *w)
{
	struct fuse_entry_param entry;
	struct msb_err e = {0};
	struct ctl_at at;

	if (make_kept(w, (mode_t)w->fi.fh, &at, &e) < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	pthread_mutex_lock(&w->q.c->lock);
	entry_of(&at, &entry);
	pthread_mutex_unlock(&w->q.c->lock);
	ctl_work_answer(w);
	fuse_reply_entry(w->req, &entry);
}

static void do_mkdir(struct ctl_work *w)
{
	struct ctl *c = w->q.c;
	struct fuse_entry_param entry;
	struct msb_err e = {0};
	bool volume = w->off == D_VOLUMES;
	int r = volume ? ctl_volume_create(c, w->name, w->q.uid, w->q.gid, &e)
		       : ctl_sandbox_create(c, w->name, w->q.uid, w->q.gid, &e);

	if (r == 0) {
		struct ctl_at dir = {.c = c, .node = &ctl_nodes[w->off]}, at;

		pthread_mutex_lock(&c->lock);
		if (ctl_at_child(&dir, w->name, &at) == 0)
			entry_of(&at, &entry);
		else
			r = msb_err_set(&e, ENOENT, "it was removed at once");
		pthread_mutex_unlock(&c->lock);
	}
	if (r < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	ctl_work_answer(w);
	fuse_reply_entry(w->req, &entry);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = begin(req, parent, name, 0, &at);

	if (!w)
		return;
	if (at.node == &ctl_nodes[D_ROOT] || at.node == &ctl_nodes[D_VOLUMES]) {
		w->off = (uint64_t)(at.node - ctl_nodes);
		ctl_work_run(w, CLASS_COMMAND, do_mkdir);
		return;
	}
	if (makes_kept(&at)) {
		w->fi.fh = S_IFDIR | (mode & 07777);
		run_kept(w, &at, do_make_kept);
		return;
	}
	msb_err_set(&e, EPERM,
		"directories are made beside the sandboxes, and in volumes/, by their names only");
	ctl_work_refuse(w, &e);
}

static void do_rmdir(struct ctl_work *w)
{
	struct msb_err e = {0};

	if ((w->vol ? ctl_volume_remove(w->vol, &e) : ctl_sandbox_remove(w->sb, &e)) < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	ctl_work_answer(w);
	fuse_reply_err(w->req, 0);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctl *c = ctl_of(req);
	struct msb_err e = {0};
	struct ctl_at at, child;
	struct ctl_work *w = begin(req, parent, name, 0, &at);

	if (!w)
		return;
	pthread_mutex_lock(&c->lock);
	if (ctl_at_child(&at, name, &child) < 0)
		msb_err_set(&e, ENOENT, "there is no `%s`", name);
	else if (child.node == &ctl_nodes[D_VOLUME])
		w->vol = ctl_volume_ref(child.vol);
	else if (child.node != &ctl_nodes[D_SANDBOX])
		msb_err_set(&e, EPERM, "only sandboxes and volumes can be removed%s",
			at.node == &ctl_nodes[D_IMAGES] || at.node == &ctl_nodes[D_IMAGE_DIR]
				? "; `rm REF` in images/ctl removes an image"
				: "");
	else
		w->sb = ctl_sandbox_ref(child.sb);
	pthread_mutex_unlock(&c->lock);
	if (e.code)
		ctl_work_refuse(w, &e);
	else
		ctl_work_run(w, CLASS_COMMAND, do_rmdir);
}

static void never(fuse_req_t req, fuse_ino_t parent, const char *name, const char *why)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = begin(req, parent, name, 0, &at);

	if (!w)
		return;
	msb_err_set(&e, EPERM, "%s", why);
	ctl_work_refuse(w, &e);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	never(req, parent, name,
		"files of the control tree are not removed; rmdir the sandbox; `unset NAME` in ctl is "
		"for variables, `unscript NAME` for scripts, `unpatch PATH` for patches");
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags)
{
	never(req, parent, name, "names of the control tree do not change");
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = begin(req, parent, name, strlen(link) + 1, &at);

	if (!w)
		return;
	if (makes_kept(&at)) {
		memcpy(w->data, link, strlen(link) + 1);
		w->fi.fh = S_IFLNK;
		run_kept(w, &at, do_make_kept);
		return;
	}
	msb_err_set(&e, EPERM, "the control tree holds no links of yours");
	ctl_work_refuse(w, &e);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	never(req, newparent, newname, "the control tree holds no links of yours");
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	never(req, parent, name, "the control tree holds no files of yours");
}

/* ---- open files */

static void flags_of(const struct ctl_handle *h, struct fuse_file_info *fi)
{
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->direct_io = 1;
	fi->keep_cache = 0;
	fi->noflush = 1; /* everything has taken effect when write(2) returns */
	/* A transaction is a stream: reading and writing do not share a position. */
	fi->nonseekable = h->at.node->kind == K_IN || h->at.node->kind == K_OUT ||
			  (h->rdwr && (h->at.node->kind == K_CTL || h->at.node->kind == K_EXEC));
}

static struct ctl_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct ctl_handle *)(uintptr_t)fi->fh;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl *c = ctl_of(req);
	uid_t uid = fuse_req_ctx(req)->uid;
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	struct ctl_sandbox *sb = NULL;
	struct ctl_handle *h = NULL;
	struct msb_err e = {0};
	struct ctl_at at;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = find(req, ino, &at);
	if (found && ctl_handle_new(&at, uid, fi->flags, &h, &e) < 0) {
		ctl_at_path(&at, NULL, &path);
		sb = at.sb ? ctl_sandbox_ref(at.sb) : NULL;
	}
	pthread_mutex_unlock(&c->lock);
	if (!found)
		return;
	if (!h) {
		const struct fuse_ctx *ctx = fuse_req_ctx(req);
		const struct ctl_req q = {c, ctx->pid, uid, ctx->gid, NULL};

		ctl_error(&q, sb, path.buf ?: "?", &e);
		ctl_sandbox_unref(sb);
		fuse_reply_err(req, e.code);
		return;
	}
	flags_of(h, fi);
	if (fuse_reply_open(req, fi) < 0)
		ctl_handle_unref(h); /* the opener was killed: no RELEASE follows */
}

static void do_create(struct ctl_work *w)
{
	struct ctl *c = w->q.c;
	struct fuse_entry_param entry;
	struct msb_err e = {0};
	struct ctl_handle *h = NULL;
	struct ctl_at dir = {.c = c,
			      .sb = w->sb,
			      .node = &ctl_nodes[w->off],
			      .aux = (uint32_t)w->size},
		      at;
	int r = w->off == D_ENV ? ctl_env_set(w->sb, w->name, "", 0, &e)
				: make_kept(w, S_IFREG | (mode_t)w->fi.fh, &at, &e);

	if (r == 0) {
		LOCK_SCOPE(&c->lock);
		if (ctl_at_child(&dir, w->name, &at) < 0)
			r = msb_err_set(&e, ENODEV, "it was removed at once");
		else
			r = ctl_handle_new(&at, w->q.uid, w->fi.flags, &h, &e);
		if (r == 0)
			entry_of(&at, &entry);
	}
	if (r < 0 || !h) {
		ctl_work_fail(w, &e);
		return;
	}
	flags_of(h, &w->fi);
	ctl_work_answer(w);
	if (fuse_reply_create(w->req, &entry, &w->fi) < 0)
		ctl_handle_unref(h);
}

/* A variable of a job is memory alone: it needs no thread. */
static void create_job_env(struct ctl_work *w, fuse_ino_t parent)
{
	struct ctl *c = w->q.c;
	struct fuse_entry_param entry;
	struct ctl_handle *h = NULL;
	struct ctl_at dir, at;
	struct msb_err e = {0};
	struct ctl_env *v;
	int r;

	pthread_mutex_lock(&c->lock);
	r = ctl_at_id(c, parent, &dir);
	if (r < 0)
		msb_err_set(&e, -r, "the job is gone");
	else
		r = ctl_job_set_env(dir.job, w->name, NULL, 0, &v, &e);
	if (r == 0)
		r = ctl_at_child(&dir, w->name, &at);
	if (r == 0)
		r = ctl_handle_new(&at, w->q.uid, w->fi.flags, &h, &e);
	if (r == 0)
		entry_of(&at, &entry);
	pthread_mutex_unlock(&c->lock);
	if (r < 0) {
		ctl_work_refuse(w, &e);
		return;
	}
	flags_of(h, &w->fi);
	if (fuse_reply_create(w->req, &entry, &w->fi) < 0)
		ctl_handle_unref(h);
	ctl_work_done(w);
}

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = begin(req, parent, name, 0, &at);

	if (!w)
		return;
	if (at.node == &ctl_nodes[D_ENV] || makes_kept(&at)) {
		w->fi = *fi;
		w->fi.fh = mode & 07777;
		run_kept(w, &at, do_create);
		return;
	}
	if (at.node == &ctl_nodes[D_JOB_ENV]) {
		w->fi = *fi;
		create_job_env(w, parent);
		return;
	}
	msb_err_set(&e, EPERM,
		"there is no file `%s` here, and none can be made but in env/, scripts/ and patches/",
		name);
	ctl_work_refuse(w, &e);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl_handle *h = handle_of(fi);

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

static struct ctl_work *work_on(fuse_req_t req, struct ctl_handle *h, size_t n)
{
	struct ctl_work *w;

	pthread_mutex_lock(&h->at.c->lock);
	w = work_at(req, &h->at, NULL, n);
	if (w) {
		h->refs++;
		w->h = h;
	}
	pthread_mutex_unlock(&h->at.c->lock);
	if (!w)
		fuse_reply_err(req, ENOMEM);
	return w;
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct ctl_handle *h = handle_of(fi);
	struct ctl_work *w;

	/* sendfile(2), which goes through the page cache, would end at the first short read and
	 * lose what it asked for past that; who uses it falls back to read(2). Only those reads
	 * say no owner (fs/fuse/file.c, fuse_send_read()). */
	if (!fi->lock_owner && ctl_handle_streams(h)) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (!ctl_handle_waits(h, (uint64_t)off)) {
		const struct fuse_ctx *ctx = fuse_req_ctx(req);
		struct ctl_req q = {ctl_of(req), ctx->pid, ctx->uid, ctx->gid, NULL};
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};

		if (ctl_handle_read(&q, h, (uint64_t)off, size, &s, &e) < 0)
			fuse_reply_err(req, e.code ?: EIO);
		else
			fuse_reply_buf(req, s.buf, s.len);
		return;
	}
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

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct ctl_handle *h = handle_of(fi);
	struct ctl_work *w = work_on(req, h, size);
	enum ctl_kind kind = h->at.node->kind;

	if (!w)
		return;
	memcpy(w->data, buf, size);
	if (h->at.node->dir == D_LOGINS)
		explicit_bzero((char *)buf, size); /* a secret, in the session's own buffer */
	w->off = (uint64_t)off;
	w->size = size;
	ctl_work_run(w,
		kind == K_EXEC || kind == K_IN				? CLASS_EXEC
		: kind == K_CTL && size >= 4 && !memcmp(buf, "kill", 4) ? CLASS_KILL
									: CLASS_COMMAND,
		do_write);
}

static void op_poll(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	fuse_reply_poll(req, ctl_handle_poll(handle_of(fi), ph));
}

/* ---- links */

/* Whether there is one now: a name may be of one that is pulled later. */
static bool has_image(struct ctl_sandbox *sb)
{
	struct ctl_image *img;

	LOCK_SCOPE(&sb->c->lock);
	return sb->conf[CONF_IMAGE] &&
	       (ctl_pin_find(sb, "") ||
		       ctl_image_resolve(sb->c, sb->conf[CONF_IMAGE], NULL, &img, NULL) != -ENOENT);
}

static void do_readlink(struct ctl_work *w)
{
	char path[MSB_PATH_MAX], data[MSB_PATH_MAX + 64], target[PATH_MAX];
	const struct ctl_kept *f;
	struct ctl_files_of of;
	struct msb_err e = {0};
	int r = 0;

	if (w->off) { /* of patches */
		pthread_mutex_lock(&w->q.c->lock);
		f = ctl_kept_by_serial(w->sb, (uint32_t)w->off);
		r = f ? ctl_kept_target(w->sb, f, target, sizeof(target)) : -ENODEV;
		pthread_mutex_unlock(&w->q.c->lock);
		ctl_work_answer(w);
		if (r < 0)
			fuse_reply_err(w->req, -r);
		else
			fuse_reply_readlink(w->req, target);
		return;
	}
	if (w->vol) {
		ctl_volume_path(w->vol, data);
		ctl_work_answer(w);
		fuse_reply_readlink(w->req, data);
		return;
	}
	if (w->img && *w->name) { /* a short name's target */
		ctl_work_answer(w);
		fuse_reply_readlink(w->req, w->name);
		return;
	}
	if (w->img) {
		ctl_files_of_image(w->img, &of);
	} else if (!has_image(w->sb)) {
		/* No failure: `ls -l` of a new sandbox would be one. */
		ctl_work_answer(w);
		fuse_reply_readlink(w->req, "(no image yet)");
		return;
	} else {
		r = ctl_files_of_sandbox(w->sb, &of, &e);
	}
	if (r == 0)
		r = ctl_files_view(&of, path, &e);
	if (r < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	ctl_work_answer(w);
	fuse_reply_readlink(w->req, path);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ctl_at at;
	struct ctl_work *w = begin(req, ino, NULL, 0, &at);

	if (w && at.node->dir == D_PATCHES)
		w->off = at.aux;
	if (w && at.node->dir == D_IMAGES)
		(void)snprintf(w->name, sizeof(w->name), "%s", w->img->name);
	if (w)
		ctl_work_run(w, CLASS_COMMAND, do_readlink);
}

/* ---- directories: a listing is taken when it is begun */

struct listing {
	fuse_req_t req;
	struct msb_str buf;
	off_t next;
};

static void list_one(struct listing *l, const char *name, const struct ctl_at *at)
{
	size_t n = fuse_add_direntry(l->req, NULL, 0, name, NULL, 0), old = l->buf.len;
	struct stat st;

	ctl_at_stat(at, &st);
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

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ctl *c = ctl_of(req);
	struct msb_str *s;
	struct listing l = {.req = req};
	struct ctl_at at;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = find(req, ino, &at);
	if (found) {
		list_one(&l, ".", &at);
		list_one(&l, "..", &at);
		ctl_at_list(&at, list_child, &l);
	}
	pthread_mutex_unlock(&c->lock);
	if (!found)
		return;
	s = l.buf.oom ? NULL : malloc(sizeof(*s));
	if (!s) {
		msb_str_done(&l.buf);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*s = l.buf;
	fi->fh = (uint64_t)(uintptr_t)s;
	if (fuse_reply_open(req, fi) < 0) {
		msb_str_done(s);
		free(s);
	}
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct msb_str *s = (const struct msb_str *)(uintptr_t)fi->fh;
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

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct msb_str *s = (struct msb_str *)(uintptr_t)fi->fh;

	msb_str_done(s);
	free(s);
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.releasedir = op_releasedir,
	.create = op_create,
	.poll = op_poll,
};

/* What libfuse has to say goes to our log, a line each. */
__attribute__((format(printf, 2, 0))) static void log_fuse(
	enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];

	(void)vsnprintf(text, sizeof(text), fmt, ap); /* cut on purpose */
	text[strcspn(text, "\n")] = '\0';
	msb_log(level <= FUSE_LOG_ERR	    ? MSB_ERR
		: level == FUSE_LOG_WARNING ? MSB_WARN
					    : MSB_DEBUG,
		"libfuse: %s", text);
}

int ctl_serve_mount(struct ctl *c, struct fuse_session **ret, struct msb_err *e)
{
	char *argv[] = {"msbd", "-o", "fsname=msb,subtype=msbctl,default_permissions", "-o",
		"allow_other", NULL};
	/* An ordinary user's mount is that user's alone. */
	struct fuse_args args = FUSE_ARGS_INIT(c->uid == 0 ? 5 : 3, argv);
	struct fuse_session *se;

	fuse_set_log_func(log_fuse);
	se = fuse_session_new(&args, &ops, sizeof(ops), c);
	fuse_opt_free_args(&args);
	if (!se)
		return msb_err_set(e, EIO, "libfuse refused its options");
	if (fuse_session_mount(se, c->paths.mnt) != 0) {
		fuse_session_destroy(se);
		return msb_err_set(e, EPERM,
			"cannot mount at %s: is /dev/fuse there, may you open it, and is fuse3 installed?",
			c->paths.mnt);
	}
	*ret = se;
	return 0;
}

int ctl_serve_loop(struct fuse_session *se, int exit_fd)
{
	struct pollfd pf[2] = {
		{.fd = fuse_session_fd(se), .events = POLLIN}, {.fd = exit_fd, .events = POLLIN}};
	struct fuse_buf buf = {.mem = NULL};
	int r = 0;

	while (!fuse_session_exited(se)) {
		if (poll(pf, 2, -1) < 0 && errno != EINTR) {
			r = -errno;
			break;
		}
		if (pf[1].revents)
			break;
		if (!pf[0].revents)
			continue;
		r = fuse_session_receive_buf(se, &buf);
		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r <= 0)
			break; /* 0: somebody unmounted the tree */
		fuse_session_process_buf(se, &buf);
	}
	free(buf.mem);
	return r < 0 ? r : 0;
}
