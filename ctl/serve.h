/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE session. One thread answers the kernel and never waits; what may wait has a thread of
 * its own until it is answered (struct ctl_work), and INTERRUPT tells it to stop waiting.
 */
#ifndef MSB_CTL_SERVE_H
#define MSB_CTL_SERVE_H

#include "ctl/model.h"

struct fuse_session;

/* Mounts the tree at c->paths.mnt. @e says what to do where the mount is refused. */
int ctl_serve_mount(struct ctl *c, struct fuse_session **ret, struct msb_err *e);
/* Answers until @exit_fd is readable or somebody has unmounted the tree. 0, or -errno. */
int ctl_serve_loop(struct fuse_session *se, int exit_fd);

#endif
