/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of a directory's regular files: what an index of a directory of the host
 * (fs/image/dir.h) has in place of packs. Chunk K * 4096 of pack 0 in the index means file K of the
 * list.
 *
 *	struct img_files_head, then its files, then their paths, each ended by a NUL
 *
 * Host order: it is read on the machine that wrote it.
 */
#ifndef MSB_FS_IMAGE_FILES_H
#define MSB_FS_IMAGE_FILES_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define IMG_FILES_MAGIC	   UINT64_C(0x31737069666c6462) /* and the version */
#define IMG_FILES_MAX_PATH 4095				/* bytes: what openat2(2) takes */

struct img_files_head {
	uint64_t magic, count, path_bytes;
	uint64_t sum; /* XXH3 of all that follows, seeded with count */
};

/* A file as it was when the directory was walked. */
struct img_file {
	uint64_t dev, ino, size;
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint16_t path_n; /* bytes, without the NUL */
	uint16_t flags;
	uint64_t path_off; /* from the first path */
};
#define IMG_FILE_DENIED 1 /* who asked for the tree may not read it */

_Static_assert(sizeof(struct img_file) == 48, "no padding that would be written as it is");

struct img_files;

/**
 * img_files_open() - Map a list
 * @fd: stays the caller's; the mapping outlives it. Threads: any, no lock.
 * Errors: -EBADMSG damaged, or none.
 */
int img_files_open(int fd, struct img_files **ret, struct msb_err *e);
int img_files_from_bytes(
	const void *p, size_t n, struct img_files **ret, struct msb_err *e); /* borrowed bytes */
struct img_files *img_files_close(struct img_files *);

/* File @k and its path, NUL-terminated, relative, without an empty component at its ends; both in
 * the mapping. -EBADMSG. */
int img_files_get(
	const struct img_files *, uint64_t k, const struct img_file **ret, const char **ret_path);

#endif
