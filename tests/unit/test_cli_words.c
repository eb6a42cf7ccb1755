// SPDX-License-Identifier: Apache-2.0
// Words of cp, and lines of the log.
#include "base/cleanup.h"
#include "tools/msb/cp.h"
#include "tools/msb/logline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void words(void **state)
{
	static const struct {
		const char *word;
		int ret, kind;
		const char *name, *path;
	} rows[] = {
		{"-", 0, CP_STREAM, "", "-"},
		{"file", 0, CP_HOST, "", "file"},
		{"/abs/olute", 0, CP_HOST, "", "/abs/olute"},
		{"./dev:x", 0, CP_HOST, "", "./dev:x"},
		{"/a:b", 0, CP_HOST, "", "/a:b"},
		{"dev:/x", 0, CP_GUEST, "dev", "/x"},
		{"dev:x", 0, CP_GUEST, "dev", "x"},
		{"dev-2:/a:b", 0, CP_GUEST, "dev-2", "/a:b"},
		{"dev:.", 0, CP_GUEST, "dev", "."},
		{"dev:-", 0, CP_GUEST, "dev", "-"},
		{"dev:", -EINVAL, 0, "", ""},
		{":x", -EINVAL, 0, "", ""},
		{"", -EINVAL, 0, "", ""},
		{"Dev:x", -EINVAL, 0, "", ""},
		{"..:x", -EINVAL, 0, "", ""},
		{"0123456789012345678901234567890123456789012345678901234567890123456789:x",
			-EINVAL, 0, "", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct cp_word w;

		assert_int_equal(cp_parse(rows[i].word, &w, &e), rows[i].ret);
		if (rows[i].ret < 0) {
			assert_true(e.msg[0] != '\0');
			continue;
		}
		assert_int_equal(w.kind, rows[i].kind);
		assert_string_equal(w.name, rows[i].name);
		assert_string_equal(w.path, rows[i].path);
	}
}

static void bases(void **state)
{
	static const char *const rows[][2] = {{"/a/b", "b"}, {"/a/b/", "b"}, {"b", "b"}, {"/", ""},
		{".", ""}, {"/a/.", ""}, {"..", ""}, {"a/..", ""}, {"///", ""}, {"a//b//", "b"},
		{"/a/...", "..."}, {"./x", "x"}};
	char base[NAME_MAX + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cp_base(rows[i][0], base);
		assert_string_equal(base, rows[i][1]);
	}
}

static void lines(void **state)
{
	static const struct {
		const char *line, *data;
		size_t n; /* SIZE_MAX: refused */
	} rows[] = {
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stdout\",\"data\":\"a\\u0000b\\n\"}",
			"a\0b\n", 4},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"/wA=\"}",
			"\xff\0", 2},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"/w==\"}",
			"\xff", 1},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"AAECAw==\"}",
			"\0\1\2\3", 4},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"\"}", "", 0},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"/w=\"}", "",
			SIZE_MAX},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"/w==AAAA\"}",
			"", SIZE_MAX},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stderr\",\"data_base64\":\"=w==\"}", "",
			SIZE_MAX},
		{"{\"time\":\"T\",\"job\":3,\"stream\":\"stdout\"}", "", SIZE_MAX},
		{"{\"time\":\"T\",\"stream\":\"stdout\",\"data\":\"x\"}", "", SIZE_MAX},
		{"{\"time\":3,\"job\":3,\"stream\":\"stdout\",\"data\":\"x\"}", "", SIZE_MAX},
		{"{\"time\":\"0123456789012345678901234567890123456789\",\"job\":3,\"stream\":\"stdout\","
		 "\"data\":\"x\"}",
			"", SIZE_MAX},
		{"{\"time\":\"\\u001b[2J\",\"job\":3,\"stream\":\"stdout\",\"data\":\"x\"}", "",
			SIZE_MAX},
		{"{\"time\":\"T\\u0000Z\",\"job\":3,\"stream\":\"stdout\",\"data\":\"x\"}", "",
			SIZE_MAX},
		{"{\"time\":\"T\",\"job\":-1,\"stream\":\"stdout\",\"data\":\"x\"}", "", SIZE_MAX},
		{"{\"time\":\"T\",\"job\":4294967299,\"stream\":\"stdout\",\"data\":\"x\"}", "",
			SIZE_MAX},
		{"{\"time\":\"T\",\"job\":3,\"str", "", SIZE_MAX},
		{"[]", "", SIZE_MAX},
		{"", "", SIZE_MAX},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct logline x = {0};
		int r = logline_parse(rows[i].line, strlen(rows[i].line), &x);

		assert_int_equal(r, rows[i].n == SIZE_MAX ? -EINVAL : 0);
		if (r < 0)
			continue;
		assert_int_equal(x.job, 3);
		assert_int_equal(x.is_err, strstr(rows[i].line, "stderr") != NULL);
		assert_int_equal(x.data.len, rows[i].n);
		assert_memory_equal(x.data.buf ?: "", rows[i].data, rows[i].n);
		logline_done(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(bases),
		cmocka_unit_test(lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
