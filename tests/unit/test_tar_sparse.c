// SPDX-License-Identifier: Apache-2.0
// fs/image/tar: files with holes, as every version of GNU tar writes them; maps that lie are
// refused.
#include "fs/image/tar_int.h"
#include "tests/unit/tarmake.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

struct said {
	struct msb_str s;
	uint64_t hole, got;
};

static void end_hole(struct said *t)
{
	if (t->hole)
		msb_str_addf(&t->s, "<%llu>", (unsigned long long)t->hole);
	t->hole = 0;
}

static int entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	struct said *t = arg;

	msb_str_addf(&t->s, "%s %llu%s:", x->path, (unsigned long long)x->size,
		x->sparse ? " sparse" : "");
	t->got = 0;
	return 0;
}

/* A run of one letter is that letter and how many. */
static int data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct said *t = arg;
	const char *b = p;

	if (n)
		end_hole(t);
	for (size_t k = 0; k < n; k++) {
		char last = t->s.buf[t->s.len - 1];

		if (last != b[k])
			msb_str_add(&t->s, &b[k], 1);
	}
	t->got += n;
	return 0;
}

static int hole(void *arg, uint64_t n, struct msb_err *e)
{
	struct said *t = arg;

	assert_true(n > 0);
	t->hole += n;
	t->got += n;
	return 0;
}

static int done(void *arg, struct msb_err *e)
{
	struct said *t = arg;

	end_hole(t);
	msb_str_addf(&t->s, ".%llu\n", (unsigned long long)t->got);
	return 0;
}

static const struct img_tar_ops ops = {entry, data, hole, done};

static int parse(const struct msb_str *in, size_t step, struct said *t, struct msb_err *e)
{
	struct img_tar *p;
	int r = 0;

	assert_int_equal(img_tar_new(&ops, t, &p), 0);
	for (size_t off = 0; r == 0 && off < in->len; off += step)
		r = img_tar_feed(p, in->buf + off, in->len - off < step ? in->len - off : step, e);
	if (r == 0)
		r = img_tar_finish(p, e);
	if (r < 0)
		assert_int_equal(e->code, -r);
	img_tar_free(p);
	return r;
}

/* @text: what the parser said, or, where @want is an error, a part of its sentence. */
static void expect(struct msb_str *in, int want, const char *text)
{
	static const size_t steps[] = {1 << 30, 1, 511, 513, 1000};

	for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
		struct msb_err e = {0};
		struct said t = {0};
		int r = parse(in, steps[k], &t, &e);

		if (r != want)
			fail_msg("%d, not %d: %s", r, want, e.msg);
		if (want == 0)
			assert_string_equal(t.s.buf, text);
		else if (text && !strstr(e.msg, text))
			fail_msg("'%s' does not say '%s'", e.msg, text);
		msb_str_done(&t.s);
	}
	msb_str_done(in);
}

static void fill(struct msb_str *s, char c, size_t n)
{
	for (size_t k = 0; k < n; k++)
		msb_str_add(s, &c, 1);
}

/* ---- old headers */

static void octal(char *to, unsigned long long v)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%011llo", v);
	memcpy(to, text, 12);
}

/* Offsets and lengths in turn; what does not fit goes into blocks that follow. */
static void old_header(struct msb_str *s, const char *name, const unsigned long long *v, size_t n,
	unsigned long long packed, unsigned long long size)
{
	char *h;

	tar_header(s, name, 'S', NULL, 0644, packed);
	h = s->buf + s->len - 512;
	memset(h + 329, 0, 16);
	memcpy(h + 257, "ustar  ", 8);
	for (size_t k = 0; k < n && k < 4; k++) {
		octal(h + 386 + 24 * k, v[2 * k]);
		octal(h + 398 + 24 * k, v[2 * k + 1]);
	}
	h[482] = n > 4;
	octal(h + 483, size);
	tar_sum(h);
	for (size_t at = 4; at < n; at += 21) {
		char b[512] = {0};

		for (size_t k = 0; at + k < n && k < 21; k++) {
			octal(b + 24 * k, v[2 * (at + k)]);
			octal(b + 24 * k + 12, v[2 * (at + k) + 1]);
		}
		b[504] = at + 21 < n;
		msb_str_add(s, b, sizeof(b));
	}
}

static void old(void **state)
{
	static const unsigned long long two[] = {4096, 512, 8192, 1024, 10000, 0};
	static const unsigned long long hole_only[] = {1 << 20, 0};
	unsigned long long many[2 * 60];
	struct msb_str s = MSB_STR_INIT;
	struct said t = {0};
	struct msb_err e = {0};

	old_header(&s, "two", two, 3, 1536, 10000);
	fill(&s, 'a', 512);
	fill(&s, 'b', 1024);
	tar_file(&s, "next", "n", 1);
	expect(&s, 0, "two 10000 sparse:<4096>a<3584>b<784>.10000\nnext 1:n.1\n");

	old_header(&s, "hole", hole_only, 1, 0, 1 << 20);
	tar_file(&s, "next", "n", 1);
	expect(&s, 0, "hole 1048576 sparse:<1048576>.1048576\nnext 1:n.1\n");
	old_header(&s, "nothing", NULL, 0, 0, 0);
	tar_file(&s, "next", "n", 1);
	expect(&s, 0, "nothing 0 sparse:.0\nnext 1:n.1\n");

	for (size_t k = 0; k < 60; k++) {
		many[2 * k] = k * 1024;
		many[2 * k + 1] = k == 59 ? 5 : 512;
	}
	old_header(&s, "many", many, 60, 59 * 512 + 5, 59 * 1024 + 5);
	fill(&s, 'x', 59 * 512 + 5);
	fill(&s, 0, 507);
	tar_end(&s);
	assert_int_equal(parse(&s, 700, &t, &e), 0);
	assert_non_null(strstr(t.s.buf, "many 60421 sparse:x<512>x<512>x"));
	assert_non_null(strstr(t.s.buf, "<512>x.60421\n"));
	msb_str_done(&t.s);
	s.len = 1024; /* in the middle of the map */
	expect(&s, -EBADMSG, "middle of an entry");
}

static void old_lies(void **state)
{
	static const struct {
		unsigned long long v[4], packed, size;
		const char *says;
	} rows[] = {
		{{4096, 512, 4096, 512}, 1024, 8192, "x: a sparse file whose map"}, /* overlap */
		{{8192, 512, 0, 512}, 1024, 9000, "map"},			    /* backwards */
		{{0, 512, 8192, 512}, 1024, 8200, "map"}, /* past the end of the file */
		{{0, 512, 8192, 512}, 512, 9000, "map"},  /* more than comes */
		{{0, 512, 8192, 512}, 1536, 9000, "map"}, /* less than comes */
		{{0, 500, 8192, 512}, 1012, 9000, "map"}, /* a part that is no whole block */
		{{0, 512, 9001, 0}, 512, 9000, "map"},	  /* even an empty one */
		{{0, 0777777777777, 0777777777777, 0777777777777}, 512, 9000, "map"},
	};
	struct msb_str s = MSB_STR_INIT;

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		old_header(&s, "x", rows[k].v, 2, rows[k].packed, rows[k].size);
		fill(&s, 'a', 2048);
		expect(&s, -EBADMSG, rows[k].says);
	}
	/* star has the letter too, for something else */
	tar_header(&s, "s", 'S', NULL, 0644, 0);
	expect(&s, -EOPNOTSUPP, "a sparse file, in a manner");
}

/* ---- extended headers */

static void pax(struct msb_str *s, const char *records)
{
	const char *v[16];
	size_t lens[16], n = 0;

	for (const char *p = records; *p; p += lens[n - 1] + (p[lens[n - 1]] == '\n')) {
		v[n] = p;
		lens[n++] = strcspn(p, "\n");
	}
	tar_pax_n(s, 'x', v, lens, n);
}

#define V00                                                                                        \
	"GNU.sparse.size=10000\nGNU.sparse.numblocks=3\nGNU.sparse.offset=4096\n"                  \
	"GNU.sparse.numbytes=512\nGNU.sparse.offset=8192\nGNU.sparse.numbytes=100\n"               \
	"GNU.sparse.offset=10000\nGNU.sparse.numbytes=0"
#define V01                                                                                        \
	"GNU.sparse.size=10000\nGNU.sparse.numblocks=3\nGNU.sparse.name=a/two\n"                   \
	"GNU.sparse.map=4096,512,8192,100,10000,0"
#define V10                                                                                        \
	"GNU.sparse.major=1\nGNU.sparse.minor=0\nGNU.sparse.name=a/two\nGNU.sparse.realsize=10000"
#define TWO "a/two 10000 sparse:<4096>a<3584>b<1708>.10000\nnext 1:n.1\n"

static void text_map(struct msb_str *s, const char *map)
{
	size_t n = strlen(map);

	msb_str_adds(s, map);
	fill(s, 0, -n % 512);
}

static void extended(void **state)
{
	struct msb_str s = MSB_STR_INIT;

	for (int k = 0; k < 3; k++) {
		pax(&s, k == 0 ? V00 : k == 1 ? V01 : V10);
		tar_header(&s, k == 0 ? "a/two" : "GNUSparseFile.1/two", '0', NULL, 0644,
			612 + (k == 2 ? 512 : 0));
		if (k == 2)
			text_map(&s, "3\n4096\n512\n8192\n100\n10000\n0\n");
		fill(&s, 'a', 512);
		fill(&s, 'b', 100);
		fill(&s, 0, 412);
		tar_file(&s, "next", "n", 1);
		expect(&s, 0, TWO);
	}
	/* but a hole */
	pax(&s, V10);
	tar_header(&s, "x", '0', NULL, 0644, 512);
	text_map(&s, "0\n");
	tar_file(&s, "next", "n", 1);
	expect(&s, 0, "a/two 10000 sparse:<10000>.10000\nnext 1:n.1\n");
	/* what has the name alone has no holes */
	pax(&s, "GNU.sparse.name=b");
	tar_file(&s, "x", "n", 1);
	expect(&s, 0, "b 1:n.1\n");
}

/* A map of more than one block, and what is after it. */
static void long_map(void **state)
{
	struct msb_str s = MSB_STR_INIT, map = MSB_STR_INIT;
	struct said t = {0};
	struct msb_err e = {0};

	msb_str_adds(&map, "100\n");
	for (int k = 0; k < 100; k++)
		msb_str_addf(&map, "%d\n512\n", 1024 * k);
	for (size_t step = 1; step < 2000; step += 250) {
		pax(&s, "GNU.sparse.major=1\nGNU.sparse.realsize=102400");
		tar_header(&s, "x", '0', NULL, 0644, map.len + -map.len % 512 + 51200);
		text_map(&s, map.buf);
		fill(&s, 'a', 51200);
		tar_end(&s);
		assert_int_equal(parse(&s, step, &t, &e), 0);
		assert_non_null(strstr(t.s.buf, "x 102400 sparse:a<512>a<512>a"));
		assert_non_null(strstr(t.s.buf, "a<512>.102400\n"));
		t.s.len = s.len = 0;
	}
	msb_str_done(&t.s);
	msb_str_done(&map);
	msb_str_done(&s);
}

static void extended_lies(void **state)
{
	static const struct {
		const char *records, *map;
		size_t size;
		int want;
	} rows[] = {
		{V10, "1\n0\n512\n", 1024, 0},
		{V10, "1\n0\n512\n", 1023, -EBADMSG},  /* less than it says */
		{V10, "1\n0\n512\n", 1025, -EBADMSG},  /* more */
		{V10, "1\n0\n512\n", 100, -EBADMSG},   /* less than the map */
		{V10, "1\n0\n512\n", 8, -EBADMSG},     /* in the middle of it */
		{V10, "1\n0\n512\n", 9, -EBADMSG},     /* before the end of its block */
		{V10, "\n", 512, -EBADMSG},	       /* no number */
		{V10, "x\n", 512, -EBADMSG},	       /* none of ours */
		{V10, "1\n-1\n512\n", 1024, -EBADMSG}, /* negative */
		{V10, "65537\n", 1024, -E2BIG},	       /* more parts than a file may have */
		{V10, "1\n000000000000000000000\n5\n", 1024, -EBADMSG}, /* a number without end */
		{V10, "1\n0\n99999999999999999999\n", 1024, -EBADMSG},
		{V10, "1\n9223372036854775807\n512\n", 1024, -EBADMSG},
		{V10, "1\n9999\n2\n", 514, -EBADMSG}, /* past the end of the file */
		{V10 "\nGNU.sparse.map=0,512", "1\n0\n512\n", 1024, -EBADMSG}, /* two maps */
		{V00 "\nGNU.sparse.map=0,512", NULL, 612, -EBADMSG},
		{"GNU.sparse.major=2\nGNU.sparse.realsize=1", NULL, 1, -EOPNOTSUPP},
		{"GNU.sparse.major=1\nGNU.sparse.minor=1\nGNU.sparse.realsize=1", NULL, 1,
			-EOPNOTSUPP},
		{"GNU.sparse.what=1\nGNU.sparse.realsize=1", NULL, 1, -EOPNOTSUPP},
		{"GNU.sparse.major=1", "0\n", 512, -EBADMSG}, /* no size */
		{"GNU.sparse.map=0,512", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=x", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=-1", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.map=0,512", NULL, 512, 0},
		{"GNU.sparse.size=512\nGNU.sparse.map=0", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.map=0,512,", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.map=,", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.map=0,512,9", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.map=0,512\nGNU.sparse.numblocks=2", NULL, 512,
			-EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.numbytes=512", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.offset=0", NULL, 512, -EBADMSG},
		{"GNU.sparse.size=512\nGNU.sparse.offset=0\nGNU.sparse.offset=0", NULL, 512,
			-EBADMSG},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};
		struct said t = {0};
		size_t end;
		int r;

		pax(&s, rows[k].records);
		tar_header(&s, "x", '0', NULL, 0644, rows[k].size);
		end = s.len + rows[k].size + -rows[k].size % 512;
		if (rows[k].map)
			text_map(&s, rows[k].map);
		if (s.len < end)
			fill(&s, 'a', end - s.len);
		s.len = end;
		tar_end(&s);
		r = parse(&s, 1 << 20, &t, &e);
		if (r != rows[k].want)
			fail_msg("row %zu: %d, not %d: %s", k, r, rows[k].want, e.msg);
		msb_str_done(&t.s);
		msb_str_done(&s);
	}
	for (int k = 0; k < 2; k++) { /* neither of an old header nor of a directory */
		struct msb_str s = MSB_STR_INIT;
		const unsigned long long v[] = {0, 512};

		pax(&s, "GNU.sparse.size=512\nGNU.sparse.map=0,512");
		if (k)
			old_header(&s, "x", v, 1, 512, 512);
		else
			tar_header(&s, "x", '5', NULL, 0755, 0);
		fill(&s, 'a', 512);
		tar_end(&s);
		expect(&s, -EBADMSG, NULL);
	}
}

/* As many parts as a file may have, and one more; of none they are no parts at all. */
static void limit(void **state)
{
	for (int over = 0; over < 2; over++) {
		size_t n = IMG_TAR_MAX_PARTS + (size_t)over;
		unsigned long long *v = calloc(2 * n, sizeof(*v));
		struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};
		struct said t = {0};

		assert_non_null(v);
		for (size_t k = 0; k < n; k++) {
			v[2 * k] = 1024 * k;
			v[2 * k + 1] = 512;
		}
		old_header(&s, "x", v, n, 512 * n, 1024 * n);
		for (size_t k = 0; k < n; k++)
			fill(&s, 'a', 512);
		tar_end(&s);
		assert_int_equal(parse(&s, 1 << 20, &t, &e), over ? -E2BIG : 0);
		if (over)
			assert_string_equal(e.msg, "x: a sparse file of more than 65536 parts");
		msb_str_done(&t.s);
		msb_str_done(&s);
		free(v);
	}
}

static void skipping(void **state)
{
	static const unsigned long long two[] = {4096, 512, 8192, 512}, none[] = {9000, 0};
	struct msb_str s = MSB_STR_INIT;
	struct said t = {0};
	struct msb_err e = {0};
	struct img_tar *p;

	old_header(&s, "a", two, 2, 1024, 9000);
	old_header(&s, "b", none, 1, 0, 9000);
	tar_file(&s, "c", "n", 1);
	assert_int_equal(img_tar_new(&ops, &t, &p), 0);
	assert_int_equal(img_tar_feed(p, s.buf, 512, &e), 0);
	assert_int_equal(img_tar_skippable(p), 1024);
	assert_int_equal(img_tar_skip(p, 512, &e), -EINVAL);
	assert_int_equal(img_tar_skip(p, 1024, &e), 0);
	assert_int_equal(img_tar_feed(p, s.buf + 512, 512, &e), 0);
	assert_int_equal(img_tar_skippable(p), 0);
	assert_int_equal(img_tar_skip(p, 0, &e), 0);
	assert_int_equal(img_tar_feed(p, s.buf + 1024, s.len - 1024, &e), 0);
	assert_string_equal(t.s.buf, "a 9000 sparse:.0\nb 9000 sparse:.0\nc 1:n.1\n");
	img_tar_free(p);
	msb_str_done(&t.s);
	msb_str_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old),
		cmocka_unit_test(old_lies),
		cmocka_unit_test(extended),
		cmocka_unit_test(long_map),
		cmocka_unit_test(extended_lies),
		cmocka_unit_test(limit),
		cmocka_unit_test(skipping),
	};

	return cmocka_run_group_tests_name("tar_sparse", tests, NULL, NULL);
}
