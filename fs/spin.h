/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread that serves requests looks for the next one before it sleeps.
 *
 * Waking up is what a request costs most, so a thread looks on for a while after work: twice as
 * long when that caught a request, half as long when not, down to not at all, so that an idle
 * client costs nothing.
 */
#ifndef MSB_FS_SPIN_H
#define MSB_FS_SPIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SPIN_FIRST_US 10
#define SPIN_MIN_US   2
#define SPIN_MAX_US   50

static inline uint64_t spin_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Next time, after looking for @us did or did not catch a request. */
static inline unsigned int spin_next(unsigned int us, bool caught)
{
	if (caught)
		return us * 2 < SPIN_MAX_US ? us * 2 : SPIN_MAX_US;
	return us / 2 < SPIN_MIN_US ? 0 : us / 2;
}

/* ... and after a sleep since @before_us: looking would have caught one that came soon. */
static inline unsigned int spin_after_sleep(unsigned int us, uint64_t before_us)
{
	return us == 0 && spin_now_us() - before_us < SPIN_MAX_US ? SPIN_FIRST_US : us;
}

#endif
