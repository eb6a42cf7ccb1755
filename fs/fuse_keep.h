/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one kernel holds, in memory that outlives the server: a memfd of the supervisor's, which the
 * next server gets when this one was killed.
 *
 * One slot a node or handle, at a place that it keeps while it is held; what a kill can interrupt
 * is a single store. A slot never says less than the kernel holds: what is taken is there before
 * the reply is, what is given back goes only when the request has been (fuse_keep_commit()). So a
 * request that the next server runs again counts once too often, never too seldom. Shared, and
 * hostile to who reads it. Not locked: the session's lock guards it.
 */
#ifndef MSB_FS_FUSE_KEEP_H
#define MSB_FS_FUSE_KEEP_H

#include "fs/fsd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_KEEP_STATE 96 /* bytes of a backend's save(); a node that needs more becomes stale */
#define FUSE_KEEP_SLOTS (FSD_MAX_NODES + 2 * 65536)

enum fuse_keep_kind { FUSE_KEEP_NODE = 1, FUSE_KEEP_FILE, FUSE_KEEP_DIR };

struct fuse_keep_slot {
	uint64_t key; /* 0: free */
	uint64_t count;
	uint64_t node;
	uint32_t flags;
	uint8_t kind, state_bytes;
	uint8_t saved; /* FUSE_KEEP_SAVED once state is there */
	uint8_t zero;
	uint8_t state[FUSE_KEEP_STATE];
};
_Static_assert(sizeof(struct fuse_keep_slot) == 128, "part of a memory's layout");

#define FUSE_KEEP_SAVED	 1
#define FUSE_KEEP_LARGER 2 /* its state does not fit */

/* What INIT agreed on. */
struct fuse_keep_init {
	uint64_t init_flags;
	uint32_t minor;
	bool ready, opens_off;
};

struct fuse_keep;

/* Maps @fd, a memfd, which it makes as large as it has to be. -EINVAL another kind of file. */
int fuse_keep_new(int fd, struct fuse_keep **ret);
struct fuse_keep *fuse_keep_free(struct fuse_keep *k); /* what it says stays */

/* Whether it says anything that a server has written; then @ret. */
bool fuse_keep_used(const struct fuse_keep *k, struct fuse_keep_init *ret);
void fuse_keep_init(struct fuse_keep *k, const struct fuse_keep_init *i);

/* A slot for what is new: its number from 1, or 0 where there is none. */
uint32_t fuse_keep_take(struct fuse_keep *k, enum fuse_keep_kind kind, uint64_t key, uint64_t count,
	uint64_t node, uint32_t flags);
void fuse_keep_more(struct fuse_keep *k, uint32_t slot, uint64_t count);
/* @gone: the kernel holds no more of it; the slot is free then. Both at the next commit. */
void fuse_keep_less(struct fuse_keep *k, uint32_t slot, uint64_t count, bool gone);
void fuse_keep_commit(struct fuse_keep *k);

/* The next node whose state is still to be asked for: its slot, or 0. */
uint32_t fuse_keep_unsaved(struct fuse_keep *k, uint64_t *ret_key);
/* @bytes < 0: it has none, or one that is too large. */
void fuse_keep_state(
	struct fuse_keep *k, uint32_t slot, uint64_t key, const void *p, int64_t bytes);

uint32_t fuse_keep_last(const struct fuse_keep *k); /* the last slot that was ever used */
/* ---- taking over: a copy of slot @slot, checked; false where it is free or makes no sense, and is
 * free from then on. Before the first take. */
bool fuse_keep_read(struct fuse_keep *k, uint32_t slot, struct fuse_keep_slot *ret);
void fuse_keep_claim(struct fuse_keep *k); /* every slot has been read: the others may be taken */
void fuse_keep_drop(struct fuse_keep *k, uint32_t slot); /* of one that was read */

#endif
