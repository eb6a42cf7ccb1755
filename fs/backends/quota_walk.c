// SPDX-License-Identifier: Apache-2.0
// The quota wrapper: counting what is there in a thread of its own.
#include "fs/backends/quota_priv.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/du.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/*
 * @used went from @before to what it is, by @grown and @shrunk, while the walk met each file at
 * some moment, but for those without a name. So where the host did nothing, the sum, and @hidden
 * with it, lies within [before - shrunk, before + grown], and @used is right. What lies outside is
 * the host's, and is taken over.
 */
static void compare(struct quota *q, int64_t before, uint64_t grown, uint64_t shrunk, uint64_t sum,
	uint64_t hidden, bool partial)
{
	int64_t most = before + (int64_t)(atomic_load(&q->u->grown) - grown);
	int64_t least = before - (int64_t)(atomic_load(&q->u->shrunk) - shrunk);

	if (!atomic_load(&q->u->counted))
		atomic_fetch_add(&q->u->used, (int64_t)sum - before);
	else if ((int64_t)sum > most)
		atomic_fetch_add(&q->u->used, (int64_t)sum - most);
	else if ((int64_t)(sum + hidden) < least && !partial)
		atomic_fetch_add(&q->u->used, (int64_t)(sum + hidden) - least);
}

static void walk(struct quota *q, const _Atomic bool *stop)
{
	uint64_t grown, shrunk, sum;
	uint32_t moved;
	bool partial, moves;
	int64_t before;

	quota_settle_all(q);
	moved = atomic_load(&q->u->moved);
	moves = atomic_load(&q->moving);
	grown = atomic_load(&q->u->grown);
	shrunk = atomic_load(&q->u->shrunk);
	before = atomic_load(&q->u->used);
	sum = fs_du(q->dir_fd, stop, &partial);
	if (atomic_load(stop))
		return;
	quota_settle_all(q);
	moves = moves || atomic_load(&q->u->moved) != moved;
	compare(q, before, grown, shrunk, sum, quota_nameless(q), partial || moves);
	atomic_store(&q->u->counted, true);
}

static void *run(void *arg)
{
	struct quota *q = arg;
	uint64_t from;

	pthread_mutex_lock(&q->lock);
	for (;;) {
		while (!q->asked && !q->ending)
			pthread_cond_wait(&q->cond, &q->lock);
		if (q->ending)
			break;
		q->asked = false;
		pthread_mutex_unlock(&q->lock);
		from = msb_now_ms();
		walk(q, &q->stop);
		pthread_mutex_lock(&q->lock);
		q->ended_ms = msb_now_ms();
		q->took_ms = q->ended_ms - from;
		pthread_cond_broadcast(&q->cond);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

int quota_walk_start(struct quota *q, int dir_fd, struct msb_err *e)
{
	pthread_condattr_t a;
	struct timespec until;
	int r;

	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&q->cond, &a);
	pthread_condattr_destroy(&a);
	q->dir_fd = dir_fd;
	if (dir_fd < 0) {
		atomic_store(&q->u->counted, true);
		return 0;
	}
	q->asked = true;
	r = pthread_create(&q->walker, NULL, run, q);
	if (r) {
		close(dir_fd);
		q->dir_fd = -1;
		return msb_err_set(e, r, "quota: cannot count what is there: %s", strerror(r));
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += QUOTA_START_MS / 1000;
	LOCK_SCOPE(&q->lock);
	while (!q->ended_ms && pthread_cond_timedwait(&q->cond, &q->lock, &until) == 0)
		;
	return 0;
}

void quota_walk_stop(struct quota *q)
{
	if (q->dir_fd >= 0) {
		atomic_store(&q->stop, true);
		pthread_mutex_lock(&q->lock);
		q->ending = true;
		pthread_cond_broadcast(&q->cond);
		pthread_mutex_unlock(&q->lock);
		pthread_join(q->walker, NULL);
		close(q->dir_fd);
	}
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->lock);
}

/* Lock held. Whether there is to be one. */
static bool ask(struct quota *q, uint64_t older_than_ms)
{
	uint64_t now = msb_now_ms(), pause;

	pause = q->took_ms * 20 > QUOTA_WALK_MS ? q->took_ms * 20 : QUOTA_WALK_MS;
	if (pause < older_than_ms)
		pause = older_than_ms;
	if (!q->ended_ms || now - q->ended_ms < pause)
		return false;
	q->asked = true;
	pthread_cond_broadcast(&q->cond);
	return true;
}

void quota_walk_ask(struct quota *q, uint64_t older_than_ms)
{
	if (q->dir_fd < 0)
		return;
	LOCK_SCOPE(&q->lock);
	(void)ask(q, older_than_ms);
}

void quota_walk_now(struct quota *q)
{
	struct timespec until;
	uint64_t before;

	if (q->dir_fd < 0)
		return;
	LOCK_SCOPE(&q->lock);
	before = q->ended_ms;
	if (!ask(q, 0))
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += QUOTA_START_MS / 1000;
	while (q->ended_ms == before && pthread_cond_timedwait(&q->cond, &q->lock, &until) == 0)
		;
}
