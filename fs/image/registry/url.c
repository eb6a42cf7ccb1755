// SPDX-License-Identifier: Apache-2.0
// URLs, proxies and the few headers with a syntax of their own.
#include "fs/image/registry/url.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

static void url_done(CURLU **u)
{
	curl_url_cleanup(*u);
}
#define _cleanup_url_ _cleanup_(url_done)

static void curl_free_(char **p)
{
	curl_free(*p);
}
#define _cleanup_curl_ _cleanup_(curl_free_)

/* A control character, a space or a name in another script: never passed on. */
static bool visible(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

static int split(CURLU *u, struct reg_url *ret)
{
	_cleanup_curl_ char *scheme = NULL;
	_cleanup_curl_ char *host = NULL;
	_cleanup_curl_ char *port = NULL;
	struct reg_url got = {0};
	size_t n;
	uint64_t number;

	if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ||
		curl_url_get(u, CURLUPART_HOST, &host, 0) ||
		curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
		msb_parse_u64(port, 1, 65535, &number) < 0 || !visible(host))
		return -EINVAL;
	got.port = (uint16_t)number;
	got.tls = !strcmp(scheme, "https");
	if (!got.tls && strcmp(scheme, "http") != 0)
		return -EINVAL;
	for (char *p = host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (snprintf(got.origin, sizeof(got.origin), "%s://%s:%u", scheme, host, got.port) >=
		(int)sizeof(got.origin))
		return -E2BIG;
	n = strlen(host);
	if (*host == '[' && n > 2) {
		host[n - 1] = '\0';
		(void)snprintf(got.host, sizeof(got.host), "%s", host + 1);
	} else if (snprintf(got.host, sizeof(got.host), "%s", host) >= (int)sizeof(got.host)) {
		return -E2BIG;
	}
	*ret = got;
	return 0;
}

int reg_url_split(const char *url, struct reg_url *ret)
{
	_cleanup_url_ CURLU *u = curl_url();

	if (!u)
		return -ENOMEM;
	if (strlen(url) >= REG_MAX_URL_BYTES)
		return -E2BIG;
	if (!visible(url) || curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER))
		return -EINVAL;
	return split(u, ret);
}

int reg_url_follow(const char *base, const char *location, char *ret)
{
	_cleanup_url_ CURLU *u = curl_url();
	_cleanup_curl_ char *whole = NULL;
	struct reg_url check;
	int r;

	if (!u)
		return -ENOMEM;
	if (strlen(location) >= REG_MAX_URL_BYTES)
		return -E2BIG;
	if (!*location || !visible(location) || curl_url_set(u, CURLUPART_URL, base, 0) ||
		curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) ||
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) ||
		curl_url_get(u, CURLUPART_URL, &whole, 0))
		return -EINVAL;
	r = reg_url_split(whole, &check); /* where %-sequences are decoded, it may be none */
	if (r == 0)
		(void)snprintf(ret, REG_MAX_URL_BYTES, "%s", whole);
	return r;
}

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && !strcasecmp(s + a - b, end);
}

bool reg_host_is_loopback(const char *host)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return !strcasecmp(host, "localhost") || ends_with(host, ".localhost");
}

bool reg_host_is_address(const char *host)
{
	struct in6_addr a;

	return inet_pton(AF_INET, host, &a) == 1 || inet_pton(AF_INET6, host, &a) == 1;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, uint64_t bits)
{
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8) == 0;
}

static bool in_network(const char *host, const char *network, const char *slash)
{
	char base[64];
	uint8_t a[16], b[16];
	uint64_t bits;
	int family = strchr(host, ':') ? AF_INET6 : AF_INET;

	if ((size_t)(slash - network) >= sizeof(base) ||
		msb_parse_u64(slash + 1, 0, family == AF_INET ? 32 : 128, &bits) < 0)
		return false;
	memcpy(base, network, (size_t)(slash - network));
	base[slash - network] = '\0';
	return inet_pton(family, host, a) == 1 && inet_pton(family, base, b) == 1 &&
	       same_bits(a, b, bits);
}

static bool excepts(char *entry, const char *host, uint16_t port)
{
	const char *slash = strchr(entry, '/');
	char *colon = strrchr(entry, ':');
	uint64_t p;

	if (!strcmp(entry, "*"))
		return true;
	if (slash)
		return in_network(host, entry, slash);
	if (*entry == '[') { /* [::1] or [::1]:443 */
		char *close = strchr(entry, ']');

		if (!close)
			return false;
		colon = close[1] == ':' ? close + 1 : NULL;
		*close = '\0';
		entry++;
	} else if (colon && strchr(entry, ':') != colon) {
		colon = NULL; /* an address of version 6 */
	}
	if (colon) {
		*colon = '\0';
		if (msb_parse_u64(colon + 1, 1, 65535, &p) < 0 || p != port)
			return false;
	}
	if (*entry == '*')
		entry++;
	if (*entry == '.')
		entry++;
	if (!*entry)
		return false;
	if (!strcasecmp(entry, host))
		return true;
	return !reg_host_is_address(host) && strlen(host) > strlen(entry) &&
	       ends_with(host, entry) && host[strlen(host) - strlen(entry) - 1] == '.';
}

bool reg_no_proxy(const char *list, const char *host, uint16_t port)
{
	char entry[300];

	while (list && *list) {
		size_t n = strcspn(list, ", ");

		if (n && n < sizeof(entry)) {
			memcpy(entry, list, n);
			entry[n] = '\0';
			if (excepts(entry, host, port))
				return true;
		}
		list += n + (list[n] != '\0');
	}
	return false;
}

static const char *either(char *(*get)(const char *), const char *lower, const char *upper)
{
	const char *v = get(lower);

	if (!v || !*v)
		v = get(upper);
	return v && *v ? v : NULL;
}

const char *reg_proxy_for(const struct reg_url *u, char *(*get)(const char *))
{
	const char *proxy = u->tls ? either(get, "https_proxy", "HTTPS_PROXY")
				   : either(get, "http_proxy", "HTTP_PROXY");

	if (!proxy)
		proxy = either(get, "all_proxy", "ALL_PROXY");
	if (!proxy || reg_host_is_loopback(u->host) ||
		reg_no_proxy(either(get, "no_proxy", "NO_PROXY"), u->host, u->port))
		return NULL;
	return proxy;
}

uint64_t reg_retry_after(const char *value, int64_t now)
{
	int64_t date;
	uint64_t sec;

	if (msb_parse_u64(value, 0, UINT32_MAX, &sec) == 0)
		return sec;
	date = curl_getdate(value, NULL);
	return date > now ? (uint64_t)(date - now) : 0;
}

/* Digits from *@p on, which is moved past them. */
static int number(const char **p, uint64_t *ret)
{
	char digits[21];
	size_t n = strspn(*p, "0123456789");

	if (n == 0 || n >= sizeof(digits))
		return -EBADMSG;
	memcpy(digits, *p, n);
	digits[n] = '\0';
	*p += n;
	return msb_parse_u64(digits, 0, UINT64_MAX, ret) < 0 ? -EBADMSG : 0;
}

int reg_content_range(
	const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total)
{
	uint64_t first, last, total = UINT64_MAX;
	const char *p = value;

	if (strncasecmp(p, "bytes ", 6) != 0)
		return -EBADMSG;
	p += 6;
	if (number(&p, &first) < 0 || *p++ != '-' || number(&p, &last) < 0 || *p++ != '/')
		return -EBADMSG;
	if (!strcmp(p, "*"))
		p++;
	else if (number(&p, &total) < 0)
		return -EBADMSG;
	if (*p || last < first || last == UINT64_MAX || (total != UINT64_MAX && last >= total))
		return -EBADMSG;
	*ret_first = first;
	*ret_last = last;
	*ret_total = total;
	return 0;
}
