// SPDX-License-Identifier: Apache-2.0
// Writing manifests and indexes for what is pushed and exported.
#include "fs/image/rewrite.h"
#include "base/cleanup.h"

#include <jansson.h>
#include <string.h>

static void cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(cleanup_json)

static int oom(struct msb_err *e)
{
	return msb_err_set(e, ENOMEM, "out of memory");
}

static int dump(const json_t *doc, struct msb_str *ret, struct msb_err *e)
{
	_cleanup_free_ char *text = json_dumps(doc, JSON_COMPACT);

	if (!text)
		return oom(e);
	ret->len = 0;
	msb_str_adds(ret, text);
	return ret->oom ? oom(e) : 0;
}

/* Keys that are there keep their place. */
static bool set_text(json_t *obj, const char *key, const char *text)
{
	return json_object_set_new(obj, key, json_string(text)) == 0;
}

static int change(json_t *layer, const struct img_new_layer *l, bool oci, struct msb_err *e)
{
	char digest[80];

	if (oci && l->media_type && !set_text(layer, "mediaType", l->media_type))
		return oom(e);
	if (!l->changed)
		return 0;
	(void)snprintf(digest, sizeof(digest), "sha256:%s", l->digest);
	(void)json_object_del(layer, "annotations");
	(void)json_object_del(layer, "urls");
	(void)json_object_del(layer, "data");
	if ((l->media_type && !set_text(layer, "mediaType", l->media_type)) ||
		!set_text(layer, "digest", digest) ||
		json_object_set_new(layer, "size", json_integer((json_int_t)l->size)) < 0)
		return oom(e);
	return 0;
}

int img_manifest_rewrite(const char *p, size_t n, const struct img_new_layer *v, size_t nlayers,
	bool oci, struct msb_str *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
	json_t *layers = json_object_get(doc, "layers"), *config = json_object_get(doc, "config");

	if (json_array_size(layers) != nlayers || !json_is_object(config))
		return msb_err_set(e, EBADMSG, "the manifest is not what it was");
	for (size_t k = 0; k < nlayers; k++) {
		int r = change(json_array_get(layers, k), &v[k], oci, e);

		if (r < 0)
			return r;
	}
	if (oci && (!set_text(doc, "mediaType", IMG_TYPE_MANIFEST) ||
			   !set_text(config, "mediaType", IMG_TYPE_CONFIG)))
		return oom(e);
	return dump(doc, ret, e);
}

int img_layout_index(const char *media_type, const char *digest, uint64_t size, const char *name,
	struct msb_str *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = json_pack("{s:i, s:s, s:[{s:s, s:s+, s:I, s:{s:s, s:s}}]}",
		"schemaVersion", 2, "mediaType", IMG_TYPE_INDEX, "manifests", "mediaType",
		media_type, "digest", "sha256:", digest, "size", (json_int_t)size, "annotations",
		"io.containerd.image.name", name, "org.opencontainers.image.ref.name", name);

	return doc ? dump(doc, ret, e) : oom(e);
}
