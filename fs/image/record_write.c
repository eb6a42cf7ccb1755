// SPDX-License-Identifier: Apache-2.0
// Layer records: writing one while its tar streams by.
#include "fs/image/record.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define BUF_BYTES  (128u << 10)
#define SPAN_MARK  1
#define PARTS_MARK 3
#define ZSTD_LEVEL 1 /* headers are nearly all repetition: more buys little */

struct img_record_writer {
	int fd;
	ZSTD_CCtx *zstd;
	XXH3_state_t *sum;
	uint64_t tar_bytes, raw_bytes, body_bytes;
	struct img_span *spans;
	size_t nspans, cap;
	bool parts;  /* of any span */
	size_t nraw; /* in raw, not in the body yet */
	char raw[BUF_BYTES], out[BUF_BYTES];
};

int img_record_begin(int fd, struct img_record_writer **ret)
{
	struct img_record_writer *w = malloc(sizeof(*w));

	if (!w)
		return -ENOMEM;
	memset(w, 0, offsetof(struct img_record_writer, raw));
	w->fd = fd;
	w->zstd = ZSTD_createCCtx();
	w->sum = XXH3_createState();
	if (!w->zstd || !w->sum) {
		img_record_writer_free(w);
		return -ENOMEM;
	}
	(void)XXH3_64bits_reset(w->sum);
	(void)ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	(void)ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_windowLog, IMG_RECORD_WINDOW_LOG);
	*ret = w;
	return 0;
}

struct img_record_writer *img_record_writer_free(struct img_record_writer *w)
{
	if (w) {
		ZSTD_freeCCtx(w->zstd);
		XXH3_freeState(w->sum);
		free(w->spans);
		free(w);
	}
	return NULL;
}

static int write_at(
	struct img_record_writer *w, const void *p, size_t n, uint64_t off, struct msb_err *e)
{
	int r = msb_pwrite_full(w->fd, p, n, off);

	return r < 0 ? msb_err_set(e, -r, "cannot store the layer's record: %s", strerror(-r)) : 0;
}

static int body(struct img_record_writer *w, const void *p, size_t n, bool end, struct msb_err *e)
{
	ZSTD_inBuffer in = {p, n, 0};
	size_t left;

	do {
		ZSTD_outBuffer out = {w->out, sizeof(w->out), 0};
		int r;

		left = ZSTD_compressStream2(w->zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(left))
			return msb_err_set(e, ENOMEM, "cannot store the layer's record: %s",
				ZSTD_getErrorName(left));
		(void)XXH3_64bits_update(w->sum, w->out, out.pos);
		r = write_at(w, w->out, out.pos, sizeof(struct img_record_head) + w->body_bytes, e);
		if (r < 0)
			return r;
		w->body_bytes += out.pos;
	} while (in.pos < in.size || (end && left));
	return 0;
}

static int number(struct img_record_writer *w, uint64_t v, struct msb_err *e)
{
	uint8_t b[10];
	size_t n = 0;

	do
		b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
	while (v >>= 7);
	return body(w, b, n, false, e);
}

static int flush_raw(struct img_record_writer *w, struct msb_err *e)
{
	size_t n = w->nraw;
	int r;

	if (!n)
		return 0;
	r = number(w, (uint64_t)n << 1, e);
	w->nraw = 0;
	w->raw_bytes += n;
	return r < 0 ? r : body(w, w->raw, n, false, e);
}

int img_record_raw(struct img_record_writer *w, const void *p, size_t n, struct msb_err *e)
{
	const char *b = p;
	int r = 0;

	w->tar_bytes += n;
	while (r == 0 && n) {
		size_t k = n < BUF_BYTES - w->nraw ? n : BUF_BYTES - w->nraw;

		memcpy(w->raw + w->nraw, b, k);
		w->nraw += k;
		b += k;
		n -= k;
		if (w->nraw == BUF_BYTES)
			r = flush_raw(w, e);
	}
	return r;
}

static int add_span(struct img_record_writer *w, const struct img_span *s, struct msb_err *e)
{
	if (w->nspans == IMG_MAX_RECORD_SPANS)
		return msb_err_set(e, E2BIG, "the layer holds too many files");
	if (w->nspans == w->cap) {
		size_t cap = w->cap ? 2 * w->cap : 1024;
		struct img_span *p = reallocarray(w->spans, cap, sizeof(*p));

		if (!p)
			return msb_err_set(e, ENOMEM, "out of memory");
		w->spans = p;
		w->cap = cap;
	}
	w->spans[w->nspans++] = *s;
	return 0;
}

int img_record_data(struct img_record_writer *w, const struct img_span *s,
	const struct img_tar_part *parts, size_t nparts, struct msb_err *e)
{
	uint64_t end = 0;
	int r = flush_raw(w, e);

	if (r == 0)
		r = add_span(w, s, e);
	if (r == 0)
		r = number(w, parts ? PARTS_MARK : SPAN_MARK, e);
	if (!parts) {
		w->tar_bytes += s->len;
		return r;
	}
	w->parts = true;
	if (r == 0)
		r = number(w, nparts, e);
	for (size_t k = 0; r == 0 && k < nparts; k++) {
		r = number(w, parts[k].off - end, e);
		if (r == 0)
			r = number(w, parts[k].len, e);
		end = parts[k].off + parts[k].len;
		w->tar_bytes += parts[k].len;
	}
	return r;
}

struct img_span *img_record_writer_spans(struct img_record_writer *w, size_t *ret_n)
{
	*ret_n = w->nspans;
	return w->spans;
}

int img_record_end_body(struct img_record_writer *w, struct msb_err *e)
{
	int r = flush_raw(w, e);

	return r < 0 ? r : body(w, NULL, 0, true, e);
}

int img_record_finish(struct img_record_writer *w, struct msb_err *e)
{
	struct img_record_head h = {.magic = "MSBLAYER",
		.version = w->parts ? IMG_RECORD_VERSION : 1,
		.tar_bytes = w->tar_bytes,
		.raw_bytes = w->raw_bytes,
		.body_bytes = w->body_bytes,
		.nspans = w->nspans,
		.body_sum = XXH3_64bits_digest(w->sum),
		.spans_sum = XXH3_64bits(w->spans, w->nspans * sizeof(*w->spans))};
	uint64_t off = sizeof(h) + w->body_bytes;
	static const char zeros[16];
	size_t gap = (size_t)(-off % 16);
	int r;

	h.head_sum = XXH3_64bits(&h, offsetof(struct img_record_head, head_sum));
	r = write_at(w, zeros, gap, off, e);
	if (r == 0)
		r = write_at(w, w->spans, w->nspans * sizeof(*w->spans), off + gap, e);
	return r == 0 ? write_at(w, &h, sizeof(h), 0, e) : r;
}
