// SPDX-License-Identifier: Apache-2.0
// Arguments as JSON.
#include "ctl/argv.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What is taken, as words and as it reads back. */
static void taken(void **state)
{
	static const struct {
		const char *json, *back, *words;
		size_t bytes;
	} rows[] = {
		{"[]", "[]", "", 0},
		{" [ \"a\" , \"b c\" ] \n", "[\"a\",\"b c\"]", "a\0b c", 6},
		{"[\"\"]", "[\"\"]", "", 1},
		{"[\"\\u00e9\\\"\\\\\\n\"]", "[\"\u00e9\\\"\\\\\\n\"]", "\u00e9\"\\\n", 6},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str words = MSB_STR_INIT, back = MSB_STR_INIT;
		struct msb_err e = {0};

		assert_int_equal(
			ctl_argv_from_json("argv", rows[i].json, strlen(rows[i].json), &words, &e),
			0);
		assert_int_equal(words.len, rows[i].bytes);
		assert_memory_equal(words.buf ?: "", rows[i].words, rows[i].bytes);
		ctl_argv_to_json(words.buf, words.len, &back);
		assert_string_equal(back.buf, rows[i].back);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *json, *sentence;
	} rows[] = {
		{"", "cmd is no JSON"},
		{"[\"a\"", "cmd is no JSON"},
		{"[\"a\"] x", "cmd is no JSON"},
		{"[\"a\\u0000b\"]", "cmd is no JSON"}, /* it would be two words */
		{"[\"\xff\"]", "cmd is no JSON"},
		{"{\"a\": \"b\"}", "cmd is not an array of strings"},
		{"[\"a\", 1]", "cmd: element 1 is not a string"},
		{"[[\"a\"]]", "cmd: element 0 is not a string"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str words = MSB_STR_INIT;
		struct msb_err e = {0};

		assert_int_equal(
			ctl_argv_from_json("cmd", rows[i].json, strlen(rows[i].json), &words, &e),
			-EINVAL);
		assert_int_equal(e.code, EINVAL);
		assert_non_null(strstr(e.msg, rows[i].sentence));
	}
}

/* However deep it nests, jansson stops before the stack does. */
static void deep(void **state)
{
	static char nest[1 << 16];
	_cleanup_str_ struct msb_str words = MSB_STR_INIT;
	struct msb_err e = {0};

	memset(nest, '[', sizeof(nest));
	assert_int_equal(ctl_argv_from_json("argv", nest, sizeof(nest), &words, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken), cmocka_unit_test(refused), cmocka_unit_test(deep)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
