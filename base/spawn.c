// SPDX-License-Identifier: Apache-2.0
// Starting the programs that belong to msb.
#include "base/spawn.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FIRST_FD 3
#define MAX_FDS	 32

/* Runs between fork and exec in a threaded program: async-signal-safe calls only. */
static void child(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int null_fd, int err_fd)
{
	int moved[MAX_FDS], saved;
	sigset_t none;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	/* Lift everything above the range that dup2 is about to fill, so that no source is
	 * overwritten. */
	err_fd = fcntl(err_fd, F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	for (size_t i = 0; i < nfds; i++)
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	if (log_fd >= 0)
		log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	dup2(null_fd, 0);
	if (log_fd >= 0) {
		dup2(log_fd, 1);
		dup2(log_fd, 2);
	}
	for (size_t i = 0; i < nfds; i++)
		if (dup2(moved[i], FIRST_FD + (int)i) < 0)
			goto fail;
	syscall(SYS_close_range, FIRST_FD + (unsigned int)nfds, ~0U, CLOSE_RANGE_CLOEXEC);
	execv(path, argv);
fail:
	saved = errno;
	(void)!write(err_fd, &saved, sizeof(saved));
	_exit(127);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	(void)!write(fd, text, strlen(text)); /* unmapped, it has no more rights than before */
	close(fd);
}

/* fork() into a PID namespace of its own, which for an ordinary user takes a user namespace. Where
 * the host forbids those: plain fork(). @map: "UID UID 1", "GID GID 1". */
static pid_t fork_alone(const char *uid_map, const char *gid_map)
{
	bool root = geteuid() == 0;
	long pid =
		syscall(SYS_clone, CLONE_NEWPID | (root ? 0 : CLONE_NEWUSER) | SIGCHLD, 0, 0, 0, 0);

	if (pid < 0)
		return fork();
	if (pid == 0 && !root) {
		put("/proc/self/setgroups", "deny");
		put("/proc/self/uid_map", uid_map);
		put("/proc/self/gid_map", gid_map);
	}
	return (pid_t)pid;
}

static pid_t spawn(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, bool alone, struct msb_err *e)
{
	_cleanup_close_ int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int rd = -1, wr = -1;
	char uid_map[40], gid_map[40];
	int p[2], failed = 0, fd;
	ssize_t n;
	pid_t pid;

	if (nfds > MAX_FDS)
		return msb_err_set(e, E2BIG, "%s: too many descriptors", path);
	if (null_fd < 0 || pipe2(p, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", path);
	rd = p[0];
	wr = p[1];
	/* Made here: the child of a threaded program may not format. */
	(void)snprintf(uid_map, sizeof(uid_map), "%u %u 1", geteuid(), geteuid());
	(void)snprintf(gid_map, sizeof(gid_map), "%u %u 1", getegid(), getegid());
	pid = alone ? fork_alone(uid_map, gid_map) : fork();
	if (pid < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", path);
	if (pid == 0)
		child(path, argv, fds, nfds, log_fd, null_fd, wr);
	close(steal_fd(&wr));
	do
		n = read(rd, &failed, sizeof(failed));
	while (n < 0 && errno == EINTR);
	if (n == sizeof(failed)) {
		(void)waitpid(pid, NULL, 0); /* the child has reported and exits */
		return msb_err_set(e, failed, "cannot start %s: %s", path, strerror(failed));
	}
	if (ret_pidfd) {
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0)
			return msb_err_set(e, errno, "%s: pidfd: %m", path);
		*ret_pidfd = fd;
	}
	return pid;
}

pid_t msb_spawn(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e)
{
	return spawn(path, argv, fds, nfds, log_fd, ret_pidfd, false, e);
}

pid_t msb_spawn_alone(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e)
{
	return spawn(path, argv, fds, nfds, log_fd, ret_pidfd, true, e);
}
