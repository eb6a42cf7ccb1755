/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a merged tree as an EROFS metadata image (fs/image/index.h reads it). */
#ifndef MSB_FS_IMAGE_INDEX_WRITE_H
#define MSB_FS_IMAGE_INDEX_WRITE_H

#include "fs/image/tree.h"

#include <stdio.h>

#define IMG_MAX_PACKS 8192 /* of one image: the root's nid is 16 bits and follows their table */

/* A pack that the tree's files lie in. */
struct img_pack {
	uint32_t id;	 /* file packs/<id as %08x> */
	uint32_t blocks; /* its size now, in 4 KiB */
};

/**
 * img_index_write() - Write @t's index to @out from its current position on
 * @packs: every pack that a file refers to, in any order; each once
 * @uuid:  16 bytes that name the volume
 * The same tree, packs and uuid give the same bytes. The caller flushes and syncs @out.
 * Return: 0; -E2BIG more packs or metadata than the format holds; -ENOMEM; -EINVAL a file in a pack
 * that is not in @packs; what write(2) said. @e is set.
 */
int img_index_write(struct img_tree *t, const struct img_pack *packs, size_t npacks,
	const uint8_t uuid[16], FILE *out, struct msb_err *e);

#endif
