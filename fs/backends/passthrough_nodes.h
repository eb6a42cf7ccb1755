/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of a passthrough: which host file each id means, and how to get at it.
 *
 * A node is a place, (parent, name), and an identity, (dev, ino, birth time). The place finds the
 * file, the identity tells whether it is still the same one: -ESTALE if not, never the wrong file.
 * An O_PATH descriptor is kept for those used lately, at most FSD_MAX_BACKEND_FDS of them; the
 * others are found again from their parent. A node about to lose its place (unlink, rename over)
 * is held by a descriptor until it is forgotten, so what the guest has open survives as on a disk.
 *
 * Why not one descriptor a node: a guest's `find` would take half a million. Why not file handles:
 * open_by_handle_at() is for root alone, and reaches every file of the disk, not only the share's.
 */
#ifndef MSB_FS_PASSTHROUGH_NODES_H
#define MSB_FS_PASSTHROUGH_NODES_H

#include "fs/fsb.h"
#include "fs/fsd.h"

#include <pthread.h>
#include <sys/stat.h>

/* Descriptors held for nodes without a place; past it an unlinked file is -ESTALE by its node. */
#define PT_MAX_ORPHANS (FSD_MAX_BACKEND_FDS / 2)
/* Directories above a node that have to be found again one by one; -ESTALE past it. */
#define PT_MAX_DEPTH 512

struct pt_node;

/* Has its own lock, which is never held across a system call that may block. */
struct pt_nodes {
	pthread_mutex_t lock;
	struct pt_node **by_id, **by_file; /* hash chains, a power of two of each */
	size_t buckets;
	uint32_t live, fds, orphans;
	uint64_t next_id;		 /* counts up and is never used again */
	struct pt_node *newest, *oldest; /* idle nodes whose descriptor may be closed */
	uint64_t mnt_id;
};

/* A node in use, and an O_PATH descriptor of its file, the table's. */
struct pt_ref {
	struct pt_node *node;
	int fd;
};

int pt_nodes_init(struct pt_nodes *t, int root_fd); /* takes @root_fd in any case; 0 or -errno */
void pt_nodes_done(struct pt_nodes *t);

/* The file of @id, to be given back by pt_put(). -ESTALE: it is not there any more. */
int pt_get(struct pt_nodes *t, uint64_t id, struct pt_ref *ret);
void pt_put(struct pt_nodes *t, struct pt_ref *r);

uint32_t pt_type(const struct pt_ref *r); /* S_IF* */

/**
 * pt_enter() - The node of a file just looked at
 * @name: its name in @parent, or NULL for one without a name, reached by @fd
 * @fd:   O_PATH descriptor, taken over in any case; -1 where @name is set
 * Return: 0 and @ret_id with one reference that pt_forget() gives back; -ENFILE; -ENOMEM.
 */
int pt_enter(struct pt_nodes *t, const struct pt_ref *parent, const char *name,
	const struct statx *sx, int fd, uint64_t *ret_id);
void pt_forget(struct pt_nodes *t, uint64_t id, uint64_t count);

/* @name in @parent is about to go away: keeps its node reachable. Best effort. */
void pt_hold(struct pt_nodes *t, const struct pt_ref *parent, const char *name);

/* Whatever @name in @parent is now, after a rename or where one or a removal failed: that is its
 * node's place. */
void pt_moved(struct pt_nodes *t, const struct pt_ref *parent, const char *name);

/**
 * pt_statx() - Look at @name in @dirfd, or at @dirfd itself where @name is ""
 * Follows no link. Return: 0; -EXDEV where another file system is mounted; -errno.
 */
int pt_statx(const struct pt_nodes *t, int dirfd, const char *name, struct statx *ret);

/* openat2() of one name, beneath @dirfd, through no link and no mount. */
int pt_openat(int dirfd, const char *name, int flags, mode_t mode);

#endif
