/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's merged tree in memory, while its layers are applied. No host path is ever touched.
 * Everything in a tree is owned by it; pointers stay valid until the entry is removed.
 */
#ifndef MSB_FS_IMAGE_TREE_H
#define MSB_FS_IMAGE_TREE_H

#include "fs/image/limits.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMG_INLINE_MAX 1024 /* bytes of a file that live in the index, not in a pack */

struct img_dent;

/* One extended attribute as EROFS stores it: prefix index and the rest of the name. */
struct img_xattr {
	struct img_xattr *next; /* sorted by index, then name */
	uint8_t index, name_n;
	uint16_t value_n;
	char bytes[]; /* name, then value */
};

struct img_inode {
	uint32_t mode, uid, gid, rdev; /* rdev as makedev(3) */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t refs; /* directory entries that lead here: nlink of a non-directory */
	uint64_t size; /* regular files: bytes; symlinks: of the target */
	struct img_xattr *xattrs;
	union {
		char *bytes; /* symlink target, or a small file's contents; NUL-terminated */
		struct {     /* directories */
			struct img_dent *children; /* unordered */
			struct img_inode *parent;  /* the root is its own */
			uint32_t nchildren, nsubdirs, depth;
		};
		struct { /* regular files that are not inlined */
			uint32_t pack_id;
			uint64_t pack_off; /* 4 KiB aligned */
		};
	};
	bool inlined; /* a regular file whose bytes are here */
	bool mark;    /* the writer's */
	uint64_t pos; /* the writer's: byte offset of the inode */
	uint32_t blk; /* the writer's: first data block */
};

struct img_dent {
	struct img_dent *next, **pprev; /* siblings */
	struct img_dent *hnext;		/* hash chain */
	struct img_inode *dir, *inode;
	uint32_t layer; /* that last named it */
	uint8_t name_n;
	char name[];
};

struct img_tree;

/* @max_inodes: of inodes, and of names; past it img_tree_new_inode() and img_tree_add() fail with
 * -E2BIG. */
int img_tree_new(uint64_t max_inodes, struct img_tree **ret);
struct img_tree *img_tree_free(struct img_tree *);
struct img_inode *img_tree_root(const struct img_tree *);
uint64_t img_tree_inodes(const struct img_tree *);

/* An inode with @mode (type and permissions) and nothing else; dropped by img_tree_drop() or with
 * the last entry that leads to it. -E2BIG, -ENOMEM. */
int img_tree_new_inode(struct img_tree *, uint32_t mode, struct img_inode **ret);
void img_tree_drop(struct img_tree *, struct img_inode *); /* one with no entry */

struct img_dent *img_tree_find(
	const struct img_tree *, const struct img_inode *dir, const char *name, size_t n);

/**
 * img_tree_add() - Enter @inode as @name, which must be absent, in @dir
 * @n: 1..IMG_MAX_NAME; never "." or ".."
 * Return: 0; -ENOMEM; -E2BIG; -ELOOP where a directory would be deeper than IMG_MAX_DEPTH.
 */
int img_tree_add(struct img_tree *, struct img_inode *dir, const char *name, size_t n,
	struct img_inode *inode, uint32_t layer, struct img_dent **ret);
void img_tree_remove(struct img_tree *, struct img_dent *); /* with everything below */

/**
 * img_tree_remove_lower() - Remove what layers below @layer put at and below @d
 * Return: whether @d is still there, because @layer itself named it or something below it.
 */
bool img_tree_remove_lower(struct img_tree *, struct img_dent *d, uint32_t layer);

/**
 * img_inode_set_xattr() - Add or replace an attribute
 * @name: full name ("security.capability")
 * Return: 0; -EOPNOTSUPP a namespace that an image cannot carry; -E2BIG; -ENOMEM.
 */
int img_inode_set_xattr(
	struct img_inode *, const char *name, size_t name_n, const void *value, size_t value_n);
void img_inode_clear_xattrs(struct img_inode *);

#endif
