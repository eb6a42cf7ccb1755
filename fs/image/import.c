// SPDX-License-Identifier: Apache-2.0
// Importing one image: what its source holds and the store does not is unpacked, then merged.
#include "fs/image/import.h"
#include "fs/image/build.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <pthread.h>
#include <string.h>

struct import {
	const struct img_import_opts *opts;
	const struct img_plan *plan;
	pthread_mutex_t lock; /* of calls of opts->progress */
};

/* A layer in the source. */
struct part {
	struct import *im;
	struct img_member member;
	uint64_t at;
	size_t number;
};

static int64_t read_part(void *arg, void *p, size_t n, struct msb_err *e)
{
	struct part *a = arg;
	uint64_t left = a->member.size - a->at;
	size_t want = n < left ? n : (size_t)left;
	int64_t got = msb_pread_full(a->member.fd, p, want, a->member.off + a->at);

	if (got != (int64_t)want)
		return msb_err_set(e, got < 0 ? (int)-got : EBADMSG, "cannot read it: %s",
			got < 0 ? strerror((int)-got) : "it ends too early");
	a->at += want;
	return got;
}

static void tell(struct import *im, const struct img_progress *p)
{
	LOCK_SCOPE(&im->lock);
	if (im->opts->progress)
		im->opts->progress(im->opts->arg, p);
}

static void tell_layer(struct import *im, size_t k, const char *state, uint64_t done)
{
	const struct img_plan_layer *pl = &im->plan->layers[k];

	tell(im, &(struct img_progress){.stage = "layers",
			 .layer = (unsigned int)k + 1,
			 .layers = (unsigned int)im->plan->nlayers,
			 .digest = *pl->digest ? pl->digest : pl->diff_id,
			 .state = state,
			 .done_bytes = done,
			 .total_bytes = pl->size});
}

static void on_progress(void *arg, uint64_t done, const char *state)
{
	struct part *a = arg;

	tell_layer(a->im, a->number, state, done);
}

static int find(const struct img_source *src, const struct img_plan_layer *pl, struct part *a,
	struct img_layer_job *job, struct msb_err *e)
{
	int r = img_source_member(src, pl->path, &a->member, e);

	if (r == -ENOENT)
		return msb_err_set(e, EBADMSG, "it is missing");
	if (r < 0)
		return r;
	if (*pl->digest && a->member.size != pl->size)
		return msb_err_set(e, EBADMSG, "it has %llu bytes, not %llu",
			(unsigned long long)a->member.size, (unsigned long long)pl->size);
	*job = (struct img_layer_job){.size = a->member.size,
		.from = {.arg = a, .read = read_part},
		.progress = on_progress,
		.arg = a};
	memcpy(job->diff_id, pl->diff_id, sizeof(job->diff_id));
	memcpy(job->digest, pl->digest, sizeof(job->digest));
	return 0;
}

static bool have_blob(const struct img_store *st, const struct img_plan_layer *pl)
{
	uint64_t size;
	int fd = img_blob_open(st, pl->digest, &size);

	if (fd >= 0)
		close(fd);
	return fd >= 0 && size == pl->size;
}

/* What docker save made may be compressed or not, and is the same image: its manifest says how long
 * the layers are unpacked, which their records know. -ENOENT: they are not all there. */
static int complete(struct img_plan *plan, const struct img_store *st, struct msb_err *e)
{
	_cleanup_free_ uint64_t *sizes = calloc(plan->nlayers + 1, sizeof(*sizes));

	if (!sizes)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < plan->nlayers; k++) {
		struct img_record *rec;
		int r = img_store_layer(st, plan->layers[k].diff_id, &rec, e);

		if (r < 0)
			return r;
		sizes[k] = img_record_tar_bytes(rec);
		img_record_close(rec);
	}
	return img_plan_complete(plan, sizes, e);
}

static int take_layers(struct import *im, const struct img_source *src, struct img_store *st,
	struct img_budget *budget, struct msb_err *e)
{
	const struct img_plan *plan = im->plan;
	_cleanup_free_ struct img_layer_job *jobs = calloc(plan->nlayers + 1, sizeof(*jobs));
	_cleanup_free_ struct part *parts = calloc(plan->nlayers + 1, sizeof(*parts));
	int r = jobs && parts ? 0 : msb_err_set(e, ENOMEM, "out of memory");

	for (size_t k = 0; r == 0 && k < plan->nlayers; k++) {
		const struct img_plan_layer *pl = &plan->layers[k];

		if (!budget->replace &&
			(*pl->diff_id ? img_store_has_layer(st, pl->diff_id) : have_blob(st, pl))) {
			tell_layer(im, k, "exists", pl->size);
			continue;
		}
		parts[k].im = im;
		parts[k].number = k;
		r = find(src, pl, &parts[k], &jobs[k], e);
		jobs[k].repair = budget->replace;
		if (r == 0 && !*pl->diff_id)
			r = img_blob_take(st, &jobs[k], budget, e);
		if (r < 0)
			r = msb_err_wrap(e, "layer %zu of %zu", k + 1, plan->nlayers);
	}
	if (r == 0)
		r = img_layers_take(st, jobs, plan->nlayers, budget, e);
	for (size_t k = 0; parts && k < plan->nlayers; k++)
		img_member_done(&parts[k].member);
	return r;
}

int img_import_run(const struct img_source *src, struct img_store *st,
	const struct img_import_opts *opts, struct img_imported *ret, struct msb_err *e)
{
	struct img_budget budget = {.max_bytes = opts->max_bytes, .max_inodes = opts->max_inodes};
	_cleanup_(img_plan_done) struct img_plan plan = {0};
	struct import im = {.opts = opts, .plan = &plan, .lock = PTHREAD_MUTEX_INITIALIZER};
	int r = img_plan_make(src, &plan, e);

	if (r < 0)
		return r;
	if (!*plan.digest)
		(void)complete(&plan, st, NULL); /* else once its layers are there */
	budget.replace = *plan.digest && img_store_damaged(st, plan.digest);
	if (*plan.digest && !budget.replace && img_store_has(st, plan.digest)) {
		*ret = (struct img_imported){0};
		memcpy(ret->digest, plan.digest, sizeof(ret->digest));
		(void)snprintf(ret->kind, sizeof(ret->kind), "%s", img_kind_name(plan.kind));
		return img_store_size(st, plan.digest, &ret->size_bytes, e);
	}
	r = take_layers(&im, src, st, &budget, e);
	if (r == 0 && !*plan.digest)
		r = complete(&plan, st, e);
	if (r == 0) {
		tell(&im, &(struct img_progress){.stage = "index"});
		r = img_image_publish(st, &plan, &budget, ret, e);
	}
	if (r < 0)
		img_store_forget(st);
	return r;
}
