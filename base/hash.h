/* SPDX-License-Identifier: Apache-2.0 */
/* Where a number goes in a table. */
#ifndef MSB_BASE_HASH_H
#define MSB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define MSB_NEAR 8

/*
 * Of numbers that are handed out one after the other, as inode numbers are, and asked for so: each
 * MSB_NEAR of them are neighbours, which share cache lines and pages. Those go anywhere, and their
 * order is another one each time, so that no step between numbers makes them meet.
 */
static inline size_t msb_near_hash(uint64_t n)
{
	const uint64_t p = n / MSB_NEAR * 0x9e3779b97f4a7c15ULL;

	return (size_t)(p >> 32) * MSB_NEAR + (n ^ p >> 61) % MSB_NEAR;
}

#endif
