/* SPDX-License-Identifier: Apache-2.0 */
/* The same server behind the kernel's own FUSE device: a view of a tree for the host. */
#ifndef MSB_FS_DEV_FUSE_H
#define MSB_FS_DEV_FUSE_H

#include "fs/fuse_core.h"

#define DEV_FUSE_THREADS 2 /* so that a large read does not hold up a lookup */

struct dev_fuse;

/**
 * dev_fuse_new() - Serve a mounted /dev/fuse descriptor
 * @fuse_fd: taken over in any case
 * @private: mounted by an ordinary user, whose alone it is
 * Its threads end when the mount goes away or by dev_fuse_free().
 */
int dev_fuse_new(struct fsd_fs *fs, int fuse_fd, bool private, bool readonly, struct dev_fuse **ret,
	struct msb_err *e);

/* Returns when nothing runs any more; the mount then answers ENOTCONN. Accepts NULL. */
struct dev_fuse *dev_fuse_free(struct dev_fuse *d);

bool dev_fuse_ended(const struct dev_fuse *d); /* unmounted: free it */
void dev_fuse_counts(struct dev_fuse *d, struct fuse_counts *add_to);

#endif
