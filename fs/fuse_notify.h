/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel behind /dev/fuse is told unasked: which cached contents to drop.
 *
 * That waits in the kernel for pages that are being read or written, so a thread of its own says
 * it, and who changed the file does not wait. Replies to that kernel go behind what is still to be
 * said, but for those that such pages wait for: who learns of a file's new size or time does not
 * find the old contents there.
 */
#ifndef MSB_FS_FUSE_NOTIFY_H
#define MSB_FS_FUSE_NOTIFY_H

#include "fs/fuse_core.h"

#define FUSE_NOTIFY_MAX 1024 /* nodes to be told of; past it all that are open are */

struct fuse_notify;

/* @fd, @s: borrowed, outlive it. 0; -ENOMEM; -EAGAIN no thread. */
int fuse_notify_new(int fd, struct fsd_session *s, struct fuse_notify **ret);

/* Says what is still to be said. Requests must be served meanwhile. */
void fuse_notify_stop(struct fuse_notify *n);
struct fuse_notify *fuse_notify_free(struct fuse_notify *n); /* stopped; accepts NULL */

void fuse_notify_changed(void *n, uint64_t node, uint64_t bytes); /* for fuse_view_watch() */

/* Whether the reply @p was taken over, to be sent in its turn. @request: with its arguments. */
bool fuse_notify_reply(
	struct fuse_notify *n, const struct fuse_in_header *request, const void *p, size_t bytes);

#endif
