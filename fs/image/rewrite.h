/* SPDX-License-Identifier: Apache-2.0 */
/* Writing manifests and indexes for what is pushed and exported. */
#ifndef MSB_FS_IMAGE_REWRITE_H
#define MSB_FS_IMAGE_REWRITE_H

#include "fs/image/oci.h"

/* What a layer is now. */
struct img_new_layer {
	bool changed; /* else it stays as the manifest has it */
	char digest[65];
	uint64_t size;
	const char *media_type; /* NULL: as it was */
};

/**
 * img_manifest_rewrite() - A manifest with other layers and the same config
 * @v: one for each layer of the manifest @p (@n bytes)
 * @oci: in OCI's media types, also where it was Docker's
 * A changed layer loses its annotations: they are of bytes that it no longer has. The order of keys
 * stays. Return: 0; -EBADMSG; -ENOMEM; with @e.
 */
int img_manifest_rewrite(const char *p, size_t n, const struct img_new_layer *v, size_t nlayers,
	bool oci, struct msb_str *ret, struct msb_err *e);

/* index.json of an OCI layout with one manifest, called @name. */
int img_layout_index(const char *media_type, const char *digest, uint64_t size, const char *name,
	struct msb_str *ret, struct msb_err *e);

#endif
