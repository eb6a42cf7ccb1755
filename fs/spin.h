/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread that serves requests looks for the next one before it sleeps.
 *
 * Waking up is what a request costs most, so a thread looks on after work for twice as long as
 * would have caught the last request, where that is not too long; half as long each time that it
 * was, down to not at all, so that an idle client costs nothing. Where there are not enough CPUs it
 * takes one from who is to send the next request, and then looks in vain however long it does:
 * what comes soon after it stopped has waited for that. So a thread that looked in vain a number of
 * times, or lost its CPU while it looked, sleeps at once for a number of requests, for twice as
 * many each time until it has caught one.
 */
#ifndef MSB_FS_SPIN_H
#define MSB_FS_SPIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_FIRST_US 10
#define SPIN_MIN_US   2
#define SPIN_MAX_US   50
#define SPIN_LOST_US  200  /* between two looks at the clock: somebody else ran, no interrupt */
#define SPIN_MISSES   4	   /* one after the other, that are enough */
#define SPIN_REST     64   /* requests that are slept for then, */
#define SPIN_MAX_REST 4096 /* and at most */

struct spin {
	unsigned int us, rest, misses, next_rest;
};

static inline void spin_rest(struct spin *s)
{
	unsigned int n = s->next_rest ?: SPIN_REST;

	*s = (struct spin){.rest = n, .next_rest = n < SPIN_MAX_REST ? 2 * n : n};
}

static inline uint64_t spin_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Looks whether something is @there; looks at the clock each @tries, which take some microseconds
 * at most. */
static inline bool spin_look(
	struct spin *s, bool (*there)(const void *), const void *arg, unsigned int tries)
{
	uint64_t end = 0, last = 0;

	while (s->us) {
		uint64_t now;

		for (unsigned int i = 0; i < tries; i++) {
			if (there(arg)) {
				if (i || end) /* else it was there before */
					s->misses = s->next_rest = 0;
				return true;
			}
			__builtin_ia32_pause();
		}
		now = spin_now_us(); /* what comes at once is not to wait for a clock */
		if (!end)
			end = now + s->us;
		else if (now - last > SPIN_LOST_US)
			spin_rest(s);
		else if (now >= end)
			break;
		last = now;
	}
	return false;
}

/* After a sleep since @before_us. */
static inline void spin_slept(struct spin *s, uint64_t before_us)
{
	uint64_t enough = s->us + (spin_now_us() - before_us);

	if (s->rest)
		s->rest--;
	else if (s->us && ++s->misses == SPIN_MISSES)
		spin_rest(s);
	else if (enough > SPIN_MAX_US)
		s->us = s->us / 2 < SPIN_MIN_US ? 0 : s->us / 2;
	else
		s->us = enough < SPIN_MAX_US / 2 ? SPIN_FIRST_US + 2 * (unsigned int)enough
						 : SPIN_MAX_US;
}

#endif
