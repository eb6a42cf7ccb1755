// SPDX-License-Identifier: Apache-2.0
// The delay wrapper: operations take longer now and then, for tests and chaos.
#include "fs/backends/chance.h"

#include <errno.h>
#include <time.h>

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	const struct fsb_fault *hit = chance_draw(f, c);

	if (hit) {
		struct timespec t = {hit->usec / 1000000, (long)(hit->usec % 1000000) * 1000};

		while (nanosleep(&t, &t) < 0 && errno == EINTR)
			;
	}
	return 0;
}

static const struct fsb_filter_ops ops = {.name = "delay",
	.summary = "holds operations up by chance",
	.before = before,
	.stop = chance_stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;

	return chance_wrap(
		&ops, FSB_CAP_WAITS, o ? o->delay : NULL, o ? o->ndelays : 0, next, ret, e);
}

const struct fsb_kind fsb_delay_kind = {
	.name = "delay", .summary = "holds operations up by chance (option delay)", .wrap = wrap};
