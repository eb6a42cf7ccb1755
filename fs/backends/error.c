// SPDX-License-Identifier: Apache-2.0
// The error wrapper: operations fail now and then, for tests and chaos.
#include "fs/backends/chance.h"

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	const struct fsb_fault *hit = chance_draw(f, c);

	return hit ? -hit->error : 0;
}

static const struct fsb_filter_ops ops = {.name = "error",
	.summary = "fails operations by chance",
	.before = before,
	.stop = chance_stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;

	return chance_wrap(&ops, 0, o ? o->error : NULL, o ? o->nerrors : 0, next, ret, e);
}

const struct fsb_kind fsb_error_kind = {
	.name = "error", .summary = "fails operations by chance (option error)", .wrap = wrap};
