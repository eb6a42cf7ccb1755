/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin: a file system, or a part of one, in a process of the user's.
 *
 * The process speaks FUSE's wire messages or lines of JSON on a connected stream socket; see
 * msb-fs-plugin(5). It may be laid over another backend, which then does what the plugin leaves
 * out. While it is away, hangs or has broken the protocol, every operation is EIO.
 */
#ifndef MSB_FS_PLUGIN_H
#define MSB_FS_PLUGIN_H

#include "fs/fsb.h"

#define PLUGIN_MAX_HANDLES 65536 /* open files and directories; ENFILE past it */

struct fsb_plugin_status {
	bool ready, broken; /* neither: it has not answered the greeting yet */
	uint32_t starts;    /* sockets it has had */
	char why[96];	    /* broken: the cause */
};

/* @b is a plugin backend, or wrappers over one; -EOPNOTSUPP where it is neither. A new socket,
 * taken over in any case, of the plugin started anew. For one caller at a time. */
int fsb_plugin_attach(struct fsb *b, int sock_fd);
int fsb_plugin_status(struct fsb *b, struct fsb_plugin_status *ret);

#endif
