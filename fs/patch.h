/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a sandbox's owner has put into its root before its machine begins.
 *
 * The directory of patches is a tree as the root's is to be: directories that are missing are made,
 * files and symbolic links are put in the place of what is there, all of them root's. A directory
 * `append` at its top holds files whose contents are appended to those of the root; a file `remove`
 * there names, a line each, what is removed from it before anything else is done.
 *
 * Each of them is done once: a record, beside the changes of the overlay and so as long-lived as
 * they are, says what was. What is changed in the directory is done (again); what is taken out of
 * it stays as it is in the root. Before the first append the record says where each begins, so that
 * one which was cut off is not done twice.
 *
 * Paths are walked in the tree and never on the host: symbolic links of the root lead nowhere but
 * into it. Wrappers are passed by, but for a quota: it is the owner who changes the root here.
 */
#ifndef MSB_FS_PATCH_H
#define MSB_FS_PATCH_H

#include "fs/fsb.h"
#include "fs/fsd.h"

#define FS_PATCH_MAX	   2048 /* files, directories, links, and lines of `remove` */
#define FS_PATCH_MAX_BYTES (64u << 20)
#define FS_PATCH_MAX_DEPTH 128 /* directories that are walked into, or removed, at once */
#define FS_PATCH_MAX_LINKS 40  /* symbolic links of one path */

/**
 * fs_patch() - Bring a root up to its patches
 * @b: the root; @dir_fd: the directory of patches, -1: there are none; @changes_fd: where the
 * record is Return: 0; -E2BIG the limits above; -EISDIR, -ENOTDIR, -ELOOP, -ENOSPC and others, with
 * the path. What was done before a failure is done again, or not, by the next call.
 */
int fs_patch(struct fsb *b, int dir_fd, int changes_fd, struct msb_err *e);

/* ---- within it: walking the root (patch_walk.c) */

struct patch_tree {
	struct fsb *b;
	struct fsb_req req; /* root's */
};

/* A place in the root: a directory, held, and a name in it. */
struct patch_place {
	uint64_t parent;
	char name[256];
};

/**
 * patch_find() - Find the place of a path
 * @make: directories that are missing on the way are made; @follow: a link at its end too
 * Return: 0, give back with patch_place_done(); -ENOENT, -ENOTDIR, -ELOOP, -EISDIR it is the root.
 */
int patch_find(
	struct patch_tree *t, const char *path, bool make, bool follow, struct patch_place *ret);
void patch_place_done(struct patch_tree *t, struct patch_place *p);
/* What is there: a reference is the caller's. -ENOENT. */
int patch_look(struct patch_tree *t, const struct patch_place *p, struct fsb_entry *ret);
/* Removes what is there, a directory with all below it. 0 also where there is nothing. */
int patch_remove(struct patch_tree *t, const struct patch_place *p);

#endif
