/* SPDX-License-Identifier: Apache-2.0 */
/* Sizes and kinds of what the overlay's log holds; txn.c and log.c say what they mean. */
#ifndef MSB_FS_BACKENDS_OVERLAY_RECORD_H
#define MSB_FS_BACKENDS_OVERLAY_RECORD_H

#define OVL_LOG_MAGIC	"msb-ovl"
#define OVL_LOG_VERSION 1u
#define OVL_LOG_HEAD	32 /* magic[8], u32 version, u32 zero, u64 lower image, u64 check */
#define OVL_FRAME_HEAD	16 /* u32 payload bytes, u32 low half of seq, u64 check */
#define OVL_RECORD_HEAD 4  /* u8 kind, u8 zero, u16 bytes */

enum ovl_record {
	OVL_R_INODE = 1,
	OVL_R_TOUCH,
	OVL_R_TARGET,
	OVL_R_DENT,
	OVL_R_XATTR,
	OVL_R_NEXT,
	OVL_R_BTIME,
};

#define OVL_R_INODE_BODY  84
#define OVL_R_INODE_NLINK 36 /* where in it */
#define OVL_R_BTIME_BODY  20
#define OVL_R_TOUCH_BODY  28

#endif
