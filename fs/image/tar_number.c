// SPDX-License-Identifier: Apache-2.0
// The numbers of tar headers, and of the records of extended ones.
#include "fs/image/tar_int.h"
#include "base/str.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* ---- of headers */

int tar_number(const char *p, size_t n, int64_t *ret)
{
	const unsigned char *b = (const unsigned char *)p;
	uint64_t v = 0;
	size_t i = 0;

	if (b[0] & 0x80) {
		bool negative = b[0] & 0x40;

		v = negative ? UINT64_MAX << 6 | (b[0] & 0x3f) : b[0] & 0x3f;
		for (i = 1; i < n; i++) {
			if (v >> 55 != (negative ? 0x1ff : 0))
				return -EBADMSG;
			v = v << 8 | b[i];
		}
		*ret = (int64_t)v;
		return 0;
	}
	while (i < n && (b[i] == ' ' || b[i] == 0))
		i++;
	for (; i < n && b[i] >= '0' && b[i] <= '7'; i++)
		v = v << 3 | (b[i] - (unsigned char)'0'); /* 12 digits are 36 bits */
	for (; i < n; i++)
		if (b[i] != ' ' && b[i] != 0)
			return -EBADMSG;
	*ret = (int64_t)v;
	return 0;
}

int tar_number_u32(const char *p, size_t n, uint32_t *ret)
{
	int64_t v;

	if (tar_number(p, n, &v) < 0 || v < 0 || v > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

/* ---- of pax records */

int tar_pax_record(const char *p, size_t n, size_t *ret_len, const char **ret_key,
	size_t *ret_key_n, const char **ret_val, size_t *ret_val_n)
{
	size_t len = 0, i = 0;
	const char *eq;

	for (; i < n && p[i] >= '0' && p[i] <= '9' && len <= IMG_TAR_MAX_PAX; i++)
		len = len * 10 + (size_t)(p[i] - '0');
	if (!i || i >= n || p[i] != ' ' || len > n || len < i + 4 || p[len - 1] != '\n')
		return -EBADMSG;
	i++;
	eq = memchr(p + i, '=', len - i);
	if (!eq || eq == p + i)
		return -EBADMSG;
	*ret_len = len;
	*ret_key = p + i;
	*ret_key_n = (size_t)(eq - (p + i));
	*ret_val = eq + 1;
	*ret_val_n = (size_t)(p + len - 1 - (eq + 1));
	return 0;
}

int tar_decimal(const char *p, size_t n, uint64_t max, uint64_t *ret)
{
	char text[24];

	if (n >= sizeof(text))
		return -EBADMSG;
	memcpy(text, p, n);
	text[n] = 0;
	return msb_parse_u64(text, 0, max, ret) < 0 ? -EBADMSG : 0;
}

int tar_pax_time(const char *p, size_t n, int64_t *sec, uint32_t *nsec)
{
	bool negative = n && p[0] == '-';
	const char *dot;
	uint64_t whole;
	uint32_t frac = 0, unit = 100000000;
	size_t int_n;

	p += negative;
	n -= negative;
	dot = memchr(p, '.', n);
	int_n = dot ? (size_t)(dot - p) : n;
	if (tar_decimal(p, int_n, INT64_MAX / 2, &whole) < 0)
		return -EBADMSG;
	for (size_t i = int_n + 1; i < n; i++, unit /= 10) {
		if (p[i] < '0' || p[i] > '9')
			return -EBADMSG;
		frac += (uint32_t)(p[i] - '0') * unit;
	}
	*sec = negative ? -(int64_t)whole : (int64_t)whole;
	if (negative && frac) {
		*sec -= 1;
		frac = 1000000000 - frac;
	}
	*nsec = frac;
	return 0;
}
