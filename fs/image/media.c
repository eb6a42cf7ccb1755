// SPDX-License-Identifier: Apache-2.0
// Media types of images and what they mean to us.
#include "fs/image/media.h"
#include "base/cleanup.h"

#include <string.h>

#define DOCKER	"application/vnd.docker."
#define MIXTAPE "application/vnd.papercompute.stereos."

static bool given(const char *type)
{
	return type && *type;
}

enum img_desc_kind img_media_document(const char *type)
{
	static const struct {
		const char *type;
		enum img_desc_kind kind;
	} rows[] = {
		{IMG_TYPE_MANIFEST, IMG_DESC_MANIFEST},
		{IMG_TYPE_DOCKER, IMG_DESC_MANIFEST},
		{IMG_TYPE_INDEX, IMG_DESC_INDEX},
		{DOCKER "distribution.manifest.list.v2+json", IMG_DESC_INDEX},
		{DOCKER "distribution.manifest.v1+json", IMG_DESC_SCHEMA1},
		{DOCKER "distribution.manifest.v1+prettyjws", IMG_DESC_SCHEMA1},
	};

	for (size_t k = 0; given(type) && k < ARRAY_LEN(rows); k++)
		if (strcmp(type, rows[k].type) == 0)
			return rows[k].kind;
	return IMG_DESC_OTHER;
}

bool img_media_is_config(const char *type)
{
	return !given(type) || strcmp(type, IMG_TYPE_CONFIG) == 0 ||
	       strcmp(type, DOCKER "container.image.v1+json") == 0;
}

static const struct {
	const char *type;
	enum img_layer_kind kind;
	enum img_compression compression;
} layers[] = {
	{IMG_TYPE_TAR, IMG_LAYER_TAR, IMG_PLAIN},
	{IMG_TYPE_TAR "+gzip", IMG_LAYER_TAR, IMG_GZIP},
	{IMG_TYPE_TAR "+zstd", IMG_LAYER_TAR, IMG_ZSTD},
	{DOCKER "image.rootfs.diff.tar", IMG_LAYER_TAR, IMG_PLAIN},
	{DOCKER "image.rootfs.diff.tar.gzip", IMG_LAYER_TAR, IMG_GZIP},
	{DOCKER "image.rootfs.diff.tar.zstd", IMG_LAYER_TAR, IMG_ZSTD},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar", IMG_LAYER_FOREIGN, IMG_PLAIN},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", IMG_LAYER_FOREIGN,
		IMG_GZIP},
	{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", IMG_LAYER_FOREIGN,
		IMG_ZSTD},
	{DOCKER "image.rootfs.foreign.diff.tar", IMG_LAYER_FOREIGN, IMG_PLAIN},
	{DOCKER "image.rootfs.foreign.diff.tar.gzip", IMG_LAYER_FOREIGN, IMG_GZIP},
	{DOCKER "image.rootfs.foreign.diff.tar.zstd", IMG_LAYER_FOREIGN, IMG_ZSTD},
};

enum img_layer_kind img_media_layer(const char *type)
{
	static const char end[] = "+encrypted";
	size_t n = given(type) ? strlen(type) : 0;

	if (!n)
		return IMG_LAYER_TAR;
	for (size_t k = 0; k < ARRAY_LEN(layers); k++)
		if (strcmp(type, layers[k].type) == 0)
			return layers[k].kind;
	if (strncmp(type, IMG_TYPE_TAR, strlen(IMG_TYPE_TAR)) == 0 && n > strlen(end) &&
		strcmp(type + n - strlen(end), end) == 0)
		return IMG_LAYER_ENCRYPTED;
	return IMG_LAYER_OTHER;
}

enum img_compression img_media_compression(const char *type)
{
	for (size_t k = 0; given(type) && k < ARRAY_LEN(layers); k++)
		if (strcmp(type, layers[k].type) == 0)
			return layers[k].compression;
	return IMG_PLAIN;
}

const struct img_mixtape_part *img_media_mixtape(const char *type)
{
	static const struct img_mixtape_part parts[] = {
		{MIXTAPE "kernel.v1", "kernel", NULL, NULL},
		{MIXTAPE "initrd.v1", "initrd", NULL, NULL},
		{MIXTAPE "cmdline.v1", "cmdline", NULL, NULL},
		{MIXTAPE "init.v1", "init", NULL, NULL},
		{MIXTAPE "disk.v1+raw", "disk", "raw", "none"},
		{MIXTAPE "disk.v1+raw+zstd", "disk", "raw", "zstd"},
		{MIXTAPE "disk.v1+qcow2", "disk", "qcow2", "none"},
		{MIXTAPE "disk.v1+qcow2+zstd", "disk", "qcow2", "zstd"},
	};

	for (size_t k = 0; given(type) && k < ARRAY_LEN(parts); k++)
		if (strcmp(type, parts[k].type) == 0)
			return &parts[k];
	return NULL;
}
