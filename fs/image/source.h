/* SPDX-License-Identifier: Apache-2.0 */
/* Where an image is imported from: a directory, or a tar whose members are read in place. */
#ifndef MSB_FS_IMAGE_SOURCE_H
#define MSB_FS_IMAGE_SOURCE_H

#include "fs/image/limits.h"
#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct img_source;

struct img_member {
	int fd;
	bool own_fd;
	uint64_t off, size; /* its bytes are at off of fd */
};

/**
 * img_source_open() - Look at what is to be imported
 * @fd: a directory, or a file that can be read at any place; stays the caller's and open
 * Return: 0; -EBADMSG neither; -E2BIG too many members. @e is set.
 */
int img_source_open(int fd, struct img_source **ret, struct msb_err *e);
struct img_source *img_source_close(struct img_source *);

/**
 * img_source_member() - Find a member by its relative path
 * In a directory nothing outside of it is ever reached; in an archive links to other members are
 * followed. Return: 0; -ENOENT (@e untouched); -errno with @e.
 */
int img_source_member(
	const struct img_source *, const char *path, struct img_member *ret, struct msb_err *e);
void img_member_done(struct img_member *);

/* All of a small member, appended. -ENOENT, -EFBIG past @max, -errno with @e. */
int img_source_read(const struct img_source *, const char *path, size_t max, struct msb_str *ret,
	struct msb_err *e);

#endif
