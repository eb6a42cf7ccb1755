// SPDX-License-Identifier: Apache-2.0
// The YAML of configurations: what is taken, what is refused where, and what is printed reads back.
#include "base/cleanup.h"
#include "ctl/yaml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void taken(void **state)
{
	static const char text[] = "# a comment\n"
				   "image: docker.io/library/python:3.12\n"
				   "cpus: 2\n"
				   "restart: \"no\"\n"
				   "empty: \"\"\n"
				   "cmd: [python3, -c, 'print(6*7)']\n"
				   "env:\n  A: x y\n  B: \"\\u00e9\\n\"\n"
				   "mounts:\n- none /x memory\n- |\n  none /y memory\n"
				   "none: {}\n";
	_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0};
	struct msb_err e = {0};

	if (ctl_yaml_parse(text, strlen(text), &y, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(y.n, 8);
	assert_string_equal(y.v[0].key, "image");
	assert_string_equal(y.v[0].v[0].value, "docker.io/library/python:3.12");
	assert_int_equal(y.v[0].line, 2);
	assert_int_equal(y.v[0].v[0].column, 8);
	assert_string_equal(y.v[2].v[0].value, "no");
	assert_string_equal(y.v[3].v[0].value, "");
	assert_int_equal(y.v[4].type, YAML_LIST);
	assert_int_equal(y.v[4].n, 3);
	assert_string_equal(y.v[4].v[2].value, "print(6*7)");
	assert_int_equal(y.v[5].type, YAML_MAP);
	assert_string_equal(y.v[5].v[1].key, "B");
	assert_string_equal(y.v[5].v[1].value, "\xc3\xa9\n");
	assert_string_equal(y.v[6].v[1].value, "none /y memory\n");
	assert_int_equal(y.v[7].n, 0);
}

static void refused(void **state)
{
	static const struct {
		const char *text, *why;
	} t[] = {
		{"restart: no\n", "line 1, column 10: `no` means different things"},
		{"a: 1\nb: Yes\n", "line 2, column 4: `Yes` means"},
		{"a: ~\n", "`~` means"},
		{"a:\n", "`` means"},
		{"a: null\n", "`null` means"},
		{"a: off\n", "`off` means"},
		{"yes: 1\n", "line 1, column 1: `yes` means"},
		{"a: 010\n", "`010` means"},
		{"a: 1:30\n", "`1:30` means"},
		{"a: 1_000\n", "`1_000` means"},
		{"a: 0x10\n", "`0x10` means"},
		{"a: 1\nb: 2\na: 3\n", "line 3, column 1: `a` is there twice"},
		{"env: {A: x, A: y}\n", "line 1, column 13: `A` is there twice"},
		{"a: &x 1\n", "line 1, column 4: anchors"},
		{"a: &x [1]\n", "anchors"},
		{"a: *x\n", "aliases"},
		{"<<: {a: b}\n", "`<<` means"},
		{"a: !!str 1\n", "tags"},
		{"a: !x {}\n", "tags"},
		{"a: [[1]]\n", "line 1, column 5: this is nested too deeply"},
		{"a: {b: {c: d}}\n", "line 1, column 8: this is nested too deeply"},
		{"[a]: b\n", "a name is a text"},
		{"a: {[b]: c}\n", "a name is a text"},
		{"- a\n", "line 1, column 1: a configuration is"},
		{"text\n", "a configuration is"},
		{"a: b\n---\nc: d\n", "more than one document"},
		{"%YAML 1.1\n---\na: b\n", "directives"},
		{"a: b: c\n", "line 1, column 5"},
		{"a: \"\\0\"\n", "a NUL"},
		{"a: \"x\n", "line 2"},
		{"\ta: b\n", "line 1"},
		{"a: \xff\n", "line 1"},
		{"? a\n", "`` means"},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0};
		struct msb_err e = {0};
		int r = ctl_yaml_parse(t[i].text, strlen(t[i].text), &y, &e);

		if (r != -EINVAL || !strstr(e.msg, t[i].why))
			fail_msg("%s: %d: %s, not %s", t[i].text, r, e.msg, t[i].why);
	}
}

static void limits(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0};
	struct msb_err e = {0};

	assert_int_equal(ctl_yaml_parse("", 0, &y, &e), 0);
	assert_int_equal(y.n, 0);
	msb_str_adds(&s, "a: [");
	for (int i = 0; i < CTL_MAX_YAML_ENTRIES - 1; i++)
		msb_str_adds(&s, "x,");
	msb_str_adds(&s, "]");
	assert_int_equal(ctl_yaml_parse(s.buf, s.len, &y, &e), 0);
	assert_int_equal(y.v[0].n, CTL_MAX_YAML_ENTRIES - 1);
	ctl_yaml_done(&y);
	s.len--;
	msb_str_adds(&s, "x]");
	assert_int_equal(ctl_yaml_parse(s.buf, s.len, &y, &e), -E2BIG);
	ctl_yaml_done(&y);
	while (s.len <= CTL_MAX_YAML_BYTES)
		msb_str_adds(&s, "\n# comment");
	assert_int_equal(ctl_yaml_parse(s.buf, s.len, &y, &e), -E2BIG);
}

static void reads_back(void **state)
{
	static const char *const texts[] = {
		"",
		"no",
		"a b",
		"1",
		"010",
		"~",
		"x: y",
		"- a",
		"#",
		"\"",
		"\\",
		"\n",
		"\t x ",
		"\xc3\xa9",
		"a\x01",
		"&a",
		"*a",
		"!t",
		"|",
		">",
		"%",
		"@x",
		"`",
		"null",
		"1e3",
		"/path",
		"256M",
		"unless-stopped",
		"on-failure:3",
		"-1",
		"...",
		"---",
		"[",
		"{a: b}",
		",",
		"\x7f",
		"\xe2\x80\xa8",
		"<<",
		"=",
		".5",
		"1.5",
		"0x1f",
		"2001-01-01",
		/* what a YAML reader takes escaped only */
		"\xc2\x80 \xc2\x85 \xc2\x9b",
		"\x7f\x1b",
		"\xef\xbf\xbe",
		"\xef\xbf\xbf",
		"\xef\xbb\xbfx",
		"\xf0\x9f\xbf\xbf",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		_cleanup_(ctl_yaml_done) struct ctl_yaml y = {0};
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};

		msb_str_adds(&s, "key: ");
		ctl_yaml_print(&s, texts[i]);
		msb_str_adds(&s, "\n");
		if (ctl_yaml_parse(s.buf, s.len, &y, &e) < 0)
			fail_msg("%s: %s", s.buf, e.msg);
		assert_string_equal(y.v[0].v[0].value, texts[i]);
	}
}

static void nearest(void **state)
{
	static const char *const words[] = {"image", "cpus", "memory_bytes", "restart", NULL};

	assert_string_equal(
		ctl_nearest("memory", (const char *const[]){"memory_b", NULL}), "memory_b");
	assert_string_equal(ctl_nearest("cpu", words), "cpus");
	assert_string_equal(ctl_nearest("imgae", words), "image");
	assert_string_equal(ctl_nearest("memory-bytes", words), "memory_bytes");
	assert_null(ctl_nearest("xyzzy", words));
	assert_null(ctl_nearest("", words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken),
		cmocka_unit_test(refused),
		cmocka_unit_test(limits),
		cmocka_unit_test(reads_back),
		cmocka_unit_test(nearest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
