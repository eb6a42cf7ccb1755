// SPDX-License-Identifier: Apache-2.0
// What is made, removed and given away, and where links lead.
#include "ctl/serve_int.h"
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/kept.h"
#include "ctl/report.h"
#include "ctl/scripts.h"
#include "ctl/volumes.h"

#include <limits.h>
#include <string.h>

/* ---- attributes */

/* What is below scripts/ and patches/ is bytes, and patches have modes. False: it is no such file.
 * ctl.lock held. */
static bool set_kept(
	const struct ctl_at *at, const struct stat *attr, int to_set, struct msb_err *e)
{
	struct ctl_kept *f = NULL;

	if (!(to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) &&
		(at->node->dir == D_SCRIPTS || at->node->dir == D_PATCHES))
		f = ctl_kept_by_serial(at->sb, at->aux);
	if (f && (to_set & FUSE_SET_ATTR_SIZE) && S_ISREG(f->mode))
		(void)ctl_kept_truncate(at->sb, f, (uint64_t)attr->st_size, e); /* said in e */
	if (f && !e->code && (to_set & FUSE_SET_ATTR_MODE))
		(void)ctl_kept_chmod(at->sb, f, attr->st_mode, e);
	return f;
}

/* Uid, gid and mode are in off, size and fi.fh. */
static void do_own(struct ctl_work *w)
{
	struct msb_err e = {0};
	struct ctl_at at = {.c = w->q.c,
		.sb = w->sb,
		.vol = w->vol,
		.node = &ctl_nodes[w->sb ? D_SANDBOX : D_VOLUME]};
	uid_t uid = (uid_t)w->off;
	gid_t gid = (gid_t)w->size;
	mode_t mode = (mode_t)w->fi.fh;
	struct stat st;
	int r = w->sb ? ctl_sandbox_own(w->sb, uid, gid, mode, &e)
		      : ctl_volume_own(w->vol, uid, gid, mode, &e);

	if (r < 0) {
		ctl_work_fail(w, &e);
		return;
	}
	if (w->sb)
		ctl_files_hide(w->sb);
	pthread_mutex_lock(&w->q.c->lock);
	ctl_at_stat(&at, &st);
	pthread_mutex_unlock(&w->q.c->lock);
	ctl_work_answer(w);
	fuse_reply_attr(w->req, &st, serve_attr_sec(&at));
}

/* Fills what do_own() needs. Return: whether it takes its time: all files of a volume change, and a
 * sandbox's view ends. ctl.lock held. */
static bool plan_own(struct ctl_work *w, const struct stat *attr, int to_set)
{
	uid_t uid = w->sb ? w->sb->uid : w->vol->uid;
	gid_t gid = w->sb ? w->sb->gid : w->vol->gid;
	mode_t mode = w->sb ? w->sb->mode : w->vol->mode;

	w->off = to_set & FUSE_SET_ATTR_UID ? attr->st_uid : uid;
	w->size = to_set & FUSE_SET_ATTR_GID ? attr->st_gid : gid;
	w->fi.fh = to_set & FUSE_SET_ATTR_MODE ? attr->st_mode & 0777 : mode;
	return w->vol || w->off != uid;
}

#define SET_OWNER (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)

void serve_op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct ctl *c = serve_ctl(req);
	struct msb_err e = {0};
	struct ctl_at at;
	/* A size that is set by a descriptor was allowed when that was opened. */
	mode_t want = to_set & FUSE_SET_ATTR_SIZE && !fi ? SERVE_WRITE : 0;
	struct ctl_work *w = serve_begin(req, ino, want, NULL, 0, &at);
	bool owns = false, aside = false;

	if (!w)
		return;
	if (fi)
		(void)ctl_handle_still_its(serve_handle(fi), &e); /* said in e */
	pthread_mutex_lock(&c->lock);
	if (!e.code && to_set & SET_OWNER && !serve_owns(req, &at))
		msb_err_set(&e, EPERM, "it is not yours");
	/* Else sizes and times change nothing: commands and values are not files of bytes. */
	if (!e.code && !set_kept(&at, attr, to_set, &e) && to_set & SET_OWNER) {
		owns = at.node == &ctl_nodes[D_SANDBOX] || at.node == &ctl_nodes[D_VOLUME];
		if (owns)
			aside = plan_own(w, attr, to_set);
		else
			msb_err_set(&e, EPERM,
				"owner and mode are the directory's of the sandbox, or volume: chown "
				"or chmod that");
	}
	pthread_mutex_unlock(&c->lock);
	if (aside) {
		ctl_work_run(w, CLASS_COMMAND, do_own);
		return;
	}
	if (owns)
		(void)ctl_sandbox_own(w->sb, (uid_t)w->off, (gid_t)w->size, (mode_t)w->fi.fh, &e);
	if (e.code) {
		ctl_work_refuse(w, &e);
		return;
	}
	serve_attr(req, ino);
	ctl_work_done(w);
}

/* ---- making and removing names */

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
	serve_entry(&at, &entry);
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
			serve_entry(&at, &entry);
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

void serve_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = serve_begin(req, parent, SERVE_NAMES, name, 0, &at);

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

void serve_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ctl *c = serve_ctl(req);
	struct msb_err e = {0};
	struct ctl_at at, child;
	struct ctl_work *w = serve_begin(req, parent, SERVE_NAMES, name, 0, &at);

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
	struct ctl_work *w = serve_begin(req, parent, SERVE_NAMES, name, 0, &at);

	if (!w)
		return;
	msb_err_set(&e, EPERM, "%s", why);
	ctl_work_refuse(w, &e);
}

void serve_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	never(req, parent, name,
		"files of the control tree are not removed; rmdir the sandbox; `unset NAME` in ctl is "
		"for variables, `unscript NAME` for scripts, `unpatch PATH` for patches");
}

void serve_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned int flags)
{
	never(req, parent, name, "names of the control tree do not change");
}

void serve_op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = serve_begin(req, parent, SERVE_NAMES, name, strlen(link) + 1, &at);

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

void serve_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	never(req, newparent, newname, "the control tree holds no links of yours");
}

void serve_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	never(req, parent, name, "the control tree holds no files of yours");
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
		else if (!serve_may(w->req, &dir, SERVE_NAMES))
			r = msb_err_set(&e, EACCES, "it was given away meanwhile");
		else
			r = ctl_handle_new(&at, w->q.uid, w->q.gid, w->fi.flags, &h, &e);
		if (r == 0)
			serve_entry(&at, &entry);
	}
	if (r < 0 || !h) {
		ctl_work_fail(w, &e);
		return;
	}
	serve_opened(h, &w->fi);
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
	else if (!serve_may(w->req, &dir, SERVE_NAMES))
		r = msb_err_set(&e, EACCES, "it was given away meanwhile");
	else
		r = ctl_job_set_env(dir.job, w->name, NULL, 0, &v, &e);
	if (r == 0)
		r = ctl_at_child(&dir, w->name, &at);
	if (r == 0)
		r = ctl_handle_new(&at, w->q.uid, w->q.gid, w->fi.flags, &h, &e);
	if (r == 0)
		serve_entry(&at, &entry);
	pthread_mutex_unlock(&c->lock);
	if (r < 0) {
		ctl_work_refuse(w, &e);
		return;
	}
	serve_opened(h, &w->fi);
	if (fuse_reply_create(w->req, &entry, &w->fi) < 0)
		ctl_handle_unref(h);
	ctl_work_done(w);
}

void serve_op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct msb_err e = {0};
	struct ctl_at at;
	struct ctl_work *w = serve_begin(req, parent, SERVE_NAMES, name, 0, &at);

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

void serve_op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ctl_at at;
	struct ctl_work *w = serve_begin(req, ino, 0, NULL, 0, &at);

	if (w && at.node->dir == D_PATCHES)
		w->off = at.aux;
	if (w && at.node->dir == D_IMAGES)
		(void)snprintf(w->name, sizeof(w->name), "%s", w->img->name);
	if (w)
		ctl_work_run(w, CLASS_COMMAND, do_readlink);
}
