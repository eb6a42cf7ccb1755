/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second descriptor, with other rights, of a file that is held by an O_PATH one.
 *
 * The kernel has one way that works for every file, also unlinked or renamed ones, on every kernel
 * in use: the magic links in /proc/self/fd. There is no /proc in the jail, so that directory is
 * opened before. Where the kernel permits it is cloned as a mount of its own: its ".." is itself.
 */
#ifndef MSB_FS_REOPEN_H
#define MSB_FS_REOPEN_H

/* Opens /proc/self/fd, once for the process: before the jail and before threads. 0 or -errno. */
int fs_reopen_init(void);

/* The directory of fs_reopen_init(), for the *at() calls that follow links; -1 before it. */
int fs_reopen_dir(void);

/* A name in that directory: "17". */
struct fs_fd_name {
	char s[16];
};
struct fs_fd_name fs_fd_name(int fd);

/* O_CLOEXEC|O_NOCTTY|O_NONBLOCK are added. A descriptor or -errno. */
int fs_reopen(int fd, int flags);

#endif
