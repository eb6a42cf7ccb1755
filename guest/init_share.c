// SPDX-License-Identifier: Apache-2.0
// Shares: directories of one virtiofs file system, each bound to its place.
#include "guest/init_root.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define TAG	 "shares"
#define WORKSHOP "/dev" /* a directory that is there; covered in a namespace of our own only */

/* linux/mount.h, which the libc's header does not go with. */
#define OPEN_TREE_CLONE_	 1
#define OPEN_TREE_CLOEXEC_	 O_CLOEXEC
#define MOVE_MOUNT_F_EMPTY_PATH_ 4
#define MOVE_MOUNT_T_EMPTY_PATH_ 0x40

/* The kernel's own 128 KiB are for disks: here a request costs as much as the copying of some
 * hundred KiB. More is read for nothing where a mapping's pages are used here and there. */
#define READ_AHEAD_KIB "512"

void ga_read_ahead(const char *dir)
{
	char path[64];
	struct stat st;
	_cleanup_close_ int fd = -1;

	if (stat(dir, &st) < 0) /* also waits until the mount's INIT has set what it sets */
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev),
		minor(st.st_dev));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)msb_write_full(fd, READ_AHEAD_KIB, strlen(READ_AHEAD_KIB));
}

/* The share as a mount that is nowhere yet. In a namespace that nobody else ever sees. */
static int make_tree(const struct ga_mount *m, struct msb_err *e)
{
	char dir[sizeof(WORKSHOP) + 1 + GA_MAX_SHARE_NAME];
	int fd;

	(void)snprintf(dir, sizeof(dir), WORKSHOP "/%s", m->source);
	/* Private, or the guest's own mounts would follow ours. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return msb_err_set(e, errno, "mount %s: cannot be made apart: %m", m->path);
	if (mount(TAG, WORKSHOP, "virtiofs", 0, NULL) < 0)
		return msb_err_set(e, errno, "mount %s: the machine's shares: %s", m->path,
			errno == EINVAL	  ? "it has no file server for them"
			: errno == ENODEV ? "the guest's kernel does not know virtiofs"
					  : strerror(errno));
	/* A bind mount, because what a mount may do is its own and not the file system's. */
	if (mount(dir, dir, NULL, MS_BIND, NULL) < 0)
		return msb_err_set(e, errno, "mount %s: the share: %m", m->path);
	if (m->flags && mount(NULL, dir, NULL, MS_REMOUNT | MS_BIND | m->flags, NULL) < 0)
		return msb_err_set(e, errno, "mount %s: its options: %m", m->path);
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_CLONE_ | OPEN_TREE_CLOEXEC_);
	return fd < 0 ? msb_err_set(e, errno, "mount %s: the share: %m", m->path) : fd;
}

/* make_tree(), and back where we were: entering a namespace changes root and working directory. */
static int fetch_tree(const struct ga_mount *m, struct msb_err *e)
{
	_cleanup_close_ int home = (int)syscall(SYS_pidfd_open, getppid(), 0);
	_cleanup_close_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int tree = -1;

	if (home < 0 || root < 0 || unshare(CLONE_NEWNS) < 0)
		return msb_err_set(e, errno, "mount %s: no namespace for it: %m", m->path);
	tree = make_tree(m, e);
	if (tree < 0)
		return tree;
	if (setns(home, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return msb_err_set(e, errno, "mount %s: cannot return to the guest: %m", m->path);
	return steal_fd(&tree);
}

static int share_at(const char *name, const char *path, enum ga_share_at *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	int r = msb_read_file(AT_FDCWD, "/proc/self/mountinfo", 1u << 20, &text);

	if (r < 0 || !text.buf)
		return msb_err_set(e, r < 0 ? -r : EIO, "cannot read the guest's mounts: %s",
			strerror(r < 0 ? -r : EIO));
	*ret = ga_share_find(text.buf, name, path);
	return 0;
}

int ga_share_mount(const struct ga_mount *m, struct msb_err *e)
{
	_cleanup_close_ int tree = -1, point = -1;
	enum ga_share_at at;
	int r = share_at(m->source, m->path, &at, e);

	if (r < 0 || at != GA_SHARE_NONE)
		return r;
	tree = fetch_tree(m, e);
	if (tree < 0)
		return tree;
	r = msb_mkdir_p(m->path, 0755);
	if (r < 0 && r != -EROFS)
		return msb_err_set(
			e, -r, "mount %s: cannot make the directory: %s", m->path, strerror(-r));
	point = open(m->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (point < 0 || syscall(SYS_move_mount, tree, "", point, "",
				 MOVE_MOUNT_F_EMPTY_PATH_ | MOVE_MOUNT_T_EMPTY_PATH_) < 0)
		return msb_err_set(e, errno, "mount %s: %m", m->path);
	ga_read_ahead(m->path);
	return 0;
}

int ga_share_umount(const struct ga_umount *u, struct msb_err *e)
{
	enum ga_share_at at;
	int r = share_at(u->name, u->path, &at, e);

	if (r < 0 || at == GA_SHARE_NONE)
		return r;
	if (at == GA_SHARE_COVERED)
		return msb_err_set(
			e, EBUSY, "%s: the guest has mounted something else over it", u->path);
	if (umount2(u->path, UMOUNT_NOFOLLOW | (u->lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	return errno == EBUSY
		       ? msb_err_set(e, EBUSY,
				 "%s: something in the guest uses it (a process that stands in "
				 "it or has a file of it open, or a mount below it)",
				 u->path)
		       : msb_err_set(e, errno, "%s: %m", u->path);
}
