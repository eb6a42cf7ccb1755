/* SPDX-License-Identifier: Apache-2.0 */
/* Compressing a layer as it streams by: gzip (ISA-L), zstd, or none. The same bytes in give the
 * same bytes out, however they are cut. */
#ifndef MSB_FS_IMAGE_ZIP_H
#define MSB_FS_IMAGE_ZIP_H

#include "fs/image/media.h"
#include "fs/image/unzip.h"

struct img_zip;

int img_zip_new(enum img_compression, img_unzip_fn fn, void *arg, struct img_zip **ret); /* -ENOMEM
											  */
struct img_zip *img_zip_free(struct img_zip *);

/* Takes the next @n bytes. 0; -ENOMEM; what the callback returned. */
int img_zip_feed(struct img_zip *, const void *p, size_t n, struct msb_err *e);
/* No more bytes: what is left goes out. */
int img_zip_finish(struct img_zip *, struct msb_err *e);

#endif
