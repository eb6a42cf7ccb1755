// SPDX-License-Identifier: Apache-2.0
// What registries, token servers and users' files say: tables for the parsers of msb-registry.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "fs/image/registry/challenge.h"
#include "fs/image/registry/creds.h"
#include "fs/image/registry/resolve.h"
#include "fs/image/registry/setup.h"
#include "fs/image/registry/url.h"

#include <string.h>

static struct reg_challenge out[REG_MAX_CHALLENGES];

static int challenge(const char *text)
{
	return reg_challenge_parse(text, strlen(text), out);
}

static void challenges(void **state)
{
	static const struct {
		const char *text;
		int n;
		enum reg_auth scheme;
		const char *realm, *service, *scope;
	} cases[] = {
		{"Basic realm=\"x\"", 1, REG_AUTH_BASIC, "", "", ""},
		{"basic", 1, REG_AUTH_BASIC, "", "", ""},
		{"Bearer realm=\"https://a/token\",service=\"s\",scope=\"repository:x/y:pull\"", 1,
			REG_AUTH_BEARER, "https://a/token", "s", "repository:x/y:pull"},
		{"BEARER\tREALM = https , Service=s", 1, REG_AUTH_BEARER, "https", "s", ""},
		{"Bearer realm=\"a\\\"b\\\\c\"", 1, REG_AUTH_BEARER, "a\"b\\c", "", ""},
		{"Bearer realm=\"a,b=c\",scope=\"x y\"", 1, REG_AUTH_BEARER, "a,b=c", "", "x y"},
		{"Bearer realm=\"1\",realm=\"2\"", 1, REG_AUTH_BEARER, "1", "", ""},
		{",, ,Bearer realm=\"1\",,", 1, REG_AUTH_BEARER, "1", "", ""},
		{"Bearer realm=\"1\", Basic realm=\"2\"", 2, REG_AUTH_BEARER, "1", "", ""},
		{"Negotiate, Basic", 2, REG_AUTH_OTHER, "", "", ""},
		{"NTLM abc/+d==, Bearer service=s", 2, REG_AUTH_OTHER, "", "", ""},
		{"Digest a=\"1\", b=2, c=\"3\", Basic realm=\"x\"", 2, REG_AUTH_OTHER, "", "", ""},
		{"", 0, REG_AUTH_NONE, NULL, NULL, NULL},
		{" , ,", 0, REG_AUTH_NONE, NULL, NULL, NULL},
		{"Bearer realm=\"x", -EBADMSG, 0, NULL, NULL, NULL},
		{"Bearer realm=\"x\\", -EBADMSG, 0, NULL, NULL, NULL},
		{"Bearer realm=\"x\x01\"", -EBADMSG, 0, NULL, NULL, NULL},
		{"Bearer realm=\"x\\\n\"", -EBADMSG, 0, NULL, NULL, NULL},
		{"=x", -EBADMSG, 0, NULL, NULL, NULL},
		{"\"", -EBADMSG, 0, NULL, NULL, NULL},
		{"Bearer realm=\"x\" service=\"y\"", -EBADMSG, 0, NULL, NULL, NULL},
		{"Bearer (x)", -EBADMSG, 0, NULL, NULL, NULL},
		{"a,b,c,d,e,f,g,h", 8, REG_AUTH_OTHER, "", "", ""},
		{"a,b,c,d,e,f,g,h,i", -E2BIG, 0, NULL, NULL, NULL},
		{"x a=1,a=2,a=3,a=4,a=5,a=6,a=7,a=8,a=9,a=1,a=2,a=3,a=4,a=5,a=6,a=7", 1,
			REG_AUTH_OTHER, "", "", ""},
		{"x a=1,a=2,a=3,a=4,a=5,a=6,a=7,a=8,a=9,a=1,a=2,a=3,a=4,a=5,a=6,a=7,a=8", -E2BIG, 0,
			NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int n = challenge(cases[i].text);

		if (n != cases[i].n)
			print_error("%s: %d\n", cases[i].text, n);
		assert_int_equal(n, cases[i].n);
		if (n <= 0)
			continue;
		assert_int_equal(out[0].scheme, cases[i].scheme);
		assert_string_equal(out[0].realm, cases[i].realm);
		assert_string_equal(out[0].service, cases[i].service);
		assert_string_equal(out[0].scope, cases[i].scope);
	}
	assert_int_equal(challenge("NTLM abc/+d==, Bearer service=s"), 2);
	assert_int_equal(out[1].scheme, REG_AUTH_BEARER);
	assert_string_equal(out[1].service, "s");
	assert_int_equal(challenge("Bearer error=\"insufficient_scope\""), 1);
	assert_string_equal(out[0].error, "insufficient_scope");
}

static void long_challenges(void **state)
{
	static const struct {
		const char *before;
		size_t n;
		int r;
	} cases[] = {
		{"Bearer realm=", sizeof(out[0].realm) - 1, 1},
		{"Bearer realm=", sizeof(out[0].realm), -E2BIG},
		{"Bearer service=", sizeof(out[0].service), -E2BIG},
		{"Bearer scope=", sizeof(out[0].scope), -E2BIG},
		{"Bearer x=", REG_MAX_VALUE_BYTES - 1, 1},
		{"Bearer x=", REG_MAX_VALUE_BYTES, -E2BIG},
		{"Basic realm=", REG_MAX_VALUE_BYTES - 1, 1},
	};
	char text[2 * REG_MAX_VALUE_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t k = strlen(cases[i].before);

		memcpy(text, cases[i].before, k);
		memset(text + k, 'a', cases[i].n);
		assert_int_equal(reg_challenge_parse(text, k + cases[i].n, out), cases[i].r);
	}
}

/* ---- URLs */

static void urls(void **state)
{
	static const struct {
		const char *url;
		int r;
		const char *origin, *host;
		bool tls;
	} cases[] = {
		{"https://a.b/c?d", 0, "https://a.b:443", "a.b", true},
		{"http://A.b:5000", 0, "http://a.b:5000", "a.b", false},
		{"HTTPS://[::1]/x", 0, "https://[::1]:443", "::1", true},
		{"https://u@a.b/", -EINVAL, NULL, NULL, false},
		{"https://u:p@a.b/", -EINVAL, NULL, NULL, false},
		{"ftp://a.b/", -EINVAL, NULL, NULL, false},
		{"file:///etc/passwd", -EINVAL, NULL, NULL, false},
		{"/x", -EINVAL, NULL, NULL, false},
		{"", -EINVAL, NULL, NULL, false},
		{"https://a b/", -EINVAL, NULL, NULL, false},
		{"https://a.b/\r\nX: y", -EINVAL, NULL, NULL, false},
		{"https://\xc3\xa4.b/", -EINVAL, NULL, NULL, false},
		{"https://a.b:99999/", -EINVAL, NULL, NULL, false},
	};
	char *huge = malloc(REG_MAX_URL_BYTES + 16);
	struct reg_url u;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = reg_url_split(cases[i].url, &u);

		if (r != cases[i].r)
			print_error("%s: %d\n", cases[i].url, r);
		assert_int_equal(r, cases[i].r);
		if (r < 0)
			continue;
		assert_string_equal(u.origin, cases[i].origin);
		assert_string_equal(u.host, cases[i].host);
		assert_int_equal(u.tls, cases[i].tls);
	}
	memset(huge, 'a', REG_MAX_URL_BYTES);
	memcpy(huge, "https://a/", 10);
	huge[REG_MAX_URL_BYTES] = '\0';
	assert_int_equal(reg_url_split(huge, &u), -E2BIG);
	memset(huge, 'a', 300);
	memcpy(huge, "https://", 8);
	huge[300] = '\0';
	assert_true(reg_url_split(huge, &u) < 0);
	free(huge);
}

static void locations(void **state)
{
	static const struct {
		const char *base, *location, *whole;
	} cases[] = {
		{"https://a/v2/x", "/y?z=1", "https://a/y?z=1"},
		{"https://a/v2/x", "y", "https://a/v2/y"},
		{"https://a/v2/x?q", "http://b/#f", "http://b/"},
		{"https://a/v2/x", "//b/c", "https://b/c"},
		{"https://a/v2/x", "", NULL},
		{"https://a/v2/x", "ftp://b/", NULL},
		{"https://a/v2/x", "https://u@b/", NULL},
		{"https://a/v2/x", "a b", NULL},
		{"https://a/v2/x", "javascript:x", NULL},
		{"https://a/v2/x", "https://b%fe8/", NULL},
	};
	char got[REG_MAX_URL_BYTES];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int r = reg_url_follow(cases[i].base, cases[i].location, got);

		if ((r == 0) != (cases[i].whole != NULL))
			print_error("%s: %d\n", cases[i].location, r);
		assert_int_equal(r == 0, cases[i].whole != NULL);
		if (r == 0)
			assert_string_equal(got, cases[i].whole);
	}
}

static void loopback(void **state)
{
	static const char *const yes[] = {
		"localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.8.9.1", "::1"};
	static const char *const no[] = {"localhost.evil.example", "notlocalhost", "128.0.0.1",
		"10.0.0.1", "::2", "127.0.0.1.x"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++)
		assert_true(reg_host_is_loopback(yes[i]));
	for (size_t i = 0; i < ARRAY_LEN(no); i++)
		assert_false(reg_host_is_loopback(no[i]));
	assert_true(reg_host_is_address("1.2.3.4"));
	assert_true(reg_host_is_address("fe80::1"));
	assert_false(reg_host_is_address("1.2.3"));
}

static void no_proxy(void **state)
{
	static const struct {
		const char *list, *host;
		uint16_t port;
		bool yes;
	} cases[] = {
		{"*", "a.b", 1, true},
		{"a.b", "a.b", 1, true},
		{"x, a.b", "A.B", 1, true},
		{"a.b", "c.a.b", 1, true},
		{".a.b", "c.a.b", 1, true},
		{"*.a.b", "c.a.b", 1, true},
		{"a.b", "xa.b", 1, false},
		{"a.b:5", "a.b", 5, true},
		{"a.b:5", "a.b", 6, false},
		{"10.0.0.0/8", "10.9.8.7", 1, true},
		{"10.0.0.0/8", "11.9.8.7", 1, false},
		{"10.0.0.0/33", "10.9.8.7", 1, false},
		{"192.168.1.128/25", "192.168.1.129", 1, true},
		{"192.168.1.128/25", "192.168.1.127", 1, false},
		{"0.0.0.0/0", "9.9.9.9", 1, true},
		{"10.0.0.0/8", "a.b", 1, false},
		{"1.2.3.4", "1.2.3.4", 1, true},
		{"3.4", "1.2.3.4", 1, false},
		{"fe80::/10", "fe80::1", 1, true},
		{"::1", "::1", 1, true},
		{"[::1]:5", "::1", 5, true},
		{"[::1]:5", "::1", 6, false},
		{"[::1", "::1", 6, false},
		{"", "a", 1, false},
		{",,. ,*.", "a", 1, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (reg_no_proxy(cases[i].list, cases[i].host, cases[i].port) != cases[i].yes)
			print_error("%s: %s\n", cases[i].list, cases[i].host);
		assert_int_equal(
			reg_no_proxy(cases[i].list, cases[i].host, cases[i].port), cases[i].yes);
	}
	assert_false(reg_no_proxy(NULL, "a", 1));
}

static const char *env_name, *env_value;
static char *env(const char *name)
{
	return !strcmp(name, env_name) ? (char *)(uintptr_t)env_value : NULL;
}

static void proxies(void **state)
{
	struct reg_url u;

	env_value = "http://p:1";
	assert_int_equal(reg_url_split("https://a.b/", &u), 0);
	env_name = "HTTPS_PROXY";
	assert_string_equal(reg_proxy_for(&u, env), env_value);
	env_name = "https_proxy";
	assert_string_equal(reg_proxy_for(&u, env), env_value);
	env_name = "ALL_PROXY";
	assert_string_equal(reg_proxy_for(&u, env), env_value);
	env_name = "HTTP_PROXY";
	assert_null(reg_proxy_for(&u, env));
	assert_int_equal(reg_url_split("http://a.b/", &u), 0);
	assert_string_equal(reg_proxy_for(&u, env), env_value);
	assert_int_equal(reg_url_split("http://127.0.0.1:5/", &u), 0);
	assert_null(reg_proxy_for(&u, env));
}

static void small_headers(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t first, last, total;
	} cases[] = {
		{"bytes 0-4/10", 0, 0, 4, 10},
		{"Bytes 5-9/*", 0, 5, 9, UINT64_MAX},
		{"bytes 0-9/10", 0, 0, 9, 10},
		{"bytes 0-10/10", -EBADMSG, 0, 0, 0},
		{"bytes 5-4/10", -EBADMSG, 0, 0, 0},
		{"bytes */10", -EBADMSG, 0, 0, 0},
		{"bytes 0-4", -EBADMSG, 0, 0, 0},
		{"bytes 0-4/10 ", -EBADMSG, 0, 0, 0},
		{"bytes -1-4/10", -EBADMSG, 0, 0, 0},
		{"bytes 0-18446744073709551615/*", -EBADMSG, 0, 0, 0},
		{"bytes 0-99999999999999999999/*", -EBADMSG, 0, 0, 0},
		{"items 0-4/10", -EBADMSG, 0, 0, 0},
		{"", -EBADMSG, 0, 0, 0},
	};
	uint64_t a = 0, b = 0, c = 0;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(reg_content_range(cases[i].text, &a, &b, &c), cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_int_equal(a, cases[i].first);
		assert_int_equal(b, cases[i].last);
		assert_int_equal(c, cases[i].total);
	}
	assert_int_equal(reg_retry_after("120", 0), 120);
	assert_int_equal(reg_retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 60), 60);
	assert_int_equal(reg_retry_after("Thu, 01 Jan 1970 00:02:00 GMT", 121), 0);
	assert_int_equal(reg_retry_after("-5", 0), 0);
	assert_int_equal(reg_retry_after("soon", 0), 0);
	assert_int_equal(reg_retry_after("99999999999", 0), 0);
	assert_true(reg_addresses_valid("1.2.3.4,::1"));
	assert_false(reg_addresses_valid(""));
	assert_false(reg_addresses_valid("1.2.3.4,"));
	assert_false(reg_addresses_valid("1.2.3.4,a.b"));
	assert_false(reg_addresses_valid("a.b"));
}

/* ---- JSON */

static void authfile(void **state)
{
	/* a:b, a:c, :, none */
	static const struct {
		const char *json;
		int r;
		enum reg_cred_kind kind;
		const char *user, *secret, *helper;
	} cases[] = {
		{"{}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"{\"auths\":{\"h:5\":{\"auth\":\"YTpi\"}}}", 0, REG_CRED_PASSWORD, "a", "b", ""},
		{"{\"auths\":{\"https://h:5/v2/\":{\"auth\":\"YTpi\"}}}", 0, REG_CRED_PASSWORD, "a",
			"b", ""},
		{"{\"auths\":{\"http://h:5\":{\"auth\":\"YTpi\"}}}", 0, REG_CRED_PASSWORD, "a", "b",
			""},
		{"{\"auths\":{\"h:5/x/y\":{\"auth\":\"YTpj\"},\"h:5\":{\"auth\":\"YTpi\"}}}", 0,
			REG_CRED_PASSWORD, "a", "c", ""},
		{"{\"auths\":{\"h:5/x/z\":{\"auth\":\"YTpj\"},\"h:5\":{\"auth\":\"YTpi\"}}}", 0,
			REG_CRED_PASSWORD, "a", "b", ""},
		{"{\"auths\":{\"h\":{\"auth\":\"YTpi\"}}}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"{\"auths\":{\"h:5\":{}}}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"{\"auths\":{\"h:5\":{\"auth\":\"\"}}}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"{\"auths\":{\"h:5\":{\"username\":\"a\",\"password\":\"b\"}}}", 0,
			REG_CRED_PASSWORD, "a", "b", ""},
		{"{\"auths\":{\"h:5\":{\"auth\":\"YTpi\",\"identitytoken\":\"t\"}}}", 0,
			REG_CRED_IDENTITY, "", "t", ""},
		{"{\"auths\":{\"h:5\":{\"registrytoken\":\"t\"}}}", 0, REG_CRED_BEARER, "", "t",
			""},
		{"{\"credsStore\":\"pass\"}", 0, REG_CRED_NONE, NULL, NULL, "pass"},
		{"{\"credsStore\":\"pass\",\"credHelpers\":{\"h:5\":\"two\"}}", 0, REG_CRED_NONE,
			NULL, NULL, "two"},
		{"{\"credsStore\":\"pass\",\"credHelpers\":{\"h:5\":\"\"}}", 0, REG_CRED_NONE, NULL,
			NULL, ""},
		{"{\"credHelpers\":{\"h:5/x\":\"two\"}}", 0, REG_CRED_NONE, NULL, NULL, "two"},
		{"{\"credsStore\":\"../evil\"}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"credsStore\":\"a b\"}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"credsStore\":\"-x\"}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"auths\":{\"h:5\":{\"auth\":\"!!!!\"}}}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"auths\":{\"h:5\":{\"auth\":\"YWI=\"}}}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"auths\":{\"h:5\":{\"auth\":\"YTpiCmM=\"}}}", -EBADMSG, 0, NULL, NULL, NULL},
		{"{\"auths\":[]}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"{\"auths\":{\"h:5\":7}}", 0, REG_CRED_NONE, NULL, NULL, ""},
		{"[]", -EBADMSG, 0, NULL, NULL, NULL},
		{"", -EBADMSG, 0, NULL, NULL, NULL},
		{"{", -EBADMSG, 0, NULL, NULL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reg_authfile got = {0};
		struct msb_err e = {0};
		int r = reg_authfile_parse(
			cases[i].json, strlen(cases[i].json), "h:5", "h:5", "x/y", &got, &e);

		if (r != cases[i].r || (r == 0 && got.cred.kind != cases[i].kind))
			print_error("%s: %d\n", cases[i].json, r);
		assert_int_equal(r, cases[i].r);
		if (r < 0)
			continue;
		assert_int_equal(got.cred.kind, cases[i].kind);
		assert_string_equal(got.helper, cases[i].helper);
		if (cases[i].secret) {
			assert_string_equal(got.cred.user, cases[i].user);
			assert_string_equal(got.cred.secret, cases[i].secret);
		}
		reg_cred_done(&got.cred);
	}
}

/* What docker calls its own registry. */
static void docker_key(void **state)
{
	static const char json[] =
		"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"YTpi\"}}}";
	struct reg_authfile got = {0};

	assert_int_equal(reg_authfile_parse(json, strlen(json), "docker.io",
				 "https://index.docker.io/v1/", "library/x", &got, NULL),
		0);
	assert_string_equal(got.cred.secret, "b");
	reg_cred_done(&got.cred);
}

static void secrets(void **state)
{
	char *big = malloc(REG_MAX_SECRET_BYTES + 2);
	struct reg_cred c = {0};

	memset(big, 'a', REG_MAX_SECRET_BYTES + 1);
	assert_int_equal(reg_cred_set(&c, REG_CRED_PASSWORD, "u", big, REG_MAX_SECRET_BYTES), 0);
	reg_cred_done(&c);
	assert_int_equal(
		reg_cred_set(&c, REG_CRED_PASSWORD, "u", big, REG_MAX_SECRET_BYTES + 1), -E2BIG);
	big[300] = '\0';
	assert_int_equal(reg_cred_set(&c, REG_CRED_PASSWORD, big, "x", 1), -E2BIG);
	assert_int_equal(reg_cred_set(&c, REG_CRED_PASSWORD, "u", "a\r\nb", 4), -EBADMSG);
	assert_int_equal(reg_cred_set(&c, REG_CRED_PASSWORD, "u", "a\0b", 3), -EBADMSG);
	reg_cred_done(NULL);
	free(big);
}

static void helper_output(void **state)
{
	static const struct {
		const char *json;
		int r;
		enum reg_cred_kind kind;
	} cases[] = {
		{"{\"Username\":\"u\",\"Secret\":\"s\"}", 0, REG_CRED_PASSWORD},
		{"{\"Username\":\"<token>\",\"Secret\":\"s\"}", 0, REG_CRED_IDENTITY},
		{"{\"Username\":\"u\"}", -EBADMSG, 0},
		{"{\"Username\":1,\"Secret\":\"s\"}", -EBADMSG, 0},
		{"no", -EBADMSG, 0},
		{"", -EBADMSG, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct reg_cred c = {0};

		assert_int_equal(
			reg_helper_parse(cases[i].json, strlen(cases[i].json), &c), cases[i].r);
		if (cases[i].r == 0)
			assert_int_equal(c.kind, cases[i].kind);
		reg_cred_done(&c);
	}
}

static void tokens(void **state)
{
	static const struct {
		const char *json;
		int r;
		const char *token;
		uint64_t sec;
	} cases[] = {
		{"{\"token\":\"t\"}", 0, "t", 60},
		{"{\"access_token\":\"t\",\"expires_in\":300}", 0, "t", 300},
		{"{\"token\":\"t\",\"access_token\":\"u\",\"expires_in\":0}", 0, "t", 60},
		{"{\"token\":\"t\",\"expires_in\":-1}", 0, "t", 60},
		{"{\"token\":\"t\",\"expires_in\":1e300}", 0, "t", 86400},
		{"{\"token\":\"t\",\"expires_in\":\"x\"}", 0, "t", 60},
		{"{\"token\":\"\"}", -EBADMSG, NULL, 0},
		{"{\"token\":\"a\\nb\"}", -EBADMSG, NULL, 0},
		{"{\"token\":\"\xc3\xa4\"}", -EBADMSG, NULL, 0},
		{"{}", -EBADMSG, NULL, 0},
		{"[]", -EBADMSG, NULL, 0},
	};
	char *got, *big, *text;
	uint64_t sec;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		assert_int_equal(reg_token_parse(cases[i].json, strlen(cases[i].json), &got, &sec),
			cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_string_equal(got, cases[i].token);
		assert_int_equal(sec, cases[i].sec);
		free(got);
	}
	big = malloc(REG_MAX_SECRET_BYTES + 2);
	memset(big, 'a', REG_MAX_SECRET_BYTES + 1);
	big[REG_MAX_SECRET_BYTES + 1] = '\0';
	assert_true(asprintf(&text, "{\"token\":\"%s\"}", big) > 0);
	assert_int_equal(reg_token_parse(text, strlen(text), &got, &sec), -E2BIG);
	free(text);
	free(big);
}

static void errors(void **state)
{
	static const char *const cases[][2] = {
		{"{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\"}]}", "DENIED: no"},
		{"{\"errors\":[{\"message\":\"no\"}]}", "no"},
		{"{\"errors\":[{\"code\":7}]}", ""},
		{"{\"errors\":[]}", ""},
		{"{\"error\":\"invalid_grant\",\"error_description\":\"x\"}", "invalid_grant: x"},
		{"{\"details\":\"incorrect\"}", "incorrect"},
		{"<html>", ""},
		{"{\"errors\":[{\"code\":\"A\\u001b[31m\"}]}", "A\\x1b[31m"},
	};
	char got[64];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		reg_error_parse(cases[i][0], strlen(cases[i][0]), got, sizeof(got));
		assert_string_equal(got, cases[i][1]);
	}
	reg_error_parse("{\"details\":\"0123456789\"}", 24, got, 5);
	assert_string_equal(got, "0123");
}

/* ---- the setup */

static int config(const char *const *keys, struct msb_err *e)
{
	static struct msb_msg m;
	static struct reg_config c;
	int r;

	msb_msg_init(&m, "setup");
	for (; keys[0]; keys += 2)
		msb_msg_set(&m, keys[0], "%s", keys[1]);
	r = reg_config_read(&m, &c, e);
	reg_config_done(&c);
	return r;
}

#define BASE "host", "h:5", "repo", "x", "verb", "pull", "uid", "0", "gid", "0"
static void setups(void **state)
{
	static const struct {
		const char *keys[40];
		int r;
	} cases[] = {
		{{BASE, NULL}, 0},
		{{BASE, "mirror", "https://m/a/b/", NULL}, 0},
		{{BASE, "mirror", "m", NULL}, -EINVAL},
		{{BASE, "mirror", "https://u:p@m", NULL}, -EINVAL},
		{{BASE, "mirror", "https://m/?q", NULL}, -EINVAL},
		{{BASE, "mirror", "http://1", "mirror", "http://2", "mirror", "http://3", "mirror",
			 "http://4", "mirror", "http://5", "mirror", "http://6", "mirror",
			 "http://7", "mirror", "http://8", NULL},
			0},
		{{BASE, "mirror", "http://1", "mirror", "http://2", "mirror", "http://3", "mirror",
			 "http://4", "mirror", "http://5", "mirror", "http://6", "mirror",
			 "http://7", "mirror", "http://8", "mirror", "http://9", NULL},
			-E2BIG},
		{{"host", "a b", "repo", "x", "verb", "pull", "uid", "0", "gid", "0", NULL},
			-EINVAL},
		{{"host", "h", "repo", "x", "verb", "pull", "uid", "-1", "gid", "0", NULL},
			-EINVAL},
		{{"host", "h", "repo", "x", "verb", "pull", "uid", "4294967295", "gid", "0", NULL},
			-EINVAL},
		{{"host", "h", NULL}, -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct msb_err e = {0};

		assert_int_equal(config(cases[i].keys, &e), cases[i].r);
		assert_int_equal(e.code, -cases[i].r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenges),
		cmocka_unit_test(long_challenges),
		cmocka_unit_test(urls),
		cmocka_unit_test(locations),
		cmocka_unit_test(loopback),
		cmocka_unit_test(no_proxy),
		cmocka_unit_test(proxies),
		cmocka_unit_test(small_headers),
		cmocka_unit_test(authfile),
		cmocka_unit_test(docker_key),
		cmocka_unit_test(secrets),
		cmocka_unit_test(helper_output),
		cmocka_unit_test(tokens),
		cmocka_unit_test(errors),
		cmocka_unit_test(setups),
	};

	return cmocka_run_group_tests_name("registry_parse", tests, NULL, NULL);
}
