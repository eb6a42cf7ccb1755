/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: passwords and tokens out of docker's and containers' files. Bytes in. */
#ifndef MSB_FS_IMAGE_REGISTRY_CREDS_H
#define MSB_FS_IMAGE_REGISTRY_CREDS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum reg_cred_kind {
	REG_CRED_NONE,
	REG_CRED_PASSWORD,
	REG_CRED_IDENTITY, /* exchanged at the token server (OAuth 2, refresh_token) */
	REG_CRED_BEARER,   /* shown as it is */
};

struct reg_cred {
	enum reg_cred_kind kind;
	char user[256];
	char *secret; /* owned; wiped by reg_cred_done() */
};

int reg_creds_init(void); /* what the JSON library would read from files later; 0 or -EIO */

void reg_cred_done(struct reg_cred *c); /* of NULL: nothing; @c is REG_CRED_NONE then */
int reg_cred_set(struct reg_cred *c, enum reg_cred_kind kind, const char *user, const char *secret,
	size_t n); /* -E2BIG past a limit, -ENOMEM */

/* What a file says of a registry. */
struct reg_authfile {
	struct reg_cred cred; /* of `auths` */
	char helper[64];      /* docker-credential-HELPER goes before that; "" none */
};

/**
 * reg_authfile_parse() - Find HOST/REPO in docker's config.json or containers' auth.json
 * @json: @n bytes, a user's; @host: as in a reference; @key: what docker calls it (may be the same)
 * The longest of HOST/REPO, its parents, and HOST that is there counts; keys may be written as URLs
 * (https://HOST/v1/). Helpers: credHelpers of the host, else credsStore.
 * Return: 0, with @ret empty where it says nothing; -EBADMSG not such a file; -E2BIG; -ENOMEM. @ret
 * is the caller's to reg_cred_done(). No message ever quotes the file.
 * Source: docker-config-json(5) and containers-auth.json(5).
 */
int reg_authfile_parse(const char *json, size_t n, const char *host, const char *key,
	const char *repo, struct reg_authfile *ret, struct msb_err *e);

/* What `docker-credential-X get` printed. -EBADMSG; -E2BIG; -ENOMEM. */
int reg_helper_parse(const char *json, size_t n, struct reg_cred *ret);

/* What a token server answered. @ret_secret: allocated. Expiry in seconds. -EBADMSG; -E2BIG. */
int reg_token_parse(const char *json, size_t n, char **ret_secret, uint64_t *ret_expires_sec);

/* The first error's code and message of a registry's body, printable, into @out; "" without. */
void reg_error_parse(const char *json, size_t n, char *out, size_t cap);

#endif
