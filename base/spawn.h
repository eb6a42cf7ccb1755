/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the programs that belong to msb, each with exactly the descriptors it is given. */
#ifndef MSB_BASE_SPAWN_H
#define MSB_BASE_SPAWN_H

#include "base/err.h"
#include "base/user.h"

#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/**
 * msb_spawn() - Run a program in a session of its own
 * @path:    absolute; @argv ends in NULL
 * @fds:     become 3, 4, ... in the child, in order; every other descriptor but 0-2 is closed there
 * @log_fd:  becomes 1 and 2 (-1: inherit); 0 is /dev/null
 * @ret_pidfd: set on success, CLOEXEC, may be NULL
 * Return: pid; -errno with @e; -ETIMEDOUT it did not begin in MSB_SPAWN_MS. A program that cannot
 * be executed is reported here, not by a silent child. Threads: any. The child is the caller's to
 * reap; it outlives the caller.
 */
pid_t msb_spawn(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e);

/* The same in a PID namespace of its own, as its PID 1, where the host permits: the program can
 * signal nobody else. The pid returned is the caller's view of it. */
pid_t msb_spawn_alone(const char *path, char *const argv[], const int *fds, size_t nfds, int log_fd,
	int *ret_pidfd, struct msb_err *e);

/* The same for a program that is not ours: somebody else's, with that user's rights alone. */
struct msb_spawn_as {
	const char *path; /* opened by the user itself, in the child */
	char *const *argv, *const *envp;
	int sock_fd, out_fd;		  /* become 3, and 1 and 2 */
	const struct msb_user *user;	  /* taken on where the caller is root */
	rlim_t max_files, max_data_bytes; /* RLIMIT_NOFILE, RLIMIT_DATA; core files are off */
};
/* Its working directory is /. */
pid_t msb_spawn_as(const struct msb_spawn_as *s, int *ret_pidfd, struct msb_err *e);

/* How long a program may take to begin, and a process to go once it was killed. */
#define MSB_SPAWN_MS 60000
#define MSB_KILL_MS  10000

/**
 * msb_spawn_kill() - Kill a child and reap it
 * A process that waits in the kernel for a file system that does not answer, which may be a user's
 * own, stays until that does: after MSB_KILL_MS it is left alone, and runs nothing any more.
 * Return: 0; -ETIMEDOUT it is left, which is logged.
 */
int msb_spawn_kill(pid_t pid, int pidfd);

/**
 * msb_spawn_noted() - Have the pid of what this thread starts next noted down before it runs
 * @fn: called once, in the caller; what it cannot note (-errno) is not run, and said by the spawn
 * Where the caller is killed before @fn has returned, the program never runs: so nothing is started
 * that nobody knows of.
 */
void msb_spawn_noted(int (*fn)(void *arg, pid_t pid), void *arg);

#endif
