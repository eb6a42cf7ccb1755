// SPDX-License-Identifier: Apache-2.0
// fs/image/tar: every header format reads the same however it is cut; what is damaged is refused.
#include "fs/image/tar.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* What the parser said, a line an entry. */
struct said {
	struct msb_str s;
	int refuse; /* returned by entry() */
};

static int entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	struct said *t = arg;

	msb_str_addf(&t->s, "%c %o %u:%u %llu %lld.%09u %s", x->type, x->mode, x->uid, x->gid,
		(unsigned long long)x->size, (long long)x->mtime_sec, x->mtime_nsec, x->path);
	if (*x->link)
		msb_str_addf(&t->s, " -> %s", x->link);
	if (x->type == IMG_TAR_CHR)
		msb_str_addf(&t->s, " %u,%u", x->dev_major, x->dev_minor);
	for (size_t k = 0; k < x->nxattrs; k++)
		msb_str_addf(&t->s, " [%.*s=%.*s]", (int)x->xattrs[k].name_n, x->xattrs[k].name,
			(int)x->xattrs[k].value_n, x->xattrs[k].value);
	msb_str_adds(&t->s, "\n");
	return t->refuse ? msb_err_set(e, -t->refuse, "refused") : 0;
}

static int data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct said *t = arg;

	msb_str_add(&t->s, p, n);
	return 0;
}

static int hole(void *arg, uint64_t n, struct msb_err *e)
{
	fail(); /* test_tar_sparse.c has them */
	return 0;
}

static int done(void *arg, struct msb_err *e)
{
	struct said *t = arg;

	msb_str_adds(&t->s, ".\n");
	return 0;
}

static const struct img_tar_ops ops = {entry, data, hole, done};

static int parse(const struct msb_str *in, size_t step, struct said *t)
{
	struct msb_err e = {0};
	struct img_tar *p;
	int r = 0;

	assert_int_equal(img_tar_new(&ops, t, &p), 0);
	for (size_t off = 0; r == 0 && off < in->len; off += step)
		r = img_tar_feed(p, in->buf + off, in->len - off < step ? in->len - off : step, &e);
	if (r == 0)
		r = img_tar_finish(p, &e);
	if (r < 0)
		assert_int_equal(e.code, -r);
	img_tar_free(p);
	return r;
}

static void expect(struct msb_str *in, int want, const char *text)
{
	static const size_t steps[] = {1 << 30, 1, 511, 513, 1000};

	for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
		struct said t = {0};

		assert_int_equal(parse(in, steps[k], &t), want);
		if (text)
			assert_string_equal(t.s.buf ? t.s.buf : "", text);
		msb_str_done(&t.s);
	}
	msb_str_done(in);
}

static void kinds(void **state)
{
	struct msb_str s = MSB_STR_INIT;

	tar_header(&s, "d/", '5', NULL, 0755, 0);
	tar_file(&s, "d/f", "hello\n", 6);
	tar_file(&s, "empty", "", 0);
	tar_header(&s, "h", '1', "d/f", 0644, 6); /* its size is the target's, no bytes follow */
	tar_header(&s, "l", '2', "/abs/../x", 0777, 0);
	tar_header(&s, "c", '3', NULL, 0666, 0);
	tar_header(&s, "p", '6', NULL, 0600, 0);
	tar_header(&s, "old/", '\0', NULL, 0700, 0);
	tar_header(&s, "seven", '7', NULL, 0600, 0);
	tar_end(&s);
	msb_str_adds(&s, "what comes after the end does not count");
	expect(&s, 0,
		"5 755 0:0 0 1000.000000000 d/\n0 644 0:0 6 1000.000000000 d/f\nhello\n.\n"
		"0 644 0:0 0 1000.000000000 empty\n.\n1 644 0:0 0 1000.000000000 h -> d/f\n"
		"2 777 0:0 0 1000.000000000 l -> /abs/../x\n3 666 0:0 0 1000.000000000 c 1,3\n"
		"6 600 0:0 0 1000.000000000 p\n5 700 0:0 0 1000.000000000 old/\n"
		"0 600 0:0 0 1000.000000000 seven\n.\n");
}

static void long_names(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	char name[300], want[700], h[512];

	memset(name, 'n', sizeof(name));
	name[299] = 0;
	tar_header(&s, "././@LongLink", 'L', NULL, 0, 300);
	tar_bytes(&s, name, 300);
	tar_header(&s, "././@LongLink", 'K', NULL, 0, 300);
	tar_bytes(&s, name, 300);
	tar_header(&s, "cut", '2', "cut", 0777, 0);
	tar_header(&s, "after", '0', NULL, 0600, 0); /* the long ones were for one entry */
	(void)snprintf(want, sizeof(want), "2 777 0:0 0 1000.000000000 %s -> %s\n%s", name, name,
		"0 600 0:0 0 1000.000000000 after\n.\n");
	expect(&s, 0, want);

	tar_header(&s, "name", '0', NULL, 0600, 0);
	memcpy(h, s.buf, 512);
	memcpy(h + 345, "prefix/of", 9);
	tar_sum(h);
	s.len = 0;
	msb_str_add(&s, h, 512);
	expect(&s, 0, "0 600 0:0 0 1000.000000000 prefix/of/name\n.\n");

	/* GNU's magic has other things where ustar has the prefix. */
	memcpy(h + 257, "ustar  ", 8);
	tar_sum(h);
	msb_str_add(&s, h, 512);
	expect(&s, 0, "0 600 0:0 0 1000.000000000 name\n.\n");
}

static void pax(void **state)
{
	static const char *const records[] = {"path=long/name", "size=3", "uid=4000000000", "gid=7",
		"mtime=-1.25", "SCHILY.xattr.user.a=b=c\nd",
		"SCHILY.xattr.user.empty=", "comment=x", "linkpath=", "atime=1.5"};
	size_t lens[ARRAY_LEN(records)], zero = 4 + 11;
	const char *bad = "path=a\0bcdefghij";
	struct msb_str s = MSB_STR_INIT;

	for (size_t k = 0; k < ARRAY_LEN(records); k++)
		lens[k] = strlen(records[k]);
	tar_pax_n(&s, 'g', records, lens, 1);
	tar_pax_n(&s, 'x', records, lens, ARRAY_LEN(records));
	tar_header(&s, "short", '0', NULL, 0644, 0);
	tar_bytes(&s, "abc", 3);
	tar_file(&s, "next", "", 0);
	expect(&s, 0,
		"0 644 4000000000:7 3 -2.750000000 long/name [user.a=b=c\nd] [user.empty=]\nabc.\n"
		"0 644 0:0 0 1000.000000000 next\n.\n");

	tar_pax_n(&s, 'x', &bad, &zero, 1);
	tar_file(&s, "x", "", 0);
	expect(&s, -EBADMSG, NULL);
}

static void bad_pax(void **state)
{
	static const struct {
		const char *body;
		int want;
	} rows[] = {
		{"9 path=x\n", 0},
		{"8 path=x\n", -EBADMSG},
		{"10 path=x\n", 0},
		{"11 path=x\n", -EBADMSG},
		{"9 path=x ", -EBADMSG},
		{"path=x\n", -EBADMSG},
		{"6 =abc\n", -EBADMSG},
		{"6 abc\n", -EBADMSG},
		{"99999999999999999999 path=x\n", -EBADMSG},
		{"0 path=x\n", -EBADMSG},
		{"-9 path=x\n", -EBADMSG},
		{"10 size=-1\n", -EBADMSG},
		{"28 size=9223372036854775807\n", -EBADMSG},
		{"19 uid=99999999999\n", -EBADMSG},
		{"13 mtime=1.x\n", -EBADMSG},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct msb_str s = MSB_STR_INIT;

		tar_header(&s, "p", 'x', NULL, 0644, strlen(rows[k].body));
		tar_bytes(&s, rows[k].body, strlen(rows[k].body));
		tar_file(&s, "x", "", 0);
		expect(&s, rows[k].want, NULL);
	}
}

static void numbers(void **state)
{
	static const struct {
		const char *size; /* 12 bytes */
		int want;
		const char *text;
	} rows[] = {
		{"00000000003\0", 0, "3"},
		{"         3 \0", 0, "3"},
		{"\0\0\0\0\0\0\0\0\0\0\0\0", 0, "0"},
		{"3           ", 0, "3"},
		{"\x80\0\0\0\0\0\0\0\0\0\0\3", 0, "3"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", -EBADMSG, NULL}, /* -1 */
		{"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", -EBADMSG, NULL},
		{"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", -EBADMSG,
			NULL}, /* no room for padding */
		{"00000000008\0", -EBADMSG, NULL},
		{"-0000000001\0", -EBADMSG, NULL},
		{"0000 000003\0", -EBADMSG, NULL},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct msb_str s = MSB_STR_INIT;
		char h[512], want[100];

		tar_header(&s, "f", '0', NULL, 0644, 0);
		memcpy(h, s.buf, 512);
		memcpy(h + 124, rows[k].size, 12);
		tar_sum(h);
		s.len = 0;
		msb_str_add(&s, h, 512);
		if (rows[k].text && rows[k].text[0] == '3')
			tar_bytes(&s, "abc", 3);
		(void)snprintf(want, sizeof(want), "0 644 0:0 %s 1000.000000000 f\n%s.\n",
			rows[k].text, rows[k].text && rows[k].text[0] == '3' ? "abc" : "");
		expect(&s, rows[k].want, rows[k].want ? NULL : want);
	}
}

static void damaged(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	struct said t = {0};

	tar_file(&s, "f", "abc", 3);
	s.buf[0] = 'g';
	expect(&s, -EBADMSG, ""); /* checksum */

	tar_file(&s, "f", "abc", 3);
	s.len = 513;
	expect(&s, -EBADMSG, NULL); /* cut inside of the bytes */

	tar_file(&s, "f", "abc", 3);
	s.len = 515;
	expect(&s, 0, NULL); /* only padding and end marks are missing */

	tar_file(&s, "f", "abc", 3);
	msb_str_adds(&s, "x");
	expect(&s, -EBADMSG, NULL); /* cut inside of a header */

	tar_pax(&s, "path=x");
	expect(&s, -EBADMSG, NULL); /* an extended header for nothing */

	tar_end(&s);
	s.len = 512;
	tar_file(&s, "f", "abc", 3);
	expect(&s, -EBADMSG, ""); /* a lone zero block */

	tar_header(&s, "v", 'V', NULL, 0644, 0);
	expect(&s, -EOPNOTSUPP, "");
	expect(&s, 0, ""); /* nothing at all */

	tar_file(&s, "f", "abc", 3);
	t.refuse = -ENOSPC;
	assert_int_equal(parse(&s, 100, &t), -ENOSPC);
	msb_str_done(&s);
	msb_str_done(&t.s);
}

static void limits(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	static char name[IMG_TAR_MAX_PATH + 8], big[IMG_TAR_MAX_PATH + 64];
	const char *records[IMG_TAR_MAX_XATTRS + 1];
	size_t lens[IMG_TAR_MAX_XATTRS + 1];

	memset(name, 'n', IMG_TAR_MAX_PATH);
	for (int over = 0; over < 2; over++) {
		size_t n = IMG_TAR_MAX_PATH - 1 + (size_t)over;

		(void)snprintf(big, sizeof(big), "path=%.*s", (int)n, name);
		tar_pax(&s, big);
		tar_file(&s, "f", "", 0);
		expect(&s, over ? -E2BIG : 0, NULL);
		tar_header(&s, "L", 'L', NULL, 0, n);
		tar_bytes(&s, name, n);
		tar_file(&s, "f", "", 0);
		expect(&s, over ? -E2BIG : 0, NULL);
		for (size_t k = 0; k < ARRAY_LEN(records); k++) {
			records[k] = "SCHILY.xattr.user.a=1";
			lens[k] = strlen(records[k]);
		}
		tar_pax_n(&s, 'x', records, lens, IMG_TAR_MAX_XATTRS + (size_t)over);
		tar_file(&s, "f", "", 0);
		expect(&s, over ? -E2BIG : 0, NULL);
	}
	tar_header(&s, "x", 'x', NULL, 0, IMG_TAR_MAX_PAX + 1);
	expect(&s, -E2BIG, "");
	tar_header(&s, "g", 'g', NULL, 0, IMG_TAR_MAX_PAX + 1);
	expect(&s, -E2BIG, "");
}

static void skipping(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	struct said t = {0};
	struct msb_err e = {0};
	struct img_tar *p;

	tar_file(&s, "a", "hello", 5);
	tar_file(&s, "b", "x", 1);
	tar_end(&s);
	assert_int_equal(img_tar_new(&ops, &t, &p), 0);
	assert_int_equal(img_tar_feed(p, s.buf, 512, &e), 0);
	assert_int_equal(img_tar_skippable(p), 5);
	assert_int_equal(img_tar_skip(p, 6, &e), -EINVAL);
	assert_int_equal(img_tar_skip(p, 5, &e), 0);
	assert_int_equal(img_tar_skippable(p), 507);
	assert_int_equal(img_tar_skip(p, 507, &e), 0);
	assert_int_equal(img_tar_skippable(p), 0);
	assert_int_equal(img_tar_feed(p, s.buf + 1024, s.len - 1024, &e), 0);
	assert_int_equal(img_tar_finish(p, &e), 0);
	assert_string_equal(
		t.s.buf, "0 644 0:0 5 1000.000000000 a\n.\n0 644 0:0 1 1000.000000000 b\nx.\n");
	img_tar_free(p);
	msb_str_done(&s);
	msb_str_done(&t.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),
		cmocka_unit_test(long_names),
		cmocka_unit_test(pax),
		cmocka_unit_test(bad_pax),
		cmocka_unit_test(numbers),
		cmocka_unit_test(damaged),
		cmocka_unit_test(limits),
		cmocka_unit_test(skipping),
	};

	return cmocka_run_group_tests_name("tar", tests, NULL, NULL);
}
