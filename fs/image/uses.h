/* SPDX-License-Identifier: Apache-2.0 */
/* What images need of the store: layers, blobs, and the contents that these lie in. */
#ifndef MSB_FS_IMAGE_USES_H
#define MSB_FS_IMAGE_USES_H

#include "fs/image/store.h"

/* Zeroed at first. Names are gathered, then asked for; then spans. */
struct img_uses {
	char (*layers)[65], (*blobs)[65];
	size_t nlayers, nblobs, layers_cap, blobs_cap;
	struct img_span *spans; /* sorted by pack and block once they are done */
	size_t nspans, spans_cap;
};

/**
 * img_uses_image() - Note what an image names
 * The contents that its index names are noted too where not all of its records are there.
 * Return: 0; -ENOMEM; -errno it cannot be read. @e is set.
 */
int img_uses_image(
	struct img_uses *, const struct img_store *, const char *digest, struct msb_err *e);
void img_uses_names_done(struct img_uses *); /* before the next two */
bool img_uses_has_layer(const struct img_uses *, const char *diff_id);
bool img_uses_has_blob(const struct img_uses *, const char *digest);

/* Note the contents of a layer: 0; -ENOMEM; -errno it cannot be read. */
int img_uses_record(
	struct img_uses *, const struct img_store *, const char *diff_id, struct msb_err *e);
void img_uses_spans_done(struct img_uses *); /* before the next */
const struct img_span *img_uses_pack(const struct img_uses *, uint32_t id, size_t *ret_n);

void img_uses_done(struct img_uses *);

/**
 * img_layers_each() - Read an image's `layers`
 * @fn: a line's parts; @diff_id is "" of a blob; nonzero stops and is returned
 * Return: 0; -EBADMSG damaged; -errno. @e is set.
 */
int img_layers_each(const struct img_store *, const char *digest,
	int (*fn)(void *arg, const char *diff_id, const char *blob, uint64_t size,
		const char *media_type),
	void *arg, struct msb_err *e);

#endif
