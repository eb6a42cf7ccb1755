// SPDX-License-Identifier: Apache-2.0
// A guest with an init of its own beside the agent.
#include "tests/unit/agentd_client.h"

#include <sys/syscall.h>

static int boot_init(const char *init, struct msb_err *e)
{
	const struct agent_boot b = {.hostname = "host",
		.workdir = "/",
		.init = init,
		.timeout_ms = WAIT_MS,
		.cancel_fd = -1};

	return agent_boot(ctl, &b, e);
}

static void put_program(char path[128], const char *name, const char *text, mode_t mode)
{
	int fd;

	(void)snprintf(path, 128, "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(msb_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void init_beside(void **state)
{
	char path[128], text[512], asked[128], link[256];
	struct msb_err e = {0};
	struct result r;
	ssize_t n;

	(void)snprintf(asked, sizeof(asked), "%s/asked", dir);
	(void)snprintf(text, sizeof(text),
		"#!/bin/sh\nsleep 0.3\ntrap 'echo $SANDBOX >%s; exit' USR2\nwhile :; do sleep 0.05; done\n",
		asked);
	put_program(path, "init", text, 0755);
	assert_int_equal(boot_init(path, &e), 0);
	(void)snprintf(text, sizeof(text), "/proc/%d/exe", (int)engine);
	n = readlink(text, link, sizeof(link) - 1);
	assert_true(n > 0);
	link[n] = '\0';
	assert_null(strstr(link, "test_agentd"));
	r = finish(sh("exit 5"));
	assert_int_equal(r.code, 5);
	done(&r);
	/* A new session finds it so. */
	attach();
	assert_int_equal(boot_init(path, &e), 0);
	r = finish(sh("exit 6"));
	assert_int_equal(r.code, 6);
	done(&r);
	/* It is asked, and its end is the guest's. */
	assert_int_equal(agent_shutdown(ctl, WAIT_MS, WAIT_MS, -1, &e), 0);
	assert_int_equal(access(asked, F_OK), 0);
}

/* What an init has not done in its time the agent does. */
static void init_that_does_not_end(void **state)
{
	char path[128];
	struct msb_err e = {0};

	put_program(path, "init", "#!/bin/sh\nwhile :; do sleep 0.05; done\n", 0755);
	assert_int_equal(boot_init(path, &e), 0);
	assert_int_equal(agent_shutdown(ctl, 200, WAIT_MS, -1, &e), 0);
}

static void init_that_is_none(void **state)
{
	char path[128];
	struct msb_err e = {0};

	put_program(path, "init", "\177ELF is not all", 0755);
	assert_int_equal(boot_init(path, &e), -ENOEXEC);
	assert_non_null(strstr(e.msg, "no program of this machine"));
}

static void init_checks(void **state)
{
	char path[128];
	struct msb_err e = {0};

	put_program(path, "init", "", 0755);
	assert_int_equal(ga_init_check(path, &e), 0);
	assert_int_equal(ga_init_check(dir, &e), -EACCES);
	put_program(path, "init", "", 0644);
	assert_int_equal(ga_init_check(path, &e), -EACCES);
	assert_non_null(strstr(e.msg, "it is not executable"));
	memcpy(path + strlen(path) - 1, "x", 2);
	assert_int_equal(ga_init_check(path, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "no such file"));
}

static void init_signals(void **state)
{
	static const struct {
		const char *status;
		int signal;
	} rows[] = {
		{"Name:\tinit\nSigBlk:\t0000002000000000\nSigCgt:\t0000000000000000\n", 38},
		{"Name:\tinit\nSigBlk:\t7be3c0fe28014a03\nSigCgt:\t0000000000001000\n", 38},
		{"Name:\tinit\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000080803\n", SIGUSR2},
		{"Name:\tinit\nSigBlk:\t0000000000000800\nSigCgt:\t0000000000000000\n", SIGUSR2},
		{"Name:\tinit\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000014002\n", SIGTERM},
		{"Name:\tinit\nSigBlk:\t0000000000000000\nSigCgt:\t0000000000000002\n", 0},
		{"Name:\tinit\nSigBlk:\tfffffffe7ffbfeff\nSigCgt:\t0000000000080000\n", 0},
		{"Name:\tinit\nSigBlk:\tfffffffe7ffbfeff\nSigCgt:\t0000000000080800\n", SIGUSR2},
		{"SigCgt", 0},
		{"", 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(ga_init_off_signal(rows[i].status, 0), rows[i].signal);
	/* What it waits for in sigtimedwait(2) is in neither mask. */
	assert_int_equal(ga_init_off_signal("Name:\tinit\nSigBlk:\t0\nSigCgt:\t0\n",
				 1u << (SIGUSR2 - 1) | 1u << (SIGTERM - 1)),
		SIGUSR2);
	assert_int_equal(
		ga_init_awaits("128 0x5eb308 0x0 0x0 0x8 0x0 0x1b0 0x7ffd716cb470 0x41675f"),
		0x5eb308);
	assert_int_equal(
		ga_init_awaits("128 0x5eb308 0x0 0x0 0x10 0x0 0x0 0x7ffd716cb470 0x41675f"), 0);
	assert_int_equal(
		ga_init_awaits("61 0x5eb308 0x0 0x0 0x8 0x0 0x0 0x7ffd716cb470 0x41675f"), 0);
	assert_int_equal(ga_init_awaits("running"), 0);
	assert_int_equal(ga_init_awaits(""), 0);
}

/* One that waits in sigtimedwait(2) blocks nothing meanwhile, by its status. */
static void init_that_waits(void **state)
{
	static struct ga g;
	char path[32];
	sigset_t set;
	int sig, status;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	g.init = fork();
	assert_true(g.init >= 0);
	if (g.init == 0) {
		alarm(WAIT_MS / 1000);
		sigprocmask(SIG_BLOCK, &set, NULL);
		_exit(sigwait(&set, &sig) == 0 ? sig : 1);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/syscall", (int)g.init);
	for (uint64_t end = msb_now_ms() + WAIT_MS;;) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		assert_int_equal(msb_read_file(AT_FDCWD, path, 4096, &s), 0);
		if (strtol(s.buf ?: "", NULL, 10) == SYS_rt_sigtimedwait)
			break;
		assert_true(msb_now_ms() < end);
	}
	assert_true(ga_init_ask_off(&g));
	assert_int_equal(waitpid(g.init, &status, 0), g.init);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), SIGUSR2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ITS_INIT(init_beside),
		WITH_ITS_INIT(init_that_is_none),
		WITH_ITS_INIT(init_that_does_not_end),
		ALONE(init_checks),
		cmocka_unit_test(init_signals),
		cmocka_unit_test(init_that_waits),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
