/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of EROFS's on-disk format that an image's index uses. All numbers are little-endian.
 * Source: fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst, Linux 6.1.
 */
#ifndef MSB_FS_IMAGE_EROFS_H
#define MSB_FS_IMAGE_EROFS_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>

#define EROFS_MAGIC	  0xE0F5E1E2u
#define EROFS_SUPER_OFF	  1024
#define EROFS_BLKBITS	  12
#define EROFS_BLK	  4096u
#define EROFS_SLOT	  32u /* an inode's nid counts these from meta_blkaddr */
#define EROFS_NAME_MAX	  255
#define EROFS_NULL_ADDR	  UINT32_MAX /* a chunk that is a hole */
#define EROFS_DEVICE_SLOT 128

#define EROFS_COMPAT_SB_CHKSUM	    1u
#define EROFS_COMPAT_MTIME	    2u /* i_mtime is the modification time */
#define EROFS_INCOMPAT_CHUNKED_FILE 4u
#define EROFS_INCOMPAT_DEVICE_TABLE 8u

enum erofs_layout {
	EROFS_FLAT_PLAIN = 0,
	EROFS_FLAT_INLINE = 2, /* the last, partial block follows the inode */
	EROFS_CHUNK_BASED = 4,
};

#define EROFS_CHUNK_BITS_MASK 0x1fu /* log2(chunk size) - EROFS_BLKBITS */
#define EROFS_CHUNK_INDEXES   0x20u

struct erofs_super {
	uint32_t magic, checksum, feature_compat;
	uint8_t blkszbits, sb_extslots;
	uint16_t root_nid;
	uint64_t inos, build_time;
	uint32_t build_time_nsec, blocks, meta_blkaddr, xattr_blkaddr;
	uint8_t uuid[16], volume_name[16];
	uint32_t feature_incompat;
	uint16_t available_compr_algs, extra_devices, devt_slotoff;
	uint8_t dirblkbits, xattr_prefix_count;
	uint32_t xattr_prefix_start;
	uint64_t packed_nid;
	uint8_t reserved[24];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_super) == 128, "erofs_fs.h: struct erofs_super_block");

struct erofs_device {
	uint8_t tag[64]; /* here: the pack's name, 8 hex digits, padded with NULs */
	uint32_t blocks, mapped_blkaddr;
	uint8_t reserved[56];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_device) == EROFS_DEVICE_SLOT, "struct erofs_deviceslot");

/* i_u: raw_blkaddr of flat layouts, rdev of devices, chunk format of chunk-based files. */
struct erofs_inode_compact {
	uint16_t i_format, i_xattr_icount, i_mode, i_nlink;
	uint32_t i_size, i_reserved, i_u, i_ino;
	uint16_t i_uid, i_gid;
	uint32_t i_reserved2;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_inode_compact) == 32, "struct erofs_inode_compact");

struct erofs_inode_extended {
	uint16_t i_format, i_xattr_icount, i_mode, i_reserved;
	uint64_t i_size;
	uint32_t i_u, i_ino, i_uid, i_gid;
	uint64_t i_mtime;
	uint32_t i_mtime_nsec, i_nlink;
	uint8_t i_reserved2[16];
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_inode_extended) == 64, "struct erofs_inode_extended");

struct erofs_chunk_index {
	uint16_t advise, device_id;
	uint32_t blkaddr;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_chunk_index) == 8, "struct erofs_inode_chunk_index");

struct erofs_dirent {
	uint64_t nid;
	uint16_t nameoff;
	uint8_t file_type, reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_dirent) == 12, "struct erofs_dirent");

enum {
	EROFS_FT_REG = 1,
	EROFS_FT_DIR,
	EROFS_FT_CHR,
	EROFS_FT_BLK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCK,
	EROFS_FT_LNK
};

struct erofs_xattr_ibody {
	uint32_t name_filter;
	uint8_t shared_count, reserved[7]; /* then shared_count 32-bit ids, then the entries */
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_xattr_ibody) == 12, "struct erofs_xattr_ibody_header");

struct erofs_xattr_entry {
	uint8_t name_len, name_index;
	uint16_t value_size; /* then the name, the value, and padding to 4 bytes */
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_xattr_entry) == 4, "struct erofs_xattr_entry");

/* The prefix that stands for a name index, or NULL. Indexes 2 and 3 are whole names. */
static inline const char *erofs_xattr_prefix(unsigned int index)
{
	static const char *const prefixes[] = {NULL, "user.", "system.posix_acl_access",
		"system.posix_acl_default", "trusted.", NULL, "security."};

	return index < sizeof(prefixes) / sizeof(prefixes[0]) ? prefixes[index] : NULL;
}

/* CRC-32C as the superblock's checksum wants it: initial value ~0, not inverted at the end. */
static inline uint32_t erofs_crc32c(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--) {
		crc ^= *b++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
	}
	return crc;
}

#endif
