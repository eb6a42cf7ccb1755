/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of a plugin mount: what each id means to the plugin, to the backend below, and by path.
 *
 * A node is known to the plugin, to the backend below, or to both. Two references are counted for
 * each: what the kernel holds, and what we hold of the plugin and of the backend below, to be given
 * back when the kernel has forgotten. Each node has a place, the last name under which it was seen:
 * it makes the paths of the JSON protocol, and finds a node again in a plugin started anew.
 */
#ifndef MSB_FS_PLUGIN_NODES_H
#define MSB_FS_PLUGIN_NODES_H

#include "base/str.h"
#include "fs/fsb.h"

#include <pthread.h>

#define PLUGIN_MAX_DEPTH                                                                           \
	256		     /* directories above a node of which a path is made; -ESTALE past it  \
			      */
#define PLUGIN_MAX_PATH 4096 /* bytes of such a path; -ENAMETOOLONG past it */

/* What stands for a node; fixed while the node lives, but for what the table's lock guards. */
struct pn {
	uint64_t id;
	uint64_t inner;		     /* the node below; 0: none */
	uint64_t pid;		     /* the plugin's; 0: unknown to it; lock */
	uint64_t generation;	     /* of pid */
	uint32_t epoch;		     /* of the connection that pid is from; lock */
	_Atomic uint32_t mode;	     /* last seen */
	_Atomic uint32_t open_flags; /* FOPEN_* of its last open */
	_Atomic uint8_t cache;	     /* an index of the caller's */
	/* ---- the table's; its lock */
	uint64_t lookups, pid_refs, inner_refs;
	uint32_t users; /* children and operations */
	struct pn *parent;
	char *name; /* in @parent; NULL: root, or has lost its place */
	struct pn *next_id, *next_key, *next_place, *dead;
};

struct pn_table {
	pthread_mutex_t lock;
	struct pn **by_id, **by_key, **by_place; /* hash chains, a power of two of each */
	size_t buckets;
	uint32_t live, max;
	uint64_t next_id; /* counts up and is never used again */
	struct pn root;
	/* What a node that is gone held. Called without the lock. */
	void (*gone)(void *arg, const struct pn *);
	void *arg;
};

/* A node just found: references that the table takes over. */
struct pn_new {
	uint64_t pid, generation, inner;
	uint32_t epoch, mode, open_flags;
	uint8_t cache;
	/* It has no id and nothing below: whatever has its place and type is the same. */
	bool by_place;
};
#define PN_BY_PLACE (UINT64_C(1) << 63) /* in pid, with the node's id */
#define PN_MAX_HELD (UINT64_C(1) << 62) /* ids past it no server has come to, and none will */

int pn_init(struct pn_table *t, uint32_t max, uint64_t root_inner,
	void (*gone)(void *arg, const struct pn *), void *arg);
void pn_done(struct pn_table *t); /* gives everything back by gone() */

struct pn *pn_get(struct pn_table *t, uint64_t id); /* NULL; to be given back */
void pn_put(struct pn_table *t, struct pn *n);

/**
 * pn_enter() - The node of a file just found as @name in @parent
 * @name: NULL: it has none
 * Return: 0 and @ret_id with one reference that pn_forget() gives back; -ENFILE at the table's
 * maximum, -ENOMEM: @n's references are still the caller's.
 */
int pn_enter(struct pn_table *t, struct pn *parent, const char *name, const struct pn_new *n,
	uint64_t *ret_id);
void pn_forget(struct pn_table *t, uint64_t id, uint64_t count);
/* Undoes pn_enter(), where the reference below is given back by who lent it. */
void pn_unenter(struct pn_table *t, uint64_t id);

/* @id is a node of a server before this one: no new node gets it. */
void pn_held(struct pn_table *t, uint64_t id);

/* A name has gone; a name has become another, or the two have changed places. */
void pn_unlinked(struct pn_table *t, struct pn *parent, const char *name);
void pn_renamed(struct pn_table *t, struct pn *parent, const char *name, struct pn *newparent,
	const char *newname, bool exchange);

/**
 * pn_path() - "/" or "/a/b"
 * Return: 0; -ESTALE no place, or too deep; -ENAMETOOLONG.
 */
int pn_path(struct pn_table *t, struct pn *n, char buf[static PLUGIN_MAX_PATH]);

/* The plugin's id of @n in connection @epoch; 0: unknown to it; -ESTALE from another one. */
int pn_pid(struct pn_table *t, struct pn *n, uint32_t epoch, uint64_t *ret);
/* Its parent and name, to be found again by; -ESTALE without a place. @ret_parent as pn_get(). */
int pn_place(struct pn_table *t, struct pn *n, struct pn **ret_parent, char name[static 256]);
/* It was found again, one reference more. */
void pn_refound(
	struct pn_table *t, struct pn *n, uint64_t pid, uint64_t generation, uint32_t epoch);

#endif
