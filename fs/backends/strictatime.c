// SPDX-License-Identifier: Apache-2.0
/*
 * The strictatime wrapper: every open is seen, and has the contents read anew, so that what is
 * below sees the reads that move an access time.
 */
#include "fs/filter.h"
#include "fs/options.h"

#include <errno.h>
#include <stdlib.h>

static const struct fsb_cache *cache(struct fsb_filter *f, uint64_t node)
{
	static const struct fsb_cache profile = {.entry_ms = FSB_AS_PROFILE,
		.attr_ms = FSB_AS_PROFILE,
		.negative_ms = FSB_AS_PROFILE};
	static _Thread_local struct fsb_cache copy;
	const struct fsb_cache *c = f->next->ops->cache ? f->next->ops->cache(f->next, node) : NULL;

	copy = c ? *c : profile;
	copy.fresh = true;
	return &copy;
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {
	.name = "strictatime", .summary = "every read is seen", .cache = cache, .stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	struct fsb_filter *f;

	if (fsb_options_atime(from->options) != FSB_STRICTATIME) {
		*ret = next;
		return 0;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for strictatime");
	}
	/* It does nothing by name, so handles may stay. */
	fsb_filter_init(f, &ops, next, FSB_CAP_SEE_OPENS | (next->ops->caps & FSB_CAP_EXPORT), 0);
	*ret = &f->b;
	return 0;
}

const struct fsb_kind fsb_strictatime_kind = {.name = "strictatime",
	.summary = "every read is seen and moves the access time (option strictatime)",
	.wrap = wrap};
