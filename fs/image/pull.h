/* SPDX-License-Identifier: Apache-2.0 */
/* Pulling one image from a registry into an open store. */
#ifndef MSB_FS_IMAGE_PULL_H
#define MSB_FS_IMAGE_PULL_H

#include "fs/image/image.h"
#include "fs/image/remote.h"
#include "fs/image/store.h"

struct img_pull_opts {
	const char *name;    /* TAG or sha256:HEX */
	uint64_t max_bytes;  /* of all layers, unpacked, tar headers included; of all blobs */
	uint64_t max_inodes; /* at any time while layers are merged */
	/* May be NULL. Called from whichever thread got on, never from two at once. */
	void (*progress)(void *arg, const struct img_progress *);
	void *arg;
};

/**
 * img_pull_run() - Fetch, check, unpack and publish
 * All downloads are asked for at once; a layer is unpacked while it comes. Layers that are complete
 * stay when others fail, and where the network or the caller gave up so does what has come of
 * these.
 * Errors: as img_pull(). @e says which layer.
 */
int img_pull_run(struct img_remote *, struct img_store *, const struct img_pull_opts *,
	struct img_imported *ret, struct msb_err *e);

#endif
