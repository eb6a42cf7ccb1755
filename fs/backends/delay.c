// SPDX-License-Identifier: Apache-2.0
// The delay wrapper: operations take longer now and then, for tests and chaos.
#include "fs/backends/chance.h"
#include "fs/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct faults {
	struct fsb_filter f; /* first */
	struct chance chance;
	struct fsb_fault list[FSB_MAX_FAULTS];
};

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	const struct fsb_fault *hit = chance_draw(&((struct faults *)(void *)f)->chance, c->op);

	if (hit) {
		struct timespec t = {hit->usec / 1000000, (long)(hit->usec % 1000000) * 1000};

		while (nanosleep(&t, &t) < 0 && errno == EINTR)
			;
	}
	return 0;
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {.name = "delay",
	.summary = "holds operations up by chance",
	.before = before,
	.stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;
	struct faults *d;

	if (!o || !o->ndelays) {
		*ret = next;
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for delay=");
	}
	memcpy(d->list, o->delay, sizeof(d->list));
	chance_init(&d->chance, d->list, o->ndelays, "delay=");
	fsb_filter_init(&d->f, &ops, next, FSB_CAP_WAITS, 0);
	*ret = &d->f.b;
	return 0;
}

const struct fsb_kind fsb_delay_kind = {
	.name = "delay", .summary = "holds operations up by chance (option delay)", .wrap = wrap};
