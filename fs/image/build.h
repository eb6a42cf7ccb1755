/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images out of layers: each layer is unpacked once, into contents (packs) and a record
 * (fs/image/record.h); an image is merged from records.
 */
#ifndef MSB_FS_IMAGE_BUILD_H
#define MSB_FS_IMAGE_BUILD_H

#include "fs/image/plan.h"
#include "fs/image/store.h"

#include <stdatomic.h>

#define IMG_UNPACK_THREADS                                                                         \
	4 /* layers that are unpacked at once, at most; see img_layers_take()                      \
	   */

/* What one image may take, over all of its layers and threads. */
struct img_budget {
	uint64_t max_bytes;	/* of all layers, unpacked, tar headers included */
	uint64_t max_inodes;	/* at any time while layers are merged; and entries of one layer */
	_Atomic uint64_t bytes; /* taken until now */
	_Atomic bool stop;	/* set: whatever is unpacked ends with -ECANCELED */
	bool replace;		/* an image that is there is made again from its records */
};

/* Bytes that come in order and may still be on their way. */
struct img_stream {
	void *arg;
	/* Up to @n of the next bytes into @p; waits for at least one. 0: the end. -errno with @e.
	 * Called from one thread, not always the same. */
	int64_t (*read)(void *arg, void *p, size_t n, struct msb_err *e);
	/* May be NULL. From any thread: a read() that waits, now or later, gives -ECANCELED. */
	void (*stop)(void *arg);
};

/* A layer to be unpacked. */
struct img_layer_job {
	char diff_id[65]; /* sha256 of the tar */
	char digest[65];  /* of the bytes that come; "": not to be checked */
	uint64_t size;	  /* of the bytes that come; UINT64_MAX: unknown */
	struct img_stream from;
	bool repair; /* see img_layer_take() */
	/* May be NULL. @done: of the bytes that come. From the layer's thread. */
	void (*progress)(void *arg, uint64_t done, const char *state); /* "unpack" or "done" */
	void *arg;
};

/* Whether the layer's record is there and whole (its contents: img_layer_verify()). */
bool img_store_has_layer(const struct img_store *, const char *diff_id);

/**
 * img_layer_take() - Unpack one layer, check it whole, keep its record
 * The layer is there when this returns 0, whatever becomes of its image. Nothing is left of one
 * that fails. With @repair a layer that is there already is read again: where its contents differ
 * from what came they are written over in place, so that every image and sandbox has them back.
 * Threads: any number at once on one store.
 * Errors: -EBADMSG wrong digest or size, or damaged; -E2BIG a limit; -EOPNOTSUPP; -ENOSPC;
 * -ECANCELED; what read() said.
 */
int img_layer_take(
	struct img_store *, const struct img_layer_job *, struct img_budget *, struct msb_err *e);

/**
 * img_layers_take() - img_layer_take() for each of @n, in threads, in order
 * @jobs: those with an empty diff_id are left out
 * The first that fails stops the others (their stop()). @e says which: "layer 2 of 3: ...".
 */
int img_layers_take(struct img_store *, const struct img_layer_job *jobs, size_t n,
	struct img_budget *, struct msb_err *e);

/* The tree of the plan's layers, whose records must be there. The caller's to free. */
int img_merge(const struct img_store *, const struct img_plan *, uint64_t max_inodes,
	struct img_tree **ret, struct msb_err *e);

/* What lies beside its index: the whole of `meta` and `layers`, appended. @tree: NULL of one that
 * has none. */
int img_image_texts(const struct img_plan *, struct img_tree *tree, struct msb_str *meta,
	struct msb_str *layers, uint64_t *ret_bytes, struct msb_err *e);

/**
 * img_image_publish() - Merge the plan's layers, whose records must be there, and let the image
 * appear
 * @plan: digest, documents and meta; kind says whether there is a tree
 * An image that is there already and whole stays as it is, unless budget->replace. Return: 0;
 * -EBADMSG what the layers say is no tree; -E2BIG; -ENOSPC; -ENOENT a record is missing.
 */
int img_image_publish(struct img_store *, const struct img_plan *, const struct img_budget *,
	struct img_imported *ret, struct msb_err *e);

/* ---- blobs kept byte for byte: store/blobs/HEX; HEX.part while they come */

struct img_blob {
	int fd;	       /* open for reading and writing; -1: none */
	uint64_t have; /* of the first bytes, those that a download before left; unchecked */
	bool shared;   /* it lies in blobs/, to go on with another time; else in tmp/ */
	char name[80];
};

/* Opens what there is of the blob, or an empty file. Two at once get a file each. */
int img_blob_begin(struct img_store *, const char *digest, struct img_blob *ret, struct msb_err *e);
/* Closes it; @drop: removes what came (its layer is unpacked, it is kept, or it is damaged). */
void img_blob_done(struct img_store *, struct img_blob *, bool drop);
/**
 * img_blob_take() - Check the digest of a stream and keep it under its name, on disk
 * @job: digest, size and from
 * What is kept is a copy: who has a file open that the stream comes from cannot change it. Return:
 * 0; -EBADMSG wrong digest or size; -EINVAL no digest; -E2BIG; -ENOSPC; -ECANCELED.
 */
int img_blob_take(
	struct img_store *, const struct img_layer_job *, struct img_budget *, struct msb_err *e);
/* A descriptor for reading; -ENOENT. */
int img_blob_open(const struct img_store *, const char *digest, uint64_t *ret_size);

#endif
