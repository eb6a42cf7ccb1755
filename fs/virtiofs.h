/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-fs device: FUSE requests out of virtqueues. Queue 0 is for urgent requests (FORGET),
 * the others are alike; each has a thread while the front end runs it.
 * Source: virtio 1.2, section 5.11.
 */
#ifndef MSB_FS_VIRTIOFS_H
#define MSB_FS_VIRTIOFS_H

#include "fs/fuse_core.h"
#include "fs/vhost_user.h"

#define VIRTIOFS_QUEUES (1 + 8) /* urgent, and as many as guests here have CPUs */

struct virtiofs;

/**
 * virtiofs_new() - Serve a file system on a vhost-user socket, one front end after another
 * @listen_fd: listening stream socket; taken over in any case
 * @keep_fd: borrowed; as fsd_session_keep() takes it, or -1
 * @fs: outlives the device
 * Starts a thread that runs until virtiofs_free().
 */
int virtiofs_new(struct fsd_fs *fs, const char *tag, int listen_fd, int keep_fd, bool readonly,
	struct virtiofs **ret, struct msb_err *e);

/* Ends the connection if there is one; returns when nothing runs any more. Accepts NULL. */
struct virtiofs *virtiofs_free(struct virtiofs *v);

const char *virtiofs_tag(const struct virtiofs *v);
bool virtiofs_opens_off(const struct virtiofs *v); /* see fsd_session_opens_off() */
bool virtiofs_acls_off(const struct virtiofs *v);  /* see fsd_session_acls_off() */
/* Of all queues; safe at any time. */
void virtiofs_stats(const struct virtiofs *v, struct fsd_stats *add_to);
void virtiofs_counts(struct virtiofs *v, struct fuse_counts *add_to);

#endif
