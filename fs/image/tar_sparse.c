// SPDX-License-Identifier: Apache-2.0
// Files with holes in tars: the map of an old GNU header, and those of GNU's extended headers.
#include "fs/image/tar_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIZE ((uint64_t)INT64_MAX - IMG_TAR_BLOCK)

void tar_map_reset(struct tar_map *m)
{
	*m = (struct tar_map){.v = m->v, .cap = m->cap};
}

void tar_map_done(struct tar_map *m)
{
	free(m->v);
	*m = (struct tar_map){0};
}

/* Programs differ in whether a part that is no whole number of blocks is filled up before the next
 * one: only the last may be so. */
static int add(struct tar_map *m, uint64_t off, uint64_t len)
{
	if (off < m->end || len > MAX_SIZE || off > MAX_SIZE - len)
		return -EBADMSG;
	if (len && m->packed % IMG_TAR_BLOCK)
		return -EBADMSG;
	m->end = off + len;
	if (!len)
		return 0;
	if (m->n >= img_limit(IMG_LIMIT_PARTS))
		return -E2BIG;
	if (m->n == m->cap) {
		size_t cap = m->cap ? 2 * m->cap : 32;
		struct img_tar_part *v = reallocarray(m->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct img_tar_part){off, len};
	m->packed += len;
	return 0;
}

int tar_map_end(const struct tar_map *m, uint64_t packed)
{
	return m->has_size && m->end <= m->size && m->packed == packed ? 0 : -EBADMSG;
}

/* ---- extended headers */

static bool is(const char *key, size_t n, const char *want)
{
	return strlen(want) == n && memcmp(key, want, n) == 0;
}

/* Offsets and lengths, in turn. */
static int told(struct tar_map *m, uint64_t v)
{
	m->has_off = !m->has_off;
	if (m->has_off) {
		m->off = v;
		return 0;
	}
	m->told_parts++;
	return add(m, m->off, v);
}

/* "OFFSET,LENGTH,OFFSET,LENGTH": version 0.1 */
static int commas(struct tar_map *m, const char *p, size_t n)
{
	for (;;) {
		const char *to = memchr(p, ',', n);
		size_t k = to ? (size_t)(to - p) : n;
		uint64_t v;
		int r = tar_decimal(p, k, MAX_SIZE, &v);

		if (r == 0)
			r = told(m, v);
		if (r < 0 || !to)
			return r;
		p += k + 1;
		n -= k + 1;
	}
}

int tar_map_pax(struct tar_map *m, const char *key, size_t n, const char *val, size_t val_n)
{
	uint64_t v;
	int r;

	if (is(key, n, "name")) {
		m->name = val;
		m->name_n = val_n;
		return 0;
	}
	m->is_told = true;
	if (is(key, n, "size") || is(key, n, "realsize")) {
		m->has_size = true;
		return tar_decimal(val, val_n, MAX_SIZE, &m->size);
	}
	if (is(key, n, "major")) {
		m->has_major = true;
		return tar_decimal(val, val_n, UINT32_MAX, &m->major);
	}
	if (is(key, n, "minor"))
		return tar_decimal(val, val_n, UINT32_MAX, &m->minor);
	if (is(key, n, "numblocks")) {
		m->has_blocks = true;
		return tar_decimal(val, val_n, UINT32_MAX, &m->blocks);
	}
	if (is(key, n, "map"))
		return commas(m, val, val_n);
	if (!is(key, n, "offset") && !is(key, n, "numbytes"))
		return -EOPNOTSUPP;
	if (m->has_off != is(key, n, "numbytes"))
		return -EBADMSG;
	r = tar_decimal(val, val_n, MAX_SIZE, &v);
	return r < 0 ? r : told(m, v);
}

int tar_map_pax_end(const struct tar_map *m, bool *ret_sparse, bool *ret_text)
{
	*ret_sparse = m->is_told;
	*ret_text = m->has_major && m->major == 1;
	if (!m->is_told)
		return 0;
	if (m->major > 1 || (m->major == 1 && m->minor) || (!m->major && m->minor > 1))
		return -EOPNOTSUPP;
	if (!m->has_size || m->has_off || (m->has_blocks && m->blocks != m->told_parts) ||
		(*ret_text && m->told_parts))
		return -EBADMSG;
	return 0;
}

/* ---- old headers */

int tar_map_old(struct tar_map *m, const char *p, size_t n, bool *end)
{
	int r = 0;

	for (size_t k = 0; r == 0 && !*end && k < n; k++, p += TAR_OLD_ENTRY) {
		int64_t off, len;

		*end = !p[12];
		if (*end)
			break;
		if (tar_number(p, 12, &off) < 0 || tar_number(p + 12, 12, &len) < 0 || off < 0 ||
			len < 0)
			return -EBADMSG;
		r = add(m, (uint64_t)off, (uint64_t)len);
	}
	return r;
}

/* ---- version 1.0: lines of text before the bytes */

static int number_ends(struct tar_map *m)
{
	uint64_t v = m->value;

	if (!m->digits)
		return -EBADMSG;
	m->value = 0;
	m->digits = 0;
	if (!m->has_count) {
		m->has_count = true;
		m->left = 2 * v;
		return v > img_limit(IMG_LIMIT_PARTS) ? -E2BIG : 0;
	}
	m->left--;
	return told(m, v);
}

int tar_map_text(struct tar_map *m, const char *p, size_t n, size_t *ret_n)
{
	int r = 0;

	for (*ret_n = 0; r == 0 && *ret_n < n;) {
		char c = p[(*ret_n)++];

		if (c == '\n') {
			r = number_ends(m);
			if (r == 0 && !m->left)
				return 1;
		} else if (c < '0' || c > '9' || ++m->digits > TAR_MAP_MAX_DIGITS ||
			   m->value > MAX_SIZE / 10) {
			return -EBADMSG;
		} else {
			m->value = m->value * 10 + (uint64_t)(c - '0');
		}
	}
	return r;
}
