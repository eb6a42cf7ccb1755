/* SPDX-License-Identifier: Apache-2.0 */
/* The tar that a layer of the store was. */
#ifndef MSB_FS_IMAGE_LAYER_TAR_H
#define MSB_FS_IMAGE_LAYER_TAR_H

#include "fs/image/store.h"

/**
 * img_layer_tar() - Hand the layer's tar to @fn, byte for byte
 * Threads: any number at once on one store.
 * Return: 0; -ENOENT no such layer; -EBADMSG damaged, which is known only after the last byte; what
 * @fn returned.
 */
int img_layer_tar(const struct img_store *, const char *diff_id,
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e), void *arg,
	struct msb_err *e);

#endif
