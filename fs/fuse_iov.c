// SPDX-License-Identifier: Apache-2.0
// Bytes into and out of scattered memory.
#include "fs/fuse_iov.h"

#include <string.h>

size_t iov_bytes(const struct iovec *v, unsigned int n)
{
	size_t sum = 0;

	for (unsigned int i = 0; i < n; i++)
		sum += v[i].iov_len;
	return sum;
}

unsigned int iov_slice(
	struct iovec *dst, const struct iovec *v, unsigned int n, size_t off, size_t bytes)
{
	unsigned int k = 0;

	for (unsigned int i = 0; i < n && bytes; i++) {
		size_t take;

		if (off >= v[i].iov_len) {
			off -= v[i].iov_len;
			continue;
		}
		take = v[i].iov_len - off;
		if (take > bytes)
			take = bytes;
		dst[k++] = (struct iovec){(char *)v[i].iov_base + off, take};
		bytes -= take;
		off = 0;
	}
	return k;
}

/* The one walk behind both copies: exactly one of @to and @from is set. */
static inline size_t copy(
	const struct iovec *v, unsigned int n, size_t off, char *to, const char *from, size_t bytes)
{
	size_t done = 0;

	for (unsigned int i = 0; i < n && done < bytes; i++) {
		size_t take = v[i].iov_len - off;
		char *piece;

		if (off >= v[i].iov_len) {
			off -= v[i].iov_len;
			continue;
		}
		piece = (char *)v[i].iov_base + off;
		if (take > bytes - done)
			take = bytes - done;
		if (to)
			memcpy(to + done, piece, take);
		else
			memcpy(piece, from + done, take);
		done += take;
		off = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *v, unsigned int n, size_t off, void *dst, size_t bytes)
{
	return copy(v, n, off, dst, NULL, bytes);
}

size_t iov_write(const struct iovec *v, unsigned int n, size_t off, const void *src, size_t bytes)
{
	return copy(v, n, off, NULL, src, bytes);
}
