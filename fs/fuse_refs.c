// SPDX-License-Identifier: Apache-2.0
// Counted references of a session, by key.
#include "fs/fuse_refs.h"
#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_SLOTS 64

void fuse_refs_init(struct fuse_refs *r, size_t max)
{
	*r = (struct fuse_refs){.max = max};
}

void fuse_refs_done(struct fuse_refs *r)
{
	free(r->slot);
	r->slot = NULL;
	r->slots = r->used = 0;
}

static size_t home(const struct fuse_refs *r, uint64_t key)
{
	return msb_near_hash(key) & (r->slots - 1);
}

/* The slot of @key, or the empty one where it would go. */
static size_t probe(const struct fuse_refs *r, uint64_t key)
{
	size_t i = home(r, key);

	while (r->slot[i].key && r->slot[i].key != key)
		i = (i + 1) & (r->slots - 1);
	return i;
}

static int grow(struct fuse_refs *r)
{
	struct fuse_refs n = {.slots = r->slots ? r->slots * 2 : FIRST_SLOTS};

	n.slot = calloc(n.slots, sizeof(*n.slot));
	if (!n.slot)
		return -ENOMEM;
	for (size_t i = 0; i < r->slots; i++)
		if (r->slot[i].key)
			n.slot[probe(&n, r->slot[i].key)] = r->slot[i];
	free(r->slot);
	r->slot = n.slot;
	r->slots = n.slots;
	return 0;
}

static struct fuse_ref *any(struct fuse_refs *r, uint64_t key)
{
	struct fuse_ref *s = r->slots && key ? &r->slot[probe(r, key)] : NULL;

	return s && s->key ? s : NULL;
}

struct fuse_ref *fuse_refs_find(struct fuse_refs *r, uint64_t key)
{
	struct fuse_ref *s = any(r, key);

	return s && s->count ? s : NULL;
}

int fuse_refs_add(struct fuse_refs *r, const struct fuse_ref *what)
{
	struct fuse_ref *s = any(r, what->key);

	if (s) {
		if (s->flags & FUSE_REF_STALE) {
			if (!what->node)
				return -ESTALE;
			s->node = what->node;
			s->flags = what->flags;
		}
		s->count += what->count;
		if (s->kept)
			fuse_keep_more(r->keep, s->kept, what->count);
		else if (r->keep)
			s->kept = fuse_keep_take(
				r->keep, r->kind, s->key, s->count, s->node, s->flags);
		return 0;
	}
	if (r->used >= r->max)
		return -ENFILE;
	if (r->used + 1 > r->slots / 4 * 3) {
		int e = grow(r);

		if (e < 0)
			return e;
	}
	s = &r->slot[probe(r, what->key)];
	*s = *what;
	if (r->keep && !s->kept)
		s->kept = fuse_keep_take(r->keep, r->kind, s->key, s->count, s->node, s->flags);
	r->used++;
	return 0;
}

/* Empties a slot and moves back what probed past it, so that no search stops early. */
static void vacate(struct fuse_refs *r, size_t hole)
{
	size_t mask = r->slots - 1;

	for (size_t i = (hole + 1) & mask; r->slot[i].key; i = (i + 1) & mask) {
		size_t h = home(r, r->slot[i].key);

		if (((i - h) & mask) >= ((i - hole) & mask)) {
			r->slot[hole] = r->slot[i];
			hole = i;
		}
	}
	r->slot[hole].key = 0;
	r->used--;
}

uint64_t fuse_refs_drop(struct fuse_refs *r, uint64_t key, uint64_t count, struct fuse_ref *ret_was)
{
	struct fuse_ref *s = fuse_refs_find(r, key);

	if (!s)
		return 0;
	if (count > s->count)
		count = s->count;
	if (ret_was)
		*ret_was = *s;
	s->count -= count;
	if (s->kept) {
		fuse_keep_less(r->keep, s->kept, count, s->count == 0);
		if (s->count == 0)
			s->kept = 0;
	}
	if (s->count)
		return count;
	if (s->pins) {
		s->dropped += count;
		return 0;
	}
	vacate(r, (size_t)(s - r->slot));
	return count;
}

uint64_t fuse_refs_unpin(struct fuse_refs *r, uint64_t key, struct fuse_ref *ret_was)
{
	struct fuse_ref *s = any(r, key);
	uint64_t owed;

	if (!s || --s->pins)
		return 0;
	if (ret_was)
		*ret_was = *s;
	owed = s->dropped;
	s->dropped = 0;
	if (!s->count)
		vacate(r, (size_t)(s - r->slot));
	return owed;
}
