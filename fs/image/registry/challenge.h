/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate: how a server wants to be shown who asks. Bytes in, a table out. */
#ifndef MSB_FS_IMAGE_REGISTRY_CHALLENGE_H
#define MSB_FS_IMAGE_REGISTRY_CHALLENGE_H

#include "fs/image/registry/registry.h"

#include <stddef.h>

enum reg_auth { REG_AUTH_NONE, REG_AUTH_BASIC, REG_AUTH_BEARER, REG_AUTH_OTHER };

/* Every text is "" where the server did not say it. Only Bearer has more than a scheme. */
struct reg_challenge {
	enum reg_auth scheme;
	char realm[2048]; /* a URL, not checked */
	char service[512];
	char scope[2048];
	char error[64]; /* invalid_token, insufficient_scope */
};

/**
 * reg_challenge_parse() - Read the value of a WWW-Authenticate header
 * @text: @n bytes, hostile; need not end in a NUL
 * @out:  REG_MAX_CHALLENGES of them
 * Where a parameter comes twice the first one counts, unknown ones are passed over.
 * Return: how many there are; -EBADMSG not in the syntax, or with a control character in a value;
 * -E2BIG more than REG_MAX_CHALLENGES, REG_MAX_PARAMS, REG_MAX_VALUE_BYTES or a field above.
 * Source: RFC 9110, section 11.6.1; RFC 6750, section 3; distribution's token authentication.
 */
int reg_challenge_parse(const char *text, size_t n, struct reg_challenge *out);

#endif
