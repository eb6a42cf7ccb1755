/* SPDX-License-Identifier: Apache-2.0 */
/* Writing an image of the store as an OCI archive. */
#ifndef MSB_FS_IMAGE_EXPORT_H
#define MSB_FS_IMAGE_EXPORT_H

#include "fs/image/image.h"
#include "fs/image/store.h"

struct img_export_opts {
	int store_fd; /* of the same store */
	const char *digest, *name;
	void (*progress)(void *arg, const struct img_progress *); /* may be NULL */
	void *arg;
};

/**
 * img_export_run() - Write a tar of an OCI layout to @fd, a file or a pipe, in one pass
 * Layers are not compressed: their digests and sizes are known before they are read, so the archive
 * streams, and is the same each time. An artifact's blobs are as they came.
 * Errors: -ENOENT no such image; -EBADMSG damaged (what was written is to be thrown away); -ENOSPC,
 * -EPIPE and what write(2) has.
 */
int img_export_run(struct img_store *, const struct img_export_opts *, int fd, struct msb_err *e);

#endif
