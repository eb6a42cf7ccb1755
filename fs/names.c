// SPDX-License-Identifier: Apache-2.0
// Which path a node was reached by.
#include "fs/names.h"
#include "base/cleanup.h"

#include <stdatomic.h>
#include <string.h>
#include <linux/fs.h>

#define SHARDS	      64
#define FIRST_BUCKETS 16
#define SHORT_NAME    22
#define INDEX_SLOTS   (1u << 14)
#define MAX_NAME      255

/* Guarded by its shard's lock. */
struct entry {
	struct entry *next;
	uint64_t node, parent; /* parent 0: no name is known */
	uint64_t refs;	       /* handed out */
	uint32_t children;     /* entries that have this one as their parent */
	uint32_t tag_age;
	uint8_t tag, name_bytes;
	char name[SHORT_NAME]; /* where it fits */
	char *long_name;
};

struct shard {
	pthread_mutex_t lock;
	struct entry **bucket;
	size_t buckets, used;
};

struct fsb_names {
	size_t max;
	_Atomic size_t used;
	_Atomic uint32_t age; /* grows where tags below a directory may be wrong */
	struct shard shard[SHARDS];
	/* hash of (parent, name) -> the node last entered so: wrong where two share a slot, and
	 * checked against the entry. */
	_Atomic uint64_t index[INDEX_SLOTS];
};

static uint64_t mix(uint64_t h)
{
	h *= 0x9e3779b97f4a7c15ULL;
	return h ^ h >> 32;
}

static _Atomic uint64_t *slot_of(
	struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes)
{
	uint64_t h = mix(parent + 1);

	for (size_t i = 0; i < name_bytes; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3ULL;
	return &t->index[(h ^ h >> 32) % INDEX_SLOTS];
}

static struct shard *shard_of(struct fsb_names *t, uint64_t node)
{
	return &t->shard[mix(node) % SHARDS];
}

static struct entry **bucket_of(const struct shard *s, uint64_t node)
{
	return &s->bucket[(mix(node) >> 16) & (s->buckets - 1)];
}

static const char *name_of(const struct entry *e)
{
	return e->long_name ?: e->name;
}

static bool has_name(const struct entry *e, uint64_t parent, const char *name, size_t name_bytes)
{
	return e->parent == parent && e->name_bytes == name_bytes &&
	       !memcmp(name_of(e), name, name_bytes);
}

struct fsb_names *fsb_names_new(size_t max)
{
	struct fsb_names *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->max = max;
	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_init(&t->shard[i].lock, NULL);
	return t;
}

static void entry_free(struct entry *e)
{
	free(e->long_name);
	free(e);
}

struct fsb_names *fsb_names_free(struct fsb_names *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *s = &t->shard[i];

		for (size_t b = 0; b < s->buckets; b++)
			for (struct entry *e = s->bucket[b], *next; e; e = next) {
				next = e->next;
				entry_free(e);
			}
		free(s->bucket);
		pthread_mutex_destroy(&s->lock);
	}
	free(t);
	return NULL;
}

static struct entry *find(const struct shard *s, uint64_t node)
{
	struct entry *e = s->buckets ? *bucket_of(s, node) : NULL;

	while (e && e->node != node)
		e = e->next;
	return e;
}

/* More buckets, where there is memory for them. */
static void grow(struct shard *s)
{
	struct shard n = {.buckets = s->buckets ? s->buckets * 2 : FIRST_BUCKETS};

	n.bucket = calloc(n.buckets, sizeof(*n.bucket));
	if (!n.bucket)
		return;
	for (size_t b = 0; b < s->buckets; b++)
		for (struct entry *e = s->bucket[b], *next; e; e = next) {
			struct entry **to = bucket_of(&n, e->node);

			next = e->next;
			e->next = *to;
			*to = e;
		}
	free(s->bucket);
	s->bucket = n.bucket;
	s->buckets = n.buckets;
}

/* The entry of @node, made where there is none; NULL: no room. */
static struct entry *find_or_add(struct fsb_names *t, struct shard *s, uint64_t node)
{
	struct entry *e = find(s, node), **to;

	if (e)
		return e;
	if (atomic_fetch_add(&t->used, 1) >= t->max)
		goto full;
	if (s->used >= s->buckets)
		grow(s);
	if (!s->buckets)
		goto full;
	e = calloc(1, sizeof(*e));
	if (!e)
		goto full;
	e->node = node;
	to = bucket_of(s, node);
	e->next = *to;
	*to = e;
	s->used++;
	return e;
full:
	atomic_fetch_sub(&t->used, 1);
	return NULL;
}

/* Frees an entry that nothing holds; returns its parent, which it held. 0: it stays, or none. */
static uint64_t drop_unheld(struct fsb_names *t, struct shard *s, struct entry *e)
{
	struct entry **at = bucket_of(s, e->node);
	uint64_t parent = e->parent;

	if (e->refs || e->children)
		return 0;
	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	s->used--;
	atomic_fetch_sub(&t->used, 1);
	entry_free(e);
	return parent;
}

static bool hold(struct fsb_names *t, uint64_t node)
{
	struct shard *s = shard_of(t, node);
	struct entry *e;

	if (node == FSB_ROOT)
		return true;
	LOCK_SCOPE(&s->lock);
	e = find_or_add(t, s, node);
	if (e)
		e->children++;
	return e;
}

/* Gives back what hold() took, and what that lets go of, up to the root. */
static void let_go(struct fsb_names *t, uint64_t node)
{
	while (node && node != FSB_ROOT) {
		struct shard *s = shard_of(t, node);
		struct entry *e;

		LOCK_SCOPE(&s->lock);
		e = find(s, node);
		if (!e) /* never: it is held */
			return;
		e->children--;
		node = drop_unheld(t, s, e);
	}
}

/* Writes a name into an entry. On failure it has none. */
static void put_name(struct entry *e, const char *name, size_t name_bytes)
{
	char *long_name = NULL;

	if (name_bytes > SHORT_NAME) {
		long_name = malloc(name_bytes);
		if (!long_name)
			name_bytes = 0;
	}
	free(e->long_name);
	e->long_name = long_name;
	e->name_bytes = (uint8_t)name_bytes;
	if (name_bytes)
		memcpy(long_name ?: e->name, name, name_bytes);
	e->tag = FSB_NAMES_NO_TAG;
}

/* Gives @node, which is there and held by the caller, another name. */
static void set_name(
	struct fsb_names *t, uint64_t node, uint64_t parent, const char *name, size_t name_bytes)
{
	struct shard *s = shard_of(t, node);
	uint64_t old = 0;

	if (!hold(t, parent))
		parent = 0;
	{
		LOCK_SCOPE(&s->lock);
		struct entry *e = find(s, node);

		if (!e) {
			old = parent;
		} else {
			old = e->parent;
			e->parent = parent;
			put_name(e, name, parent ? name_bytes : 0);
			if (e->children)
				atomic_fetch_add(&t->age, 1);
		}
	}
	let_go(t, old);
}

void fsb_names_enter(
	struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes, uint64_t node)
{
	struct shard *s = shard_of(t, node);

	if (node == FSB_ROOT)
		return;
	atomic_store_explicit(slot_of(t, parent, name, name_bytes), node, memory_order_relaxed);
	{
		LOCK_SCOPE(&s->lock);
		struct entry *e = find_or_add(t, s, node);

		if (!e)
			return;
		e->refs++;
		if (name_bytes > MAX_NAME || has_name(e, parent, name, name_bytes))
			return;
	}
	set_name(t, node, parent, name, name_bytes);
}

void fsb_names_forget(struct fsb_names *t, uint64_t node, uint64_t count)
{
	struct shard *s = shard_of(t, node);
	uint64_t parent = 0;

	{
		LOCK_SCOPE(&s->lock);
		struct entry *e = find(s, node);

		if (!e)
			return;
		e->refs -= count < e->refs ? count : e->refs;
		parent = drop_unheld(t, s, e);
	}
	let_go(t, parent);
}

/* The node that was entered as @name in @parent, or 0. */
static uint64_t by_name(struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes)
{
	uint64_t node =
		atomic_load_explicit(slot_of(t, parent, name, name_bytes), memory_order_relaxed);
	struct shard *s = shard_of(t, node);
	const struct entry *e;

	if (!node)
		return 0;
	LOCK_SCOPE(&s->lock);
	e = find(s, node);
	return e && has_name(e, parent, name, name_bytes) ? node : 0;
}

/* @node 0: whatever is there now. */
static void moved(struct fsb_names *t, struct fsb *next, const struct fsb_req *req, uint64_t node,
	uint64_t parent, const char *name)
{
	struct fsb_entry e = {0};
	size_t n = strlen(name);

	if (!node) {
		if (next->ops->lookup(next, req, parent, name, &e) < 0 || !e.node)
			return;
		node = e.node;
	}
	atomic_store_explicit(slot_of(t, parent, name, n), node, memory_order_relaxed);
	set_name(t, node, parent, name, n);
	if (e.node)
		next->ops->forget(next, e.node, 1);
}

void fsb_names_renamed(struct fsb_names *t, struct fsb *next, const struct fsb_call *c)
{
	uint64_t a = by_name(t, c->node, c->name, strlen(c->name));
	uint64_t b =
		c->flags & RENAME_EXCHANGE ? by_name(t, c->node2, c->name2, strlen(c->name2)) : 0;

	moved(t, next, c->req, a, c->node2, c->name2);
	if (c->flags & RENAME_EXCHANGE)
		moved(t, next, c->req, b, c->node, c->name);
}

/* Puts @name and the slash before it in front of @*at. */
static bool prepend(char *buf, size_t *at, const char *name, size_t name_bytes)
{
	if (*at < name_bytes + 2) /* room for a `?` too */
		return false;
	*at -= name_bytes;
	memcpy(buf + *at, name, name_bytes);
	buf[--*at] = '/';
	return true;
}

size_t fsb_names_path(
	struct fsb_names *t, uint64_t node, const char *name, size_t name_bytes, char *buf)
{
	size_t at = FSB_MAX_PATH - 1, n;
	bool known = !name || prepend(buf, &at, name, name_bytes);

	while (known && node != FSB_ROOT) {
		struct shard *s = shard_of(t, node);
		const struct entry *e;

		LOCK_SCOPE(&s->lock);
		e = find(s, node);
		known = e && e->parent && e->name_bytes &&
			prepend(buf, &at, name_of(e), e->name_bytes);
		if (known)
			node = e->parent;
	}
	if (!known)
		buf[--at] = '?';
	else if (at == FSB_MAX_PATH - 1)
		buf[--at] = '/';
	n = FSB_MAX_PATH - 1 - at;
	memmove(buf, buf + at, n);
	buf[n] = '\0';
	return n;
}

uint8_t fsb_names_tag(struct fsb_names *t, uint64_t node)
{
	struct shard *s = shard_of(t, node);
	const struct entry *e;

	LOCK_SCOPE(&s->lock);
	e = find(s, node);
	return e && e->tag_age == atomic_load(&t->age) ? e->tag : FSB_NAMES_NO_TAG;
}

void fsb_names_set_tag(struct fsb_names *t, uint64_t node, uint8_t tag)
{
	struct shard *s = shard_of(t, node);
	struct entry *e;

	LOCK_SCOPE(&s->lock);
	e = find(s, node);
	if (e) {
		e->tag = tag;
		e->tag_age = atomic_load(&t->age);
	}
}

size_t fsb_names_count(struct fsb_names *t)
{
	return atomic_load(&t->used);
}

/* ---- device state: parent (8 bytes), length of the name (1), name */

#define HEAD 9

int64_t fsb_names_save(struct fsb_names *t, uint64_t node, void *buf, size_t cap)
{
	struct shard *s = shard_of(t, node);
	uint64_t parent = 0;
	uint8_t *p = buf, n = 0;
	const struct entry *e;

	if (cap < FSB_NAMES_MAX_STATE)
		return -ENOSPC;
	LOCK_SCOPE(&s->lock);
	e = find(s, node);
	if (e && e->parent) {
		parent = e->parent;
		n = e->name_bytes;
		memcpy(p + HEAD, name_of(e), n);
	}
	memcpy(p, &parent, sizeof(parent));
	p[8] = n;
	return HEAD + n;
}

int64_t fsb_names_load(
	struct fsb_names *t, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct shard *s = shard_of(t, node);
	const char *name = (const char *)buf + HEAD;
	size_t name_bytes;
	uint64_t parent;

	if (n < HEAD)
		return -EBADMSG;
	memcpy(&parent, buf, sizeof(parent));
	name_bytes = ((const uint8_t *)buf)[8];
	if (name_bytes > n - HEAD || memchr(name, '/', name_bytes) || memchr(name, 0, name_bytes) ||
		parent >= FSB_MAX_ID || (parent && !name_bytes))
		return -EBADMSG;
	if (node == FSB_ROOT)
		return (int64_t)(HEAD + name_bytes);
	{
		LOCK_SCOPE(&s->lock);
		struct entry *e = find_or_add(t, s, node);

		if (e)
			e->refs += lookups;
	}
	if (parent)
		set_name(t, node, parent, name, name_bytes);
	return (int64_t)(HEAD + name_bytes);
}

int64_t fsb_names_save_op(
	struct fsb_names *t, struct fsb *next, uint64_t node, void *buf, size_t cap)
{
	int64_t ours = fsb_names_save(t, node, buf, cap), r;

	if (ours < 0)
		return ours;
	r = next->ops->save(next, node, (uint8_t *)buf + ours, cap - (size_t)ours);
	return r < 0 ? r : ours + r;
}

int fsb_names_load_op(struct fsb_names *t, struct fsb *next, uint64_t node, uint64_t lookups,
	const void *buf, size_t n)
{
	int64_t ours = fsb_names_load(t, node, lookups, buf, n);

	if (ours < 0)
		return (int)ours;
	return next->ops->load(next, node, lookups, (const uint8_t *)buf + ours, n - (size_t)ours);
}
