// SPDX-License-Identifier: Apache-2.0
// Who asks: JSON of credential files, helpers, token servers and errors. The only user of jansson.
#include "fs/image/registry/creds.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "fs/image/registry/registry.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

#define TOKEN_SECONDS	  60 /* where the server does not say: distribution's token.md */
#define MAX_TOKEN_SECONDS 86400

static void json_done(json_t **j)
{
	json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_done)

static void wipe_free(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
}

int reg_creds_init(void)
{
	size_t seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -EIO;
	json_object_seed(seed | 1);
	return 0;
}

void reg_cred_done(struct reg_cred *c)
{
	if (!c)
		return;
	wipe_free(&c->secret);
	explicit_bzero(c, sizeof(*c));
}

int reg_cred_set(
	struct reg_cred *c, enum reg_cred_kind kind, const char *user, const char *secret, size_t n)
{
	char *copy;

	if (n > REG_MAX_SECRET_BYTES || strlen(user) >= sizeof(c->user))
		return -E2BIG;
	if (memchr(secret, '\0', n) || memchr(secret, '\n', n) || memchr(secret, '\r', n))
		return -EBADMSG; /* it would end a header */
	copy = strndup(secret, n);
	if (!copy)
		return -ENOMEM;
	reg_cred_done(c);
	c->kind = kind;
	c->secret = copy;
	(void)snprintf(c->user, sizeof(c->user), "%s", user);
	return 0;
}

/* Depth is bounded by jansson itself (JSON_PARSER_MAX_DEPTH). */
static json_t *load(const char *json, size_t n)
{
	json_t *j = json_loadb(json, n, 0, NULL);

	if (j && !json_is_object(j)) {
		json_decref(j);
		j = NULL;
	}
	return j;
}

/* `user:password` in base64. */
static int from_auth(const char *text, size_t n, struct reg_cred *c)
{
	_cleanup_free_ unsigned char *raw = NULL;
	size_t pad = 0, len;
	char user[256];
	char *colon;
	int r;

	if (n == 0)
		return 0;
	if (n % 4 || n > 2 * REG_MAX_SECRET_BYTES)
		return -EBADMSG;
	raw = malloc(n + 1);
	if (!raw)
		return -ENOMEM;
	r = EVP_DecodeBlock(raw, (const unsigned char *)text, (int)n);
	while (pad < 2 && text[n - 1 - pad] == '=')
		pad++;
	if (r < (int)pad)
		return -EBADMSG;
	len = (size_t)r - pad;
	raw[len] = '\0';
	while (len && raw[len - 1] == '\0') /* as docker strips them */
		len--;
	colon = memchr(raw, ':', len);
	r = colon ? 0 : -EBADMSG;
	if (r == 0 && (size_t)(colon - (char *)raw) >= sizeof(user))
		r = -E2BIG;
	if (r == 0) {
		*colon = '\0';
		(void)snprintf(user, sizeof(user), "%s", (char *)raw);
		r = reg_cred_set(c, REG_CRED_PASSWORD, user, colon + 1,
			len - (size_t)(colon + 1 - (char *)raw));
	}
	explicit_bzero(raw, n + 1);
	return r;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s && *s ? s : NULL;
}

/* An entry of `auths`. */
static int from_entry(const json_t *entry, struct reg_cred *c)
{
	const char *identity = text_of(entry, "identitytoken");
	const char *bearer = text_of(entry, "registrytoken"), *auth = text_of(entry, "auth");
	const char *user = text_of(entry, "username"), *password = text_of(entry, "password");

	if (bearer)
		return reg_cred_set(c, REG_CRED_BEARER, "", bearer, strlen(bearer));
	if (identity)
		return reg_cred_set(
			c, REG_CRED_IDENTITY, user ? user : "", identity, strlen(identity));
	if (auth)
		return from_auth(auth, strlen(auth), c);
	return user && password
		       ? reg_cred_set(c, REG_CRED_PASSWORD, user, password, strlen(password))
		       : 0;
}

/* A key as a bare HOST[/REPO]: `https://HOST/v1/` is one that docker writes. */
static void bare_key(const char *key, char *out, size_t cap)
{
	const char *scheme = strstr(key, "://");
	size_t n;

	(void)snprintf(out, cap, "%s", scheme ? scheme + 3 : key);
	for (n = strlen(out); n && out[n - 1] == '/';)
		out[--n] = '\0';
	if (n > 3 && (!strcmp(out + n - 3, "/v1") || !strcmp(out + n - 3, "/v2")))
		out[n - 3] = '\0';
}

static const json_t *find(const json_t *table, const char *name)
{
	const json_t *v = json_object_get(table, name);
	const char *key;
	json_t *each;
	char bare[1024];

	if (v)
		return v;
	json_object_foreach((json_t *)(uintptr_t)table, key, each)
	{
		bare_key(key, bare, sizeof(bare));
		if (!strcmp(bare, name))
			return each;
	}
	return NULL;
}

/* Of HOST/REPO, each parent of it, and HOST: the first that @table has. */
static const json_t *longest(const json_t *table, const char *host, const char *repo)
{
	char name[1024];
	const json_t *v;
	char *slash;

	if (snprintf(name, sizeof(name), "%s/%s", host, repo) >= (int)sizeof(name))
		return NULL;
	for (;;) {
		v = find(table, name);
		slash = v ? NULL : strrchr(name, '/');
		if (!slash)
			return v;
		*slash = '\0';
	}
}

static bool helper_valid(const char *name, size_t cap)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");

	return n && n < cap && !name[n] && name[0] != '.' && name[0] != '-';
}

int reg_authfile_parse(const char *json, size_t n, const char *host, const char *key,
	const char *repo, struct reg_authfile *ret, struct msb_err *e)
{
	_cleanup_json_ json_t *doc = load(json, n);
	const json_t *v, *auths, *helpers;
	struct reg_authfile got = {0};
	const char *helper;
	char bare[1024];
	int r;

	if (!doc)
		return msb_err_set(e, EBADMSG, "it is not JSON as docker writes it");
	bare_key(key, bare, sizeof(bare));
	auths = json_object_get(doc, "auths");
	v = longest(auths, host, repo);
	if (!v)
		v = find(auths, bare);
	r = v ? from_entry(v, &got.cred) : 0;
	if (r < 0)
		return msb_err_set(e, -r, "what it has for %s is damaged, or too long", host);
	helpers = json_object_get(doc, "credHelpers");
	v = longest(helpers, host, repo);
	if (!v)
		v = find(helpers, bare);
	helper = v ? json_string_value(v) : text_of(doc, "credsStore");
	if (helper && *helper) {
		if (!helper_valid(helper, sizeof(got.helper))) {
			reg_cred_done(&got.cred);
			return msb_err_set(e, EBADMSG, "the name of its credential helper is none");
		}
		(void)snprintf(got.helper, sizeof(got.helper), "%s", helper);
	}
	*ret = got;
	return 0;
}

int reg_helper_parse(const char *json, size_t n, struct reg_cred *ret)
{
	_cleanup_json_ json_t *doc = load(json, n);
	const char *user = doc ? json_string_value(json_object_get(doc, "Username")) : NULL;
	const char *secret = doc ? json_string_value(json_object_get(doc, "Secret")) : NULL;

	if (!user || !secret)
		return -EBADMSG;
	if (!strcmp(user, "<token>"))
		return reg_cred_set(ret, REG_CRED_IDENTITY, "", secret, strlen(secret));
	return reg_cred_set(ret, REG_CRED_PASSWORD, user, secret, strlen(secret));
}

int reg_token_parse(const char *json, size_t n, char **ret_secret, uint64_t *ret_expires_sec)
{
	_cleanup_json_ json_t *doc = load(json, n);
	const char *token = doc ? text_of(doc, "token") : NULL;
	double expires;

	if (doc && !token)
		token = text_of(doc, "access_token");
	if (!token)
		return -EBADMSG;
	if (strlen(token) > REG_MAX_SECRET_BYTES)
		return -E2BIG;
	for (const char *p = token; *p; p++) /* RFC 6750: what may stand in the header */
		if (*p <= ' ' || *p > '~')
			return -EBADMSG;
	expires = json_number_value(json_object_get(doc, "expires_in"));
	if (!(expires >= 1))
		expires = TOKEN_SECONDS;
	if (expires > MAX_TOKEN_SECONDS)
		expires = MAX_TOKEN_SECONDS;
	*ret_secret = strdup(token);
	if (!*ret_secret)
		return -ENOMEM;
	*ret_expires_sec = (uint64_t)expires;
	return 0;
}

void reg_error_parse(const char *json, size_t n, char *out, size_t cap)
{
	_cleanup_json_ json_t *doc = load(json, n);
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	const json_t *first = json_array_get(json_object_get(doc, "errors"), 0);
	const char *code = text_of(first, "code"), *message = text_of(first, "message");

	/* Token servers say {"details": ...} or OAuth's {"error": ..., "error_description": ...}.
	 */
	if (!code && !message) {
		code = text_of(doc, "error");
		message = text_of(doc, "error_description");
	}
	if (!message)
		message = text_of(doc, "details");
	if (code)
		msb_str_add_printable(&s, code, strlen(code));
	if (code && message)
		msb_str_adds(&s, ": ");
	if (message)
		msb_str_add_printable(&s, message, strlen(message));
	(void)snprintf(out, cap, "%s", s.buf ? s.buf : "");
}
