/* SPDX-License-Identifier: Apache-2.0 */
/* Making tars in memory, good and bad, for tests. */
#ifndef MSB_TESTS_TARMAKE_H
#define MSB_TESTS_TARMAKE_H

#include "base/str.h"

#include <stdio.h>
#include <string.h>

static inline void tar_sum(char *h)
{
	unsigned int sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	(void)snprintf(h + 148, 8, "%06o", sum);
}

/* A name field: 100 bytes, NUL-terminated only where it is shorter. */
static inline void tar_put(char *to, const char *text)
{
	size_t n = strlen(text);

	memcpy(to, text, n < 100 ? n : 100);
}

/* A ustar header; @size goes into it whatever follows. */
static inline void tar_header(struct msb_str *s, const char *name, char type, const char *link,
	unsigned int mode, unsigned long long size)
{
	char h[512] = {0};

	tar_put(h, name);
	(void)snprintf(h + 100, 8, "%07o", mode);
	(void)snprintf(h + 108, 8, "%07o", 0u);
	(void)snprintf(h + 116, 8, "%07o", 0u);
	(void)snprintf(h + 124, 12, "%011llo", size);
	(void)snprintf(h + 136, 12, "%011o", 1000u);
	h[156] = type;
	if (link)
		tar_put(h + 157, link);
	memcpy(h + 257, "ustar\00000", 8);
	(void)snprintf(h + 329, 8, "%07o", 1u);
	(void)snprintf(h + 337, 8, "%07o", 3u);
	tar_sum(h);
	msb_str_add(s, h, sizeof(h));
}

static inline void tar_bytes(struct msb_str *s, const void *p, size_t n)
{
	static const char zeros[512];

	msb_str_add(s, p, n);
	msb_str_add(s, zeros, -n % 512);
}

static inline void tar_file(struct msb_str *s, const char *name, const void *p, size_t n)
{
	tar_header(s, name, '0', NULL, 0644, n);
	tar_bytes(s, p, n);
}

/* One extended header of @type 'x' or 'g' with the records in @records ("KEY=VALUE", n of them). */
static inline void tar_pax_n(
	struct msb_str *s, char type, const char *const *records, const size_t *lens, size_t n)
{
	struct msb_str body = MSB_STR_INIT;

	for (size_t k = 0; k < n; k++) {
		size_t len = lens[k] + 3;
		char head[24];

		while ((size_t)snprintf(head, sizeof(head), "%zu ", len) + lens[k] + 1 != len)
			len++;
		msb_str_adds(&body, head);
		msb_str_add(&body, records[k], lens[k]);
		msb_str_adds(&body, "\n");
	}
	tar_header(s, "PaxHeaders/x", type, NULL, 0644, body.len);
	tar_bytes(s, body.buf, body.len);
	msb_str_done(&body);
}

static inline void tar_pax(struct msb_str *s, const char *record)
{
	size_t n = strlen(record);

	tar_pax_n(s, 'x', &record, &n, 1);
}

static inline void tar_end(struct msb_str *s)
{
	static const char zeros[1024];

	msb_str_add(s, zeros, sizeof(zeros));
}

#endif
