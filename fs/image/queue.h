/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes from one thread to another, in order, through a few fixed buffers. */
#ifndef MSB_FS_IMAGE_QUEUE_H
#define MSB_FS_IMAGE_QUEUE_H

#include <stddef.h>

#define IMG_QUEUE_SLOT	(256u << 10)
#define IMG_QUEUE_SLOTS 8

struct img_queue;

int img_queue_new(struct img_queue **ret); /* -ENOMEM */
struct img_queue *img_queue_free(struct img_queue *);

/* The one writer. Waits for room. -ECANCELED once the reader has stopped. */
int img_queue_put(struct img_queue *, const void *p, size_t n);
void img_queue_end(struct img_queue *); /* nothing more comes */

/* The one reader: the bytes of @p stay until the next call. 0 at the end, after all were taken. */
size_t img_queue_get(struct img_queue *, const void **p);
void img_queue_stop(struct img_queue *); /* nothing more is wanted */

#endif
