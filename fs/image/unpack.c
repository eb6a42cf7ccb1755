// SPDX-License-Identifier: Apache-2.0
/*
 * Unpacking layers.
 *
 * Theory of operation: a layer is read once. One thread reads it, digests it, decompresses it and
 * digests that; another takes the tar apart, stores what is in it and records the rest. The two
 * digests are looked at when all has come: until then nothing of the layer can be seen. What the
 * entries mean together is asked when the image is merged from the records (merge.c).
 */
#include "fs/image/build.h"
#include "fs/image/layer.h"
#include "fs/image/queue.h"
#include "fs/image/sha.h"
#include "fs/image/unzip.h"
#include "base/cleanup.h"

#include <pthread.h>
#include <string.h>

#define READ_BYTES     (256u << 10)
#define PROGRESS_EVERY (1u << 20)

/* The reading half, which runs in a thread of its own until it is joined. */
struct reader {
	const struct img_layer_job *job;
	struct img_budget *budget;
	struct img_queue *queue;
	struct img_unzip *unzip;
	EVP_MD_CTX *packed, *unpacked;
	uint64_t done;
	int result;
	struct msb_err err;
};

/* The half that takes the tar apart. */
struct taker {
	struct img_writer *w;
	struct img_record_writer *rec;
	struct img_budget *budget;
	uint64_t entries;
	bool storing;
	const char *mark;		  /* what is fed and not recorded begins here */
	const struct img_tar_part *parts; /* of the file that is stored, where it has holes */
	size_t nparts;
};

/* ---- reading */

static int over_budget(struct img_budget *b, uint64_t n, struct msb_err *e)
{
	uint64_t before = atomic_fetch_add(&b->bytes, n);

	if (n <= b->max_bytes && before <= b->max_bytes - n)
		return 0;
	return msb_err_set(e, E2BIG, "the image unpacks to more than %llu bytes",
		(unsigned long long)b->max_bytes);
}

static int unpacked(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct reader *rd = arg;
	int r = over_budget(rd->budget, n, e);

	if (r < 0)
		return r;
	(void)EVP_DigestUpdate(rd->unpacked, p, n);
	return img_queue_put(rd->queue, p, n);
}

static int wrong_size(const struct reader *rd, struct msb_err *e)
{
	return msb_err_set(e, EBADMSG, "it has %s%llu bytes, not %llu",
		rd->done > rd->job->size ? "more than " : "",
		(unsigned long long)(rd->done > rd->job->size ? rd->job->size : rd->done),
		(unsigned long long)rd->job->size);
}

static int read_all(struct reader *rd, struct msb_err *e)
{
	_cleanup_free_ char *buf = malloc(READ_BYTES);
	const struct img_layer_job *job = rd->job;
	uint64_t told = 0;
	int r = buf ? 0 : msb_err_set(e, ENOMEM, "out of memory");

	while (r == 0) {
		int64_t n;

		if (rd->budget->stop)
			return msb_err_set(e, ECANCELED, "stopped");
		n = job->from.read(job->from.arg, buf, READ_BYTES, e);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		rd->done += (uint64_t)n;
		if (job->size != UINT64_MAX && rd->done > job->size)
			return wrong_size(rd, e);
		if (rd->packed)
			(void)EVP_DigestUpdate(rd->packed, buf, (size_t)n);
		r = img_unzip_feed(rd->unzip, buf, (size_t)n, e);
		if (r == 0 && job->progress && rd->done - told >= PROGRESS_EVERY) {
			told = rd->done;
			job->progress(job->arg, told, "unpack");
		}
	}
	if (r == 0 && job->size != UINT64_MAX && rd->done != job->size)
		r = wrong_size(rd, e);
	return r < 0 ? r : img_unzip_finish(rd->unzip, e);
}

static void *reader_main(void *arg)
{
	struct reader *rd = arg;

	rd->result = read_all(rd, &rd->err);
	img_queue_end(rd->queue);
	return NULL;
}

/* ---- taking the tar apart */

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	static const struct img_tar_part nothing;
	struct taker *t = arg;

	if (++t->entries > t->budget->max_inodes)
		return msb_err_set(e, E2BIG, "the image holds too many files");
	t->storing = x->type == IMG_TAR_FILE && x->size > IMG_INLINE_MAX;
	t->parts = x->sparse ? x->parts ?: &nothing : NULL;
	t->nparts = x->nparts;
	if (t->storing)
		img_writer_begin(t->w);
	return 0;
}

static int on_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct taker *t = arg;
	const char *b = p;
	int r;

	if (!t->storing)
		return 0;
	r = b > t->mark ? img_record_raw(t->rec, t->mark, (size_t)(b - t->mark), e) : 0;
	t->mark = b + n;
	return r < 0 ? r : img_writer_data(t->w, p, n, e);
}

static int on_hole(void *arg, uint64_t n, struct msb_err *e)
{
	struct taker *t = arg;
	int r = over_budget(t->budget, n, e);

	return r < 0 || !t->storing ? r : img_writer_hole(t->w, n, e);
}

static int on_done(void *arg, struct msb_err *e)
{
	struct taker *t = arg;
	struct img_span s;
	int r;

	if (!t->storing)
		return 0;
	t->storing = false;
	r = img_writer_end(t->w, &s, e);
	return r < 0 ? r : img_record_data(t->rec, &s, t->parts, t->nparts, e);
}

/* Runs both halves. What the tar says comes first: the reader's error is then that it was stopped.
 */
static int run(struct reader *rd, struct taker *t, struct img_tar *tar, struct msb_err *e)
{
	const void *p;
	pthread_t thread;
	size_t n;
	int r = pthread_create(&thread, NULL, reader_main, rd);

	if (r)
		return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
	while (r == 0 && (n = img_queue_get(rd->queue, &p))) {
		const char *end = (const char *)p + n;

		t->mark = p;
		r = img_tar_feed(tar, p, n, e);
		if (r == 0 && end > t->mark)
			r = img_record_raw(t->rec, t->mark, (size_t)(end - t->mark), e);
	}
	if (r < 0) {
		img_queue_stop(rd->queue);
		if (rd->job->from.stop)
			rd->job->from.stop(rd->job->from.arg);
	}
	(void)pthread_join(thread, NULL); /* of a thread that exists */
	if (r == 0 && rd->result < 0) {
		if (e)
			*e = rd->err;
		return rd->result;
	}
	return r < 0 ? r : img_tar_finish(tar, e);
}

static int check_digests(struct reader *rd, struct msb_err *e)
{
	char got[65];

	if (rd->packed) {
		img_sha_hex(rd->packed, got);
		if (strcmp(got, rd->job->digest) != 0)
			return msb_err_set(e, EBADMSG,
				"damaged: its digest is sha256:%s, not sha256:%s", got,
				rd->job->digest);
	}
	img_sha_hex(rd->unpacked, got);
	if (strcmp(got, rd->job->diff_id) != 0)
		return msb_err_set(e, EBADMSG, "damaged: it unpacks to sha256:%s, not sha256:%s",
			got, rd->job->diff_id);
	return 0;
}

static int take(
	struct img_store *st, struct reader *rd, struct img_store_record *rec, struct msb_err *e)
{
	static const struct img_tar_ops ops = {on_entry, on_data, on_hole, on_done};
	struct taker t = {.rec = rec->w, .budget = rd->budget};
	struct img_tar *tar = NULL;
	int r = img_writer_new(st, &t.w, e);

	if (r == 0 && (img_tar_new(&ops, &t, &tar) < 0 || img_queue_new(&rd->queue) < 0 ||
			      img_unzip_new(unpacked, rd, &rd->unzip) < 0))
		r = msb_err_set(e, ENOMEM, "out of memory");
	if (r == 0)
		r = run(rd, &t, tar, e);
	if (r == 0)
		r = check_digests(rd, e);
	/* The window of a decompressor and the buffers are not needed while the disk is waited for.
	 */
	img_tar_free(tar);
	img_unzip_free(rd->unzip);
	img_queue_free(rd->queue);
	if (r == 0)
		r = rd->job->repair ? img_store_repair_layer(st, rd->job->diff_id, t.w, rec, e)
				    : img_store_add_layer(st, rd->job->diff_id, t.w, rec, false, e);
	img_writer_free(t.w);
	return r;
}

int img_layer_take(struct img_store *st, const struct img_layer_job *job, struct img_budget *budget,
	struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *packed = *job->digest ? img_sha_new() : NULL,
					   *diff = img_sha_new();
	struct reader rd = {.job = job, .budget = budget, .packed = packed, .unpacked = diff};
	struct img_store_record rec = {.fd = -1};
	int r;

	if (!diff || (*job->digest && !packed))
		return msb_err_set(e, ENOMEM, "out of memory");
	r = img_store_record_new(st, job->diff_id, &rec, e);
	if (r == 0)
		r = take(st, &rd, &rec, e);
	img_store_record_done(st, &rec);
	if (r == 0 && job->progress)
		job->progress(job->arg, rd.done, "done");
	return r;
}

bool img_store_has_layer(const struct img_store *st, const char *diff_id)
{
	struct img_record *rec;

	if (img_store_layer(st, diff_id, &rec, NULL) < 0)
		return false;
	img_record_close(rec);
	return true;
}
