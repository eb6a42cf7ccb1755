/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arguments: words with a NUL after each, and the JSON array of strings that people write and read.
 * Pure functions. The JSON is jansson's to parse; who calls bounds it.
 */
#ifndef MSB_CTL_ARGV_H
#define MSB_CTL_ARGV_H

#include "base/err.h"
#include "base/str.h"

/**
 * ctl_argv_from_json() - Appends a word for each string of the array @p
 * @what: what it is called in @e
 * Return: 0; -EINVAL it is no JSON, no array, or an element is no string (without a NUL in it).
 */
int ctl_argv_from_json(
	const char *what, const char *p, size_t n, struct msb_str *ret, struct msb_err *e);
/* Appends the array, with nothing between its elements but a comma. The words are UTF-8. */
void ctl_argv_to_json(const char *words, size_t bytes, struct msb_str *ret);

#endif
