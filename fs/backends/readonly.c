// SPDX-License-Identifier: Apache-2.0
// The readonly wrapper: nothing is written, whatever the guest was told.
#include "fs/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	if (FSB_OP_BIT(c->op) & FSB_OPS_WRITING)
		return -EROFS;
	if (c->op == FSB_OPEN && ((c->flags & O_ACCMODE) != O_RDONLY || (c->flags & O_TRUNC)))
		return -EROFS;
	return 0;
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {
	.name = "readonly", .summary = "refuses what writes", .before = before, .stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	struct fsb_filter *f;

	if (!from->options || !from->options->readonly || !(next->ops->caps & FSB_CAP_WRITE)) {
		*ret = next;
		return 0;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for a read-only mount");
	}
	fsb_filter_init(f, &ops, next, next->ops->caps & FSB_CAP_EXPORT, FSB_CAP_WRITE);
	*ret = &f->b;
	return 0;
}

const struct fsb_kind fsb_readonly_kind = {
	.name = "readonly", .summary = "refuses what writes (option ro)", .wrap = wrap};
