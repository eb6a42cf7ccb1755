/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting what was cached of the file systems of the host.
 *
 * virtiofs has no way for a host to tell a guest that a file has changed. While nobody on the host
 * looks into a sandbox's root, its guest may believe replies for a day; once somebody does, the
 * replies say one second, and the guest must ask again for all that it believes from before.
 */
#ifndef MSB_GUEST_REFRESH_H
#define MSB_GUEST_REFRESH_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define GA_MAX_REFRESH                                                                             \
	16384 /* paths that are in use and asked for again; what is beyond them is                 \
		 believed until it is not in use any more */

/**
 * ga_refresh() - Drop caches, and ask again for what is in use
 * Unused names and files leave the kernel's caches (drop_caches). What a process has open, mapped,
 * or is in cannot leave: each directory on its path is looked up again. Source: Linux 6.12,
 * fs/fuse/dir.c: fuse_dentry_revalidate() believes no cached entry for the target of a rename.
 * Waits for the file server: not for PID 1's own loop. 0 or -errno.
 */
int ga_refresh(struct msb_err *e);

/* Whether @path, as /proc shows it, can be one on a file system of the host. */
bool ga_refresh_wanted(const char *path, size_t n);

#endif
