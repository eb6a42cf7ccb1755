// SPDX-License-Identifier: Apache-2.0
// WWW-Authenticate: a parser of what a server sends.
#include "fs/image/registry/challenge.h"
#include "base/cleanup.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct in {
	const char *p, *end;
};

/* RFC 9110 5.6.2. */
static bool is_token(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

static void skip_space(struct in *in)
{
	while (in->p < in->end && (*in->p == ' ' || *in->p == '\t'))
		in->p++;
}

static size_t token(const struct in *in)
{
	size_t n = 0;

	while (in->p + n < in->end && is_token(in->p[n]))
		n++;
	return n;
}

/* After a token: does "=value" follow, so that it names a parameter? `abc==` is a token68. */
static bool names_param(struct in in, size_t n)
{
	in.p += n;
	skip_space(&in);
	if (in.p == in.end || *in.p++ != '=')
		return false;
	skip_space(&in);
	return in.p < in.end && (*in.p == '"' || is_token(*in.p));
}

/* A token or quoted string into @out, cut off nothing. */
static int value(struct in *in, char *out, size_t cap)
{
	size_t len = 0;
	bool quoted = in->p < in->end && *in->p == '"';

	in->p += quoted;
	for (; in->p < in->end && (quoted ? *in->p != '"' : is_token(*in->p)); in->p++) {
		if (quoted && *in->p == '\\' && ++in->p == in->end)
			return -EBADMSG;
		if ((unsigned char)*in->p < 0x20 || *in->p == 0x7f)
			return -EBADMSG;
		if (len + 1 >= cap)
			return -E2BIG;
		out[len++] = *in->p;
	}
	out[len] = '\0';
	if (quoted && in->p++ == in->end)
		return -EBADMSG;
	return 0;
}

static int param(struct in *in, struct reg_challenge *c)
{
	const struct {
		const char *name;
		char *out;
		size_t cap;
	} known[] = {
		{"realm", c->realm, sizeof(c->realm)},
		{"service", c->service, sizeof(c->service)},
		{"scope", c->scope, sizeof(c->scope)},
		{"error", c->error, sizeof(c->error)},
	};
	char ignored[REG_MAX_VALUE_BYTES], *out = ignored;
	size_t n = token(in), cap = sizeof(ignored);

	for (size_t i = 0; c->scheme == REG_AUTH_BEARER && i < ARRAY_LEN(known); i++)
		if (strlen(known[i].name) == n && !strncasecmp(known[i].name, in->p, n) &&
			!*known[i].out) {
			out = known[i].out;
			cap = known[i].cap;
		}
	in->p += n;
	skip_space(in);
	in->p++; /* = */
	skip_space(in);
	return value(in, out, cap);
}

static enum reg_auth scheme(const char *p, size_t n)
{
	if (n == 5 && !strncasecmp(p, "basic", n))
		return REG_AUTH_BASIC;
	return n == 6 && !strncasecmp(p, "bearer", n) ? REG_AUTH_BEARER : REG_AUTH_OTHER;
}

static void skip_token68(struct in *in)
{
	while (in->p < in->end && (is_token(*in->p) || *in->p == '/'))
		in->p++;
	while (in->p < in->end && *in->p == '=')
		in->p++;
}

/* From its scheme to the comma before the next one. */
static int challenge(struct in *in, struct reg_challenge *c)
{
	size_t n = token(in), params = 0;
	int r;

	memset(c, 0, sizeof(*c));
	if (n == 0)
		return -EBADMSG;
	c->scheme = scheme(in->p, n);
	in->p += n;
	if (in->p < in->end && *in->p != ' ' && *in->p != '\t' && *in->p != ',')
		return -EBADMSG;
	skip_space(in);
	if (in->p < in->end && *in->p != ',' && !names_param(*in, token(in)))
		skip_token68(in);
	for (;;) {
		struct in back;

		skip_space(in);
		if (in->p == in->end)
			return 0;
		if (names_param(*in, token(in))) {
			if (++params > REG_MAX_PARAMS)
				return -E2BIG;
			r = param(in, c);
			if (r < 0)
				return r;
			skip_space(in);
		}
		if (in->p == in->end)
			return 0;
		if (*in->p != ',')
			return -EBADMSG;
		back = *in;
		while (in->p < in->end && (*in->p == ',' || *in->p == ' ' || *in->p == '\t'))
			in->p++;
		if (in->p < in->end && !names_param(*in, token(in))) {
			*in = back;
			return 0;
		}
	}
}

int reg_challenge_parse(const char *text, size_t n, struct reg_challenge *out)
{
	struct in in = {text, text + n};
	int count = 0, r;

	for (;;) {
		while (in.p < in.end && (*in.p == ',' || *in.p == ' ' || *in.p == '\t'))
			in.p++;
		if (in.p == in.end)
			return count;
		if (count == REG_MAX_CHALLENGES)
			return -E2BIG;
		r = challenge(&in, &out[count]);
		if (r < 0)
			return r;
		count++;
	}
}
