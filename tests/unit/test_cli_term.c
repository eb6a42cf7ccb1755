// SPDX-License-Identifier: Apache-2.0
// The keys that let go of a job: how they are written, and how they are taken out of what is typed.
#include "base/cleanup.h"
#include "tools/msb/term.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void writing(void **state)
{
	static const struct {
		const char *text, *keys; /* keys NULL: refused */
	} rows[] = {
		{"", ""},
		{"a", "a"},
		{"ctrl-p,ctrl-q", "\x10\x11"},
		{"ctrl-P", "\x10"},
		{"ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", "\x1b\x1c\x1d\x1e\x1f"},
		{"a,b,c", "abc"},
		{"ctrl-", NULL},
		{"ctrl-1", NULL},
		{"ctrl-`", NULL},
		{"ctrl-ab", NULL},
		{"ab", NULL},
		{"a,", NULL},
		{",a", NULL},
		{"a,,b", NULL},
		{"ctrl-\xc3\xb6", NULL},
		{"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", "abcdefghijklmnop"},
		{"a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", NULL},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};
		struct term_keys k;
		int r = term_keys_parse(rows[i].text, &k, &e);

		if (!rows[i].keys) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(e.msg, rows[i].text));
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(k.n, strlen(rows[i].keys));
		assert_memory_equal(k.key, rows[i].keys, k.n);
	}
}

static void taking(void **state)
{
	static const struct {
		const char *keys;
		const char *in[4]; /* pieces, as they are read */
		const char *out;
		bool found;
	} rows[] = {
		{"ctrl-p,ctrl-q", {"abc"}, "abc", false},
		{"ctrl-p,ctrl-q", {"a\x10\x11z"}, "a", true},
		{"ctrl-p,ctrl-q", {"a\x10", "\x11"}, "a", true},
		{"ctrl-p,ctrl-q", {"a\x10", "b"},
			"a\x10"
			"b",
			false},
		{"ctrl-p,ctrl-q", {"\x10\x10", "\x11"}, "\x10", true},
		{"ctrl-p,ctrl-q", {"\x11\x10"}, "\x11", false}, /* held */
		{"a,a,b", {"aaab"}, "a", true},
		{"a,a,b", {"aa", "a", "a", "c"}, "aaaac", false},
		{"a,b,a,c", {"aba", "bac"}, "ab", true},
		{"q", {"xq"}, "x", true},
		{"", {"\x10\x11"}, "\x10\x11", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char out[64 + TERM_KEYS_MAX] = "";
		struct term_keys k;
		bool found = false;
		size_t n = 0;

		assert_int_equal(term_keys_parse(rows[i].keys, &k, NULL), 0);
		for (size_t p = 0; p < 4 && rows[i].in[p]; p++)
			n += term_keys_take(
				&k, rows[i].in[p], strlen(rows[i].in[p]), out + n, &found);
		assert_int_equal(found, rows[i].found);
		assert_int_equal(n, strlen(rows[i].out));
		assert_memory_equal(out, rows[i].out, n);
	}
}

/* Whatever is typed: what goes on and what is held are it, in its order. */
static void nothing_lost(void **state)
{
	unsigned int seed = 4711;

	for (int round = 0; round < 2000; round++) {
		char typed[40], out[sizeof(typed) + TERM_KEYS_MAX];
		size_t n = 0, at = 0;
		struct term_keys k;
		bool found = false;

		assert_int_equal(term_keys_parse(round % 2 ? "a,b,a,b,c" : "a,a,a,b", &k, NULL), 0);
		for (size_t i = 0; i < sizeof(typed); i++) {
			seed = seed * 1103515245 + 12345;
			typed[i] = "abc"[(seed >> 16) % 3];
		}
		while (at < sizeof(typed) && !found) {
			size_t piece = 1 + at % 5;

			piece = piece < sizeof(typed) - at ? piece : sizeof(typed) - at;
			n += term_keys_take(&k, typed + at, piece, out + n, &found);
			at += piece;
		}
		assert_memory_equal(out, typed, n);
		if (found)
			assert_memory_equal(typed + n, k.key, k.n);
		else
			assert_memory_equal(typed + n, k.key, sizeof(typed) - n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writing),
		cmocka_unit_test(taking),
		cmocka_unit_test(nothing_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
