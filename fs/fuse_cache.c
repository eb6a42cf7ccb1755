// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server: what a kernel may believe.
 *
 * Theory of operation. Files that nobody but the sessions of this process changes are believed for
 * long by a guest while the host has no view of them, and by a view, for VIEW_ALONE_MS, while there
 * is neither a guest nor another view. When a view comes, msbd has the guest forget
 * (guest/refresh.c). When a guest comes, it waits for its INIT until no view believes anything any
 * more: who told a view last is written down before it looks for guests, who comes is counted
 * before it looks there.
 */
#include "fs/fuse_priv.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#define VIEW_ALONE_MS 1000
#define SLACK_MS      20 /* of the coarse clock, and until the kernel has read a reply */

static _Atomic unsigned int guests, views;
static _Atomic uint64_t told_ms; /* a view, that it may believe something; 0: never */

static const struct fsb_cache view_alone = {.entry_ms = VIEW_ALONE_MS,
	.attr_ms = VIEW_ALONE_MS,
	.negative_ms = VIEW_ALONE_MS,
	.open_flags = FOPEN_KEEP_CACHE};

void fuse_valid(uint32_t ms, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	*ret_sec = ms / 1000;
	*ret_nsec = ms % 1000 * 1000000u;
}

/* With HANDLE_KILLPRIV_V2 the kernel leaves it to us to take set-id bits from a file that is
 * written, and afterwards asks again for its size and times, but not for its mode: of such a file
 * it must believe nothing (Linux 6.12, fs/fuse/file.c: fuse_write_update_attr()). */
void fuse_attr_valid(
	const struct fsb_cache *c, const struct fuse_attr *a, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	bool set_id = S_ISREG(a->mode) && (a->mode & (S_ISUID | S_ISGID));

	fuse_valid(set_id ? 0 : c->attr_ms, ret_sec, ret_nsec);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* a read of memory */
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint32_t either(uint32_t own, uint32_t profile)
{
	return own == FSB_AS_PROFILE ? profile : own;
}

/* @c where it says everything. */
static const struct fsb_cache *filled_in(const struct fsb_cache *c, const struct fsb_cache *profile)
{
	static _Thread_local struct fsb_cache mixed;

	if (c->entry_ms != FSB_AS_PROFILE && c->attr_ms != FSB_AS_PROFILE &&
		c->negative_ms != FSB_AS_PROFILE)
		return c;
	mixed = *c;
	mixed.entry_ms = either(c->entry_ms, profile->entry_ms);
	mixed.attr_ms = either(c->attr_ms, profile->attr_ms);
	mixed.negative_ms = either(c->negative_ms, profile->negative_ms);
	return &mixed;
}

const struct fsb_cache *fuse_cache_of(struct fsd_session *s, uint64_t node)
{
	const struct fsb_ops *ops = s->fs->b->ops;
	const struct fsb_cache *c = ops->cache ? ops->cache(s->fs->b, node) : NULL;

	if (s->profile->guest)
		return c && !(c->alone && atomic_load_explicit(&views, memory_order_relaxed))
			       ? filled_in(c, &s->profile->cache)
			       : &s->profile->cache;
	if (!c || !c->alone)
		return &s->profile->cache;
	atomic_store(&told_ms, now_ms());
	return fuse_view_alone(s) ? &view_alone : &s->profile->cache;
}

bool fuse_view_alone(const struct fsd_session *s)
{
	return !atomic_load(&guests) && atomic_load(&views) <= !s->readonly;
}

/* Until what views were told last is not believed any more. */
static void wait_for_views(void)
{
	uint64_t until = atomic_load(&told_ms) + VIEW_ALONE_MS + SLACK_MS, now = now_ms();
	struct timespec t;

	if (!atomic_load(&told_ms) || now >= until)
		return;
	t = (struct timespec){
		(time_t)((until - now) / 1000), (long)((until - now) % 1000) * 1000000};
	(void)nanosleep(&t, NULL);
}

void fuse_view_came(const struct fsd_session *s)
{
	bool others;

	if (s->readonly)
		return;
	others = atomic_fetch_add(&views, 1);
	fuse_view_older();
	if (others)
		wait_for_views();
}

void fuse_view_went(const struct fsd_session *s)
{
	if (!s->readonly)
		atomic_fetch_sub(&views, 1);
}

void fuse_set_ready(struct fsd_session *s, bool ready)
{
	bool counted = s->profile->guest;

	if (counted && ready) {
		atomic_fetch_add(&guests, 1);
		fuse_view_older();
		wait_for_views();
	}
	/* A guest may say so on several queues at once: it counts once. */
	if (atomic_exchange(&s->ready, ready) && counted)
		atomic_fetch_sub(&guests, 1);
}
