/* SPDX-License-Identifier: Apache-2.0 */
/* Applying a layer's tar to an image's tree: OCI image-spec 1.1, layer.md "Applying Changesets". */
#ifndef MSB_FS_IMAGE_LAYER_H
#define MSB_FS_IMAGE_LAYER_H

#include "fs/image/store.h"
#include "fs/image/tar.h"
#include "fs/image/tree.h"

#define IMG_MAX_FOLLOW 40 /* symlinks on the way to one entry's directory */

/* One layer being applied. Zero all but the first three. */
struct img_layer {
	struct img_tree *tree;
	struct img_store *store;
	uint32_t number;      /* 1 is the lowest */
	struct img_inode *to; /* the file whose bytes come; NULL: they are not wanted */
	uint64_t got;
};

/**
 * img_layer_ops - What a struct img_tar calls to apply its entries to the struct img_layer in @arg
 *
 * Names are of the image's own tree: a leading slash is dropped, ".." is refused, a symlink on the
 * way is followed within the tree, a missing directory is made (0755, root's). Whiteouts remove
 * what lower layers put there, never what this one does. Errors: -EBADMSG; -E2BIG a limit; what the
 * store said.
 */
extern const struct img_tar_ops img_layer_ops;

#endif
