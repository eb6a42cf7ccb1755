// SPDX-License-Identifier: Apache-2.0
// A second descriptor of a file that is held by an O_PATH one.
#include "fs/reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A process has one descriptor table, so it has one of these. */
static int fd_dir = -1;

int fs_reopen_init(void)
{
	if (fd_dir >= 0)
		return 0;
	fd_dir = (int)syscall(
		SYS_open_tree, AT_FDCWD, "/proc/self/fd", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd_dir < 0) /* needs CAP_SYS_ADMIN */
		fd_dir = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd_dir < 0 ? -errno : 0;
}

int fs_reopen_dir(void)
{
	return fd_dir;
}

struct fs_fd_name fs_fd_name(int fd)
{
	struct fs_fd_name n;

	(void)snprintf(n.s, sizeof(n.s), "%d", fd); /* 11 characters at most */
	return n;
}

int fs_reopen(int fd, int flags)
{
	int r = openat(fd_dir, fs_fd_name(fd).s, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return r < 0 ? -errno : r;
}
