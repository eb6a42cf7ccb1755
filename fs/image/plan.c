// SPDX-License-Identifier: Apache-2.0
// Finding the one image of a source: OCI layout or docker-save, through nested indexes.
#include "fs/image/plan.h"
#include "fs/image/sha.h"
#include "base/cleanup.h"

#include <string.h>

static void sha_hex(const void *p, size_t n, char out[65])
{
	unsigned char raw[EVP_MAX_MD_SIZE] = {0};

	(void)EVP_Digest(p, n, raw, NULL, EVP_sha256(), NULL); /* all zeros match nothing */
	msb_hex(raw, 32, out);
}

static void blob_path(char out[80], const char *digest)
{
	(void)snprintf(out, 80, "blobs/sha256/%s", digest);
}

/* A JSON document among the blobs, checked against its descriptor. */
static int read_blob(const struct img_source *src, const struct img_desc *d, struct msb_str *ret,
	struct msb_err *e)
{
	char path[80], got[65];
	int r;

	blob_path(path, d->digest);
	ret->len = 0;
	r = img_source_read(src, path, IMG_MAX_JSON_BYTES, ret, e);
	if (r == -ENOENT)
		return msb_err_set(e, EBADMSG, "blob sha256:%.12s is missing", d->digest);
	if (r < 0)
		return r;
	sha_hex(ret->buf, ret->len, got);
	if (ret->len != d->size || strcmp(got, d->digest) != 0)
		return msb_err_set(e, EBADMSG,
			"blob sha256:%.12s is damaged: its digest or size is wrong", d->digest);
	return 0;
}

/* ---- the one manifest for this platform */

static bool fits(const struct img_desc *d)
{
	return d->kind != IMG_DESC_OTHER &&
	       (!d->has_platform || strcmp(d->platform, IMG_PLATFORM) == 0);
}

static int choose(const struct img_index_doc *doc, struct img_desc *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	const struct img_desc *one = NULL;
	size_t fitting = 0;

	for (size_t k = 0; k < doc->n; k++) {
		const struct img_desc *d = &doc->v[k];

		if (!fits(d) || (one && strcmp(one->digest, d->digest) == 0))
			continue;
		one = one ? one : d;
		if (names.len < 256)
			msb_str_addf(&names, "%s%s", fitting ? ", " : "",
				*d->name ? d->name : d->digest);
		fitting++;
	}
	if (fitting == 1) {
		*ret = *one;
		return 0;
	}
	if (fitting > 1)
		return msb_err_set(e, ENOTUNIQ, "it holds %zu images, give it with one only: %s",
			fitting, names.buf ? names.buf : "");
	for (size_t k = 0; k < doc->n && names.len < 256; k++)
		msb_str_addf(&names, "%s%s", k ? ", " : "",
			doc->v[k].has_platform ? doc->v[k].platform : "no platform");
	return msb_err_set(e, doc->n ? EOPNOTSUPP : EBADMSG,
		"it holds no image for " IMG_PLATFORM "%s%s", doc->n ? ", but for: " : "",
		names.buf ? names.buf : "");
}

static int find_manifest(
	const struct img_source *src, struct msb_str *doc, char digest[65], struct msb_err *e)
{
	for (int depth = 0; depth <= IMG_MAX_NESTED_INDEX; depth++) {
		struct img_index_doc index = {0};
		struct img_desc d = {0};
		int r = img_parse_index(doc->buf, doc->len, &index, e);

		if (r == 0)
			r = choose(&index, &d, e);
		img_index_doc_done(&index);
		if (r == 0)
			r = read_blob(src, &d, doc, e);
		if (r < 0)
			return r;
		if (d.kind == IMG_DESC_MANIFEST) {
			memcpy(digest, d.digest, 65);
			return 0;
		}
	}
	return msb_err_set(e, E2BIG, "indexes are nested too deeply");
}

/* ---- plans */

static int take_config(
	struct img_plan *plan, size_t nlayers, struct img_config *c, struct msb_err *e)
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
	plan->layers = calloc(nlayers + 1, sizeof(*plan->layers));
	return plan->layers ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

static int plan_oci(const struct img_source *src, struct img_plan *plan, struct msb_err *e)
{
	_cleanup_(img_manifest_done) struct img_manifest m = {0};
	_cleanup_(img_config_done) struct img_config c = {0};
	char path[80];
	int r = find_manifest(src, &plan->manifest, plan->digest, e);

	if (r == 0)
		r = img_parse_manifest(plan->manifest.buf, plan->manifest.len, &m, e);
	if (r == 0)
		r = read_blob(src, &m.config, &plan->config, e);
	if (r == 0)
		r = take_config(plan, m.nlayers, &c, e);
	if (!plan->layers)
		return r;
	for (size_t k = 0; r == 0 && k < m.nlayers; k++) {
		struct img_plan_layer *l = &plan->layers[k];

		blob_path(path, m.layers[k].digest);
		memcpy(l->digest, m.layers[k].digest, sizeof(l->digest));
		memcpy(l->diff_id, c.diff_ids[k], sizeof(l->diff_id));
		l->size = m.layers[k].size;
		l->path = strdup(path);
		plan->nlayers++;
		if (!l->path)
			r = msb_err_set(e, ENOMEM, "out of memory");
	}
	return r;
}

/* The manifest that docker-save leaves out, with the layers named by what they unpack to. */
static void synthesize(struct img_plan *plan)
{
	struct msb_str *m = &plan->manifest;
	char config[65];

	sha_hex(plan->config.buf, plan->config.len, config);
	m->len = 0;
	msb_str_addf(m,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
		"\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[",
		config, plan->config.len);
	for (size_t k = 0; k < plan->nlayers; k++)
		msb_str_addf(m,
			"%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\","
			"\"digest\":\"sha256:%s\",\"size\":%llu}",
			k ? "," : "", plan->layers[k].diff_id,
			(unsigned long long)plan->layers[k].size);
	msb_str_adds(m, "]}");
	if (!m->oom)
		sha_hex(m->buf, m->len, plan->digest);
}

static int plan_docker(const struct img_source *src, struct img_plan *plan, struct msb_err *e)
{
	_cleanup_(img_docker_done) struct img_docker d = {0};
	_cleanup_(img_config_done) struct img_config c = {0};
	int r = img_parse_docker(plan->manifest.buf, plan->manifest.len, &d, e);

	if (r < 0)
		return r;
	if (d.choices)
		return msb_err_set(e, ENOTUNIQ, "it holds not one image but: %s",
			*d.choices ? d.choices : "none");
	r = img_source_read(src, d.config, IMG_MAX_JSON_BYTES, &plan->config, e);
	if (r == -ENOENT)
		return msb_err_set(e, EBADMSG, "the config that manifest.json names is missing");
	if (r == 0)
		r = take_config(plan, d.n, &c, e);
	if (!plan->layers)
		return r;
	for (size_t k = 0; r == 0 && k < d.n; k++) {
		_cleanup_(img_member_done) struct img_member m = {0};
		struct img_plan_layer *l = &plan->layers[k];

		r = img_source_member(src, d.layers[k], &m, e);
		if (r == -ENOENT)
			return msb_err_set(e, EBADMSG,
				"layer %zu, which manifest.json names, is missing", k + 1);
		memcpy(l->diff_id, c.diff_ids[k], sizeof(l->diff_id));
		l->size = m.size;
		l->path = steal_ptr(d.layers[k]);
		plan->nlayers++;
	}
	if (r == 0)
		synthesize(plan);
	return r;
}

int img_plan_make(const struct img_source *src, struct img_plan *plan, struct msb_err *e)
{
	int r;

	*plan = (struct img_plan){0};
	r = img_source_read(src, "index.json", IMG_MAX_JSON_BYTES, &plan->manifest, e);
	if (r == 0) {
		r = plan_oci(src, plan, e);
	} else if (r == -ENOENT) {
		r = img_source_read(src, "manifest.json", IMG_MAX_JSON_BYTES, &plan->manifest, e);
		r = r == 0	   ? plan_docker(src, plan, e)
		    : r == -ENOENT ? msb_err_set(e, EBADMSG,
					     "not an image: it holds neither index.json (OCI) nor "
					     "manifest.json (docker save)")
				   : r;
	}
	if (r == 0 && (plan->manifest.oom || plan->config.oom || plan->meta.oom))
		r = msb_err_set(e, ENOMEM, "out of memory");
	if (r < 0)
		img_plan_done(plan);
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
