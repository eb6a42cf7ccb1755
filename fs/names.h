/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which path a node was reached by, for wrappers that speak of paths.
 *
 * Learned from the references that are handed out: an entry holds (parent, name) and counts like
 * the kernel does; a directory's entry stays for as long as one below it does. A node with several
 * names has the one that was used last. A path is put together from the entries up to the root, so
 * that a rename of a directory costs one entry. Memory: at most @max entries of 80 bytes, and names
 * that are longer than 22 bytes.
 *
 * Threads: any. The table is cut up into shards, each with a lock; no two are held at once. While
 * directories are renamed, a path may be part old and part new.
 */
#ifndef MSB_FS_NAMES_H
#define MSB_FS_NAMES_H

#include "fs/filter.h"

#define FSB_MAX_PATH	    4096      /* bytes of a path, NUL included; what is longer is unknown */
#define FSB_NAMES_MAX_STATE (9 + 255) /* bytes of one node in device state */
#define FSB_NAMES_NO_TAG    0
#define FSB_NAMES_USERS	    4 /* a mount has two at most: its rules, and its plugin's */

struct fsb_names;

struct fsb_names *fsb_names_new(size_t max); /* NULL without memory */
struct fsb_names *fsb_names_free(struct fsb_names *t);

/* A reference to @node was handed out as @name in @parent. Past @max entries nothing is learned:
 * the node has no path. */
void fsb_names_enter(
	struct fsb_names *t, uint64_t parent, const char *name, size_t name_bytes, uint64_t node);
void fsb_names_forget(struct fsb_names *t, uint64_t node, uint64_t count);

/* @node's path will be asked for soon: begins to fetch what that takes. */
void fsb_names_soon(struct fsb_names *t, uint64_t node);

/* After a rename that has succeeded. Where the table does not know the node by its name, @next is
 * asked. */
void fsb_names_renamed(struct fsb_names *t, struct fsb *next, const struct fsb_call *c);

/**
 * fsb_names_path() - The path of a node, or of a name in a directory
 * @name: NULL: of @node itself
 * @buf: FSB_MAX_PATH bytes
 * Return: bytes without the NUL. It begins with `/`; where something above is not known, or does
 * not fit, with `?`.
 */
size_t fsb_names_path(
	struct fsb_names *t, uint64_t node, const char *name, size_t name_bytes, char *buf);
/* The same, left where in @buf it was put together. */
char *fsb_names_path_in(struct fsb_names *t, uint64_t node, const char *name, size_t name_bytes,
	char *buf, size_t *ret_bytes);

/* What a user of the table noted of a node, at most 3: forgotten where its path may have changed.
 * FSB_NAMES_NO_TAG: nothing. @user: as fsb_names_user() gave it. */
unsigned int fsb_names_user(struct fsb_names *t); /* of FSB_NAMES_USERS; before other calls */
uint8_t fsb_names_tag(struct fsb_names *t, uint64_t node, unsigned int user);
void fsb_names_set_tag(struct fsb_names *t, uint64_t node, unsigned int user, uint8_t tag);
void fsb_names_forget_tags(struct fsb_names *t); /* of all users, and nodes */

size_t fsb_names_count(struct fsb_names *t);

/* ---- device state: what a wrapper puts before the next backend's */

/* Bytes written, or -ENOSPC. A node without a name is saved too. */
int64_t fsb_names_save(struct fsb_names *t, uint64_t node, void *buf, size_t cap);
/* Bytes used of @buf, which is hostile, or -EBADMSG. In no order. */
int64_t fsb_names_load(
	struct fsb_names *t, uint64_t node, uint64_t lookups, const void *buf, size_t n);

/* The ops of a filter that holds @t: its own state, then the next backend's. */
int64_t fsb_names_save_op(
	struct fsb_names *t, struct fsb *next, uint64_t node, void *buf, size_t cap);
int fsb_names_load_op(struct fsb_names *t, struct fsb *next, uint64_t node, uint64_t lookups,
	const void *buf, size_t n);

#endif
