// SPDX-License-Identifier: Apache-2.0
// Pushing an image of the store to a registry.
#include "fs/image/push.h"
#include "fs/image/build.h"
#include "fs/image/layer_tar.h"
#include "fs/image/plan.h"
#include "fs/image/rewrite.h"
#include "fs/image/sha.h"
#include "fs/image/zip.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PROGRESS_EVERY (1u << 20)

struct push {
	struct img_remote *remote;
	struct img_store *store;
	const struct img_push_opts *opts;
	struct img_plan plan;
	struct img_new_layer *now; /* what each layer is there */
	bool *missing;		   /* of the layers, as they were pulled */

	/* The threads' */
	int (*each)(struct push *, size_t k, struct msb_err *e);
	pthread_mutex_t lock; /* of what follows, and of who tells */
	size_t next;
	int result;
	struct msb_err err;
};

/* A layer on its way out. */
struct upload {
	struct push *push;
	size_t k;
	uint64_t told, total;
	int fd;
	uint64_t n; /* bytes in it */
	struct img_zip *zip;
	EVP_MD_CTX *sha;
	uint64_t tar_bytes;
};

static void tell(struct push *p, size_t k, const char *state, uint64_t done, uint64_t total)
{
	const struct img_progress what = {
		.stage = "layers",
		.digest = p->plan.layers[k].digest,
		.state = state,
		.layer = (unsigned int)k + 1,
		.layers = (unsigned int)p->plan.nlayers,
		.done_bytes = done,
		.total_bytes = total,
	};

	if (!p->opts->progress)
		return;
	LOCK_SCOPE(&p->lock);
	p->opts->progress(p->opts->arg, &what);
}

/* ---- each layer in some thread */

static bool take(struct push *p, size_t *ret)
{
	LOCK_SCOPE(&p->lock);
	if (p->result < 0 || p->next == p->plan.nlayers)
		return false;
	*ret = p->next++;
	return true;
}

static void *work(void *arg)
{
	struct push *p = arg;
	size_t k;

	while (take(p, &k)) {
		struct msb_err e = {0};
		int r = p->each(p, k, &e);
		bool first;

		if (r == 0)
			continue;
		pthread_mutex_lock(&p->lock);
		first = p->result == 0;
		if (first) {
			p->result = r;
			p->err = e;
			(void)msb_err_wrap(&p->err, "layer %zu of %zu", k + 1, p->plan.nlayers);
		}
		pthread_mutex_unlock(&p->lock);
		if (first)
			img_remote_stop(p->remote); /* the others need not go on */
	}
	return NULL;
}

static int for_each(
	struct push *p, int (*each)(struct push *, size_t, struct msb_err *), struct msb_err *e)
{
	pthread_t t[IMG_PUSH_THREADS];
	size_t started = 0;

	p->each = each;
	p->next = 0;
	/* This one works too: where no other can be started it does it all. */
	while (started + 1 < IMG_PUSH_THREADS && started + 1 < p->plan.nlayers &&
		pthread_create(&t[started], NULL, work, p) == 0)
		started++;
	(void)work(p);
	for (size_t k = 0; k < started; k++)
		(void)pthread_join(t[k], NULL); /* of a thread that exists */
	if (p->result < 0 && e)
		*e = p->err;
	return p->result;
}

static bool is_first(const struct push *p, size_t k)
{
	for (size_t j = 0; j < k; j++)
		if (strcmp(p->plan.layers[j].digest, p->plan.layers[k].digest) == 0)
			return false;
	return true;
}

/* ---- what the registry has */

static int has(struct push *p, const char *digest, bool *ret, struct msb_err *e)
{
	struct img_answer a = {0};
	char name[72];
	int r;

	(void)snprintf(name, sizeof(name), "sha256:%s", digest);
	r = img_remote_exists(p->remote, "blob", name, &a, e);
	*ret = a.yes;
	/* One that cannot be mounted is uploaded. */
	if (r == 0 && !*ret && p->opts->from)
		return img_remote_mount(p->remote, digest, p->opts->from, ret, e);
	return r;
}

/* What an archive called a layer's size need not be that of its tar; a manifest must say that. */
static bool size_is_right(struct push *p, const struct img_plan_layer *l)
{
	struct img_record *rec;
	bool right;

	if (strcmp(l->digest, l->diff_id) != 0 ||
		img_store_layer(p->store, l->diff_id, &rec, NULL) < 0)
		return true;
	right = img_record_tar_bytes(rec) == l->size;
	img_record_close(rec);
	return right;
}

static int look(struct push *p, size_t k, struct msb_err *e)
{
	const struct img_plan_layer *l = &p->plan.layers[k];
	bool there = true;
	int r = 0;

	if (is_first(p, k) && !size_is_right(p, l))
		there = false;
	else if (is_first(p, k))
		r = has(p, l->digest, &there, e);

	p->missing[k] = !there;
	if (r == 0 && there)
		tell(p, k, "exists", p->plan.layers[k].size, p->plan.layers[k].size);
	return r;
}

/* ---- what it has not */

static void on_upload(void *arg, uint64_t done)
{
	struct upload *u = arg;

	if (done < u->told + PROGRESS_EVERY && done != u->total)
		return;
	u->told = done;
	tell(u->push, u->k, "upload", done, u->total);
}

static int packed(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct upload *u = arg;
	int r = msb_pwrite_full(u->fd, p, n, u->n);

	(void)EVP_DigestUpdate(u->sha, p, n);
	u->n += n;
	return r < 0 ? msb_err_set(e, -r, "cannot store the layer to be uploaded: %s", strerror(-r))
		     : 0;
}

static int tar_bytes(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct upload *u = arg;

	u->tar_bytes += n;
	if (u->tar_bytes - u->told >= 8 * PROGRESS_EVERY) {
		u->told = u->tar_bytes;
		tell(u->push, u->k, "pack", u->tar_bytes, u->total);
	}
	return img_zip_feed(u->zip, p, n, e);
}

/* A nameless file beside what is pushed, gone with its descriptor. */
static int scratch(int store_fd, struct msb_err *e)
{
	int fd = openat(store_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) /* no such files here: in memory, then */
		fd = memfd_create("msb-image", MFD_CLOEXEC);
	return fd < 0 ? msb_err_set(e, errno, "cannot store the layer to be uploaded: %m") : fd;
}

static int pack(struct upload *u, const struct img_plan_layer *l, struct msb_err *e)
{
	struct img_store *st = u->push->store;
	struct img_record *rec;
	int r = img_store_layer(st, l->diff_id, &rec, e);

	if (r < 0)
		return r;
	u->total = img_record_tar_bytes(rec);
	img_record_close(rec);
	u->sha = img_sha_new();
	if (!u->sha || img_zip_new(img_media_compression(l->media_type), packed, u, &u->zip) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = img_layer_tar(st, l->diff_id, tar_bytes, u, e);
	return r < 0 ? r : img_zip_finish(u->zip, e);
}

/* The new layer, once compressed; one that an earlier push put is there. */
static int put(struct upload *u, const char *digest, struct msb_err *e)
{
	bool there;
	int r = has(u->push, digest, &there, e);

	if (r < 0 || there)
		return r;
	u->told = 0;
	u->total = u->n;
	return img_remote_put_blob(u->push->remote, digest, u->n, u->fd, on_upload, u, e);
}

static int upload_layer(struct upload *u, struct msb_err *e)
{
	const struct img_plan_layer *l = &u->push->plan.layers[u->k];
	struct img_new_layer *now = &u->push->now[u->k];
	int r = pack(u, l, e);

	if (r < 0)
		return r;
	img_sha_hex(u->sha, now->digest);
	now->size = u->n;
	now->changed = strcmp(now->digest, l->digest) != 0 || now->size != l->size;
	if (now->changed && !*l->media_type)
		now->media_type = IMG_TYPE_TAR;
	return put(u, now->digest, e);
}

static int upload(struct push *p, size_t k, struct msb_err *e)
{
	const struct img_plan_layer *l = &p->plan.layers[k];
	struct upload u = {.push = p, .k = k, .fd = -1};
	int r;

	if (!p->missing[k])
		return 0;
	if (*l->diff_id) {
		u.fd = scratch(p->opts->store_fd, e);
		r = u.fd < 0 ? u.fd : upload_layer(&u, e);
	} else {
		u.fd = img_blob_open(p->store, l->digest, &u.n);
		r = u.fd < 0 ? msb_err_set(e, -u.fd, "%s", strerror(-u.fd)) : put(&u, l->digest, e);
	}
	img_zip_free(u.zip);
	EVP_MD_CTX_free(u.sha);
	if (u.fd >= 0)
		close(u.fd);
	if (r == 0)
		tell(p, k, "done", u.n, u.n);
	return r;
}

/* ---- documents */

static int put_config(struct push *p, struct msb_err *e)
{
	const struct msb_str *doc = &p->plan.config;
	_cleanup_close_ int fd = -1;
	bool there;
	int r = has(p, p->plan.config_digest, &there, e);

	if (r < 0 || there)
		return r;
	fd = memfd_create("msb-image", MFD_CLOEXEC);
	r = fd < 0 ? -errno : msb_pwrite_full(fd, doc->buf, doc->len, 0);
	if (r < 0)
		return msb_err_set(e, -r, "out of memory: %s", strerror(-r));
	return img_remote_put_blob(p->remote, p->plan.config_digest, doc->len, fd, NULL, NULL, e);
}

/* Layers that were given once and again are the same again. */
static bool same_again(struct push *p)
{
	bool changed = false;

	for (size_t k = 0; k < p->plan.nlayers; k++) {
		for (size_t j = 0; j < k; j++)
			if (strcmp(p->plan.layers[j].digest, p->plan.layers[k].digest) == 0)
				p->now[k] = p->now[j];
		changed = changed || p->now[k].changed;
	}
	return !changed;
}

static int put_manifest(struct push *p, char ret_digest[65], struct msb_err *e)
{
	_cleanup_str_ struct msb_str fresh = MSB_STR_INIT;
	const struct msb_str *doc = &p->plan.manifest;
	char digest[65];
	int r = 0;

	if (!same_again(p)) {
		r = img_manifest_rewrite(
			doc->buf, doc->len, p->now, p->plan.nlayers, false, &fresh, e);
		doc = &fresh;
	}
	if (r == 0)
		r = img_remote_put_manifest(
			p->remote, p->opts->name, p->plan.media_type, doc->buf, doc->len, e);
	if (r < 0)
		return r;
	img_sha_of(doc->buf, doc->len, digest);
	memcpy(ret_digest, digest, sizeof(digest));
	return 0;
}

static int run(struct push *p, char ret_digest[65], struct msb_err *e)
{
	int r = img_plan_stored(p->opts->store_fd, p->opts->digest, &p->plan, e);

	if (r < 0)
		return r;
	p->now = calloc(p->plan.nlayers + 1, sizeof(*p->now));
	p->missing = calloc(p->plan.nlayers + 1, sizeof(*p->missing));
	if (!p->now || !p->missing)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = for_each(p, look, e);
	if (r == 0)
		r = for_each(p, upload, e);
	if (r == 0)
		r = put_config(p, e);
	return r < 0 ? r : put_manifest(p, ret_digest, e);
}

int img_push_run(struct img_remote *remote, struct img_store *st, const struct img_push_opts *opts,
	char ret_digest[65], struct msb_err *e)
{
	struct push p = {.remote = remote, .store = st, .opts = opts};
	int r;

	pthread_mutex_init(&p.lock, NULL);
	r = run(&p, ret_digest, e);
	img_plan_done(&p.plan);
	free(p.now);
	free(p.missing);
	pthread_mutex_destroy(&p.lock);
	return r;
}
