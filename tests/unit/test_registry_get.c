// SPDX-License-Identifier: Apache-2.0
// msb-registry fetches: whole, in ranges, resumed, and from a registry that does everything wrong.
#include "fs/image/registry/http.h"
#include "tests/unit/registry_fixture.h"

#define MIB (1u << 20)

static struct layout small, big, huge;
static struct server fake;

static struct reg_setup setup_of(const struct server *s)
{
	return (struct reg_setup){.host = s->host,
		.repo = "x/y",
		.uid = getuid(),
		.gid = getgid(),
		.home = reg_tmp,
		.retry_ms = 10,
		.stall_ms = 60000};
}

static void begin(struct client *c)
{
	const struct reg_setup s = setup_of(&fake);

	fake_ctl(&fake, "reset", "", NULL);
	client_start(c, &s);
}

/* One that takes a second without a byte for a stall: where that is what is tested. */
static void begin_impatient(struct client *c)
{
	struct reg_setup s = setup_of(&fake);

	s.stall_ms = 1000;
	fake_ctl(&fake, "reset", "", NULL);
	client_start(c, &s);
}

static void manifest(void **state)
{
	_cleanup_close_ int fd = new_fd();
	struct client c;
	struct msb_err e;

	begin(&c);
	assert_int_equal(get(&c, "manifest", "v1", 0, 0, fd, &e), 0);
	assert_string_equal(
		msb_msg_get(&c.m, "media_type"), "application/vnd.oci.image.manifest.v1+json");
	assert_string_equal(msb_msg_get(&c.m, "digest"), small.manifest);
	assert_content(fd, small.manifest_text, strlen(small.manifest_text));
	assert_int_equal(
		get(&c, "manifest", small.manifest, 0, strlen(small.manifest_text), fd, &e), 0);
	assert_int_equal(get(&c, "manifest", "v2", 0, 0, fd, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "has no manifest v2 (MANIFEST_UNKNOWN"));
	client_stop(&c);
}

static void blobs(void **state)
{
	struct client c;

	begin(&c);
	get_good(&c, &small, 0);
	get_good(&c, &small, 1);
	assert_int_equal(seen(&fake, "bytes="), 0);
	client_stop(&c);
}

static void ranges(void **state)
{
	struct client c;

	begin(&c);
	get_good(&c, &big, 0);
	assert_int_equal(seen(&fake, "bytes="), 3); /* 40 MiB */
	assert_int_equal(c.ready, big.size[0]);
	client_stop(&c);
}

/* All at once: each is answered, whatever the order. */
static void many(void **state)
{
	struct client c;
	int fd[4], left = 4;
	uint64_t id[4], got;

	begin(&c);
	for (int i = 0; i < 4; i++) {
		const struct layout *l = i < 2 ? &small : &big;

		fd[i] = new_fd();
		(void)request(&c, "get", &id[i]);
		msb_msg_set(&c.m, "what", "blob");
		msb_msg_set(&c.m, "name", "%s", l->blob[i % 2]);
		msb_msg_set(&c.m, "size", "%zu", l->size[i % 2]);
		send_it(&c, fd[i]);
	}
	while (left) {
		assert_true(next_message(&c));
		if (!strcmp(msb_msg_verb(&c.m), "progress"))
			continue;
		assert_string_equal(msb_msg_verb(&c.m), "ok");
		assert_int_equal(msb_msg_get_u64(&c.m, "id", &got), 0);
		for (int i = 0; i < 4; i++)
			if (id[i] == got) {
				const struct layout *l = i < 2 ? &small : &big;

				assert_content(fd[i], l->bytes[i % 2], l->size[i % 2]);
				close(fd[i]);
				left--;
			}
	}
	client_stop(&c);
}

static void resumed(void **state)
{
	_cleanup_close_ int fd = new_fd();
	struct client c;
	struct msb_err e;
	size_t half = small.size[1] / 2;

	begin(&c);
	assert_int_equal(msb_pwrite_full(fd, small.bytes[1], half, 0), 0);
	assert_int_equal(get(&c, "blob", small.blob[1], half, small.size[1], fd, &e), 0);
	assert_content(fd, small.bytes[1], small.size[1]);
	assert_int_equal(seen(&fake, "\"range\": \"bytes=1048576-2097151\""), 1);
	/* Nothing is left to ask for. */
	assert_int_equal(get(&c, "blob", small.blob[1], small.size[1], small.size[1], fd, &e), 0);
	assert_int_equal(seen(&fake, "/blobs/"), 1);
	/* It sends all of it again. */
	fault(&fake, "{\"do\":\"norange\"}");
	assert_int_equal(ftruncate(fd, (off_t)half), 0);
	assert_int_equal(get(&c, "blob", small.blob[1], half, small.size[1], fd, &e), 0);
	assert_content(fd, small.bytes[1], small.size[1]);
	assert_int_equal(seen(&fake, "\"status\": 200"), 2); /* and the first question of all */
	client_stop(&c);
}

/* No ranges at the first, or only later, when several are under way. */
static void no_ranges(void **state)
{
	struct client c;

	begin(&c);
	fault(&fake, "{\"do\":\"norange\",\"times\":-1}");
	get_good(&c, &big, 0);
	assert_int_equal(seen(&fake, "/blobs/"), 1);
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"norange\",\"skip\":1,\"times\":-1}");
	get_good(&c, &big, 0);
	client_stop(&c);
}

static void broken(void **state)
{
	static const char *const rules[] = {
		"{\"do\":\"reset\",\"after\":100000}",
		"{\"do\":\"reset\",\"after\":100000,\"times\":3}",
		"{\"do\":\"close\",\"after\":1500000}",
		"{\"do\":\"stall\",\"after\":70000}",
		"{\"do\":\"reset\"}",
		"{\"do\":\"nolength\"}",
		"{\"do\":\"status\",\"code\":503}",
		"{\"do\":\"status\",\"code\":500,\"times\":4}",
		"{\"do\":\"status\",\"code\":429,\"headers\":{\"Retry-After\":\"1\"}}",
	};
	struct client c;

	begin_impatient(&c);
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		fault(&fake, rules[i]);
		get_good(&c, &small, 1);
		fault(&fake, rules[i]);
		get_good(&c, &big, 1);
	}
	client_stop(&c);
}

/* A second try asks only for what is missing. */
static void retry_resumes(void **state)
{
	struct client c;

	begin(&c);
	fault(&fake, "{\"do\":\"close\",\"after\":1048576}");
	get_good(&c, &small, 1);
	assert_true(seen(&fake, "\"range\": \"bytes=") == 1);
	client_stop(&c);
}

static void given_up(void **state)
{
	struct client c;

	begin(&c);
	fault(&fake, "{\"do\":\"reset\",\"times\":-1}");
	get_bad(&c, &small, 0, EIO, "the connection broke");
	assert_int_equal(seen(&fake, "/blobs/"), REG_MAX_RETRIES + 1);
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"status\",\"code\":502,\"times\":-1}");
	get_bad(&c, &small, 0, EIO, "HTTP status 502");
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"status\",\"code\":429,\"times\":-1}");
	get_bad(&c, &small, 0, EAGAIN, "too many requests");
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"status\",\"code\":429,\"headers\":{\"Retry-After\":\"61\"}}");
	get_bad(&c, &small, 0, EAGAIN, "asks to come back in 61 seconds");
	client_stop(&c);
	begin_impatient(&c);
	fault(&fake, "{\"do\":\"stall\",\"times\":-1}");
	get_bad(&c, &small, 0, ETIMEDOUT, "it stalled");
	client_stop(&c);
}

static void lies(void **state)
{
	static const struct {
		const char *rule;
		int layout, code;
		const char *says;
	} cases[] = {
		{"{\"do\":\"length\",\"delta\":7}", 0, EBADMSG, "there should be 100000; refused"},
		{"{\"do\":\"length\",\"delta\":-7}", 0, EBADMSG, "there should be 100000; refused"},
		{"{\"do\":\"longer\",\"n\":9}", 0, EBADMSG, "there should be 100000; refused"},
		{"{\"do\":\"badrange\",\"value\":\"bytes 1-5/9\"}", 1, EBADMSG,
			"another part than it was asked for"},
		{"{\"do\":\"badrange\",\"value\":\"nonsense\"}", 1, EBADMSG,
			"another part than it was asked for"},
		{"{\"do\":\"length\",\"delta\":1}", 1, EBADMSG, "another part"},
		{"{\"do\":\"status\",\"code\":206,\"body\":\"xxxx\"}", 0, EBADMSG,
			"a part and was asked for the whole"},
		{"{\"do\":\"status\",\"code\":418}", 0, EBADMSG, "HTTP status 418"},
		{"{\"do\":\"status\",\"code\":403}", 0, EACCES, "refuses the blob"},
		{"{\"do\":\"status\",\"code\":404}", 0, ENOENT, "has no blob"},
		{"{\"do\":\"status\",\"code\":401}", 0, EACCES, "wants a login"},
		{"{\"do\":\"status\",\"code\":401,\"headers\":{\"WWW-Authenticate\":\"\\\"\"}}", 0,
			EBADMSG, "not understood"},
		{"{\"do\":\"headers\",\"fill\":70000}", 0, E2BIG, "headers that are too long"},
	};
	struct client c;

	begin(&c);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct layout *l = cases[i].layout ? &big : &small;

		fault(&fake, cases[i].rule);
		get_bad(&c, l, 0, cases[i].code, cases[i].says);
		fake_ctl(&fake, "reset", "", NULL);
	}
	get_good(&c, &small, 0); /* it has survived them all */
	client_stop(&c);
}

/* Longer than the descriptor says, without a length: only the bytes tell. */
static void too_long(void **state)
{
	_cleanup_close_ int fd = new_fd();
	struct client c;
	struct msb_err e;
	char *rule;

	begin(&c);
	fault(&fake, "{\"do\":\"nolength\"}");
	assert_int_equal(get(&c, "blob", small.blob[0], 0, small.size[0] - 1, fd, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "more than there should be"));
	/* And a manifest past its limit, with and without a length. */
	assert_true(asprintf(&rule, "{\"do\":\"status\",\"code\":200,\"body\":\"%0*d\"}",
			    (int)REG_MAX_MANIFEST_BYTES + 1, 0) > 0);
	fault(&fake, rule);
	assert_int_equal(get(&c, "manifest", "v1", 0, 0, fd, &e), -E2BIG);
	assert_non_null(strstr(e.msg, "of a manifest"));
	free(rule);
	assert_int_equal(get(&c, "manifest", "v1", 0, REG_MAX_MANIFEST_BYTES + 1, fd, &e), -E2BIG);
	client_stop(&c);
}

static void redirects(void **state)
{
	struct server other;
	struct client c;
	char rule[300], serve[300];

	(void)snprintf(serve, sizeof(serve), "x/y=%s", big.dir);
	fake_start(&other, "other", (const char *const[]){"--serve", serve, NULL});
	begin(&c);
	fault(&fake, "{\"do\":\"loop\",\"times\":-1}");
	get_bad(&c, &small, 0, E2BIG, "more than 8 redirects");
	fake_ctl(&fake, "reset", "", NULL);
	/* The ranges after the first go straight to where that one was led. */
	(void)snprintf(rule, sizeof(rule),
		"{\"do\":\"redirect\",\"times\":-1,\"to\":\"http://%s{path}\"}", other.host);
	fault(&fake, rule);
	get_good(&c, &big, 0);
	assert_int_equal(seen(&other, "/blobs/"), 3);
	assert_int_equal(seen(&fake, "/blobs/"), 1);
	/* That place is gone: the registry is asked again. */
	fault(&other, "{\"do\":\"status\",\"code\":403,\"skip\":1}");
	get_good(&c, &big, 0);
	assert_true(seen(&fake, "/blobs/") >= 3);
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"redirect\",\"to\":\"http://192.0.2.1{path}\"}");
	get_bad(&c, &small, 0, EBADMSG, "leads to 192.0.2.1 without TLS");
	fault(&fake, "{\"do\":\"redirect\",\"to\":\"ftp://x/y\"}");
	get_bad(&c, &small, 0, EBADMSG, "no address");
	fault(&fake, "{\"do\":\"redirect\",\"to\":\"http://u:p@127.0.0.1/\"}");
	get_bad(&c, &small, 0, EBADMSG, "no address");
	client_stop(&c);
	server_stop(&other);
}

static void exists(void **state)
{
	const struct {
		const char *what, *name, *exists;
		uint64_t size;
	} cases[] = {
		{"blob", small.blob[0], "1", small.size[0]},
		{"blob", "sha256:0000000000000000000000000000000000000000000000000000000000000000",
			"0", 0},
		{"manifest", "v1", "1", strlen(small.manifest_text)},
		{"manifest", "v9", "0", 0},
	};
	struct msb_err e;
	struct client c;
	uint64_t id, size;

	begin(&c);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		(void)request(&c, "exists", &id);
		msb_msg_set(&c.m, "what", "%s", cases[i].what);
		msb_msg_set(&c.m, "name", "%s", cases[i].name);
		send_it(&c, -1);
		assert_int_equal(answer_of(&c, id, &e), 0);
		assert_string_equal(msb_msg_get(&c.m, "exists"), cases[i].exists);
		assert_int_equal(msb_msg_get_u64(&c.m, "size", &size), 0);
		assert_int_equal(size, cases[i].size);
	}
	client_stop(&c);
}

/* What it is asked that is no request. */
static void refused(void **state)
{
	_cleanup_close_ int fd = new_fd();
	struct client c;
	struct msb_err e;
	uint64_t id;

	begin(&c);
	assert_int_equal(get(&c, "blob", "v1", 0, 5, fd, &e), -EINVAL);
	assert_int_equal(get(&c, "blob", "sha256:../x", 0, 5, fd, &e), -EINVAL);
	assert_int_equal(get(&c, "manifest", "a/b", 0, 0, fd, &e), -EINVAL);
	assert_int_equal(get(&c, "blob", small.blob[0], 6, 5, fd, &e), -EINVAL);
	assert_int_equal(get(&c, "blob", small.blob[0], 0, 5, -1, &e), -EINVAL);
	(void)request(&c, "dance", &id);
	send_it(&c, -1);
	assert_int_equal(answer_of(&c, id, &e), -EINVAL);
	client_stop(&c);
}

/* More requests than it takes; each has its answer. */
static void limit(void **state)
{
	struct client c;
	int ok = 0, refused_ = 0, given = 0;
	uint64_t id, code;
	struct msb_err e;

	begin(&c);
	fault(&fake, "{\"do\":\"stall\",\"times\":-1}");
	for (int i = 0; i < REG_MAX_REQUESTS + 10; i++) {
		_cleanup_close_ int fd = new_fd();

		(void)request(&c, "get", &id);
		msb_msg_set(&c.m, "what", "blob");
		msb_msg_set(&c.m, "name", "%s", small.blob[0]);
		msb_msg_set(&c.m, "size", "%zu", small.size[0]);
		send_it(&c, fd);
	}
	for (; refused_ < 10; refused_++) {
		assert_true(next_message(&c));
		assert_int_equal(msb_msg_get_u64(&c.m, "code", &code), 0);
		assert_int_equal(code, E2BIG);
		assert_non_null(strstr(msb_msg_get(&c.m, "msg"), "256 requests"));
	}
	for (int i = 1; i <= REG_MAX_REQUESTS; i++) {
		msb_msg_init(&c.m, "cancel");
		msb_msg_set(&c.m, "id", "%d", i);
		send_it(&c, -1);
		given += answer_of(&c, (uint64_t)i, &e) == -ECANCELED;
	}
	assert_int_equal(given, REG_MAX_REQUESTS);
	assert_int_equal(ok, 0);
	fake_ctl(&fake, "reset", "", NULL);
	get_good(&c, &small, 0);
	client_stop(&c);
}

/* No more transfers at once than it may, nor ranges of one blob, and connections are kept. */
static void at_once(void **state)
{
	char ports[4096] = "";
	struct msb_str log = MSB_STR_INIT;
	struct client c;
	struct msb_err e;
	uint64_t id;
	int n = 0;

	begin(&c);
	fault(&fake, "{\"do\":\"stall\",\"after\":1000,\"times\":-1}");
	for (int i = 0; i < 3 * REG_MAX_TRANSFERS; i++) {
		_cleanup_close_ int fd = new_fd();

		(void)request(&c, "get", &id);
		msb_msg_set(&c.m, "what", "blob");
		msb_msg_set(&c.m, "name", "%s", i ? small.blob[0] : huge.blob[0]);
		msb_msg_set(&c.m, "size", "%zu", i ? small.size[0] : huge.size[0]);
		send_it(&c, fd);
	}
	while (seen(&fake, "/blobs/") < REG_MAX_TRANSFERS)
		usleep(10000);
	for (int i = 3 * REG_MAX_TRANSFERS; i > 1; i--) {
		msb_msg_init(&c.m, "cancel");
		msb_msg_set(&c.m, "id", "%d", i);
		assert_int_equal(seen(&fake, small.blob[0]), REG_MAX_TRANSFERS - 1);
		if (i > REG_MAX_TRANSFERS) { /* those that wait have not begun */
			send_it(&c, -1);
			assert_int_equal(answer_of(&c, (uint64_t)i, &e), -ECANCELED);
		}
	}
	for (int i = REG_MAX_TRANSFERS; i > 1; i--) {
		msb_msg_init(&c.m, "cancel");
		msb_msg_set(&c.m, "id", "%d", i);
		send_it(&c, -1);
		assert_int_equal(answer_of(&c, (uint64_t)i, &e), -ECANCELED);
	}
	while (seen(&fake, huge.blob[0]) < REG_MAX_RANGES)
		usleep(10000);
	usleep(100000); /* for one too many */
	assert_int_equal(seen(&fake, huge.blob[0]), REG_MAX_RANGES);
	msb_msg_init(&c.m, "cancel");
	msb_msg_set(&c.m, "id", "1");
	send_it(&c, -1);
	assert_int_equal(answer_of(&c, 1, &e), -ECANCELED);
	fake_ctl(&fake, "reset", "", NULL);
	for (int i = 0; i < 10; i++)
		get_good(&c, &small, 0);
	fake_ctl(&fake, "log", NULL, &log);
	for (char *p = log.buf; p && (p = strstr(p, "\"port\": ")); p++) {
		char port[16];

		(void)snprintf(port, sizeof(port), "%.13s", p);
		n += !strstr(ports, port);
		(void)strcat(ports, port);
	}
	assert_int_equal(n, 1);
	msb_str_done(&log);
	client_stop(&c);
}

/* Wherever it is led, there is an end to it. */
static void places(void **state)
{
	char rule[120];
	struct client c;

	begin(&c);
	for (int i = 1; i < REG_MAX_ORIGINS; i++) {
		(void)snprintf(rule, sizeof(rule),
			"{\"do\":\"redirect\",\"times\":-1,\"to\":\"http://127.0.0.1:%d/\"}", i);
		fake_ctl(&fake, "reset", "", NULL);
		fault(&fake, rule);
		get_bad(&c, &small, 0, ECONNREFUSED, "refused");
	}
	fake_ctl(&fake, "reset", "", NULL);
	fault(&fake, "{\"do\":\"redirect\",\"to\":\"http://127.0.0.1:999/\"}");
	get_bad(&c, &small, 0, E2BIG, "more than 32 hosts");
	get_good(&c, &small, 0);
	client_stop(&c);
}

/* A page that does not end, and a header that is too long. */
static void endless(void **state)
{
	struct client c;
	char *rule;

	begin(&c);
	assert_true(asprintf(&rule, "{\"do\":\"status\",\"code\":403,\"body\":\"%0*d\"}", 4 << 20,
			    0) > 0);
	fault(&fake, rule);
	free(rule);
	get_bad(&c, &small, 0, EACCES, "refuses the blob");
	assert_true(asprintf(&rule,
			    "{\"do\":\"status\",\"code\":401,\"headers\":{\"WWW-Authenticate\":"
			    "\"Bearer realm=%0*d\"}}",
			    (int)REG_MAX_VALUE_BYTES, 0) > 0);
	fault(&fake, rule);
	free(rule);
	get_bad(&c, &small, 0, E2BIG, "headers that are too long");
	client_stop(&c);
}

/* The disk is full: its errno, and no other place is tried. */
static void no_space(void **state)
{
	_cleanup_close_ int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct client c;
	struct msb_err e;

	begin(&c);
	assert_int_equal(get(&c, "blob", small.blob[0], 0, small.size[0], fd, &e), -ENOSPC);
	assert_non_null(strstr(e.msg, "cannot write"));
	client_stop(&c);
}

static void nobody_there(void **state)
{
	struct server gone;
	struct reg_setup s;
	struct client c;

	fake_start(&gone, "gone", NULL);
	server_stop(&gone);
	s = setup_of(&gone);
	client_start(&c, &s);
	get_bad(&c, &small, 0, ECONNREFUSED, "connection refused");
	client_stop(&c);
	s.host = "registry.invalid:5000";
	client_start(&c, &s);
	get_bad(&c, &small, 0, EHOSTUNREACH, "cannot find the address of registry.invalid");
	client_stop(&c);
}

static int setup(void **state)
{
	char a[300], b[300], c[300];

	if (fixture_setup(state) < 0)
		return -1;
	layout_make(&small, "small", (const size_t[4]){100000, 2 * MIB, 0, 0});
	layout_make(&big, "big", (const size_t[4]){40 * MIB, 33 * MIB + 5, 0, 0});
	(void)snprintf(a, sizeof(a), "x/y=%s", big.dir);
	(void)snprintf(b, sizeof(b), "x/y=%s", small.dir);
	layout_make(&huge, "huge", (const size_t[4]){5 * REG_RANGE_BYTES + 1, 0, 0, 0});
	(void)snprintf(c, sizeof(c), "x/y=%s", huge.dir);
	fake_start(&fake, "fake",
		(const char *const[]){"--serve", a, "--serve", c, "--serve", b, NULL});
	return 0;
}

static int teardown(void **state)
{
	server_stop(&fake);
	layout_free(&small);
	layout_free(&big);
	layout_free(&huge);
	return fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(manifest),
		cmocka_unit_test(blobs),
		cmocka_unit_test(ranges),
		cmocka_unit_test(many),
		cmocka_unit_test(resumed),
		cmocka_unit_test(no_ranges),
		cmocka_unit_test(broken),
		cmocka_unit_test(retry_resumes),
		cmocka_unit_test(given_up),
		cmocka_unit_test(lies),
		cmocka_unit_test(too_long),
		cmocka_unit_test(redirects),
		cmocka_unit_test(exists),
		cmocka_unit_test(refused),
		cmocka_unit_test(limit),
		cmocka_unit_test(at_once),
		cmocka_unit_test(places),
		cmocka_unit_test(endless),
		cmocka_unit_test(no_space),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests_name("registry_get", tests, setup, teardown);
}
