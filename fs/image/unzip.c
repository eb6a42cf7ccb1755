// SPDX-License-Identifier: Apache-2.0
// Decompressing a layer as it streams by.
#include "fs/image/unzip.h"
#include "base/cleanup.h"

#include <isa-l/igzip_lib.h>
#include <stdbool.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define OUT_BYTES   (256u << 10)
#define MAGIC_BYTES 6

enum kind { UNKNOWN, PLAIN, GZIP, ZSTD };

struct img_unzip {
	img_unzip_fn fn;
	void *arg;
	enum kind kind;
	uint8_t magic[MAGIC_BYTES];
	size_t nmagic;
	bool inside;  /* a member or frame that has not ended */
	bool padding; /* zero bytes followed a gzip member */
	struct inflate_state inflate;
	ZSTD_DCtx *zstd;
	uint8_t out[OUT_BYTES];
};

int img_unzip_new(img_unzip_fn fn, void *arg, struct img_unzip **ret)
{
	struct img_unzip *u = malloc(sizeof(*u));

	if (!u)
		return -ENOMEM;
	memset(u, 0, offsetof(struct img_unzip, inflate));
	u->fn = fn;
	u->arg = arg;
	u->zstd = NULL;
	*ret = u;
	return 0;
}

struct img_unzip *img_unzip_free(struct img_unzip *u)
{
	if (u)
		ZSTD_freeDCtx(u->zstd);
	free(u);
	return NULL;
}

static int damaged(struct msb_err *e, const char *what)
{
	return msb_err_set(e, EBADMSG, "damaged %s stream", what);
}

static int feed_gzip(struct img_unzip *u, const uint8_t *p, size_t n, struct msb_err *e)
{
	struct inflate_state *s = &u->inflate;
	int r = 0;

	s->next_in = (uint8_t *)p;
	s->avail_in = (uint32_t)n;
	do {
		if (!u->inside) {
			while (s->avail_in && *s->next_in == 0) {
				u->padding = true;
				s->next_in++;
				s->avail_in--;
			}
			if (!s->avail_in)
				return 0;
			if (u->padding)
				return damaged(e, "gzip");
			/* A reset forgets the input that the last member left. */
			uint8_t *next = s->next_in;
			uint32_t avail = s->avail_in;

			isal_inflate_init(s);
			s->crc_flag = ISAL_GZIP;
			s->next_in = next;
			s->avail_in = avail;
			u->inside = true;
		}
		s->next_out = u->out;
		s->avail_out = OUT_BYTES;
		if (isal_inflate(s) != ISAL_DECOMP_OK)
			return damaged(e, "gzip");
		if (s->avail_out < OUT_BYTES)
			r = u->fn(u->arg, u->out, OUT_BYTES - s->avail_out, e);
		if (s->block_state == ISAL_BLOCK_FINISH)
			u->inside = false;
	} while (r == 0 && (s->avail_in || (u->inside && !s->avail_out)));
	return r;
}

static int zstd_error(size_t code, struct msb_err *e)
{
	switch (ZSTD_getErrorCode(code)) {
	case ZSTD_error_memory_allocation: return msb_err_set(e, ENOMEM, "out of memory");
	case ZSTD_error_frameParameter_windowTooLarge:
		return msb_err_set(e, E2BIG,
			"the zstd stream asks for more than %llu bytes of memory",
			(unsigned long long)img_limit(IMG_LIMIT_WINDOW_BYTES));
	default: return damaged(e, "zstd");
	}
}

static int feed_zstd(struct img_unzip *u, const uint8_t *p, size_t n, struct msb_err *e)
{
	ZSTD_inBuffer in = {p, n, 0};
	ZSTD_outBuffer out;
	int r = 0;

	if (!u->zstd) {
		u->zstd = ZSTD_createDCtx();
		if (!u->zstd)
			return msb_err_set(e, ENOMEM, "out of memory");
		(void)ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
			63 - __builtin_clzll(img_limit(IMG_LIMIT_WINDOW_BYTES)));
	}
	do {
		size_t left;

		out = (ZSTD_outBuffer){u->out, OUT_BYTES, 0};
		left = ZSTD_decompressStream(u->zstd, &out, &in);
		if (ZSTD_isError(left))
			return zstd_error(left, e);
		u->inside = left != 0;
		if (out.pos)
			r = u->fn(u->arg, u->out, out.pos, e);
		/* Asked again after the end of a frame it would begin the next. */
	} while (r == 0 && (in.pos < in.size || (u->inside && out.pos == out.size)));
	return r;
}

static int feed(struct img_unzip *u, const uint8_t *p, size_t n, struct msb_err *e)
{
	int r = 0;

	if (!n)
		return 0;
	if (u->kind == PLAIN)
		return u->fn(u->arg, p, n, e);
	if (u->kind == ZSTD)
		return feed_zstd(u, p, n, e);
	for (size_t k; r == 0 && n; p += k, n -= k) { /* ISA-L counts in 32 bits */
		k = n < (1u << 30) ? n : 1u << 30;
		r = feed_gzip(u, p, k, e);
	}
	return r;
}

static int tell(struct img_unzip *u, struct msb_err *e)
{
	static const struct {
		const char *bytes, *name;
		size_t n;
		enum kind kind;
	} rows[] = {
		{"\x1f\x8b", "gzip", 2, GZIP}, {"\x28\xb5\x2f\xfd", "zstd", 4, ZSTD},
		{"BZh", "bzip2", 3, UNKNOWN},
		{"\xfd"
		 "7zXZ",
			"xz", 6, UNKNOWN}, /* with its NUL */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (u->nmagic < rows[i].n || memcmp(u->magic, rows[i].bytes, rows[i].n) != 0)
			continue;
		if (rows[i].kind == UNKNOWN)
			return msb_err_set(e, EOPNOTSUPP,
				"compressed with %s: only gzip, zstd and none are supported",
				rows[i].name);
		u->kind = rows[i].kind;
		return 0;
	}
	u->kind = PLAIN;
	return 0;
}

int img_unzip_feed(struct img_unzip *u, const void *p, size_t n, struct msb_err *e)
{
	const uint8_t *b = p;
	int r;

	if (u->kind != UNKNOWN)
		return feed(u, b, n, e);
	while (n && u->nmagic < MAGIC_BYTES) {
		u->magic[u->nmagic++] = *b++;
		n--;
	}
	if (u->nmagic < MAGIC_BYTES)
		return 0;
	r = tell(u, e);
	if (r == 0)
		r = feed(u, u->magic, u->nmagic, e);
	return r < 0 ? r : feed(u, b, n, e);
}

int img_unzip_finish(struct img_unzip *u, struct msb_err *e)
{
	int r = 0;

	if (u->kind == UNKNOWN) {
		r = tell(u, e);
		if (r == 0)
			r = feed(u, u->magic, u->nmagic, e);
	}
	if (r == 0 && u->inside)
		r = msb_err_set(e, EBADMSG, "the %s stream ends too early",
			u->kind == GZIP ? "gzip" : "zstd");
	return r;
}
