/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of images, read from bytes: indexes, manifests, configs, docker-save's manifest.json.
 * Source: OCI image-spec 1.1 (image-index.md, manifest.md, config.md); Docker image spec v1.2,
 * schema 2.
 */
#ifndef MSB_FS_IMAGE_OCI_H
#define MSB_FS_IMAGE_OCI_H

#include "fs/image/image.h"
#include "fs/image/media.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a manifest describes. */
enum img_kind {
	IMG_KIND_IMAGE,
	IMG_KIND_ARTIFACT, /* anything else: blobs, kept byte for byte */
	IMG_KIND_MIXTAPE,  /* an artifact that boots: a kernel, a disk, ... */
};
const char *img_kind_name(enum img_kind); /* as meta has it */

struct img_desc {
	char digest[65]; /* sha256, hex */
	uint64_t size;
	enum img_desc_kind kind;
	bool has_platform;
	char platform[64];		     /* os/architecture */
	char variant[16];		     /* "" where there is none */
	char name[128];			     /* what its annotations call it, or "" */
	char media_type[IMG_MAX_MEDIA_TYPE]; /* printable; "" where there is none */
};

struct img_index_doc {
	struct img_desc *v;
	size_t n;
};

struct img_manifest {
	struct img_desc config, *layers;
	size_t nlayers;
	enum img_kind kind;
	char media_type[IMG_MAX_MEDIA_TYPE]; /* its own; OCI's where it does not say */
};

struct img_config {
	char platform[64];
	char (*diff_ids)[65];
	size_t n;
};

struct img_docker {
	char *config;  /* member of the archive */
	char **layers; /* likewise, lowest first */
	size_t n;
	char *choices; /* NULL, or what the archive holds where it is not exactly one image */
};

/* Each reads a whole document: 0; -EBADMSG not such a document; -EFBIG, -E2BIG a limit; -ENOMEM;
 * with @e. Done functions take what failed or was never filled. Digests other than sha256 are
 * -EOPNOTSUPP. */
/* What a document is that was asked for by name. @media_type: what the transport called it, "".
 * -EBADMSG nothing of ours, or two things at once; -EOPNOTSUPP known but not supported. */
int img_parse_document(const char *p, size_t n, const char *media_type, enum img_desc_kind *ret,
	struct msb_err *e);
int img_parse_index(const char *p, size_t n, struct img_index_doc *ret, struct msb_err *e);
int img_parse_manifest(const char *p, size_t n, struct img_manifest *ret, struct msb_err *e);
int img_parse_docker(const char *p, size_t n, struct img_docker *ret, struct msb_err *e);
/* @meta: lines from created to workdir are appended (fs/image/image.h). */
int img_parse_config(
	const char *p, size_t n, struct img_config *ret, struct msb_str *meta, struct msb_err *e);

/* @meta: the mixtape lines of an image that is one. */
void img_mixtape_meta(const struct img_manifest *, struct msb_str *meta);

void img_index_doc_done(struct img_index_doc *);
void img_manifest_done(struct img_manifest *);
void img_config_done(struct img_config *);
void img_docker_done(struct img_docker *);

#endif
