// SPDX-License-Identifier: Apache-2.0
// Compressing a layer as it streams by.
#include "fs/image/zip.h"
#include "base/cleanup.h"

#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>

#define IN_BYTES  (256u << 10)
#define OUT_BYTES (256u << 10)
#define GZIP_LEVEL                                                                                 \
	3	     /* ISA-L's best: a fifth of zlib's time at its default, a few percent larger  \
		      */
#define ZSTD_LEVEL 3 /* zstd's own default */

struct img_zip {
	img_unzip_fn fn;
	void *arg;
	enum img_compression kind;
	struct isal_zstream deflate;
	uint8_t *level_buf;
	ZSTD_CCtx *zstd;
	size_t nin;
	uint8_t in[IN_BYTES]; /* how it is cut decides about what comes out */
	uint8_t out[OUT_BYTES];
};

static int start(struct img_zip *z)
{
	if (z->kind == IMG_ZSTD) {
		z->zstd = ZSTD_createCCtx();
		if (!z->zstd)
			return -ENOMEM;
		(void)ZSTD_CCtx_setParameter(z->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
		(void)ZSTD_CCtx_setParameter(z->zstd, ZSTD_c_checksumFlag, 1);
	}
	if (z->kind == IMG_GZIP) {
		z->level_buf = malloc(ISAL_DEF_LVL3_DEFAULT);
		if (!z->level_buf)
			return -ENOMEM;
		isal_deflate_init(&z->deflate);
		z->deflate.level = GZIP_LEVEL;
		z->deflate.level_buf = z->level_buf;
		z->deflate.level_buf_size = ISAL_DEF_LVL3_DEFAULT;
		z->deflate.gzip_flag = IGZIP_GZIP;
	}
	return 0;
}

int img_zip_new(enum img_compression kind, img_unzip_fn fn, void *arg, struct img_zip **ret)
{
	struct img_zip *z = calloc(1, sizeof(*z));

	if (!z)
		return -ENOMEM;
	z->fn = fn;
	z->arg = arg;
	z->kind = kind;
	if (start(z) < 0) {
		img_zip_free(z);
		return -ENOMEM;
	}
	*ret = z;
	return 0;
}

struct img_zip *img_zip_free(struct img_zip *z)
{
	if (z) {
		ZSTD_freeCCtx(z->zstd);
		free(z->level_buf);
	}
	free(z);
	return NULL;
}

static int feed_gzip(struct img_zip *z, bool end, struct msb_err *e)
{
	struct isal_zstream *s = &z->deflate;
	int r = 0;

	s->next_in = z->in;
	s->avail_in = (uint32_t)z->nin;
	s->end_of_stream = end;
	do {
		s->next_out = z->out;
		s->avail_out = OUT_BYTES;
		if (isal_deflate(s) != COMP_OK)
			return msb_err_set(e, EIO, "cannot compress");
		if (s->avail_out < OUT_BYTES)
			r = z->fn(z->arg, z->out, OUT_BYTES - s->avail_out, e);
	} while (r == 0 &&
		 (s->avail_in || !s->avail_out || (end && s->internal_state.state != ZSTATE_END)));
	return r;
}

static int feed_zstd(struct img_zip *z, bool end, struct msb_err *e)
{
	ZSTD_inBuffer in = {z->in, z->nin, 0};
	size_t left;
	int r = 0;

	do {
		ZSTD_outBuffer out = {z->out, OUT_BYTES, 0};

		left = ZSTD_compressStream2(z->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return msb_err_set(
				e, ENOMEM, "cannot compress: %s", ZSTD_getErrorName(left));
		if (out.pos)
			r = z->fn(z->arg, z->out, out.pos, e);
	} while (r == 0 && (in.pos < in.size || (end && left)));
	return r;
}

static int flush(struct img_zip *z, bool end, struct msb_err *e)
{
	int r = z->kind == IMG_ZSTD ? feed_zstd(z, end, e) : feed_gzip(z, end, e);

	z->nin = 0;
	return r;
}

int img_zip_feed(struct img_zip *z, const void *p, size_t n, struct msb_err *e)
{
	int r = 0;

	if (z->kind == IMG_PLAIN)
		return n ? z->fn(z->arg, p, n, e) : 0;
	for (const char *b = p; r == 0 && n;) {
		size_t k = IN_BYTES - z->nin < n ? IN_BYTES - z->nin : n;

		memcpy(z->in + z->nin, b, k);
		z->nin += k;
		b += k;
		n -= k;
		if (z->nin == IN_BYTES)
			r = flush(z, false, e);
	}
	return r;
}

int img_zip_finish(struct img_zip *z, struct msb_err *e)
{
	return z->kind == IMG_PLAIN ? 0 : flush(z, true, e);
}
