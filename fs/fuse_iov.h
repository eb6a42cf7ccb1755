/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes into and out of scattered memory. */
#ifndef MSB_FS_FUSE_IOV_H
#define MSB_FS_FUSE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

size_t iov_bytes(const struct iovec *v, unsigned int n);

/* Copies @bytes from offset @off; returns how many there were. */
size_t iov_read(const struct iovec *v, unsigned int n, size_t off, void *dst, size_t bytes);

/* Copies @bytes to offset @off; returns how many found room. */
size_t iov_write(const struct iovec *v, unsigned int n, size_t off, const void *src, size_t bytes);

/* The pieces of @v that are [off, off+bytes): at most @n, into @dst; returns how many pieces. */
unsigned int iov_slice(
	struct iovec *dst, const struct iovec *v, unsigned int n, size_t off, size_t bytes);

#endif
