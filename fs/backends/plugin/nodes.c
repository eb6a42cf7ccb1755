// SPDX-License-Identifier: Apache-2.0
// plugin: its nodes.
#include "fs/backends/plugin/nodes.h"
#include "base/cleanup.h"

#include <string.h>
#include <sys/stat.h>

#define FIRST_BUCKETS 64

static size_t mix(uint64_t a, uint64_t b)
{
	uint64_t h = (a ^ (b << 32 | b >> 32)) * 0x9e3779b97f4a7c15ULL;

	return (size_t)(h ^ h >> 29);
}

static size_t name_hash(const struct pn *parent, const char *name)
{
	uint64_t h = 0xcbf29ce484222325ULL;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ULL;
	return mix(h, parent->id);
}

static struct pn **id_chain(struct pn_table *t, uint64_t id)
{
	return &t->by_id[mix(id, 0) & (t->buckets - 1)];
}

static struct pn **key_chain(struct pn_table *t, uint64_t pid, uint64_t inner)
{
	return &t->by_key[mix(pid, inner) & (t->buckets - 1)];
}

static struct pn **place_chain(struct pn_table *t, const struct pn *parent, const char *name)
{
	return &t->by_place[name_hash(parent, name) & (t->buckets - 1)];
}

/* ---- chains; t->lock is held */

static struct pn *find_id(struct pn_table *t, uint64_t id)
{
	struct pn *n = *id_chain(t, id);

	while (n && n->id != id)
		n = n->next_id;
	return n;
}

static struct pn *find_key(struct pn_table *t, const struct pn_new *k)
{
	struct pn *n = *key_chain(t, k->pid, k->inner);

	while (n && (n->pid != k->pid || n->inner != k->inner || n->generation != k->generation ||
			    n->epoch != k->epoch))
		n = n->next_key;
	return n;
}

static struct pn *find_place(struct pn_table *t, const struct pn *parent, const char *name)
{
	struct pn *n = *place_chain(t, parent, name);

	while (n && (n->parent != parent || strcmp(n->name, name) != 0))
		n = n->next_place;
	return n;
}

static struct pn *find_same(
	struct pn_table *t, const struct pn *parent, const char *name, uint32_t mode)
{
	struct pn *n = find_place(t, parent, name);

	return n && n->pid & PN_BY_PLACE && !n->inner && !((n->mode ^ mode) & S_IFMT) ? n : NULL;
}

#define CHAIN_REMOVE(head, n, link)                                                                \
	do {                                                                                       \
		struct pn **p_ = (head);                                                           \
		while (*p_ && *p_ != (n))                                                          \
			p_ = &(*p_)->link;                                                         \
		if (*p_)                                                                           \
			*p_ = (n)->link;                                                           \
	} while (0)

#define CHAIN_ADD(head, n, link)                                                                   \
	do {                                                                                       \
		struct pn **p_ = (head);                                                           \
		(n)->link = *p_;                                                                   \
		*p_ = (n);                                                                         \
	} while (0)

static int grow(struct pn_table *t)
{
	size_t buckets = t->buckets ? t->buckets * 2 : FIRST_BUCKETS;
	struct pn **all = calloc(buckets * 3, sizeof(*all)), **old = t->by_id;
	size_t had = t->buckets;

	if (!all)
		return -ENOMEM;
	t->by_id = all;
	t->by_key = all + buckets;
	t->by_place = all + 2 * buckets;
	t->buckets = buckets;
	for (size_t i = 0; i < had; i++)
		for (struct pn *n = old[i], *next; n; n = next) {
			next = n->next_id;
			CHAIN_ADD(id_chain(t, n->id), n, next_id);
			CHAIN_ADD(key_chain(t, n->pid, n->inner), n, next_key);
			if (n->name)
				CHAIN_ADD(place_chain(t, n->parent, n->name), n, next_place);
		}
	free(old);
	return 0;
}

/* A node that nobody holds any more, and the parents that only it held, onto @dead. */
static void drop(struct pn_table *t, struct pn *n, struct pn **dead);

static void lose_place(struct pn_table *t, struct pn *n, struct pn **dead)
{
	struct pn *parent = n->parent;

	if (!parent)
		return;
	CHAIN_REMOVE(place_chain(t, parent, n->name), n, next_place);
	free(n->name);
	n->name = NULL;
	n->parent = NULL;
	parent->users--;
	drop(t, parent, dead);
}

static void drop(struct pn_table *t, struct pn *n, struct pn **dead)
{
	/* Not by recursion: a guest may have built it deep. */
	while (n && n != &t->root && !n->lookups && !n->users) {
		struct pn *parent = n->parent;

		CHAIN_REMOVE(id_chain(t, n->id), n, next_id);
		CHAIN_REMOVE(key_chain(t, n->pid, n->inner), n, next_key);
		if (parent) {
			CHAIN_REMOVE(place_chain(t, parent, n->name), n, next_place);
			parent->users--;
		}
		t->live--;
		n->dead = *dead;
		*dead = n;
		n = parent;
	}
}

/* Without the lock. */
static void bury(struct pn_table *t, struct pn *dead)
{
	for (struct pn *next; dead; dead = next) {
		next = dead->dead;
		t->gone(t->arg, dead);
		free(dead->name);
		free(dead);
	}
}

/* @name becomes the place of @n; a name that is none leaves it as it is. */
static int take_place(
	struct pn_table *t, struct pn *n, struct pn *parent, const char *name, struct pn **dead)
{
	char *copy;

	if (n == &t->root || !name || (n->parent == parent && !strcmp(n->name, name)))
		return 0;
	/* A directory in itself: a plugin says so, or a rename was seen late. */
	for (struct pn *up = n->users ? parent : NULL; up; up = up->parent)
		if (up == n)
			return 0;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	parent->users++;
	lose_place(t, n, dead);
	n->parent = parent;
	n->name = copy;
	CHAIN_ADD(place_chain(t, parent, name), n, next_place);
	return 0;
}

/* ---- used by operations */

int pn_init(struct pn_table *t, uint32_t max, uint64_t root_inner,
	void (*gone)(void *arg, const struct pn *), void *arg)
{
	*t = (struct pn_table){.max = max, .next_id = FSB_ROOT + 1, .gone = gone, .arg = arg};
	(void)pthread_mutex_init(&t->lock, NULL);
	t->root = (struct pn){.id = FSB_ROOT,
		.pid = FUSE_ROOT_ID,
		.inner = root_inner,
		.mode = 040755,
		.users = 1};
	if (grow(t) < 0)
		return -ENOMEM;
	CHAIN_ADD(id_chain(t, FSB_ROOT), &t->root, next_id);
	return 0;
}

void pn_done(struct pn_table *t)
{
	for (size_t i = 0; i < t->buckets; i++)
		for (struct pn *n = t->by_id[i], *next; n; n = next) {
			next = n->next_id;
			if (n == &t->root)
				continue;
			t->gone(t->arg, n);
			free(n->name);
			free(n);
		}
	free(t->by_id);
	t->by_id = NULL;
	t->buckets = 0;
	(void)pthread_mutex_destroy(&t->lock);
}

struct pn *pn_get(struct pn_table *t, uint64_t id)
{
	struct pn *n;

	LOCK_SCOPE(&t->lock);
	n = find_id(t, id);
	if (n)
		n->users++;
	return n;
}

void pn_put(struct pn_table *t, struct pn *n)
{
	struct pn *dead = NULL;

	if (!n)
		return;
	{
		LOCK_SCOPE(&t->lock);
		n->users--;
		drop(t, n, &dead);
	}
	bury(t, dead);
}

static struct pn *add(struct pn_table *t, const struct pn_new *k)
{
	struct pn *n = NULL;

	if (t->live < t->buckets || grow(t) == 0)
		n = calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	n->id = t->next_id++;
	n->pid = k->by_place ? PN_BY_PLACE | n->id : k->pid;
	n->generation = k->generation;
	n->inner = k->inner;
	n->epoch = k->epoch;
	CHAIN_ADD(id_chain(t, n->id), n, next_id);
	CHAIN_ADD(key_chain(t, n->pid, n->inner), n, next_key);
	t->live++;
	return n;
}

int pn_enter(struct pn_table *t, struct pn *parent, const char *name, const struct pn_new *k,
	uint64_t *ret_id)
{
	struct pn *dead = NULL, *n;
	int r = 0;

	{
		LOCK_SCOPE(&t->lock);
		n = k->by_place ? find_same(t, parent, name, k->mode) : find_key(t, k);
		if (!n && t->live >= t->max)
			return -ENFILE;
		if (!n)
			n = add(t, k);
		if (!n)
			return -ENOMEM;
		n->lookups++;
		r = take_place(t, n, parent, name, &dead);
		if (r == 0) {
			n->mode = k->mode;
			n->cache = k->cache;
			n->open_flags = k->open_flags ?: n->open_flags;
			n->pid_refs += k->pid != 0;
			n->inner_refs += k->inner != 0;
			*ret_id = n->id;
		} else {
			n->lookups--;
			drop(t, n, &dead); /* a new one holds nothing yet */
		}
	}
	bury(t, dead);
	return r;
}

void pn_forget(struct pn_table *t, uint64_t id, uint64_t count)
{
	struct pn *dead = NULL, *n;

	{
		LOCK_SCOPE(&t->lock);
		n = find_id(t, id);
		if (!n || n == &t->root)
			return;
		n->lookups -= count < n->lookups ? count : n->lookups;
		drop(t, n, &dead);
	}
	bury(t, dead);
}

void pn_unenter(struct pn_table *t, uint64_t id)
{
	{
		struct pn *n;

		LOCK_SCOPE(&t->lock);
		n = find_id(t, id);
		if (n && n->inner_refs)
			n->inner_refs--;
	}
	pn_forget(t, id, 1);
}

void pn_held(struct pn_table *t, uint64_t id)
{
	LOCK_SCOPE(&t->lock);
	if (id >= t->next_id && id <= PN_MAX_HELD)
		t->next_id = id + 1;
}

void pn_unlinked(struct pn_table *t, struct pn *parent, const char *name)
{
	struct pn *dead = NULL, *n;

	{
		LOCK_SCOPE(&t->lock);
		n = find_place(t, parent, name);
		if (n)
			lose_place(t, n, &dead);
	}
	bury(t, dead);
}

void pn_renamed(struct pn_table *t, struct pn *parent, const char *name, struct pn *newparent,
	const char *newname, bool exchange)
{
	struct pn *dead = NULL, *from, *to;

	{
		LOCK_SCOPE(&t->lock);
		from = find_place(t, parent, name);
		to = find_place(t, newparent, newname);
		if (from == to)
			return;
		if (to) {
			to->users++;
			lose_place(t, to, &dead);
		}
		/* Without memory a node has no place: -ESTALE, never another's file. */
		if (from && take_place(t, from, newparent, newname, &dead) < 0)
			lose_place(t, from, &dead);
		if (to && exchange)
			(void)take_place(t, to, parent, name, &dead);
		if (to) {
			to->users--;
			drop(t, to, &dead);
		}
	}
	bury(t, dead);
}

int pn_path(struct pn_table *t, struct pn *n, char buf[static PLUGIN_MAX_PATH])
{
	size_t at = PLUGIN_MAX_PATH - 1;
	unsigned int depth = 0;

	LOCK_SCOPE(&t->lock);
	buf[at] = '\0';
	for (; n != &t->root; n = n->parent) {
		size_t len;

		if (!n->name || ++depth > PLUGIN_MAX_DEPTH)
			return -ESTALE;
		len = strlen(n->name);
		if (len + 1 > at)
			return -ENAMETOOLONG;
		at -= len;
		memcpy(buf + at, n->name, len);
		buf[--at] = '/';
	}
	if (!buf[at])
		buf[--at] = '/';
	memmove(buf, buf + at, PLUGIN_MAX_PATH - at);
	return 0;
}

int pn_pid(struct pn_table *t, struct pn *n, uint32_t epoch, uint64_t *ret)
{
	LOCK_SCOPE(&t->lock);
	*ret = n->pid;
	return n == &t->root || !n->pid || n->epoch == epoch ? 0 : -ESTALE;
}

int pn_place(struct pn_table *t, struct pn *n, struct pn **ret_parent, char name[static 256])
{
	LOCK_SCOPE(&t->lock);
	if (!n->name)
		return -ESTALE;
	(void)snprintf(name, 256, "%s", n->name);
	n->parent->users++;
	*ret_parent = n->parent;
	return 0;
}

void pn_refound(struct pn_table *t, struct pn *n, uint64_t pid, uint64_t generation, uint32_t epoch)
{
	LOCK_SCOPE(&t->lock);
	if (n->epoch == epoch && n->pid == pid) {
		n->pid_refs++;
		return;
	}
	CHAIN_REMOVE(key_chain(t, n->pid, n->inner), n, next_key);
	n->pid = pid;
	n->generation = generation;
	n->epoch = epoch;
	n->pid_refs = 1;
	CHAIN_ADD(key_chain(t, n->pid, n->inner), n, next_key);
}
