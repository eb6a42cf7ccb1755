// SPDX-License-Identifier: Apache-2.0
// Mounting a FUSE file system: by mount(2) where that is permitted, through fusermount3 else.
#include "fs/fsd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* env(1) passes the one variable that fusermount3 wants: setenv() here would race with threads. */
#define ENV	   "/usr/bin/env"
#define FUSERMOUNT "fusermount3"

static int mount_root(const char *mountpoint, bool readonly, struct msb_err *e)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	_cleanup_close_ int on = open(mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	char opts[160], path[40];

	if (fd < 0)
		return msb_err_set(e, errno, "/dev/fuse: %m");
	if (on < 0)
		return msb_err_set(e, errno, "cannot mount %s: %m", mountpoint);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", on);
	(void)snprintf(opts, sizeof(opts),
		"fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions,allow_other", fd,
		geteuid(), getegid());
	if (mount("msb", path, "fuse.msb", MS_NOSUID | MS_NODEV | (readonly ? MS_RDONLY : 0),
		    opts) < 0)
		return msb_err_set(e, errno, "cannot mount %s: %m", mountpoint);
	return steal_fd(&fd);
}

/* Runs a command and waits for it: 0, -EIO where it failed, -errno. */
static int run(const char *path, char *const argv[], const int *fds, size_t nfds, struct msb_err *e)
{
	pid_t pid = msb_spawn(path, argv, fds, nfds, -1, NULL, e);
	int status = 0;

	if (pid < 0)
		return pid;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR) /* somebody here reaps every child: the outcome tells */
			break;
	return status ? msb_err_set(e, EIO, "fusermount3 failed") : 0;
}

/* The descriptor that fusermount3 sends back over its end of the socket pair. */
static int receive_fd(int sock)
{
	char byte;
	struct iovec iov = {&byte, 1};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))];
	struct msghdr mh = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl,
		.msg_controllen = sizeof(ctl)};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0)
		return -EIO;
	c = CMSG_FIRSTHDR(&mh);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EIO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_user(const char *mountpoint, bool readonly, struct msb_err *e)
{
	_cleanup_close_ int ours = -1, theirs = -1;
	char opts[96], path[4096];
	char *argv[] = {(char[]){"env"}, (char[]){"_FUSE_COMMFD=3"}, (char[]){FUSERMOUNT},
		(char[]){"-o"}, opts, (char[]){"--"}, path, NULL};
	int pair[2], r;

	if ((size_t)snprintf(path, sizeof(path), "%s", mountpoint) >= sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "%s: the path is too long", mountpoint);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return msb_err_set(e, errno, "cannot mount %s: %m", mountpoint);
	ours = pair[0];
	theirs = pair[1];
	/* No default_permissions: root's files in the tree are this user's to edit, and nobody else
	 * gets in. */
	(void)snprintf(
		opts, sizeof(opts), "nosuid,nodev,fsname=msb,subtype=msb%s", readonly ? ",ro" : "");
	r = run(ENV, argv, &theirs, 1, e);
	if (r < 0)
		return msb_err_wrap(e, "cannot mount %s", mountpoint);
	r = receive_fd(ours);
	return r < 0 ? msb_err_set(e, -r, "cannot mount %s: fusermount3 sent nothing", mountpoint)
		     : r;
}

int fsd_fuse_mount(const char *mountpoint, bool readonly, struct msb_err *e)
{
	return geteuid() == 0 ? mount_root(mountpoint, readonly, e)
			      : mount_user(mountpoint, readonly, e);
}

/* A mount whose server is dead answers ENOTCONN: it is still one. */
bool fsd_fuse_mounted(const char *path)
{
	const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC;
	struct statx sx;

	if (statx(AT_FDCWD, path, flags, 0, &sx) < 0)
		return errno != ENOENT && errno != ENOTDIR;
	return sx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

int fsd_fuse_unmount(const char *mountpoint)
{
	char path[4096];
	char *argv[] = {(char[]){"env"}, (char[]){FUSERMOUNT}, (char[]){"-u"}, (char[]){"-z"},
		(char[]){"-q"}, (char[]){"--"}, path, NULL};

	if (!fsd_fuse_mounted(mountpoint))
		return 0;
	if (geteuid() == 0)
		return umount2(mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	if ((size_t)snprintf(path, sizeof(path), "%s", mountpoint) >= sizeof(path))
		return -ENAMETOOLONG;
	return run(ENV, argv, NULL, 0, NULL);
}
