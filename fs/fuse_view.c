// SPDX-License-Identifier: Apache-2.0
/*
 * The FUSE server: what views may keep of files' contents.
 *
 * Theory of operation. A view of a backend whose files nobody else changes drops cached contents
 * only when it is told (EXPLICIT_INVAL_DATA): else its kernel would drop what was just written, for
 * the file's new time. So it is for us that nothing be older than a call:
 *
 * - While the view is alone, what it opens is cached, and stays so from one open to the next, as
 * long as nobody else came in between: @age grows when somebody comes, and the node knows the age
 * of its last cached open.
 * - While it is not, what it opens goes by the server (DIRECT_IO).
 * - Somebody else's change of a file that the view has open, so that it may be mapped, or was
 * opened while it was alone, is told to the kernel, by a thread of the view's own: who changes the
 * file waits for nobody. In such a file a call may be older by the time that takes.
 *
 * What is cached of a file ends with zeros, to the end of its last page. So that nobody reads
 * those, the kernel must not hear that the file has grown before it has dropped the page: a change
 * is counted before it takes effect and until it is told, a reply that says sizes waits for those
 * that are under way, and goes behind what is to be told (fs/fuse_notify.c). It is the view that
 * waits.
 *
 * What is read from the cache moves no access time. So where a read would move it, an open for
 * reading has the beginning of the file dropped from the cache, and the read is seen.
 *
 * Who opens counts that and then looks who is there; who comes is counted, then makes all older,
 * and looks at the opens with every change. So one of the two sees the other.
 */
#include "fs/fuse_priv.h"
#include "base/cleanup.h"
#include "fs/mux.h"

#include <stdatomic.h>
#include <sys/param.h>
#include <time.h>

_Atomic uint64_t fuse_view_opens;

static _Atomic uint32_t age = 1; /* 0: a node that has nothing cached */
/* Guards the list and its sessions' place in it. Taken before a session's lock. */
static pthread_mutex_t views_lock = PTHREAD_MUTEX_INITIALIZER;
static struct fsd_session *views;
/* Changes under way, by who began when: those that begin while one waits for the others are counted
 * apart, or there might never be none. */
static _Atomic unsigned int turn;
static _Atomic uint64_t changes[2];
static pthread_mutex_t settle_lock = PTHREAD_MUTEX_INITIALIZER; /* who changes @turn */

void fuse_view_watch(
	struct fsd_session *s, void (*changed)(void *, uint64_t node, uint64_t bytes), void *arg)
{
	s->changed = changed;
	s->changed_arg = arg;
}

bool fuse_view_explicit(const struct fsd_session *s)
{
	const struct fsb_ops *ops = s->fs->b->ops;
	const struct fsb_cache *c = ops->cache ? ops->cache(s->fs->b, FSB_ROOT) : NULL;

	return s->changed && c && c->alone;
}

void fuse_view_begin(struct fsd_session *s)
{
	LOCK_SCOPE(&views_lock);
	s->explicit_inval = true;
	s->next_view = views;
	views = s;
}

void fuse_view_end(struct fsd_session *s)
{
	if (!s->explicit_inval)
		return;
	LOCK_SCOPE(&views_lock);
	for (struct fsd_session **at = &views; *at; at = &(*at)->next_view)
		if (*at == s) {
			*at = s->next_view;
			break;
		}
	s->explicit_inval = false;
	atomic_fetch_sub(&fuse_view_opens, s->opens);
	s->opens = 0;
}

void fuse_view_older(void)
{
	atomic_fetch_add(&age, 1);
}

void fuse_views_forget(void)
{
	fuse_view_older();
	fuse_view_tell(NULL, 0);
}

uint32_t fuse_view_open(struct fsd_session *s, uint64_t node)
{
	uint32_t now = atomic_load(&age), had = 0;
	struct fuse_ref *n;
	bool alone;

	atomic_fetch_add(&fuse_view_opens, 1);
	{
		LOCK_SCOPE(&s->lock);
		s->opens++;
		n = fuse_refs_find(&s->nodes, node);
		if (n)
			n->opens++;
	}
	alone = n && fuse_view_alone(s);
	{
		LOCK_SCOPE(&s->lock);
		n = fuse_refs_find(&s->nodes, node);
		if (n) {
			had = n->cached_age;
			n->cached_age = alone ? now : 0;
		}
	}
	if (!alone)
		return FOPEN_DIRECT_IO;
	return had == now ? FOPEN_KEEP_CACHE : 0;
}

void fuse_view_read_again(struct fsd_session *s, uint64_t node)
{
	s->changed(s->changed_arg, node, 1);
}

void fuse_view_close(struct fsd_session *s, uint64_t node)
{
	struct fuse_ref *n;

	LOCK_SCOPE(&s->lock);
	if (!s->opens)
		return;
	s->opens--;
	atomic_fetch_sub(&fuse_view_opens, 1);
	n = fuse_refs_find(&s->nodes, node);
	if (n && n->opens)
		n->opens--;
}

void fuse_view_tell(const struct fsd_session *from, uint64_t node)
{
	struct fsb *b = from ? mux_child(from->fs->b, &node) : NULL;

	LOCK_SCOPE(&views_lock);
	for (struct fsd_session *v = views; v; v = v->next_view) {
		bool open = !from;

		if (v == from || (from && v->fs->b != b))
			continue;
		if (from) {
			LOCK_SCOPE(&v->lock);
			const struct fuse_ref *n = fuse_refs_find(&v->nodes, node);

			open = n && n->opens;
		}
		if (open)
			v->changed(v->changed_arg, from ? node : 0, 0);
	}
}

bool fuse_view_change(const struct fsd_session *from, uint64_t node, unsigned int *ret)
{
	struct fsb *b;
	bool seen = false;

	/* What is cached was opened before @from came. */
	if (__builtin_expect(atomic_load(&fuse_view_opens) == 0, 1))
		return false;
	b = mux_child(from->fs->b, &node);
	{
		LOCK_SCOPE(&views_lock);
		for (struct fsd_session *v = views; v && !seen; v = v->next_view)
			seen = v != from && v->fs->b == b;
	}
	if (!seen) /* it may wait for a plugin */
		return false;
	*ret = atomic_load(&turn);
	atomic_fetch_add(&changes[*ret], 1);
	return true;
}

void fuse_view_change_end(unsigned int begun)
{
	atomic_fetch_sub(&changes[begun], 1);
}

bool fuse_view_unsettled(void)
{
	return atomic_load(&changes[0]) != 0 || atomic_load(&changes[1]) != 0;
}

void fuse_view_settle(void)
{
	if (!fuse_view_unsettled())
		return;
	LOCK_SCOPE(&settle_lock);
	/* Twice: one may have looked at @turn before it changed the last time, and counted behind
	 * it.
	 */
	for (int i = 0; i < 2; i++) {
		unsigned int old = atomic_load(&turn);

		atomic_store(&turn, !old);
		for (long ns = 20000; atomic_load(&changes[old]); ns = MIN(ns * 2, 1000000L))
			(void)nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
	}
}

uint64_t fuse_view_next_open(struct fsd_session *s, size_t *at)
{
	LOCK_SCOPE(&s->lock);
	while (*at < s->nodes.slots) {
		const struct fuse_ref *n = &s->nodes.slot[(*at)++];

		if (n->key && n->opens)
			return n->key;
	}
	return 0;
}
