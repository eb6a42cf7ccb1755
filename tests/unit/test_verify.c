// SPDX-License-Identifier: Apache-2.0
// fs/image/verify, repair, stat: what is damaged is named, and comes back in place.
#include "fs/image/build.h"
#include "fs/image/import.h"
#include "fs/image/index.h"
#include "fs/image/sha.h"
#include "fs/image/stat.h"
#include "fs/image/verify.h"
#include "tests/unit/tarmake.h"
#include "tests/unit/tmpdir.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- two images that share their lower layer */

struct made {
	struct msb_str layer[2];
	char diff_id[2][65];
	char digest[65];
};

#define BIG 300000

static void fill(char *p, size_t n, unsigned int x)
{
	for (size_t k = 0; k < n; k++)
		p[k] = (char)((x = x * 1103515245 + 12345) >> 16);
}

static void import(struct made *m, unsigned int seed)
{
	static const struct img_import_opts all = {
		.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES};
	static const char list[] = "[{\"Config\":\"c\",\"Layers\":[\"0\",\"1\"]}]";
	_cleanup_str_ struct msb_str c = MSB_STR_INIT, s = MSB_STR_INIT;
	_cleanup_close_ int fd = memfd_create("image", MFD_CLOEXEC);
	static char big[BIG];
	struct img_imported got;
	struct img_source *src;
	struct img_store *st;
	struct msb_err e = {0};
	unsigned char raw[32];

	*m = (struct made){0};
	for (unsigned int k = 0; k < 2; k++) {
		tar_header(&m->layer[k], "usr/", '5', NULL, 0755, 0);
		fill(big, BIG, k ? seed : 1);
		tar_file(&m->layer[k], k ? "usr/upper" : "usr/lower", big, BIG);
		tar_file(&m->layer[k], "usr/small", k ? "up" : "low", k ? 2 : 3);
		fill(big, 5000, k ? seed + 1 : 2);
		tar_file(&m->layer[k], k ? "usr/b" : "usr/a", big, 5000);
		tar_end(&m->layer[k]);
		assert_int_equal(
			EVP_Digest(m->layer[k].buf, m->layer[k].len, raw, NULL, EVP_sha256(), NULL),
			1);
		msb_hex(raw, 32, m->diff_id[k]);
		tar_file(&s, k ? "1" : "0", m->layer[k].buf, m->layer[k].len);
	}
	msb_str_addf(&c,
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"diff_ids\":"
		"[\"sha256:%s\",\"sha256:%s\"]}}",
		m->diff_id[0], m->diff_id[1]);
	tar_file(&s, "c", c.buf, c.len);
	tar_file(&s, "manifest.json", list, strlen(list));
	tar_end(&s);
	assert_int_equal(msb_write_full(fd, s.buf, s.len), 0);
	assert_int_equal(img_source_open(fd, &src, &e), 0);
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_import_run(src, st, &all, &got, &e), 0);
	img_store_close(st);
	img_source_close(src);
	memcpy(m->digest, got.digest, sizeof(m->digest));
}

static void done(struct made *m)
{
	msb_str_done(&m->layer[0]);
	msb_str_done(&m->layer[1]);
}

/* ---- */

static void line(void *arg, const char *text)
{
	msb_str_addf(arg, "%s\n", text);
}

static int verify(const char *digest, struct msb_str *out)
{
	const struct img_verify ops = {.damaged = line, .arg = out};
	struct img_store *st;
	struct msb_err e = {0};
	int r;

	out->len = 0;
	msb_str_adds(out, "");
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	r = img_store_verify(st, digest, &ops, &e);
	img_store_close(st);
	return r;
}

static bool known_damaged(const char *digest)
{
	struct img_store *st;
	struct msb_err e = {0};
	bool is;

	assert_int_equal(img_store_open_read(dir_fd, &st, &e), 0);
	is = img_store_damaged(st, digest);
	img_store_close(st);
	return is;
}

static void spoil(const char *path, uint64_t off)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDWR | O_CLOEXEC);
	char c;

	assert_true(fd >= 0);
	assert_int_equal(msb_pread_full(fd, &c, 1, off), 1);
	c ^= 1;
	assert_int_equal(msb_pwrite_full(fd, &c, 1, off), 0);
}

struct bytes {
	const struct msb_str *s;
	size_t at;
};

static int64_t next_bytes(void *arg, void *p, size_t n, struct msb_err *e)
{
	struct bytes *b = arg;
	size_t k = n < b->s->len - b->at ? n : b->s->len - b->at;

	memcpy(p, b->s->buf + b->at, k);
	b->at += k;
	return (int64_t)k;
}

/* What a pull does: the layer's bytes again, and the image made again. */
static void repair(struct made *m, int layer)
{
	struct bytes b = {&m->layer[layer], 0};
	struct img_layer_job job = {.size = m->layer[layer].len,
		.from = {.arg = &b, .read = next_bytes},
		.repair = true};
	struct img_budget budget = {
		.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES, .replace = true};
	_cleanup_(img_plan_done) struct img_plan plan = {0};
	struct img_imported got;
	struct img_store *st;
	struct msb_err e = {0};

	memcpy(job.diff_id, m->diff_id[layer], sizeof(job.diff_id));
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_layer_take(st, &job, &budget, &e), 0);
	assert_int_equal(img_plan_stored(dir_fd, m->digest, &plan, &e), 0);
	assert_int_equal(img_image_publish(st, &plan, &budget, &got, &e), 0);
	img_store_close(st);
}

/* The pack that a layer's files lie in. */
static void pack_of(const struct made *m, int layer, char out[24])
{
	char path[128];
	_cleanup_close_ int fd = -1;
	struct img_record *rec;
	size_t n;

	(void)snprintf(path, sizeof(path), "layers/%s", m->diff_id[layer]);
	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(img_record_open(fd, &rec, NULL), 0);
	(void)snprintf(out, 24, "packs/%08x", img_record_spans(rec, &n)->pack);
	assert_int_equal(n, 2);
	img_record_close(rec);
}

static void whole(void **state)
{
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;
	struct made a, b;

	assert_int_equal(verify(NULL, &out), 0); /* an empty store is */
	import(&a, 10);
	import(&b, 20);
	assert_int_equal(verify(NULL, &out), 0);
	assert_string_equal(out.buf, "");
	assert_int_equal(verify(a.digest, &out), 0);
	assert_int_equal(verify(a.diff_id[0], &out), -ENOENT);
	done(&a);
	done(&b);
}

/* One thing damaged at a time: what is said of it, and that it can be repaired in place. */
static void damaged(void **state)
{
	static const struct {
		const char *path; /* %D: the image's digest, %0 %1: a layer's; %p %q: their packs */
		uint64_t off;
		int lines;	  /* of all images */
		const char *says; /* of image a */
		int layer;	  /* to be repaired */
	} rows[] = {
		{"%p", 0, 2, "layer 1 of 2 sha256:%0: usr/lower: its contents are damaged", 0},
		{"%p", 303104, 2, "layer 1 of 2 sha256:%0: usr/a: its contents are damaged", 0},
		{"%q", 299999, 1, "layer 2 of 2 sha256:%1: usr/upper: its contents are damaged", 1},
		{"layers/%1", 90, 1, "layer 2 of 2 sha256:%1: layer sha256:", 1},
		{"layers/%0", 5, 2, "layer 1 of 2 sha256:%0: layer sha256:", 0},
		{"images/%D/index", 4200, 1, "index: the tree is not what its layers make", 1},
		{"images/%D/index", 1030, 1, "index: the tree is not what its layers make", 0},
		{"images/%D/meta", 15, 1, "meta: it is damaged", 0},
		{"images/%D/layers", 15, 1, "layers: it is damaged", 0},
	};

	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		_cleanup_str_ struct msb_str out = MSB_STR_INIT, says = MSB_STR_INIT,
					     path = MSB_STR_INIT;
		struct made a, b;
		const char *texts[] = {rows[k].path, rows[k].says};
		struct stat before, after;
		char packs[2][24];
		int r;

		import(&a, 10);
		import(&b, 20);
		pack_of(&a, 0, packs[0]);
		pack_of(&a, 1, packs[1]);
		for (int t = 0; t < 2; t++)
			for (const char *p = texts[t]; *p; p++) {
				struct msb_str *to = t ? &says : &path;

				if (*p != '%')
					msb_str_add(to, p, 1);
				else
					msb_str_adds(to, *++p == 'D' ? a.digest
							 : *p == 'p' ? packs[0]
							 : *p == 'q' ? packs[1]
								     : a.diff_id[*p - '0']);
			}
		spoil(path.buf, rows[k].off);
		r = verify(NULL, &out);
		if (r != rows[k].lines || !strstr(out.buf, says.buf))
			fail_msg("row %zu: %d\n%s", k, r, out.buf);
		assert_int_equal(verify(a.digest, &out), 1);
		assert_true(known_damaged(a.digest));
		assert_int_equal(known_damaged(b.digest), rows[k].lines == 2);
		assert_int_equal(fstatat(dir_fd, packs[0], &before, 0), 0);
		repair(&a, rows[k].layer);
		assert_false(known_damaged(a.digest));
		r = verify(NULL, &out);
		assert_false(known_damaged(b.digest));
		if (r != 0)
			fail_msg("row %zu after repair: %s", k, out.buf);
		/* Nothing is kept twice for it. */
		assert_int_equal(faccessat(dir_fd, "packs/00000004", F_OK, 0), -1);
		assert_int_equal(fstatat(dir_fd, packs[0], &after, 0), 0);
		assert_int_equal(before.st_ino, after.st_ino);
		done(&a);
		done(&b);
		for (const char **p =
				(const char *[]){"images", "layers", "packs", "blobs", "tmp", NULL};
			*p; p++)
			assert_int_equal(msb_rm_rf(dir_fd, *p), 0);
	}
}

static void gone(void **state)
{
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;
	char path[128], pack[24];
	struct made a;

	import(&a, 10);
	pack_of(&a, 0, pack);
	assert_int_equal(unlinkat(dir_fd, pack, 0), 0);
	assert_int_equal(verify(NULL, &out), 2); /* both files */
	assert_non_null(strstr(out.buf, "usr/lower: the pack that its contents lie in is missing"));
	repair(&a, 0);
	assert_int_equal(verify(NULL, &out), 0);
	pack_of(&a, 1, pack);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, pack);
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(verify(NULL, &out), 2);
	assert_non_null(strstr(out.buf, "usr/upper: its contents cannot be read"));
	repair(&a, 1);
	assert_int_equal(verify(NULL, &out), 0);
	(void)snprintf(path, sizeof(path), "layers/%s", a.diff_id[1]);
	assert_int_equal(unlinkat(dir_fd, path, 0), 0);
	assert_int_equal(verify(NULL, &out), 1);
	repair(&a, 1);
	assert_int_equal(verify(NULL, &out), 0);
	(void)snprintf(path, sizeof(path), "images/%s/manifest.json", a.digest);
	spoil(path, 3);
	assert_int_equal(verify(NULL, &out), 1);
	assert_non_null(strstr(out.buf, "manifest is damaged"));
	done(&a);
}

/* A wrong layer repairs nothing, and harms nothing. */
static void not_with_that(void **state)
{
	_cleanup_str_ struct msb_str out = MSB_STR_INIT;
	struct made a;
	struct bytes b;
	struct img_layer_job job = {
		.size = UINT64_MAX, .from = {.arg = &b, .read = next_bytes}, .repair = true};
	struct img_budget budget = {.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES};
	struct img_store *st;
	struct msb_err e = {0};

	import(&a, 10);
	b = (struct bytes){&a.layer[1], 0};
	memcpy(job.diff_id, a.diff_id[0], sizeof(job.diff_id));
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_layer_take(st, &job, &budget, &e), -EBADMSG);
	img_store_close(st);
	assert_int_equal(verify(NULL, &out), 0);
	done(&a);
}

/* As many lines as are told of one layer, and then how many more. */
static void many(void **state)
{
	_cleanup_str_ struct msb_str tar = MSB_STR_INIT, out = MSB_STR_INIT;
	struct img_budget budget = {.max_bytes = IMG_MAX_BYTES, .max_inodes = IMG_MAX_INODES};
	struct bytes b = {&tar, 0};
	struct img_layer_job job = {.size = UINT64_MAX, .from = {.arg = &b, .read = next_bytes}};
	static char p[2000];
	struct img_store *st;
	struct msb_err e = {0};
	unsigned char raw[32];
	size_t lines = 0;

	for (int k = 0; k < IMG_MAX_DAMAGED + 5; k++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "f%d", k);
		fill(p, sizeof(p), (unsigned int)k);
		tar_file(&tar, name, p, sizeof(p));
	}
	tar_end(&tar);
	assert_int_equal(EVP_Digest(tar.buf, tar.len, raw, NULL, EVP_sha256(), NULL), 1);
	msb_hex(raw, 32, job.diff_id);
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_layer_take(st, &job, &budget, &e), 0);
	assert_int_equal(img_layer_verify(st, job.diff_id, &out, &e), 0);
	assert_int_equal(unlinkat(dir_fd, "packs/00000001", 0), 0);
	assert_int_equal(img_layer_verify(st, job.diff_id, &out, &e), -EBADMSG);
	img_store_close(st);
	for (const char *t = out.buf; *t; t++)
		lines += *t == '\n';
	assert_int_equal(lines, IMG_MAX_DAMAGED + 1);
	assert_non_null(strstr(out.buf, "and 5 more\n"));
}

static uint64_t number(const struct msb_str *text, const char *key)
{
	const char *p = strstr(text->buf, key);

	assert_non_null(p);
	return strtoull(p + strlen(key), NULL, 10);
}

static void counted(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct img_store *st;
	struct msb_err e = {0};
	struct made a, b;

	import(&a, 10);
	import(&b, 20);
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_store_stat(st, &text, &e), 0);
	img_store_close(st);
	assert_int_equal(number(&text, "images "), 2);
	assert_int_equal(number(&text, "layers "), 3);
	assert_int_equal(number(&text, "objects "), 6);
	assert_int_equal(number(&text, "logical_bytes "), 2 * (2 * BIG + 2 * 5000 + 2));
	assert_int_equal(number(&text, "stored_bytes "), 3 * (303104 + 8192));
	assert_int_equal(
		number(&text, "saved_bytes "), 2 * (2 * BIG + 2 * 5000 + 2) - 3 * (303104 + 8192));
	assert_int_equal(number(&text, "pending_bytes "), 0);
	assert_true(number(&text, "record_bytes ") > 0);
	assert_true(number(&text, "index_bytes ") > 0);
	/* What no image has waits for gc. */
	assert_int_equal(img_store_gc(dir_fd, (const char *[]){a.digest}, 1, 0, &e), 0);
	text.len = 0;
	assert_int_equal(img_store_open(dir_fd, &st, &e), 0);
	assert_int_equal(img_store_stat(st, &text, &e), 0);
	assert_int_equal(number(&text, "stored_bytes "), 2 * (303104 + 8192));
	assert_int_equal(img_store_gc(dir_fd, NULL, 0, 0, &e), 1);
	text.len = 0;
	assert_int_equal(img_store_stat(st, &text, &e), 0);
	img_store_close(st);
	assert_int_equal(number(&text, "images "), 0);
	assert_true(number(&text, "pending_bytes ") >= 2 * (303104 + 8192));
	assert_int_equal(number(&text, "saved_bytes "), 0);
	done(&a);
	done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whole, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(damaged, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(gone, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(not_with_that, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(many, tmpdir_setup, tmpdir_teardown),
		cmocka_unit_test_setup_teardown(counted, tmpdir_setup, tmpdir_teardown),
	};

	return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
