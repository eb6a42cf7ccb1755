// SPDX-License-Identifier: Apache-2.0
// References: the names of images.
#include "fs/image/ref.h"
#include "base/cleanup.h"

#include <ctype.h>
#include <string.h>

#define LIBRARY		 "library/"
#define DIGEST_PREFIX	 "sha256:"
#define LOWER_AND_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"
#define UPPER		 "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

/* Docker's own registry goes by three names. */
static const struct {
	const char *host, *endpoint, *auth_key;
} docker = {IMG_REF_DEFAULT_HOST, "registry-1.docker.io", "https://index.docker.io/v1/"};
static const char docker_alias[] = "index.docker.io";

static int no(struct msb_err *e, const char *text, const char *why)
{
	char shown[128];
	struct msb_str s = MSB_STR_FIXED(shown);

	msb_str_add_printable(&s, text, strlen(text));
	return msb_err_set(e, EINVAL, "`%s` is not a reference to an image: %s", s.buf, why);
}

/* ---- parts */

static bool is_port(const char *p)
{
	size_t n = strspn(p, "0123456789");

	return n > 0 && n <= 5 && !p[n] && atoi(p) > 0 && atoi(p) <= 65535;
}

static bool is_label(const char *p, size_t n)
{
	return n > 0 && n <= 63 && strspn(p, LOWER_AND_DIGITS "-") >= n && p[0] != '-' &&
	       p[n - 1] != '-';
}

/* In lower case already. */
static bool is_host(const char *p)
{
	if (*p == '[') {
		size_t n = strspn(p + 1, "0123456789abcdef:.");

		return n > 1 && n < 46 && p[1 + n] == ']' &&
		       (!p[2 + n] || (p[2 + n] == ':' && is_port(p + 3 + n)));
	}
	for (;;) {
		size_t n = strcspn(p, ".:");

		if (!is_label(p, n))
			return false;
		p += n;
		if (*p != '.')
			return !*p || is_port(p + 1);
		p++;
	}
}

/* Lower-case letters and digits, separated by one '.', one or two '_', or any number of '-'. */
static bool is_component(const char *p, size_t n)
{
	for (size_t i = 0; i < n;) {
		size_t word = strspn(p + i, LOWER_AND_DIGITS), sep;

		if (!word)
			return false;
		i += word;
		if (i >= n)
			return true;
		sep = p[i] == '-' ? strspn(p + i, "-") : p[i] == '_' && p[i + 1] == '_' ? 2 : 1;
		if (!strchr("-_.", p[i]))
			return false;
		i += sep;
	}
	return false;
}

static const char *repo_wrong(const char *p)
{
	if (strpbrk(p, UPPER))
		return "the name of a repository has no upper-case letters";
	for (;;) {
		size_t n = strcspn(p, "/");

		if (!is_component(p, n))
			return "the name of a repository is made of a-z and 0-9, with single '.', '_' "
			       "or '-' between them, and '/' between its parts";
		if (!p[n])
			return NULL;
		p += n + 1;
	}
}

static bool is_tag(const char *p)
{
	size_t n = strspn(p, LOWER_AND_DIGITS UPPER "_.-");

	return n > 0 && n <= IMG_REF_MAX_TAG && !p[n] && *p != '.' && *p != '-';
}

/* ---- the whole */

static bool names_host(const char *text, size_t n)
{
	return (n == strlen(IMG_REF_LOCAL_HOST) && memcmp(text, IMG_REF_LOCAL_HOST, n) == 0) ||
	       strcspn(text, ".:") < n;
}

static int take_digest(const char *text, char *at, struct img_ref *ret, struct msb_err *e)
{
	const char *hex = at + 1 + strlen(DIGEST_PREFIX);
	uint8_t raw[32];

	if (strncmp(at + 1, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0 || strlen(hex) != 64 ||
		strspn(hex, "0123456789abcdef") != 64 || msb_unhex(hex, raw, sizeof(raw)) < 0)
		return no(e, text, "after '@' comes `sha256:` and 64 hex digits");
	memcpy(ret->digest, hex, sizeof(ret->digest));
	*at = 0;
	return 0;
}

static int take_host(const char *text, const char **rest, const char *default_host,
	struct img_ref *ret, struct msb_err *e)
{
	const char *slash = strchr(*rest, '/');
	size_t n = slash ? (size_t)(slash - *rest) : 0;

	ret->bare = !slash || !names_host(*rest, n);
	if (ret->bare) {
		(void)snprintf(ret->host, sizeof(ret->host), "%s", default_host);
		return 0;
	}
	if (n > IMG_REF_MAX_NAME)
		return no(e, text, "its name is longer than 255 bytes");
	for (size_t i = 0; i < n; i++)
		ret->host[i] = (char)tolower((unsigned char)(*rest)[i]);
	ret->host[n] = 0;
	*rest = slash + 1;
	if (!is_host(ret->host))
		return no(e, text, "what is before the first '/' is no host, nor HOST:PORT");
	if (strcmp(ret->host, docker_alias) == 0)
		(void)snprintf(ret->host, sizeof(ret->host), "%s", docker.host);
	return 0;
}

int img_ref_parse(
	const char *text, const char *default_host, struct img_ref *ret, struct msb_err *e)
{
	char buf[IMG_REF_MAX + 80];
	const char *rest = buf, *why, *library = "";
	char *at, *colon;
	int r;

	*ret = (struct img_ref){0};
	if (!*text)
		return no(e, text, "it is empty");
	if (strlen(text) >= sizeof(buf))
		return no(e, text, "it is too long");
	(void)snprintf(buf, sizeof(buf), "%s", text);
	at = strchr(buf, '@');
	r = at ? take_digest(text, at, ret, e) : 0;
	if (r < 0)
		return r;
	colon = strrchr(buf, ':');
	if (colon && !strchr(colon, '/')) {
		if (!is_tag(colon + 1))
			return no(e, text,
				"a tag is up to 128 letters, digits, '_', '.' and '-', and begins with "
				"none of the last two");
		*colon = 0;
	}
	if (!*ret->digest) /* both: the digest says it all */
		(void)snprintf(
			ret->tag, sizeof(ret->tag), "%s", colon && !*colon ? colon + 1 : "latest");
	r = take_host(text, &rest, default_host, ret, e);
	if (r < 0)
		return r;
	why = repo_wrong(rest);
	if (why)
		return no(e, text, why);
	if (strcmp(ret->host, docker.host) == 0 && !strchr(rest, '/'))
		library = LIBRARY;
	if (strlen(ret->host) + 1 + strlen(library) + strlen(rest) > IMG_REF_MAX_NAME)
		return no(e, text, "its name is longer than 255 bytes");
	(void)snprintf(ret->repo, sizeof(ret->repo), "%s%s", library, rest);
	return 0;
}

const char *img_ref_version(const struct img_ref *r, char buf[72])
{
	if (!*r->digest)
		return r->tag;
	(void)snprintf(buf, 72, DIGEST_PREFIX "%s", r->digest);
	return buf;
}

void img_ref_print(const struct img_ref *r, struct msb_str *s)
{
	char buf[72];

	msb_str_addf(
		s, "%s/%s%c%s", r->host, r->repo, *r->digest ? '@' : ':', img_ref_version(r, buf));
}

const char *img_ref_endpoint(const char *host)
{
	return strcmp(host, docker.host) == 0 ? docker.endpoint : host;
}

const char *img_ref_auth_key(const char *host)
{
	return strcmp(host, docker.host) == 0 ? docker.auth_key : host;
}
