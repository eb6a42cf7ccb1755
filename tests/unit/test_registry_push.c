// SPDX-License-Identifier: Apache-2.0
// msb-registry sends: to a registry that misbehaves, and to Debian's docker-registry, with and
// without TLS.
#include "tests/unit/registry_fixture.h"

#define USER	      "bob"
#define SECRET	      "s3cret-Of-Bob"
#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

static const char who[] = USER ":" SECRET;
static struct layout l;

static struct reg_setup setup_of(const struct server *s, bool push)
{
	return (struct reg_setup){.host = s->host,
		.repo = "x/y",
		.push = push,
		.uid = getuid(),
		.gid = getgid(),
		.user = USER,
		.secret = SECRET,
		.home = reg_tmp,
		.retry_ms = 10,
		.stall_ms = 60000};
}

static int put(struct client *c, const char *verb, const char *name, const void *p, size_t n,
	struct msb_err *e)
{
	_cleanup_close_ int fd = new_fd();
	uint64_t id;

	memset(e, 0, sizeof(*e));
	assert_int_equal(msb_pwrite_full(fd, p, n, 0), 0);
	(void)request(c, verb, &id);
	msb_msg_set(&c->m, "name", "%s", name);
	msb_msg_set(&c->m, "size", "%zu", n);
	msb_msg_set(&c->m, "media_type", MANIFEST_TYPE);
	send_it(c, fd);
	return answer_of(c, id, e);
}

static void put_good(struct client *c, int i)
{
	struct msb_err e;

	if (put(c, "put_blob", l.blob[i], l.bytes[i], l.size[i], &e) < 0) {
		print_error("%s\n", e.msg);
		fail();
	}
	assert_int_equal(c->ready, l.size[i]);
}

static bool there(struct client *c, const char *what, const char *name)
{
	struct msb_err e = {0};
	uint64_t id;

	(void)request(c, "exists", &id);
	msb_msg_set(&c->m, "what", "%s", what);
	msb_msg_set(&c->m, "name", "%s", name);
	send_it(c, -1);
	if (answer_of(c, id, &e) < 0)
		print_error("%s\n", e.msg);
	return !strcmp(msb_msg_get(&c->m, "exists"), "1");
}

static bool mounted(struct client *c, const char *digest, const char *from)
{
	struct msb_err e = {0};
	uint64_t id;

	(void)request(c, "mount", &id);
	msb_msg_set(&c->m, "digest", "%s", digest);
	msb_msg_set(&c->m, "from", "%s", from);
	send_it(c, -1);
	if (answer_of(c, id, &e) < 0) {
		print_error("%s\n", e.msg);
		fail();
	}
	return !strcmp(msb_msg_get(&c->m, "mounted"), "1");
}

/* All that a push does, then all of it back. */
static void round_trip(const struct server *s, const char *ca)
{
	struct reg_setup set = setup_of(s, true);
	struct client c;
	struct msb_err e;
	_cleanup_close_ int fd = new_fd();

	set.ca = ca;
	client_start(&c, &set);
	for (int i = 0; i < 3; i++) {
		assert_false(there(&c, "blob", l.blob[i]));
		put_good(&c, i);
		assert_true(there(&c, "blob", l.blob[i]));
	}
	assert_false(there(&c, "manifest", "v1"));
	if (put(&c, "put_manifest", "v1", l.manifest_text, strlen(l.manifest_text), &e) < 0) {
		print_error("%s\n", e.msg);
		fail();
	}
	assert_string_equal(msb_msg_get(&c.m, "digest"), l.manifest);
	assert_true(there(&c, "manifest", "v1"));
	assert_string_equal(msb_msg_get(&c.m, "digest"), l.manifest);
	client_stop(&c);
	/* Another repository of the same registry need not be sent it. */
	set.repo = "other/z";
	client_start(&c, &set);
	assert_true(mounted(&c, l.blob[0], "x/y"));
	assert_true(there(&c, "blob", l.blob[0]));
	assert_false(mounted(&c, l.blob[1], "no/such"));
	assert_false(there(&c, "blob", l.blob[1]));
	put_good(&c, 1);
	client_stop(&c);
	set.repo = "x/y";
	set.push = false;
	client_start(&c, &set);
	for (int i = 0; i < 3; i++)
		get_good(&c, &l, i);
	assert_int_equal(get(&c, "manifest", "v1", 0, 0, fd, &e), 0);
	assert_content(fd, l.manifest_text, strlen(l.manifest_text));
	assert_string_equal(msb_msg_get(&c.m, "media_type"), MANIFEST_TYPE);
	client_stop(&c);
}

static void fake(void **state)
{
	static const char *const auth[] = {"none", "basic", "bearer"};

	for (size_t i = 0; i < ARRAY_LEN(auth); i++) {
		struct server s;
		char name[32];

		(void)snprintf(name, sizeof(name), "fake-%s", auth[i]);
		fake_start(&s, name, (const char *const[]){"--auth", auth[i], "--user", who, NULL});
		round_trip(&s, NULL);
		server_stop(&s);
	}
}

static void broken(void **state)
{
	static const char later[] = "{\"method\":\"PUT\",\"do\":\"status\",\"code\":429,"
				    "\"headers\":{\"Retry-After\":\"1\"}}";
	const char *const rules[] = {
		"{\"method\":\"PUT\",\"do\":\"reset\",\"after\":100000}",
		"{\"method\":\"PUT\",\"do\":\"reset\",\"after\":100000,\"times\":3}",
		"{\"method\":\"PUT\",\"do\":\"stall\",\"after\":100000,\"seconds\":5}",
		"{\"method\":\"PUT\",\"do\":\"status\",\"code\":503}",
		"{\"method\":\"PUT\",\"do\":\"status\",\"code\":404}",
		later,
		"{\"method\":\"POST\",\"do\":\"status\",\"code\":500}",
		"{\"method\":\"POST\",\"do\":\"reset\"}",
		"{\"do\":\"expire\",\"method\":\"PUT\"}",
		/* in pieces, as it wishes; one of them goes astray */
		"{\"method\":\"POST\",\"do\":\"chunk\",\"min\":1000000}",
		"{\"method\":\"POST\",\"do\":\"chunk\",\"min\":1}",
		"{\"method\":\"PUT\",\"do\":\"status\",\"code\":413}",
		"{\"method\":\"PUT\",\"do\":\"status\",\"code\":405}",
	};
	struct reg_setup set;
	struct server s;
	struct client c;
	struct msb_err e;

	fake_start(&s, "broken", (const char *const[]){"--auth", "bearer", "--user", who, NULL});
	set = setup_of(&s, true);
	set.stall_ms = 2000;
	client_start(&c, &set);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		fake_ctl(&s, "reset", "", NULL);
		fault(&s, rules[i]);
		put_good(&c, 2);
	}
	fake_ctl(&s, "reset", "", NULL);
	fault(&s, "{\"method\":\"PUT\",\"do\":\"status\",\"code\":413}");
	fault(&s, "{\"method\":\"PATCH\",\"do\":\"reset\",\"after\":1000}");
	put_good(&c, 2);
	assert_int_equal(seen(&s, "\"PATCH\""), 2);
	fake_ctl(&s, "reset", "", NULL);
	fault(&s, "{\"method\":\"PUT\",\"do\":\"status\",\"code\":503,\"times\":-1}");
	assert_int_equal(put(&c, "put_blob", l.blob[0], l.bytes[0], l.size[0], &e), -EIO);
	assert_int_equal(seen(&s, "\"PUT\""), REG_MAX_RETRIES + 1);
	fake_ctl(&s, "reset", "", NULL);
	fault(&s, "{\"method\":\"PUT\",\"do\":\"status\",\"code\":403,\"times\":-1}");
	assert_int_equal(put(&c, "put_blob", l.blob[0], l.bytes[0], l.size[0], &e), -EACCES);
	assert_int_equal(put(&c, "put_manifest", "v2", "{}", 2, &e), -EACCES);
	fake_ctl(&s, "reset", "", NULL);
	fault(&s, "{\"method\":\"PUT\",\"do\":\"status\",\"code\":502,\"times\":2}");
	assert_int_equal(put(&c, "put_manifest", "v2", "{}", 2, &e), 0);
	client_stop(&c);
	server_stop(&s);
}

/* Where an upload goes is the registry's word, within bounds. */
static void place(void **state)
{
	static const struct {
		const char *location;
		int code;
	} cases[] = {
		{"ftp://x/y", EBADMSG},
		{"", EBADMSG},
		{"http://u:p@127.0.0.1/", EBADMSG},
		{"/v2/x/y/blobs/uploads/gone", ENOENT},
	};
	struct reg_setup set;
	struct server s;
	struct client c;
	struct msb_err e;
	char rule[300];

	fake_start(&s, "place", NULL);
	set = setup_of(&s, true);
	client_start(&c, &set);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		fake_ctl(&s, "reset", "", NULL);
		(void)snprintf(rule, sizeof(rule),
			"{\"method\":\"POST\",\"do\":\"status\",\"code\":202,\"times\":-1,"
			"\"headers\":{\"Location\":\"%s\"}}",
			cases[i].location);
		fault(&s, rule);
		assert_int_equal(
			put(&c, "put_blob", l.blob[0], l.bytes[0], l.size[0], &e), -cases[i].code);
	}
	client_stop(&c);
	server_stop(&s);
}

static void refused(void **state)
{
	_cleanup_free_ char *long_type = malloc(400);
	_cleanup_free_ uint8_t *much = noise(REG_MAX_MANIFEST_BYTES + 1, 9);
	struct reg_setup set;
	struct server s;
	struct client c;
	struct msb_err e;
	uint64_t id;
	int p[2];

	fake_start(&s, "refused", NULL);
	set = setup_of(&s, true);
	client_start(&c, &set);
	assert_int_equal(
		put(&c, "put_manifest", "big", much, REG_MAX_MANIFEST_BYTES + 1, &e), -E2BIG);
	assert_int_equal(put(&c, "put_blob", "v1", "x", 1, &e), -EINVAL);
	/* Shorter than it is said to be, and no file at all. */
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	(void)request(&c, "put_blob", &id);
	msb_msg_set(&c.m, "name", "%s", l.blob[0]);
	msb_msg_set(&c.m, "size", "1");
	send_it(&c, p[0]);
	assert_int_equal(answer_of(&c, id, &e), -EINVAL);
	close(p[0]);
	close(p[1]);
	memset(long_type, 'a', 399);
	long_type[399] = '\0';
	(void)request(&c, "put_manifest", &id);
	msb_msg_set(&c.m, "name", "v1");
	msb_msg_set(&c.m, "media_type", "%s", long_type);
	send_it(&c, fileno(stdin));
	assert_int_equal(answer_of(&c, id, &e), -EINVAL);
	(void)request(&c, "mount", &id);
	msb_msg_set(&c.m, "digest", "%s", l.blob[0]);
	msb_msg_set(&c.m, "from", "a?b");
	send_it(&c, -1);
	assert_int_equal(answer_of(&c, id, &e), -EINVAL);
	client_stop(&c);
	server_stop(&s);
}

/* ---- docker-registry */

static void run(const char *command)
{
	assert_int_equal(system(command), 0);
}

static pid_t docker_pid; /* of the one that runs: a test that fails leaves it behind */

/* With tests/registry/registry.bash, as the suites start it. */
static void docker_start(struct server *s, const char *name, const char *options)
{
	char command[5000], line[64], port_path[300];
	struct msb_str text = MSB_STR_INIT;
	uint64_t pid, port;
	char *space;

	if (docker_pid) /* of a test that has failed */
		kill(docker_pid, SIGKILL);
	*s = (struct server){0};
	(void)snprintf(s->dir, sizeof(s->dir), "%s/%s", reg_tmp, name);
	(void)snprintf(port_path, sizeof(port_path), "%s.started", s->dir);
	(void)snprintf(command, sizeof(command),
		"bash -c '. %s/tests/registry/registry.bash && { test -e %s/server.pem || registry_ca "
		"%s; } && registry_docker %s %s && echo $REGISTRY_PID $REGISTRY_PORT >%s'",
		reg_source, s->dir, s->dir, s->dir, options, port_path);
	run(command);
	assert_int_equal(msb_read_file(AT_FDCWD, port_path, sizeof(line) - 1, &text), 0);
	text.buf[text.len - 1] = '\0';
	space = strchr(text.buf, ' ');
	*space = '\0';
	assert_int_equal(msb_parse_u64(text.buf, 1, INT32_MAX, &pid), 0);
	assert_int_equal(msb_parse_u64(space + 1, 1, 65535, &port), 0);
	msb_str_done(&text);
	s->pid = 0;
	s->port = (int)port;
	(void)snprintf(s->host, sizeof(s->host), "127.0.0.1:%d", s->port);
	s->pid = docker_pid = (pid_t)pid;
}

static void docker_stop(struct server *s)
{
	kill(s->pid, SIGKILL); /* not our child: its parent has ended */
	s->pid = docker_pid = 0;
}

static void docker_plain(void **state)
{
	struct server s;

	docker_start(&s, "docker", "");
	round_trip(&s, NULL);
	docker_stop(&s);
}

static void docker_basic(void **state)
{
	struct server s;
	struct reg_setup set;
	struct client c;

	docker_start(&s, "docker-basic", "--user " USER ":" SECRET);
	round_trip(&s, NULL);
	set = setup_of(&s, false);
	set.secret = "wrong";
	client_start(&c, &set);
	get_bad(&c, &l, 0, EACCES, "does not accept the login of bob");
	client_stop(&c);
	docker_stop(&s);
}

static void docker_tls(void **state)
{
	struct server s;
	struct reg_setup set;
	struct client c;
	char ca[300];

	docker_start(&s, "docker-tls", "--tls --user " USER ":" SECRET);
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", s.dir);
	round_trip(&s, ca);
	set = setup_of(&s, false);
	client_start(&c, &set); /* nobody knows this CA */
	get_bad(&c, &l, 0, EPROTO, "is not one to trust");
	client_stop(&c);
	set.insecure = true;
	client_start(&c, &set);
	get_good(&c, &l, 0);
	client_stop(&c);
	set.insecure = false;
	set.plain_http = true;
	client_start(&c, &set);
	get_bad(&c, &l, 0, EBADMSG, "HTTP status 400");
	client_stop(&c);
	docker_stop(&s);
}

static int setup(void **state)
{
	if (fixture_setup(state) < 0)
		return -1;
	layout_make(&l, "layout", (const size_t[4]){100000, 5, 20u << 20, 0});
	return 0;
}

static int teardown(void **state)
{
	if (docker_pid)
		kill(docker_pid, SIGKILL);
	layout_free(&l);
	return fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fake),
		cmocka_unit_test(broken),
		cmocka_unit_test(place),
		cmocka_unit_test(refused),
		cmocka_unit_test(docker_plain),
		cmocka_unit_test(docker_basic),
		cmocka_unit_test(docker_tls),
	};

	return cmocka_run_group_tests_name("registry_push", tests, setup, teardown);
}
