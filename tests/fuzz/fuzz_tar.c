// SPDX-License-Identifier: Apache-2.0
// Tars as layers: any bytes applied one upon the other, the tree written as an index and read back.
#include "fs/image/index.h"
#include "fs/image/index_write.h"
#include "fs/image/layer.h"
#include "tests/fuzz/tarsum.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INODES 500

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

static void check(struct img_tree *t)
{
	static const uint8_t uuid[16];
	struct img_pack packs[64];
	struct img_index *ix;
	struct walk w = {0};
	char *buf = NULL;
	size_t n;
	FILE *f = open_memstream(&buf, &n);
	int r;

	for (uint32_t k = 0; k < ARRAY_LEN(packs); k++)
		packs[k] = (struct img_pack){k + 1, 1u << 30};
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
	free(buf);
}

/* Whoever unpacks says where a file's bytes are kept. */
static int placed(void *arg, struct msb_err *e)
{
	struct img_layer *l = arg;

	l->at = (struct img_span){.len = l->to ? l->to->size : 0, .pack = 1};
	return img_layer_ops.done(arg, e);
}

/* The first byte says where one layer ends and the next begins, and how the bytes are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct img_tar_ops ops = {img_layer_ops.entry, img_layer_ops.data, placed};
	_cleanup_free_ uint8_t *copy = malloc(size + 1);
	size_t step, split;
	struct img_tree *t;
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
	if (img_tree_new(MAX_INODES, &t) < 0)
		return 0;
	for (uint32_t number = 1; r == 0 && number <= 2; number++) {
		struct img_layer l = {.tree = t, .number = number};
		size_t at = number == 1 ? 0 : split, end = number == 1 ? split : size;
		struct msb_err e = {0};
		struct img_tar *tar;

		if (img_tar_new(&ops, &l, &tar) < 0)
			abort();
		for (; r == 0 && at < end; at += step)
			r = img_tar_feed(tar, copy + at, end - at < step ? end - at : step, &e);
		if (r == 0)
			r = img_tar_finish(tar, &e);
		if (r < 0 && (e.code != -r || !*e.msg))
			abort();
		img_tar_free(tar);
	}
	if (r == 0)
		check(t);
	img_tree_free(t);
	return 0;
}
