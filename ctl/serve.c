// SPDX-License-Identifier: Apache-2.0
// The FUSE session: what the kernel asks, and who answers.
#include "ctl/serve.h"
#include "ctl/serve_int.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/image_names.h"
#include "ctl/report.h"
#include "ctl/volumes.h"

#include <poll.h>
#include <limits.h>
#include <string.h>

double serve_attr_sec(const struct ctl_at *at)
{
	switch (at->node->kind) {
	case K_RING:
	case K_PULL:
	case K_LOG:
	case K_FILE: return 0; /* they have a size */
	default: return 0.1;
	}
}

void serve_entry(const struct ctl_at *at, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){.ino = ctl_at_make_id(at),
		.attr_timeout = serve_attr_sec(at),
		.entry_timeout = SERVE_ENTRY_SEC};
	ctl_at_stat(at, &ret->attr);
}

bool serve_owns(fuse_req_t req, const struct ctl_at *at)
{
	uid_t uid = fuse_req_ctx(req)->uid;

	return uid == 0 || uid == at->c->uid || uid == ctl_at_owner(at);
}

static bool in_group(fuse_req_t req, gid_t gid)
{
	gid_t groups[NGROUPS_MAX];
	int n;

	if (fuse_req_ctx(req)->gid == gid)
		return true;
	n = fuse_req_getgroups(req, ARRAY_LEN(groups), groups);
	for (int i = 0; i < n && i < NGROUPS_MAX; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* Whether who asks may search the sandbox's directory, or the volume's, as it is now. */
static bool may_enter(fuse_req_t req, const struct ctl_at *at)
{
	mode_t mode = at->sb ? at->sb->mode : at->vol ? at->vol->mode : 0001;

	return mode & 0001 || serve_owns(req, at) ||
	       (mode & 0010 && in_group(req, ctl_at_group(at)));
}

bool serve_may(fuse_req_t req, const struct ctl_at *at, mode_t want)
{
	uid_t uid = fuse_req_ctx(req)->uid;
	mode_t mode = ctl_at_mode(at);

	if (uid == 0 || uid == at->c->uid)
		return true;
	if (!may_enter(req, at))
		return false;
	if (uid == ctl_at_owner(at))
		mode >>= 6;
	else if ((mode ^ mode >> 3) & want && in_group(req, ctl_at_group(at)))
		mode >>= 3;
	return (mode & want) == want;
}

bool serve_find(fuse_req_t req, fuse_ino_t ino, mode_t want, struct ctl_at *ret)
{
	int r = ctl_at_id(serve_ctl(req), ino, ret);

	if (r == 0 && !serve_may(req, ret, want))
		r = -EACCES;
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
	struct ctl *c = serve_ctl(req);
	struct fuse_entry_param entry;
	struct ctl_at dir, at;
	bool found;
	int r = 0;

	pthread_mutex_lock(&c->lock);
	found = serve_find(req, parent, SERVE_SEARCH, &dir);
	if (found)
		r = ctl_at_child(&dir, name, &at);
	if (found && r == 0)
		serve_entry(&at, &entry);
	pthread_mutex_unlock(&c->lock);
	if (!found)
		return;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		fuse_reply_entry(req, &entry);
}

void serve_attr(fuse_req_t req, fuse_ino_t ino)
{
	struct ctl *c = serve_ctl(req);
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
		fuse_reply_attr(req, &st, serve_attr_sec(&at));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	serve_attr(req, ino);
}

struct ctl_work *serve_work(fuse_req_t req, const struct ctl_at *at, const char *child, size_t n)
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

struct ctl_work *serve_begin(fuse_req_t req, fuse_ino_t ino, mode_t want, const char *child,
	size_t n, struct ctl_at *ret)
{
	struct ctl *c = serve_ctl(req);
	struct ctl_work *w = NULL;
	bool found;

	pthread_mutex_lock(&c->lock);
	found = serve_find(req, ino, want, ret);
	if (found)
		w = serve_work(req, ret, child, n);
	pthread_mutex_unlock(&c->lock);
	if (found && !w)
		fuse_reply_err(req, ENOMEM);
	return w;
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = serve_op_setattr,
	.readlink = serve_op_readlink,
	.mknod = serve_op_mknod,
	.mkdir = serve_op_mkdir,
	.unlink = serve_op_unlink,
	.rmdir = serve_op_rmdir,
	.symlink = serve_op_symlink,
	.rename = serve_op_rename,
	.link = serve_op_link,
	.open = serve_op_open,
	.read = serve_op_read,
	.write = serve_op_write,
	.release = serve_op_release,
	.opendir = serve_op_opendir,
	.readdir = serve_op_readdir,
	.releasedir = serve_op_releasedir,
	.create = serve_op_create,
	.poll = serve_op_poll,
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
		if (access("/dev/fuse", R_OK | W_OK) < 0)
			return msb_err_set(e, errno,
				"cannot mount at %s: /dev/fuse: %m; it is everybody's to open, mode 0666",
				c->paths.mnt);
		return msb_err_set(e, EPERM,
			"cannot mount at %s: %s; `msb doctor` looks at what that takes",
			c->paths.mnt,
			c->uid == 0 ? "the kernel refuses it"
				    : "fusermount3 of package fuse3 does not");
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
