/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Patterns over the paths of a mount. Pure functions over bytes.
 *
 *	*	any bytes but /			?	one byte but /
 *	[a-z_]	one byte of a set, [!...] of its complement, never /
 *	**	any number of whole components, none too: between slashes, or first, or last
 *	\x	x itself
 *
 * A pattern that begins with / is held against the whole path, from the mount's root; any other may
 * begin at any component. A pattern that matches a directory matches all that is below it. Bytes
 * are compared as they are: no case, no characters.
 *
 * A pattern is an automaton of one state a token. All its states advance together, so that the cost
 * is the path's length times the states alive, whatever was written.
 */
#ifndef MSB_FS_GLOB_H
#define MSB_FS_GLOB_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FSB_MAX_GLOB_BYTES 255
#define FSB_GLOB_MAX_TOKENS                                                                        \
	(FSB_MAX_GLOB_BYTES + 2) /* a pattern that may begin anywhere has two more */
#define FSB_GLOB_WORDS ((FSB_GLOB_MAX_TOKENS + 64) / 64)

struct fsb_glob {
	uint16_t tokens;
	struct {
		uint8_t kind;
		uint8_t c;	 /* the byte; of a set: where it begins in @text */
		uint8_t end;	 /* of a set: where it ends */
		uint8_t negated; /* of a set */
	} token[FSB_GLOB_MAX_TOKENS];
	char text[FSB_MAX_GLOB_BYTES];
};

/* How far a pattern has come on a path. */
struct fsb_glob_state {
	bool matched; /* the path, or a directory above: stays true */
	uint64_t live[FSB_GLOB_WORDS];
};

/**
 * fsb_glob_compile() - Check and read a pattern
 * Return: 0; -E2BIG more than FSB_MAX_GLOB_BYTES; -EINVAL with a sentence.
 */
int fsb_glob_compile(const char *text, size_t n, struct fsb_glob *ret, struct msb_err *e);

/* Before the first byte of a path; by the next @n bytes of it. A path begins with / and has no
 * empty components; the root is `/` and matches nothing. */
void fsb_glob_start(const struct fsb_glob *g, struct fsb_glob_state *s);
void fsb_glob_step(const struct fsb_glob *g, struct fsb_glob_state *s, const char *p, size_t n);
/* Whether all that may be below two paths, each given with a / at its end, has the same answers. */
bool fsb_glob_same(const struct fsb_glob_state *a, const struct fsb_glob_state *b);

/* Both, over a whole path. */
bool fsb_glob_match(const struct fsb_glob *g, const char *path, size_t n);

#endif
