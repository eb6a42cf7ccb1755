/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several backends as one: a root directory with a directory for each, which is that backend's
 * root.
 *
 * Ids and handles of a child get its seat above their 48 bits; a seat is not used twice until
 * mux_forgotten(), so what a kernel remembers of a removed child is -ESTALE and never another's.
 * The same children, added in the same order, have the same seats in the next server, so that file
 * handles find them; their names say which, so that most keep theirs where others come or go. Inode
 * numbers get the seat too: to a guest all of it is one file system. Names and links do not cross
 * from one child to another (-EXDEV). What a child lacks is never answered ENOSYS, which a kernel
 * would remember for all of them.
 *
 * A generation says by its name which child it is of: a seat may be another's then.
 *
 * Capabilities follow the children: NO_OPEN where each of them has it, SEE_OPENS and
 * ACLs where one has; of the others no ACL is shown. It always has SEE_WHO: what comes later may
 * want it. File handles are there as far as each child has them, and -ESTALE in the rest.
 */
#ifndef MSB_FS_MUX_H
#define MSB_FS_MUX_H

#include "fs/fsb.h"
#include "fs/fsd.h"

#define MUX_MAX_SEATS 0xffff /* children that a mux can have had; -ENOSPC past it */
/* Seats that are taken first. With them st_ino is below 2^53: what holds numbers as doubles, as all
 * of JavaScript, would take files for each other. */
#define MUX_FEW_SEATS 31

int mux_new(struct fsb **ret); /* -ENOMEM */

/**
 * mux_add() - Seat a child
 * @name: [a-z0-9]{1,FSD_MAX_MOUNT_NAME}
 * @child: the mux's from here on, also on failure
 * Return: 0; -EINVAL; -EEXIST; -ENOSPC FSD_MAX_MOUNTS, or MUX_MAX_SEATS; -ENOMEM.
 */
int mux_add(struct fsb *mux, const char *name, struct fsb *child);

/* Its operations under way end first; then it is stopped. -ENOENT. */
int mux_remove(struct fsb *mux, const char *name);

/* No kernel has it mounted: nobody remembers a child that was removed. */
void mux_forgotten(struct fsb *mux);

/* The child of that name, valid until it is removed; NULL. For the thread that adds and removes. */
struct fsb *mux_find(struct fsb *mux, const char *name);
/* The child that @*node, held by the caller, belongs to, and @*node as the child knows it; NULL. @b
 * itself where it is no mux. */
struct fsb *mux_child(struct fsb *b, uint64_t *node);
unsigned int mux_count(const struct fsb *mux);

#endif
