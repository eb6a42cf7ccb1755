// SPDX-License-Identifier: Apache-2.0
// fs/image/zip: what is compressed unpacks to what it was, and is the same however it was cut.
#include "fs/image/zip.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define MAX (3u << 20)

static const enum img_compression kinds[] = {IMG_PLAIN, IMG_GZIP, IMG_ZSTD};

static int collect(void *arg, const void *p, size_t n, struct msb_err *e)
{
	msb_str_add(arg, p, n);
	return 0;
}

static int refuse(void *arg, const void *p, size_t n, struct msb_err *e)
{
	return msb_err_set(e, EXFULL, "enough");
}

static void pack(enum img_compression kind, const char *p, size_t n, size_t step, struct msb_str *s)
{
	struct msb_err e = {0};
	struct img_zip *z;

	assert_int_equal(img_zip_new(kind, collect, s, &z), 0);
	for (size_t off = 0; off < n; off += step)
		assert_int_equal(img_zip_feed(z, p + off, n - off < step ? n - off : step, &e), 0);
	assert_int_equal(img_zip_finish(z, &e), 0);
	img_zip_free(z);
}

static void round_trip(void **state)
{
	static const size_t sizes[] = {0, 1, 511, 65536, 262144, 262145, MAX};
	_cleanup_free_ char *in = malloc(MAX);
	unsigned int x = 1;

	for (size_t k = 0; k < MAX; k++) { /* text, then noise */
		x = x * 1103515245 + 12345;
		in[k] = k < MAX / 2 ? (char)("layers "[k % 7] + (x >> 30)) : (char)(x >> 16);
	}
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++)
		for (size_t j = 0; j < ARRAY_LEN(sizes); j++) {
			_cleanup_str_ struct msb_str a = MSB_STR_INIT, b = MSB_STR_INIT;
			_cleanup_str_ struct msb_str back = MSB_STR_INIT;
			struct msb_err e = {0};
			struct img_unzip *u;

			pack(kinds[k], in, sizes[j], MAX, &a);
			pack(kinds[k], in, sizes[j], 70001, &b);
			assert_int_equal(a.len, b.len);
			assert_int_equal(a.len && memcmp(a.buf, b.buf, a.len) != 0, 0);
			if (kinds[k] != IMG_PLAIN && sizes[j] == MAX)
				assert_true(a.len < MAX / 10 * 9);
			assert_int_equal(img_unzip_new(collect, &back, &u), 0);
			assert_int_equal(img_unzip_feed(u, a.buf, a.len, &e), 0);
			assert_int_equal(img_unzip_finish(u, &e), 0);
			img_unzip_free(u);
			assert_int_equal(back.len, sizes[j]);
			assert_int_equal(sizes[j] && memcmp(back.buf, in, sizes[j]) != 0, 0);
		}
}

static void refused(void **state)
{
	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		struct msb_err e = {0};
		struct img_zip *z;
		int r;

		assert_int_equal(img_zip_new(kinds[k], refuse, NULL, &z), 0);
		r = img_zip_feed(z, "x", 1, &e);
		if (r == 0)
			r = img_zip_finish(z, &e);
		assert_int_equal(r, -EXFULL);
		img_zip_free(z);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
