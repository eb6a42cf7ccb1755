// SPDX-License-Identifier: Apache-2.0
// Compressed streams: the same bytes come out however they are cut, and none past the limit.
#include "fs/image/unzip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT (4u << 20)

struct got {
	size_t n;
	uint32_t sum;
};

static int take(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct got *g = arg;
	const uint8_t *b = p;

	if (!n)
		abort();
	for (size_t k = 0; k < n; k++)
		g->sum = g->sum * 31 + b[k];
	g->n += n;
	return g->n > LIMIT ? msb_err_set(e, E2BIG, "too much") : 0;
}

static int run(const uint8_t *data, size_t size, size_t step, struct got *g)
{
	struct msb_err e = {0};
	struct img_unzip *u;
	int r = 0;

	if (img_unzip_new(take, g, &u) < 0)
		abort();
	for (size_t at = 0; r == 0 && at < size; at += step)
		r = img_unzip_feed(u, data + at, size - at < step ? size - at : step, &e);
	if (r == 0)
		r = img_unzip_finish(u, &e);
	img_unzip_free(u);
	if (r < 0 && e.code != -r)
		abort();
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct got a = {0}, b = {0};
	int ra = run(data, size, size ? size : 1, &a), rb = run(data, size, 7, &b);

	/* A damaged stream may be found out earlier or later, an intact one has one meaning. */
	if ((ra == 0) != (rb == 0) || (ra == 0 && (a.n != b.n || a.sum != b.sum)))
		abort();
	return 0;
}
