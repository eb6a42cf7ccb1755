/* SPDX-License-Identifier: Apache-2.0 */
/* What error= and delay= share: a wrapper whose calls meet some of a mount's faults, by a seeded
 * generator. */
#ifndef MSB_FS_BACKENDS_CHANCE_H
#define MSB_FS_BACKENDS_CHANCE_H

#include "fs/filter.h"
#include "fs/options.h"

/**
 * chance_wrap() - A wrapper around @next, as struct fsb_kind's wrap makes it
 * @list: the @n faults of the mount with their operations, copied; none: @ret is @next
 *
 * The seed is $MSB_FAULT_SEED, or random; logged, since the same seed and calls have the same
 * faults.
 */
int chance_wrap(const struct fsb_filter_ops *ops, uint32_t caps, const struct fsb_fault *list,
	unsigned int n, struct fsb *next, struct fsb **ret, struct msb_err *e);

/* The first fault that meets this call, or NULL. */
const struct fsb_fault *chance_draw(struct fsb_filter *f, const struct fsb_call *c);

void chance_stop(struct fsb_filter *f);

#endif
