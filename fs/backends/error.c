// SPDX-License-Identifier: Apache-2.0
// The error wrapper: operations fail now and then, for tests and chaos.
#include "fs/backends/chance.h"
#include "fs/filter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct faults {
	struct fsb_filter f; /* first */
	struct chance chance;
	struct fsb_fault list[FSB_MAX_FAULTS];
};

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	const struct fsb_fault *hit = chance_draw(&((struct faults *)(void *)f)->chance, c->op);

	return hit ? -hit->error : 0;
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {
	.name = "error", .summary = "fails operations by chance", .before = before, .stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;
	struct faults *d;

	if (!o || !o->nerrors) {
		*ret = next;
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (!d) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for error=");
	}
	memcpy(d->list, o->error, sizeof(d->list));
	chance_init(&d->chance, d->list, o->nerrors, "error=");
	fsb_filter_init(&d->f, &ops, next, 0, 0);
	*ret = &d->f.b;
	return 0;
}

const struct fsb_kind fsb_error_kind = {
	.name = "error", .summary = "fails operations by chance (option error)", .wrap = wrap};
