/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a wrapper keeps of every node that somebody holds: entries by node id, with the references
 * that were handed out.
 *
 * Cut up into shards, each with a lock: fsb_node_lock() one, use its entries, unlock it. No two
 * shards are held at once, and none around an operation of a backend.
 */
#ifndef MSB_FS_NODE_MAP_H
#define MSB_FS_NODE_MAP_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define FSB_NODE_SHARDS 64

struct fsb_node { /* first in the user's entry; guarded by the shard's lock */
	struct fsb_node *chain;
	uint64_t id, refs;
};

struct fsb_node_shard {
	pthread_mutex_t lock;
	struct fsb_node **bucket;
	size_t buckets, used;
};

struct fsb_node_map {
	size_t max, entry_bytes;
	_Atomic size_t used;
	struct fsb_node_shard shard[FSB_NODE_SHARDS];
};

void fsb_node_map_init(struct fsb_node_map *m, size_t max, size_t entry_bytes);
/* @drop, which may be NULL, frees what an entry owns. */
void fsb_node_map_done(struct fsb_node_map *m, void (*drop)(struct fsb_node *));

struct fsb_node_shard *fsb_node_lock(struct fsb_node_map *m, uint64_t id);
static inline void fsb_node_unlock(struct fsb_node_shard *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* In a locked shard. */
struct fsb_node *fsb_node_find(const struct fsb_node_shard *s, uint64_t id); /* NULL: none */
/* Begins to fetch what fsb_node_find() will look at: that is far away, as a rule. */
void fsb_node_fetch(const struct fsb_node_shard *s, uint64_t id);
/* Made where there is none, all zero; NULL: @max are there, or no memory. */
struct fsb_node *fsb_node_add(struct fsb_node_map *m, struct fsb_node_shard *s, uint64_t id);
void fsb_node_remove(struct fsb_node_map *m, struct fsb_node_shard *s, struct fsb_node *e);

/* Spreads ids that differ in their low bits. */
static inline uint64_t fsb_node_mix(uint64_t id)
{
	id *= 0x9e3779b97f4a7c15ULL;
	return id ^ id >> 32;
}

#endif
