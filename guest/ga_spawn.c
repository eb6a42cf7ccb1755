// SPDX-License-Identifier: Apache-2.0
// The child between fork and exec: identity, environment, program. It may block; the agent may not.
#include "guest/ga.h"
#include "guest/users.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441 /* opens the other end without a path: Linux 4.13 */
#endif

#define CLONE_INTO_CGROUP_ 0x200000000ULL /* Linux 5.7 */

#define SCRIPTS_DIR    "/run/msb-scripts" /* a share of the sandbox's scripts, where it has any */
#define DEFAULT_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define JOB_NOFILE     1024 /* soft; select(2) still counts */
#define JOB_NOFILE_MAX 524288

static int stdio(const struct ga_stdio *io, bool tty, const struct ga_user *u, struct msb_err *e)
{
	int fd[3] = {io->in, io->out, io->err};

	if (tty) {
		int s = ioctl(io->in, TIOCGPTPEER, O_RDWR | O_NOCTTY);

		if (s < 0)
			return msb_err_set(e, errno, "cannot open a terminal: %m");
		if (ioctl(s, TIOCSCTTY, 0) < 0)
			return msb_err_set(e, errno, "cannot take the terminal: %m");
		fd[0] = fd[1] = fd[2] = s;
	}
	for (int i = 0; i < 3; i++) {
		struct stat st;

		/* The user must be able to open /dev/stdout, which is the pipe's own inode. */
		if (u->uid && fstat(fd[i], &st) == 0 && (tty || S_ISFIFO(st.st_mode)))
			(void)!fchown(fd[i], u->uid, (gid_t)-1); /* else it cannot */
		if (dup2(fd[i], i) < 0)
			return msb_err_set(e, errno, "cannot hand over descriptor %d: %m", i);
	}
	return 0;
}

static int become(const struct ga_user *u, struct msb_err *e)
{
	/* An ordinary process (a test) is already who it can be. */
	if (geteuid() != 0)
		return 0;
	if (setgroups(u->ngroups, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
		setresuid(u->uid, u->uid, u->uid) < 0)
		return msb_err_set(e, errno, "cannot become uid %u: %m", u->uid);
	return 0;
}

static void env_set(const char **env, size_t *n, const char *entry)
{
	size_t key = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < *n; i++)
		if (!strncmp(env[i], entry, key)) {
			env[i] = entry;
			return;
		}
	env[(*n)++] = entry;
}

/* Before every PATH, whoever said it. */
static const char **with_scripts(const char **env, size_t *n)
{
	const char *path = ga_env_get(env, "PATH");
	char *all;

	if (!path || access(SCRIPTS_DIR, X_OK) < 0)
		return env;
	if (asprintf(&all, "PATH=" SCRIPTS_DIR "%s%s", *path ? ":" : "", path) < 0)
		return NULL;
	env_set(env, n, all);
	return env;
}

/* What every process may expect, then the sandbox's, then the job's own; the last one wins. */
static const char **environment(
	const struct ga_exec *x, const struct ga_boot *d, const struct ga_user *u)
{
	static char home[5 + GA_MAX_HOME], user[5 + GA_MAX_NAME];
	const char **env = calloc(x->nenv + d->nenv + 5, sizeof(*env));
	size_t n = 0;

	if (!env)
		return NULL;
	(void)snprintf(home, sizeof(home), "HOME=%s", u->home);
	(void)snprintf(user, sizeof(user), "USER=%s", u->name);
	env_set(env, &n, "PATH=" DEFAULT_PATH);
	env_set(env, &n, home);
	if (u->name[0])
		env_set(env, &n, user);
	if (x->tty)
		env_set(env, &n, "TERM=xterm");
	for (size_t i = 0; i < d->nenv; i++)
		env_set(env, &n, d->env[i]);
	for (size_t i = 0; i < x->nenv; i++)
		env_set(env, &n, x->env[i]);
	return with_scripts(env, &n);
}

static int cannot(const char *path, int code, struct msb_err *e)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		if (access(path, F_OK) == 0)
			return msb_err_set(
				e, ENOEXEC, "%.200s: its interpreter is not in the sandbox", path);
		return msb_err_set(e, ENOENT, "%.200s: not found", path);
	case EACCES: return msb_err_set(e, EACCES, "%.200s: not executable", path);
	case ENOEXEC:
		return msb_err_set(e, ENOEXEC,
			"%.200s: no program of this machine, nor a script with #!", path);
	default: return msb_err_set(e, code, "%.200s: %s", path, strerror(code));
	}
}

/* Returns only where it failed. */
static int run(const struct ga_exec *x, const char **env, struct msb_err *e)
{
	const char *name = x->argv[0], *path = ga_env_get(env, "PATH"), *denied = NULL;
	char *const *argv = (char *const *)(uintptr_t)x->argv;
	char *const *envp = (char *const *)(uintptr_t)env;
	char full[4096], first_denied[4096];

	if (strchr(name, '/')) {
		execve(name, argv, envp);
		return cannot(name, errno, e);
	}
	for (const char *end; path; path = *end ? end + 1 : NULL) {
		size_t n = strcspn(path, ":");

		end = path + n;
		if (snprintf(full, sizeof(full), "%.*s%s%s", (int)n, path, n ? "/" : "./", name) >=
			(int)sizeof(full))
			continue;
		execve(full, argv, envp);
		if (errno == EACCES && !denied)
			denied = memcpy(first_denied, full, strlen(full) + 1);
		else if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
			return cannot(full, errno, e);
		else if (errno == ENOENT && access(full, F_OK) == 0)
			return cannot(full, ENOENT, e);
	}
	if (denied)
		return cannot(denied, EACCES, e);
	return msb_err_set(e, ENOENT, "%.200s: not found in PATH", name);
}

static int limits(const struct ga_exec *x, struct msb_err *e)
{
	const struct rlimit nofile = {JOB_NOFILE, JOB_NOFILE_MAX};

	(void)setrlimit(RLIMIT_NOFILE, &nofile); /* the limits that it has are good enough */
	for (size_t i = 0; i < x->nrlimits; i++) {
		const struct ga_rlimit *l = &x->rlimits[i];
		const struct rlimit rl = {l->soft, l->hard}; /* UINT64_MAX is RLIM_INFINITY */

		if (prlimit(0, l->resource, &rl, NULL) < 0)
			return msb_err_set(e, errno, "cannot set limit %d: %m", l->resource);
	}
	return 0;
}

/* An agent that is not PID 1 is spared when memory runs out; its jobs are not. */
static void oom_as_others(void)
{
	_cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, "0", 1); /* it is not spared either where /proc is hidden */
}

/* Which part of it was at fault goes along with the errno. */
static int fault(struct msb_err *e, enum wire_fault what)
{
	e->code = WIRE_FAULT(e->code, (int)what);
	return -1;
}

static int child(const struct ga_exec *x, const struct ga_boot *d, const struct ga_stdio *io,
	struct msb_err *e)
{
	const char *cwd = x->cwd ? x->cwd : d->workdir;
	const char **env;
	struct ga_user u;
	sigset_t none;
	int root, r;

	for (int s = 1; s < NSIG; s++)
		if (s != SIGKILL && s != SIGSTOP)
			(void)signal(s, SIG_DFL); /* the libc refuses a few of its own */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (setsid() < 0)
		return msb_err_set(e, errno, "cannot start a session: %m");
	umask(022);
	if (*d->init)
		oom_as_others();
	if (limits(x, e) < 0)
		return fault(e, WIRE_FAULT_LIMITS);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (ga_user_load(root, x->user ? x->user : d->user, &u, e) < 0)
		return fault(e, WIRE_FAULT_USER);
	r = stdio(io, x->tty, &u, e);
	if (r == 0)
		r = become(&u, e);
	if (r < 0)
		return r;
	if (chdir(cwd) < 0) {
		msb_err_set(e, errno, "cannot enter %.200s: %m", cwd);
		return fault(e, WIRE_FAULT_CWD);
	}
	env = environment(x, d, &u);
	if (!env)
		return msb_err_set(e, ENOMEM, "the guest is out of memory");
	return run(x, env, e);
}

/* fork(2), into the cgroup from the start: moving a process there later waits for RCU. */
static pid_t fork_into(int cgroup_fd)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
			set_tid, set_tid_size, cgroup;
	} args = {.flags = CLONE_INTO_CGROUP_,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)(unsigned int)cgroup_fd};
	pid_t pid = -1;

	if (cgroup_fd >= 0)
		pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 ? fork() : pid; /* without it a kill reaches the process group alone */
}

pid_t ga_spawn(const struct ga_exec *x, const struct ga_boot *defaults, const struct ga_stdio *io,
	int status_fd, int cgroup_fd)
{
	pid_t pid = fork_into(cgroup_fd);
	struct msb_err e = {0};

	if (pid < 0)
		return -errno;
	if (pid > 0)
		return pid;
	if (child(x, defaults, io, &e) < 0)
		(void)!write(status_fd, &e, sizeof(e));
	_exit(127);
}
