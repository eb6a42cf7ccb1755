/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FUSE replies of a plugin, read as the kernel would. Pure functions over bytes, which are hostile.
 * Source: linux/fuse.h (protocol 7.38); Linux 6.12 fs/fuse/{dev,dir,inode,readdir}.c.
 */
#ifndef MSB_FS_PLUGIN_WIRE_H
#define MSB_FS_PLUGIN_WIRE_H

#include "fs/fsb.h"
#include "fs/fuse_core.h"

/* Beyond FUSE: an error by which a plugin leaves one request to what it is laid over. ENOSYS
 * leaves every request of that kind. Fits libfuse's fuse_reply_err(), which takes 0 to 999. */
#define PLUGIN_PASS 999

/* The data path by shared memory; tools/plugins/msb_plugin.h has the same for plugins. */
#define PLUGIN_NOTIFY_SHM 0x534d /* notification code, in fuse_out_header.error */
#define PLUGIN_DATA_SHM                                                                            \
	(UINT32_C(1) << 31) /* in fuse_read_in.read_flags, fuse_write_in.write_flags */
#define PLUGIN_SHM_VERSION 1
#define PLUGIN_MAX_SHM	   (64u << 20) /* bytes of it that are used */

struct plugin_shm { /* payload of the notification; a memfd comes along */
	uint32_t version, slot_bytes;
	uint64_t bytes;
};
struct plugin_slot { /* behind fuse_read_in, and instead of a WRITE's data */
	uint64_t off;
	uint32_t len, padding;
};

/* Of one reply: header and payload. FUSE_MAX_IO is a READ's. */
#define PLUGIN_MAX_REPLY (FUSE_MAX_IO + 4096u)

/**
 * pw_head() - A reply's header
 * Return: 0; -EBADMSG: lengths or error are impossible, what follows cannot be found.
 */
int pw_head(const struct fuse_out_header *h);

/* What a plugin agreed to in its reply to INIT. */
struct pw_init {
	uint32_t flags;	 /* FUSE_* of those offered */
	uint32_t max_io; /* bytes of one READ or WRITE: 4096 to FUSE_MAX_IO */
};
int pw_init(const void *p, size_t n, uint32_t offered, struct pw_init *ret); /* 0; -EPROTO */

/* 0; -EIO: attributes that no file has. */
int pw_attr(const struct fuse_attr *a);
/* An entry of LOOKUP and of what makes files; nodeid 0 is right where @negative. 0; -EIO. */
int pw_entry(const struct fuse_entry_out *e, bool negative);

struct pw_dirent {
	const char *name; /* in the list, not ended by NUL */
	size_t name_bytes;
	uint64_t ino, off;
	uint32_t type;
	struct fuse_entry_out entry; /* READDIRPLUS; nodeid 0: none */
};
/**
 * pw_dirent() - The entry at *@at of a READDIR or READDIRPLUS reply
 * Return: 1 and @ret, *@at behind it; 0 at the end; -EIO: no directory has such an entry. With
 * READDIRPLUS ret->entry.nodeid is set then too, where a reference came with it.
 */
int pw_dirent(const uint8_t *p, size_t n, bool plus, size_t *at, struct pw_dirent *ret);

/* The notification of shared memory. 0; -EBADMSG. */
int pw_shm(const void *p, size_t n, struct plugin_shm *ret);

#endif
