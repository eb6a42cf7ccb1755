/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All contents of a memory file system as a stream, as save_all() writes and load_all() reads it.
 *
 * Frames: u32 bytes, u64 XXH3 of them, the bytes; an empty frame without a sum ends the stream, so
 * a reader takes not a byte more. All numbers are little-endian. What is in the frames, put
 * together:
 *
 *	head	"msb-mem\n", u32 version, u32 page bytes, u64 last id counter, u64 inodes
 *	inodes	u64 id; u32 mode, uid, gid, rdev, flags; u64 size; atime mtime ctime btime,
 *		each i64 s and u32 ns; u32 attributes, each u8 name bytes, u32 value bytes,
 *		name, value; of a symbolic link: its target, size bytes; of a regular file:
 *		extents, each u32 pages (0: no more), u32 unwritten, u64 first page, and the
 *		pages where it was written
 *	tree	'D', u64 directory, u64 inode, u64 cookie, u8 name bytes, name: an entry, by
 *		rising cookie, and a directory's only after it has a name itself
 *		'C', u64 directory, u64 its last cookie
 *		'E': the end
 *
 * Link counts follow from the entries. An inode without any is one that was still open.
 */
#ifndef MSB_FS_BACKENDS_MEMORY_STATE_H
#define MSB_FS_BACKENDS_MEMORY_STATE_H

#define MEM_STATE_MAGIC	  "msb-mem\n"
#define MEM_STATE_VERSION 1
#define MEM_FRAME_BYTES	  (256u << 10) /* of a frame, at most */
#define MEM_FRAME_HEAD	  12
#define MEM_MAX_XATTRS	  65536 /* of one inode; what they may take in all is less */

#endif
