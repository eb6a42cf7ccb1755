// SPDX-License-Identifier: Apache-2.0
// Entries by node id, in shards.
#include "fs/node_map.h"
#include "base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

#define FIRST_BUCKETS 16
#define CACHE_LINE    64

void fsb_node_map_init(struct fsb_node_map *m, size_t max, size_t entry_bytes)
{
	*m = (struct fsb_node_map){.max = max, .entry_bytes = entry_bytes};
	for (size_t i = 0; i < FSB_NODE_SHARDS; i++)
		pthread_mutex_init(&m->shard[i].lock, NULL);
}

void fsb_node_map_done(struct fsb_node_map *m, void (*drop)(struct fsb_node *))
{
	for (size_t i = 0; i < FSB_NODE_SHARDS; i++) {
		struct fsb_node_shard *s = &m->shard[i];

		for (size_t b = 0; b < s->buckets; b++)
			for (struct fsb_node *e = s->bucket[b], *next; e; e = next) {
				next = e->chain;
				if (drop)
					drop(e);
				free(e);
			}
		free(s->bucket);
		pthread_mutex_destroy(&s->lock);
	}
}

struct fsb_node_shard *fsb_node_lock(struct fsb_node_map *m, uint64_t id)
{
	struct fsb_node_shard *s = &m->shard[msb_near_hash(id) / MSB_NEAR % FSB_NODE_SHARDS];

	pthread_mutex_lock(&s->lock);
	return s;
}

static struct fsb_node **bucket_of(const struct fsb_node_shard *s, uint64_t id)
{
	const size_t h = msb_near_hash(id);

	return &s->bucket[(h / MSB_NEAR / FSB_NODE_SHARDS * MSB_NEAR + h % MSB_NEAR) &
			  (s->buckets - 1)];
}

struct fsb_node *fsb_node_find(const struct fsb_node_shard *s, uint64_t id)
{
	struct fsb_node *e = s->buckets ? *bucket_of(s, id) : NULL;

	while (e && e->id != id)
		e = e->chain;
	return e;
}

void fsb_node_fetch(const struct fsb_node_shard *s, uint64_t id)
{
	const struct fsb_node *e = s->buckets ? *bucket_of(s, id) : NULL;

	if (!e)
		return;
	/* An entry stands across two lines as often as not. */
	__builtin_prefetch(e);
	__builtin_prefetch((const uint8_t *)(const void *)e + CACHE_LINE);
}

/* More buckets, where there is memory for them. */
static void grow(struct fsb_node_shard *s)
{
	struct fsb_node_shard n = {.buckets = s->buckets ? s->buckets * 2 : FIRST_BUCKETS};

	n.bucket = calloc(n.buckets, sizeof(*n.bucket));
	if (!n.bucket)
		return;
	for (size_t b = 0; b < s->buckets; b++)
		for (struct fsb_node *e = s->bucket[b], *next; e; e = next) {
			struct fsb_node **to = bucket_of(&n, e->id);

			next = e->chain;
			e->chain = *to;
			*to = e;
		}
	free(s->bucket);
	s->bucket = n.bucket;
	s->buckets = n.buckets;
}

struct fsb_node *fsb_node_add(struct fsb_node_map *m, struct fsb_node_shard *s, uint64_t id)
{
	struct fsb_node *e = fsb_node_find(s, id), **to;

	if (e)
		return e;
	if (atomic_fetch_add(&m->used, 1) < m->max) {
		if (s->used >= s->buckets)
			grow(s);
		e = s->buckets ? calloc(1, m->entry_bytes) : NULL;
	}
	if (!e) {
		atomic_fetch_sub(&m->used, 1);
		return NULL;
	}
	e->id = id;
	to = bucket_of(s, id);
	e->chain = *to;
	*to = e;
	s->used++;
	return e;
}

void fsb_node_remove(struct fsb_node_map *m, struct fsb_node_shard *s, struct fsb_node *e)
{
	struct fsb_node **at = bucket_of(s, e->id);

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	s->used--;
	atomic_fetch_sub(&m->used, 1);
	free(e);
}
