/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session holds of its backend: counted references, by key, that a request can pin.
 * Not locked: the session's lock guards it.
 */
#ifndef MSB_FS_FUSE_REFS_H
#define MSB_FS_FUSE_REFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_ref {
	uint64_t key;	  /* 0: empty slot */
	uint64_t count;	  /* held by the kernel */
	uint64_t dropped; /* given back by the kernel while pinned; owed to the backend */
	uint64_t node;	  /* of a handle: its node */
	uint32_t pins;
};

/* Open addressing, linear probing, a power of two of slots, at most three quarters full. */
struct fuse_refs {
	struct fuse_ref *slot;
	size_t slots, used, max;
};

void fuse_refs_init(struct fuse_refs *r, size_t max);
void fuse_refs_done(struct fuse_refs *r);

/* -ENFILE past the table's maximum, -ENOMEM. Adds @count references, @node where it is new. */
int fuse_refs_add(struct fuse_refs *r, uint64_t key, uint64_t count, uint64_t node);

/* The entry while the kernel holds it; NULL. Valid until the next add or drop. */
struct fuse_ref *fuse_refs_find(struct fuse_refs *r, uint64_t key);

/**
 * fuse_refs_drop() - The kernel gives back up to @count references
 * @ret_node: the entry's node, set where the result is not 0; may be NULL
 * Return: how many to give back to the backend now; the rest comes out of unpin.
 */
uint64_t fuse_refs_drop(struct fuse_refs *r, uint64_t key, uint64_t count, uint64_t *ret_node);

bool fuse_refs_pin(struct fuse_refs *r, uint64_t key); /* false where it is not held */
uint64_t fuse_refs_unpin(struct fuse_refs *r, uint64_t key, uint64_t *ret_node); /* as drop */

#endif
