/* SPDX-License-Identifier: Apache-2.0 */
/* Decompressing a layer as it streams by: gzip (ISA-L), zstd, or none, told by its first bytes. */
#ifndef MSB_FS_IMAGE_UNZIP_H
#define MSB_FS_IMAGE_UNZIP_H

#include "fs/image/limits.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct img_unzip;

/* Takes the next decompressed bytes. 0, or -errno with @e set: img_unzip_feed() hands it on. */
typedef int (*img_unzip_fn)(void *arg, const void *p, size_t n, struct msb_err *e);

int img_unzip_new(img_unzip_fn fn, void *arg, struct img_unzip **ret);
struct img_unzip *img_unzip_free(struct img_unzip *);

/**
 * img_unzip_feed() - Take the next @n compressed bytes
 * Return: 0; -EBADMSG damaged; -EOPNOTSUPP a compression that is known but not supported; -ENOMEM;
 * what the callback returned. Concatenated gzip members and zstd frames are one stream, as gzip(1)
 * and zstd(1) have it; zero bytes after the last gzip member are padding.
 */
int img_unzip_feed(struct img_unzip *, const void *p, size_t n, struct msb_err *e);

/* No more bytes: -EBADMSG where they end inside a member. */
int img_unzip_finish(struct img_unzip *, struct msb_err *e);

#endif
