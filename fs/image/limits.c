// SPDX-License-Identifier: Apache-2.0
// Bounds of what one image may be made of.
#include "fs/image/limits.h"

const struct img_limit_row img_limit_rows[IMG_NLIMITS] = {
#define X(id, name, least, most) {name, least, most},
	IMG_LIMITS(X)
#undef X
};

static uint64_t lower[IMG_NLIMITS]; /* 0: nothing is set */

uint64_t img_limit(enum img_limit k)
{
	return lower[k] ? lower[k] : img_limit_rows[k].most;
}

void img_limit_set(enum img_limit k, uint64_t v)
{
	lower[k] = v < img_limit_rows[k].most ? v : 0;
}
