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
	static const char text[] =
		"size_bytes 123456\n"
		"inodes 42\n"
		"entrypoint [\"/bin/sh\"]\n"
		"env [\"PATH=/bin\", \"A=\\u00e4 \\ud83d\\ude00 \\\"q\\\" \\\\ \\t\", \"B=\"]\n"
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
	static const char *const rows[] = {"", "\n\n", "env null\n", "env []", "user \"\"\n"};

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
		"env [",
		"env [\"A=1\"",
		"env [\"A=1\",",
		"env [\"A=1\",]",
		"env [\"A=1\" \"B=2\"]",
		"env [\"=x\"]",
		"env [\"novalue\"]",
		"env [1]",
		"env {}",
		"env [] x",
		"env",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct ctl_meta m;

		assert_int_equal(ctl_meta_parse(rows[i], strlen(rows[i]), &m, &e), -EBADMSG);
		assert_int_equal(e.code, EBADMSG);
	}
}

static void env_limit(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_meta m;

	msb_str_adds(&s, "env [\"A=\"");
	for (int i = 1; i < CTL_META_MAX_ENV; i++)
		msb_str_adds(&s, ",\"A=\"");
	msb_str_adds(&s, "]");
	assert_int_equal(ctl_meta_parse(s.buf, s.len, &m, NULL), 0);
	assert_int_equal(m.nenv, CTL_META_MAX_ENV);
	ctl_meta_done(&m);
	s.len--;
	msb_str_adds(&s, ",\"A=\"]");
	assert_int_equal(ctl_meta_parse(s.buf, s.len, &m, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(mixtape),
		cmocka_unit_test(empty),
		cmocka_unit_test(bad),
		cmocka_unit_test(env_limit),
	};

	return cmocka_run_group_tests_name("ctl_meta", tests, NULL, NULL);
}
