// SPDX-License-Identifier: Apache-2.0
// base/str: strict numbers, escapes of untrusted text, growth.
#include "base/cleanup.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void parse_u64(void **state)
{
	static const struct {
		const char *text;
		uint64_t min, max;
		int ret;
		uint64_t value;
	} rows[] = {
		{"0", 0, 10, 0, 0},
		{"10", 0, 10, 0, 10},
		{"11", 0, 10, -ERANGE, 0},
		{"0", 1, 10, -ERANGE, 0},
		{"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
		{"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
		{"", 0, 10, -EINVAL, 0},
		{" 1", 0, 10, -EINVAL, 0},
		{"1 ", 0, 10, -EINVAL, 0},
		{"+1", 0, 10, -EINVAL, 0},
		{"-1", 0, 10, -EINVAL, 0},
		{"1x", 0, 10, -EINVAL, 0},
		{"0x1", 0, 10, -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = 77;

		assert_int_equal(
			msb_parse_u64(rows[i].text, rows[i].min, rows[i].max, &v), rows[i].ret);
		assert_int_equal(v, rows[i].ret ? 77 : rows[i].value);
	}
}

static void parse_bytes(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t value;
	} rows[] = {
		{"512", 0, 512},
		{"1K", 0, 1024},
		{"128M", 0, UINT64_C(128) << 20},
		{"3G", 0, UINT64_C(3) << 30},
		{"1T", 0, UINT64_C(1) << 40},
		{"16777216T", -ERANGE, 0}, /* 2^64 */
		{"99999999999999999999", -ERANGE, 0},
		{"1m", -EINVAL, 0},
		{"1MB", -EINVAL, 0},
		{"M", -EINVAL, 0},
		{"1 M", -EINVAL, 0},
		{"", -EINVAL, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = 77;

		assert_int_equal(msb_parse_bytes(rows[i].text, 0, UINT64_MAX, &v), rows[i].ret);
		assert_int_equal(v, rows[i].ret ? 77 : rows[i].value);
	}
}

static void names(void **state)
{
	static const char *const bad[] = {
		"", "-a", "A", "a.b", "a/b", "..", "a b", "\xc3\xa9", "a_b"};
	char longest[65];

	memset(longest, 'a', sizeof(longest));
	longest[63] = '\0';
	assert_true(msb_name_valid(longest));
	longest[63] = 'a';
	longest[64] = '\0';
	assert_false(msb_name_valid(longest));
	assert_true(msb_name_valid("a"));
	assert_true(msb_name_valid("0-9"));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(msb_name_valid(bad[i]));
}

static void json(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} rows[] = {
		{"plain", 5, "\"plain\""},
		{"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
		{"\n\t\x01\x7f", 4, "\"\\n\\t\\u0001\\u007f\""},
		{"\0x", 2, "\"\\u0000x\""},
		{"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", 8, "\"\\u0080\\u009b\\u009f\xc2\xa0\""},
		{"\xc3\xa9", 2, "\"\xc3\xa9\""},
		{"\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf", 9, "\"\xef\xbf\xbd\\ufffe\\uffff\""},
		{"\xc3", 1, "\"\\ufffd\""},
		{"\xed\xa0\x80", 3, "\"\\ufffd\\ufffd\\ufffd\""}, /* a surrogate */
		{"\xc0\xaf", 2, "\"\\ufffd\\ufffd\""},		  /* overlong */
		{"\xf4\x90\x80\x80", 4, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		msb_str_add_json(&s, rows[i].in, rows[i].n);
		assert_string_equal(s.buf, rows[i].out);
	}
	assert_true(msb_utf8_valid("h\xc3\xa9", 3));
	assert_false(msb_utf8_valid("h\xc3", 2));
}

static void printable(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char stale[8] = "stale";
	struct msb_str none = MSB_STR_FIXED(stale);

	msb_str_add_printable(&none, "", 0);
	assert_string_equal(stale, "");
	msb_str_add_printable(&s, "a\033[2J\xc2\x9b\xff\xc3\xa9\n", 11);
	assert_string_equal(s.buf, "a\\x1b[2J\\xc2\\x9b\\xff\xc3\xa9\\x0a");
}

static void base64(void **state)
{
	/* RFC 4648 section 10 */
	static const char *const rows[][2] = {
		{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		msb_str_add_base64(&s, rows[i][0], strlen(rows[i][0]));
		assert_string_equal(s.buf ? s.buf : "", rows[i][1]);
	}
}

static void fixed_is_cut(void **state)
{
	char buf[8];
	struct msb_str s = MSB_STR_FIXED(buf);

	msb_str_adds(&s, "0123456789");
	msb_str_adds(&s, "abc");
	assert_string_equal(buf, "0123456");
	assert_false(s.oom);
}

static void hex(void **state)
{
	uint8_t in[3] = {0, 0xab, 0xff}, out[3] = {0};
	char text[7];

	msb_hex(in, 3, text);
	assert_string_equal(text, "00abff");
	assert_int_equal(msb_unhex(text, out, 3), 0);
	assert_memory_equal(in, out, 3);
	assert_int_equal(msb_unhex("00abfF", out, 3), -EINVAL);
	assert_int_equal(msb_unhex("00abf", out, 3), -EINVAL);
	assert_int_equal(msb_unhex("00abff0", out, 3), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_u64),
		cmocka_unit_test(parse_bytes),
		cmocka_unit_test(names),
		cmocka_unit_test(json),
		cmocka_unit_test(printable),
		cmocka_unit_test(base64),
		cmocka_unit_test(fixed_is_cut),
		cmocka_unit_test(hex),
	};

	return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
