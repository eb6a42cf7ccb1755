/* SPDX-License-Identifier: Apache-2.0 */
/* What an import has to do: the one image of a source, its documents read and checked. */
#ifndef MSB_FS_IMAGE_PLAN_H
#define MSB_FS_IMAGE_PLAN_H

#include "fs/image/oci.h"
#include "fs/image/source.h"

#define IMG_PLATFORM "linux/amd64"

struct img_plan_layer {
	char *path;	 /* member of the source */
	char digest[65]; /* of its bytes as they are there; "" where only the unpacked one is known
			  */
	char diff_id[65];
	uint64_t size; /* as its descriptor has it; of the member where there is none */
};

struct img_plan {
	char digest[65]; /* of the manifest */
	struct msb_str manifest, config, meta;
	struct img_plan_layer *layers;
	size_t nlayers;
};

/* 0, or -errno with @e as img_import_run() has it. */
int img_plan_make(const struct img_source *, struct img_plan *ret, struct msb_err *e);
void img_plan_done(struct img_plan *);

#endif
