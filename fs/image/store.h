/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content-addressed store as msb-image fills it (its layout: fs/image/image.h).
 *
 * Theory of operation: a pack is written by one import and never changes once an image that lies in
 * it has appeared. Beside it lies the list of what it holds. An import that fails or is killed
 * leaves packs that no image names; whoever opens the store next removes them. So there is no
 * database, and nothing to repair: an image is there, whole, from the rename of its directory on.
 */
#ifndef MSB_FS_IMAGE_STORE_H
#define MSB_FS_IMAGE_STORE_H

#include "fs/image/index_write.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_PACK_BYTES	 (UINT64_C(1) << 30) /* a pack takes no further file past this */
#define IMG_STORE_BUFFER (1u << 20)

struct img_store;

/**
 * img_store_open() - Lock the store and make it consistent
 * @fd: the store directory; stays the caller's. Waits for another holder of its lock.
 * Return: 0; -errno with @e.
 */
int img_store_open(int fd, struct img_store **ret, struct msb_err *e);
struct img_store *img_store_close(
	struct img_store *); /* packs of an image that did not appear go */

/* ---- contents: one file at a time */
void img_store_begin(struct img_store *);
int img_store_data(struct img_store *, const void *p, size_t n, struct msb_err *e);

/**
 * img_store_end() - The file is complete
 * A file with the same bytes, compared byte for byte, is used again. Where: 4 KiB aligned in its
 * pack.
 */
int img_store_end(struct img_store *, uint32_t *ret_pack, uint64_t *ret_off, struct msb_err *e);

/* ---- images */
struct img_store_file {
	const char *name;
	const void *p;
	size_t n;
};

/* Whether the image is there with an index that can be read. */
bool img_store_has(const struct img_store *, const char *digest);
/* The size_bytes of an image's meta. */
int img_store_size(const struct img_store *, const char *digest, uint64_t *ret, struct msb_err *e);

/**
 * img_store_publish() - Make an image appear: contents and index reach the disk, then one rename
 * @digest: 64 hex digits; what is there under that name is replaced
 * @t: the tree, whose files lie where img_store_end() said
 * @files: what lies beside the index
 */
int img_store_publish(struct img_store *, const char *digest, struct img_tree *t,
	const struct img_store_file *files, size_t nfiles, struct msb_err *e);

/* Removes every image that is not in @keep, then what no image needs. */
int img_store_gc(struct img_store *, const char *const *keep, size_t nkeep, struct msb_err *e);

#endif
