/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content-addressed store as msb-image fills it (its layout: fs/image/image.h).
 *
 * Theory of operation: many add at once, each with store/lock shared, each into packs of its own.
 * What one has made appears by renames, with store/publish held: first a layer (the lists of its
 * packs, then its record), then the image. Who publishes looks once more for what others published
 * meanwhile, so the same bytes are not kept twice. Who removes packs or records holds store/lock
 * alone and never waits for it. An addition that fails or is killed leaves a directory in tmp/ and
 * packs that no record names; whoever next has the store alone removes them. So there is no
 * database, and nothing to repair: a layer or an image is there, whole, from its rename on.
 */
#ifndef MSB_FS_IMAGE_STORE_H
#define MSB_FS_IMAGE_STORE_H

#include "fs/image/index_write.h"
#include "fs/image/record.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_PACK_BYTES	     (UINT64_C(1) << 30) /* a pack takes no further file past this */
#define IMG_STORE_BUFFER     (1u << 20)
#define IMG_KEEP_PARTIAL_SEC 86400 /* layers and blobs that no image has yet */

struct img_store;

/**
 * img_store_open() - Join those who add to the store
 * @fd: the store directory; stays the caller's. Waits where it is being cleaned.
 * Threads: all of an open store's functions, any, but for those of one writer.
 * Return: 0; -errno with @e.
 */
int img_store_open(int fd, struct img_store **ret, struct msb_err *e);
/* The same for who only reads: nothing is made, so that a full disk does not matter. */
int img_store_open_read(int fd, struct img_store **ret, struct msb_err *e);
struct img_store *img_store_close(struct img_store *);

/* ---- contents: the files of one layer, one after the other, into packs of its own */
struct img_writer;

int img_writer_new(struct img_store *, struct img_writer **ret, struct msb_err *e);
struct img_writer *img_writer_free(
	struct img_writer *); /* packs that img_store_add_layer() did not take go */

void img_writer_begin(struct img_writer *);
int img_writer_data(struct img_writer *, const void *p, size_t n, struct msb_err *e);
int img_writer_hole(struct img_writer *, uint64_t n, struct msb_err *e); /* zeros */

/**
 * img_writer_end() - The file is complete
 * A file with the same bytes, compared byte for byte, is used again.
 */
int img_writer_end(struct img_writer *, struct img_span *ret, struct msb_err *e);

/* ---- layers */

/* A record being made: a file in the store's tmp that img_store_add_layer() renames. */
struct img_store_record {
	struct img_record_writer *w;
	int fd;
	char name[80];
};

int img_store_record_new(
	struct img_store *, const char *diff_id, struct img_store_record *ret, struct msb_err *e);
void img_store_record_done(struct img_store *, struct img_store_record *); /* removes what it is */

/**
 * img_store_add_layer() - Make a layer appear: contents and record reach the disk, then renames
 * @rec: complete but for img_record_end_body(); its spans are what img_writer_end() said
 * One that is there already and can be read stays, and this one goes, unless @replace.
 */
int img_store_add_layer(struct img_store *, const char *diff_id, struct img_writer *,
	struct img_store_record *rec, bool replace, struct msb_err *e);

/**
 * img_store_repair_layer() - The same for a layer that may be there and damaged
 * Where its contents lie they are written over where they differ; what cannot be saved so is
 * replaced. -ENOENT is no error: the layer is new then.
 */
int img_store_repair_layer(struct img_store *, const char *diff_id, struct img_writer *,
	struct img_store_record *rec, struct msb_err *e);

/* The record of a layer. -ENOENT; -EBADMSG damaged; @e is set. */
int img_store_layer(
	const struct img_store *, const char *diff_id, struct img_record **ret, struct msb_err *e);

/* Removes the layers and blobs that were added through @s: they are of something that is no image.
 * Where somebody else is adding too they wait for img_store_gc(), as what no image has. Only
 * img_store_close() may follow. */
void img_store_forget(struct img_store *s);

/* ---- images */
struct img_store_file {
	const char *name;
	const void *p;
	size_t n;
};

/* Whether the last verification found the image damaged: it stays known until one does not, or the
 * image is made anew. The next pull or import of it mends it. */
bool img_store_damaged(const struct img_store *, const char *digest);
void img_store_mark(const struct img_store *, const char *digest, bool damaged);

/* Whether the image is there, with an index that can be read where it has a tree. */
bool img_store_has(const struct img_store *, const char *digest);
/* The size_bytes of an image's meta. */
int img_store_size(const struct img_store *, const char *digest, uint64_t *ret, struct msb_err *e);

/**
 * img_store_publish() - Make an image appear: index and documents reach the disk, then one rename
 * @digest: 64 hex digits; what img_store_has() says is there stays as it is, unless @replace
 * @t: the tree, whose files lie in packs of layers that are there; NULL: it has none
 * @files: what lies beside the index
 */
int img_store_publish(struct img_store *, const char *digest, struct img_tree *t,
	const struct img_store_file *files, size_t nfiles, bool replace, struct msb_err *e);

/**
 * img_store_gc() - Remove every image that is not in @keep, then what no image needs
 * @fd: the store directory
 * @keep_sec: layers and blobs of no image that are younger stay (IMG_KEEP_PARTIAL_SEC; 0: none)
 * Return: 0; 1: images are removed, the rest waits for the next, for somebody is adding; -errno.
 */
int img_store_gc(
	int fd, const char *const *keep, size_t nkeep, uint64_t keep_sec, struct msb_err *e);

#endif
