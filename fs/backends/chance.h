/* SPDX-License-Identifier: Apache-2.0 */
/* What error= and delay= share: which of a mount's faults meets a call, by a seeded generator. */
#ifndef MSB_FS_BACKENDS_CHANCE_H
#define MSB_FS_BACKENDS_CHANCE_H

#include "fs/options.h"

#include <stdatomic.h>

struct chance {
	const struct fsb_fault *fault; /* @n of them, with their operations */
	unsigned int n;
	uint64_t seed;
	_Atomic uint64_t drawn; /* numbers so far */
};

/* The seed is $MSB_FAULT_SEED, or random; logged, since the same seed and calls have the same
 * faults. @what: for the log. */
void chance_init(struct chance *c, const struct fsb_fault *fault, unsigned int n, const char *what);

/* The first fault that meets this call of @op, or NULL. */
const struct fsb_fault *chance_draw(struct chance *c, enum fsb_op op);

#endif
