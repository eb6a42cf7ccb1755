// SPDX-License-Identifier: Apache-2.0
// What an import has to do, of an OCI layout or what docker save made; and what the store knows.
#include "fs/image/plan.h"
#include "fs/image/sha.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>

static int read_member(void *arg, const struct img_desc *d, struct msb_str *ret, struct msb_err *e)
{
	char path[80];
	int r;

	(void)snprintf(path, sizeof(path), "blobs/sha256/%s", d->digest);
	r = img_source_read(arg, path, img_limit(IMG_LIMIT_JSON_BYTES), ret, e);
	return r == -ENOENT ? msb_err_set(e, EBADMSG, "blob sha256:%.12s is missing", d->digest)
			    : r;
}

static int plan_oci(const struct img_source *src, struct img_plan *plan, struct msb_err *e)
{
	const struct img_documents docs = {
		.read = read_member, .arg = (void *)(uintptr_t)src, .strict = true};

	return img_plan_resolve(&docs, IMG_TYPE_INDEX, plan, e);
}

int img_plan_complete(struct img_plan *plan, const uint64_t *sizes, struct msb_err *e)
{
	struct msb_str *m = &plan->manifest;
	char config[65];

	img_sha_of(plan->config.buf, plan->config.len, config);
	memcpy(plan->config_digest, config, sizeof(config));
	memcpy(plan->media_type, IMG_TYPE_MANIFEST, sizeof(IMG_TYPE_MANIFEST));
	m->len = 0;
	msb_str_addf(m,
		"{\"schemaVersion\":2,\"mediaType\":\"" IMG_TYPE_MANIFEST "\","
		"\"config\":{\"mediaType\":\"" IMG_TYPE_CONFIG "\","
		"\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[",
		config, plan->config.len);
	for (size_t k = 0; k < plan->nlayers; k++) {
		plan->layers[k].size = sizes[k];
		msb_str_addf(m,
			"%s{\"mediaType\":\"" IMG_TYPE_TAR "\","
			"\"digest\":\"sha256:%s\",\"size\":%llu}",
			k ? "," : "", plan->layers[k].diff_id,
			(unsigned long long)plan->layers[k].size);
	}
	msb_str_adds(m, "]}");
	if (m->oom)
		return msb_err_set(e, ENOMEM, "out of memory");
	img_sha_of(m->buf, m->len, plan->digest);
	return 0;
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
	r = img_source_read(src, d.config, img_limit(IMG_LIMIT_JSON_BYTES), &plan->config, e);
	if (r == -ENOENT)
		return msb_err_set(e, EBADMSG, "the config that manifest.json names is missing");
	if (r == 0)
		r = img_plan_config(plan, d.n, &c, e);
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
		memcpy(l->media_type, IMG_TYPE_TAR, sizeof(IMG_TYPE_TAR));
		plan->nlayers++;
	}
	return r;
}

int img_plan_make(const struct img_source *src, struct img_plan *plan, struct msb_err *e)
{
	int r;

	*plan = (struct img_plan){0};
	r = img_source_read(src, "index.json", img_limit(IMG_LIMIT_JSON_BYTES), &plan->manifest, e);
	if (r == 0) {
		r = plan_oci(src, plan, e);
	} else if (r == -ENOENT) {
		r = img_source_read(
			src, "manifest.json", img_limit(IMG_LIMIT_JSON_BYTES), &plan->manifest, e);
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

static int read_stored(void *arg, const struct img_desc *d, struct msb_str *ret, struct msb_err *e)
{
	int r = msb_read_file(*(int *)arg, "config.json", IMG_MAX_JSON_BYTES, ret);

	return r < 0 ? msb_err_set(e, -r, "its config: %s", strerror(-r)) : 0;
}

static int plan_stored(int dir, const char *digest, struct img_plan *plan, struct msb_err *e)
{
	const struct img_documents docs = {.read = read_stored, .arg = &dir};
	char got[65];
	int r = msb_read_file(dir, "manifest.json", IMG_MAX_JSON_BYTES, &plan->manifest);

	if (r < 0)
		return msb_err_set(e, -r, "its manifest: %s", strerror(-r));
	img_sha_of(plan->manifest.buf, plan->manifest.len, got);
	if (strcmp(got, digest) != 0)
		return msb_err_set(e, EBADMSG, "its manifest is damaged");
	return img_plan_resolve(&docs, "", plan, e);
}

int img_plan_stored(int store_fd, const char *digest, struct img_plan *plan, struct msb_err *e)
{
	_cleanup_close_ int dir = -1;
	char path[80];
	int r;

	*plan = (struct img_plan){0};
	(void)snprintf(path, sizeof(path), "images/%.64s", digest);
	dir = openat(store_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0)
		return msb_err_set(e, errno, "image %.12s: %m", digest);
	r = plan_stored(dir, digest, plan, e);
	if (r < 0) {
		img_plan_done(plan);
		return msb_err_wrap(e, "image %.12s", digest);
	}
	return 0;
}
