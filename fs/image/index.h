/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image's tree: an EROFS metadata image, memory-mapped, whose regular files are chunk-based
 * inodes that point into the store's packs. Lookup, getattr, readdir, readlink, xattrs and extents
 * cost no system call. The bytes are shaped by an image's author: every offset is checked against
 * the mapping when it is used. Source: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h
 * (on-disk format), Linux 6.1.
 */
#ifndef MSB_FS_IMAGE_INDEX_H
#define MSB_FS_IMAGE_INDEX_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct img_index;

struct img_attr {
	uint64_t ino; /* the EROFS nid: stable for the image, > 0 */
	uint64_t size;
	uint32_t mode, nlink, uid, gid, rdev; /* rdev as makedev(3) */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
};

/* A run of a file's bytes. pack_id IMG_HOLE: zeros. */
#define IMG_HOLE UINT32_MAX
struct img_extent {
	uint32_t pack_id;  /* file packs/<pack_id as %08x> */
	uint64_t pack_off; /* bytes */
	uint64_t len;	   /* bytes from the asked offset on; never past the end of file */
};

/**
 * img_index_open() - Map an index
 * @fd: stays the caller's; the mapping outlives it
 * Threads: a mapped index is read-only; any thread, no lock.
 * Errors: -EBADMSG damaged or not an index of this version.
 */
int img_index_open(int fd, struct img_index **ret, struct msb_err *e);
int img_index_from_bytes(
	const void *p, size_t n, struct img_index **ret, struct msb_err *e); /* borrowed bytes */
struct img_index *img_index_close(struct img_index *);

uint64_t img_index_root(const struct img_index *); /* nid */
int img_index_getattr(const struct img_index *, uint64_t nid, struct img_attr *ret);
int img_index_lookup(const struct img_index *, uint64_t dir, const char *name, size_t n,
	uint64_t *ret_nid); /* -ENOENT -ENOTDIR -EBADMSG */

/* Calls @fn for each entry but "." and ".."; it returns nonzero to stop. The order is fixed for an
 * image.
 * @type: DT_*. Names are not NUL-terminated and never hold '/' or NUL. */
int img_index_readdir(const struct img_index *, uint64_t dir,
	int (*fn)(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type), void *arg);
int img_index_readlink(const struct img_index *, uint64_t nid, const char **ret,
	size_t *ret_n); /* into the mapping */
int img_index_extent(const struct img_index *, uint64_t nid, uint64_t off,
	struct img_extent *ret); /* len 0 at or past EOF */

/* Small files may live in the index itself: then *ret points at all of the file's bytes. -ENODATA:
 * use extents. */
int img_index_inline(const struct img_index *, uint64_t nid, const char **ret, size_t *ret_n);
/* @fn gets the full name ("security.capability") and value; nonzero stops. */
int img_index_xattrs(const struct img_index *, uint64_t nid,
	int (*fn)(void *arg, const char *name, size_t n, const void *value, size_t value_n),
	void *arg);
uint64_t img_index_inodes(const struct img_index *);

#endif
