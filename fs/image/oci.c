// SPDX-License-Identifier: Apache-2.0
// The JSON of images, read from bytes.
#include "fs/image/oci.h"
#include "base/cleanup.h"

#include <jansson.h>
#include <string.h>

#define MAX_CREATED 40 /* bytes of RFC 3339 with nanoseconds and a zone, and some */

static void cleanup_json(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(cleanup_json)

static int oom(struct msb_err *e)
{
	return msb_err_set(e, ENOMEM, "out of memory");
}

static int too_many_layers(struct msb_err *e)
{
	return msb_err_set(e, E2BIG, "the image has more than %llu layers",
		(unsigned long long)img_limit(IMG_LIMIT_LAYERS));
}

/* jansson recurses: the depth is known before it starts. */
static bool too_deep(const char *p, size_t n)
{
	unsigned int depth = 0;
	bool in_string = false;

	for (size_t k = 0; k < n; k++) {
		if (in_string) {
			if (p[k] == '\\')
				k++;
			else if (p[k] == '"')
				in_string = false;
		} else if (p[k] == '"') {
			in_string = true;
		} else if (p[k] == '[' || p[k] == '{') {
			if (++depth > IMG_MAX_JSON_DEPTH)
				return true;
		} else if ((p[k] == ']' || p[k] == '}') && depth) {
			depth--;
		}
	}
	return false;
}

static int load(const char *p, size_t n, const char *what, json_t **ret, struct msb_err *e)
{
	json_error_t err;

	if (n > img_limit(IMG_LIMIT_JSON_BYTES))
		return msb_err_set(e, EFBIG, "%s is larger than %llu bytes", what,
			(unsigned long long)img_limit(IMG_LIMIT_JSON_BYTES));
	if (too_deep(p, n))
		return msb_err_set(e, E2BIG, "%s is nested too deeply", what);
	*ret = json_loadb(p, n, JSON_REJECT_DUPLICATES, &err);
	if (!*ret)
		return msb_err_set(e, EBADMSG, "%s is not valid JSON (line %d)", what, err.line);
	return 0;
}

static const char *text(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

static int take_digest(const char *s, char out[65], struct msb_err *e)
{
	uint8_t raw[32];

	if (!s)
		return msb_err_set(e, EBADMSG, "a digest is missing");
	if (strncmp(s, "sha512:", 7) == 0)
		return msb_err_set(e, EOPNOTSUPP, "digests other than sha256 are not supported");
	if (strncmp(s, "sha256:", 7) != 0 || strlen(s + 7) != 64 || msb_unhex(s + 7, raw, 32) < 0)
		return msb_err_set(e, EBADMSG, "not a sha256 digest");
	memcpy(out, s + 7, 65);
	return 0;
}

/* For sentences: untrusted text, made printable and cut. */
static void show(char *out, size_t cap, const char *s)
{
	struct msb_str t = {.buf = out, .cap = cap, .fixed = true};

	out[0] = 0;
	if (s)
		msb_str_add_printable(&t, s, strlen(s));
}

static void platform_of(const json_t *obj, char out[64])
{
	char os[24], arch[32];

	show(os, sizeof(os), text(obj, "os"));
	show(arch, sizeof(arch), text(obj, "architecture"));
	(void)snprintf(out, 64, "%s/%s", os, arch);
}

static int take_desc(const json_t *j, struct img_desc *d, struct msb_err *e)
{
	const json_t *size = json_object_get(j, "size"), *platform = json_object_get(j, "platform");
	const json_t *notes = json_object_get(j, "annotations");
	const char *name = text(notes, "io.containerd.image.name");

	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return msb_err_set(e, EBADMSG, "a descriptor has no size");
	d->size = (uint64_t)json_integer_value(size);
	show(d->media_type, sizeof(d->media_type), text(j, "mediaType"));
	d->kind = img_media_document(d->media_type);
	d->has_platform = json_is_object(platform);
	if (d->has_platform)
		platform_of(platform, d->platform);
	if (d->has_platform)
		show(d->variant, sizeof(d->variant), text(platform, "variant"));
	show(d->name, sizeof(d->name),
		name ? name : text(notes, "org.opencontainers.image.ref.name"));
	return take_digest(text(j, "digest"), d->digest, e);
}

/* ---- what a document is */

/* One that could be read as two things is not read at all: registries and we might differ. */
static int by_content(const json_t *doc, enum img_desc_kind *ret, struct msb_err *e)
{
	bool index = json_object_get(doc, "manifests");
	bool manifest = json_object_get(doc, "layers") || json_object_get(doc, "config");

	if (index && manifest)
		return msb_err_set(e, EBADMSG, "it says to be an index and a manifest at once");
	if (!index && !manifest)
		return msb_err_set(e, EBADMSG, "it is neither a manifest nor an index");
	*ret = index ? IMG_DESC_INDEX : IMG_DESC_MANIFEST;
	return 0;
}

int img_parse_document(
	const char *p, size_t n, const char *media_type, enum img_desc_kind *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	enum img_desc_kind is = IMG_DESC_OTHER;
	const char *type;
	int r = load(p, n, "the manifest", &doc, e);

	if (r < 0)
		return r;
	type = text(doc, "mediaType") ?: media_type;
	if (img_media_document(type) == IMG_DESC_SCHEMA1 ||
		json_integer_value(json_object_get(doc, "schemaVersion")) == 1)
		return msb_err_set(e, EOPNOTSUPP,
			"it is a Docker manifest of schema 1, which has no digests of what layers "
			"unpack to; push the image again with a current tool");
	r = by_content(doc, &is, e);
	if (r < 0)
		return r;
	if (text(doc, "mediaType") && img_media_document(type) != is) {
		char shown[IMG_MAX_MEDIA_TYPE];

		show(shown, sizeof(shown), type);
		return msb_err_set(e, EBADMSG, "its media type is %s, but it is %s", shown,
			is == IMG_DESC_INDEX ? "an index" : "a manifest");
	}
	*ret = is;
	return 0;
}

int img_parse_index(const char *p, size_t n, struct img_index_doc *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *list;
	int r = load(p, n, "the index", &doc, e);

	*ret = (struct img_index_doc){0};
	if (r < 0)
		return r;
	list = json_object_get(doc, "manifests");
	if (!json_is_array(list))
		return msb_err_set(e, EBADMSG, "the index lists no manifests");
	if (json_array_size(list) > img_limit(IMG_LIMIT_MANIFESTS))
		return msb_err_set(e, E2BIG, "the index lists more than %llu manifests",
			(unsigned long long)img_limit(IMG_LIMIT_MANIFESTS));
	ret->v = calloc(json_array_size(list) + 1, sizeof(*ret->v));
	if (!ret->v)
		return oom(e);
	for (size_t k = 0; r == 0 && k < json_array_size(list); k++, ret->n++)
		r = take_desc(json_array_get(list, k), &ret->v[k], e);
	if (r < 0)
		img_index_doc_done(ret);
	return r < 0 ? msb_err_wrap(e, "the index") : 0;
}

void img_index_doc_done(struct img_index_doc *d)
{
	free(d->v);
	*d = (struct img_index_doc){0};
}

const char *img_kind_name(enum img_kind kind)
{
	static const char *const names[] = {"image", "artifact", "mixtape"};

	return names[kind];
}

static unsigned int count_part(const struct img_manifest *m, const char *key)
{
	unsigned int n = 0;

	for (size_t k = 0; k < m->nlayers; k++) {
		const struct img_mixtape_part *part = img_media_mixtape(m->layers[k].media_type);

		n += part && strcmp(part->key, key) == 0;
	}
	return n;
}

static bool is_mixtape(const struct img_manifest *m)
{
	return count_part(m, "kernel") == 1 && count_part(m, "disk") == 1 &&
	       count_part(m, "initrd") <= 1 && count_part(m, "cmdline") <= 1 &&
	       count_part(m, "init") <= 1;
}

static int kind_of(struct img_manifest *m, struct msb_err *e)
{
	m->kind = img_media_is_config(m->config.media_type) ? IMG_KIND_IMAGE : IMG_KIND_ARTIFACT;
	for (size_t k = 0; k < m->nlayers; k++) {
		switch (img_media_layer(m->layers[k].media_type)) {
		case IMG_LAYER_TAR: break;
		case IMG_LAYER_OTHER: m->kind = IMG_KIND_ARTIFACT; break;
		case IMG_LAYER_FOREIGN:
			return msb_err_set(e, EOPNOTSUPP,
				"layer %zu of %zu is foreign: its owner does not let registries "
				"have it",
				k + 1, m->nlayers);
		case IMG_LAYER_ENCRYPTED:
			return msb_err_set(
				e, EOPNOTSUPP, "layer %zu of %zu is encrypted", k + 1, m->nlayers);
		}
	}
	if (m->kind == IMG_KIND_ARTIFACT && is_mixtape(m))
		m->kind = IMG_KIND_MIXTAPE;
	return 0;
}

void img_mixtape_meta(const struct img_manifest *m, struct msb_str *meta)
{
	for (size_t k = 0; m->kind == IMG_KIND_MIXTAPE && k < m->nlayers; k++) {
		const struct img_mixtape_part *part = img_media_mixtape(m->layers[k].media_type);

		if (!part)
			continue;
		msb_str_addf(meta, "mixtape.%s %s\n", part->key, m->layers[k].digest);
		if (part->format)
			msb_str_addf(meta, "mixtape.disk_format %s\nmixtape.disk_compression %s\n",
				part->format, part->compression);
	}
}

int img_parse_manifest(const char *p, size_t n, struct img_manifest *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *config, *layers, *version;
	int r = load(p, n, "the manifest", &doc, e);

	*ret = (struct img_manifest){0};
	if (r < 0)
		return r;
	version = json_object_get(doc, "schemaVersion");
	config = json_object_get(doc, "config");
	layers = json_object_get(doc, "layers");
	if (json_integer_value(version) != 2 || !json_is_object(config) || !json_is_array(layers))
		return msb_err_set(e, EBADMSG, "not an image manifest of schema 2");
	show(ret->media_type, sizeof(ret->media_type), text(doc, "mediaType") ?: IMG_TYPE_MANIFEST);
	if (json_array_size(layers) > img_limit(IMG_LIMIT_LAYERS))
		return too_many_layers(e);
	ret->layers = calloc(json_array_size(layers) + 1, sizeof(*ret->layers));
	if (!ret->layers)
		return oom(e);
	r = take_desc(config, &ret->config, e);
	for (size_t k = 0; r == 0 && k < json_array_size(layers); k++, ret->nlayers++)
		r = take_desc(json_array_get(layers, k), &ret->layers[k], e);
	if (r == 0)
		r = kind_of(ret, e);
	if (r < 0)
		img_manifest_done(ret);
	return r < 0 ? msb_err_wrap(e, "the manifest") : 0;
}

void img_manifest_done(struct img_manifest *m)
{
	free(m->layers);
	*m = (struct img_manifest){0};
}

/* ---- config */

static int meta_line(struct msb_str *meta, const char *key, const json_t *value, struct msb_err *e)
{
	if (!json_is_string(value) ||
		memchr(json_string_value(value), 0, json_string_length(value)))
		return msb_err_set(e, EBADMSG, "the config's %s is not text", key);
	msb_str_adds(meta, key);
	msb_str_adds(meta, " ");
	msb_str_add_json(meta, json_string_value(value), json_string_length(value));
	msb_str_adds(meta, "\n");
	return 0;
}

static int meta_list(struct msb_str *meta, const char *key, const json_t *list, struct msb_err *e)
{
	char name[32];
	int r = 0;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return msb_err_set(e, EBADMSG, "the config's %s is not a list", key);
	if (json_array_size(list) > IMG_MAX_META_ELEMENTS)
		return msb_err_set(e, E2BIG, "the config's %s is too long", key);
	for (size_t k = 0; r == 0 && k < json_array_size(list); k++) {
		(void)snprintf(name, sizeof(name), "%s.%zu", key, k);
		r = meta_line(meta, name, json_array_get(list, k), e);
	}
	return r;
}

static int meta_text(struct msb_str *meta, const char *key, const json_t *value, struct msb_err *e)
{
	if (!value || json_is_null(value) || json_string_length(value) == 0)
		return json_is_string(value) || !value || json_is_null(value)
			       ? 0
			       : msb_err_set(e, EBADMSG, "the config's %s is not text", key);
	return meta_line(meta, key, value, e);
}

/* @unit of the value are one of what is written, rounded up; 0 is as nothing. */
static int meta_number(
	struct msb_str *meta, const char *key, const json_t *value, int64_t unit, struct msb_err *e)
{
	json_int_t v = json_integer_value(value);

	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || v < 0)
		return msb_err_set(e, EBADMSG, "the config's %s is not a number", key);
	if (v)
		msb_str_addf(meta, "%s %lld\n", key, (long long)(v / unit + (v % unit != 0)));
	return 0;
}

/* Docker's, which OCI's specification passes over. */
static int meta_health(struct msb_str *meta, const json_t *check, struct msb_err *e)
{
	static const struct {
		const char *from, *to;
		int64_t unit;
	} rows[] = {{"Interval", "healthcheck_interval_sec", 1000000000},
		{"Timeout", "healthcheck_timeout_sec", 1000000000},
		{"StartPeriod", "healthcheck_start_period_sec", 1000000000},
		{"StartInterval", "healthcheck_start_interval_sec", 1000000000},
		{"Retries", "healthcheck_retries", 1}};
	int r = meta_list(meta, "healthcheck", json_object_get(check, "Test"), e);

	for (size_t k = 0; r == 0 && k < ARRAY_LEN(rows); k++)
		r = meta_number(
			meta, rows[k].to, json_object_get(check, rows[k].from), rows[k].unit, e);
	return r;
}

/* It is shown, no more: one that cannot be a time is left out. */
static void meta_created(struct msb_str *meta, const json_t *value)
{
	const char *s = json_string_value(value);

	if (!s || !*s || strlen(s) > MAX_CREATED || s[strspn(s, "0123456789-+:.TZtz")])
		return;
	msb_str_addf(meta, "created \"%s\"\n", s);
}

int img_parse_config(
	const char *p, size_t n, struct img_config *ret, struct msb_str *meta, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *rootfs, *ids, *run;
	int r = load(p, n, "the config", &doc, e);

	*ret = (struct img_config){0};
	if (r < 0)
		return r;
	rootfs = json_object_get(doc, "rootfs");
	ids = json_object_get(rootfs, "diff_ids");
	if (!json_is_array(ids))
		return msb_err_set(e, EBADMSG, "the config lists no layers");
	if (json_array_size(ids) > img_limit(IMG_LIMIT_LAYERS))
		return too_many_layers(e);
	platform_of(doc, ret->platform);
	ret->diff_ids = calloc(json_array_size(ids) + 1, sizeof(*ret->diff_ids));
	if (!ret->diff_ids)
		return oom(e);
	for (size_t k = 0; r == 0 && k < json_array_size(ids); k++, ret->n++)
		r = take_digest(json_string_value(json_array_get(ids, k)), ret->diff_ids[k], e);
	run = json_object_get(doc, "config");
	if (r == 0)
		meta_created(meta, json_object_get(doc, "created"));
	if (r == 0)
		r = meta_list(meta, "entrypoint", json_object_get(run, "Entrypoint"), e);
	if (r == 0)
		r = meta_list(meta, "cmd", json_object_get(run, "Cmd"), e);
	if (r == 0)
		r = meta_health(meta, json_object_get(run, "Healthcheck"), e);
	if (r == 0)
		r = meta_list(meta, "env", json_object_get(run, "Env"), e);
	if (r == 0)
		r = meta_text(meta, "user", json_object_get(run, "User"), e);
	if (r == 0)
		r = meta_text(meta, "workdir", json_object_get(run, "WorkingDir"), e);
	if (r == 0 && meta->oom)
		r = oom(e);
	if (r < 0)
		img_config_done(ret);
	return r;
}

void img_config_done(struct img_config *c)
{
	free(c->diff_ids);
	*c = (struct img_config){0};
}

/* ---- docker save */

static int list_choices(const json_t *doc, struct img_docker *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (size_t k = 0; k < json_array_size(doc) && s.len < 256; k++) {
		const json_t *tags = json_object_get(json_array_get(doc, k), "RepoTags");
		char shown[128];

		show(shown, sizeof(shown), json_string_value(json_array_get(tags, 0)));
		msb_str_addf(&s, "%s%s", k ? ", " : "", *shown ? shown : "(untagged)");
	}
	msb_str_add(&s, "", 0);
	ret->choices = steal_ptr(s.buf);
	return ret->choices ? 0 : oom(e);
}

int img_parse_docker(const char *p, size_t n, struct img_docker *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = NULL;
	const json_t *image, *layers;
	int r = load(p, n, "manifest.json", &doc, e);

	*ret = (struct img_docker){0};
	if (r < 0)
		return r;
	if (!json_is_array(doc))
		return msb_err_set(e, EBADMSG, "manifest.json is not a list of images");
	if (json_array_size(doc) != 1)
		return list_choices(doc, ret, e);
	image = json_array_get(doc, 0);
	layers = json_object_get(image, "Layers");
	if (!text(image, "Config") || (!json_is_array(layers) && layers && !json_is_null(layers)))
		return msb_err_set(e, EBADMSG, "manifest.json names no config or no layers");
	if (json_array_size(layers) > img_limit(IMG_LIMIT_LAYERS))
		return too_many_layers(e);
	ret->config = strdup(text(image, "Config"));
	ret->layers = calloc(json_array_size(layers) + 1, sizeof(*ret->layers));
	if (!ret->config || !ret->layers) {
		img_docker_done(ret);
		return oom(e);
	}
	for (size_t k = 0; r == 0 && k < json_array_size(layers); k++) {
		const char *name = json_string_value(json_array_get(layers, k));

		if (!name)
			r = msb_err_set(e, EBADMSG, "manifest.json names a layer that is not text");
		else if (!(ret->layers[ret->n++] = strdup(name)))
			r = oom(e);
	}
	if (r < 0)
		img_docker_done(ret);
	return r;
}

void img_docker_done(struct img_docker *d)
{
	for (size_t k = 0; d->layers && k < d->n; k++)
		free(d->layers[k]);
	free(d->layers);
	free(d->config);
	free(d->choices);
	*d = (struct img_docker){0};
}
