// SPDX-License-Identifier: Apache-2.0
// Starting the programs that belong to msb.
#include "base/spawn.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FIRST_FD 3
#define MAX_FDS	 32

/* What the child is to become. */
struct child {
	const char *path;
	char *const *argv, *const *envp;
	const int *fds;
	size_t nfds;
	int log_fd, null_fd, err_fd;
	int go_fd;		       /* says that it was noted down; -1: need not be */
	const struct msb_spawn_as *as; /* NULL: one of ours */
	bool alone;
};

static __thread struct {
	int (*fn)(void *arg, pid_t pid);
	void *arg;
} note;

void msb_spawn_noted(int (*fn)(void *arg, pid_t pid), void *arg)
{
	note.fn = fn;
	note.arg = arg;
}

/* Gives up everything that is ours. 0 or -1 with errno. */
static int become(const struct msb_spawn_as *g)
{
	const struct rlimit files = {g->max_files, g->max_files}, core = {0, 0},
			    data = {g->max_data_bytes, g->max_data_bytes};

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 ||
		setrlimit(RLIMIT_DATA, &data) < 0 || chdir("/") < 0)
		return -1;
	umask(022);
	if (msb_user_become(g->user) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Closed at exec would be too late: the path that somebody else has named may lead through
 * /proc/self/fd, and what is open here is ours. */
static int let_go(struct child *c)
{
	int first = FIRST_FD + (int)c->nfds;

	if (dup3(c->err_fd, first, O_CLOEXEC) < 0)
		return -1;
	c->err_fd = first;
	return (int)syscall(SYS_close_range, (unsigned int)first + 1, ~0U, 0);
}

/* Runs between fork and exec in a threaded program: async-signal-safe calls only. */
static void child(struct child *c)
{
	int moved[MAX_FDS], saved;
	sigset_t none;
	char go;

	/* Not by the pipe's end alone: a child that was forked at the same time may hold it. */
	if (c->go_fd >= 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (c->as)
		signal(SIGHUP, SIG_DFL);
	/* Lift everything above the range that dup2 is about to fill, so that no source is
	 * overwritten. */
	c->err_fd = fcntl(c->err_fd, F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	if (c->go_fd >= 0)
		c->go_fd = fcntl(c->go_fd, F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	for (size_t i = 0; i < c->nfds; i++)
		moved[i] = fcntl(c->fds[i], F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	if (c->log_fd >= 0)
		c->log_fd = fcntl(c->log_fd, F_DUPFD_CLOEXEC, FIRST_FD + MAX_FDS);
	dup2(c->null_fd, 0);
	if (c->log_fd >= 0) {
		dup2(c->log_fd, 1);
		dup2(c->log_fd, 2);
	}
	for (size_t i = 0; i < c->nfds; i++)
		if (dup2(moved[i], FIRST_FD + (int)i) < 0)
			goto fail;
	syscall(SYS_close_range, FIRST_FD + (unsigned int)c->nfds, ~0U, CLOSE_RANGE_CLOEXEC);
	if (c->go_fd >= 0 && (read(c->go_fd, &go, 1) != 1 || prctl(PR_SET_PDEATHSIG, 0) < 0))
		_exit(127);
	if (!c->as || (let_go(c) == 0 && become(c->as) == 0))
		execve(c->path, c->argv, c->envp);
fail:
	saved = errno;
	(void)!write(c->err_fd, &saved, sizeof(saved));
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

int msb_spawn_kill(pid_t pid, int pidfd)
{
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0); /* it may have ended */
	if (msb_wait_fd(pidfd, POLLIN, MSB_KILL_MS) < 0) {
		log_err("process %d was killed, and does not end: a file system that it uses does "
			"not answer",
			(int)pid);
		return -ETIMEDOUT;
	}
	(void)waitpid(pid, NULL, WNOHANG); /* not ours where an earlier msbd started it */
	return 0;
}

/* Until the child has said why it cannot begin, or has begun, which closes the pipe. */
static int await_begin(int fd, int *ret_failed)
{
	ssize_t n;
	int r = msb_wait_fd(fd, POLLIN, MSB_SPAWN_MS);

	if (r < 0)
		return r;
	do
		n = read(fd, ret_failed, sizeof(*ret_failed));
	while (n < 0 && errno == EINTR);
	return n == sizeof(*ret_failed) ? 1 : 0;
}

static pid_t spawn(struct child *c, int *ret_pidfd, struct msb_err *e)
{
	_cleanup_close_ int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	_cleanup_close_ int rd = -1, wr = -1, go_rd = -1, go_wr = -1;
	char uid_map[40], gid_map[40];
	const char *path = c->path;
	int (*noted)(void *, pid_t) = note.fn;
	int p[2], failed = 0, fd, r = 0;
	pid_t pid;

	note.fn = NULL;
	if (c->nfds > MAX_FDS)
		return msb_err_set(e, E2BIG, "%s: too many descriptors", path);
	if (null_fd < 0 || pipe2(p, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", path);
	rd = p[0];
	wr = p[1];
	if (noted && pipe2(p, O_CLOEXEC) < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", path);
	if (noted) {
		go_rd = p[0];
		go_wr = p[1];
	}
	c->go_fd = go_rd;
	c->null_fd = null_fd;
	c->err_fd = wr;
	/* Made here: the child of a threaded program may not format. */
	(void)snprintf(uid_map, sizeof(uid_map), "%u %u 1", geteuid(), geteuid());
	(void)snprintf(gid_map, sizeof(gid_map), "%u %u 1", getegid(), getegid());
	pid = c->alone ? fork_alone(uid_map, gid_map) : fork();
	if (pid < 0)
		return msb_err_set(e, errno, "cannot start %s: %m", path);
	if (pid == 0)
		child(c);
	close(steal_fd(&wr));
	if (noted) {
		r = noted(note.arg, pid);
		if (r == 0 && write(go_wr, "", 1) != 1)
			r = -errno;
		close(steal_fd(&go_wr));
	}
	if (r < 0) {
		(void)kill(pid, SIGKILL); /* it has run nothing */
		(void)waitpid(pid, NULL, 0);
		return msb_err_set(e, -r, "cannot note down %s: %s", path, strerror(-r));
	}
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0) {
		r = -errno;
		(void)kill(pid, SIGKILL); /* not reaped: the number is its own */
		(void)waitpid(pid, NULL, 0);
		return msb_err_set(e, -r, "%s: pidfd: %s", path, strerror(-r));
	}
	r = await_begin(rd, &failed);
	if (r != 0)
		(void)msb_spawn_kill(pid, fd); /* where it has reported, it exits */
	if (r != 0 || !ret_pidfd)
		close(fd);
	else
		*ret_pidfd = fd;
	if (r > 0)
		return msb_err_set(e, failed, "cannot start %s: %s", path, strerror(failed));
	if (r < 0)
		return msb_err_set(e, -r, "cannot start %s: it did not begin in %d s", path,
			MSB_SPAWN_MS / 1000);
	return pid;
}

pid_t msb_spawn(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e)
{
	struct child c = {.path = path,
		.argv = argv,
		.envp = environ,
		.fds = fds,
		.nfds = nfds,
		.log_fd = log_fd};

	return spawn(&c, ret_pidfd, e);
}

pid_t msb_spawn_alone(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e)
{
	struct child c = {.path = path,
		.argv = argv,
		.envp = environ,
		.fds = fds,
		.nfds = nfds,
		.log_fd = log_fd,
		.alone = true};

	return spawn(&c, ret_pidfd, e);
}

pid_t msb_spawn_as(const struct msb_spawn_as *s, int *ret_pidfd, struct msb_err *e)
{
	struct child c = {.path = s->path,
		.argv = s->argv,
		.envp = s->envp,
		.fds = &s->sock_fd,
		.nfds = 1,
		.log_fd = s->out_fd,
		.as = s};

	return spawn(&c, ret_pidfd, e);
}
