/* SPDX-License-Identifier: Apache-2.0 */
/* Applying a layer's tar to an image's tree: OCI image-spec 1.1, layer.md "Applying Changesets". */
#ifndef MSB_FS_IMAGE_LAYER_H
#define MSB_FS_IMAGE_LAYER_H

#include "fs/image/record.h"
#include "fs/image/tar.h"
#include "fs/image/tree.h"

/* One layer being applied. Zero all but the first two. */
struct img_layer {
	struct img_tree *tree;
	uint32_t number;    /* 1 is the lowest */
	struct img_span at; /* where the bytes lie of the file that is done next, if not inlined */
	struct img_inode *to; /* the file whose bytes come; NULL: they are not wanted */
	uint64_t got;
};

/**
 * img_layer_ops - What a struct img_tar calls to apply its entries to the struct img_layer in @arg
 *
 * Names are of the image's own tree: a leading slash is dropped, ".." is refused, a symlink on the
 * way is followed within the tree, a missing directory is made (0755, root's). Whiteouts remove
 * what lower layers put there, never what this one does. Bytes of files of more than IMG_INLINE_MAX
 * are not looked at. Errors: -EBADMSG; -E2BIG a limit.
 */
extern const struct img_tar_ops img_layer_ops;

/* The same from a layer's record: nothing of it is stored again. */
int img_layer_apply(
	struct img_tree *, uint32_t number, const struct img_record *, struct msb_err *e);

#endif
