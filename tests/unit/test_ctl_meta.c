// SPDX-License-Identifier: Apache-2.0
// ctl/meta: what an import wrote down about an image, whose author chose the strings.
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void good(void **state)
{
	static const char text[] = "size_bytes 123456\n"
				   "inodes 42\n"
				   "entrypoint.0 \"/bin/sh\"\n"
				   "entrypoint.1 \"-c\"\n"
				   "cmd.0 \"a\\nb\"\n"
				   "healthcheck.0 \"CMD\"\n"
				   "healthcheck.1 \"true\"\n"
				   "healthcheck_interval_sec 5\n"
				   "healthcheck_retries 2\n"
				   "healthcheck_start_interval_sec 3\n"
				   "env.0 \"PATH=/bin\"\n"
				   "env.1 \"A=\\u00e4 \\ud83d\\ude00 \\\"q\\\" \\\\ \\t\"\n"
				   "env.2 \"=x\"\n"
				   "env.3 \"novalue\"\n"
				   "env.4 \"B=\"\n"
				   "user \"1000:1000\"\n"
				   "workdir \"/srv\"\n"
				   "later things\n";
	struct ctl_meta m;

	assert_int_equal(ctl_meta_parse(text, sizeof(text) - 1, &m, NULL), 0);
	assert_int_equal(m.size_bytes, 123456);
	assert_int_equal(m.inodes, 42);
	assert_string_equal(m.user, "1000:1000");
	assert_string_equal(m.workdir, "/srv");
	assert_int_equal(m.nenv, 3);
	assert_string_equal(m.env[0], "PATH=/bin");
	assert_string_equal(m.env[1], "A=\303\244 \360\237\230\200 \"q\" \\ \t");
	assert_string_equal(m.env[2], "B=");
	assert_null(m.env[3]);
	assert_int_equal(m.nentrypoint, 2);
	assert_string_equal(m.entrypoint[1], "-c");
	assert_null(m.entrypoint[2]);
	assert_int_equal(m.ncmd, 1);
	assert_string_equal(m.cmd[0], "a\nb");
	assert_int_equal(m.nhealth, 2);
	assert_string_equal(m.health[1], "true");
	assert_int_equal(m.health_interval_sec, 5);
	assert_int_equal(m.health_retries, 2);
	assert_int_equal(m.health_start_interval_sec, 3);
	assert_int_equal(m.health_timeout_sec, 0);
	ctl_meta_done(&m);
}

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void mixtape(void **state)
{
	static const char text[] = "kind mixtape\n"
				   "size_bytes 5\n"
				   "mixtape.kernel " HEX "\n"
				   "mixtape.cmdline " HEX "\n"
				   "mixtape.init " HEX "\n"
				   "mixtape.disk " HEX "\n"
				   "mixtape.disk_format qcow2\n"
				   "mixtape.disk_compression zstd\n";
	static const char *const rows[] = {
		"mixtape.kernel ../../../../etc/passwd",
		"mixtape.kernel " HEX "0",
		"mixtape.initrd 0123",
		"mixtape.disk " HEX " x",
		"mixtape.disk",
		"mixtape.cmdline 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		"mixtape.disk_format a-long-format",
		"mixtape.disk_compression a-very-long-compression",
	};
	struct ctl_meta m;

	assert_int_equal(ctl_meta_parse(text, sizeof(text) - 1, &m, NULL), 0);
	assert_string_equal(m.kind, "mixtape");
	assert_string_equal(m.kernel, HEX);
	assert_string_equal(m.initrd, "");
	assert_string_equal(m.cmdline, HEX);
	assert_string_equal(m.disk, HEX);
	assert_string_equal(m.disk_format, "qcow2");
	assert_true(m.disk_packed);
	ctl_meta_done(&m);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (ctl_meta_parse(rows[i], strlen(rows[i]), &m, NULL) != -EBADMSG)
			fail_msg("%s", rows[i]);
}

static void empty(void **state)
{
	static const char *const rows[] = {
		"", "\n\n", "env\n", "env. x\n", "env.x \"A=1\"\n", "user \"\"\n"};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ctl_meta m;

		assert_int_equal(ctl_meta_parse(rows[i], strlen(rows[i]), &m, NULL), 0);
		assert_string_equal(m.user, "");
		assert_int_equal(m.nenv, 0);
		assert_null(m.env[0]);
		ctl_meta_done(&m);
	}
}

static void bad(void **state)
{
	static const char *const rows[] = {
		"size_bytes x",
		"size_bytes -1",
		"size_bytes 99999999999999999999999",
		"user root",
		"user \"root",
		"user \"a\" b",
		"user \"a\\",
		"user \"\\x\"",
		"user \"\\u00\"",
		"user \"\\u0000\"",
		"user \"\\n\"",
		"user \"\\ud800\"",
		"user \"\\ud800\\u0041\"",
		"user \"\\udc00\"",
		"env.0",
		"env.0 A=1",
		"env.0 \"A=1",
		"env.0 \"A=1\" x",
		"env.0 \"A=\\u0000\"",
		"cmd.0 [\"a\"]",
		"healthcheck_retries x",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct ctl_meta m;

		assert_int_equal(ctl_meta_parse(rows[i], strlen(rows[i]), &m, &e), -EBADMSG);
		assert_int_equal(e.code, EBADMSG);
	}
}

static void list_limit(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_meta m;

	for (int i = 0; i < CTL_META_MAX_LIST; i++)
		msb_str_addf(&s, "env.%d \"A=\"\n", i);
	assert_int_equal(ctl_meta_parse(s.buf, s.len, &m, NULL), 0);
	assert_int_equal(m.nenv, CTL_META_MAX_LIST);
	ctl_meta_done(&m);
	msb_str_adds(&s, "env.9 \"A=\"\n");
	assert_int_equal(ctl_meta_parse(s.buf, s.len, &m, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(mixtape),
		cmocka_unit_test(empty),
		cmocka_unit_test(bad),
		cmocka_unit_test(list_limit),
	};

	return cmocka_run_group_tests_name("ctl_meta", tests, NULL, NULL);
}
