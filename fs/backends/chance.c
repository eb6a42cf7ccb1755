// SPDX-License-Identifier: Apache-2.0
// Which fault meets a call.
#include "fs/backends/chance.h"
#include "base/log.h"
#include "base/str.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct chance {
	struct fsb_filter f; /* first */
	uint64_t seed;
	_Atomic uint64_t drawn; /* numbers so far */
	unsigned int n;
	struct fsb_fault list[FSB_MAX_FAULTS];
};

static uint64_t pick_seed(void)
{
	const char *said = getenv("MSB_FAULT_SEED");
	uint64_t v = 0;

	if (!said || msb_parse_u64(said, 0, UINT64_MAX, &v) < 0)
		(void)!getrandom(&v, sizeof(v), GRND_NONBLOCK); /* any value does */
	return v;
}

int chance_wrap(const struct fsb_filter_ops *ops, uint32_t caps, const struct fsb_fault *list,
	unsigned int n, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	struct chance *c;

	if (n == 0) {
		*ret = next;
		return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for %s=", ops->name);
	}
	c->seed = pick_seed();
	c->n = n;
	memcpy(c->list, list, n * sizeof(*list));
	log_info("%s=: seed %llu", ops->name, (unsigned long long)c->seed);
	fsb_filter_init(&c->f, ops, next, caps, 0);
	*ret = &c->f.b;
	return 0;
}

/* The @n-th number of a seed: splitmix64, so that threads need only count. */
static uint64_t number(uint64_t seed, uint64_t n)
{
	uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

const struct fsb_fault *chance_draw(struct fsb_filter *filter, const struct fsb_call *call)
{
	struct chance *c = (void *)filter;

	for (unsigned int i = 0; i < c->n; i++) {
		const struct fsb_fault *f = &c->list[i];

		if (!(f->ops & FSB_OP_BIT(call->op)))
			continue;
		if (number(c->seed, atomic_fetch_add(&c->drawn, 1)) % 1000000 < f->per_million)
			return f;
	}
	return NULL;
}

void chance_stop(struct fsb_filter *f)
{
	free(f);
}
