/* SPDX-License-Identifier: Apache-2.0 */
/* Whole reads and writes, small files, directories, descriptors over sockets. */
#ifndef MSB_BASE_IO_H
#define MSB_BASE_IO_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int msb_write_full(int fd, const void *p, size_t n); /* 0 or -errno; retries EINTR */
int64_t msb_pread_full(
	int fd, void *p, size_t n, uint64_t off); /* bytes (short only at EOF) or -errno */
int msb_pwrite_full(int fd, const void *p, size_t n, uint64_t off); /* 0 or -errno */

/* Appends a whole file to @s. -EFBIG past @max bytes. @dirfd may be AT_FDCWD. */
int msb_read_file(int dirfd, const char *path, size_t max, struct msb_str *s);

/* Replaces @path by @n bytes through a temporary file, fsync and rename; readers see the old or the
 * new. */
int msb_write_file_atomic(int dirfd, const char *path, const void *p, size_t n, mode_t mode);

int msb_mkdir_p(const char *path, mode_t mode); /* every missing parent too; 0 where it exists */
/* Never follows symlinks nor leaves the tree, which may be as deep as it likes; 0 where absent.
 * -errno: the first thing that could not be removed. In base/rm.c. */
int msb_rm_rf(int dirfd, const char *name);

/* AF_UNIX SOCK_SEQPACKET sockets at an absolute path of at most 107 bytes. Descriptors are CLOEXEC.
 */
int msb_unix_listen(const char *path, int type, mode_t mode,
	struct msb_err *e); /* replaces a stale socket file */
#define MSB_CONNECT_MS 5000
int msb_unix_connect(
	const char *path, int type); /* fd or -errno; -ETIMEDOUT after MSB_CONNECT_MS */

/* Waits until @fd has @events (poll(2)) or @timeout_ms passes (-1: for ever). 0, -ETIMEDOUT or
 * -errno. */
int msb_wait_fd(int fd, short events, int timeout_ms);

uint64_t msb_now_ms(void); /* CLOCK_MONOTONIC */

#endif
