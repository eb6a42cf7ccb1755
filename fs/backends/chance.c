// SPDX-License-Identifier: Apache-2.0
// Which fault meets a call.
#include "fs/backends/chance.h"
#include "base/log.h"
#include "base/str.h"

#include <stdlib.h>
#include <sys/random.h>

void chance_init(struct chance *c, const struct fsb_fault *fault, unsigned int n, const char *what)
{
	const char *said = getenv("MSB_FAULT_SEED");

	*c = (struct chance){.fault = fault, .n = n};
	if (!said || msb_parse_u64(said, 0, UINT64_MAX, &c->seed) < 0)
		(void)!getrandom(&c->seed, sizeof(c->seed), GRND_NONBLOCK); /* any value does */
	log_info("%s: seed %llu", what, (unsigned long long)c->seed);
}

/* The @n-th number of a seed: splitmix64, so that threads need only count. */
static uint64_t number(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

const struct fsb_fault *chance_draw(struct chance *c, enum fsb_op op)
{
	for (unsigned int i = 0; i < c->n; i++) {
		const struct fsb_fault *f = &c->fault[i];

		if (!(f->ops & FSB_OP_BIT(op)))
			continue;
		if (number(c->seed, atomic_fetch_add(&c->drawn, 1)) % 1000000 < f->per_million)
			return f;
	}
	return NULL;
}
