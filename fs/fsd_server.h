/* SPDX-License-Identifier: Apache-2.0 */
/* What one msb-fsd serves, and the control verbs that change it. Used by one thread. */
#ifndef MSB_FS_FSD_SERVER_H
#define MSB_FS_FSD_SERVER_H

#include "base/msg.h"
#include "fs/dev_fuse.h"
#include "fs/virtiofs.h"

struct fsd_export {
	struct virtiofs *dev; /* NULL: free */
	struct fsd_fs own;    /* a passthrough's; unused where the tree is exported */
	bool owns;
};

struct fsd {
	struct fsd_fs tree;
	bool have_tree, quit;
	struct fsd_export export[FSD_MAX_EXPORTS];
	struct dev_fuse *view[FSD_MAX_VIEWS];
};

/**
 * fsd_handle() - Carry out one control message
 * @m: request as received; its descriptors are used or closed; replaced by the answer
 */
void fsd_handle(struct fsd *d, struct msb_msg *m);

void fsd_done(struct fsd *d); /* ends every export and view, stops the backends */

/* Serves control connections on @listen_fd until "quit". 0 or -errno. */
int fsd_control(struct fsd *d, int listen_fd);

#endif
