/* SPDX-License-Identifier: Apache-2.0 */
/* A directory of ours, served by a process that is somebody else. */
#ifndef MSB_BASE_IDMAP_H
#define MSB_BASE_IDMAP_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct msb_ids {
	uid_t uid;
	gid_t gid;
};

/**
 * msb_idmap_dir() - The directory @dir_fd as the root of a mount of its own, where what is @from's
 * on the disk is @to's, and what @to makes there is @from's on the disk
 * An idmapped mount (mount_setattr(2)): the disk keeps its owners, and nobody gets rights to it by
 * its path. @readonly: nothing there can be changed through it. What is mounted below does not come
 * along. @to's uid is not 0. What is root's on the disk, where that is not @from, is nobody's
 * there. Return: an O_PATH descriptor; -EOPNOTSUPP the file system cannot do that; -errno. Threads:
 * any. For root alone.
 */
int msb_idmap_dir(
	int dir_fd, struct msb_ids from, struct msb_ids to, bool readonly, struct msb_err *e);

#endif
