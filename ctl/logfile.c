// SPDX-License-Identifier: Apache-2.0
// Logs on disk that are rotated by size.
#include "ctl/logfile.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

static uint64_t size_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void ctl_logfile_open(struct ctl_logfile *l, int dirfd, const char *name)
{
	char old[64];

	(void)snprintf(old, sizeof(old), "%s.1", name);
	l->old_fd = openat(dirfd, old, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	l->fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	l->old_bytes = size_of(l->old_fd);
}

void ctl_logfile_close(struct ctl_logfile *l)
{
	if (l->old_fd >= 0)
		close(l->old_fd);
	if (l->fd >= 0)
		close(l->fd);
	l->old_fd = l->fd = -1;
}

uint64_t ctl_logfile_size(int dirfd, const char *name)
{
	uint64_t bytes = 0;
	struct stat st;
	char old[64];

	(void)snprintf(old, sizeof(old), "%s.1", name);
	if (fstatat(dirfd, old, &st, AT_SYMLINK_NOFOLLOW) == 0)
		bytes += (uint64_t)st.st_size;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		bytes += (uint64_t)st.st_size;
	return bytes;
}

uint64_t ctl_logfile_end(const struct ctl_logfile *l)
{
	return l->old_bytes + size_of(l->fd);
}

int ctl_logfile_read(const struct ctl_logfile *l, uint64_t off, size_t max, struct msb_str *s)
{
	_cleanup_free_ char *buf = malloc(max);
	int64_t n = 0;

	if (!buf)
		return -ENOMEM;
	if (off < l->old_bytes) {
		size_t left =
			(size_t)(l->old_bytes - off) < max ? (size_t)(l->old_bytes - off) : max;

		n = msb_pread_full(l->old_fd, buf, left, off);
	} else if (l->fd >= 0) {
		n = msb_pread_full(l->fd, buf, max, off - l->old_bytes);
	}
	if (n < 0)
		return (int)n;
	msb_str_add(s, buf, (size_t)n);
	return s->oom ? -ENOMEM : 0;
}

void ctl_logfile_rotate(int dirfd, const char *name, uint64_t max)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	_cleanup_close_ int to = -1;
	uint64_t n = size_of(fd);
	off_t off = 0;
	char old[64];

	if (n <= max)
		return;
	(void)snprintf(old, sizeof(old), "%s.1", name);
	to = openat(dirfd, old, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (to < 0)
		return log_warn("cannot rotate %s: %m, ignoring", name);
	while ((uint64_t)off < n)
		if (sendfile(to, fd, &off, n - (uint64_t)off) <= 0)
			break;
	/* A line written between the copy and here is lost; other processes hold the file open for
	 * appending, so it cannot be renamed. */
	if (ftruncate(fd, 0) < 0)
		log_warn("cannot rotate %s: %m, ignoring", name);
}
