// SPDX-License-Identifier: Apache-2.0
// The memory backend's maps: which page of a file is in which page of memory.
#include "fs/backends/memory/mem.h"

static unsigned int slot_of(uint64_t index, uint32_t level)
{
	return (unsigned int)(index >> (level - 1) * MEM_FAN_BITS) & (MEM_FAN - 1);
}

static bool beyond(const struct mem_map *p, uint64_t index)
{
	return !p->root || index >> p->levels * MEM_FAN_BITS;
}

static size_t node_bytes(uint32_t level)
{
	return level == 1 ? sizeof(struct mem_leaf) : sizeof(struct mem_branch);
}

struct mem_leaf *mem_map_leaf(const struct mem_map *p, uint64_t index)
{
	void *n = p->root;

	if (beyond(p, index))
		return NULL;
	for (uint32_t level = p->levels; n && level > 1; level--)
		n = ((struct mem_branch *)n)->child[slot_of(index, level)];
	return n;
}

/* A root above the root, until the map is high enough for @index. */
static int raise(struct mem *m, struct mem_map *p, uint64_t index)
{
	if (!p->root) {
		p->levels = 1;
		while (index >> p->levels * MEM_FAN_BITS)
			p->levels++;
		p->root = mem_alloc(m, node_bytes(p->levels));
		return p->root ? 0 : -ENOSPC;
	}
	while (beyond(p, index)) {
		struct mem_branch *b = mem_alloc(m, sizeof(*b));

		if (!b)
			return -ENOSPC;
		b->child[0] = p->root;
		b->used = 1;
		p->root = b;
		p->levels++;
	}
	return 0;
}

/* Frees the node at @index and @level, which is empty, and what is above it for it alone. */
static void drop(struct mem *m, struct mem_map *p, uint64_t index, uint32_t level)
{
	void **at[MEM_MAX_LEVELS + 1], **n = &p->root;
	uint32_t levels = p->levels;

	for (uint32_t l = levels; l > level; l--) {
		at[l] = n;
		n = &((struct mem_branch *)*n)->child[slot_of(index, l)];
	}
	mem_free(m, *n, node_bytes(level));
	*n = NULL;
	while (level < levels) {
		level++;
		if (--((struct mem_branch *)*at[level])->used)
			return;
		mem_free(m, *at[level], node_bytes(level));
		*at[level] = NULL;
	}
	p->levels = 0;
}

int mem_map_make(struct mem *m, struct mem_map *p, uint64_t index, struct mem_leaf **ret)
{
	int r = raise(m, p, index);
	void *n = p->root;

	if (r < 0)
		return r;
	for (uint32_t level = p->levels; level > 1; level--) {
		struct mem_branch *b = n;
		void **child = &b->child[slot_of(index, level)];

		if (!*child) {
			void *fresh = mem_alloc(m, node_bytes(level - 1));

			if (!fresh) {
				if (!b->used)
					drop(m, p, index, level);
				return -ENOSPC;
			}
			*child = fresh;
			b->used++;
		}
		n = *child;
	}
	*ret = n;
	return 0;
}

static struct mem_leaf *next_below(void *node, uint32_t level, uint64_t *index)
{
	const struct mem_branch *b = node;
	uint32_t shift = (level - 1) * MEM_FAN_BITS;
	unsigned int from;

	if (level == 1) {
		*index &= ~(uint64_t)(MEM_FAN - 1);
		return node;
	}
	from = slot_of(*index, level);
	for (unsigned int s = from; s < MEM_FAN; s++) {
		struct mem_leaf *l;

		if (s != from)
			*index = ((*index >> (shift + MEM_FAN_BITS)) << MEM_FAN_BITS | s) << shift;
		l = b->child[s] ? next_below(b->child[s], level - 1, index) : NULL;
		if (l)
			return l;
	}
	return NULL;
}

struct mem_leaf *mem_map_next(const struct mem_map *p, uint64_t *index)
{
	return beyond(p, *index) ? NULL : next_below(p->root, p->levels, index);
}

void mem_map_erase(struct mem *m, struct mem_map *p, uint64_t first, uint64_t end)
{
	uint64_t at = first;

	while (at < end) {
		struct mem_leaf *l = mem_map_next(p, &at);
		uint32_t gone[MEM_FAN], n = 0;

		if (!l || at >= end)
			return;
		for (unsigned int s = 0; s < MEM_FAN; s++) {
			if (!l->page[s] || at + s < first || at + s >= end)
				continue;
			gone[n++] = l->page[s];
			l->page[s] = 0;
		}
		l->used -= n;
		p->pages -= n;
		if (!l->used)
			drop(m, p, at, 1);
		mem_pages_give(m, gone, n);
		at += MEM_FAN;
	}
}
