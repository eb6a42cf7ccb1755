// SPDX-License-Identifier: Apache-2.0
// Files that a requester names.
#include "ctl/open_as.h"
#include "base/cleanup.h"
#include "fs/image/open.h"
#include "ctl/whose_dir.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct act {
	const struct ctl_req *q;
	int (*fn)(const char *path, struct ctl_target *t);
	const char *path;
	struct ctl_target *t;
	struct msb_user user; /* where the requester is not who msbd is */
	int result;
};

/* A mode that the requester's umask would not have changed is nobody else's to read. */
#define NEW_MODE 0644

static int become(const struct ctl_req *q, const struct msb_user *u)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	static const struct __user_cap_data_struct none[2];

	/* glibc's functions of that name would do it to every thread. */
	if (syscall(SYS_setgroups, u->ngroups, u->groups) < 0)
		return -errno;
	(void)setfsgid(q->gid);
	(void)setfsuid(q->uid);
	/* What they return is what was before: asked again, it is what is now. */
	if ((uid_t)setfsuid((uid_t)-1) != q->uid || (gid_t)setfsgid((gid_t)-1) != q->gid)
		return -EPERM;
	/* The kernel took those about files alone. With that for tracing (CAP_SYS_PTRACE) a path
	 * could lead through the directories of anybody's process: /proc/PID/cwd. */
	return syscall(SYS_capset, &h, none) < 0 ? -errno : 0;
}

static void *act_thread(void *arg)
{
	struct act *a = arg;
	int r = become(a->q, &a->user);

	a->result = r < 0 ? r : a->fn(a->path, a->t);
	return NULL;
}

/* On this thread where the requester is who msbd is. */
static int act(struct act *a)
{
	const struct ctl *c = a->q->c;
	const struct img_open o = {.bin_dir = c->paths.bin,
		.log_fd = c->log_fd,
		.uid = a->q->uid,
		.gid = a->q->gid,
		.cancel_fd = c->stop_fd};
	pthread_t t;
	int r;

	if (a->q->uid == c->uid)
		return a->fn(a->path, a->t);
	if (c->uid != 0)
		return -EACCES;
	r = img_open_user(&o, &a->user, NULL);
	if (r < 0)
		return r;
	r = pthread_create(&t, NULL, act_thread, a);
	if (r)
		return -r;
	(void)pthread_join(t, NULL); /* it was made just now */
	return a->result;
}

static int open_source(const char *path, struct ctl_target *t)
{
	/* Not blocked by a FIFO: whoever reads it refuses it. */
	t->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return t->fd < 0 ? -errno : 0;
}

int ctl_open_source(const struct ctl_req *q, const char *path, struct msb_err *e)
{
	struct ctl_target t = {-1, -1, ""};
	_cleanup_str_ struct msb_str full = MSB_STR_INIT;
	struct act a = {.q = q, .fn = open_source, .t = &t};
	int r = ctl_absolute(q, path, &full, e);

	a.path = full.buf;
	if (r < 0)
		return r;
	r = act(&a);
	return r < 0 ? msb_err_set(e, -r, "cannot open %s: %s", path, strerror(-r)) : t.fd;
}

/* A file without a name, and the directory where it gets one. */
static int open_regular(const char *path, struct ctl_target *t)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *dir = strndup(path, slash > path ? (size_t)(slash - path) : 1);

	if (!dir)
		return -ENOMEM;
	if (!slash[1])
		return -EISDIR;
	if (snprintf(t->name, sizeof(t->name), "%s", slash + 1) >= (int)sizeof(t->name))
		return -ENAMETOOLONG;
	t->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->dir < 0)
		return -errno;
	t->fd = openat(t->dir, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, NEW_MODE);
	return t->fd < 0 ? -errno : 0;
}

static int open_target(const char *path, struct ctl_target *t)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return -EISDIR;
	if (stat(path, &st) < 0 || S_ISREG(st.st_mode))
		return open_regular(path, t);
	/* A pipe that nobody reads is refused (ENXIO), not waited for. */
	t->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (t->fd < 0 || fcntl(t->fd, F_SETFL, 0) < 0)
		return -errno;
	return 0;
}

int ctl_target_open(
	const struct ctl_req *q, const char *path, struct ctl_target *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str full = MSB_STR_INIT;
	struct act a = {.q = q, .fn = open_target, .t = ret};
	int r = ctl_absolute(q, path, &full, e);

	a.path = full.buf;
	*ret = (struct ctl_target){-1, -1, ""};
	if (r < 0)
		return r;
	r = act(&a);
	if (r == 0)
		return 0;
	ctl_target_close(ret);
	return msb_err_set(e, -r, "cannot write %s: %s", path, strerror(-r));
}

/* A link takes no other file's place, a rename does: it goes by way of a name that is nobody's. */
static int name_it(const char *path, struct ctl_target *t)
{
	char from[32], by[64];

	(void)snprintf(from, sizeof(from), "/proc/self/fd/%d", t->fd);
	if (linkat(AT_FDCWD, from, t->dir, t->name, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	(void)snprintf(by, sizeof(by), ".msb-%d-%d.part", (int)getpid(), t->fd);
	if (linkat(AT_FDCWD, from, t->dir, by, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	if (renameat(t->dir, by, t->dir, t->name) < 0) {
		int r = -errno;

		(void)unlinkat(t->dir, by, 0);
		return r;
	}
	return 0;
}

int ctl_target_done(const struct ctl_req *q, struct ctl_target *t, struct msb_err *e)
{
	struct act a = {.q = q, .fn = name_it, .path = "", .t = t};
	int r = 0;

	if (t->dir >= 0)
		r = fdatasync(t->fd) < 0 ? -errno : act(&a);
	if (r == 0 && t->dir >= 0 && fsync(t->dir) < 0)
		r = -errno;
	return r < 0 ? msb_err_set(e, -r, "cannot write %s: %s", t->name, strerror(-r)) : 0;
}

void ctl_target_close(struct ctl_target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	if (t->dir >= 0)
		close(t->dir);
	t->fd = t->dir = -1;
}
