// SPDX-License-Identifier: Apache-2.0
// Writing an image of the store as an OCI archive: image-spec 1.1, image-layout.md, in a tar.
#include "fs/image/export.h"
#include "fs/image/build.h"
#include "fs/image/layer_tar.h"
#include "fs/image/plan.h"
#include "fs/image/rewrite.h"
#include "fs/image/sha.h"
#include "fs/image/tar.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <string.h>

#define OUT_BYTES      (1u << 20)
#define PROGRESS_EVERY (8u << 20)
#define OCTAL_MAX      ((UINT64_C(1) << 33) - 1) /* of a ustar size */

struct out {
	int fd;
	const struct img_export_opts *opts;
	struct img_progress now;
	uint64_t told;
	uint64_t left; /* of the member being written */
	size_t n;
	char *buf; /* OUT_BYTES */
};

static int flush(struct out *o, struct msb_err *e)
{
	int r = msb_write_full(o->fd, o->buf, o->n);

	o->n = 0;
	return r < 0 ? msb_err_set(e, -r, "cannot write the archive: %s", strerror(-r)) : 0;
}

static int put(struct out *o, const void *p, size_t n, struct msb_err *e)
{
	int r = 0;

	for (const char *b = p; r == 0 && n;) {
		size_t k = OUT_BYTES - o->n < n ? OUT_BYTES - o->n : n;

		memcpy(o->buf + o->n, b, k);
		o->n += k;
		b += k;
		n -= k;
		if (o->n == OUT_BYTES)
			r = flush(o, e);
	}
	return r;
}

static void tell(struct out *o, bool always)
{
	if (!o->opts->progress || (!always && o->now.done_bytes - o->told < PROGRESS_EVERY))
		return;
	o->told = o->now.done_bytes;
	o->opts->progress(o->opts->arg, &o->now);
}

/* ---- members: POSIX.1-2017 pax, "ustar Interchange Format" */

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type,
		linkname[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8],
		prefix[155], pad[12];
};
_Static_assert(sizeof(struct ustar) == IMG_TAR_BLOCK, "ustar header");

static void octal(char *to, size_t n, uint64_t v)
{
	for (to[--n] = 0; n--; v >>= 3)
		to[n] = (char)('0' + (v & 7));
}

static int header(struct out *o, const char *name, char type, uint64_t size, struct msb_err *e)
{
	struct ustar h = {.type = type, .magic = "ustar", .version = "00"};
	unsigned int sum = 0;

	memcpy(h.name, name, strlen(name)); /* shorter than 100: they are all ours */
	octal(h.mode, sizeof(h.mode), type == '5' ? 0755 : 0644);
	octal(h.uid, sizeof(h.uid), 0);
	octal(h.gid, sizeof(h.gid), 0);
	octal(h.mtime, sizeof(h.mtime), 0);
	octal(h.major, sizeof(h.major), 0);
	octal(h.minor, sizeof(h.minor), 0);
	if (size > OCTAL_MAX) { /* in binary, as GNU tar has it */
		h.size[0] = (char)0x80;
		for (int k = 11; k > 3; k--, size >>= 8)
			h.size[k] = (char)size;
	} else {
		octal(h.size, sizeof(h.size), size);
	}
	memset(h.chksum, ' ', sizeof(h.chksum));
	for (size_t k = 0; k < sizeof(h); k++)
		sum += ((const unsigned char *)&h)[k];
	octal(h.chksum, 7, sum);
	return put(o, &h, sizeof(h), e);
}

static int begin(struct out *o, const char *name, uint64_t size, struct msb_err *e)
{
	o->left = size;
	return header(o, name, '0', size, e);
}

static int data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct out *o = arg;

	if (n > o->left)
		return msb_err_set(e, EBADMSG, "damaged: it is longer than it was");
	o->left -= n;
	o->now.done_bytes += n;
	tell(o, false);
	return put(o, p, n, e);
}

static int end(struct out *o, uint64_t size, struct msb_err *e)
{
	static const char zeros[IMG_TAR_BLOCK];

	if (o->left)
		return msb_err_set(e, EBADMSG, "damaged: it is shorter than it was");
	return put(o, zeros, (size_t)(-size % IMG_TAR_BLOCK), e);
}

static int member(struct out *o, const char *name, const void *p, size_t n, struct msb_err *e)
{
	int r = begin(o, name, n, e);

	if (r == 0)
		r = data(o, p, n, e);
	return r < 0 ? r : end(o, n, e);
}

static int blob(struct out *o, const char *digest, const void *p, size_t n, struct msb_err *e)
{
	char name[96];

	(void)snprintf(name, sizeof(name), "blobs/sha256/%s", digest);
	return member(o, name, p, n, e);
}

/* ---- layers */

static int copy_blob(
	struct img_store *st, struct out *o, const struct img_plan_layer *l, struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	_cleanup_free_ char *buf = malloc(OUT_BYTES);
	_cleanup_close_ int fd = -1;
	uint64_t size, off = 0;
	char got[65];
	int r = 0;

	if (!sha || !buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	fd = img_blob_open(st, l->digest, &size);
	if (fd < 0)
		return msb_err_set(e, -fd, "%s", strerror(-fd));
	while (r == 0) {
		int64_t n = msb_pread_full(fd, buf, OUT_BYTES, off);

		if (n < 0)
			return msb_err_set(e, (int)-n, "cannot read it: %s", strerror((int)-n));
		if (!n)
			break;
		(void)EVP_DigestUpdate(sha, buf, (size_t)n);
		off += (uint64_t)n;
		r = data(o, buf, (size_t)n, e);
	}
	img_sha_hex(sha, got);
	if (r == 0 && strcmp(got, l->digest) != 0)
		r = msb_err_set(e, EBADMSG, "damaged: its digest is sha256:%s now", got);
	return r;
}

static int layer(struct img_store *st, struct out *o, const struct img_plan_layer *l,
	const struct img_new_layer *now, struct msb_err *e)
{
	char name[96];
	int r;

	(void)snprintf(name, sizeof(name), "blobs/sha256/%s", now->digest);
	r = begin(o, name, now->size, e);
	if (r == 0)
		r = *l->diff_id ? img_layer_tar(st, l->diff_id, data, o, e)
				: copy_blob(st, o, l, e);
	return r < 0 ? r : end(o, now->size, e);
}

static int layers(struct img_store *st, struct out *o, const struct img_plan *plan,
	const struct img_new_layer *v, struct msb_err *e)
{
	for (size_t k = 0; k < plan->nlayers; k++) {
		bool again = strcmp(v[k].digest, plan->config_digest) == 0;
		int r = 0;

		for (size_t j = 0; j < k; j++)
			again = again || strcmp(v[j].digest, v[k].digest) == 0;
		if (!again)
			r = layer(st, o, &plan->layers[k], &v[k], e);
		if (r < 0)
			return msb_err_wrap(e, "layer %zu of %zu", k + 1, plan->nlayers);
	}
	return 0;
}

/* What each layer is in the archive. */
static int new_layers(struct img_store *st, const struct img_plan *plan, struct img_new_layer *v,
	bool *changed, struct msb_err *e)
{
	*changed = false;
	for (size_t k = 0; k < plan->nlayers; k++) {
		const struct img_plan_layer *l = &plan->layers[k];
		struct img_record *rec;
		int r;

		memcpy(v[k].digest, *l->diff_id ? l->diff_id : l->digest, sizeof(v[k].digest));
		v[k].size = l->size;
		if (!*l->diff_id)
			continue;
		v[k].media_type = IMG_TYPE_TAR;
		r = img_store_layer(st, l->diff_id, &rec, e);
		if (r < 0)
			return msb_err_wrap(e, "layer %zu of %zu", k + 1, plan->nlayers);
		v[k].size = img_record_tar_bytes(rec);
		img_record_close(rec);
		v[k].changed = strcmp(l->digest, l->diff_id) != 0 || l->size != v[k].size;
		*changed = *changed || v[k].changed || strcmp(l->media_type, IMG_TYPE_TAR) != 0;
	}
	return 0;
}

static int write_all(struct img_store *st, struct out *o, const struct img_plan *plan,
	const struct img_new_layer *v, const struct msb_str *manifest, const char *type,
	struct msb_err *e)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const char zeros[2 * IMG_TAR_BLOCK];
	_cleanup_str_ struct msb_str index = MSB_STR_INIT;
	char digest[65];
	int r;

	img_sha_of(manifest->buf, manifest->len, digest);
	r = img_layout_index(type, digest, manifest->len, o->opts->name, &index, e);
	if (r == 0)
		r = member(o, "oci-layout", layout, strlen(layout), e);
	if (r == 0)
		r = member(o, "index.json", index.buf, index.len, e);
	if (r == 0)
		r = header(o, "blobs/", '5', 0, e);
	if (r == 0)
		r = header(o, "blobs/sha256/", '5', 0, e);
	if (r == 0)
		r = blob(o, digest, manifest->buf, manifest->len, e);
	if (r == 0)
		r = blob(o, plan->config_digest, plan->config.buf, plan->config.len, e);
	if (r == 0)
		r = layers(st, o, plan, v, e);
	if (r == 0)
		r = put(o, zeros, sizeof(zeros), e);
	return r < 0 ? r : flush(o, e);
}

int img_export_run(
	struct img_store *st, const struct img_export_opts *opts, int fd, struct msb_err *e)
{
	struct out o = {.fd = fd, .opts = opts};
	_cleanup_(img_plan_done) struct img_plan plan = {0};
	_cleanup_str_ struct msb_str fresh = MSB_STR_INIT;
	_cleanup_free_ struct img_new_layer *v = NULL;
	_cleanup_free_ char *buf = o.buf = malloc(OUT_BYTES);
	bool changed;
	int r = img_plan_stored(opts->store_fd, opts->digest, &plan, e);

	if (r < 0)
		return r;
	v = calloc(plan.nlayers + 1, sizeof(*v));
	if (!v || !buf)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = new_layers(st, &plan, v, &changed, e);
	if (r == 0 && changed)
		r = img_manifest_rewrite(
			plan.manifest.buf, plan.manifest.len, v, plan.nlayers, true, &fresh, e);
	if (r < 0)
		return r;
	o.now = (struct img_progress){.stage = "export", .digest = "", .state = ""};
	o.now.layers = (unsigned int)plan.nlayers;
	for (size_t k = 0; k < plan.nlayers; k++)
		o.now.total_bytes += v[k].size;
	tell(&o, true);
	r = write_all(st, &o, &plan, v, changed ? &fresh : &plan.manifest,
		changed ? IMG_TYPE_MANIFEST : plan.media_type, e);
	if (r == 0)
		tell(&o, true);
	return r;
}
