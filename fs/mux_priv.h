/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the mux; nobody else includes it. */
#ifndef MSB_FS_MUX_PRIV_H
#define MSB_FS_MUX_PRIV_H

#include "fs/mux.h"

#include <pthread.h>
#include <stdatomic.h>

#define MUX_SHIFT   48
#define MUX_MASK    (FSB_MAX_ID - 1)
#define MUX_LEAVING 0x80000000u

struct mux_seat {
	_Atomic uint32_t id;	/* in node ids; 0: nobody's */
	_Atomic uint32_t users; /* operations inside, and MUX_LEAVING */
	uint32_t generation;	/* of its name; while it sits */
	struct fsb *b;
	char name[FSD_MAX_MOUNT_NAME + 1]; /* mux.lock */
	bool bound;			   /* its id is what a saved state said; mux.lock */
	pthread_mutex_t lock;		   /* of empty: users has become 0 */
	pthread_cond_t empty;
};

struct mux {
	struct fsb b; /* first */
	struct fsb_ops ops;
	pthread_mutex_t lock; /* names, who sits where, ops.caps; never held across a child's op */
	uint32_t n;
	uint8_t had[(1 << 16) / 8]; /* seats that cannot be taken, a bit each */
	struct mux_seat seat[FSD_MAX_MOUNTS];
};

extern const struct fsb_ops mux_ops; /* but for stop and caps */

struct mux *mux_of(struct fsb *b);
/* The child that @node belongs to, to be given back by mux_leave(). -ESTALE. */
int mux_enter(struct fsb *b, uint64_t node, struct mux_seat **ret);
/* Returns @r as a kernel may hear it. */
int64_t mux_leave(struct mux_seat *s, int64_t r);
void mux_attr_out(const struct mux_seat *s, struct fuse_attr *a);
void mux_entry_out(const struct mux_seat *s, struct fsb_entry *e);

void mux_root_attr(struct fuse_attr *ret);
int mux_root_lookup(struct mux *m, const char *name, struct fsb_entry *ret);
/* By its id alone, as FSB_CAP_EXPORT wants it: @node, or a directory's parent. */
int mux_by_handle(struct fsb *b, const struct fsb_req *req, uint64_t node, bool parent,
	struct fsb_entry *ret);
int mux_root_readdir(struct mux *m, uint64_t off, bool plus, fsb_dirent_fn fn, void *arg);
struct mux_seat *mux_seat_named(struct mux *m, const char *name); /* mux.lock held; NULL */
/* The id that @name is to have; 0: none is left. The lock is held. */
uint32_t mux_new_id(struct mux *m, const char *name);
static inline void mux_take_id(struct mux *m, uint32_t id)
{
	m->had[id / 8] |= (uint8_t)(1 << id % 8);
}

/* ---- mux_state.c */
int64_t mux_save(struct fsb *b, uint64_t node, void *buf, size_t cap);
int mux_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n);
int mux_save_all(struct fsb *b, int fd);
int mux_load_all(struct fsb *b, int fd);

#endif
