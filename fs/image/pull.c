// SPDX-License-Identifier: Apache-2.0
/*
 * Pulling one image.
 *
 * Theory of operation: what is missing is asked for at once, each blob into a file of its own
 * (store/blobs/HEX.part), and read from there as it comes. msb-registry has that file open too, so
 * what is read is hashed as it is read, and never looked at again. A file that an earlier pull left
 * may be damaged without anybody's ill will: one that does not check is fetched once more, from its
 * beginning.
 */
#include "fs/image/pull.h"
#include "fs/image/build.h"
#include "fs/image/sha.h"
#include "fs/image/verify.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <string.h>

#define PROGRESS_EVERY (1u << 20)

enum state { WAIT, DOWNLOAD, UNPACK, DONE, EXISTS };
static const char *const state_names[] = {"wait", "download", "unpack", "done", "exists"};

struct pull {
	struct img_remote *remote;
	struct img_store *store;
	const struct img_pull_opts *opts;
	struct img_plan plan;
	bool repair;	      /* what is there may be damaged */
	struct part *parts;   /* plan.nlayers of them */
	pthread_mutex_t lock; /* of who tells, and of each part's request, state and told */
};

/* A layer or blob on its way. */
struct part {
	struct pull *pull;
	const struct img_plan_layer *layer;
	unsigned int number; /* from 1 on */
	bool wanted, resumed;
	struct img_blob blob;
	struct img_request *request; /* NULL: all is there */
	uint64_t pos;		     /* read until here */
	bool done;		     /* the layer's thread's while there is one */
	enum state state;
	uint64_t told;
};

/* ---- telling */

static void tell_all(struct pull *p, const char *stage)
{
	struct img_progress what = {
		.stage = stage, .digest = "", .state = "", .layers = (unsigned int)p->plan.nlayers};

	if (!p->opts->progress)
		return;
	LOCK_SCOPE(&p->lock);
	for (size_t k = 0; p->parts && k < p->plan.nlayers; k++) {
		what.total_bytes += p->plan.layers[k].size;
		if (p->parts[k].state >= DONE)
			what.done_bytes += p->plan.layers[k].size;
	}
	p->opts->progress(p->opts->arg, &what);
}

static void tell(struct part *t, enum state state, uint64_t done)
{
	struct pull *p = t->pull;
	const struct img_progress what = {
		.stage = "layers",
		.digest = t->layer->digest,
		.state = state_names[state],
		.layer = t->number,
		.layers = (unsigned int)p->plan.nlayers,
		.done_bytes = done,
		.total_bytes = t->layer->size,
	};

	LOCK_SCOPE(&p->lock);
	/* The thread that hears of bytes may be behind the one that unpacked them. */
	if (state < t->state || (state == t->state && state != WAIT &&
					done < t->told + PROGRESS_EVERY && done != t->layer->size))
		return;
	t->state = state;
	t->told = done;
	if (p->opts->progress)
		p->opts->progress(p->opts->arg, &what);
}

/* ---- one part */

static void on_ready(void *arg, uint64_t ready)
{
	tell(arg, DOWNLOAD, ready);
}

/* Threads: the one whose part it is; part_stop() any. */
static void part_close(struct part *t, bool drop)
{
	struct img_request *q;

	pthread_mutex_lock(&t->pull->lock);
	q = steal_ptr(t->request);
	pthread_mutex_unlock(&t->pull->lock);
	img_request_close(q);
	img_blob_done(t->pull->store, &t->blob, drop);
}

static int64_t part_read(void *arg, void *p, size_t n, struct msb_err *e)
{
	struct part *t = arg;
	int64_t ready = (int64_t)t->layer->size, got;

	if (t->request)
		ready = img_request_ready(t->request, t->pos, e);
	if (ready <= (int64_t)t->pos)
		return ready < 0 ? ready : 0;
	if (n > (uint64_t)ready - t->pos)
		n = (size_t)((uint64_t)ready - t->pos);
	got = msb_pread_full(t->blob.fd, p, n, t->pos);
	if (got != (int64_t)n)
		return msb_err_set(e, got < 0 ? (int)-got : EBADMSG, "cannot read what came: %s",
			got < 0 ? strerror((int)-got) : "there is less of it than was said");
	t->pos += n;
	return (int64_t)n;
}

static void part_stop(void *arg)
{
	struct part *t = arg;

	LOCK_SCOPE(&t->pull->lock);
	if (t->request)
		img_request_stop(t->request);
}

static void on_unpack(void *arg, uint64_t done, const char *state)
{
	struct part *t = arg;

	if (strcmp(state, "done") == 0) {
		t->done = true;
		part_close(t, true); /* before the disk has seen much of it */
		tell(t, DONE, t->layer->size);
	} else {
		tell(t, UNPACK, done);
	}
}

static void part_job(struct part *t, struct img_layer_job *job)
{
	*job = (struct img_layer_job){
		.size = t->layer->size,
		.from = {.arg = t, .read = part_read, .stop = part_stop},
		.repair = t->pull->repair,
		.progress = on_unpack,
		.arg = t,
	};
	memcpy(job->diff_id, t->layer->diff_id, sizeof(job->diff_id));
	memcpy(job->digest, t->layer->digest, sizeof(job->digest));
}

static int part_begin(struct part *t, bool afresh, struct msb_err *e)
{
	const char *digest = t->layer->digest;
	uint64_t size = t->layer->size;
	char name[72];
	int r = img_blob_begin(t->pull->store, digest, &t->blob, e);

	if (r < 0)
		return r;
	if (afresh || t->blob.have >= size) {
		if (ftruncate(t->blob.fd, 0) < 0)
			return msb_err_set(e, errno, "cannot empty a download: %m");
		t->blob.have = 0;
	}
	t->pos = 0;
	t->resumed = t->blob.have > 0;
	tell(t, t->resumed ? DOWNLOAD : WAIT, t->blob.have);
	if (!size) /* nothing to fetch, and the protocol would take it for unknown */
		return 0;
	(void)snprintf(name, sizeof(name), "sha256:%s", digest);
	return img_remote_get(t->pull->remote, "blob", name, t->blob.have, size, t->blob.fd,
		on_ready, t, &t->request, e);
}

/* ---- all of them */

/* Whether the store has it already: whole as far as can be told without reading all, or whole. */
static bool is_there(struct pull *p, const struct img_plan_layer *l)
{
	uint64_t size;
	int fd;

	if (p->repair)
		return *l->diff_id && img_layer_verify(p->store, l->diff_id, NULL, NULL) == 0;
	if (*l->diff_id)
		return img_store_has_layer(p->store, l->diff_id);
	fd = img_blob_open(p->store, l->digest, &size);
	if (fd >= 0)
		close(fd);
	return fd >= 0 && size == l->size;
}

/* What must come: not what is there, nor what another part brings. */
static int want_parts(struct pull *p, struct msb_err *e)
{
	/* Where the image is there it needs none of them. */
	bool have = !p->repair && img_store_has(p->store, p->plan.digest);
	size_t n = p->plan.nlayers;

	p->parts = calloc(n + 1, sizeof(*p->parts));
	if (!p->parts)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < n; k++) {
		struct part *t = &p->parts[k];
		const struct img_plan_layer *l = &p->plan.layers[k];
		bool again = false;

		*t = (struct part){.pull = p, .layer = l, .number = (unsigned int)k + 1};
		t->blob.fd = -1;
		if (l->size > p->opts->max_bytes)
			return msb_err_set(e, E2BIG, "layer %zu of %zu has more than %llu bytes",
				k + 1, n, (unsigned long long)p->opts->max_bytes);
		for (size_t j = 0; j < k; j++)
			again = again || strcmp(p->plan.layers[j].digest, l->digest) == 0 ||
				(*l->diff_id && strcmp(p->plan.layers[j].diff_id, l->diff_id) == 0);
		t->wanted = !have && !again && !is_there(p, l);
		if (!t->wanted)
			tell(t, EXISTS, l->size);
	}
	return 0;
}

static int take_blobs(struct pull *p, struct img_budget *budget, struct msb_err *e)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < p->plan.nlayers; k++) {
		struct img_layer_job job;

		if (!p->parts[k].wanted || p->parts[k].done)
			continue;
		part_job(&p->parts[k], &job);
		r = img_blob_take(p->store, &job, budget, e);
		if (r < 0)
			r = msb_err_wrap(e, "blob %zu of %zu", k + 1, p->plan.nlayers);
	}
	return r;
}

static int take_layers(struct pull *p, struct img_budget *budget, struct msb_err *e)
{
	_cleanup_free_ struct img_layer_job *jobs = calloc(p->plan.nlayers + 1, sizeof(*jobs));

	if (!jobs)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < p->plan.nlayers; k++)
		if (p->parts[k].wanted && !p->parts[k].done)
			part_job(&p->parts[k], &jobs[k]);
	return img_layers_take(p->store, jobs, p->plan.nlayers, budget, e);
}

/* Nothing stays of what is refused, nor on a disk that is full. */
static bool is_final(int r)
{
	return r == -EBADMSG || r == -E2BIG || r == -EFBIG || r == -EOPNOTSUPP || r == -ENOSPC ||
	       r == -EDQUOT;
}

static int fetch(struct pull *p, struct img_budget *budget, bool afresh, struct msb_err *e)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < p->plan.nlayers; k++)
		if (p->parts[k].wanted && !p->parts[k].done)
			r = part_begin(&p->parts[k], afresh, e);
	if (r == 0)
		r = p->plan.kind == IMG_KIND_IMAGE ? take_layers(p, budget, e)
						   : take_blobs(p, budget, e);
	for (size_t k = 0; k < p->plan.nlayers; k++)
		part_close(&p->parts[k], is_final(r));
	return r;
}

static int fetch_parts(struct pull *p, struct img_budget *budget, struct msb_err *e)
{
	bool resumed = false;
	int r = fetch(p, budget, false, e);

	for (size_t k = 0; k < p->plan.nlayers; k++)
		resumed = resumed || (p->parts[k].resumed && !p->parts[k].done);
	if (r != -EBADMSG || !resumed)
		return r;
	budget->stop = false;
	budget->bytes = 0;
	for (size_t k = 0; k < p->plan.nlayers; k++)
		if (p->parts[k].wanted && !p->parts[k].done)
			p->parts[k].state = WAIT;
	if (e)
		*e = (struct msb_err){0};
	return fetch(p, budget, true, e);
}

/* ---- documents */

static int read_document(
	void *arg, const struct img_desc *d, struct msb_str *ret, struct msb_err *e)
{
	struct pull *p = arg;
	char name[72];

	if (!d->size)
		return 0;
	(void)snprintf(name, sizeof(name), "sha256:%s", d->digest);
	return img_remote_read(p->remote, d->kind == IMG_DESC_OTHER ? "blob" : "manifest", name,
		d->size, img_limit(IMG_LIMIT_JSON_BYTES), ret, NULL, e);
}

static int resolve(struct pull *p, struct msb_err *e)
{
	const struct img_documents docs = {.read = read_document, .arg = p};
	const char *want = p->opts->name;
	struct img_answer a = {0};
	char got[65];
	int r = img_remote_read(p->remote, "manifest", want, 0, img_limit(IMG_LIMIT_JSON_BYTES),
		&p->plan.manifest, &a, e);

	if (r < 0)
		return r;
	img_sha_of(p->plan.manifest.buf, p->plan.manifest.len, got);
	want = strncmp(want, "sha256:", 7) == 0 ? want + 7 : a.digest;
	if (*want && strcmp(got, want) != 0)
		return msb_err_set(e, EBADMSG,
			"the manifest that came has the digest sha256:%s, not sha256:%s", got,
			want);
	return img_plan_resolve(&docs, a.media_type, &p->plan, e);
}

static int run(struct pull *p, struct img_imported *ret, struct msb_err *e)
{
	struct img_budget budget = {
		.max_bytes = p->opts->max_bytes, .max_inodes = p->opts->max_inodes};
	int r;

	tell_all(p, "manifest");
	r = resolve(p, e);
	p->repair = r == 0 && img_store_damaged(p->store, p->plan.digest);
	budget.replace = p->repair;
	if (r == 0)
		r = want_parts(p, e);
	if (r < 0)
		return r;
	tell_all(p, "layers");
	r = fetch_parts(p, &budget, e);
	if (r == 0) {
		tell_all(p, "index");
		r = img_image_publish(p->store, &p->plan, &budget, ret, e);
	}
	return r;
}

int img_pull_run(struct img_remote *remote, struct img_store *store,
	const struct img_pull_opts *opts, struct img_imported *ret, struct msb_err *e)
{
	struct pull p = {.remote = remote, .store = store, .opts = opts};
	int r;

	pthread_mutex_init(&p.lock, NULL);
	r = run(&p, ret, e);
	if (is_final(r))
		img_store_forget(store);
	img_plan_done(&p.plan);
	free(p.parts);
	pthread_mutex_destroy(&p.lock);
	return r;
}
