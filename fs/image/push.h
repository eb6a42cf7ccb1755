/* SPDX-License-Identifier: Apache-2.0 */
/* Pushing an image of the store to a registry. */
#ifndef MSB_FS_IMAGE_PUSH_H
#define MSB_FS_IMAGE_PUSH_H

#include "fs/image/image.h"
#include "fs/image/remote.h"
#include "fs/image/store.h"

#define IMG_PUSH_THREADS 4 /* layers that are compressed and uploaded at once */

struct img_push_opts {
	int store_fd;	    /* of the same store */
	const char *digest; /* of the image */
	const char *name;   /* the tag that it gets */
	const char *from; /* a repository of the same registry that may have its layers, or NULL */
	/* May be NULL. Called from whichever thread got on, never from two at once. */
	void (*progress)(void *arg, const struct img_progress *);
	void *arg;
};

/**
 * img_push_run() - Put what the registry has not, then the manifest
 * Where it has every layer as it was pulled the manifest goes byte for byte. Else the tar of what
 * it lacks is made again, compressed as the original's media type says, and a manifest with those
 * layers and the same config is put.
 * Errors: as img_push(). @e says which layer.
 */
int img_push_run(struct img_remote *, struct img_store *, const struct img_push_opts *,
	char ret_digest[65], struct msb_err *e);

#endif
