// SPDX-License-Identifier: Apache-2.0
// Whole reads and writes, small files, directories, Unix sockets.
#include "base/io.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

int msb_write_full(int fd, const void *p, size_t n)
{
	const char *c = p;

	while (n) {
		ssize_t w = write(fd, c, n);

		if (w < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		c += w;
		n -= (size_t)w;
	}
	return 0;
}

int64_t msb_pread_full(int fd, void *p, size_t n, uint64_t off)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = pread(fd, (char *)p + done, n - done, (off_t)(off + done));

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (int64_t)done;
}

int msb_pwrite_full(int fd, const void *p, size_t n, uint64_t off)
{
	size_t done = 0;

	while (done < n) {
		ssize_t w = pwrite(fd, (const char *)p + done, n - done, (off_t)(off + done));

		if (w < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		done += (size_t)w;
	}
	return 0;
}

int msb_read_file(int dirfd, const char *path, size_t max, struct msb_str *s)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t total = 0;
	char buf[8192];

	if (fd < 0)
		return -errno;
	for (;;) {
		ssize_t r = read(fd, buf, sizeof(buf));

		if (r < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (r == 0)
			break;
		total += (size_t)r;
		if (total > max)
			return -EFBIG;
		msb_str_add(s, buf, (size_t)r);
	}
	return s->oom ? -ENOMEM : 0;
}

int msb_write_file_atomic(int dirfd, const char *path, const void *p, size_t n, mode_t mode)
{
	_cleanup_close_ int fd = -1;
	char tmp[PATH_MAX];
	int r;

	if (snprintf(tmp, sizeof(tmp), "%s.tmp-%d", path, (int)getpid()) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	fd = openat(dirfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = msb_write_full(fd, p, n);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, tmp, dirfd, path) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dirfd, tmp, 0); /* best effort: the error that matters is r */
	return r;
}

int msb_mkdir_p(const char *path, mode_t mode)
{
	char buf[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(buf))
		return n ? -ENAMETOOLONG : -EINVAL;
	memcpy(buf, path, n + 1);
	for (char *p = buf + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(buf, mode) < 0 && errno != EEXIST)
			return -errno;
		*p = c;
		if (c == '\0')
			return 0;
	}
}

static int unix_addr(const char *path, struct sockaddr_un *sa)
{
	size_t n = strlen(path);

	if (n >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(sa->sun_path, path, n + 1);
	return 0;
}

int msb_unix_listen(const char *path, int type, mode_t mode, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un sa;

	if (unix_addr(path, &sa) < 0)
		return msb_err_set(e, ENAMETOOLONG,
			"socket path %s is longer than 107 bytes; use a shorter MSB_STATE", path);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return msb_err_set(e, errno, "socket: %m");
	(void)unlink(path); /* a stale one of an earlier process; bind() reports anything else */
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return msb_err_set(e, errno, "cannot listen on %s: %m", path);
	if (chmod(path, mode) < 0 || listen(fd, 128) < 0)
		return msb_err_set(e, errno, "cannot listen on %s: %m", path);
	return steal_fd(&fd);
}

int msb_unix_connect(const char *path, int type)
{
	const struct timeval limit = {.tv_sec = MSB_CONNECT_MS / 1000}, none = {0};
	_cleanup_close_ int fd = -1;
	struct sockaddr_un sa;
	int r = unix_addr(path, &sa);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	/* Where the backlog of one that no longer accepts is full, connect() waits for ever. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		if (errno != EINTR)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none)) < 0)
		return -errno;
	return steal_fd(&fd);
}

int msb_wait_fd(int fd, short events, int timeout_ms)
{
	uint64_t end = msb_now_ms() + (timeout_ms > 0 ? (uint64_t)timeout_ms : 0);

	for (;;) {
		struct pollfd pf = {.fd = fd, .events = events};
		uint64_t now = msb_now_ms();
		int left = timeout_ms < 0 ? -1 : now >= end ? 0 : (int)(end - now);
		int r = poll(&pf, 1, left);

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

uint64_t msb_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
