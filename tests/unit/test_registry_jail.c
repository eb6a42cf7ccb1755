// SPDX-License-Identifier: Apache-2.0
// What msb-registry is left with once it is set up, and whose files it reads.
#include "tests/unit/registry_fixture.h"

#include <dirent.h>

#define SECRET	 "s3cret-Of-Bob"
#define ENCODED	 "Ym9iOnMzY3JldC1PZi1Cb2I"
#define SOMEBODY 12345

static const char who[] = "bob:" SECRET;
static struct layout l;
static struct server fake;
static char home[128];

static struct reg_setup setup_of(void)
{
	return (struct reg_setup){.host = fake.host,
		.repo = "x/y",
		.uid = getuid(),
		.gid = getgid(),
		.home = home,
		.user = "bob",
		.secret = SECRET,
		.retry_ms = 10,
		.stall_ms = 60000,
		.helper_ms = 60000};
}

/* /proc/PID/NAME, with its NULs made spaces. */
static char *proc(pid_t pid, const char *name)
{
	struct msb_str s = MSB_STR_INIT;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	assert_int_equal(msb_read_file(AT_FDCWD, path, 1 << 20, &s), 0);
	for (size_t i = 0; i < s.len; i++)
		s.buf[i] = s.buf[i] ? s.buf[i] : ' ';
	return s.buf ? s.buf : strdup("");
}

static pid_t child_of(pid_t pid)
{
	char path[64];
	struct msb_str s = MSB_STR_INIT;
	pid_t child;

	(void)snprintf(path, sizeof(path), "task/%d/children", pid);
	s.buf = proc(pid, path);
	child = (pid_t)strtol(s.buf, NULL, 10);
	free(s.buf);
	return child;
}

static void assert_line(const char *text, const char *line)
{
	if (!strstr(text, line))
		print_error("no `%s` in\n%s\n", line, text);
	assert_non_null(strstr(text, line));
}

static void no_secret(pid_t pid)
{
	static const char *const names[] = {"cmdline", "environ", "comm", "status"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		_cleanup_free_ char *text = proc(pid, names[i]);

		assert_null(strstr(text, SECRET));
		assert_null(strstr(text, ENCODED));
	}
}

static unsigned int entries(pid_t pid, const char *dir)
{
	_cleanup_closedir_ DIR *d = NULL;
	char path[64];
	unsigned int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, dir);
	d = opendir(path);
	assert_non_null(d);
	for (const struct dirent *de; (de = readdir(d));)
		n += de->d_name[0] != '.';
	return n;
}

/* In the middle of a pull: no right, no file, no way to get one; and no secret to be read. */
static void narrowed(void **state)
{
	_cleanup_close_ int fd = new_fd();
	const struct reg_setup s = setup_of();
	_cleanup_free_ char *status = NULL, *limits = NULL, *resolver = NULL;
	struct msb_err e;
	struct client c;
	uint64_t id;
	pid_t child;

	fake_ctl(&fake, "reset", "", NULL);
	client_start(&c, &s);
	get_good(&c, &l, 0); /* it is set up */
	fault(&fake, "{\"do\":\"stall\",\"after\":70000}");
	(void)request(&c, "get", &id);
	msb_msg_set(&c.m, "what", "blob");
	msb_msg_set(&c.m, "name", "%s", l.blob[1]);
	msb_msg_set(&c.m, "size", "%zu", l.size[1]);
	send_it(&c, fd);
	while (!seen(&fake, l.blob[1]))
		usleep(10000);
	status = proc(c.pid, "status");
	assert_line(status, "NoNewPrivs:\t1");
	assert_line(status, "Seccomp:\t2");
	assert_line(status, "Threads:\t1");
	assert_line(status, "CapPrm:\t0000000000000000");
	assert_line(status, "CapEff:\t0000000000000000");
	assert_line(status, "CapBnd:\t0000000000000000");
	limits = proc(c.pid, "limits");
	assert_line(limits, "Max core file size        0                    0 ");
	child = child_of(c.pid);
	assert_true(child > 0);
	resolver = proc(child, "status");
	assert_line(resolver, "NoNewPrivs:\t1");
	assert_line(resolver, "Seccomp:\t2");
	assert_line(resolver, "CapEff:\t0000000000000000");
	no_secret(c.pid);
	no_secret(child);
	if (getuid() == 0) {
		assert_line(status, "Uid:\t65534\t65534\t65534\t65534");
		assert_line(status, "Groups:\t \n");
		assert_line(resolver, "Uid:\t65534\t65534\t65534\t65534");
		assert_int_equal(entries(c.pid, "root"), 0);
		/* 0-2, the client, the resolver, the connection, what curl wakes itself by, and the
		 * blob's. */
		assert_true(entries(c.pid, "fd") <= 10);
		/* Not its secrets' either: neither of its socket pairs is another's. */
		assert_true(entries(child, "fd") <= 4);
	}
	msb_msg_init(&c.m, "cancel");
	msb_msg_set(&c.m, "id", "%llu", (unsigned long long)id);
	send_it(&c, -1);
	assert_int_equal(answer_of(&c, id, &e), -ECANCELED);
	get_good(&c, &l, 1);
	client_stop(&c);
}

/* Its memory holds the login while it needs it; what is dumped of it does not exist: a process that
 * may not be dumped has its /proc entries owned by root. */
static void undumpable(void **state)
{
	const struct reg_setup s = setup_of();
	struct client c;
	char path[64];
	struct stat st;

	client_start(&c, &s);
	get_good(&c, &l, 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/environ", c.pid);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	client_stop(&c);
}

/* A client that goes away in the middle leaves nobody behind. */
static void ends_with_client(void **state)
{
	_cleanup_close_ int fd = new_fd();
	const struct reg_setup s = setup_of();
	struct client c;
	uint64_t id;
	pid_t child;

	fake_ctl(&fake, "reset", "", NULL);
	client_start(&c, &s);
	get_good(&c, &l, 0);
	child = child_of(c.pid);
	fault(&fake, "{\"do\":\"stall\",\"times\":-1}");
	(void)request(&c, "get", &id);
	msb_msg_set(&c.m, "what", "blob");
	msb_msg_set(&c.m, "name", "%s", l.blob[0]);
	msb_msg_set(&c.m, "size", "%zu", l.size[0]);
	send_it(&c, fd);
	client_stop(&c);
	for (int i = 0; i < WAIT_MS / 10 && kill(child, 0) == 0; i++)
		usleep(10000);
	assert_int_equal(kill(child, 0), -1);
	fake_ctl(&fake, "reset", "", NULL);
}

static void protocol(void **state)
{
	_cleanup_close_ int fd = new_fd();
	const struct reg_setup s = setup_of();
	int status;
	struct client c;
	uint64_t id;

	/* No id: it cannot be answered. */
	client_start(&c, &s);
	msb_msg_init(&c.m, "get");
	send_it(&c, -1);
	while (next_message(&c))
		;
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	close(c.sock);
	/* The same id twice. */
	fake_ctl(&fake, "reset", "", NULL);
	client_start(&c, &s);
	get_good(&c, &l, 0);
	fault(&fake, "{\"do\":\"stall\",\"times\":-1}");
	for (int i = 0; i < 2;
		i++) { /* of a blob that does not come, so that the first is not answered */
		(void)request(&c, "get", &id);
		c.next_id--;
		msb_msg_set(&c.m, "what", "blob");
		msb_msg_set(&c.m, "name", "%s", l.blob[1]);
		msb_msg_set(&c.m, "offset", "0");
		msb_msg_set(&c.m, "size", "%llu", (unsigned long long)l.size[1]);
		send_it(&c, fd);
	}
	while (next_message(&c))
		;
	assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	close(c.sock);
	fake_ctl(&fake, "reset", "", NULL);
}

static void spawn_fails(void **state)
{
	struct reg_setup s = setup_of();
	struct msb_err e = {0};
	char big[REG_MAX_SECRET_BYTES + 2];
	struct client c;
	int sock = -1;

	assert_int_equal(reg_spawn("/no/bin", &s, -1, &sock, NULL, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/no/bin/msb-registry"));
	assert_int_equal(sock, -1);
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	s.secret = big;
	client_start(&c, &s);
	get_bad(&c, &l, 0, E2BIG, "too long");
	client_stop(&c);
}

/* ---- as root: for another user */

static void write_as(const char *path, const char *text, uid_t uid, mode_t mode)
{
	char whole[300], *p;

	(void)snprintf(whole, sizeof(whole), "%s/%s", home, path);
	for (p = whole + strlen(home) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		(void)mkdir(whole, 0755);
		*p = '/';
	}
	put_text(whole, text);
	assert_int_equal(chmod(whole, mode), 0);
	assert_int_equal(chown(whole, uid, uid), 0);
}

static void other_user(void **state)
{
	struct reg_setup s = setup_of();
	char text[400], seen_by[200], program[80];
	struct msb_str ran = MSB_STR_INIT;
	struct client c;

	if (getuid() != 0) {
		skip();
		return;
	}
	s.user = s.secret = NULL;
	s.uid = s.gid = SOMEBODY;
	(void)snprintf(
		text, sizeof(text), "{\"auths\":{\"%s\":{\"auth\":\"" ENCODED "=\"}}}", fake.host);
	write_as(".docker/config.json", text, SOMEBODY, 0600);
	fake_ctl(&fake, "reset", "", NULL);
	client_start(&c, &s);
	get_good(&c, &l, 0);
	client_stop(&c);
	/* What that user may not read is not read for it. */
	write_as(".docker/config.json", text, 0, 0600);
	client_start(&c, &s);
	get_bad(&c, &l, 0, EACCES, "wants a login");
	client_stop(&c);
	s.ca = reg_log_path;
	assert_int_equal(chmod(reg_log_path, 0600), 0);
	client_start(&c, &s);
	get_bad(&c, &l, 0, EACCES, "ca=");
	client_stop(&c);
	s.ca = NULL;
	/* A helper is that user's program: found in no PATH of ours, run with nothing of ours. */
	write_as("bin/docker-credential-mine", "#!/bin/sh\nexit 1\n", 0, 0755);
	(void)snprintf(text, sizeof(text), "{\"credHelpers\":{\"%s\":\"mine\"}}", fake.host);
	write_as(".docker/config.json", text, SOMEBODY, 0600);
	(void)snprintf(text, sizeof(text),
		"#!/bin/sh\n"
		"{ id; pwd; env; ls -l /proc/self/fd; } >%s/ran\n"
		"echo '{\"Username\":\"bob\",\"Secret\":\"" SECRET "\"}'\n",
		home);
	(void)snprintf(
		program, sizeof(program), "/usr/local/bin/docker-credential-msbtest-%d", getpid());
	put_text(program, text);
	assert_int_equal(chmod(program, 0755), 0);
	write_as("ran", "", SOMEBODY, 0600);
	client_start(&c, &s);
	get_bad(&c, &l, 0, EACCES, "wants a login");
	client_stop(&c);
	(void)snprintf(text, sizeof(text), "{\"credHelpers\":{\"%s\":\"msbtest-%d\"}}", fake.host,
		getpid());
	write_as(".docker/config.json", text, SOMEBODY, 0600);
	assert_int_equal(setenv("MSB_TEST_CANARY", "canary", 1), 0);
	client_start(&c, &s);
	get_good(&c, &l, 0);
	client_stop(&c);
	(void)unlink(program);
	(void)snprintf(seen_by, sizeof(seen_by), "%s/ran", home);
	assert_int_equal(msb_read_file(AT_FDCWD, seen_by, 1 << 16, &ran), 0);
	assert_non_null(ran.buf);
	assert_line(ran.buf, "uid=12345 gid=12345 groups=12345");
	assert_null(strstr(ran.buf, "canary"));
	assert_null(strstr(ran.buf, "socket:"));
	msb_str_done(&ran);
}

/* An ordinary user's msbd: whatever is not root's to give is still given up. */
static void ordinary(void **state)
{
	_cleanup_free_ char *status = NULL;
	struct reg_setup s = setup_of();
	struct client c;
	int sock[2];
	pid_t pid;
	int st;

	if (getuid() != 0) {
		skip();
		return;
	}
	fake_ctl(&fake, "reset", "", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sock), 0);
	assert_int_equal(chmod(reg_log_path, 0666), 0);
	pid = fork();
	if (pid == 0) {
		char bytes[1];

		if (setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0)
			_exit(9);
		s.uid = s.gid = SOMEBODY;
		client_start(&c, &s);
		get_good(&c, &l, 0);
		if (write(sock[1], &c.pid, sizeof(c.pid)) != sizeof(c.pid) ||
			read(sock[1], bytes, 1) != 1)
			_exit(8);
		client_stop(&c);
		_exit(0);
	}
	assert_int_equal(read(sock[0], &st, sizeof(st)), sizeof(st));
	status = proc(st, "status");
	assert_line(status, "Uid:\t12345\t12345\t12345\t12345");
	assert_line(status, "NoNewPrivs:\t1");
	assert_line(status, "Seccomp:\t2");
	assert_line(status, "CapEff:\t0000000000000000");
	assert_int_equal(entries(st, "root"), 0);
	no_secret(st);
	assert_int_equal(write(sock[0], "x", 1), 1);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_int_equal(st, 0);
	close(sock[0]);
	close(sock[1]);
}

static void nothing_logged(void **state)
{
	struct msb_str log = MSB_STR_INIT;

	assert_int_equal(msb_read_file(AT_FDCWD, reg_log_path, 64 << 20, &log), 0);
	assert_non_null(log.buf);
	assert_null(strstr(log.buf, SECRET));
	assert_null(strstr(log.buf, ENCODED));
	msb_str_done(&log);
}

static int setup(void **state)
{
	char serve[300];

	if (fixture_setup(state) < 0)
		return -1;
	assert_int_equal(setenv("MSB_LOG", "debug", 1), 0);
	(void)snprintf(home, sizeof(home), "%s/home", reg_tmp);
	assert_int_equal(msb_mkdir_p(home, 0755), 0);
	layout_make(&l, "layout", (const size_t[4]){100000, 2u << 20, 0, 0});
	(void)snprintf(serve, sizeof(serve), "x/y=%s", l.dir);
	fake_start(&fake, "fake",
		(const char *const[]){"--auth", "bearer", "--user", who, "--serve", serve, NULL});
	return 0;
}

static int teardown(void **state)
{
	server_stop(&fake);
	layout_free(&l);
	return fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(narrowed),
		cmocka_unit_test(undumpable),
		cmocka_unit_test(ends_with_client),
		cmocka_unit_test(protocol),
		cmocka_unit_test(spawn_fails),
		cmocka_unit_test(other_user),
		cmocka_unit_test(ordinary),
		cmocka_unit_test(nothing_logged),
	};

	return cmocka_run_group_tests_name("registry_jail", tests, setup, teardown);
}
