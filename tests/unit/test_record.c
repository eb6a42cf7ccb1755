// SPDX-License-Identifier: Apache-2.0
// fs/image/record: the tar comes again byte for byte, and what is damaged is told, never read.
#include "fs/image/record.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>
#include <cmocka.h>

static char dir[] = "/tmp/test_record.XXXXXX";
static int dir_fd;

#define PACK_BYTES (40 * IMG_PACK_ALIGN)

static char pack_byte(uint32_t id, uint64_t off)
{
	return (char)(id * 31 + off * 7 + off / 4096);
}

static int setup(void **state)
{
	static char p[PACK_BYTES];

	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (uint32_t id = 1; id <= 2; id++) {
		char name[16];

		for (uint64_t k = 0; k < PACK_BYTES; k++)
			p[k] = pack_byte(id, k);
		(void)snprintf(name, sizeof(name), "%08x", id);
		if (msb_write_file_atomic(dir_fd, name, p, PACK_BYTES, 0600) < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	close(dir_fd);
	return msb_rm_rf(AT_FDCWD, dir);
}

static int add(void *arg, const void *p, size_t n, struct msb_err *e)
{
	msb_str_add(arg, p, n);
	return 0;
}

static int new_file(void)
{
	int fd = memfd_create("record", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void *image_of(int fd, size_t *n)
{
	struct stat st;
	void *p;

	assert_int_equal(fstat(fd, &st), 0);
	*n = (size_t)st.st_size;
	p = malloc(*n + 1);
	assert_non_null(p);
	assert_int_equal(msb_pread_full(fd, p, *n, 0), st.st_size);
	return p;
}

static void add_bytes(struct msb_str *to, const struct img_span *s, const struct img_tar_part *part)
{
	for (uint64_t j = part->off; j < part->off + part->len; j++) {
		char c = pack_byte(s->pack, (uint64_t)s->blk * 4096 + j);

		msb_str_add(to, &c, 1);
	}
}

/* Raw bytes by their number, spans as PACK:BLK:LEN. */
struct step {
	size_t raw;
	struct img_span span;
};

static int build(int fd, const struct step *v, size_t n, size_t cut, struct msb_str *want)
{
	struct img_record_writer *w;
	struct msb_err e = {0};
	unsigned int x = 1;

	assert_int_equal(img_record_begin(fd, &w), 0);
	for (size_t k = 0; k < n; k++) {
		_cleanup_free_ char *raw = malloc(v[k].raw + 1);

		assert_non_null(raw);
		for (size_t j = 0; j < v[k].raw; j++) {
			x = x * 1103515245 + 12345;
			raw[j] = (char)(x >> 16 & 3);
		}
		for (size_t at = 0; at < v[k].raw; at += cut)
			assert_int_equal(img_record_raw(w, raw + at,
						 v[k].raw - at < cut ? v[k].raw - at : cut, &e),
				0);
		msb_str_add(want, raw, v[k].raw);
		if (v[k].span.len) {
			const struct img_span *s = &v[k].span;

			assert_int_equal(img_record_data(w, s, NULL, 0, &e), 0);
			add_bytes(want, s, &(struct img_tar_part){0, s->len});
		}
	}
	assert_int_equal(img_record_end_body(w, &e), 0);
	assert_int_equal(img_record_finish(w, &e), 0);
	img_record_writer_free(w);
	return fd;
}

static void again(void **state)
{
	static const struct step rows[][6] = {
		{{0, {0, 0, 0}}},
		{{1, {0, 0, 0}}},
		{{0, {1, 1, 0}}},
		{{512, {4096, 1, 3}}, {512, {1, 2, 0}}, {1024, {0, 0, 0}}},
		{{512, {5000, 2, 9}}, {3608, {5000, 2, 9}}, {0, {7, 1, 39}}, {0, {8, 1, 38}}},
		{{1000000, {150000, 1, 1}}, {3, {150000, 2, 1}}, {777777, {0, 0, 0}}},
		{{128 << 10, {1, 1, 1}}, {(128 << 10) + 1, {2, 1, 2}},
			{(128 << 10) - 1, {0, 0, 0}}},
	};
	static const size_t cuts[] = {1 << 30, 100000, 511};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++)
		for (size_t c = 0; c < ARRAY_LEN(cuts); c++) {
			_cleanup_str_ struct msb_str want = MSB_STR_INIT, got = MSB_STR_INIT;
			int fd = build(new_file(), rows[k], ARRAY_LEN(rows[k]), cuts[c], &want);
			struct msb_err e = {0};
			struct img_record *rec;
			size_t nspans, spans = 0;

			assert_int_equal(img_record_open(fd, &rec, &e), 0);
			close(fd);
			assert_int_equal(img_record_tar_bytes(rec), want.len);
			for (size_t j = 0; j < ARRAY_LEN(rows[k]); j++)
				spans += rows[k][j].span.len != 0;
			(void)img_record_spans(rec, &nspans);
			assert_int_equal(nspans, spans);
			assert_int_equal(img_record_tar(rec, dir_fd, add, &got, &e), 0);
			assert_int_equal(got.len, want.len);
			if (want.len)
				assert_memory_equal(got.buf, want.buf, want.len);
			img_record_close(rec);
		}
}

/* Of a file with holes the tar has parts; such a record says that it is of the later version. */
static void holes(void **state)
{
	static const struct {
		struct img_span span;
		struct img_tar_part parts[3];
		size_t n;
	} rows[] = {
		{{100000, 1, 2}, {{4096, 512}, {50000, 1}, {99000, 1000}}, 3},
		{{100000, 1, 2}, {{0, 100000}}, 1},
		{{9000, 2, 1}, {{0, 0}}, 0},
		{{9000, 2, 1}, {{8999, 1}}, 1},
	};
	_cleanup_str_ struct msb_str want = MSB_STR_INIT, got = MSB_STR_INIT;
	const struct img_span whole = {5000, 1, 1};
	_cleanup_close_ int fd = new_file();
	struct img_record_writer *w;
	struct img_record *rec;
	struct msb_err e = {0};
	size_t n;

	assert_int_equal(img_record_begin(fd, &w), 0);
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		assert_int_equal(img_record_raw(w, "head", 4, &e), 0);
		msb_str_adds(&want, "head");
		assert_int_equal(
			img_record_data(w, &rows[k].span, rows[k].parts, rows[k].n, &e), 0);
		for (size_t j = 0; j < rows[k].n; j++)
			add_bytes(&want, &rows[k].span, &rows[k].parts[j]);
		assert_int_equal(img_record_data(w, &whole, NULL, 0, &e), 0);
		add_bytes(&want, &whole, &(struct img_tar_part){0, whole.len});
	}
	assert_int_equal(img_record_end_body(w, &e), 0);
	assert_int_equal(img_record_finish(w, &e), 0);
	img_record_writer_free(w);
	assert_int_equal(img_record_open(fd, &rec, &e), 0);
	assert_int_equal(img_record_tar_bytes(rec), want.len);
	assert_int_equal(img_record_spans(rec, &n)[0].len, 100000);
	assert_int_equal(n, 2 * ARRAY_LEN(rows));
	assert_int_equal(img_record_tar(rec, dir_fd, add, &got, &e), 0);
	assert_int_equal(got.len, want.len);
	assert_memory_equal(got.buf, want.buf, want.len);
	img_record_close(rec);
}

/* Until the end is written a span can be moved; until then nothing can be read. */
static void moved(void **state)
{
	const struct img_span s = {100, 1, 7};
	_cleanup_str_ struct msb_str got = MSB_STR_INIT;
	_cleanup_close_ int fd = new_file();
	struct img_record_writer *w;
	struct img_record *rec;
	struct msb_err e = {0};
	struct img_span *v;
	size_t n;

	assert_int_equal(img_record_begin(fd, &w), 0);
	assert_int_equal(img_record_data(w, &s, NULL, 0, &e), 0);
	assert_int_equal(img_record_end_body(w, &e), 0);
	assert_int_equal(img_record_open(fd, &rec, &e), -EBADMSG);
	v = img_record_writer_spans(w, &n);
	assert_int_equal(n, 1);
	v[0].pack = 2;
	v[0].blk = 1;
	e = (struct msb_err){0};
	assert_int_equal(img_record_finish(w, &e), 0);
	img_record_writer_free(w);
	assert_int_equal(img_record_open(fd, &rec, &e), 0);
	assert_int_equal(img_record_tar(rec, dir_fd, add, &got, &e), 0);
	assert_int_equal(got.buf[5], pack_byte(2, 4096 + 5));
	img_record_close(rec);
}

static int stop_raw(void *arg, const void *p, size_t n, struct msb_err *e)
{
	return msb_err_set(e, ECHILD, "stop");
}

static int no_data(void *arg, const struct img_span *s, const struct img_tar_part *parts,
	size_t nparts, struct msb_err *e)
{
	return 0;
}

static void contents_gone(void **state)
{
	static const struct {
		struct img_span span;
		const char *says;
	} rows[] = {
		{{10, 3, 0}, "00000003"},
		{{10, 1, 40}, "too short"},
		{{4097, 1, 39}, "too short"},
		{{10, 1, UINT32_MAX}, "too short"},
		{{UINT64_C(1) << 60, 1, 0}, "too short"},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str got = MSB_STR_INIT;
		_cleanup_close_ int fd = new_file();
		const struct img_record_ops stop = {stop_raw, no_data};
		struct img_record_writer *w;
		struct img_record *rec;
		struct msb_err e = {0};

		assert_int_equal(img_record_begin(fd, &w), 0);
		assert_int_equal(img_record_data(w, &rows[k].span, NULL, 0, &e), 0);
		assert_int_equal(img_record_raw(w, "tail", 4, &e), 0);
		assert_int_equal(img_record_end_body(w, &e), 0);
		assert_int_equal(img_record_finish(w, &e), 0);
		img_record_writer_free(w);
		assert_int_equal(img_record_open(fd, &rec, &e), 0);
		assert_int_equal(img_record_tar(rec, dir_fd, add, &got, &e), -EBADMSG);
		assert_non_null(strstr(e.msg, rows[k].says));
		e = (struct msb_err){0};
		assert_int_equal(img_record_replay(rec, &stop, NULL, &e), -ECHILD);
		img_record_close(rec);
	}
}

static struct img_record_head *head_of(void *p)
{
	return p;
}

static void reseal(void *p)
{
	struct img_record_head *h = p;

	h->head_sum = XXH3_64bits(h, offsetof(struct img_record_head, head_sum));
}

/* Every byte counts, and every length. */
static void damaged(void **state)
{
	static const struct step v[] = {
		{600, {5000, 1, 1}}, {3500, {6000, 2, 2}}, {1000, {0, 0, 0}}};
	_cleanup_str_ struct msb_str want = MSB_STR_INIT;
	_cleanup_close_ int fd = build(new_file(), v, ARRAY_LEN(v), 1 << 20, &want);
	struct img_record *rec;
	struct msb_err e = {0};
	size_t n;
	_cleanup_free_ uint8_t *p = image_of(fd, &n);

	assert_int_equal(img_record_from_bytes(p, n, &rec, &e), 0);
	img_record_close(rec);
	for (size_t cut = 0; cut < n; cut++)
		assert_int_equal(img_record_from_bytes(p, cut, &rec, &e), -EBADMSG);
	assert_int_equal(img_record_from_bytes(p, n + 1, &rec, &e), -EBADMSG);
	for (size_t k = 0; k < n; k++) {
		uint64_t gap = sizeof(struct img_record_head) + head_of(p)->body_bytes;

		if (k >= gap && k < gap + -gap % 16)
			continue; /* the filling means nothing */
		p[k] ^= 1;
		assert_int_equal(img_record_from_bytes(p, n, &rec, &e), -EBADMSG);
		p[k] ^= 1;
	}
}

/* Right checksums over wrong numbers: an own writer that went mad. */
static void numbers(void **state)
{
	static const struct step v[] = {{600, {5000, 1, 1}}, {3500, {0, 0, 0}}};
	const struct {
		size_t field;
		uint64_t value;
	} rows[] = {
		{offsetof(struct img_record_head, tar_bytes), 9099},
		{offsetof(struct img_record_head, tar_bytes), UINT64_MAX},
		{offsetof(struct img_record_head, raw_bytes), 4101},
		{offsetof(struct img_record_head, raw_bytes), UINT64_MAX},
		{offsetof(struct img_record_head, body_bytes), UINT64_MAX},
		{offsetof(struct img_record_head, body_bytes), UINT64_MAX - 8},
		{offsetof(struct img_record_head, body_bytes), 0},
		{offsetof(struct img_record_head, nspans), 0},
		{offsetof(struct img_record_head, nspans), IMG_MAX_RECORD_SPANS + 1},
		{offsetof(struct img_record_head, nspans), UINT64_C(1) << 60},
		{offsetof(struct img_record_head, version), 0},
		{offsetof(struct img_record_head, version), IMG_RECORD_VERSION + 1},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str want = MSB_STR_INIT;
		_cleanup_close_ int fd = build(new_file(), v, ARRAY_LEN(v), 1 << 20, &want);
		struct img_record *rec;
		struct msb_err e = {0};
		size_t n;
		_cleanup_free_ uint8_t *p = image_of(fd, &n);

		memcpy(p + rows[k].field, &rows[k].value, 8);
		reseal(p);
		if (img_record_from_bytes(p, n, &rec, &e) != -EBADMSG)
			fail_msg("row %zu was taken", k);
		assert_int_equal(e.code, EBADMSG);
	}
}

/* A record in @mem with these operations before compression, and right checksums. */
static int from_ops(uint64_t mem[64], uint32_t version, const char *ops, size_t n, uint64_t raw,
	uint64_t tar, const struct img_span *spans, size_t nspans, struct img_record **ret,
	struct msb_err *e)
{
	struct img_record_head *h = (struct img_record_head *)mem;
	uint8_t *at = (uint8_t *)(h + 1);
	size_t total;

	memset(mem, 0, 64 * sizeof(*mem));
	*h = (struct img_record_head){.magic = "MSBLAYER",
		.version = version,
		.raw_bytes = raw,
		.tar_bytes = tar,
		.nspans = nspans};
	h->body_bytes = ZSTD_compress(at, 128, ops, n, 1);
	h->body_sum = XXH3_64bits(at, h->body_bytes);
	total = sizeof(*h) + h->body_bytes;
	total += -total % 16;
	memcpy((uint8_t *)mem + total, spans, nspans * sizeof(*spans));
	h->spans_sum = XXH3_64bits(spans, nspans * sizeof(*spans));
	reseal(h);
	return img_record_from_bytes(mem, total + nspans * sizeof(*spans), ret, e);
}

static void operations(void **state)
{
	static const struct {
		const char *ops;
		size_t n;
		uint64_t raw, spans;
		int want;
	} rows[] = {
		{"", 0, 0, 0, 0},
		{"\4ab", 3, 2, 0, 0},
		{"\4ab\1", 4, 2, 1, 0},
		{"\1\1", 2, 0, 2, 0},
		{"\1", 1, 0, 2, -EBADMSG},	 /* a span that nothing uses */
		{"\1\1", 2, 0, 1, -EBADMSG},	 /* one too many */
		{"\4a", 2, 2, 0, -EBADMSG},	 /* cut inside bytes */
		{"\4a", 2, 1, 0, -EBADMSG},	 /* more than the head says */
		{"\4ab\x84", 4, 2, 0, -EBADMSG}, /* cut inside a number */
		{"\0", 1, 0, 0, -EBADMSG},	 /* nothing */
		{"\3", 1, 0, 0, -EBADMSG},	 /* unknown */
		{"\3\1\0\3", 4, 0, 1, -EBADMSG}, /* of a later version */
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\1", 10, 0, 0, -EBADMSG},
		{"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", 9, 1, 0, -EBADMSG},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str got = MSB_STR_INIT;
		const struct img_span spans[2] = {{3, 1, 0}, {3, 1, 0}};
		uint64_t tar = rows[k].raw + 3 * rows[k].spans, mem[64];
		struct img_record *rec;
		struct msb_err e = {0};
		int r;

		assert_int_equal(from_ops(mem, 1, rows[k].ops, rows[k].n, rows[k].raw, tar, spans,
					 rows[k].spans, &rec, &e),
			0);
		r = img_record_tar(rec, dir_fd, add, &got, &e);
		if (r != rows[k].want)
			fail_msg("row %zu: %d %s", k, r, e.msg);
		assert_int_equal(e.code, -r);
		if (r == 0)
			assert_int_equal(got.len, tar);
		img_record_close(rec);
	}
}

/* The same of files of five bytes, of which there are parts. */
static void parts(void **state)
{
	static const struct {
		const char *ops;
		size_t n;
		uint64_t tar, spans;
		int want;
	} rows[] = {
		{"\1", 1, 5, 1, 0},
		{"\3\0", 2, 0, 1, 0},
		{"\3\0\1\4ab", 6, 7, 2, 0},
		{"\3\2\0\1\2\2", 6, 3, 1, 0},
		{"\3\2\0\1\2\2", 6, 2, 1, -EBADMSG},	      /* more than it says */
		{"\3\2\0\1\2\2", 6, 4, 1, -EBADMSG},	      /* less */
		{"\3\2\0\1\2\2", 6, UINT64_MAX, 1, -EBADMSG}, /* much less */
		{"\3\2\0\1\2\3", 6, 4, 1, -EBADMSG},	      /* past the end of its file */
		{"\3\1\6\1", 4, 1, 1, -EBADMSG},
		{"\3\1\0\0", 4, 0, 1, -EBADMSG}, /* an empty part */
		{"\3\1\0", 3, 1, 1, -EBADMSG},	 /* cut */
		{"\3\1", 2, 1, 1, -EBADMSG},
		{"\3", 1, 0, 1, -EBADMSG},
		{"\3\0\3\0", 4, 0, 1, -EBADMSG},	 /* more files than spans */
		{"\3\0", 2, 0, 2, -EBADMSG},		 /* less */
		{"\3\x81\x80\4\0\1", 6, 1, 1, -EBADMSG}, /* 65537 parts */
		{"\3\xff\xff\xff\xff\xff\xff\x7f", 8, 1, 1, -EBADMSG},
		{"\3\1\xff\xff\xff\xff\xff\xff\x7f\1", 10, 1, 1, -EBADMSG},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str got = MSB_STR_INIT;
		const struct img_span spans[2] = {{5, 1, 0}, {5, 1, 0}};
		uint64_t raw = memchr(rows[k].ops, 'a', rows[k].n) ? 2 : 0, mem[64];
		struct img_record *rec;
		struct msb_err e = {0};
		int r;

		r = from_ops(mem, 2, rows[k].ops, rows[k].n, raw, rows[k].tar, spans, rows[k].spans,
			&rec, &e);
		if (r == 0) {
			r = img_record_tar(rec, dir_fd, add, &got, &e);
			img_record_close(rec);
		}
		if (r != rows[k].want)
			fail_msg("row %zu: %d %s", k, r, e.msg);
		if (r == 0)
			assert_int_equal(got.len, rows[k].tar);
	}
}

/* As many files as a layer may have, and not one more. */
static void limit(void **state)
{
	const struct img_span s = {1, 1, 1};
	_cleanup_close_ int fd = new_file();
	struct img_record_writer *w;
	struct msb_err e = {0};
	struct img_span *v;
	size_t n;

	assert_int_equal(img_record_begin(fd, &w), 0);
	for (uint64_t k = 0; k < IMG_MAX_RECORD_SPANS; k++)
		if (img_record_data(w, &s, NULL, 0, &e) != 0)
			fail_msg("%llu: %s", (unsigned long long)k, e.msg);
	assert_int_equal(img_record_data(w, &s, NULL, 0, &e), -E2BIG);
	v = img_record_writer_spans(w, &n);
	assert_non_null(v);
	assert_int_equal(n, IMG_MAX_RECORD_SPANS);
	img_record_writer_free(w);
}

static void full_disk(void **state)
{
	static char raw[1 << 20];
	_cleanup_close_ int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct img_record_writer *w;
	struct msb_err e = {0};
	unsigned int x = 1;
	int r;

	for (size_t k = 0; k < sizeof(raw); k++)
		raw[k] = (char)((x = x * 1103515245 + 12345) >> 16);
	assert_int_equal(img_record_begin(fd, &w), 0);
	r = img_record_raw(w, raw, sizeof(raw), &e);
	if (r == 0)
		r = img_record_end_body(w, &e);
	assert_int_equal(r, -ENOSPC);
	assert_non_null(strstr(e.msg, "No space"));
	img_record_writer_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(again),
		cmocka_unit_test(holes),
		cmocka_unit_test(moved),
		cmocka_unit_test(contents_gone),
		cmocka_unit_test(damaged),
		cmocka_unit_test(numbers),
		cmocka_unit_test(operations),
		cmocka_unit_test(parts),
		cmocka_unit_test(limit),
		cmocka_unit_test(full_disk),
	};

	return cmocka_run_group_tests_name("record", tests, setup, teardown);
}
