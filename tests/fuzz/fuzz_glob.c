// SPDX-License-Identifier: Apache-2.0
// Patterns against a matcher of a few lines that tries everything.
#include "fs/glob.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int budget; /* the plain one blows up; where it does nothing is compared */

static bool plain_set(const char **g, const char *end, char c, bool *hit)
{
	const char *p = *g;
	bool negated = p < end && *p == '!';

	*hit = false;
	p += negated;
	for (const char *first = p; p == first || *p != ']'; p++) {
		if (p + 2 < end && p[1] == '-' && p[2] != ']') {
			*hit |= (uint8_t)c >= (uint8_t)p[0] && (uint8_t)c <= (uint8_t)p[2];
			p += 2;
		} else {
			*hit |= *p == c;
		}
	}
	*g = p + 1;
	*hit = *hit != negated && c != '/';
	return true;
}

/* Whether @g matches @p or a directory above it. */
static bool plain(const char *g, const char *gend, const char *p, const char *pend)
{
	bool hit;

	if (--budget < 0)
		return false;
	if (g == gend)
		return p == pend || *p == '/';
	if (gend - g >= 2 && g[0] == '*' && g[1] == '*') {
		if (gend - g == 2)
			return p < pend;
		if (plain(g + 3, gend, p, pend))
			return true;
		for (const char *q = p; q < pend; q++)
			if (*q == '/' && plain(g + 3, gend, q + 1, pend))
				return true;
		return false;
	}
	if (*g == '*') {
		for (const char *q = p;; q++) {
			if (plain(g + 1, gend, q, pend))
				return true;
			if (q == pend || *q == '/')
				return false;
		}
	}
	if (p == pend)
		return false;
	if (*g == '?')
		return *p != '/' && plain(g + 1, gend, p + 1, pend);
	if (*g == '[') {
		g++;
		return plain_set(&g, gend, *p, &hit) && hit && plain(g, gend, p + 1, pend);
	}
	g += *g == '\\';
	return *g == *p && plain(g + 1, gend, p + 1, pend);
}

static bool plain_match(const char *g, size_t n, const char *p, size_t bytes)
{
	if (*g == '/')
		return plain(g, g + n, p, p + bytes);
	for (size_t i = 0; i < bytes; i++)
		if (p[i] == '/' && plain(g, g + n, p + i + 1, p + bytes))
			return true;
	return false;
}

/* Input: a pattern, a NUL, a path. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *glob = (const char *)data, *nul = size ? memchr(glob, 0, size) : NULL;
	static struct fsb_glob g;
	size_t n = nul ? (size_t)(nul - glob) : size, bytes;
	bool want, got;

	if (fsb_glob_compile(glob, n, &g, NULL) < 0 || !nul || n + 1 == size)
		return 0;
	bytes = size - n - 1;
	got = fsb_glob_match(&g, nul + 1, bytes);
	/* A path has no empty components. */
	if (nul[1] != '/' || memmem(nul + 1, bytes, "//", 2) || nul[bytes] == '/')
		return 0;
	budget = 100000;
	want = plain_match(glob, n, nul + 1, bytes);
	if (budget >= 0 && want != got)
		abort();
	return 0;
}
