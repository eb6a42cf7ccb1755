/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the quota wrapper.
 *
 * @used is what the files take, by the backend's own figures (usage(), or blocks), plus what
 * operations that were let through may have added at most. A write adds its upper bound and makes
 * its node dirty; settling a node asks the backend how much it really takes and gives the rest
 * back. That is done when there seems to be no room, when somebody asks for free space, and when a
 * node goes: so a write costs no question to the backend, and close to the limit every byte counts.
 *
 * A file without a name counts until its last reference is gone.
 *
 * What the host changes behind our back is found by walking the directory, as du(1) does, at start
 * and now and then (quota_walk.c). A walk does not meet what has no name, and may miss what gets
 * another one meanwhile: by neither is a guest to have more room.
 *
 * Several servers of one directory share a count (fsb_start.usage_fd). To each of them the others
 * are what the host is otherwise, so a node is settled as soon as an operation on it has ended:
 * nothing stands in @used then that a walk of another server would not find, but for what is under
 * way. What two do to one file at the same moment, and a removed file that is open, may be counted
 * wrong until the next walk, which such a file asks for, and which a write that finds no room waits
 * for.
 */
#ifndef MSB_FS_BACKENDS_QUOTA_PRIV_H
#define MSB_FS_BACKENDS_QUOTA_PRIV_H

#include "fs/filter.h"
#include "fs/fsd.h"
#include "fs/node_map.h"

#include <pthread.h>
#include <stdatomic.h>

#define QUOTA_BLOCK	4096u
#define QUOTA_MAX_DIRTY 1024  /* nodes; past it all are settled */
#define QUOTA_START_MS	5000  /* a mount waits that long for its first walk */
#define QUOTA_WALK_MS	1000  /* least time between walks; and 20 times what one took */
#define QUOTA_STALE_MS	60000 /* a statfs asks for a walk past it */

struct qnode {
	struct fsb_node n;	   /* first */
	struct qnode *prev, *next; /* dirty ones; dirty_lock */
	uint64_t known;	  /* bytes of it in @used, beside @pending: where dirty or doomed */
	uint64_t pending; /* what operations since may have added */
	uint64_t owed;	  /* references given back while it was being settled */
	uint32_t ops;	  /* under way that change it */
	uint32_t age;	  /* of them, ever */
	bool dirty, doomed, settling;
	bool loaded; /* from device state: whether it has a name is not known */
};

struct quota {
	struct fsb_filter f; /* first */
	void (*stop_next)(struct fsb *);
	/* @used; all that was ever added to and taken from it; whether the first walk is done, or
	 * there is nothing to walk. */
	struct fsd_usage *u;
	struct fsd_usage own;
	bool shared;		 /* @u is others' too */
	_Atomic bool recount;	 /* the backend is to be asked what all of it takes */
	_Atomic uint32_t moving; /* of @u->moved: under way here */
	struct fsb_node_map nodes;

	pthread_mutex_t dirty_lock; /* taken with a shard's lock held, never the other way round */
	struct qnode *dirty;
	_Atomic unsigned int ndirty;

	int dir_fd; /* -1: nothing to walk */
	pthread_t walker;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t cond;
	_Atomic bool stop; /* the walk under way */
	bool asked, ending;
	uint64_t ended_ms, took_ms; /* of the last walk */
};

static inline uint64_t quota_limit(const struct quota *q)
{
	uint64_t n = atomic_load(&q->u->limit_bytes);

	return n && n < INT64_MAX ? n : INT64_MAX;
}

/* ---- quota.c */
int64_t quota_usage(struct quota *q, uint64_t node); /* bytes, or -errno */
void quota_recount(struct quota *q);		     /* where that is due */

/* ---- quota_count.c */
void quota_add(struct quota *q, int64_t bytes);
bool quota_reserve(struct quota *q, uint64_t bytes);
/* Around an operation that may add up to @grow to @node. -ENOSPC, -errno: it is not to run. Of the
 * root only asks whether there is room. */
int quota_begin(struct quota *q, uint64_t node, uint64_t grow);
void quota_end(struct quota *q, uint64_t node);
void quota_settle(struct quota *q, uint64_t node);
void quota_settle_all(struct quota *q);
uint64_t quota_nameless(struct quota *q); /* bytes of what is held and has no name */
void quota_entered(struct quota *q, uint64_t node, uint64_t count, bool nameless);
void quota_loaded(struct quota *q, uint64_t node, uint64_t lookups);
void quota_linked(struct quota *q, uint64_t node);  /* it has a name again */
void quota_removed(struct quota *q, uint64_t node); /* it has none; a reference is the caller's */
void quota_forget(struct quota *q, uint64_t node, uint64_t count); /* and tells the backend */

/* ---- quota_walk.c */
/* Starts the walker and waits for its first walk, for QUOTA_START_MS. Takes @dir_fd. */
int quota_walk_start(struct quota *q, int dir_fd, struct msb_err *e);
void quota_walk_stop(struct quota *q);
void quota_walk_ask(struct quota *q, uint64_t older_than_ms); /* never waits */
void quota_walk_now(struct quota *q); /* waits for one, where one is due at all */

#endif
