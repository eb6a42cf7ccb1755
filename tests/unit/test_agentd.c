// SPDX-License-Identifier: Apache-2.0
// msb-agentd and the guest's engine, joined as QEMU joins them; and msb-agentd against guests that
// break the protocol. The engine runs as an ordinary process: its jobs are processes of this host.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/msg.h"
#include "guest/ga.h"
#include "vmm/agent.h"
#include "vmm/agentd.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#define WAIT_MS 20000 /* for anything that must happen: a machine of two cores may be busy */

static char dir[64], ctl[96], port[96];
static int dir_fd, silent;
static pid_t agentd, relay, engine;

/* ---- the three processes */

static int fake_mount(const struct ga_boot *b, struct msb_err *e)
{
	if (!strcmp(b->hostname, "broken"))
		return msb_err_set(e, ENODEV, "mount /: no such thing");
	if (!strcmp(b->hostname, "slow"))
		sleep(1);
	return 0;
}

static int fake_enter(const struct ga_boot *b, struct msb_err *e)
{
	return 0;
}

static int no_cgroups(void)
{
	return -ENOSYS;
}

static void kill_nobody(int sig)
{
}

static void nothing(void)
{
}

static int drop_nothing(struct msb_err *e)
{
	return 0;
}

static int refuse_clock(uint64_t usec)
{
	return usec == 1 ? -EPERM : 0;
}

static int fake_share(const struct ga_mount *x, struct msb_err *e)
{
	if (strcmp(x->source, "good") != 0 || !(x->flags & MS_RDONLY))
		return msb_err_set(e, ENOENT, "mount %s: no share %s", x->path, x->source);
	return 0;
}

static int fake_unshare(const struct ga_umount *u, struct msb_err *e)
{
	if (!strcmp(u->name, "slow"))
		sleep(30);
	return u->lazy ? 0 : msb_err_set(e, EBUSY, "%s: in use", u->path);
}

static int fake_cpus(uint32_t n, struct msb_err *e)
{
	return n <= 2 ? 0 : msb_err_set(e, ERANGE, "the guest has 2 CPUs, not %u", n);
}

/* Its end is the agent's: as in a guest, where it is the machine's. */
static void with_its_init(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static const struct ga_ops ops = {fake_mount, fake_enter, no_cgroups, kill_nobody, nothing, nothing,
	drop_nothing, refuse_clock, fake_share, fake_unshare, fake_cpus, with_its_init};

static pid_t spawn(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(silent, 2);
	}
	return pid;
}

/* The program itself, with its jail, where it was built beside this one; its loop otherwise. */
static void start_agentd(void)
{
	char bin[512] = "", *slash;
	struct msb_err e = {0};
	int fd;

	assert_true(readlink("/proc/self/exe", bin, sizeof(bin) - 32) > 0);
	for (int i = 0; i < 2 && (slash = strrchr(bin, '/')); i++)
		*slash = '\0';
	memcpy(bin + strlen(bin), "/bin/msb-agentd", sizeof("/bin/msb-agentd"));
	if (access(bin, X_OK) == 0) {
		*strrchr(bin, '/') = '\0';
		agentd = agent_spawn(bin, "test", NULL, ctl, dir_fd, silent, NULL, &e);
		assert_true(agentd > 0);
		return;
	}
	fd = msb_unix_listen(ctl, SOCK_SEQPACKET, 0600, &e);
	assert_true(fd >= 0);
	agentd = spawn();
	if (agentd == 0) {
		msb_log_init("test", NULL, silent);
		_exit(agentd_run(fd, dir_fd, &e) < 0);
	}
	close(fd);
}

/* As QEMU's port: bytes pass while somebody is connected, and are dropped otherwise. */
static void relay_main(int listen_fd, int guest)
{
	static char buf[2][65536];

	for (;;) {
		struct pollfd idle[2] = {
			{.fd = listen_fd, .events = POLLIN}, {.fd = guest, .events = POLLIN}};
		size_t off[2] = {0}, len[2] = {0};
		int host = -1;

		while (host < 0) {
			(void)poll(idle, 2, -1);
			if (idle[1].revents && read(guest, buf[0], sizeof(buf[0])) <= 0)
				_exit(0);
			if (idle[0].revents)
				host = accept(listen_fd, NULL, NULL);
		}
		for (bool up = true; up;) {
			int fd[2] = {guest, host}; /* direction i: from fd[i] to fd[!i] */
			struct pollfd p[2] = {{.fd = guest}, {.fd = host}};

			for (int i = 0; i < 2; i++) {
				p[i].events |= len[i] == 0 ? POLLIN : 0;
				p[!i].events |= len[i] ? POLLOUT : 0;
			}
			(void)poll(p, 2, -1);
			for (int i = 0; i < 2; i++) {
				ssize_t n;

				if (len[i] == 0 && p[i].revents & (POLLIN | POLLHUP)) {
					n = recv(fd[i], buf[i], sizeof(buf[i]), MSG_DONTWAIT);
					if (n == 0 || (n < 0 && errno != EAGAIN))
						up = false;
					off[i] = 0;
					len[i] = n > 0 ? (size_t)n : 0;
				} else if (len[i] && p[!i].revents & (POLLOUT | POLLHUP)) {
					n = send(fd[!i], buf[i] + off[i], len[i],
						MSG_DONTWAIT | MSG_NOSIGNAL);
					if (n < 0 && errno != EAGAIN)
						up = false;
					off[i] += n > 0 ? (size_t)n : 0;
					len[i] -= n > 0 ? (size_t)n : 0;
				}
			}
		}
		close(host);
	}
}

static void start_guest(void)
{
	struct msb_err e = {0};
	int sv[2], fd = msb_unix_listen(port, SOCK_STREAM, 0600, &e);

	assert_true(fd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	engine = spawn();
	if (engine == 0) {
		close(sv[0]);
		close(fd);
		_exit(ga_run(sv[1], &ops, &e) < 0);
	}
	close(sv[1]);
	relay = spawn();
	if (relay == 0)
		relay_main(fd, sv[0]);
	close(sv[0]);
	close(fd);
}

static void stop(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

static void attach(void)
{
	struct msb_err e = {0};
	int fd = msb_unix_connect(port, SOCK_STREAM), con = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int sv[2];

	assert_true(fd >= 0 && con >= 0);
	close(con);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(agent_attach(ctl, fd, sv[0], &e), 0);
	assert_int_equal(msb_write_full(sv[1], "console says\n", 13), 0);
	close(fd);
	close(sv[0]);
	close(sv[1]);
}

static int boot_as(const char *hostname, int timeout_ms, struct msb_err *e)
{
	static const char *const env[] = {"SANDBOX=yes", "OVER=sandbox", NULL};
	const struct agent_boot b = {.hostname = hostname,
		.user = "",
		.workdir = "/",
		.env = env,
		.timeout_ms = timeout_ms,
		.cancel_fd = -1};

	return agent_boot(ctl, &b, e);
}

static int boot_init(const char *init, struct msb_err *e)
{
	const struct agent_boot b = {.hostname = "host",
		.workdir = "/",
		.init = init,
		.timeout_ms = WAIT_MS,
		.cancel_fd = -1};

	return agent_boot(ctl, &b, e);
}

static int setup(void **state)
{
	static int n;

	silent = open(
		getenv("TEST_LOG") ?: "/dev/null", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	(void)snprintf(dir, sizeof(dir), "/tmp/agentd-%d-%d", (int)getpid(), n++);
	assert_int_equal(mkdir(dir, 0700), 0);
	(void)snprintf(ctl, sizeof(ctl), "%s/ctl", dir);
	(void)snprintf(port, sizeof(port), "%s/port", dir);
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_agentd();
	return 0;
}

static int setup_booted(void **state)
{
	struct msb_err e = {0};

	setup(state);
	start_guest();
	attach();
	assert_int_equal(boot_as("host", WAIT_MS, &e), 0);
	return 0;
}

static int teardown(void **state)
{
	stop(&agentd);
	stop(&engine);
	stop(&relay);
	close(dir_fd);
	close(silent);
	return msb_rm_rf(AT_FDCWD, dir);
}

/* ---- clients */

struct result {
	struct msb_str out, err;
	char last[16];	  /* verb of the last message */
	int code, signal; /* of exit; -1: not said */
	int error;
	char msg[MSB_ERR_MAX], fault[16];
	bool started;
};

static struct msb_msg m; /* not for the stack of a test under ASan */

static int start_job(const struct agent_exec *x)
{
	struct msb_err e = {0};
	int s = agent_exec(ctl, x, &e);

	if (s < 0)
		fprintf(stderr, "exec: %s\n", e.msg);
	assert_true(s >= 0);
	return s;
}

static int sh(const char *script)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return start_job(&(struct agent_exec){.argv = argv});
}

static void say(int s, const char *verb, const void *p, size_t n)
{
	msb_msg_init(&m, verb);
	msb_msg_payload(&m, p, n);
	assert_int_equal(msb_msg_send(s, &m), 0);
}

static uint64_t number(const char *key)
{
	uint64_t v = 0;

	return msb_msg_get_u64(&m, key, &v) < 0 ? (uint64_t)-1 : v;
}

/* Takes one message. Return: false after the last one. */
static bool step(int s, struct result *r)
{
	const char *v;

	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(msb_msg_recv(s, &m), 0);
	v = msb_msg_verb(&m);
	(void)snprintf(r->last, sizeof(r->last), "%s", v);
	if (!strcmp(v, "started")) {
		assert_false(r->started);
		assert_true(number("pid") > 1);
		assert_true(number("job") >= 1);
		r->started = true;
		return true;
	}
	if (!strcmp(v, "out") || !strcmp(v, "err")) {
		assert_true(r->started);
		assert_true(m.payload_bytes > 0 && m.payload_bytes <= AGENT_CHUNK_BYTES);
		msb_str_add(
			*v == 'o' ? &r->out : &r->err, msb_msg_payload_ptr(&m), m.payload_bytes);
		return true;
	}
	r->code = (int)number("code");
	r->signal = (int)number("signal");
	if (!strcmp(v, "error")) {
		r->error = r->code;
		(void)snprintf(r->msg, sizeof(r->msg), "%s", msb_msg_get(&m, "msg"));
		(void)snprintf(r->fault, sizeof(r->fault), "%s", msb_msg_get(&m, "fault") ?: "");
	} else {
		assert_string_equal(v, "exit");
	}
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(msb_msg_recv(s, &m), -EPIPE); /* and nothing after it */
	return false;
}

static struct result finish(int s)
{
	struct result r = {0};

	while (step(s, &r))
		;
	close(s);
	return r;
}

static void done(struct result *r)
{
	msb_str_done(&r->out);
	msb_str_done(&r->err);
}

static void expect(int s, const char *out, const char *err, int code)
{
	struct result r = finish(s);

	assert_string_equal(r.last, "exit");
	assert_string_equal(r.out.buf ?: "", out);
	assert_string_equal(r.err.buf ?: "", err);
	assert_int_equal(r.code, code);
	done(&r);
}

/* ---- with a guest that works */

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

static void background_holds_the_pipe(void **state)
{
	uint64_t before = msb_now_ms();

	expect(sh("sleep 20 & echo x"), "x\n", "", 0);
	assert_true(msb_now_ms() - before < 10000);
}

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

static int event(int w, char kind[32])
{
	do /* that we are heard comes first */
		if (msb_wait_fd(w, POLLIN, WAIT_MS) < 0 || msb_msg_recv(w, &m) < 0)
			return -1;
	while (!strcmp(msb_msg_verb(&m), "ok"));
	assert_string_equal(msb_msg_verb(&m), "event");
	(void)snprintf(kind, 32, "%s", msb_msg_get(&m, "kind"));
	return 0;
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
	assert_int_equal(agent_set_clock(ctl, &e), 0);
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

/* ---- log and console */

static void read_file(const char *name, struct msb_str *s)
{
	assert_int_equal(msb_read_file(dir_fd, name, 64u << 20, s), 0);
}

static void log_is_exact(void **state)
{
	const char *const argv[] = {"sh", "-c",
		"printf 'h\\303'; sleep 0.2; printf '\\244\\n\\n'; sleep 0.2; printf '\\377\\0x'; "
		"sleep 0.2; printf '\\342\\202' >&2",
		NULL};
	static const char *const records[] = {
		"\"stream\":\"stdout\",\"data\":\"h\"}\n",
		"\"stream\":\"stdout\",\"data\":\"\xc3\xa4\\n\\n\"}\n",
		"\"stream\":\"stdout\",\"data_base64\":\"/wB4\"}\n",
		"\"stream\":\"stderr\",\"data_base64\":\"4oI=\"}\n",
	};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct result r = finish(start_job(&(struct agent_exec){.argv = argv, .log = true}));
	const char *p;

	done(&r);
	expect(sh("echo not logged"), "not logged\n", "", 0);
	read_file("log", &s);
	p = s.buf;
	for (size_t i = 0; i < ARRAY_LEN(records); i++) {
		assert_memory_equal(p, "{\"time\":\"2", 10);
		assert_non_null(strstr(p, "\"job\":1,"));
		p = strstr(p, "\"stream\"");
		assert_memory_equal(p, records[i], strlen(records[i]));
		p += strlen(records[i]);
	}
	assert_string_equal(p, "");
}

static void console_is_kept(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end && s.len < 13;) {
		msb_str_done(&s);
		read_file("console", &s);
	}
	assert_string_equal(s.buf, "console says\n");
}

/* As many as one round of events holds, each as large as it may be. */
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
		msb_msg_set(&m, "arg", "/bin/true");
		msb_msg_set(&m, "arg", "%s", arg);
		assert_int_equal(msb_msg_send(s[i], &m), 0);
	}
	kill(agentd, SIGCONT);
	for (int i = 0; i < N; i++) {
		struct result r;

		assert_int_equal(msb_wait_fd(s[i], POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s[i], &m), 0);
		if (strcmp(msb_msg_verb(&m), "ok") != 0)
			fail_msg("%d: %s", i, msb_msg_get(&m, "msg"));
		r = finish(s[i]);
		assert_int_equal(r.code, 0);
		done(&r);
	}
}

static void files_rotate(void **state)
{
	_cleanup_str_ struct msb_str now = MSB_STR_INIT, old = MSB_STR_INIT;
	struct ad_file f;

	ad_file_init(&f, dir_fd, "small", 10, 1);
	ad_file_add(&f, "12345", 5);
	ad_file_add(&f, "67890", 5);
	ad_file_add(&f, "abc", 3);
	ad_file_done(&f);
	ad_file_init(&f, dir_fd, "small", 10, 1); /* and counts what is there already */
	ad_file_add(&f, "defg", 4);
	ad_file_add(&f, "hijk", 4);
	ad_file_add(&f, "longer than the limit", 21);
	ad_file_done(&f);
	read_file("small", &now);
	read_file("small.1", &old);
	assert_string_equal(now.buf, "longer than the limit");
	assert_string_equal(old.buf, "hijk");
}

static void a_line_that_was_cut(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ad_file f;

	ad_file_init(&f, dir_fd, "torn", 1000, 1);
	ad_file_mend(&f); /* of nothing */
	ad_file_add(&f, "whole\nha", 8);
	ad_file_mend(&f);
	ad_file_mend(&f);
	ad_file_done(&f);
	read_file("torn", &s);
	assert_string_equal(s.buf, "whole\nha\n");
}

/* A disk that is full takes a part of what is written: no half of a line stays. */
static void a_line_that_did_not_fit(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct rlimit before, small;
	struct ad_file f;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = (struct rlimit){10, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	ad_file_init(&f, dir_fd, "full", 1000, 1);
	ad_file_add(&f, "first\n", 6);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	ad_file_add(&f, "second\n", 7);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_true(f.failing);
	ad_file_add(&f, "third\n", 6);
	assert_false(f.failing);
	ad_file_done(&f);
	read_file("full", &s);
	assert_string_equal(s.buf, "first\nthird\n");
}

static void files_rotate_by_count(void **state)
{
	struct ad_file f;

	ad_file_init(&f, dir_fd, "few", 1, 3);
	for (char c = 'a'; c <= 'f'; c++)
		ad_file_add(&f, &c, 1);
	/* A rotation that was cut off: what is above stays where it is. */
	assert_int_equal(renameat(dir_fd, "few.1", dir_fd, "few.gone"), 0);
	ad_file_add(&f, "g", 1);
	ad_file_done(&f);
	for (int i = 0; i < 4; i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		static const char *const names[] = {"few", "few.1", "few.2", "few.3"},
					 *const want[] = {"g", "f", "d", "c"};

		read_file(names[i], &s);
		assert_string_equal(s.buf, want[i]);
	}
	assert_int_equal(faccessat(dir_fd, "few.4", F_OK, 0), -1);
}

static void text_cut_anywhere(void **state)
{
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z";
	size_t n = sizeof(text) - 1;

	for (size_t cut = 0; cut <= n; cut++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct ad_tail t = {0};
		struct ad_file f;

		ad_file_init(&f, dir_fd, "cut", 1 << 20, 1);
		if (cut)
			ad_log_add(&f, 1, "stdout", &t, text, cut);
		if (cut < n)
			ad_log_add(&f, 1, "stdout", &t, text + cut, n - cut);
		ad_log_flush(&f, 1, "stdout", &t);
		ad_file_done(&f);
		read_file("cut", &s);
		assert_null(strstr(s.buf, "base64"));
		(void)unlinkat(dir_fd, "cut", 0);
	}
}

/* ---- guests that break the protocol: this process is the guest */

static struct wire_rx grx;
static struct wire_tx gtx;
static int gport = -1;
static struct wire_preamble gsync;

static void guest_attach(void)
{
	struct msb_err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(agent_attach(ctl, sv[0], -1, &e), 0);
	close(sv[0]);
	gport = sv[1];
	wire_rx_init(&grx);
	wire_tx_init(&gtx);
}

static void guest_send(void)
{
	assert_int_equal(msb_write_full(gport, gtx.buf + gtx.off, gtx.len - gtx.off), 0);
	gtx.off = gtx.len = 0;
}

/* The next frame or preamble of the host; false: it has closed the port. */
static bool guest_next(struct wire_frame *f)
{
	for (;;) {
		size_t room;
		uint8_t *p;
		ssize_t n;
		int r = wire_rx_next(&grx, &gsync, f);

		if (r == WIRE_GOT_PREAMBLE || r == WIRE_GOT_FRAME)
			return true;
		if (r < 0)
			continue;
		assert_int_equal(msb_wait_fd(gport, POLLIN, WAIT_MS), 0);
		p = wire_rx_room(&grx, &room);
		n = read(gport, p, room);
		if (n <= 0)
			return false;
		wire_rx_filled(&grx, (size_t)n);
	}
}

static void guest_hello(void)
{
	struct wire_frame f;

	wire_rx_lost(&grx);
	assert_true(guest_next(&f));
	assert_int_equal(gsync.kind, WIRE_SYNC);
	gsync.kind = WIRE_HELLO;
	gsync.flags = WIRE_FLAG_BOOTED;
	wire_rx_accept(&grx, &gsync);
	wire_tx_start(&gtx, &gsync, false);
	guest_send();
}

/* A job of this guest, taken from the host. */
static uint32_t guest_exec(int *s)
{
	const char *const argv[] = {"x", NULL};
	struct msb_err e = {0};
	struct wire_frame f;

	*s = -1;
	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		*s = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
		if (*s != -EBUSY) /* until the daemon has read our HELLO */
			break;
	}
	if (*s < 0)
		fprintf(stderr, "exec: %s\n", e.msg);
	assert_true(*s >= 0);
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_EXEC);
	return f.id;
}

static void guest_frame(enum wire_type type, uint32_t id, const void *p, size_t n)
{
	assert_int_equal(wire_tx_frame(&gtx, type, id, p, n), 0);
}

static void violations(void **state)
{
	static const uint8_t zeros[WIRE_MAX_PAYLOAD];
	static const struct {
		enum wire_type type;
		int id; /* 0: the job's, else an offset to it */
		const char *p;
		size_t n;
		unsigned int times;
	} t[] = {
		{WIRE_OUT, 0, "x", 1, 1},
		{WIRE_OUT, 1, "x", 1, 1},    /* a job that does not exist */
		{WIRE_OUT, 1024, "x", 1, 1}, /* and one of the same slot */
		{WIRE_OUT, 0, NULL, WIRE_STREAM_MAX + 1, 1},
		{WIRE_OUT, 0, NULL, WIRE_STREAM_MAX, 60}, /* past the credit: nobody reads */
		{WIRE_STARTED, 0, "\1\0\0\0", 4, 1},
		{WIRE_STARTED, 0, "\1", 1, 1},
		{WIRE_EXIT, 0, "\0\0", 2, 1},
		{WIRE_EXIT, 0, "\2\0\0", 3, 1},
		{WIRE_EXIT, 0, "\0\0\0", 3, 2},	      /* twice */
		{WIRE_CREDIT, 0, "\3\1\0\0\0", 5, 1}, /* more than was ever used */
		{WIRE_CREDIT, 0, "\43\0\0\0\0", 5, 1},
		{WIRE_CREDIT, 0, "\3", 1, 1},
		{WIRE_OK, 0, NULL, 0, 1},
		{WIRE_OK, (int)AGENTD_FIRST_REQUEST, NULL, 0, 1},
		{WIRE_EXEC, 0, NULL, 0, 1}, /* what only the host says */
		{WIRE_BOOT, 0, NULL, 0, 1},
	};
	struct msb_err e = {0};
	int w = agent_watch(ctl, &e);
	char kind[32];

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct result r;
		uint32_t id;
		int s;

		guest_attach();
		guest_hello();
		id = guest_exec(&s);
		if (i) /* the first one is output before that */
			guest_frame(WIRE_STARTED, id, "\1\1\0\0", 4);
		for (unsigned int k = 0; k < t[i].times; k++) {
			while (wire_tx_frame(&gtx, t[i].type, id + (uint32_t)t[i].id,
				       t[i].p ? (const void *)t[i].p : zeros, t[i].n) < 0)
				guest_send();
		}
		guest_send();
		do
			assert_int_equal(event(w, kind), 0);
		while (strcmp(kind, "lost") != 0);
		assert_true(strlen(msb_msg_get(&m, "reason")) > 10);
		r = finish(s);
		done(&r);
		guest_hello(); /* it starts a session anew */
		id = guest_exec(&s);
		guest_frame(WIRE_EXIT, id, "\0\0\5", 3);
		guest_send();
		r = finish(s);
		assert_int_equal(r.code, 5);
		done(&r);
		close(gport);
	}
	close(w);
}

/* A guest that lies about its figures, and one that does not say them. */
static void figures_of_a_hostile_guest(void **state)
{
	static const char lies[] = "cpu_user_usec=-1\0cpu_idle_usec=9223372036854775808\0"
				   "memory_total_bytes=7\0memory_total_bytes=8\0secret=1\0"
				   "oom_kills=3 \0cpu_steal_usec=5\0cpu_iowait_usec";
	struct msb_err e = {0};
	struct wire_stats w;
	struct wire_frame f;
	int s[AGENTD_MAX_REQUESTS + 8], one;

	guest_attach();
	guest_hello();
	one = -1;
	for (uint64_t end = msb_now_ms() + WAIT_MS; one < 0 && msb_now_ms() < end;) {
		struct pollfd p[2] = {{-1, POLLIN, 0}, {gport, POLLIN, 0}};

		p[0].fd = one = agent_stats_ask(ctl, &e);
		assert_true(one >= 0);
		assert_true(poll(p, 2, WAIT_MS) > 0);
		if (p[0].revents) { /* EBUSY: it has not read our HELLO */
			close(one);
			one = -1;
		}
	}
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_STATUS);
	/* However many ask meanwhile: no request is left for who has to be heard. */
	for (size_t i = 0; i < ARRAY_LEN(s); i++) {
		s[i] = agent_stats_ask(ctl, &e);
		assert_true(s[i] >= 0);
	}
	close(s[0]);
	guest_frame(WIRE_OK, f.id, lies, sizeof(lies));
	guest_send();
	for (size_t i = 1; i < ARRAY_LEN(s); i++) {
		struct pollfd p[2] = {{s[i], POLLIN, 0}, {gport, POLLIN, 0}};

		/* Those that came after the answer have the guest asked once more. */
		while (poll(p, 2, WAIT_MS) > 0 && !p[0].revents) {
			assert_true(guest_next(&f));
			guest_frame(WIRE_OK, f.id, lies, sizeof(lies));
			guest_send();
		}
		assert_true(p[0].revents);
		assert_int_equal(agent_stats_answer(s[i], &w, &e), 0);
		assert_int_equal(w.have, 1u << WIRE_MEMORY_TOTAL_BYTES | 1u << WIRE_CPU_STEAL_USEC);
		assert_int_equal(w.v[WIRE_MEMORY_TOTAL_BYTES], 7);
		close(s[i]);
	}
	close(one);
	/* Asked again; it breaks the protocol instead. */
	one = agent_stats_ask(ctl, &e);
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_STATUS);
	guest_frame(WIRE_OK, f.id + 1, NULL, 0);
	guest_send();
	assert_int_equal(msb_wait_fd(one, POLLIN, WAIT_MS), 0);
	assert_int_equal(agent_stats_answer(one, &w, &e), -EIO);
	close(one);
	close(gport);
}

static void flood_of_hellos(void **state)
{
	static const struct wire_preamble hello = {.version = WIRE_VERSION, .kind = WIRE_HELLO};
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e), s;
	struct wire_frame f;
	uint32_t id;

	guest_attach();
	guest_hello();
	for (uint64_t end = msb_now_ms() + WAIT_MS;;) {
		ssize_t n;

		wire_tx_start(&gtx, &hello, true);
		n = send(gport, gtx.buf, gtx.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			break; /* it has had enough */
		assert_true(msb_now_ms() < end);
	}
	do
		assert_int_equal(event(w, kind), 0);
	while (strcmp(kind, "lost") != 0);
	close(gport);
	guest_attach(); /* a new machine is welcome */
	guest_hello();
	id = guest_exec(&s);
	guest_frame(WIRE_ERROR, id, "\2\0\0\0bad \33[31m\377 bytes", 4 + 16);
	guest_send();
	(void)f;
	{
		struct result r = finish(s);

		assert_int_equal(r.error, 2);
		assert_string_equal(r.msg, "bad \\x1b[31m\\xff bytes");
		done(&r);
	}
	close(gport);
	close(w);
}

static void another_version(void **state)
{
	const char *const argv[] = {"x", NULL};
	struct msb_err e = {0};
	char kind[32];
	int w = agent_watch(ctl, &e), r = 0;
	struct wire_frame f;

	guest_attach();
	assert_true(guest_next(&f));
	gsync.kind = WIRE_HELLO;
	gsync.version = WIRE_VERSION + 1;
	for (int i = 0; i < 100; i++) {
		wire_tx_start(&gtx, &gsync, false);
		guest_send();
	}
	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		r = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
		if (r != -EBUSY)
			break;
	}
	assert_int_equal(r, -EPROTO);
	assert_int_equal(boot_as("h", 1000, &e), -EPROTO);
	/* It is told, and logged, once. */
	assert_int_equal(event(w, kind), 0);
	assert_string_equal(kind, "lost");
	assert_int_equal(poll(&(struct pollfd){.fd = w, .events = POLLIN}, 1, 200), 0);
	close(w);
	close(gport);
}

static void a_guest_that_is_silent(void **state)
{
	uint64_t before = msb_now_ms();
	struct msb_err e = {0};

	guest_attach();
	assert_int_equal(boot_as("h", 300, &e), -ETIMEDOUT);
	assert_true(msb_now_ms() - before >= 300);
	close(gport);
}

static void jobs_are_limited(void **state)
{
	const char *const argv[] = {"x", NULL};
	static int s[AGENT_MAX_JOBS];
	static uint32_t id[AGENT_MAX_JOBS];
	struct msb_err e = {0};
	struct result r;
	int one;

	guest_attach();
	guest_hello();
	for (int i = 0; i < AGENT_MAX_JOBS; i++)
		id[i] = guest_exec(&s[i]);
	assert_int_equal(agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e), -EAGAIN);
	guest_frame(WIRE_EXIT, id[77], "\0\0\1", 3);
	guest_send();
	r = finish(s[77]);
	assert_int_equal(r.code, 1);
	done(&r);
	id[77] = guest_exec(&s[77]);
	assert_int_equal(agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e), -EAGAIN);
	close(gport);
	for (int i = 0; i < AGENT_MAX_JOBS; i++) {
		r = finish(s[i]);
		assert_int_equal(r.error, EIO);
		done(&r);
	}
	one = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
	assert_int_equal(one, -EBUSY);
}

static void slow_clients_are_bounded(void **state)
{
	static const uint8_t data[WIRE_STREAM_MAX];
	uint32_t id, granted = WIRE_OUT_WINDOW, sent = 0;
	struct wire_frame f;
	struct result r;
	int s;

	guest_attach();
	guest_hello();
	id = guest_exec(&s);
	guest_frame(WIRE_STARTED, id, "\1\2\0\0", 4);
	guest_send();
	/* As much as credit allows; the client reads nothing. */
	for (;;) {
		while (granted >= WIRE_COST(sizeof(data))) {
			guest_frame(WIRE_OUT, id, data, sizeof(data));
			guest_send();
			granted -= WIRE_COST(sizeof(data));
			sent += sizeof(data);
			assert_true(sent < 2u << 20);
		}
		if (msb_wait_fd(gport, POLLIN, 300) < 0)
			break;
		assert_true(guest_next(&f));
		assert_int_equal(f.type, WIRE_CREDIT);
		granted += wire_get32(f.payload + 1);
	}
	guest_frame(WIRE_EXIT, id, "\0\0\0", 3);
	guest_send();
	r = finish(s);
	assert_int_equal(r.out.len, sent); /* and yet gets all of it, then the end */
	assert_int_equal(r.code, 0);
	done(&r);
	close(gport);
}

/* ---- jobs that are held for the next client */

static int hold(const char *script, uint32_t job)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return start_job(&(struct agent_exec){.argv = argv,
		.hold = true,
		.want_stdin = true,
		.log = true,
		.job = job,
		.note = "a note"});
}

static struct msb_msg held_state, held_exec;

static int adopt(uint32_t job)
{
	struct msb_err e = {0};

	return agent_adopt(ctl, job, &held_state, &held_exec, &e);
}

/* Takes messages up to one of @verb; output is added up. */
static void until(int s, const char *verb, struct result *r)
{
	do {
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s, &m), 0);
		if (!strcmp(msb_msg_verb(&m), "out"))
			msb_str_add(&r->out, msb_msg_payload_ptr(&m), m.payload_bytes);
	} while (strcmp(msb_msg_verb(&m), verb) != 0);
}

static unsigned int held(void)
{
	static uint32_t numbers[2 * AGENT_MAX_HELD];
	struct msb_err e = {0};
	int n = agent_held(ctl, numbers, ARRAY_LEN(numbers), &e);

	assert_true(n >= 0);
	return (unsigned int)n;
}

static void held_jobs(void **state)
{
	int s = hold("echo one; read a; echo $a; read b; echo $b; exit 5", 77), other;
	struct result r = {0};

	until(s, "out", &r);
	assert_int_equal(held(), 1);
	/* Its client says something and dies at once. */
	say(s, "in", "two\n", 4);
	msb_msg_init(&m, "mark");
	msb_msg_set(&m, "v", "a mark");
	assert_int_equal(msb_msg_send(s, &m), 0);
	close(s);
	done(&r);
	r = (struct result){0};
	other = adopt(77);
	assert_true(other >= 0);
	assert_string_equal(msb_msg_get(&held_state, "mark"), "a mark");
	assert_string_equal(msb_msg_get(&held_state, "eof"), "0");
	assert_string_equal(msb_msg_get(&held_exec, "note"), "a note");
	assert_string_equal(msb_msg_get(&held_exec, "arg"), "sh");
	until(other, "live", &r); /* between what was and what is new */
	/* A client that is there loses it to the next. */
	s = adopt(77);
	assert_true(s >= 0);
	assert_int_equal(msb_wait_fd(other, POLLIN, WAIT_MS), 0);
	close(other);
	say(s, "in", "three\n", 6);
	done(&r);
	r = (struct result){0};
	until(s, "exit", &r);
	assert_int_equal(number("code"), 5);
	assert_string_equal(r.out.buf, "one\ntwo\nthree\n");
	/* Ended, and still there, whoever asks. */
	close(s);
	done(&r);
	r = (struct result){0};
	s = adopt(77);
	until(s, "exit", &r);
	assert_string_equal(r.out.buf, "one\ntwo\nthree\n");
	say(s, "forget", NULL, 0);
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(held(), 0);
	assert_int_equal(adopt(77), -ENOENT);
	close(s);
	done(&r);
	/* One that is forgotten while it runs is hung up. */
	s = hold("sleep 100", 78);
	until(s, "started", &r);
	say(s, "forget", NULL, 0);
	assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
	assert_int_equal(held(), 0);
	close(s);
}

/* Who adopts a job finds its client with its last word unread: that nobody wants it any more. */
static void forgotten_unheard(void **state)
{
	static const char *const scripts[] = {"exit 3", "sleep 100"};

	for (uint32_t i = 0; i < ARRAY_LEN(scripts); i++) {
		int s = hold(scripts[i], 80 + i), other = msb_unix_connect(ctl, SOCK_SEQPACKET);
		struct result r = {0};
		struct msb_err e = {0};

		until(s, i ? "started" : "exit", &r);
		assert_true(other >= 0);
		msb_msg_init(&m, "jobs"); /* so that its connection is known */
		assert_int_equal(msb_msg_call(other, &m, WAIT_MS, &e), 0);
		/* Both in one round, the new one first. */
		assert_int_equal(kill(agentd, SIGSTOP), 0);
		msb_msg_init(&m, "adopt");
		msb_msg_set(&m, "job", "%u", 80 + i);
		assert_int_equal(msb_msg_send(other, &m), 0);
		say(s, "forget", NULL, 0);
		close(s);
		assert_int_equal(kill(agentd, SIGCONT), 0);
		assert_int_equal(msb_wait_fd(other, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_answer(other, &m, &e), -ENOENT);
		assert_int_equal(held(), 0);
		close(other);
		done(&r);
	}
}

/* What falls out is counted, and what is kept is the end, whole. */
static void held_output(void **state)
{
	int s = hold("seq 200000", 5), ended = 0;
	struct result r = {0};
	uint64_t gone;

	close(s); /* nobody reads: it goes on all the same */
	for (int i = 0; i < WAIT_MS / 10; i++) {
		done(&r);
		r = (struct result){0};
		s = adopt(5);
		assert_true(s >= 0);
		gone = strtoull(msb_msg_get(&held_state, "out_gone"), NULL, 10);
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		do {
			assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
			assert_int_equal(msb_msg_recv(s, &m), 0);
			if (!strcmp(msb_msg_verb(&m), "out"))
				msb_str_add(&r.out, msb_msg_payload_ptr(&m), m.payload_bytes);
		} while (strcmp(msb_msg_verb(&m), "live") && strcmp(msb_msg_verb(&m), "exit"));
		close(s);
		/* Who was there while it ended was given all that came meanwhile, too. */
		if (!strcmp(msb_msg_verb(&m), "exit") && ended++)
			break;
		usleep(10000);
	}
	assert_int_equal(number("code"), 0);
	assert_true(r.out.len >= 262144 && r.out.len <= AGENTD_HELD_BYTES);
	assert_int_equal(gone + r.out.len, 1288895);
	assert_memory_equal(r.out.buf + r.out.len - 14, "199999\n200000\n", 14);
	done(&r);
}

/* Of those that ended and that nobody has come for, the oldest go. */
static void held_are_limited(void **state)
{
	const char *const argv[] = {"x", NULL};
	const struct agent_exec x = {.argv = argv, .hold = true, .note = ""};
	struct msb_err e = {0};
	struct wire_frame f;
	int s;

	guest_attach();
	guest_hello();
	s = -EBUSY;
	for (int i = 0; i < AGENT_MAX_HELD + 9; i++) {
		while ((s = agent_exec(ctl, &x, &e)) == -EBUSY)
			; /* until the daemon has read our HELLO */
		assert_true(s >= 0);
		assert_true(guest_next(&f));
		assert_int_equal(f.type, WIRE_EXEC);
		guest_frame(WIRE_EXIT, f.id, "\0\0\1", 3);
		guest_send();
		assert_int_equal(msb_wait_fd(s, POLLIN, WAIT_MS), 0);
		assert_int_equal(msb_msg_recv(s, &m), 0);
		close(s);
	}
	assert_int_equal(held(), AGENT_MAX_HELD);
	assert_int_equal(adopt(1), -ENOENT);
	s = adopt(AGENT_MAX_HELD + 9);
	assert_true(s >= 0);
	close(s);
	close(gport);
}

static void time_limits(void **state)
{
	const char *const meek[] = {"sleep", "100", NULL};
	const char *const stubborn[] = {
		"sh", "-c", "trap : TERM; while :; do sleep 0.1; done", NULL};
	int s = start_job(&(struct agent_exec){.argv = meek, .timeout_ms = 200});
	struct result r = {0};

	until(s, "exit", &r);
	assert_int_equal(number("signal"), SIGTERM);
	assert_int_equal(number("timeout"), 1);
	close(s);
	s = start_job(&(struct agent_exec){
		.argv = stubborn, .timeout_ms = 500, .hold = true, .note = "", .job = 9});
	close(s);
	s = adopt(9);
	until(s, "exit", &r);
	assert_int_equal(number("signal"), SIGKILL);
	assert_int_equal(number("timeout"), 1);
	close(s);
	done(&r);
}

#define WITH_GUEST(t)	 cmocka_unit_test_setup_teardown(t, setup_booted, teardown)
#define WITH_ITS_INIT(t) cmocka_unit_test_setup_teardown(t, setup_attached, teardown)
#define ALONE(t)	 cmocka_unit_test_setup_teardown(t, setup, teardown)

/* ---- a guest with an init of its own */

static int setup_attached(void **state)
{
	setup(state);
	start_guest();
	attach();
	return 0;
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
		WITH_GUEST(exec_results),
		WITH_ITS_INIT(init_beside),
		WITH_ITS_INIT(init_that_is_none),
		WITH_ITS_INIT(init_that_does_not_end),
		ALONE(init_checks),
		cmocka_unit_test(init_signals),
		cmocka_unit_test(init_that_waits),
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
		WITH_GUEST(client_vanishes),
		WITH_GUEST(agentd_is_killed),
		WITH_GUEST(small_requests),
		WITH_GUEST(figures),
		WITH_GUEST(shares),
		ALONE(no_shares_before_the_root),
		WITH_GUEST(shutdown_ends_the_jobs),
		WITH_GUEST(the_guest_ends_itself),
		WITH_GUEST(log_is_exact),
		WITH_GUEST(console_is_kept),
		ALONE(not_booted),
		ALONE(killed_while_it_boots),
		ALONE(watchers),
		ALONE(files_rotate),
		ALONE(files_rotate_by_count),
		ALONE(a_line_that_was_cut),
		ALONE(a_line_that_did_not_fit),
		ALONE(text_cut_anywhere),
		ALONE(violations),
		ALONE(figures_of_a_hostile_guest),
		ALONE(flood_of_hellos),
		ALONE(another_version),
		ALONE(a_guest_that_is_silent),
		ALONE(jobs_are_limited),
		ALONE(slow_clients_are_bounded),
		WITH_GUEST(held_jobs),
		WITH_GUEST(forgotten_unheard),
		WITH_GUEST(held_output),
		ALONE(held_are_limited),
		WITH_GUEST(time_limits),
	};

	struct rlimit nofile;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &nofile), 0);
	nofile.rlim_cur = nofile.rlim_max; /* AGENT_MAX_JOBS clients at once */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &nofile), 0);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
