// SPDX-License-Identifier: Apache-2.0
// msb-registry shows who asks: passwords, tokens, where they come from and where they do not go.
#include "tests/unit/registry_fixture.h"

#define SECRET	 "s3cret-Of-Bob"
#define USER	 "bob:" SECRET
#define IDENTITY "1d3ntity-Token"

static const char who[] = USER;
static struct layout l;
static struct server basic, bearer, open_to_all, other;
static char home[128];

static struct reg_setup setup_of(const struct server *s)
{
	return (struct reg_setup){.host = s->host,
		.repo = "x/y",
		.uid = getuid(),
		.gid = getgid(),
		.home = home,
		.retry_ms = 10,
		.stall_ms = 60000,
		.helper_ms = 60000};
}

static void begin(struct client *c, struct server *s, const char *user, const char *secret)
{
	struct reg_setup set = setup_of(s);

	set.user = user;
	set.secret = secret;
	fake_ctl(s, "reset", "", NULL);
	fake_ctl(s, "expire", "", NULL);
	client_start(c, &set);
}

static void no_login(void **state)
{
	struct client c;

	begin(&c, &basic, NULL, NULL);
	get_bad(&c, &l, 0, EACCES, "wants a login for the blob");
	client_stop(&c);
	begin(&c, &bearer, NULL, NULL);
	get_bad(&c, &l, 0, EACCES, "wants a login");
	client_stop(&c);
}

static void wrong_login(void **state)
{
	struct client c;

	begin(&c, &basic, "bob", "wrong");
	get_bad(&c, &l, 0, EACCES, "does not accept the login of bob");
	client_stop(&c);
	begin(&c, &bearer, "bob", "wrong");
	get_bad(&c, &l, 0, EACCES, "does not accept the login of bob");
	client_stop(&c);
}

static void login(void **state)
{
	struct client c;

	begin(&c, &basic, "bob", SECRET);
	get_good(&c, &l, 0);
	get_good(&c, &l, 1);
	client_stop(&c);
	assert_int_equal(
		seen(&basic, "\"status\": 401"), 2); /* the look at it, and the first blob */
	begin(&c, &bearer, "bob", SECRET);
	get_good(&c, &l, 0);
	get_good(&c, &l, 1);
	client_stop(&c);
	assert_int_equal(seen(&bearer, "/token"), 1);
	assert_non_null(l.blob[0]);
	assert_int_equal(seen(&bearer, "scope=repository%3Ax%2Fy%3Apull&account=bob"), 1);
}

static void anonymous(void **state)
{
	struct client c;

	begin(&c, &open_to_all, NULL, NULL);
	get_good(&c, &l, 0);
	client_stop(&c);
	assert_int_equal(seen(&open_to_all, "\"auth\": \"Basic\""), 0);
}

/* Tokens end while it pulls: one new one each time, for all that need it. */
static void expiry(void **state)
{
	struct client c;
	uint64_t id[8];
	int fd[8];
	struct msb_err e;

	begin(&c, &bearer, "bob", SECRET);
	get_good(&c, &l, 0);
	fake_ctl(&bearer, "expire", "", NULL);
	get_good(&c, &l, 1);
	assert_int_equal(seen(&bearer, "/token"), 2);
	/* In the middle of a blob. */
	fault(&bearer, "{\"do\":\"expire\",\"skip\":1}");
	get_good(&c, &l, 2);
	assert_int_equal(seen(&bearer, "/token"), 3);
	fake_ctl(&bearer, "expire", "", NULL);
	for (int i = 0; i < 8; i++) {
		fd[i] = new_fd();
		(void)request(&c, "exists", &id[i]);
		msb_msg_set(&c.m, "name", "%s", l.blob[0]);
		send_it(&c, -1);
	}
	for (int i = 0; i < 8; i++) {
		assert_true(next_message(&c));
		assert_string_equal(msb_msg_verb(&c.m), "ok");
		close(fd[i]);
	}
	assert_true(seen(&bearer, "/token") <= 5); /* whoever is refused late asks once more */
	/* It never accepts any: no endless circle. */
	fault(&bearer, "{\"do\":\"expire\",\"times\":-1}");
	assert_int_equal(
		get(&c, "blob", l.blob[0], 0, l.size[0], open("/dev/null", O_WRONLY), &e), -EACCES);
	client_stop(&c);
}

static void short_lived(void **state)
{
	char serve[300];
	struct server s;
	struct client c;

	(void)snprintf(serve, sizeof(serve), "x/y=%s", l.dir);
	fake_start(&s, "short",
		(const char *const[]){"--auth", "bearer", "--user", who, "--token-ttl", "3",
			"--serve", serve, NULL});
	begin(&c, &s, "bob", SECRET);
	fault(&s, "{\"do\":\"slow\",\"skip\":1,\"rate\":25000}");
	get_good(&c, &l, 0);
	get_good(&c, &l, 1);
	client_stop(&c);
	assert_true(seen(&s, "/token") >= 2);
	server_stop(&s);
}

static void token_server(void **state)
{
	static const struct {
		const char *rule;
		int code;
		const char *says;
	} cases[] = {
		{"{\"path\":\"/token\",\"do\":\"status\",\"code\":200,\"body\":\"{}\"}", EBADMSG,
			"no token that can be used"},
		{"{\"path\":\"/token\",\"do\":\"status\",\"code\":200,\"body\":\"nonsense\"}",
			EBADMSG, "no token"},
		{"{\"path\":\"/token\",\"do\":\"status\",\"code\":200,\"body\":\"{\\\"token\\\":"
		 "\\\"a b\\\"}\"}",
			EBADMSG, "no token"},
		{"{\"path\":\"/token\",\"do\":\"status\",\"code\":403}", EACCES,
			"refuses the token"},
		{"{\"path\":\"/token\",\"do\":\"status\",\"code\":200,\"body\":\"%0*d\"}", E2BIG,
			"more than 65536 bytes"},
		{"{\"path\":\"/token\",\"do\":\"loop\",\"times\":-1}", E2BIG, "redirects"},
	};
	struct client c;
	char *rule;

	begin(&c, &bearer, "bob", SECRET);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
		assert_true(asprintf(&rule, cases[i].rule, (int)REG_MAX_TOKEN_BYTES + 1, 0) > 0);
#pragma GCC diagnostic pop
		fault(&bearer, rule);
		free(rule);
		get_bad(&c, &l, 0, cases[i].code, cases[i].says);
		fake_ctl(&bearer, "reset", "", NULL);
	}
	/* One that fails in passing. */
	fault(&bearer, "{\"path\":\"/token\",\"do\":\"status\",\"code\":503}");
	get_good(&c, &l, 0);
	client_stop(&c);
}

/* A realm that would have the password in the clear elsewhere. */
static void realm(void **state)
{
	static const char rule[] =
		"{\"do\":\"status\",\"code\":401,\"headers\":{\"WWW-Authenticate\":"
		"\"Bearer realm=\\\"%s\\\"\"}}";
	static const char *const realms[] = {
		"http://192.0.2.1/token", "ftp://127.0.0.1/", "", "http://u:p@127.0.0.1/"};
	struct client c;
	char text[300];

	begin(&c, &basic, "bob", SECRET);
	for (size_t i = 0; i < ARRAY_LEN(realms); i++) {
		(void)snprintf(text, sizeof(text), rule, realms[i]);
		fault(&basic, text);
		get_bad(&c, &l, 0, EBADMSG, "cannot be trusted with a login");
	}
	client_stop(&c);
}

/* Neither a password nor a token goes to where a redirect leads, be it another port. */
static void not_elsewhere(void **state)
{
	struct server *const from[] = {&basic, &bearer};
	struct client c;
	char rule[200];

	for (size_t i = 0; i < ARRAY_LEN(from); i++) {
		begin(&c, from[i], "bob", SECRET);
		get_good(&c, &l, 0);
		fake_ctl(&other, "reset", "", NULL);
		(void)snprintf(rule, sizeof(rule),
			"{\"do\":\"redirect\",\"to\":\"http://%s{path}\"}", other.host);
		fault(from[i], rule);
		get_good(&c, &l, 0);
		assert_int_equal(seen(&other, "/blobs/"), 1);
		assert_int_equal(seen(&other, "\"auth\": null"), 1);
		/* Nor from the token server. */
		if (from[i] == &bearer) {
			fake_ctl(&bearer, "expire", "", NULL);
			(void)snprintf(rule, sizeof(rule),
				"{\"path\":\"/token\",\"do\":\"redirect\",\"times\":-1,\"to\":"
				"\"http://%s{path}\"}",
				other.host);
			fault(&bearer, rule);
			get_bad(&c, &l, 0, EACCES, "");
			assert_true(seen(&other, "/token") > 0);
			assert_int_equal(seen(&other, "\"auth\": \"Basic\""), 0);
		}
		client_stop(&c);
	}
}

/* A registry that is led to and wants a token gives one to anybody, or not. */
static void led_to_another(void **state)
{
	struct client c;
	char rule[200];

	begin(&c, &basic, "bob", SECRET);
	fake_ctl(&open_to_all, "reset", "", NULL);
	(void)snprintf(rule, sizeof(rule),
		"{\"do\":\"redirect\",\"skip\":1,\"to\":\"http://%s{path}\"}", open_to_all.host);
	fault(&basic, rule);
	get_good(&c, &l, 0);
	assert_int_equal(seen(&open_to_all, "/token"), 1);
	assert_int_equal(seen(&open_to_all, "\"auth\": \"Basic\""), 0);
	(void)snprintf(rule, sizeof(rule), "{\"do\":\"redirect\",\"to\":\"http://%s{path}\"}",
		bearer.host);
	fault(&basic, rule);
	get_bad(&c, &l, 0, EACCES, "which wants a login");
	client_stop(&c);
}

/* What the registry sends back is not passed on where it is a secret. */
static void echoed(void **state)
{
	struct client c;
	struct msb_err e;
	_cleanup_close_ int fd = new_fd();

	begin(&c, &basic, "bob", SECRET);
	fault(&basic, "{\"do\":\"status\",\"code\":403,\"body\":\"{\\\"errors\\\":[{\\\"code\\\":"
		      "\\\"DENIED\\\",\\\"message\\\":\\\"you are " SECRET "\\\"}]}\"}");
	assert_int_equal(get(&c, "blob", l.blob[0], 0, l.size[0], fd, &e), -EACCES);
	assert_null(strstr(e.msg, SECRET));
	fault(&basic, "{\"do\":\"status\",\"code\":403,\"body\":\"{\\\"errors\\\":[{\\\"code\\\":"
		      "\\\"DENIED\\\",\\\"message\\\":\\\"by\\\\u001b policy\\\"}]}\"}");
	assert_int_equal(get(&c, "blob", l.blob[0], 0, l.size[0], fd, &e), -EACCES);
	assert_non_null(strstr(e.msg, "(DENIED: by\\x1b policy)"));
	client_stop(&c);
}

/* A token of more scopes than there can be, and more tokens than are kept. */
static void many_scopes(void **state)
{
	struct reg_setup set = setup_of(&bearer);
	struct client c;
	struct msb_err e;
	char rule[400];
	uint64_t id;

	begin(&c, &bearer, "bob", SECRET);
	(void)snprintf(rule, sizeof(rule),
		"{\"do\":\"status\",\"code\":401,\"headers\":{\"WWW-Authenticate\":\"Bearer "
		"realm=\\\"http://%s/token\\\",scope=\\\"a b c d e f g h\\\"\"}}",
		bearer.host);
	fault(&bearer, rule);
	get_bad(&c, &l, 0, E2BIG, "more than 8 scopes");
	client_stop(&c);
	set.push = true;
	set.user = "bob";
	set.secret = SECRET;
	client_start(&c, &set);
	for (int i = 0; i < REG_MAX_TOKENS + 8; i++) {
		(void)request(&c, "mount", &id);
		msb_msg_set(&c.m, "digest", "%s", l.blob[0]);
		msb_msg_set(&c.m, "from", "r%d", i);
		send_it(&c, -1);
		assert_int_equal(answer_of(&c, id, &e), 0);
	}
	assert_true(seen(&bearer, "/token") >= REG_MAX_TOKENS + 8);
	client_stop(&c);
}

/* ---- files */

static void in_home(const char *path, const char *text)
{
	char whole[300], *slash;

	(void)snprintf(whole, sizeof(whole), "%s/%s", home, path);
	slash = strrchr(whole, '/');
	*slash = '\0';
	assert_int_equal(msb_mkdir_p(whole, 0700), 0);
	*slash = '/';
	put_text(whole, text);
}

static void clean_home(void)
{
	assert_int_equal(msb_rm_rf(AT_FDCWD, home), 0);
	assert_int_equal(msb_mkdir_p(home, 0700), 0);
}

/* With what @home has now. */
static void expect(struct server *s, int code, const struct reg_setup *how)
{
	struct reg_setup set = how ? *how : setup_of(s);
	struct client c;

	fake_ctl(s, "reset", "", NULL);
	client_start(&c, &set);
	if (code)
		get_bad(&c, &l, 0, code, "");
	else
		get_good(&c, &l, 0);
	client_stop(&c);
}

static void files(void **state)
{
	char text[600], dir[256], b64[] = "Ym9iOnMzY3JldC1PZi1Cb2I="; /* USER */
	struct reg_setup set = setup_of(&basic);

	clean_home();
	expect(&basic, EACCES, NULL);
	(void)snprintf(
		text, sizeof(text), "{\"auths\":{\"%s\":{\"auth\":\"%s\"}}}", basic.host, b64);
	in_home(".docker/config.json", text);
	expect(&basic, 0, NULL);
	(void)snprintf(text, sizeof(text), "{\"auths\":{\"https://%s/v1/\":{\"auth\":\"%s\"}}}",
		basic.host, b64);
	in_home(".docker/config.json", text);
	expect(&basic, 0, NULL);
	in_home(".docker/config.json", "{\"auths\":{\"elsewhere\":{\"auth\":\"Yjpi\"}}}");
	expect(&basic, EACCES, NULL);
	/* containers': a repository's own goes before the host's. */
	(void)snprintf(text, sizeof(text),
		"{\"auths\":{\"%s\":{\"auth\":\"Yjpi\"},\"%s/x\":{\"auth\":\"%s\"}}}", basic.host,
		basic.host, b64);
	in_home(".config/containers/auth.json", text);
	expect(&basic, 0, NULL);
	clean_home();
	in_home("run/containers/auth.json", text);
	(void)snprintf(dir, sizeof(dir), "%s/run", home);
	set.xdg_runtime_dir = dir;
	expect(&basic, 0, &set);
	(void)snprintf(dir, sizeof(dir), "%s/run/containers/auth.json", home);
	set.xdg_runtime_dir = NULL;
	set.registry_auth_file = dir;
	expect(&basic, 0, &set);
	clean_home();
	in_home("cfg/config.json", text);
	(void)snprintf(dir, sizeof(dir), "%s/cfg", home);
	set.registry_auth_file = NULL;
	set.docker_config = dir;
	expect(&basic, 0, &set);
	/* Damaged ones are passed over, each with a line. */
	in_home("cfg/config.json", "{\"auths\":");
	in_home(".config/containers/auth.json", text);
	expect(&basic, 0, &set);
	in_home("cfg/config.json", "{\"auths\":[]}");
	expect(&basic, 0, &set);
	/* A login goes before all. */
	set.user = "bob";
	set.secret = "wrong";
	expect(&basic, EACCES, &set);
}

/* A file with credentials that is too long is passed over. */
static void long_file(void **state)
{
	_cleanup_free_ char *text = NULL;

	clean_home();
	assert_true(
		asprintf(&text,
			"{\"auths\":{\"%s\":{\"auth\":\"Ym9iOnMzY3JldC1PZi1Cb2I=\"}},\"x\":\"%0*d\"}",
			basic.host, (int)REG_MAX_CONFIG_BYTES, 0) > 0);
	in_home(".docker/config.json", text);
	expect(&basic, EACCES, NULL);
	in_home("fifo", "");
	(void)snprintf(text, 300, "%s/.docker/config.json", home);
	assert_int_equal(unlink(text), 0);
	assert_int_equal(mkfifo(text, 0600), 0);
	expect(&basic, EACCES, NULL); /* it does not wait for a writer */
}

static void identity(void **state)
{
	char text[300];

	clean_home();
	(void)snprintf(text, sizeof(text),
		"{\"auths\":{\"%s\":{\"auth\":\"Yjpi\",\"identitytoken\":\"" IDENTITY "\"}}}",
		bearer.host);
	in_home(".docker/config.json", text);
	expect(&bearer, 0, NULL);
	assert_int_equal(seen(&bearer, "\"POST\", \"path\": \"/token\""), 1);
	(void)snprintf(text, sizeof(text), "{\"auths\":{\"%s\":{\"identitytoken\":\"another\"}}}",
		bearer.host);
	in_home(".docker/config.json", text);
	expect(&bearer, EACCES, NULL);
	(void)snprintf(text, sizeof(text), "{\"auths\":{\"%s\":{\"registrytoken\":\"made up\"}}}",
		bearer.host);
	in_home(".docker/config.json", text);
	expect(&bearer, EACCES, NULL);
}

static void helper_script(const char *name, const char *text)
{
	char path[300];

	(void)snprintf(path, sizeof(path), "bin/docker-credential-%s", name);
	in_home(path, text);
	(void)snprintf(path, sizeof(path), "%s/bin/docker-credential-%s", home, name);
	assert_int_equal(chmod(path, 0755), 0);
}

static void helpers(void **state)
{
	char text[600], path[600];

	clean_home();
	(void)snprintf(path, sizeof(path), "%s/bin:%s", home, getenv("PATH"));
	assert_int_equal(setenv("PATH", path, 1), 0);
	(void)snprintf(text, sizeof(text), "{\"credHelpers\":{\"%s\":\"one\"}}", basic.host);
	in_home(".docker/config.json", text);
	expect(&basic, EACCES, NULL); /* not installed */
	(void)snprintf(text, sizeof(text),
		"#!/bin/sh\nread h; [ \"$1\" = get ] && [ \"$h\" = %s ] || exit 9\n"
		"echo '{\"ServerURL\":\"x\",\"Username\":\"bob\",\"Secret\":\"" SECRET "\"}'\n",
		basic.host);
	helper_script("one", text);
	expect(&basic, 0, NULL);
	helper_script("one", "#!/bin/sh\necho credentials not found in native keychain; exit 1\n");
	expect(&basic, EACCES, NULL);
	helper_script("one",
		"#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"" IDENTITY "\"}'\n");
	(void)snprintf(text, sizeof(text),
		"{\"credsStore\":\"one\",\"auths\":{\"%s\":{\"auth\":\"Ym9iOnMzY3JldC1PZi1Cb2I=\"}}}",
		bearer.host);
	in_home(".docker/config.json", text);
	expect(&bearer, 0, NULL);
	assert_int_equal(seen(&bearer, "\"POST\", \"path\": \"/token\""), 1);
	/* What it has gone before the file's; where it has none, or fails, the file's count. */
	helper_script("one", "#!/bin/sh\necho a " SECRET " here; exit 3\n");
	expect(&bearer, 0, NULL);
	helper_script("one", "#!/bin/sh\nyes\n");
	expect(&bearer, 0, NULL);
}

/* It hangs, and what it has started with it. */
static void helper_hangs(void **state)
{
	struct reg_setup set = setup_of(&basic);
	char text[300];

	set.helper_ms = 300;
	(void)snprintf(text, sizeof(text), "{\"credHelpers\":{\"%s\":\"one\"}}", basic.host);
	in_home(".docker/config.json", text);
	/* A name of its own: others may run this test beside. */
	(void)snprintf(text, sizeof(text), "#!/bin/sh\nsleep 4711.%d & wait\n", getpid());
	helper_script("one", text);
	expect(&basic, EACCES, &set);
	(void)snprintf(text, sizeof(text),
		"for i in $(seq 600); do pgrep -f '^sleep 4711.%d$' >/dev/null || exit 0; sleep 0.1; done; exit 1",
		getpid());
	assert_int_equal(system(text), 0);
}

/* No secret in the log of all that was run here. */
static void nothing_logged(void **state)
{
	static const char *const secrets[] = {SECRET, IDENTITY, "Ym9iOnMzY3JldC1PZi1Cb2I"};
	struct msb_str log = MSB_STR_INIT;

	assert_int_equal(msb_read_file(AT_FDCWD, reg_log_path, 64 << 20, &log), 0);
	assert_non_null(log.buf);
	assert_non_null(strstr(log.buf, "docker-credential-one"));
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		assert_null(strstr(log.buf, secrets[i]));
	msb_str_done(&log);
}

static int setup(void **state)
{
	char serve[300];

	if (fixture_setup(state) < 0)
		return -1;
	assert_int_equal(setenv("MSB_LOG", "debug", 1), 0);
	(void)snprintf(home, sizeof(home), "%s/home", reg_tmp);
	assert_int_equal(msb_mkdir_p(home, 0700), 0);
	layout_make(&l, "layout", (const size_t[4]){100000, 5000, 40u << 20, 0});
	(void)snprintf(serve, sizeof(serve), "x/y=%s", l.dir);
	fake_start(&basic, "basic",
		(const char *const[]){"--auth", "basic", "--user", who, "--serve", serve, NULL});
	fake_start(&bearer, "bearer",
		(const char *const[]){"--auth", "bearer", "--user", who, "--identity-token",
			IDENTITY, "--serve", serve, NULL});
	fake_start(&open_to_all, "open",
		(const char *const[]){"--auth", "bearer", "--serve", serve, NULL});
	fake_start(&other, "other", (const char *const[]){"--serve", serve, NULL});
	return 0;
}

static int teardown(void **state)
{
	server_stop(&basic);
	server_stop(&bearer);
	server_stop(&open_to_all);
	server_stop(&other);
	layout_free(&l);
	return fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_login),
		cmocka_unit_test(wrong_login),
		cmocka_unit_test(login),
		cmocka_unit_test(anonymous),
		cmocka_unit_test(expiry),
		cmocka_unit_test(short_lived),
		cmocka_unit_test(token_server),
		cmocka_unit_test(realm),
		cmocka_unit_test(not_elsewhere),
		cmocka_unit_test(led_to_another),
		cmocka_unit_test(echoed),
		cmocka_unit_test(many_scopes),
		cmocka_unit_test(files),
		cmocka_unit_test(long_file),
		cmocka_unit_test(identity),
		cmocka_unit_test(helpers),
		cmocka_unit_test(helper_hangs),
		cmocka_unit_test(nothing_logged),
	};

	return cmocka_run_group_tests_name("registry_auth", tests, setup, teardown);
}
