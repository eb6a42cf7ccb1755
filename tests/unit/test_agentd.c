// SPDX-License-Identifier: Apache-2.0
// msb-agentd between a guest that works and its clients: boot, requests, watchers, and the end of
// any of them.
#include "tests/unit/agentd_client.h"

/* Waits until process @pid is no more; a zombie is none. */
static void gone(pid_t pid)
{
	char path[64], text[512];

	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		struct timespec t = {0, 10000000};
		int fd, n;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return;
		n = (int)read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (n <= 0 || strstr(text, ") Z "))
			return;
		nanosleep(&t, NULL);
	}
	fail_msg("process %d is still there", (int)pid);
}

static pid_t pid_said(int s)
{
	struct result r = {0};
	pid_t pid;

	while (!r.out.buf || !strchr(r.out.buf, '\n'))
		assert_true(step(s, &r));
	pid = atoi(r.out.buf);
	assert_true(pid > 1);
	done(&r);
	return pid;
}

static void client_vanishes(void **state)
{
	int s = sh("echo $$; exec sleep 1000");
	pid_t pid = pid_said(s);

	close(s);
	gone(pid); /* SIGHUP */
	s = sh("trap '' HUP; echo $$; while :; do sleep 0.1; done");
	pid = pid_said(s);
	close(s);
	gone(pid); /* SIGKILL */
	expect(sh("echo fine"), "fine\n", "", 0);
}

static void agentd_is_killed(void **state)
{
	int s = sh("echo $$; trap '' HUP; cat /dev/zero"), w;
	pid_t pid = pid_said(s);
	struct msb_err e = {0};
	struct result r = {0};
	int last;

	for (int round = 0; round < 5; round++) {
		stop(&agentd);
		start_agentd();
		attach();
		assert_int_equal(boot_as("host", WAIT_MS, &e), 0); /* it is: only waits */
		expect(sh("echo again"), "again\n", "", 0);
		w = sh("cat /dev/zero"); /* frames are in flight when the next round kills */
		while (r.out.len < 300000)
			assert_true(step(w, &r));
		close(w);
		done(&r);
		r = (struct result){0};
	}
	gone(pid);
	do /* what it had printed is still there */
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	while ((last = msb_msg_recv(s, &m)) == 0);
	assert_int_equal(last, -EPIPE);
	close(s);
}

static void not_booted(void **state)
{
	const char *const argv[] = {"sh", NULL};
	struct msb_err e = {0};
	const struct agent_exec x = {.argv = argv};

	assert_int_equal(agent_exec(ctl, &x, &e), -EBUSY);
	assert_int_equal(agent_shutdown(ctl, 100, WAIT_MS, -1, &e), -EBUSY);
	assert_int_equal(boot_as("x", 100, &e), -EBUSY); /* nothing attached */
	start_guest();
	attach();
	e = (struct msb_err){0};
	assert_int_equal(boot_as("broken", WAIT_MS, &e), -ENODEV);
	assert_string_equal(e.msg, "mount /: no such thing");
	assert_int_equal(agent_exec(ctl, &x, &e), -EBUSY);
	assert_int_equal(boot_as("fine", WAIT_MS, &e), 0);
	expect(sh("echo x"), "x\n", "", 0);
}

static void killed_while_it_boots(void **state)
{
	struct msb_err e = {0};
	int s = msb_unix_connect(ctl, SOCK_SEQPACKET);

	start_guest();
	attach();
	msb_msg_init(&m, "boot");
	msb_msg_set(&m, "hostname", "slow");
	msb_msg_set(&m, "mount", "root\t/\t");
	msb_msg_set(&m, "timeout_ms", "20000");
	assert_int_equal(msb_msg_send(s, &m), 0);
	assert_int_equal(msb_wait_fd(s, POLLIN, 500), -ETIMEDOUT); /* it mounts */
	stop(&agentd);
	close(s);
	start_agentd();
	attach();
	assert_int_equal(boot_as("slow", WAIT_MS, &e), 0);
	expect(sh("echo x"), "x\n", "", 0);
}

static void watchers(void **state)
{
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e);

	assert_true(w >= 0);
	start_guest();
	attach();
	assert_int_equal(boot_as("host", WAIT_MS, &e), 0);
	assert_int_equal(event(w, kind), 0);
	assert_string_equal(kind, "ready");
	stop(&engine);
	stop(&relay);
	assert_int_equal(event(w, kind), 0);
	assert_string_equal(kind, "lost");
	stop(&agentd);
	assert_int_equal(event(w, kind), -1);
	close(w);
}

static void small_requests(void **state)
{
	struct msb_err e = {0};
	int s = msb_unix_connect(ctl, SOCK_SEQPACKET);

	assert_int_equal(agent_drop_caches(ctl, &e), 0);
	assert_int_equal(agent_set_clock(ctl, -1, &e), 0);
	msb_msg_init(&m, "clock");
	msb_msg_set(&m, "clock_usec", "1");
	assert_int_equal(msb_msg_call(s, &m, WAIT_MS, &e), -EPERM);
	msb_msg_init(&m, "clock");
	assert_int_equal(msb_msg_call(s, &m, WAIT_MS, &e), -EINVAL);
	msb_msg_init(&m, "status");
	assert_int_equal(msb_msg_call(s, &m, WAIT_MS, &e), 0);
	assert_int_equal(number("ready"), 1);
	assert_int_equal(number("jobs"), 0);
	assert_int_equal(number("agent_version"), WIRE_VERSION);
	msb_msg_init(&m, "frobnicate");
	assert_int_equal(msb_msg_call(s, &m, WAIT_MS, &e), -EINVAL);
	close(s);
}

/* Asked by many, the guest is asked once; what it says of itself are numbers. */
static void figures(void **state)
{
	struct msb_err e = {0};
	struct wire_stats w;
	int s[40];

	for (int i = 0; i < 40; i++) {
		s[i] = agent_stats_ask(ctl, &e);
		assert_true(s[i] >= 0);
	}
	for (int i = 0; i < 40; i++) {
		assert_int_equal(msb_wait_fd(s[i], POLLIN, WAIT_MS), 0);
		assert_int_equal(agent_stats_answer(s[i], &w, &e), 0);
		assert_int_equal(w.have, (1u << WIRE_NSTATS) - 1);
		assert_true(w.v[WIRE_MEMORY_TOTAL_BYTES] >= w.v[WIRE_MEMORY_AVAILABLE_BYTES]);
		assert_true(w.v[WIRE_CPU_USER_USEC] > 0);
		close(s[i]);
	}
}

static void shares(void **state)
{
	const struct agent_mount good = {"good", "/g", true, false, NULL},
				 bad = {"bad", "/b", true, false, NULL},
				 slow = {"slow", "/s", false, false, NULL};
	struct msb_err e = {0};
	int gone[2];

	assert_int_equal(agent_mount(ctl, &good, -1, &e), 0);
	assert_int_equal(agent_mount(ctl, &bad, -1, &e), -ENOENT);
	assert_string_equal(e.msg, "mount /b: no share bad");
	assert_int_equal(agent_umount(ctl, &good, false, -1, &e), -EBUSY);
	assert_string_equal(e.msg, "/g: in use");
	assert_int_equal(agent_umount(ctl, &good, true, -1, &e), 0);
	/* What the guest takes long for can be left alone, and others are answered meanwhile. */
	assert_int_equal(pipe(gone), 0);
	assert_int_equal(write(gone[1], "x", 1), 1);
	assert_int_equal(agent_umount(ctl, &slow, true, gone[0], &e), -EINTR);
	assert_int_equal(agent_mount(ctl, &good, -1, &e), 0);
	close(gone[0]);
	close(gone[1]);
}

static void no_shares_before_the_root(void **state)
{
	const struct agent_mount good = {"good", "/g", true, false, NULL};
	struct msb_err e = {0};

	start_guest();
	attach();
	/* It waits until there is a session. */
	assert_int_equal(agent_mount(ctl, &good, -1, &e), -EBUSY);
	assert_string_equal(e.msg, "the guest has no root yet");
	assert_int_equal(agent_umount(ctl, &good, true, -1, &e), -EBUSY);
}

static void shutdown_ends_the_jobs(void **state)
{
	int polite = sh("trap 'echo bye; exit 8' TERM; echo up; while :; do sleep 0.05; done");
	int rude = sh("trap '' TERM HUP; echo up; while :; do sleep 0.05; done");
	struct msb_err e = {0};
	struct result r = {0};

	while (!r.out.buf)
		assert_true(step(polite, &r));
	done(&r);
	r = (struct result){0};
	while (!r.out.buf)
		assert_true(step(rude, &r));
	done(&r);
	assert_int_equal(agent_shutdown(ctl, 1000, WAIT_MS, -1, &e), 0);
	r = finish(rude);
	done(&r);
	r = (struct result){.started = true};
	while (step(polite, &r))
		;
	assert_string_equal(r.out.buf, "bye\n");
	assert_int_equal(r.code, 8);
	done(&r);
	close(polite);
	assert_int_equal(waitpid(engine, NULL, 0), engine);
	engine = 0;
}

static void the_guest_ends_itself(void **state)
{
	int s = sh("trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done");
	struct result r = {0};

	while (!r.out.buf)
		assert_true(step(s, &r));
	kill(engine, SIGUSR2); /* busybox poweroff */
	while (step(s, &r))
		;
	close(s);
	assert_string_equal(r.out.buf, "up\nbye\n");
	assert_int_equal(r.code, 9);
	done(&r);
	assert_int_equal(waitpid(engine, NULL, 0), engine);
	engine = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_GUEST(client_vanishes),
		WITH_GUEST(agentd_is_killed),
		WITH_GUEST(small_requests),
		WITH_GUEST(figures),
		WITH_GUEST(shares),
		ALONE(no_shares_before_the_root),
		WITH_GUEST(shutdown_ends_the_jobs),
		WITH_GUEST(the_guest_ends_itself),
		ALONE(not_booted),
		ALONE(killed_while_it_boots),
		ALONE(watchers),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
