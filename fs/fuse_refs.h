/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a session holds of its backend: counted references, by key, that a request can pin.
 * Not locked: the session's lock guards it.
 */
#ifndef MSB_FS_FUSE_REFS_H
#define MSB_FS_FUSE_REFS_H

#include "fs/fuse_keep.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_ref {
	uint64_t key;	  /* 0: empty slot */
	uint64_t count;	  /* held by the kernel */
	uint64_t dropped; /* given back by the kernel while pinned; owed to the backend */
	uint64_t node;	  /* of a handle: its node */
	uint32_t pins;
	uint32_t flags; /* of a handle: O_* as at OPEN; FUSE_REF_STALE */
	uint32_t kept;	/* its slot in @keep; 0: none */
	/* Of a view's node (fs/fuse_view.c): its opens that are not released, and how old what is
	 * cached of it is. */
	uint32_t opens, cached_age;
};
#define FUSE_REF_STALE (1u << 31) /* the backend does not know it: every use is -ESTALE */

/* Open addressing, linear probing, a power of two of slots, at most three quarters full. */
struct fuse_refs {
	struct fuse_ref *slot;
	size_t slots, used, max;
	struct fuse_keep *keep; /* NULL: nobody could take over; see fs/fuse_keep.h */
	enum fuse_keep_kind kind;
};

void fuse_refs_init(struct fuse_refs *r, size_t max);
void fuse_refs_done(struct fuse_refs *r);

/* Enters @what; where its key is there already, adds its count. -ENFILE past the table's maximum;
 * -ENOMEM; -ESTALE: what is there is a stale node, and the kernel would take the one for the other.
 * A stale handle's number may come again, since its backend knows nothing of it: it is the new
 * one's then, and open until the kernel has released both. */
int fuse_refs_add(struct fuse_refs *r, const struct fuse_ref *what);

/* The entry while the kernel holds it; NULL. Valid until the next add or drop. */
struct fuse_ref *fuse_refs_find(struct fuse_refs *r, uint64_t key);

/**
 * fuse_refs_drop() - The kernel gives back up to @count references
 * @ret_was: the entry, set where the result is not 0; may be NULL
 * Return: how many to give back to the backend now; the rest comes out of unpin.
 */
uint64_t fuse_refs_drop(
	struct fuse_refs *r, uint64_t key, uint64_t count, struct fuse_ref *ret_was);

/* Pinned by its pins, once more by who found it. As drop. */
uint64_t fuse_refs_unpin(struct fuse_refs *r, uint64_t key, struct fuse_ref *ret_was);

#endif
