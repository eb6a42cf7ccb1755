// SPDX-License-Identifier: Apache-2.0
// The tree index reader: any bytes, then every accessor on everything that can be reached.
#include "fs/image/erofs.h"
#include "fs/image/index.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk {
	const struct img_index *ix;
	uint64_t dir;
	int depth, budget;
};

static volatile unsigned int sink;

static void touch(const void *p, size_t n)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++)
		sink += b[i];
}

static int xattr(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	touch(name, n + 1);
	touch(value, value_n);
	return 0;
}

static int entry(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct walk *w = arg, sub = {w->ix, nid, w->depth + 1, 50};
	uint64_t off = 0, found;
	struct img_extent x;
	struct img_attr a;
	const char *p;
	size_t pn;

	if (!n || n > EROFS_NAME_MAX || memchr(name, '/', n) || memchr(name, 0, n))
		abort();
	(void)img_index_lookup(w->ix, w->dir, name, n, &found);
	if (img_index_readlink(w->ix, nid, &p, &pn) == 0)
		touch(p, pn);
	if (img_index_inline(w->ix, nid, &p, &pn) == 0)
		touch(p, pn);
	(void)img_index_xattrs(w->ix, nid, xattr, NULL);
	if (img_index_getattr(w->ix, nid, &a) == 0 && a.ino != nid)
		abort();
	for (int i = 0; i < 8 && img_index_extent(w->ix, nid, off, &x) == 0 && x.len; i++) {
		if (x.len > a.size - off)
			abort();
		off += x.len;
	}
	if (w->depth < 4)
		(void)img_index_readdir(w->ix, nid, entry, &sub);
	return --w->budget <= 0;
}

/* The first block's checksum is made right, so that damage gets past it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk w = {.budget = 200};
	struct erofs_super s;
	struct img_index *ix;
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (size >= EROFS_BLK) {
		memcpy(&s, copy + EROFS_SUPER_OFF, sizeof(s));
		s.feature_compat &= htole32(~EROFS_COMPAT_SB_CHKSUM);
		memcpy(copy + EROFS_SUPER_OFF, &s, sizeof(s));
	}
	if (img_index_from_bytes(copy, size, &ix, NULL) == 0) {
		w.ix = ix;
		w.dir = img_index_root(ix);
		(void)img_index_readdir(ix, w.dir, entry, &w);
		img_index_close(ix);
	}
	free(copy);
	return 0;
}
