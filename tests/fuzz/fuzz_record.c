// SPDX-License-Identifier: Apache-2.0
// Layer records: any bytes, with their checksums made right, so that what is behind them is
// reached.
#include "fs/image/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct got {
	uint64_t raw, data;
	uint32_t sum;
};

static int raw(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct got *g = arg;
	const uint8_t *b = p;

	if (!n)
		abort();
	for (size_t k = 0; k < n; k++)
		g->sum = g->sum * 31 + b[k];
	g->raw += n;
	return g->raw > (4u << 20) ? msb_err_set(e, E2BIG, "enough") : 0;
}

static int data_op(void *arg, const struct img_span *s, const struct img_tar_part *parts,
	size_t nparts, struct msb_err *e)
{
	struct got *g = arg;
	uint64_t end = 0;

	if (!s->len)
		abort();
	for (size_t k = 0; k < nparts; k++) {
		if (parts[k].off < end || !parts[k].len || parts[k].len > s->len - parts[k].off)
			abort();
		end = parts[k].off + parts[k].len;
		g->data += parts[k].len;
	}
	return 0;
}

static void try(const void *p, size_t n)
{
	static const struct img_record_ops ops = {raw, data_op};
	struct img_record *rec;
	struct msb_err e = {0};
	struct got g = {0};
	int r = img_record_from_bytes(p, n, &rec, &e);

	if ((r < 0) != (e.code != 0))
		abort();
	if (r < 0)
		return;
	r = img_record_replay(rec, &ops, &g, &e);
	if ((r < 0) != (e.code != 0) || (r == 0 && g.raw + g.data != img_record_tar_bytes(rec)))
		abort();
	img_record_close(rec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct img_record_head h;
	uint64_t off;
	uint8_t *p = malloc(size + 1);

	if (!p)
		return 0;
	memcpy(p, data, size);
	try(p, size);
	if (size >= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		memcpy(h.magic, "MSBLAYER", sizeof(h.magic));
		h.version = 1 + h.version % IMG_RECORD_VERSION;
		off = sizeof(h) + h.body_bytes;
		off += -off % 16;
		if (h.body_bytes <= size - sizeof(h) && off <= size) {
			h.body_sum = XXH3_64bits(p + sizeof(h), h.body_bytes);
			h.spans_sum = XXH3_64bits(p + off, size - off);
		}
		h.head_sum = XXH3_64bits(&h, offsetof(struct img_record_head, head_sum));
		memcpy(p, &h, sizeof(h));
		try(p, size);
	}
	free(p);
	return 0;
}
