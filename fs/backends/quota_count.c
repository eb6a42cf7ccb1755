// SPDX-License-Identifier: Apache-2.0
// The quota wrapper: what is used, to the byte where it matters.
#include "fs/backends/quota_priv.h"
#include "base/cleanup.h"

#include <stdatomic.h>
#include <sys/param.h>

static struct qnode *qnode(struct fsb_node *n)
{
	return (struct qnode *)(void *)n;
}

void quota_add(struct quota *q, int64_t bytes)
{
	atomic_fetch_add(&q->u->used, bytes);
	if (bytes > 0)
		atomic_fetch_add(&q->u->grown, (uint64_t)bytes);
	else
		atomic_fetch_add(&q->u->shrunk, (uint64_t)-bytes);
}

bool quota_reserve(struct quota *q, uint64_t bytes)
{
	const uint64_t limit = quota_limit(q);
	int64_t used;

	if (!bytes)
		return true;
	quota_recount(q);
	used = atomic_load(&q->u->used);
	if (!atomic_load(&q->u->counted) || bytes > limit)
		return false;
	do
		if (used > (int64_t)(limit - bytes))
			return false;
	while (!atomic_compare_exchange_weak(&q->u->used, &used, used + (int64_t)bytes));
	atomic_fetch_add(&q->u->grown, bytes);
	return true;
}

/* The shard is locked. */
static void set_dirty(struct quota *q, struct qnode *e, bool dirty)
{
	if (e->dirty == dirty)
		return;
	e->dirty = dirty;
	LOCK_SCOPE(&q->dirty_lock);
	if (dirty) {
		e->prev = NULL;
		e->next = q->dirty;
		if (e->next)
			e->next->prev = e;
		q->dirty = e;
		atomic_fetch_add(&q->ndirty, 1);
		return;
	}
	if (e->next)
		e->next->prev = e->prev;
	if (e->prev)
		e->prev->next = e->next;
	else
		q->dirty = e->next;
	atomic_fetch_sub(&q->ndirty, 1);
}

static bool reserve_hard(struct quota *q, uint64_t bytes)
{
	if (quota_reserve(q, bytes))
		return true;
	quota_settle_all(q);
	if (quota_reserve(q, bytes))
		return true;
	if (!q->shared) {
		quota_walk_ask(q, 0); /* the host may have made room */
		return false;
	}
	quota_walk_now(q);
	return quota_reserve(q, bytes);
}

int quota_begin(struct quota *q, uint64_t node, uint64_t grow)
{
	struct fsb_node_shard *s;
	struct qnode *e;
	int64_t before = -1;

	if (grow && !reserve_hard(q, grow))
		return -ENOSPC;
	if (node == FSB_ROOT) { /* nobody holds it: the next walk counts what it takes */
		quota_add(q, -(int64_t)grow);
		return 0;
	}
	for (;;) {
		s = fsb_node_lock(&q->nodes, node);
		e = qnode(fsb_node_find(s, node));
		if (!e || e->dirty || before >= 0)
			break;
		fsb_node_unlock(s);
		before = quota_usage(q, node);
		if (before < 0) {
			quota_add(q, -(int64_t)grow);
			return (int)before;
		}
	}
	/* A full table holds no more: then the upper bound stands until the next walk. */
	if (e) {
		if (!e->dirty) {
			e->known = (uint64_t)before;
			e->pending = 0;
			set_dirty(q, e, true);
		}
		e->pending += grow;
		e->ops++;
		e->age++;
	}
	fsb_node_unlock(s);
	return 0;
}

void quota_end(struct quota *q, uint64_t node)
{
	struct fsb_node_shard *s = fsb_node_lock(&q->nodes, node);
	struct qnode *e = qnode(fsb_node_find(s, node));

	if (e && e->ops)
		e->ops--;
	fsb_node_unlock(s);
	if (q->shared)
		quota_settle(q, node);
	else if (atomic_load(&q->ndirty) > QUOTA_MAX_DIRTY)
		quota_settle_all(q);
}

void quota_settle(struct quota *q, uint64_t node)
{
	struct fsb_node_shard *s = fsb_node_lock(&q->nodes, node);
	struct qnode *e = qnode(fsb_node_find(s, node));
	uint64_t owed;
	uint32_t age;
	int64_t now;

	/* While an operation runs, what it adds shows by and by. */
	if (!e || !e->dirty || e->ops || e->settling) {
		fsb_node_unlock(s);
		return;
	}
	e->settling = true; /* keeps its references */
	age = e->age;
	fsb_node_unlock(s);
	now = quota_usage(q, node);

	s = fsb_node_lock(&q->nodes, node);
	e = qnode(fsb_node_find(s, node));
	if (!e) { /* never: it was kept */
		fsb_node_unlock(s);
		return;
	}
	e->settling = false;
	owed = e->owed;
	e->owed = 0;
	if (now >= 0 && e->age == age) {
		quota_add(q, now - (int64_t)(e->known + e->pending));
		e->known = (uint64_t)now;
		e->pending = 0;
		set_dirty(q, e, false);
	}
	fsb_node_unlock(s);
	if (owed)
		quota_forget(q, node, owed);
}

void quota_settle_all(struct quota *q)
{
	uint64_t id[QUOTA_MAX_DIRTY];
	size_t n = 0;

	quota_recount(q);
	{
		LOCK_SCOPE(&q->dirty_lock);
		for (const struct qnode *e = q->dirty; e && n < QUOTA_MAX_DIRTY; e = e->next)
			id[n++] = e->n.id;
	}
	for (size_t i = 0; i < n; i++)
		quota_settle(q, id[i]);
}

static uint64_t counted(const struct qnode *e)
{
	return e->known + (e->dirty ? e->pending : 0);
}

uint64_t quota_nameless(struct quota *q)
{
	uint64_t bytes = 0;

	for (size_t k = 0; k < FSB_NODE_SHARDS; k++) {
		struct fsb_node_shard *s = &q->nodes.shard[k];

		LOCK_SCOPE(&s->lock);
		for (size_t b = 0; b < s->buckets; b++)
			for (struct fsb_node *n = s->bucket[b]; n; n = n->chain)
				bytes += qnode(n)->doomed ? counted(qnode(n)) : 0;
	}
	return bytes;
}

void quota_entered(struct quota *q, uint64_t node, uint64_t count, bool nameless)
{
	struct fsb_node_shard *s;
	struct qnode *e;

	if (node == FSB_ROOT)
		return;
	s = fsb_node_lock(&q->nodes, node);
	e = qnode(fsb_node_add(&q->nodes, s, node));
	if (e) {
		e->n.refs += count;
		e->doomed = e->doomed || nameless;
	}
	fsb_node_unlock(s);
}

void quota_loaded(struct quota *q, uint64_t node, uint64_t lookups)
{
	struct fsb_node_shard *s;
	struct qnode *e;

	quota_entered(q, node, lookups, false);
	s = fsb_node_lock(&q->nodes, node);
	e = qnode(fsb_node_find(s, node));
	if (e)
		e->loaded = true;
	fsb_node_unlock(s);
}

void quota_linked(struct quota *q, uint64_t node)
{
	struct fsb_node_shard *s = fsb_node_lock(&q->nodes, node);
	struct qnode *e = qnode(fsb_node_find(s, node));

	if (e)
		e->doomed = false;
	fsb_node_unlock(s);
}

void quota_removed(struct quota *q, uint64_t node)
{
	int64_t bytes = quota_usage(q, node);
	struct fsb_node_shard *s = fsb_node_lock(&q->nodes, node);
	struct qnode *e = qnode(fsb_node_find(s, node));

	if (e && !e->doomed) {
		if (!e->dirty)
			e->known = bytes > 0 ? (uint64_t)bytes : 0;
		e->doomed = true;
	}
	fsb_node_unlock(s);
	if (!e && bytes > 0)
		quota_add(q, -bytes);
}

void quota_forget(struct quota *q, uint64_t node, uint64_t count)
{
	struct fsb *next = q->f.next;
	struct fsb_node_shard *s = fsb_node_lock(&q->nodes, node);
	struct qnode *e = qnode(fsb_node_find(s, node));
	bool freed = false;

	if (e && e->loaded && e->n.refs <= count) {
		struct fuse_attr a;

		e->loaded = false;
		fsb_node_unlock(s);
		if (next->ops->getattr(next, node, 0, &a) == 0 && a.nlink == 0)
			quota_removed(q, node);
		s = fsb_node_lock(&q->nodes, node);
		e = qnode(fsb_node_find(s, node));
	}
	/* The last chance to ask how much it takes. */
	if (e && e->n.refs <= count && e->dirty && !e->doomed && !e->settling) {
		fsb_node_unlock(s);
		quota_settle(q, node);
		s = fsb_node_lock(&q->nodes, node);
		e = qnode(fsb_node_find(s, node));
	}
	if (e && e->settling) { /* whoever does it forgets for us */
		e->owed += count;
		fsb_node_unlock(s);
		return;
	}
	if (e) {
		e->n.refs -= MIN(count, e->n.refs);
		if (!e->n.refs) {
			freed = e->doomed;
			if (freed)
				quota_add(q, -(int64_t)counted(e));
			set_dirty(q, e, false);
			fsb_node_remove(&q->nodes, s, &e->n);
		}
	}
	fsb_node_unlock(s);
	next->ops->forget(next, node, count);
	if (freed && q->shared) /* another server's walk may have found it gone before */
		quota_walk_ask(q, 0);
}
