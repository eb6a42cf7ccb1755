// SPDX-License-Identifier: Apache-2.0
// Patterns over the paths of a mount.
#include "fs/glob.h"

#include <errno.h>
#include <string.h>

enum kind { BYTE, ONE, SET, STAR, DEEP, REST };

/* Reads the set that begins behind @text[*at - 1] == '['. */
static int read_set(struct fsb_glob *g, const char *text, size_t n, size_t *at, struct msb_err *e)
{
	size_t i = *at, begin;
	bool negated = i < n && text[i] == '!';

	i += negated;
	begin = i;
	/* A ] that comes first is a byte like others. */
	while (i < n && (text[i] != ']' || i == begin)) {
		if (text[i] == '/')
			return msb_err_set(e, EINVAL, "pattern `%.*s`: / in a set", (int)n, text);
		i++;
	}
	if (i >= n)
		return msb_err_set(e, EINVAL, "pattern `%.*s`: [ without its ]", (int)n, text);
	g->token[g->tokens].kind = SET;
	g->token[g->tokens].c = (uint8_t)begin;
	g->token[g->tokens].end = (uint8_t)i;
	g->token[g->tokens++].negated = negated;
	*at = i + 1;
	return 0;
}

static void add(struct fsb_glob *g, enum kind kind, char c)
{
	g->token[g->tokens].kind = (uint8_t)kind;
	g->token[g->tokens++].c = (uint8_t)c;
}

/* Stars at @text[*at - 1]. */
static int read_stars(struct fsb_glob *g, const char *text, size_t n, size_t *at, struct msb_err *e)
{
	size_t from = *at - 1, to = *at;

	while (to < n && text[to] == '*')
		to++;
	*at = to;
	if (to - from == 1) {
		add(g, STAR, 0);
		return 0;
	}
	if (to - from > 2 || (from && text[from - 1] != '/') || (to < n && text[to] != '/'))
		return msb_err_set(e, EINVAL,
			"pattern `%.*s`: ** stands for whole components, so nothing but / goes beside it",
			(int)n, text);
	add(g, to < n ? DEEP : REST, 0);
	*at += to < n; /* its slash */
	return 0;
}

int fsb_glob_compile(const char *text, size_t n, struct fsb_glob *ret, struct msb_err *e)
{
	int r = 0;

	if (n > FSB_MAX_GLOB_BYTES)
		return msb_err_set(e, E2BIG, "a pattern has at most %d bytes", FSB_MAX_GLOB_BYTES);
	if (n == 0 || text[n - 1] == '/')
		return msb_err_set(e, EINVAL,
			n ? "pattern `%.*s` ends in /: without it, it matches the directory and all below"
			  : "a pattern is empty%.*s",
			(int)n, text);
	memset(ret, 0, sizeof(*ret));
	memcpy(ret->text, text, n);
	if (text[0] != '/') {
		add(ret, BYTE, '/');
		add(ret, DEEP, 0);
	}
	for (size_t i = 0; r == 0 && i < n;) {
		char c = text[i++];

		if (c == '/' && text[i] == '/')
			r = msb_err_set(
				e, EINVAL, "pattern `%.*s`: // is in no path", (int)n, text);
		else if (c == '*')
			r = read_stars(ret, text, n, &i, e);
		else if (c == '[')
			r = read_set(ret, text, n, &i, e);
		else if (c == '\\' && i == n)
			r = msb_err_set(
				e, EINVAL, "pattern `%.*s` ends in a backslash", (int)n, text);
		else
			add(ret, c == '?' ? ONE : BYTE, c == '\\' ? text[i++] : c);
	}
	return r;
}

static bool in_set(const struct fsb_glob *g, unsigned int t, uint8_t c)
{
	const uint8_t *p = (const uint8_t *)g->text + g->token[t].c;
	const uint8_t *end = (const uint8_t *)g->text + g->token[t].end;
	bool hit = false;

	if (c == '/')
		return false;
	for (; p < end && !hit; p++) {
		if (p + 2 < end && p[1] == '-') {
			hit = c >= p[0] && c <= p[2];
			p += 2;
		} else {
			hit = *p == c;
		}
	}
	return hit != g->token[t].negated;
}

/* Enters state @t, and what may be skipped to from there. */
static void enter(const struct fsb_glob *g, uint64_t *live, unsigned int t)
{
	for (;; t++) {
		live[t / 64] |= UINT64_C(1) << t % 64;
		if (t == g->tokens || (g->token[t].kind != STAR && g->token[t].kind != DEEP))
			return;
	}
}

void fsb_glob_start(const struct fsb_glob *g, struct fsb_glob_state *s)
{
	memset(s, 0, sizeof(*s));
	enter(g, s->live, 0);
}

static bool is_live(const struct fsb_glob_state *s, unsigned int t)
{
	return s->live[t / 64] >> t % 64 & 1;
}

/* What state @t becomes by byte @c. */
static void advance(const struct fsb_glob *g, uint64_t *next, unsigned int t, uint8_t c)
{
	switch (g->token[t].kind) {
	case BYTE:
		if (c == g->token[t].c)
			enter(g, next, t + 1);
		break;
	case ONE:
		if (c != '/')
			enter(g, next, t + 1);
		break;
	case SET:
		if (in_set(g, t, c))
			enter(g, next, t + 1);
		break;
	case STAR:
		if (c != '/')
			enter(g, next, t);
		break;
	case DEEP: /* it goes on within a component, and ends behind one */
		next[t / 64] |= UINT64_C(1) << t % 64;
		if (c == '/')
			enter(g, next, t + 1);
		break;
	default: /* REST */ next[t / 64] |= UINT64_C(1) << t % 64; enter(g, next, t + 1);
	}
}

void fsb_glob_step(const struct fsb_glob *g, struct fsb_glob_state *s, const char *p, size_t n)
{
	const unsigned int words = g->tokens / 64 + 1;

	for (; n && !s->matched; p++, n--) {
		uint64_t next[FSB_GLOB_WORDS] = {0}, any = 0;

		if (*p == '/' && is_live(s, g->tokens)) {
			s->matched = true;
			return;
		}
		for (unsigned int w = 0; w < words; w++)
			for (uint64_t bits = s->live[w]; bits; bits &= bits - 1) {
				unsigned int t = w * 64 + (unsigned int)__builtin_ctzll(bits);

				if (t < g->tokens)
					advance(g, next, t, (uint8_t)*p);
			}
		for (unsigned int w = 0; w < words; w++)
			any |= s->live[w] = next[w];
		if (!any)
			return;
	}
}

bool fsb_glob_same(const struct fsb_glob_state *a, const struct fsb_glob_state *b)
{
	return a->matched || b->matched ? a->matched == b->matched
					: !memcmp(a->live, b->live, sizeof(a->live));
}

bool fsb_glob_match(const struct fsb_glob *g, const char *path, size_t n)
{
	struct fsb_glob_state s;

	fsb_glob_start(g, &s);
	fsb_glob_step(g, &s, path, n);
	return n > 1 && (s.matched || is_live(&s, g->tokens));
}
