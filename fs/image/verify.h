/* SPDX-License-Identifier: Apache-2.0 */
/* Looking whether what the store holds is what it was: all of it is read and hashed. */
#ifndef MSB_FS_IMAGE_VERIFY_H
#define MSB_FS_IMAGE_VERIFY_H

#include "fs/image/image.h"
#include "fs/image/store.h"
#include "base/str.h"

#define IMG_MAX_DAMAGED                                                                            \
	64 /* files of one layer that are named; past it how many more there are                   \
	    */

/**
 * img_layer_verify() - Make a layer's tar again and hash it
 * @damaged: a line is appended for each thing that is not what it was, with the file's path; may be
 * NULL. Return: 0; -EBADMSG where there is any, a missing record included; -ENOMEM. @e is set.
 */
int img_layer_verify(
	const struct img_store *, const char *diff_id, struct msb_str *damaged, struct msb_err *e);

struct img_verify {
	/* "image sha256:... layer 1 of 3 sha256:...: usr/bin/x: ..." */
	void (*damaged)(void *arg, const char *line);
	void (*progress)(void *arg, const struct img_progress *); /* may be NULL */
	void *arg;
};

/**
 * img_store_verify() - Look at an image, or (@digest NULL) at all
 * Its documents against their digests, its layers and blobs, and its tree and meta against what is
 * made of them anew. A layer of several images is read once. Of each image it is kept whether it is
 * damaged (img_store_damaged()).
 * Return: how many lines there were; -ENOENT no such image; -errno with @e.
 */
int img_store_verify(
	const struct img_store *, const char *digest, const struct img_verify *, struct msb_err *e);

#endif
