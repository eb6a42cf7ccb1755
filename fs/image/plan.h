/* SPDX-License-Identifier: Apache-2.0 */
/* What an import has to do: the one image of a source, its documents read and checked. */
#ifndef MSB_FS_IMAGE_PLAN_H
#define MSB_FS_IMAGE_PLAN_H

#include "fs/image/oci.h"
#include "fs/image/source.h"

#define IMG_PLATFORM "linux/amd64"

struct img_plan_layer {
	char *path;	  /* member of the source */
	char digest[65];  /* of its bytes as they are there; "" where only the unpacked one is
			   * known */
	char diff_id[65]; /* "" of a blob that is kept as it is */
	uint64_t size;	  /* as its descriptor has it; until img_plan_complete() the member's */
	char media_type[IMG_MAX_MEDIA_TYPE];
};

struct img_plan {
	char digest[65]; /* of the manifest; "" where that is not made yet */
	char config_digest[65];
	char media_type[IMG_MAX_MEDIA_TYPE]; /* of the manifest */
	enum img_kind kind;
	/* The first two byte for byte. meta: the lines that come from the documents
	 * (fs/image/image.h): all but kind, size_bytes and inodes. */
	struct msb_str manifest, config, meta;
	struct img_plan_layer *layers;
	size_t nlayers;
};

/* Where the JSON documents of an image are. */
struct img_documents {
	/* Appends a whole one. 0, or -errno with @e; the caller checks its digest and size. */
	int (*read)(void *arg, const struct img_desc *, struct msb_str *ret, struct msb_err *e);
	void *arg;
	/* Refuse to choose between several images for one platform (-ENOTUNIQ); else the first,
	 * as other tools have it. */
	bool strict;
};

/**
 * img_plan_resolve() - From a manifest or an index to what there is to do
 * @plan: zero but for manifest: the document that was asked for, whose digest is right or was not
 * known. It is replaced by the manifest for this platform. Done with img_plan_done(), also on
 * failure.
 * @media_type: what the transport called the document, or ""
 * Errors: as img_import().
 */
int img_plan_resolve(const struct img_documents *, const char *media_type, struct img_plan *plan,
	struct msb_err *e);

/* The one image of a source. 0, or -errno with @e as img_import_run() has it. What docker save made
 * has no manifest: @ret->digest is "" until img_plan_complete(). */
int img_plan_make(const struct img_source *, struct img_plan *ret, struct msb_err *e);
/* Makes the manifest, of layers named by what they unpack to, which have these @sizes. -ENOMEM. */
int img_plan_complete(struct img_plan *, const uint64_t *sizes, struct msb_err *e);
/* An image of the store (its directory @store_fd): -ENOENT; -EBADMSG where it is damaged. */
int img_plan_stored(int store_fd, const char *digest, struct img_plan *ret, struct msb_err *e);
/* The part that both kinds of source share: from plan->config to @c, meta, and room for @nlayers.
 */
int img_plan_config(struct img_plan *, size_t nlayers, struct img_config *c, struct msb_err *e);
void img_plan_done(struct img_plan *);

#endif
