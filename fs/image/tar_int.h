/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the tar reader share: tar.c (the stream), tar_number.c, tar_sparse.c. Each
 * function returns 0; -EBADMSG; where it says so -E2BIG, -ENOMEM, -EOPNOTSUPP. */
#ifndef MSB_FS_IMAGE_TAR_INT_H
#define MSB_FS_IMAGE_TAR_INT_H

#include "fs/image/tar.h"

#include <stdbool.h>

/* ---- tar_number.c */
/* Octal, padded with spaces and NULs; or base-256, two's complement, where the high bit is set. */
int tar_number(const char *p, size_t n, int64_t *ret);
int tar_number_u32(const char *p, size_t n, uint32_t *ret);
int tar_decimal(const char *p, size_t n, uint64_t max, uint64_t *ret);
/* [-]SECONDS[.FRACTION]; digits past the ninth are cut. */
int tar_pax_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec);
/* Takes the "LENGTH KEY=VALUE\n" at @p. */
int tar_pax_record(const char *p, size_t n, size_t *ret_len, const char **ret_key,
	size_t *ret_key_n, const char **ret_val, size_t *ret_val_n);

/* ---- tar_sparse.c: where the bytes of a file with holes belong. Source: GNU tar 1.34's manual,
 * "Storing Sparse Files", and its tar.h. */
#define TAR_MAP_MAX_DIGITS 20 /* of a number in a map that comes as text */

struct tar_map {
	struct img_tar_part *v; /* rising, none empty */
	size_t n, cap;
	uint64_t end;	 /* where the last part that was told ends, empty ones included */
	uint64_t packed; /* bytes of all parts: what comes in the archive */
	uint64_t size;	 /* of the file, holes included */
	bool has_size;
	/* of extended headers */
	bool is_told, has_major, has_off, has_blocks;
	uint64_t major, minor, off, blocks, told_parts;
	const char *name; /* into the record; NULL: it says none */
	size_t name_n;
	/* of a map that comes as text */
	uint64_t value, left; /* the number being read; how many are to come */
	unsigned int digits;
	bool has_count;
};

void tar_map_done(struct tar_map *);
void tar_map_reset(struct tar_map *); /* of another file; memory is kept */
/* A record "GNU.sparse.@key". -E2BIG, -ENOMEM, -EOPNOTSUPP. */
int tar_map_pax(struct tar_map *, const char *key, size_t n, const char *val, size_t val_n);
/* All records have come. @ret_text: the map is the first of the file's bytes. */
int tar_map_pax_end(const struct tar_map *, bool *ret_sparse, bool *ret_text);
/* @n entries of an old header at @p; *@end is set by one that is none. -E2BIG, -ENOMEM. */
int tar_map_old(struct tar_map *, const char *p, size_t n, bool *end);
/* Up to @n bytes of a map that comes as text; *@ret_n: how many it took. Return: 1 it is whole, 0
 * more is to come. -E2BIG, -ENOMEM. */
int tar_map_text(struct tar_map *, const char *p, size_t n, size_t *ret_n);
/* The map is whole, and @packed bytes come. */
int tar_map_end(const struct tar_map *, uint64_t packed);

#define TAR_OLD_ENTRY 24 /* bytes of an entry of an old header */

#endif
