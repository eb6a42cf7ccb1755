/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Media types of images and what they mean to us. A type of NULL or "" is one that was not given.
 * Source: OCI image-spec 1.1, media-types.md; Docker's image manifest, schema 1 and 2; containers'
 * encryption of layers; the mixtapes of masterblaster.
 */
#ifndef MSB_FS_IMAGE_MEDIA_H
#define MSB_FS_IMAGE_MEDIA_H

#include <stdbool.h>

#define IMG_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define IMG_TYPE_INDEX	  "application/vnd.oci.image.index.v1+json"
#define IMG_TYPE_CONFIG	  "application/vnd.oci.image.config.v1+json"
#define IMG_TYPE_TAR	  "application/vnd.oci.image.layer.v1.tar"
#define IMG_TYPE_DOCKER	  "application/vnd.docker.distribution.manifest.v2+json"

#define IMG_MAX_MEDIA_TYPE 128 /* bytes, NUL included: past it a type is cut, and unknown */

enum img_desc_kind { IMG_DESC_OTHER, IMG_DESC_MANIFEST, IMG_DESC_INDEX, IMG_DESC_SCHEMA1 };
enum img_desc_kind img_media_document(const char *type);

bool img_media_is_config(const char *type); /* of an image; also where it was not given */

enum img_layer_kind {
	IMG_LAYER_TAR,	     /* as it is or compressed; its first bytes say how */
	IMG_LAYER_FOREIGN,   /* no registry has it */
	IMG_LAYER_ENCRYPTED, /* for others */
	IMG_LAYER_OTHER,     /* of an artifact */
};
enum img_layer_kind img_media_layer(const char *type);

enum img_compression { IMG_PLAIN, IMG_GZIP, IMG_ZSTD };
enum img_compression img_media_compression(const char *type); /* of a tar */

/* A part of a mixtape, or NULL. */
struct img_mixtape_part {
	const char *type;
	const char *key;		  /* in meta (fs/image/image.h) */
	const char *format, *compression; /* of a disk; NULL of others */
};
const struct img_mixtape_part *img_media_mixtape(const char *type);

#endif
