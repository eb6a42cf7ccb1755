// SPDX-License-Identifier: Apache-2.0
// ctl/line, ctl/fstab: control lines and mount lines, good and bad.
#include "base/cleanup.h"
#include "ctl/fstab.h"
#include "ctl/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void lines(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out[4];
		int end; /* what the call after the last line returns */
	} rows[] = {
		{"", 0, {NULL}, 0},
		{"\n", 1, {""}, 0},
		{"start", 5, {"start"}, 0},
		{"start\n", 6, {"start"}, 0},
		{"a\nb", 3, {"a", "b"}, 0},
		{"a\n\nb\n", 5, {"a", "", "b"}, 0},
		{"a\nb\0c\n", 6, {"a"}, -EINVAL},
		{"\0", 1, {NULL}, -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t pos = 0, len = 0, k = 0, before;
		const char *line = NULL;

		for (; rows[i].out[k]; k++) {
			assert_int_equal(
				ctl_line_next(rows[i].in, rows[i].n, &pos, &line, &len), 1);
			assert_int_equal(len, strlen(rows[i].out[k]));
			assert_memory_equal(line, rows[i].out[k], len);
		}
		before = pos;
		assert_int_equal(
			ctl_line_next(rows[i].in, rows[i].n, &pos, &line, &len), rows[i].end);
		assert_int_equal(pos, before);
	}
}

static void line_limit(void **state)
{
	static char big[CTL_MAX_LINE + 2];
	size_t pos = 0, len;
	const char *line;

	memset(big, 'x', sizeof(big));
	big[CTL_MAX_LINE] = '\n';
	assert_int_equal(ctl_line_next(big, CTL_MAX_LINE + 1, &pos, &line, &len), 1);
	assert_int_equal(len, CTL_MAX_LINE);
	big[CTL_MAX_LINE] = 'x';
	pos = 0;
	assert_int_equal(ctl_line_next(big, CTL_MAX_LINE + 1, &pos, &line, &len), -E2BIG);
	assert_int_equal(pos, 0);
}

static void words(void **state)
{
	static const struct {
		const char *in;
		int ret;
		const char *out[CTL_MAX_WORDS + 1];
	} rows[] = {
		{"", 0, {NULL}},
		{" \t ", 0, {NULL}},
		{"# import a b", 0, {NULL}},
		{"  # c", 0, {NULL}},
		{"start", 0, {"start"}},
		{"  start\t", 0, {"start"}},
		{"import /a\\040b c", 0, {"import", "/a b", "c"}},
		{"a#b #c", 0, {"a#b", "#c"}},
		{"\\043x", 0, {"#x"}},
		{"\\134\\377", 0, {"\\\377"}},
		{"1 2 3 4 5 6 7 8", 0, {"1", "2", "3", "4", "5", "6", "7", "8"}},
		{"1 2 3 4 5 6 7 8 9", -E2BIG, {NULL}},
		{"a\\", -EINVAL, {NULL}},
		{"a\\04", -EINVAL, {NULL}},
		{"a\\000", -EINVAL, {NULL}},
		{"a\\400", -EINVAL, {NULL}},
		{"a\\08x", -EINVAL, {NULL}},
		{"a\001", -EINVAL, {NULL}},
		{"a\177", -EINVAL, {NULL}},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct ctl_words w = {0};
		size_t k = 0;

		assert_int_equal(
			ctl_words_split(rows[i].in, strlen(rows[i].in), &w, &e), rows[i].ret);
		assert_int_equal(e.code, -rows[i].ret);
		if (rows[i].ret < 0)
			continue;
		for (; rows[i].out[k]; k++)
			assert_string_equal(w.w[k], rows[i].out[k]);
		assert_int_equal(w.n, k);
	}
}

static void quote_reads_back(void **state)
{
	static const char *const rows[] = {"plain", "with space", "tab\there", "#first", "no#first",
		"back\\slash", "nl\nx", "\177", "\303\244"};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct ctl_words w = {0};

		ctl_word_quote(&s, rows[i]);
		assert_int_equal(ctl_words_split(s.buf, s.len, &w, NULL), 0);
		assert_int_equal(w.n, 1);
		assert_string_equal(w.w[0], rows[i]);
	}
}

static void mounts(void **state)
{
	static const struct {
		const char *in;
		int ret;
		const char *printed;
	} rows[] = {
		{"", 0, NULL},
		{"# /a /b passthrough", 0, NULL},
		{"/src /dst passthrough", 1, "/src /dst passthrough rw\n"},
		{"/src /dst passthrough ro", 1, "/src /dst passthrough ro\n"},
		{"/src /dst passthrough defaults,rw", 1, "/src /dst passthrough rw\n"},
		{"/src /dst passthrough rw,ro", -EINVAL, NULL},
		{"/src /dst passthrough audit=all,ro", 1, "/src /dst passthrough ro,audit=all\n"},
		{"none /dst memory size_bytes=8M", 1, "none /dst memory rw,size_bytes=8M\n"},
		{"/src /dst memory", -EINVAL, NULL},
		{"/src /dst memory size_bytes=0", -ERANGE, NULL},
		{"debian /dst image", 1, "debian /dst image ro\n"},
		{"debian /dst image rw", -EINVAL, NULL},
		{"/debian /dst image", -EINVAL, NULL},
		{"Debian /dst overlay", -EINVAL, NULL},
		{"debian /dst overlay", 1, "debian /dst overlay rw\n"},
		{"/bin/x /dst plugin protocol=json,timeout=2s", 1,
			"/bin/x /dst plugin rw,protocol=json,timeout=2s\n"},
		{"x /dst plugin", -EINVAL, NULL},
		{"/bin/x /dst plugin deny=a\\040b", 1, "/bin/x /dst plugin rw,deny=a\\040b\n"},
		{"/a\\040b /d\\040e passthrough ro", 1, "/a\\040b /d\\040e passthrough ro\n"},
		{"/ /a/b/c passthrough", 1, "/ /a/b/c passthrough rw\n"},
		{"/src /dst", -EINVAL, NULL},
		{"/src /dst passthrough ro 0 0", -EINVAL, NULL},
		{"src /dst passthrough", -EINVAL, NULL},
		{"/src dst passthrough", -EINVAL, NULL},
		{"/src / passthrough", -EINVAL, NULL},
		{"/src /a/../b passthrough", -EINVAL, NULL},
		{"/src /a/./b passthrough", -EINVAL, NULL},
		{"/src /a//b passthrough", -EINVAL, NULL},
		{"/src /a/ passthrough", -EINVAL, NULL},
		{"/src /.. passthrough", -EINVAL, NULL},
		{"/src /...x passthrough", 1, "/src /...x passthrough rw\n"},
		{"/src /a\\011b passthrough", -EINVAL, NULL},
		{"/s\\012rc /a passthrough", -EINVAL, NULL},
		{"/src /dst nfs", -EOPNOTSUPP, NULL},
		{"/src /dst passthroug", -EOPNOTSUPP, NULL},
		{"/src /dst passthrough rx", -EINVAL, NULL},
		{"/src /dst passthrough ro,", -EINVAL, NULL},
		{"/src /dst passthrough ,ro", -EINVAL, NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};
		struct ctl_mount m;

		assert_int_equal(
			ctl_mount_parse(rows[i].in, strlen(rows[i].in), &m, &e), rows[i].ret);
		if (rows[i].ret < 0)
			assert_int_equal(e.code, -rows[i].ret);
		if (rows[i].ret != 1)
			continue;
		ctl_mount_print(&s, &m);
		assert_string_equal(s.buf, rows[i].printed);
	}
}

static void mount_names(void **state)
{
	char a[FSD_MAX_MOUNT_NAME + 1], b[FSD_MAX_MOUNT_NAME + 1];

	ctl_mount_name("/src /dst passthrough rw", 24, a);
	ctl_mount_name("/src /dst passthrough ro", 24, b);
	assert_int_equal(strlen(a), FSD_MAX_MOUNT_NAME);
	assert_int_equal(strspn(a, "0123456789abcdef"), FSD_MAX_MOUNT_NAME);
	assert_string_not_equal(a, b);
	ctl_mount_name("", 0, b); /* the offset basis of FNV-1a */
	assert_string_equal(b, "cbf29ce484222325");
}

static void guest_path_limit(void **state)
{
	static char path[CTL_MAX_GUEST_PATH + 2] = "/";
	char line[CTL_MAX_GUEST_PATH + 64];
	struct ctl_mount m;

	for (int over = 0; over < 2; over++) {
		memset(path + 1, 'x', CTL_MAX_GUEST_PATH - 1 + (size_t)over);
		(void)snprintf(line, sizeof(line), "/s %s passthrough", path);
		assert_int_equal(ctl_mount_parse(line, strlen(line), &m, NULL), over ? -E2BIG : 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines),
		cmocka_unit_test(line_limit),
		cmocka_unit_test(words),
		cmocka_unit_test(quote_reads_back),
		cmocka_unit_test(mounts),
		cmocka_unit_test(guest_path_limit),
		cmocka_unit_test(mount_names),
	};

	return cmocka_run_group_tests_name("ctl_line", tests, NULL, NULL);
}
