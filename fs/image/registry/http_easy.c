// SPDX-License-Identifier: Apache-2.0
// One try of a question, as libcurl sees it.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/registry/net.h"
#include "fs/image/registry/trust.h"

#include <string.h>
#include <strings.h>

#define MAX_THROWN   (1u << 20) /* bytes of an answer that nobody wants */
#define BUFFER_BYTES (512L << 10)
#define UPLOAD_STALL_MS                                                                            \
	300000 /* a registry hashes and moves what it was sent before it answers                   \
		*/

/* ---- what comes in */

static bool header_is(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
	size_t k = strlen(name);

	if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0)
		return false;
	for (k++; k < n && (line[k] == ' ' || line[k] == '\t'); k++)
		;
	while (n > k && (line[n - 1] == '\r' || line[n - 1] == '\n' || line[n - 1] == ' '))
		n--;
	*value = line + k;
	*len = n - k;
	return true;
}

static void keep(char *out, size_t cap, const char *v, size_t n)
{
	if (n < cap && !memchr(v, '\0', n)) {
		memcpy(out, v, n);
		out[n] = '\0';
	} else {
		*out = '\0'; /* cut it would mean something else */
	}
}

static uint64_t keep_number(const char *v, size_t n)
{
	char text[24];
	uint64_t got;

	keep(text, sizeof(text), v, n);
	return msb_parse_u64(text, 0, INT64_MAX, &got) == 0 ? got : REG_UNKNOWN;
}

static void one_header(struct reg_http *h, const char *line, size_t n)
{
	char wait[64];
	const char *v;
	size_t len, have = strlen(h->authenticate);

	if (header_is(line, n, "content-length", &v, &len)) {
		h->bytes = keep_number(v, len);
	} else if (header_is(line, n, "content-type", &v, &len)) {
		const char *semicolon = memchr(v, ';', len);

		len = semicolon ? (size_t)(semicolon - v) : len;
		while (len && v[len - 1] == ' ')
			len--;
		keep(h->media_type, sizeof(h->media_type), v, len);
	} else if (header_is(line, n, "docker-content-digest", &v, &len)) {
		keep(h->digest, sizeof(h->digest), v, len);
	} else if (header_is(line, n, "content-range", &v, &len)) {
		keep(h->content_range, sizeof(h->content_range), v, len);
	} else if (header_is(line, n, "location", &v, &len)) {
		keep(h->location, sizeof(h->location), v, len);
	} else if (header_is(line, n, "oci-chunk-min-length", &v, &len)) {
		h->chunk_min = keep_number(v, len);
	} else if (header_is(line, n, "retry-after", &v, &len)) {
		keep(wait, sizeof(wait), v, len);
		h->retry_after_sec = reg_retry_after(wait, time(NULL));
	} else if (header_is(line, n, "www-authenticate", &v, &len)) {
		/* Several lines are one list. */
		if (have + len + 3 < sizeof(h->authenticate))
			(void)snprintf(h->authenticate + have, sizeof(h->authenticate) - have,
				"%s%.*s", have ? ", " : "", (int)len, v);
		else
			h->over_limit = true;
	}
}

static void new_answer(struct reg_http *h)
{
	h->bytes = h->chunk_min = REG_UNKNOWN;
	*h->media_type = *h->digest = *h->content_range = *h->location = *h->authenticate = '\0';
	h->retry_after_sec = 0;
	h->headed = false;
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct reg_http *h = arg;

	h->header_bytes += n;
	if (h->header_bytes > REG_MAX_HEADER_BYTES)
		h->over_limit = true;
	if (h->over_limit)
		return 0;
	if (n >= 5 && !memcmp(line, "HTTP/", 5))
		new_answer(h);
	else if (n > 2)
		one_header(h, line, n);
	if (h->over_limit)
		return 0;
	if (n > 2 || h->headed)
		return n;
	(void)curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &h->status);
	if (h->status / 100 == 1)
		return n;
	h->headed = true;
	if (h->status / 100 == 2 && h->direct && h->redirects) {
		free(*h->direct);
		*h->direct = strdup(h->now); /* NULL: the next one asks again */
	}
	if (h->status / 100 == 2)
		h->stop = h->ops->head ? h->ops->head(h, &h->err) : 0;
	return h->stop < 0 ? 0 : n;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct reg_http *h = arg;

	if (h->status / 100 == 2 && h->ops->data) {
		h->stop = h->ops->data(h, p, n, &h->err);
		h->since_retry += n;
		return h->stop < 0 ? 0 : n;
	}
	if (h->status / 100 != 2 && h->body.len + n <= REG_MAX_ERROR_BYTES) {
		msb_str_add(&h->body, p, n);
		return n;
	}
	h->thrown += n;
	return h->thrown > MAX_THROWN ? 0 : n;
}

/* ---- what goes out */

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
	struct reg_http *h = arg;
	uint64_t left = h->body_bytes - h->body_sent;
	int64_t got;

	if (n > left)
		n = (size_t)left;
	got = n ? msb_pread_full(h->body_fd, p, n, h->body_first + h->body_sent) : 0;
	if (got < 0 || (n && got == 0)) {
		h->stop = msb_err_set(&h->err, got < 0 ? (int)-got : EIO,
			"cannot read what is to be sent: %s",
			got < 0 ? strerror((int)-got) : "it ends early");
		return CURL_READFUNC_ABORT;
	}
	h->body_sent += (uint64_t)got;
	h->since_retry += (uint64_t)got;
	return (size_t)got;
}

static int on_seek(void *arg, curl_off_t off, int origin)
{
	struct reg_http *h = arg;

	if (origin != SEEK_SET || off < 0 || (uint64_t)off > h->body_bytes)
		return CURL_SEEKFUNC_FAIL;
	h->body_sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

static int add_header(struct reg_http *h, const char *name, const char *value)
{
	struct msb_str s = MSB_STR_INIT;
	struct curl_slist *l;

	msb_str_addf(&s, value ? "%s: %s" : "%s:", name, value);
	l = s.oom ? NULL : curl_slist_append(h->headers, s.buf);
	if (s.buf)
		explicit_bzero(s.buf, s.len);
	msb_str_done(&s);
	if (!l)
		return -ENOMEM;
	h->headers = l;
	return 0;
}

static int headers(struct reg_http *h, const char *authorization)
{
	char range[64];
	int r = add_header(h, "Expect", NULL); /* a round trip for nothing */

	if (r == 0 && authorization)
		r = add_header(h, "Authorization", authorization);
	if (r == 0 && h->accept)
		r = add_header(h, "Accept", h->accept);
	if (r == 0 && (h->content_type || h->form))
		r = add_header(h, "Content-Type",
			h->form ? "application/x-www-form-urlencoded" : h->content_type);
	if (r == 0 && h->body_range) {
		(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)h->body_first,
			(unsigned long long)(h->body_first + h->body_bytes - 1));
		r = add_header(h, "Content-Range", range);
	}
	return r;
}

static void set_method(struct reg_http *h)
{
	CURL *c = h->easy;

	if (!strcmp(h->method, "GET"))
		return;
	if (!strcmp(h->method, "HEAD")) {
		curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
	} else if (!strcmp(h->method, "POST")) {
		curl_easy_setopt(c, CURLOPT_POST, 1L);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
			(curl_off_t)(h->form ? strlen(h->form) : 0));
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, h->form ? h->form : "");
	} else {
		curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, h->method);
		if (!strcmp(h->method, "DELETE"))
			return;
		curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
		curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)h->body_bytes);
		curl_easy_setopt(c, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(c, CURLOPT_READDATA, h);
		curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(c, CURLOPT_SEEKDATA, h);
	}
}

static void set_tls(struct reg_http *h)
{
	const struct reg_site *site = h->origin->site;
	bool verify = !(h->net->cfg->insecure && site && !site->mirror);
	CURL *c = h->easy;

	curl_easy_setopt(c, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, reg_trust_use);
	curl_easy_setopt(c, CURLOPT_SSL_CTX_DATA, h->net->trust);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
	curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
	if (site && site->cert.len && site->key.len) {
		struct curl_blob cert = {site->cert.buf, site->cert.len, CURL_BLOB_NOCOPY};
		struct curl_blob key = {site->key.buf, site->key.len, CURL_BLOB_NOCOPY};

		curl_easy_setopt(c, CURLOPT_SSLCERT_BLOB, &cert);
		curl_easy_setopt(c, CURLOPT_SSLKEY_BLOB, &key);
	}
}

static void set_times(struct reg_http *h)
{
	unsigned int stall = h->net->cfg->stall_ms;
	CURL *c = h->easy;

	if (h->body_fd >= 0 && stall == REG_STALL_MS)
		stall = UPLOAD_STALL_MS;
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
		(long)(stall < REG_CONNECT_MS ? stall : REG_CONNECT_MS));
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, (long)REG_STALL_BYTES);
	curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)((stall + 999) / 1000));
}

/* Where the connection goes: the proxy's host and port, or the question's. @ret_proxy: allocated,
 * "" for none. What a proxy can look up, we do not. */
static int set_proxy(struct reg_http *h, uint16_t *ret_port, char **ret_proxy)
{
	static const char *const renamed[][2] = {
		{"socks5://", "socks5h://"}, {"socks4://", "socks4a://"}};
	const char *proxy = reg_proxy_for(&h->at, getenv);
	char *host = NULL, *port = NULL, *scheme = NULL, *end;
	uint64_t number = 1080; /* libcurl's, for one without */
	CURLU *u;
	int r = -EINVAL;

	(void)snprintf(h->connect_host, sizeof(h->connect_host), "%s", h->at.host);
	*ret_port = h->at.port;
	*ret_proxy = NULL;
	if (!proxy) {
		*ret_proxy = strdup("");
		return *ret_proxy ? 0 : -ENOMEM;
	}
	u = curl_url();
	if (u &&
		curl_url_set(u, CURLUPART_URL, proxy,
			CURLU_DEFAULT_SCHEME | CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) ==
			CURLUE_OK &&
		curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		strlen(host) < sizeof(h->connect_host)) {
		bool v6 = *host == '[' && (end = strchr(host, ']'));

		if (v6)
			*end = '\0';
		(void)snprintf(h->connect_host, sizeof(h->connect_host), "%s", host + v6);
		if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
			!strcmp(scheme, "https"))
			number = 443;
		if (curl_url_get(u, CURLUPART_PORT, &port, 0) == CURLUE_OK)
			(void)msb_parse_u64(port, 1, 65535, &number);
		*ret_port = (uint16_t)number;
		r = 0;
	}
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(u);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(renamed); i++)
		if (!strncasecmp(proxy, renamed[i][0], strlen(renamed[i][0])))
			if (asprintf(ret_proxy, "%s%s", renamed[i][1],
				    proxy + strlen(renamed[i][0])) < 0)
				return -ENOMEM;
	if (r == 0 && !*ret_proxy)
		*ret_proxy = strdup(proxy);
	return r == 0 && !*ret_proxy ? -ENOMEM : r;
}

static int set_address(struct reg_http *h, const char *addresses, uint16_t port)
{
	struct msb_str s = MSB_STR_INIT;

	if (!addresses)
		return 0;
	msb_str_addf(&s, "+%s:%u:%s", h->connect_host, port, addresses);
	h->resolve = s.oom ? NULL : curl_slist_append(NULL, s.buf);
	msb_str_done(&s);
	if (!h->resolve)
		return -ENOMEM;
	curl_easy_setopt(h->easy, CURLOPT_RESOLVE, h->resolve);
	return 0;
}

static int make_easy(struct reg_http *h, const char *authorization, const char *proxy)
{
	char range[48];
	CURL *c = h->easy = curl_easy_init();
	int r = c ? headers(h, authorization) : -ENOMEM;

	if (r < 0)
		return r;
	curl_easy_setopt(c, CURLOPT_PRIVATE, h);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "msb/" MSB_VERSION);
	curl_easy_setopt(c, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
	curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(c, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, h);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, h);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, h->headers);
	curl_easy_setopt(c, CURLOPT_PROXY, proxy);
	curl_easy_setopt(c, CURLOPT_NOPROXY, ""); /* that was decided above */
	set_method(h);
	set_tls(h);
	set_times(h);
	if (h->range_last) {
		(void)snprintf(range, sizeof(range), "%llu-%llu",
			(unsigned long long)h->range_first, (unsigned long long)h->range_last);
		curl_easy_setopt(c, CURLOPT_RANGE, range);
	}
	return curl_easy_setopt(c, CURLOPT_URL, h->now) == CURLE_OK ? 0 : -ENOMEM;
}

static void wipe_free(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
}

int reg_http_begin(struct reg_http *h, struct msb_err *e)
{
	_cleanup_(wipe_free) char *authorization = NULL;
	_cleanup_(wipe_free) char *proxy = NULL; /* it may have a password */
	const char *addresses;
	uint16_t port;
	int r;

	if (reg_url_split(h->now, &h->at) < 0)
		return msb_err_set(
			e, EBADMSG, "%s leads to something that is no address", h->site->host);
	h->origin = reg_origin_of(h->net, h->at.origin);
	if (!h->origin)
		return msb_err_set(
			e, E2BIG, "%s leads to more than %d hosts", h->site->host, REG_MAX_ORIGINS);
	r = reg_auth_header(h, &authorization, e);
	if (r != 0) {
		h->state = REG_HTTP_TOKEN;
		return r < 0 ? r : 0;
	}
	r = set_proxy(h, &port, &proxy);
	if (r < 0)
		return msb_err_set(e, -r, "the proxy in the environment is not understood");
	r = reg_name_lookup(h, &addresses, e);
	if (r != 0) {
		h->state = REG_HTTP_NAME;
		return r < 0 ? r : 0;
	}
	if (h->ops->again)
		h->ops->again(h);
	new_answer(h);
	h->status = 0;
	h->body_sent = h->header_bytes = h->thrown = 0;
	h->stop = 0;
	h->over_limit = false;
	h->err.code = 0;
	msb_str_done(&h->body);
	(void)snprintf(h->final_url, sizeof(h->final_url), "%s", h->now);
	r = make_easy(h, authorization, proxy);
	if (r == 0)
		r = set_address(h, addresses, port);
	if (r == 0 && curl_multi_add_handle(h->net->multi, h->easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0)
		return msb_err_set(e, -r, "out of memory");
	h->state = REG_HTTP_RUNNING;
	return 0;
}
