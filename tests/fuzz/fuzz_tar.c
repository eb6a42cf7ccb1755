// SPDX-License-Identifier: Apache-2.0
// Tars as layers: any bytes applied one upon the other, the tree written as an index and read back.
#include "fs/image/index.h"
#include "fs/image/index_write.h"
#include "fs/image/layer.h"
#include "tests/fuzz/tarsum.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INODES 500

#define INPUTS 256 /* of one store: contents pile up in it, and a pack must stay below 1 GiB */

static struct img_store *store;
static char dir[32];
static int dir_fd;

static void done(void)
{
	if (!store)
		return;
	img_store_close(store);
	store = NULL;
	close(dir_fd);
	(void)msb_rm_rf(AT_FDCWD, dir);
}

static void start(void)
{
	static bool registered;

	strcpy(dir, "/tmp/fuzz_tar.XXXXXX");
	if (!mkdtemp(dir))
		abort();
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0 || img_store_open(dir_fd, &store, NULL) < 0)
		abort();
	if (!registered)
		registered = atexit(done) == 0;
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

/* The first byte says where one layer ends and the next begins, and how the bytes are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned int inputs;
	_cleanup_free_ uint8_t *copy = malloc(size + 1);
	size_t step, split;
	struct img_tree *t;
	int r = 0;

	if (inputs++ % INPUTS == 0)
		done();
	if (!store)
		start();
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
		struct img_layer l = {.tree = t, .store = store, .number = number};
		size_t at = number == 1 ? 0 : split, end = number == 1 ? split : size;
		struct msb_err e = {0};
		struct img_tar *tar;

		if (img_tar_new(&img_layer_ops, &l, &tar) < 0)
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
	else
		done(); /* a failed import ends its process: the store may be in the middle of a
			   file */
	img_tree_free(t);
	return 0;
}
