/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With whose rights a sandbox's processes run, and what they are given.
 *
 * In root's instance a sandbox's file server, agent and plugins are its owner's: they have what the
 * host's user database says of that user, and no capability. What is the host's is opened by
 * msb-open, as that user, and used by the descriptor that this gave. What is msbd's own, which lies
 * behind a directory of root's, is given to them as an idmapped mount: the disk keeps its owners,
 * so nothing has to be changed when a sandbox is given away. Everywhere else all of them are
 * msbd's.
 */
#ifndef MSB_CTL_OWNER_H
#define MSB_CTL_OWNER_H

#include "base/idmap.h"
#include "base/user.h"
#include "ctl/model.h"
#include "fs/image/open.h"

/* Whether @uid is somebody else than who runs msbd, as whom a process of ours can run. */
bool ctl_is_other(const struct ctl *c, uid_t uid);

struct img_open ctl_owner_opener(struct ctl_sandbox *sb); /* as its owner; takes ctl.lock */

/**
 * ctl_owner() - Who @sb's processes are to be; takes ctl.lock
 * Return: 1 and @ret; 0: who msbd is; -errno. Blocks: asks the host's user database.
 */
int ctl_owner(struct ctl_sandbox *sb, struct msb_user *ret, struct msb_err *e);

/**
 * ctl_owner_dir() - A directory of the host, as @sb's owner opens it
 * @ret_uid: who that was; the directory is a file server's alone that runs as the same
 * Errors: -ENOENT, -EACCES, -ENOTDIR with the path. Takes ctl.lock; blocks.
 */
int ctl_owner_dir(
	struct ctl_sandbox *sb, const char *path, int *ret, uid_t *ret_uid, struct msb_err *e);

/**
 * ctl_owner_give() - Make @fd, a directory whose files are @from's, one for a process that is @to
 * Nothing where that is who msbd is, or @from's already. The old descriptor is closed.
 * Errors: msb_idmap_dir()'s.
 */
int ctl_owner_give(const struct ctl *c, int *fd, struct msb_ids from, struct msb_ids to,
	bool readonly, struct msb_err *e);

#endif
