// SPDX-License-Identifier: Apache-2.0
// From the document that was asked for to what there is to do: indexes, platforms, manifest,
// config.
#include "fs/image/plan.h"
#include "fs/image/sha.h"
#include "base/cleanup.h"

#include <string.h>

/* A document, checked against its descriptor; what @ret held is forgotten. */
static int read_document(const struct img_documents *docs, const struct img_desc *d,
	struct msb_str *ret, struct msb_err *e)
{
	char got[65];
	int r;

	if (d->size > img_limit(IMG_LIMIT_JSON_BYTES))
		return msb_err_set(e, EFBIG, "blob sha256:%.12s is larger than %llu bytes",
			d->digest, (unsigned long long)img_limit(IMG_LIMIT_JSON_BYTES));
	ret->len = 0;
	r = docs->read(docs->arg, d, ret, e);
	if (r < 0)
		return r;
	img_sha_of(ret->buf, ret->len, got);
	if (ret->len != d->size || strcmp(got, d->digest) != 0)
		return msb_err_set(e, EBADMSG,
			"blob sha256:%.12s is damaged: its digest or size is wrong", d->digest);
	return 0;
}

/* ---- the one manifest for this platform */

/* The x86-64 psABI's levels by what they are told apart by; not every compiler knows their names.
 */
static bool has_v2(void)
{
	return __builtin_cpu_supports("popcnt") && __builtin_cpu_supports("ssse3") &&
	       __builtin_cpu_supports("sse4.1") && __builtin_cpu_supports("sse4.2");
}

static bool has_v3(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	       __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
}

static bool has_v4(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("avx512vl");
}

static bool cpu_is(const char *variant)
{
	__builtin_cpu_init();
	switch (variant[0] == 'v' && !variant[2] ? variant[1] : 0) {
	case '2': return has_v2();
	case '3': return has_v2() && has_v3();
	case '4': return has_v2() && has_v3() && has_v4();
	default: return false;
	}
}

/* How well it fits; 0: not at all. What runs on every machine goes first, so that all get the same
 * image. */
static int rank(const struct img_desc *d)
{
	if (d->kind != IMG_DESC_MANIFEST && d->kind != IMG_DESC_INDEX)
		return 0;
	if (!d->has_platform)
		return 1;
	if (strcmp(d->platform, IMG_PLATFORM) != 0)
		return 0;
	if (!*d->variant || strcmp(d->variant, "v1") == 0)
		return 9;
	return cpu_is(d->variant) ? '9' - d->variant[1] : 0;
}

static int nothing_fits(const struct img_index_doc *doc, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;

	for (size_t k = 0; k < doc->n; k++) {
		const struct img_desc *d = &doc->v[k];

		if (d->kind == IMG_DESC_SCHEMA1)
			return msb_err_set(e, EOPNOTSUPP,
				"it holds Docker manifests of schema 1, which are not supported");
		if (names.len < 256)
			msb_str_addf(&names, "%s%s%s%s", k ? ", " : "",
				d->has_platform ? d->platform : "no platform",
				*d->variant ? "/" : "", d->variant);
	}
	return msb_err_set(e, doc->n ? EOPNOTSUPP : EBADMSG,
		"it holds no image for " IMG_PLATFORM "%s%s", doc->n ? ", but for: " : "",
		names.buf ? names.buf : "");
}

static int not_unique(struct img_desc *const *v, size_t n, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;

	for (size_t k = 0; k < n && names.len < 256; k++)
		msb_str_addf(
			&names, "%s%s", k ? ", " : "", *v[k]->name ? v[k]->name : v[k]->digest);
	return msb_err_set(e, ENOTUNIQ, "it holds %zu images, give it with one only: %s", n,
		names.buf ? names.buf : "");
}

/* Those that fit best, each digest once, in the index's order. */
static size_t fitting(const struct img_index_doc *doc, struct img_desc *v[])
{
	int best = 1;
	size_t n = 0;

	for (size_t k = 0; k < doc->n; k++)
		best = rank(&doc->v[k]) > best ? rank(&doc->v[k]) : best;
	for (size_t k = 0; k < doc->n; k++) {
		bool again = false;

		for (size_t j = 0; j < n; j++)
			again = again || strcmp(v[j]->digest, doc->v[k].digest) == 0;
		if (rank(&doc->v[k]) == best && !again)
			v[n++] = &doc->v[k];
	}
	return n;
}

enum form { NO_MIXTAPE, MIXTAPE, RAW_MIXTAPE };

static enum form form_of(const struct img_desc *d, const struct msb_str *doc)
{
	_cleanup_(img_manifest_done) struct img_manifest m = {0};
	enum form form = MIXTAPE;

	if (d->kind != IMG_DESC_MANIFEST || img_parse_manifest(doc->buf, doc->len, &m, NULL) < 0 ||
		m.kind != IMG_KIND_MIXTAPE)
		return NO_MIXTAPE;
	for (size_t k = 0; k < m.nlayers; k++) {
		const struct img_mixtape_part *part = img_media_mixtape(m.layers[k].media_type);

		if (part && part->format && strcmp(part->format, "raw") == 0)
			form = RAW_MIXTAPE;
	}
	return form;
}

/* Reads the one to take into @ret. Mixtapes come in several formats of disk: raw before others. */
static int choose(const struct img_documents *docs, const struct img_index_doc *index,
	struct img_desc *ret_desc, struct msb_str *ret, struct msb_err *e)
{
	_cleanup_free_ struct img_desc **v = calloc(index->n + 1, sizeof(struct img_desc *));
	size_t n = v ? fitting(index, v) : 0, take = 0;
	enum form form;
	int r;

	if (!v)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (!n)
		return nothing_fits(index, e);
	r = read_document(docs, v[0], ret, e);
	if (r < 0)
		return r;
	form = n > 1 ? form_of(v[0], ret) : NO_MIXTAPE;
	if (n > 1 && form == NO_MIXTAPE && docs->strict)
		return not_unique(v, n, e);
	for (size_t k = 1; r == 0 && form == MIXTAPE && k < n; k++) {
		_cleanup_str_ struct msb_str other = MSB_STR_INIT;

		r = read_document(docs, v[k], &other, e);
		if (r == 0 && form_of(v[k], &other) == RAW_MIXTAPE) {
			form = RAW_MIXTAPE;
			take = k;
			msb_str_done(ret);
			*ret = other;
			other = (struct msb_str)MSB_STR_INIT;
		}
	}
	if (r == 0)
		*ret_desc = *v[take];
	return r;
}

/* Down to a manifest in plan->manifest. */
static int find_manifest(const struct img_documents *docs, const char *media_type,
	struct img_plan *plan, struct msb_err *e)
{
	for (int depth = 0; depth <= IMG_MAX_NESTED_INDEX; depth++) {
		struct img_index_doc index = {0};
		enum img_desc_kind is;
		struct img_desc d = {0};
		int r = img_parse_document(
			plan->manifest.buf ?: "", plan->manifest.len, media_type, &is, e);

		if (r < 0 || is == IMG_DESC_MANIFEST)
			return r;
		r = img_parse_index(plan->manifest.buf, plan->manifest.len, &index, e);
		if (r == 0)
			r = choose(docs, &index, &d, &plan->manifest, e);
		img_index_doc_done(&index);
		if (r < 0)
			return r;
		media_type = "";
	}
	return msb_err_set(e, E2BIG, "indexes are nested too deeply");
}

/* ---- plans */

static int alloc_layers(struct img_plan *plan, size_t n, struct msb_err *e)
{
	plan->layers = calloc(n + 1, sizeof(*plan->layers));
	return plan->layers ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

int img_plan_config(struct img_plan *plan, size_t nlayers, struct img_config *c, struct msb_err *e)
{
	int r = img_parse_config(plan->config.buf, plan->config.len, c, &plan->meta, e);

	if (r < 0)
		return r;
	if (strcmp(c->platform, IMG_PLATFORM) != 0)
		return msb_err_set(e, EOPNOTSUPP,
			"the image is for %s; this machine runs " IMG_PLATFORM, c->platform);
	if (c->n != nlayers)
		return msb_err_set(
			e, EBADMSG, "the config lists %zu layers, the manifest %zu", c->n, nlayers);
	return alloc_layers(plan, nlayers, e);
}

static int take_layers(struct img_plan *plan, const struct img_manifest *m,
	const struct img_config *c, struct msb_err *e)
{
	char path[80];

	for (size_t k = 0; k < m->nlayers; k++) {
		struct img_plan_layer *l = &plan->layers[k];

		(void)snprintf(path, sizeof(path), "blobs/sha256/%s", m->layers[k].digest);
		memcpy(l->digest, m->layers[k].digest, sizeof(l->digest));
		memcpy(l->media_type, m->layers[k].media_type, sizeof(l->media_type));
		if (plan->kind == IMG_KIND_IMAGE)
			memcpy(l->diff_id, c->diff_ids[k], sizeof(l->diff_id));
		l->size = m->layers[k].size;
		l->path = strdup(path);
		plan->nlayers++;
		if (!l->path)
			return msb_err_set(e, ENOMEM, "out of memory");
	}
	return 0;
}

int img_plan_resolve(const struct img_documents *docs, const char *media_type,
	struct img_plan *plan, struct msb_err *e)
{
	_cleanup_(img_manifest_done) struct img_manifest m = {0};
	_cleanup_(img_config_done) struct img_config c = {0};
	int r = find_manifest(docs, media_type, plan, e);

	if (r == 0)
		r = img_parse_manifest(plan->manifest.buf, plan->manifest.len, &m, e);
	if (r == 0)
		r = read_document(docs, &m.config, &plan->config, e);
	if (r < 0)
		return r;
	img_sha_of(plan->manifest.buf, plan->manifest.len, plan->digest);
	memcpy(plan->config_digest, m.config.digest, sizeof(plan->config_digest));
	memcpy(plan->media_type, m.media_type, sizeof(plan->media_type));
	plan->kind = m.kind;
	if (m.kind == IMG_KIND_IMAGE)
		r = img_plan_config(plan, m.nlayers, &c, e);
	else
		r = alloc_layers(plan, m.nlayers, e);
	if (r == 0)
		r = take_layers(plan, &m, &c, e);
	img_mixtape_meta(&m, &plan->meta);
	if (r == 0 && (plan->manifest.oom || plan->config.oom || plan->meta.oom))
		r = msb_err_set(e, ENOMEM, "out of memory");
	return r;
}

void img_plan_done(struct img_plan *plan)
{
	for (size_t k = 0; k < plan->nlayers; k++)
		free(plan->layers[k].path);
	free(plan->layers);
	msb_str_done(&plan->manifest);
	msb_str_done(&plan->config);
	msb_str_done(&plan->meta);
	*plan = (struct img_plan){0};
}
