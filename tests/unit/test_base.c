// SPDX-License-Identifier: Apache-2.0
// base: errors, files, spawning, paths, the jail, the log.
#include "base/cleanup.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/io.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/msb-base-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static void errors_wrap(void **state)
{
	struct msb_err e = {0};

	assert_int_equal(msb_err_set(&e, EINVAL, "line %d is bad", 3), -EINVAL);
	assert_int_equal(msb_err_wrap(&e, "reading %s", "x"), -EINVAL);
	assert_string_equal(e.msg, "reading x: line 3 is bad");
	assert_int_equal(msb_err_set(NULL, EPERM, "no one listens"), -EPERM);
	e = (struct msb_err){0};
	assert_int_equal(msb_err_wrap(&e, "x"), -EIO);
	for (int i = 0; i < 400; i++)
		msb_err_wrap(&e, "again");
	assert_true(strlen(e.msg) < MSB_ERR_MAX);
	/* One line of text, whoever supplied the words; UTF-8 stays. */
	msb_err_set(&e, EIO, "\xc2\x9b\x32J\xc2\xa0\xc2");
	assert_string_equal(e.msg, "??2J\xc2\xa0\xc2");
	msb_err_set(&e, EIO, "a\nstate running\033[2J\177 %s", "ü\t");
	assert_string_equal(e.msg, "a?state running?[2J? ü?");
	msb_err_wrap(&e, "x\ny");
	assert_string_equal(e.msg, "x?y: a?state running?[2J? ü?");
}

static void atomic_files(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/a/b/c", dir);
	assert_int_equal(msb_mkdir_p(path, 0700), 0);
	assert_int_equal(msb_mkdir_p(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/a/f", dir);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, "one", 3, 0600), 0);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, "three", 5, 0600), 0);
	assert_int_equal(msb_read_file(AT_FDCWD, path, 5, &s), 0);
	assert_string_equal(s.buf, "three");
	assert_int_equal(msb_read_file(AT_FDCWD, path, 4, &s), -EFBIG);
	(void)snprintf(path, sizeof(path), "%s/a/f/g", dir);
	assert_int_equal(msb_mkdir_p(path, 0700), -ENOTDIR);
}

/* What removes a sandbox's directory must not follow a link that a guest planted there. */
static void rm_rf_stays_inside(void **state)
{
	char keep[128], gone[128], link[128];

	(void)snprintf(keep, sizeof(keep), "%s/keep", dir);
	(void)snprintf(gone, sizeof(gone), "%s/gone", dir);
	(void)snprintf(link, sizeof(link), "%s/gone/up", dir);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, keep, "k", 1, 0600), 0);
	assert_int_equal(mkdir(gone, 0700), 0);
	assert_int_equal(symlink("..", link), 0);
	assert_int_equal(msb_rm_rf(AT_FDCWD, gone), 0);
	assert_int_equal(access(gone, F_OK), -1);
	assert_int_equal(access(keep, F_OK), 0);
	assert_int_equal(msb_rm_rf(AT_FDCWD, gone), 0);
}

/* Whoever is in a guest may nest directories without end. */
static void rm_rf_is_not_held_up_by_depth(void **state)
{
	struct rlimit files, few;
	char top[128], name[160];
	int at;

	(void)snprintf(top, sizeof(top), "%s/deep", dir);
	(void)snprintf(name, sizeof(name), "%s/.msb-rm-0", top);
	assert_int_equal(mkdir(top, 0700), 0);
	assert_int_equal(mkdir(name, 0700), 0); /* a name that it would give itself */
	at = open(top, O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 5000; i++) {
		int sub;

		assert_int_equal(mkdirat(at, "d", 0700), 0);
		sub = openat(at, "d", O_RDONLY | O_DIRECTORY);
		assert_true(sub >= 0);
		close(at);
		at = sub;
		close(openat(at, "f", O_WRONLY | O_CREAT, 0600));
	}
	close(at);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = (struct rlimit){64, files.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(msb_rm_rf(AT_FDCWD, top), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	assert_int_equal(access(top, F_OK), -1);
}

/* An ordinary user's guest takes its own directories' modes away, and with them the user's. */
static void rm_rf_opens_what_is_closed(void **state)
{
	char top[128], sub[160], in[192];
	int status;
	pid_t pid;

	(void)snprintf(top, sizeof(top), "%s/closed", dir);
	(void)snprintf(sub, sizeof(sub), "%s/a", top);
	(void)snprintf(in, sizeof(in), "%s/b", sub);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(mkdir(top, 0700), 0);
	if (geteuid() == 0)
		assert_int_equal(chown(top, 54321, 54321), 0);
	pid = fork();
	if (pid == 0) {
		int at = open(top, O_RDONLY | O_DIRECTORY);

		if (geteuid() == 0 && setresuid(54321, 54321, 54321) < 0)
			_exit(1);
		if (mkdir(sub, 0700) < 0 || mkdir(in, 0) < 0 || chmod(sub, 0) < 0)
			_exit(2);
		_exit(msb_rm_rf(at, "a") < 0 ? 3 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(access(sub, F_OK), -1);
	assert_int_equal(msb_rm_rf(AT_FDCWD, top), 0);
}

/* A program of somebody else's: its rights, its limits, and nothing of ours. */
static void spawn_as_gives_nothing_more(void **state)
{
	char *argv[] = {"sh", "-c",
		"for f in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$f ] && echo $f; done; pwd; id -u; "
		"id -g; id -G; "
		"ulimit -n; ulimit -c; echo ${LEFT-none} $GIVEN; echo hello >&3; "
		"grep NoNewPrivs /proc/self/status",
		NULL};
	char *envp[] = {"PATH=/bin:/usr/bin", "HOME=/", "GIVEN=yes", NULL};
	const struct msb_user user = {.uid = 54321, .gid = 54322, .ngroups = 1, .groups = {54323}};
	struct msb_spawn_as s = {.path = "/bin/sh",
		.argv = argv,
		.envp = envp,
		.user = &user,
		.max_files = 77,
		.max_data_bytes = 1u << 30};
	char want[256], got[512] = "", in[16] = "";
	struct msb_err e = {0};
	int out[2], sv[2], bin, high, pidfd = -1;
	char through[40];
	uid_t uid = geteuid() == 0 ? 54321 : geteuid();
	gid_t gid = geteuid() == 0 ? 54322 : getegid();
	size_t n = 0;
	ssize_t k;
	pid_t pid;

	assert_int_equal(setenv("LEFT", "over", 1), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	s.sock_fd = sv[1];
	s.out_fd = out[1];
	pid = msb_spawn_as(&s, &pidfd, &e);
	assert_true(pid > 0);
	close(out[1]);
	close(sv[1]);
	while (n < sizeof(got) - 1 && (k = read(out[0], got + n, sizeof(got) - 1 - n)) > 0)
		n += (size_t)k;
	assert_int_equal(read(sv[0], in, sizeof(in) - 1), 6);
	assert_string_equal(in, "hello\n");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	if (geteuid() == 0) {
		(void)snprintf(want, sizeof(want),
			"3\n/\n%u\n%u\n%u 54323\n77\n0\nnone yes\nNoNewPrivs:\t1\n", uid, gid, gid);
		assert_string_equal(got, want);
	}
	close(out[0]);
	close(sv[0]);
	close(pidfd);
	s.path = "/no/such/program";
	s.sock_fd = s.out_fd = 1;
	assert_int_equal(msb_spawn_as(&s, NULL, &e), -ENOENT);
	bin = open("/bin", O_PATH | O_DIRECTORY | O_CLOEXEC);
	high = fcntl(bin, F_DUPFD_CLOEXEC, 100);
	(void)snprintf(through, sizeof(through), "/proc/self/fd/%d/sh", high);
	assert_int_equal(access(through, X_OK), 0);
	s.path = through;
	assert_int_equal(msb_spawn_as(&s, NULL, &e), -ENOENT);
	close(bin);
	close(high);
	if (geteuid() == 0) { /* what only the caller could run */
		char mine[80];

		(void)snprintf(mine, sizeof(mine), "%s/mine", dir);
		assert_int_equal(msb_write_file_atomic(AT_FDCWD, mine, "#!/bin/sh\n", 10, 0700), 0);
		s.path = mine;
		assert_int_equal(msb_spawn_as(&s, NULL, &e), -EACCES);
	}
}

/* What is open stays, and nothing more can be. */
static int no_more_fds(void *arg, pid_t pid)
{
	struct rlimit *was = arg;

	if (getrlimit(RLIMIT_NOFILE, was) < 0)
		return -errno;
	return setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, was->rlim_max}) < 0 ? -errno : 0;
}

static void spawn_without_a_pidfd(void **state)
{
	char *argv[] = {"sleep", "1000", NULL};
	struct rlimit was;
	struct msb_err e = {0};

	msb_spawn_noted(no_more_fds, &was);
	assert_int_equal(msb_spawn("/bin/sleep", argv, NULL, 0, -1, NULL, &e), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_non_null(strstr(e.msg, "pidfd"));
	/* Nothing of it is left. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static bool unshare_permitted(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(CLONE_NEWPID | (geteuid() ? CLONE_NEWUSER : 0)) < 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status == 0;
}

static void spawn_gives_only_these_fds(void **state)
{
	char *argv[] = {"sh", "-c",
		"echo a >&3; for f in /proc/$$/fd/*; do echo ${f##*/}; done >&4; exit 7", NULL};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int leak = open("/dev/null", O_RDONLY),
	    high = fcntl(leak, F_DUPFD, 77); /* not CLOEXEC, on purpose */
	int a, b, pidfd = -1, status;
	struct msb_err e = {0};
	char out[128];
	siginfo_t si;
	pid_t pid;

	(void)snprintf(out, sizeof(out), "%s/a1", dir);
	a = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	(void)snprintf(out, sizeof(out), "%s/b1", dir);
	b = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	pid = msb_spawn("/bin/sh", argv, (int[]){a, b}, 2, -1, &pidfd, &e);
	assert_true(pid > 0);
	assert_int_equal(waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_int_equal(msb_read_file(AT_FDCWD, out, 100, &s), 0);
	assert_non_null(strstr(s.buf, "3\n4\n"));
	assert_null(strstr(s.buf, "77\n"));
	close(a);
	close(b);
	close(pidfd);
	close(high);
	close(leak);
	/* Alone, it is the first of its namespace, as far as it knows; where that is permitted. */
	(void)snprintf(out, sizeof(out), "%s/c1", dir);
	a = open(out, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	argv[2] = (char[]){"echo $$ $(id -u) >&3"};
	pid = msb_spawn_alone("/bin/sh", argv, &a, 1, -1, NULL, &e);
	assert_true(pid > 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	s.len = 0;
	assert_int_equal(msb_read_file(AT_FDCWD, out, 100, &s), 0);
	(void)snprintf(
		out, sizeof(out), "%d %d\n", unshare_permitted() ? 1 : (int)pid, (int)geteuid());
	assert_string_equal(s.buf, out);
	close(a);
	argv[0] = "/no/such/program";
	assert_int_equal(msb_spawn("/no/such/program", argv, NULL, 0, -1, NULL, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/no/such/program"));
}

static void paths(void **state)
{
	char deep[128] = "/tmp/";
	struct msb_paths p;
	struct msb_err e = {0};

	setenv("MSB_MNT", "/tmp/m", 1);
	setenv("MSB_STATE", "/tmp/s", 1);
	unsetenv("MSB_SHARE");
	assert_int_equal(msb_paths_init(&p, &e), 0);
	assert_string_equal(p.mnt, "/tmp/m");
	assert_string_equal(p.state, "/tmp/s");
	assert_string_equal(p.run, "/tmp/s/run");
	setenv("MSB_STATE", "relative", 1);
	assert_int_equal(msb_paths_init(&p, &e), -EINVAL);
	memset(deep + 5, 'd', 100);
	setenv("MSB_STATE", deep, 1);
	assert_int_equal(msb_paths_init(&p, &e), -ENAMETOOLONG);
	assert_non_null(strstr(e.msg, "shorter MSB_STATE"));
	/* Who only uses the tree needs no more than its place. */
	assert_int_equal(msb_paths_mnt(p.mnt, &e), 0);
	assert_string_equal(p.mnt, "/tmp/m");
	setenv("MSB_MNT", "relative", 1);
	assert_int_equal(msb_paths_mnt(p.mnt, &e), -EINVAL);
	unsetenv("MSB_MNT");
	unsetenv("MSB_STATE");
}

/* Runs @fn jailed in a child; how it ended. */
static int jailed(const struct msb_jail *j, int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct msb_err e = {0};

		_exit(msb_jail_enter(j, &e) < 0 ? 100 : fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int try_to_get_out(void)
{
	if (open("/etc/passwd", O_RDONLY) >= 0 || open("/proc/self/status", O_RDONLY) >= 0)
		return 1;
	if (mkdir("/x", 0700) == 0)
		return 2;
	return setuid(0) == 0 ? 3 : 0;
}

static int call_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 1 : 0;
}

static int home_fd; /* of a directory that a jail names */

static int climb_out(void)
{
	int fd;

	if (openat(home_fd, "../../etc/passwd", O_RDONLY) >= 0 ||
		openat(home_fd, "..", O_RDONLY) >= 0)
		return 1;
	if (mkdirat(home_fd, "../climbed", 0700) == 0)
		return 2;
	fd = openat(home_fd, "in", O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, 0) < 0 || mkdirat(home_fd, "d", 0700) < 0 ||
		renameat(home_fd, "in", home_fd, "d/in") < 0)
		return 3;
	return 0;
}

static int read_only(void)
{
	if (openat(home_fd, "d/in", O_RDONLY) < 0)
		return 1;
	return openat(home_fd, "d/in", O_WRONLY) >= 0 || unlinkat(home_fd, "d/in", 0) == 0 ? 2 : 0;
}

/* A descriptor of a directory is no way to its parent. */
static void jail_stays_beneath(void **state)
{
	struct msb_jail_dir home = {.write = true};
	struct msb_jail j = {.flags = MSB_JAIL_ROOT, .dirs = &home, .ndirs = 1};
	char path[128];

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2)
		skip();
	(void)snprintf(path, sizeof(path), "%s/home", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	home.fd = home_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(jailed(&j, climb_out), 0);
	home.write = false;
	assert_int_equal(jailed(&j, read_only), 0);
	close(home_fd);
}

static void jail_holds(void **state)
{
	static const char *const calls[] = {"exit_group", "write", NULL};
	struct msb_jail roots = {
		.flags = MSB_JAIL_NET | MSB_JAIL_ROOT | MSB_JAIL_IPC | MSB_JAIL_NOBODY};
	struct msb_jail filter = {.syscalls = calls};
	int s;

#ifdef __SANITIZE_THREAD__
	skip(); /* its runtime has a thread of its own, whose calls no jail of ours lets through */
#endif
	/* Namespaces need root, or user namespaces: where neither is to be had the jail still runs.
	 */
	s = jailed(&roots, try_to_get_out);
	assert_true(WIFEXITED(s));
	if (geteuid() == 0)
		assert_int_equal(WEXITSTATUS(s), 0);
	s = jailed(&filter, call_socket);
	assert_true(WIFSIGNALED(s));
	assert_int_equal(WTERMSIG(s), SIGSYS);
}

static void log_escapes(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	msb_log_init("t", "box", fd);
	log_err("bad \"name\"\n\033[31m");
	log_debug("not shown");
	assert_int_equal(msb_read_file(AT_FDCWD, path, 4096, &s), 0);
	assert_non_null(
		strstr(s.buf, "\"sandbox\":\"box\",\"msg\":\"bad \\\"name\\\"\\n\\u001b[31m\"}\n"));
	assert_null(strstr(s.buf, "not shown"));
	msb_log_init("t", NULL, -1);
	close(fd);
}

/* Priorities are for the journal alone: what else inherits its variable is JSON. */
static void log_to_journal(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[128], stream[64];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/stream", dir);
	fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_int_equal(fstat(fd, &st), 0);
	(void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	assert_false(msb_log_is_journal(0));
	msb_log_init("t", NULL, fd);
	log_warn("to the journal");
	setenv("JOURNAL_STREAM", "8:1", 1);
	msb_log_init("t", NULL, fd);
	log_warn("to a file");
	unsetenv("JOURNAL_STREAM");
	assert_false(msb_log_is_journal(fd));
	assert_int_equal(msb_read_file(AT_FDCWD, path, 4096, &s), 0);
	assert_memory_equal(s.buf, "<4>{", 4);
	assert_non_null(strstr(s.buf, "\n{"));
	msb_log_init("t", NULL, -1);
	close(fd);
}

/* Whatever the step between numbers, they use the table: no place has many of them, and what comes
 * one after the other lies in few lines. */
static void near_hash_spreads(void **state)
{
	enum { N = 4096 };

	for (uint64_t step = 1; step <= UINT64_C(1) << 36; step *= 2) {
		unsigned int at[N] = {0}, most = 0;

		for (uint64_t i = 0; i < N; i++) {
			unsigned int *n = &at[msb_near_hash(i * step) % N];

			most = ++*n > most ? *n : most;
		}
		assert_in_range(most, 1, 8);
	}
	for (uint64_t i = 0; i < N; i += MSB_NEAR)
		for (uint64_t k = 0; k < MSB_NEAR; k++)
			assert_int_equal(
				msb_near_hash(i + k) / MSB_NEAR, msb_near_hash(i) / MSB_NEAR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_hash_spreads),
		cmocka_unit_test(errors_wrap),
		cmocka_unit_test(atomic_files),
		cmocka_unit_test(rm_rf_stays_inside),
		cmocka_unit_test(rm_rf_is_not_held_up_by_depth),
		cmocka_unit_test(rm_rf_opens_what_is_closed),
		cmocka_unit_test(spawn_without_a_pidfd),
		cmocka_unit_test(spawn_gives_only_these_fds),
		cmocka_unit_test(spawn_as_gives_nothing_more),
		cmocka_unit_test(paths),
		cmocka_unit_test(jail_stays_beneath),
		cmocka_unit_test(jail_holds),
		cmocka_unit_test(log_escapes),
		cmocka_unit_test(log_to_journal),
	};

	return cmocka_run_group_tests_name("base", tests, make_dir, drop_dir);
}
