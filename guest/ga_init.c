// SPDX-License-Identifier: Apache-2.0
// A guest whose PID 1 is its own: the agent goes on as a process beside it.
/*
 * Theory of operation. Once the root is entered the agent forks. The parent, which is PID 1,
 * becomes the init; the child has a copy of all there is and is the agent from then on. What an
 * epoll set knows of a signalfd is its adder's, so that one is made anew. Whether the init runs is
 * told by a pipe: it ends with the exec, or brings why there was none.
 */
#include "guest/ga.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SYSTEMD_POWER_OFF                                                                          \
	38 /* SIGRTMIN+4 by the kernel's numbers and glibc's; musl's is another                    \
	    */
#define INIT_NOFILE	1024
#define INIT_NOFILE_MAX 4096 /* what the kernel starts one with */
#define BASE_ENV	3

int ga_init_check(const char *path, struct msb_err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return msb_err_set(e, errno, "init %.300s: %s", path,
			errno == ENOENT ? "there is no such file in the root" : strerror(errno));
	if (!S_ISREG(st.st_mode) || access(path, X_OK) < 0)
		return msb_err_set(e, EACCES, "init %.300s: it is not executable", path);
	return 0;
}

/* Returns only where it failed. PID 1 must not end then: the host ends the machine. */
static void become(const struct ga_boot *b, struct msb_err *e)
{
	static const char *const base[BASE_ENV] = {"HOME=/", "TERM=linux",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
	const struct rlimit nofile = {INIT_NOFILE, INIT_NOFILE_MAX};
	char *argv[] = {(char *)(uintptr_t)b->init, NULL};
	const char **env = calloc(b->nenv + BASE_ENV + 1, sizeof(*env));
	sigset_t none;

	if (!env) {
		msb_err_set(e, ENOMEM, "the guest is out of memory");
		return;
	}
	memcpy(env, base, sizeof(base));
	for (size_t i = 0; i < b->nenv; i++)
		env[BASE_ENV + i] = b->env[i];
	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP)
			(void)signal(s, SIG_DFL); /* the libc refuses a few of its own */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setrlimit(RLIMIT_NOFILE, &nofile); /* more is no harm */
	execve(b->init, argv, (char **)(uintptr_t)env);
	msb_err_set(e, errno, "init %.300s: %s", b->init,
		errno == ENOEXEC  ? "no program of this machine, nor a script with #!"
		: errno == ENOENT ? "its interpreter is not in the root"
				  : strerror(errno));
	free(env);
}

int ga_init_start(struct ga *g, uint32_t id)
{
	struct msb_err e = {0};
	pid_t init = getpid(), pid;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid > 0) {
		become(&g->boot, &e);
		(void)!write(fds[1], &e, sizeof(e));
		close(fds[1]);
		for (;;)
			pause();
	}
	close(fds[1]);
	if (pid < 0 || ga_signals_open(g) < 0) {
		close(fds[0]);
		return -EAGAIN;
	}
	g->init = init;
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* what jobs leave stays here */
	g->ops->apart();
	return ga_task_watch(g, GA_TASK_INIT, id, fds[0]);
}

/* Whether @sig is in the mask that @key's line of a /proc/PID/status has. */
static bool in_mask(const char *status, const char *key, int sig)
{
	const char *p = strstr(status, key);

	return p && strtoull(p + strlen(key), NULL, 16) >> (sig - 1) & 1;
}

int ga_init_off_signal(const char *status, uint64_t awaited)
{
	static const int known[] = {SYSTEMD_POWER_OFF, SIGUSR2, SIGTERM};
	/* Who blocks that one blocks all, for a moment (fork(3) does): it says nothing of what it
	 * is there for. */
	bool all = in_mask(status, "\nSigBlk:", SIGSEGV);

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (in_mask(status, "\nSigCgt:", known[i]) ||
			(!all && in_mask(status, "\nSigBlk:", known[i])) ||
			awaited >> (known[i] - 1) & 1)
			return known[i];
	return 0;
}

uint64_t ga_init_awaits(const char *call)
{
	unsigned long long at, size;
	long nr;

	/* "NR 0xARG..": of sigtimedwait a set, what was taken, a time, bytes of the set. */
	if (sscanf(call, "%ld %llx %*x %*x %llx", &nr, &at, &size) != 3 ||
		nr != SYS_rt_sigtimedwait || size != sizeof(uint64_t))
		return 0;
	return at;
}

/* The signals that it waits for in sigtimedwait(2), as busybox's init does: while it does, the
 * kernel says of none of them that it is blocked. */
static uint64_t awaited(pid_t init)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_close_ int mem = -1;
	char path[32];
	uint64_t at, set;

	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", (int)init);
	if (msb_read_file(AT_FDCWD, path, 4096, &s) < 0)
		return 0;
	at = ga_init_awaits(s.buf ?: "");
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)init);
	mem = at ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	return mem >= 0 && pread(mem, &set, sizeof(set), (off_t)at) == sizeof(set) ? set : 0;
}

bool ga_init_ask_off(const struct ga *g)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[32];
	int sig;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)g->init);
	(void)msb_read_file(AT_FDCWD, path, 65536, &s); /* unreadable: as one that is not ready */
	sig = ga_init_off_signal(s.buf ?: "", awaited(g->init));
	return sig && kill(g->init, sig) == 0;
}
