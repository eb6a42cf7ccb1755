/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by fuse_state.c and fuse_load.c; nobody else includes it. */
#ifndef MSB_FS_FUSE_STATE_PRIV_H
#define MSB_FS_FUSE_STATE_PRIV_H

#define FUSE_STATE_RECORD_HEAD 4
#define FUSE_STATE_BUFFER      (64u << 10)

#endif
