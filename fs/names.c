// SPDX-License-Identifier: Apache-2.0
// Which path a node was reached by.
#include "fs/names.h"
#include "base/cleanup.h"
#include "fs/node_map.h"

#include <stdatomic.h>
#include <string.h>
#include <linux/fs.h>

#define SHORT_NAME 22
#define INDEX_SETS (1u << 12)
#define INDEX_WAYS 4
#define MAX_NAME   255

struct entry {
	struct fsb_node n; /* first */
	uint64_t parent;   /* 0: no name is known */
	uint32_t children; /* entries that have this one as their parent */
	uint32_t tag_age;
	uint8_t tags; /* two bits a user */
	uint8_t name_bytes;
	char name[SHORT_NAME]; /* where it fits */
	char *long_name;
};

struct fsb_names {
	struct fsb_node_map map;
	unsigned int users;
	_Atomic uint32_t age; /* grows where tags below a directory may be wrong */
	/* hash of (parent, name) -> the nodes last entered so, the latest first: a hint, which is
	 * checked against the entry. */
	_Atomic uint64_t index[INDEX_SETS][INDEX_WAYS];
};

static void unlock_shard_(struct fsb_node_shard **s)
{
	fsb_node_unlock(*s);
}

/* Locks a node's shard as @s until the end of the block; @e: its entry, or NULL. */
#define ENTRY_SCOPE(t, node, s, e)                                                                 \
	_cleanup_(unlock_shard_) struct fsb_node_shard *s = fsb_node_lock(&(t)->map, node);        \
	struct entry *e = (struct entry *)(void *)fsb_node_find(s, node)

/* The same; made where there is none. NULL: no room. */
#define ADD_SCOPE(t, node, s, e)                                                                   \
	_cleanup_(unlock_shard_) struct fsb_node_shard *s = fsb_node_lock(&(t)->map, node);        \
	struct entry *e = (struct entry *)(void *)fsb_node_add(&(t)->map, s, node)

static _Atomic uint64_t *set_of(
	struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes)
{
	uint64_t h = fsb_node_mix(parent + 1);

	for (size_t i = 0; i < name_bytes; i++)
		h = (h ^ (uint8_t)name[i]) * 0x100000001b3ULL;
	return t->index[(h ^ h >> 32) % INDEX_SETS];
}

/* Two threads at once may lose an older hint, or leave one twice. */
static void hint(
	struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes, uint64_t node)
{
	_Atomic uint64_t *set = set_of(t, parent, name, name_bytes);
	uint64_t put = node;

	for (int i = 0; i < INDEX_WAYS; i++) {
		uint64_t was = atomic_load_explicit(&set[i], memory_order_relaxed);

		if (was != put)
			atomic_store_explicit(&set[i], put, memory_order_relaxed);
		if (was == node || !was)
			break;
		put = was;
	}
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

	if (t)
		fsb_node_map_init(&t->map, max, sizeof(struct entry));
	return t;
}

static void drop_name(struct fsb_node *n)
{
	free(((struct entry *)(void *)n)->long_name);
}

struct fsb_names *fsb_names_free(struct fsb_names *t)
{
	if (!t)
		return NULL;
	fsb_node_map_done(&t->map, drop_name);
	free(t);
	return NULL;
}

/* Frees an entry that nothing holds; returns its parent, which it held. 0: it stays, or none. */
static uint64_t drop_unheld(struct fsb_names *t, struct fsb_node_shard *s, struct entry *e)
{
	uint64_t parent = e->parent;

	if (e->n.refs || e->children)
		return 0;
	drop_name(&e->n);
	fsb_node_remove(&t->map, s, &e->n);
	return parent;
}

static bool hold(struct fsb_names *t, uint64_t node)
{
	if (node == FSB_ROOT)
		return true;
	ADD_SCOPE(t, node, s, e);
	if (e)
		e->children++;
	return e;
}

/* Gives back what hold() took, and what that lets go of, up to the root. */
static void let_go(struct fsb_names *t, uint64_t node)
{
	while (node && node != FSB_ROOT) {
		ENTRY_SCOPE(t, node, s, e);

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
	e->tags = 0;
}

/* Gives @node, which is there and held by the caller, another name. */
static void set_name(
	struct fsb_names *t, uint64_t node, uint64_t parent, const char *name, size_t name_bytes)
{
	uint64_t old = 0;

	if (!hold(t, parent))
		parent = 0;
	{
		ENTRY_SCOPE(t, node, s, e);

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
	if (node == FSB_ROOT)
		return;
	hint(t, parent, name, name_bytes, node);
	{
		ADD_SCOPE(t, node, s, e);

		if (!e)
			return;
		e->n.refs++;
		if (name_bytes > MAX_NAME || has_name(e, parent, name, name_bytes))
			return;
	}
	set_name(t, node, parent, name, name_bytes);
}

void fsb_names_soon(struct fsb_names *t, uint64_t node)
{
	struct fsb_node_shard *s;

	if (node == FSB_ROOT)
		return;
	s = fsb_node_lock(&t->map, node);
	fsb_node_fetch(s, node);
	fsb_node_unlock(s);
}

void fsb_names_forget(struct fsb_names *t, uint64_t node, uint64_t count)
{
	uint64_t parent = 0;

	{
		ENTRY_SCOPE(t, node, s, e);

		if (!e)
			return;
		e->n.refs -= count < e->n.refs ? count : e->n.refs;
		parent = drop_unheld(t, s, e);
	}
	let_go(t, parent);
}

static bool is_named(
	struct fsb_names *t, uint64_t node, uint64_t parent, const char *name, size_t name_bytes)
{
	ENTRY_SCOPE(t, node, s, e);

	return e && has_name(e, parent, name, name_bytes);
}

/* The node that was entered as @name in @parent, or 0. */
static uint64_t by_name(struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes)
{
	const _Atomic uint64_t *set = set_of(t, parent, name, name_bytes);

	for (int i = 0; i < INDEX_WAYS; i++) {
		uint64_t node = atomic_load_explicit(&set[i], memory_order_relaxed);

		if (node && is_named(t, node, parent, name, name_bytes))
			return node;
	}
	return 0;
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
	hint(t, parent, name, n, node);
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

char *fsb_names_path_in(struct fsb_names *t, uint64_t node, const char *name, size_t name_bytes,
	char *buf, size_t *ret_bytes)
{
	size_t at = FSB_MAX_PATH - 1;
	bool known = !name || prepend(buf, &at, name, name_bytes);

	while (known && node != FSB_ROOT) {
		ENTRY_SCOPE(t, node, s, e);

		known = e && e->parent && e->name_bytes &&
			prepend(buf, &at, name_of(e), e->name_bytes);
		if (known)
			node = e->parent;
	}
	if (!known)
		buf[--at] = '?';
	else if (at == FSB_MAX_PATH - 1)
		buf[--at] = '/';
	buf[FSB_MAX_PATH - 1] = '\0';
	*ret_bytes = FSB_MAX_PATH - 1 - at;
	return buf + at;
}

size_t fsb_names_path(
	struct fsb_names *t, uint64_t node, const char *name, size_t name_bytes, char *buf)
{
	size_t n;
	const char *path = fsb_names_path_in(t, node, name, name_bytes, buf, &n);

	memmove(buf, path, n + 1);
	return n;
}

unsigned int fsb_names_user(struct fsb_names *t)
{
	return t->users++ % FSB_NAMES_USERS;
}

uint8_t fsb_names_tag(struct fsb_names *t, uint64_t node, unsigned int user)
{
	ENTRY_SCOPE(t, node, s, e);

	return e && e->tag_age == atomic_load(&t->age) ? e->tags >> 2 * user & 3 : FSB_NAMES_NO_TAG;
}

void fsb_names_set_tag(struct fsb_names *t, uint64_t node, unsigned int user, uint8_t tag)
{
	ENTRY_SCOPE(t, node, s, e);
	uint32_t age = atomic_load(&t->age);

	if (!e)
		return;
	if (e->tag_age != age)
		e->tags = 0;
	e->tags = (uint8_t)((e->tags & ~(3u << 2 * user)) | (unsigned int)tag << 2 * user);
	e->tag_age = age;
}

void fsb_names_forget_tags(struct fsb_names *t)
{
	atomic_fetch_add(&t->age, 1);
}

size_t fsb_names_count(struct fsb_names *t)
{
	return atomic_load(&t->map.used);
}

/* ---- device state: parent (8 bytes), length of the name (1), name */

#define HEAD 9

int64_t fsb_names_save(struct fsb_names *t, uint64_t node, void *buf, size_t cap)
{
	uint64_t parent = 0;
	uint8_t *p = buf, n = 0;

	if (cap < FSB_NAMES_MAX_STATE)
		return -ENOSPC;
	ENTRY_SCOPE(t, node, s, e);
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
		ADD_SCOPE(t, node, s, e);

		if (e)
			e->n.refs += lookups;
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
	int64_t ours = n ? fsb_names_load(t, node, lookups, buf, n) : 0;

	if (ours < 0)
		return (int)ours;
	if (n == 0) /* nothing could be saved, not even a name */
		return next->ops->load(next, node, lookups, NULL, 0);
	return next->ops->load(next, node, lookups, (const uint8_t *)buf + ours, n - (size_t)ours);
}
