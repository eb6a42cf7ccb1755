// SPDX-License-Identifier: Apache-2.0
// Jobs of a guest that works: what they are given, what comes back, in whatever order and haste.
#include "tests/unit/agentd_client.h"

static void exec_results(void **state)
{
	expect(sh("echo out; echo err >&2; exit 3"), "out\n", "err\n", 3);
	expect(sh(":"), "", "", 0);
	expect(sh("echo $SANDBOX $OVER; pwd"), "yes sandbox\n/\n", "", 0);
	expect(sh("cat"), "", "", 0); /* /dev/null */
}

static void exec_environment(void **state)
{
	const char *const argv[] = {"sh", "-c", "echo $A $OVER $PATH; pwd", NULL};
	const char *const env[] = {"A=1", "A=2", "OVER=job", NULL};

	expect(start_job(&(struct agent_exec){.argv = argv, .env = env, .cwd = "/usr"}),
		"2 job /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/usr\n", "",
		0);
}

static void exec_limits(void **state)
{
	const char *const argv[] = {"sh", "-c", "ulimit -n; ulimit -H -n; ulimit -c", NULL};
	const char *const limits[] = {"nofile:77:88", "core:0:0", NULL};
	const char *const bad[] = {"nofile:1:unlimited", NULL};
	struct result r;

	expect(start_job(&(struct agent_exec){.argv = argv, .rlimits = limits}), "77\n88\n0\n", "",
		0);
	r = finish(start_job(&(struct agent_exec){.argv = argv, .rlimits = bad}));
	assert_string_equal(r.last, "error"); /* no kernel takes unlimited files */
	assert_string_equal(r.fault, "limits");
	done(&r);
}

static void ended_by_signal(void **state)
{
	struct result r = finish(sh("kill -9 $$"));

	assert_string_equal(r.last, "exit");
	assert_int_equal(r.signal, 9);
	assert_int_equal(r.code, -1);
	done(&r);
}

/* Its number in the log is the client's to choose. */
static void numbered(void **state)
{
	const char *const argv[] = {"true", NULL};
	int s = start_job(&(struct agent_exec){.argv = argv, .job = 4711});

	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(msb_msg_recv(s, &m), 0);
	assert_string_equal(msb_msg_verb(&m), "started");
	assert_int_equal(number("job"), 4711);
	close(s);
}

static void cannot_start(void **state)
{
	static const struct {
		const char *argv[2];
		const char *user, *cwd;
		int code;
		const char *fault, *says;
	} t[] = {
		{{"no-such-program"}, NULL, NULL, ENOENT, "program",
			"no-such-program: not found in PATH"},
		{{"/no/such"}, NULL, NULL, ENOENT, "program", "/no/such: not found"},
		{{"/etc/passwd"}, NULL, NULL, EACCES, "program", "/etc/passwd: not executable"},
		{{"/"}, NULL, NULL, EACCES, "program", "/: not executable"},
		{{"sh"}, "no-such-user", NULL, ENOENT, "user",
			"user 'no-such-user' is not in /etc/passwd of the sandbox"},
		{{"sh"}, NULL, "/no/such", ENOENT, "cwd",
			"cannot enter /no/such: No such file or directory"},
		{{""}, NULL, NULL, EINVAL, "program", "no program was named"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct result r = finish(start_job(&(struct agent_exec){
			.argv = t[i].argv, .user = t[i].user, .cwd = t[i].cwd}));

		assert_string_equal(r.last, "error");
		assert_int_equal(r.error, t[i].code);
		assert_string_equal(r.msg, t[i].says);
		assert_string_equal(r.fault, t[i].fault);
		assert_false(r.started);
		done(&r);
	}
}

static void stdin_and_back(void **state)
{
	const char *const argv[] = {"cat", NULL};
	struct result r = {0};
	size_t sent = 0, total = 3u << 20;
	static char chunk[30000];
	int s = start_job(&(struct agent_exec){.argv = argv, .want_stdin = true});
	bool more = true;

	for (size_t i = 0; i < sizeof(chunk); i++)
		chunk[i] = (char)('a' + i % 23);
	while (more) {
		struct pollfd p = {.fd = s, .events = POLLIN | (sent < total ? POLLOUT : 0)};

		assert_true(poll(&p, 1, WAIT_MS) > 0);
		if (p.revents & POLLOUT && sent < total) {
			say(s, "in", chunk, sizeof(chunk));
			sent += sizeof(chunk);
			if (sent >= total)
				say(s, "eof", NULL, 0);
		}
		if (p.revents & POLLIN)
			more = step(s, &r);
	}
	close(s);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.out.len, sent);
	for (size_t i = 0; i < r.out.len; i += sizeof(chunk))
		assert_memory_equal(r.out.buf + i, chunk, sizeof(chunk));
	done(&r);
}

static void terminal(void **state)
{
	const char *const argv[] = {"sh", "-c",
		"stty size; trap 'stty size; exit 4' WINCH; read x; echo got $x; "
		"while :; do sleep 0.05; done",
		NULL};
	struct result r = {0};
	int s = start_job(&(struct agent_exec){
		.argv = argv, .tty = true, .want_stdin = true, .rows = 11, .cols = 33});

	while (!r.out.buf || !strstr(r.out.buf, "11 33\r\n"))
		assert_true(step(s, &r));
	say(s, "in", "hello\n", 6);
	while (!strstr(r.out.buf, "got hello\r\n"))
		assert_true(step(s, &r));
	msb_msg_init(&m, "resize");
	msb_msg_set(&m, "rows", "55");
	msb_msg_set(&m, "cols", "66");
	assert_int_equal(msb_msg_send(s, &m), 0);
	while (step(s, &r))
		;
	close(s);
	assert_non_null(strstr(r.out.buf, "55 66\r\n"));
	assert_int_equal(r.code, 4);
	done(&r);
}

static void terminal_eof_and_interrupt(void **state)
{
	const char *const cat[] = {"cat", NULL}, *const nap[] = {"sleep", "1000", NULL};
	struct result r = {0};
	int s = start_job(&(struct agent_exec){.argv = cat, .tty = true, .want_stdin = true});

	say(s, "in", "line\n", 5);
	say(s, "eof", NULL, 0);
	r = finish(s);
	assert_int_equal(r.code, 0);
	done(&r);
	s = start_job(&(struct agent_exec){.argv = nap, .tty = true, .want_stdin = true});
	r = (struct result){0};
	assert_true(step(s, &r));
	say(s, "in", "\3", 1); /* ^C */
	while (step(s, &r))
		;
	close(s);
	assert_int_equal(r.signal, SIGINT);
	done(&r);
}

static void signals_reach_the_group(void **state)
{
	int s = sh(
		"trap 'echo parent; exit 5' TERM; sh -c 'trap \"echo child; exit\" TERM; echo up; "
		"while :; do sleep 0.05; done' & wait; wait");
	struct result r = {0};

	while (!r.out.buf || !strstr(r.out.buf, "up"))
		assert_true(step(s, &r));
	msb_msg_init(&m, "signal");
	msb_msg_set(&m, "n", "%d", SIGTERM);
	assert_int_equal(msb_msg_send(s, &m), 0);
	while (step(s, &r))
		;
	close(s);
	assert_int_equal(r.code, 5);
	assert_non_null(strstr(r.out.buf, "parent"));
	done(&r);
}

static void many_at_once(void **state)
{
	enum { N = 200 };
	int s[N];

	for (int i = 0; i < N; i++)
		s[i] = sh("echo $$; sleep 0.3; echo done");
	for (int i = 0; i < N; i++) {
		struct result r = finish(s[i]);

		assert_int_equal(r.code, 0);
		assert_non_null(strstr(r.out.buf, "done\n"));
		done(&r);
	}
}

/* As many as one round of events holds, each as large as it may be, and each is heard afterwards.
 */
static void long_commands_at_once(void **state)
{
	enum { N = 64 };
	static char arg[60000];
	int s[N];

	memset(arg, 'x', sizeof(arg) - 1);
	kill(agentd, SIGSTOP);
	for (int i = 0; i < N; i++) {
		s[i] = msb_unix_connect(ctl, SOCK_SEQPACKET);
		assert_true(s[i] >= 0);
		msb_msg_init(&m, "exec");
		msb_msg_set(&m, "stdin", "1");
		msb_msg_set(&m, "arg", "sh");
		msb_msg_set(&m, "arg", "-c");
		msb_msg_set(&m, "arg", "cat");
		msb_msg_set(&m, "arg", "%s", arg);
		assert_int_equal(msb_msg_send(s[i], &m), 0);
	}
	kill(agentd, SIGCONT);
	for (int i = 0; i < N; i++) {
		assert_int_equal(msb_wait_fd(s[i], POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s[i], &m), 0);
		if (strcmp(msb_msg_verb(&m), "ok") != 0)
			fail_msg("%d: %s", i, msb_msg_get(&m, "msg"));
		say(s[i], "in", "heard", 5);
		say(s[i], "eof", NULL, 0);
	}
	for (int i = 0; i < N; i++)
		expect(s[i], "heard", "", 0);
}

static void a_reader_that_sleeps(void **state)
{
	struct result r = {0};
	int s = sh("head -c 3000000 /dev/zero"), lazy = sh("yes | head -c 3000000");

	/* Neither is read, and both are far past what may wait for them: others go on. */
	for (int i = 0; i < 20; i++)
		expect(sh("echo prompt"), "prompt\n", "", 0);
	r = finish(lazy);
	assert_int_equal(r.out.len, 3000000);
	assert_int_equal(r.code, 0);
	done(&r);
	r = finish(s);
	assert_int_equal(r.out.len, 3000000);
	done(&r);
}

static void a_job_that_reads_nothing(void **state)
{
	const char *const argv[] = {"sleep", "1000", NULL};
	static char chunk[32768];
	int s = start_job(&(struct agent_exec){.argv = argv, .want_stdin = true});
	size_t sent = 0;
	struct result r;

	for (;;) { /* until nobody takes any more */
		struct pollfd p = {.fd = s, .events = POLLOUT};

		if (poll(&p, 1, 300) == 0)
			break;
		say(s, "in", chunk, sizeof(chunk));
		sent += sizeof(chunk);
		assert_true(sent < 4u << 20);
	}
	expect(sh("echo prompt"), "prompt\n", "", 0);
	close(s);
	r = finish(sh("exit 7"));
	assert_int_equal(r.code, 7);
	done(&r);
}

static void input_after_the_reader_is_gone(void **state)
{
	const char *const argv[] = {"sh", "-c", "exec <&-; sleep 0.5; exit 6", NULL};
	static char chunk[32768];
	int s = start_job(&(struct agent_exec){.argv = argv, .want_stdin = true});
	struct result r;

	for (int i = 0; i < 20; i++)
		say(s, "in", chunk, sizeof(chunk));
	r = finish(s);
	assert_int_equal(r.code, 6);
	done(&r);
}

/* The sleep would outlast what finish() waits for. */
static void background_holds_the_pipe(void **state)
{
	expect(sh("sleep 60 & echo x"), "x\n", "", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_GUEST(exec_results),
		WITH_GUEST(exec_environment),
		WITH_GUEST(ended_by_signal),
		WITH_GUEST(exec_limits),
		WITH_GUEST(numbered),
		WITH_GUEST(cannot_start),
		WITH_GUEST(stdin_and_back),
		WITH_GUEST(terminal),
		WITH_GUEST(terminal_eof_and_interrupt),
		WITH_GUEST(signals_reach_the_group),
		WITH_GUEST(many_at_once),
		WITH_GUEST(long_commands_at_once),
		WITH_GUEST(a_reader_that_sleeps),
		WITH_GUEST(a_job_that_reads_nothing),
		WITH_GUEST(input_after_the_reader_is_gone),
		WITH_GUEST(background_holds_the_pipe),
	};

	prepare();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
