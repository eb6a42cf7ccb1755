/* SPDX-License-Identifier: Apache-2.0 */
/* Importing one image into an open store. */
#ifndef MSB_FS_IMAGE_IMPORT_H
#define MSB_FS_IMAGE_IMPORT_H

#include "fs/image/image.h"
#include "fs/image/source.h"
#include "fs/image/store.h"

struct img_import_opts {
	uint64_t max_bytes;  /* of all layers, unpacked, tar headers included */
	uint64_t max_inodes; /* at any time while layers are applied */
	/* May be NULL. Bytes of a layer as they are stored in the source. Called from whichever
	 * thread got on, never from two at once. */
	void (*progress)(void *arg, const struct img_progress *);
	void *arg;
};

/**
 * img_import_run() - Read, check, unpack and publish
 * An image or a layer that the store holds already is not unpacked again. After a failure only
 * img_store_close() may follow: what came of the image is gone.
 * Errors: -EBADMSG not an image, or damaged; -EOPNOTSUPP of a kind that is not supported, or for
 * another machine; -ENOTUNIQ more than one image to choose from; -E2BIG, -EFBIG a limit; -ENOSPC.
 * @e says which layer.
 */
int img_import_run(const struct img_source *, struct img_store *, const struct img_import_opts *,
	struct img_imported *ret, struct msb_err *e);

#endif
