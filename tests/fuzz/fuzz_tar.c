// SPDX-License-Identifier: Apache-2.0
// Tars as layers: any bytes applied one upon the other, as they come and by way of records; the
// trees are the same, and written as an index are read back.
#include "fs/image/index.h"
#include "fs/image/index_write.h"
#include "fs/image/layer.h"
#include "tests/fuzz/tarsum.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INODES 500
#define MAX_SPARSE (UINT64_C(1) << 40) /* bytes of a file with holes */

/* Contents are stored nowhere: each is said to lie after the last. */
struct feed {
	struct img_layer layer;
	struct img_record_writer *rec; /* NULL: the tar is applied as it comes */
	struct img_span at;
	bool storing;
	const struct img_tar_part *parts; /* of what is stored, where it has holes */
	size_t nparts;
	uint64_t got, size;
	const char *mark; /* what is fed and not recorded begins here */
};

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	static const struct img_tar_part nothing;
	struct feed *f = arg;

	if (x->sparse && x->size > MAX_SPARSE)
		return msb_err_set(e, E2BIG, "a hole that takes too long");
	f->parts = x->sparse ? x->parts ?: &nothing : NULL;
	f->nparts = x->nparts;
	f->got = 0;
	f->size = x->size;
	f->storing = x->type == IMG_TAR_FILE && x->size > IMG_INLINE_MAX;
	if (f->storing)
		f->at = (struct img_span){
			x->size, 1, f->at.blk + (uint32_t)((f->at.len + 4095) / 4096 % 1000)};
	return f->rec ? 0 : img_layer_ops.entry(&f->layer, x, e);
}

static int on_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct feed *f = arg;
	const char *b = p;
	int r = 0;

	f->got += n;
	if (!f->rec)
		return img_layer_ops.data(&f->layer, p, n, e);
	if (f->storing) {
		if (b > f->mark)
			r = img_record_raw(f->rec, f->mark, (size_t)(b - f->mark), e);
		f->mark = b + n;
	}
	return r;
}

static int on_hole(void *arg, uint64_t n, struct msb_err *e)
{
	struct feed *f = arg;

	f->got += n;
	return f->rec ? 0 : img_layer_ops.hole(&f->layer, n, e);
}

static int on_done(void *arg, struct msb_err *e)
{
	struct feed *f = arg;

	if (f->got != f->size)
		abort(); /* every byte comes, or is a hole */
	if (f->rec)
		return f->storing ? img_record_data(f->rec, &f->at, f->parts, f->nparts, e) : 0;
	f->layer.at = f->at;
	return img_layer_ops.done(&f->layer, e);
}

static int feed(struct feed *f, const uint8_t *p, size_t n, size_t step, struct msb_err *e)
{
	static const struct img_tar_ops ops = {on_entry, on_data, on_hole, on_done};
	struct img_tar *tar;
	int r = 0;

	if (img_tar_new(&ops, f, &tar) < 0)
		abort();
	for (size_t at = 0; r == 0 && at < n; at += step) {
		size_t k = n - at < step ? n - at : step;
		const char *end = (const char *)p + at + k;

		f->mark = (const char *)p + at;
		r = img_tar_feed(tar, p + at, k, e);
		if (r == 0 && f->rec && end > f->mark)
			r = img_record_raw(f->rec, f->mark, (size_t)(end - f->mark), e);
	}
	if (r == 0)
		r = img_tar_finish(tar, e);
	img_tar_free(tar);
	return r;
}

/* The same layer by way of a record: what is right one way is right the other. */
static void by_record(
	struct img_tree *t, uint32_t number, const uint8_t *p, size_t n, struct img_span at)
{
	_cleanup_close_ int fd = memfd_create("record", MFD_CLOEXEC);
	struct feed f = {.at = at};
	struct img_record *rec;
	struct msb_err e = {0};

	if (fd < 0 || img_record_begin(fd, &f.rec) < 0 || feed(&f, p, n, n + 1, &e) < 0 ||
		img_record_end_body(f.rec, &e) < 0 || img_record_finish(f.rec, &e) < 0 ||
		img_record_open(fd, &rec, &e) < 0 || img_record_tar_bytes(rec) != n ||
		img_layer_apply(t, number, rec, &e) < 0)
		abort();
	img_record_writer_free(f.rec);
	img_record_close(rec);
}

struct walk {
	const struct img_index *ix;
	uint64_t dir, seen;
};

static int entry(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct walk *w = arg, sub = {w->ix, nid, 0};
	struct img_attr a;
	uint64_t found;

	if ((n == 2 && !memcmp(name, "..", 2)) || memchr(name, '/', n) ||
		img_index_lookup(w->ix, w->dir, name, n, &found) < 0 || found != nid ||
		img_index_getattr(w->ix, nid, &a) < 0 || a.mode >> 12 != type)
		abort(); /* what the writer wrote the reader takes */
	if (type == DT_DIR && img_index_readdir(w->ix, nid, entry, &sub) < 0)
		abort();
	w->seen += 1 + sub.seen;
	return 0;
}

/* @ret: the index's bytes, the caller's to free. */
static size_t check(struct img_tree *t, char **ret)
{
	static const uint8_t uuid[16];
	struct img_pack packs[1];
	struct img_index *ix;
	struct walk w = {0};
	char *buf = NULL;
	size_t n;
	FILE *f = open_memstream(&buf, &n);
	int r;

	for (uint32_t k = 0; k < ARRAY_LEN(packs); k++)
		packs[k] = (struct img_pack){k + 1, UINT32_MAX};
	if (!f)
		abort();
	r = img_index_write(t, packs, ARRAY_LEN(packs), uuid, f, NULL);
	fclose(f);
	if (r < 0 || img_index_from_bytes(buf, n, &ix, NULL) < 0)
		abort();
	w.ix = ix;
	w.dir = img_index_root(ix);
	if (img_index_readdir(ix, w.dir, entry, &w) < 0 || w.seen > MAX_INODES ||
		img_index_inodes(ix) != img_tree_inodes(t))
		abort();
	img_index_close(ix);
	*ret = buf;
	return n;
}

/* The first byte says where one layer ends and the next begins, and how the bytes are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ uint8_t *copy = malloc(size + 1);
	_cleanup_free_ char *a = NULL, *b = NULL;
	struct img_span at = {0};
	size_t step, split, n;
	struct img_tree *t, *again;
	int r = 0;

	if (size < 1 || !copy)
		return 0;
	step = data[0] & 1 ? 512 : (size_t)data[0] + 1;
	split = (size_t)(data[0] >> 2) * 512;
	memcpy(copy, data + 1, size - 1);
	size--;
	fix_sums(copy, size);
	if (split > size)
		split = size;
	if (img_tree_new(MAX_INODES, &t) < 0 || img_tree_new(MAX_INODES, &again) < 0)
		abort();
	for (uint32_t number = 1; r == 0 && number <= 2; number++) {
		const uint8_t *p = copy + (number == 1 ? 0 : split);
		struct feed f = {.layer = {.tree = t, .number = number}, .at = at};
		struct msb_err e = {0};

		n = number == 1 ? split : size - split;
		r = feed(&f, p, n, step, &e);
		if (r < 0 && (e.code != -r || !*e.msg))
			abort();
		if (r == 0)
			by_record(again, number, p, n, at);
		at = f.at;
	}
	if (r == 0) {
		n = check(t, &a);
		if (check(again, &b) != n || memcmp(a, b, n) != 0)
			abort();
	}
	img_tree_free(t);
	img_tree_free(again);
	return 0;
}
