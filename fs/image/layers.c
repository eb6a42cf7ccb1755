// SPDX-License-Identifier: Apache-2.0
// An image's layers, unpacked by several threads.
#include "fs/image/build.h"
#include "base/cleanup.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#define STACK_BYTES (512u << 10)

struct crew {
	struct img_store *st;
	const struct img_layer_job *jobs;
	size_t n;
	struct img_budget *budget;
	pthread_mutex_t lock; /* of what follows */
	size_t next;
	int result; /* of the first that failed */
	struct msb_err err;
};

static unsigned int threads_wanted(size_t n)
{
	cpu_set_t set;
	unsigned int cpus =
		sched_getaffinity(0, sizeof(set), &set) < 0 ? 1 : (unsigned int)CPU_COUNT(&set);

	if (cpus > IMG_UNPACK_THREADS)
		cpus = IMG_UNPACK_THREADS;
	return cpus < n ? cpus : (unsigned int)n;
}

static const struct img_layer_job *next_job(struct crew *c, size_t *ret)
{
	LOCK_SCOPE(&c->lock);
	while (c->next < c->n && !*c->jobs[c->next].diff_id)
		c->next++;
	if (c->result < 0 || c->next == c->n)
		return NULL;
	*ret = c->next;
	return &c->jobs[c->next++];
}

static void failed(struct crew *c, size_t k, int r, struct msb_err *e)
{
	pthread_mutex_lock(&c->lock);
	if (c->result < 0) {
		pthread_mutex_unlock(&c->lock);
		return;
	}
	c->result = r;
	c->err = *e;
	(void)msb_err_wrap(&c->err, "layer %zu of %zu", k + 1, c->n);
	pthread_mutex_unlock(&c->lock);
	c->budget->stop = true;
	for (size_t j = 0; j < c->n; j++)
		if (*c->jobs[j].diff_id && c->jobs[j].from.stop)
			c->jobs[j].from.stop(c->jobs[j].from.arg);
}

static void *work(void *arg)
{
	const struct img_layer_job *job;
	struct crew *c = arg;
	size_t k;

	while ((job = next_job(c, &k))) {
		struct msb_err e = {0};
		int r = img_layer_take(c->st, job, c->budget, &e);

		if (r < 0)
			failed(c, k, r, &e);
	}
	return NULL;
}

int img_layers_take(struct img_store *st, const struct img_layer_job *jobs, size_t n,
	struct img_budget *budget, struct msb_err *e)
{
	struct crew c = {.st = st,
		.jobs = jobs,
		.n = n,
		.budget = budget,
		.lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t t[IMG_UNPACK_THREADS];
	unsigned int want, started = 0;
	pthread_attr_t attr;
	size_t todo = 0;

	for (size_t k = 0; k < n; k++)
		todo += *jobs[k].diff_id != 0;
	want = threads_wanted(todo);
	pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* This one works too: where no other can be started it does it all. */
	while (started + 1 < want && pthread_create(&t[started], &attr, work, &c) == 0)
		started++;
	pthread_attr_destroy(&attr);
	(void)work(&c);
	for (unsigned int k = 0; k < started; k++)
		(void)pthread_join(t[k], NULL); /* of a thread that exists */
	if (c.result < 0 && e)
		*e = c.err;
	return c.result;
}
