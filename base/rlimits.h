/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource limits by name: getrlimit(2)'s, in small letters and without RLIMIT_. One list for who
 * takes them from a user and for who sets them.
 */
#ifndef MSB_BASE_RLIMITS_H
#define MSB_BASE_RLIMITS_H

#include <stddef.h>
#include <stdint.h>

/* RLIMIT_..., or -ENOENT. @name need not end at @n. */
int msb_rlimit_find(const char *name, size_t n);
/* A number, or `unlimited`: UINT64_MAX. -EINVAL, -ERANGE. */
int msb_rlimit_number(const char *text, uint64_t *ret);

#endif
