// SPDX-License-Identifier: Apache-2.0
/*
 * Importing one image.
 *
 * Theory of operation: a layer is read once. One thread reads it, digests it, decompresses it and
 * digests that; this one takes the tar apart and stores what is in it. The two digests are looked
 * at when all has come, so what was applied to the tree until then is only kept if they are right.
 */
#include "fs/image/import.h"
#include "fs/image/layer.h"
#include "fs/image/plan.h"
#include "fs/image/queue.h"
#include "fs/image/sha.h"
#include "fs/image/unzip.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <string.h>
#include <sys/stat.h>

#define READ_BYTES     (256u << 10)
#define PROGRESS_EVERY (8u << 20)

struct import {
	const struct img_import_opts *opts;
	struct img_tree *tree;
	struct img_store *store;
	uint64_t done, total, unpacked; /* the reader's while there is one */
	uint64_t told;			/* of done; likewise */
};

/* The reading half, which runs in a thread of its own until it is joined. */
struct reader {
	struct import *im;
	const struct img_member *member;
	struct img_queue *queue;
	struct img_unzip *unzip;
	EVP_MD_CTX *packed, *unpacked;
	int result;
	struct msb_err err;
};

static int unpacked(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct reader *rd = arg;

	rd->im->unpacked += n;
	if (rd->im->unpacked > rd->im->opts->max_bytes)
		return msb_err_set(e, E2BIG, "the image unpacks to more than %llu bytes",
			(unsigned long long)rd->im->opts->max_bytes);
	(void)EVP_DigestUpdate(rd->unpacked, p, n);
	return img_queue_put(rd->queue, p, n);
}

static void tell(struct import *im, const char *stage, bool force)
{
	if (!im->opts->progress || (!force && im->done - im->told < PROGRESS_EVERY))
		return;
	im->told = im->done;
	im->opts->progress(im->opts->arg, stage, im->done, im->total);
}

static int read_member(struct reader *rd, struct msb_err *e)
{
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	const struct img_member *m = rd->member;
	int r = buf ? 0 : msb_err_set(e, ENOMEM, "out of memory");

	for (uint64_t off = 0; r == 0 && off < m->size;) {
		size_t want = m->size - off < READ_BYTES ? (size_t)(m->size - off) : READ_BYTES;
		int64_t n = msb_pread_full(m->fd, buf, want, m->off + off);

		if (n != (int64_t)want)
			return msb_err_set(e, n < 0 ? (int)-n : EBADMSG, "cannot read it: %s",
				n < 0 ? strerror((int)-n) : "it ends too early");
		(void)EVP_DigestUpdate(rd->packed, buf, want);
		r = img_unzip_feed(rd->unzip, buf, want, e);
		off += want;
		rd->im->done += want;
		tell(rd->im, "layers", false);
	}
	return r < 0 ? r : img_unzip_finish(rd->unzip, e);
}

static void *reader_main(void *arg)
{
	struct reader *rd = arg;

	rd->result = read_member(rd, &rd->err);
	img_queue_end(rd->queue);
	return NULL;
}

/* Runs both halves. What the tar says comes first: the reader's error is then that it was stopped.
 */
static int unpack(struct reader *rd, struct img_tar *tar, struct msb_err *e)
{
	const void *p;
	pthread_t thread;
	size_t n;
	int r = pthread_create(&thread, NULL, reader_main, rd);

	if (r)
		return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
	while (r == 0 && (n = img_queue_get(rd->queue, &p)))
		r = img_tar_feed(tar, p, n, e);
	if (r < 0)
		img_queue_stop(rd->queue);
	(void)pthread_join(thread, NULL); /* of a thread that exists */
	if (r == 0 && rd->result < 0) {
		if (e)
			*e = rd->err;
		return rd->result;
	}
	return r < 0 ? r : img_tar_finish(tar, e);
}

static int check_digests(struct reader *rd, const struct img_plan_layer *pl, struct msb_err *e)
{
	char got[65];

	img_sha_hex(rd->packed, got);
	if (*pl->digest && strcmp(got, pl->digest) != 0)
		return msb_err_set(e, EBADMSG, "damaged: its digest is sha256:%s, not sha256:%s",
			got, pl->digest);
	img_sha_hex(rd->unpacked, got);
	if (strcmp(got, pl->diff_id) != 0)
		return msb_err_set(e, EBADMSG, "damaged: it unpacks to sha256:%s, not sha256:%s",
			got, pl->diff_id);
	return 0;
}

static int take_layer(struct import *im, const struct img_source *src,
	const struct img_plan_layer *pl, uint32_t number, struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *packed = img_sha_new(), *diff = img_sha_new();
	struct img_layer layer = {.tree = im->tree, .store = im->store, .number = number};
	_cleanup_(img_member_done) struct img_member m = {0};
	struct reader rd = {.im = im, .member = &m, .packed = packed, .unpacked = diff};
	struct img_tar *tar = NULL;
	int r = img_source_member(src, pl->path, &m, e);

	if (r == -ENOENT)
		return msb_err_set(e, EBADMSG, "it is missing");
	if (r < 0)
		return r;
	if (m.size != pl->size)
		return msb_err_set(e, EBADMSG, "it has %llu bytes, not %llu",
			(unsigned long long)m.size, (unsigned long long)pl->size);
	if (packed && diff && img_tar_new(&img_layer_ops, &layer, &tar) == 0 &&
		img_queue_new(&rd.queue) == 0 && img_unzip_new(unpacked, &rd, &rd.unzip) == 0)
		r = unpack(&rd, tar, e);
	else
		r = msb_err_set(e, ENOMEM, "out of memory");
	img_tar_free(tar);
	img_unzip_free(rd.unzip);
	img_queue_free(rd.queue);
	return r < 0 ? r : check_digests(&rd, pl, e);
}

/* ---- the finished tree */

struct totals {
	uint64_t bytes, inodes;
};

/* Each inode once: what is counted is marked, and a second walk takes the marks away again. */
static void count(struct img_inode *dir, bool mark, struct totals *t)
{
	for (struct img_dent *d = dir->children; d; d = d->next) {
		struct img_inode *i = d->inode;

		if (i->mark == mark)
			continue;
		i->mark = mark;
		t->inodes++;
		if (S_ISREG(i->mode))
			t->bytes += i->size;
		if (S_ISDIR(i->mode))
			count(i, mark, t); /* as deep as IMG_MAX_DEPTH */
	}
}

static int publish(
	struct import *im, const struct img_plan *plan, struct img_imported *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str meta = MSB_STR_INIT;
	struct totals t = {.inodes = 1}, again = {0};
	int r;

	count(img_tree_root(im->tree), true, &t);
	count(img_tree_root(im->tree), false, &again);
	msb_str_addf(&meta, "size_bytes %llu\ninodes %llu\n", (unsigned long long)t.bytes,
		(unsigned long long)t.inodes);
	msb_str_add(&meta, plan->meta.buf, plan->meta.len);
	if (meta.oom)
		return msb_err_set(e, ENOMEM, "out of memory");
	const struct img_store_file files[] = {
		{"manifest.json", plan->manifest.buf, plan->manifest.len},
		{"config.json", plan->config.buf, plan->config.len},
		{"meta", meta.buf, meta.len},
	};
	r = img_store_publish(im->store, plan->digest, im->tree, files, ARRAY_LEN(files), e);
	if (r < 0)
		return r;
	*ret = (struct img_imported){.kind = "image", .size_bytes = t.bytes};
	memcpy(ret->digest, plan->digest, sizeof(ret->digest));
	return 0;
}

int img_import_run(const struct img_source *src, struct img_store *st,
	const struct img_import_opts *opts, struct img_imported *ret, struct msb_err *e)
{
	struct import im = {.opts = opts, .store = st};
	_cleanup_(img_plan_done) struct img_plan plan = {0};
	int r = img_plan_make(src, &plan, e);

	if (r < 0)
		return r;
	if (img_store_has(st, plan.digest)) {
		*ret = (struct img_imported){.kind = "image"};
		memcpy(ret->digest, plan.digest, sizeof(ret->digest));
		return img_store_size(st, plan.digest, &ret->size_bytes, e);
	}
	for (size_t k = 0; k < plan.nlayers; k++)
		im.total += plan.layers[k].size;
	if (img_tree_new(opts->max_inodes, &im.tree) < 0)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; r == 0 && k < plan.nlayers; k++) {
		r = take_layer(&im, src, &plan.layers[k], (uint32_t)k + 1, e);
		if (r < 0)
			r = msb_err_wrap(e, "layer %zu of %zu", k + 1, plan.nlayers);
	}
	if (r == 0) {
		tell(&im, "index", true);
		r = publish(&im, &plan, ret, e);
	}
	img_tree_free(im.tree);
	return r;
}
