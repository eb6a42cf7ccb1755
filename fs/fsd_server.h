/* SPDX-License-Identifier: Apache-2.0 */
/* What one msb-fsd serves, and the control verbs that change it. Used by one thread. */
#ifndef MSB_FS_FSD_SERVER_H
#define MSB_FS_FSD_SERVER_H

#include "base/msg.h"
#include "fs/denials.h"
#include "fs/dev_fuse.h"
#include "fs/virtiofs.h"

struct fsd_export {
	struct virtiofs *dev; /* NULL: free */
	bool shares;	      /* the mux; else the tree */
};

struct fsd_viewed {
	struct dev_fuse *dev;		   /* NULL: free */
	struct fsd_fs mount;		   /* of a mount's view: the mux owns the backend */
	char name[FSD_MAX_MOUNT_NAME + 1]; /* of the mount; "": the tree's */
};

struct fsd {
	struct audit_sink *sink; /* NULL: nothing is audited */
	struct denials *denials; /* made by fsd_control(); NULL: they are not told */
	struct fsd_fs tree, shares;
	bool have_tree, have_shares, quit;
	struct fsd_export export[FSD_MAX_EXPORTS];
	struct fsd_viewed view[FSD_MAX_VIEWS];
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
