// SPDX-License-Identifier: Apache-2.0
// What an answer means: it is whole, it leads elsewhere, it wants to know who asks, or it is to be
// asked again.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/image/registry/net.h"

#include <stdarg.h>
#include <openssl/x509.h>
#include <string.h>

#define REFUSED_RETRIES 2 /* of a connection that nobody takes: it may be starting */

static void fail(struct reg_http *h, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void fail(struct reg_http *h, int code, const char *fmt, ...)
{
	struct msb_err e = {0};
	char text[MSB_ERR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	reg_http_end(h, msb_err_set(&e, code, "%s", text), &e);
}

static bool secret_in(const char *text, const char *secret)
{
	return secret && *secret && strstr(text, secret);
}

/* What the body says is wrong, if anything: printable, short, and never a secret of ours that the
 * server sends back. */
static void server_words(const struct reg_http *h, char *out, size_t cap)
{
	char said[256];

	*out = '\0';
	reg_error_parse(h->body.buf ? h->body.buf : "", h->body.len, said, sizeof(said));
	for (size_t i = 0; i < h->net->cfg->nsites; i++)
		if (secret_in(said, h->net->cfg->site[i].cred.secret))
			return;
	if (!*said || secret_in(said, h->token_shown))
		return;
	(void)snprintf(out, cap, " (%s)", said);
}

void reg_http_failed(struct reg_http *h, int r, const struct msb_err *e)
{
	unsigned int most = h->once ? 0 : h->site->mirror ? 1 : REG_MAX_RETRIES;
	uint64_t wait;

	reg_http_detach(h);
	if (r == -ECONNREFUSED && most > REFUSED_RETRIES)
		most = REFUSED_RETRIES;
	if (h->direct_used && h->direct && *h->direct) { /* the registry may know a better place */
		free(*h->direct);
		*h->direct = NULL;
		h->state = REG_HTTP_PAUSE;
		h->due_ms = 0;
		return;
	}
	if (h->since_retry >= REG_RETRY_BYTES)
		h->retries = h->auth_tries = 0;
	h->since_retry = 0;
	if (h->retries >= most) {
		reg_http_end(h, r, e);
		return;
	}
	wait = (uint64_t)h->net->cfg->retry_ms << h->retries++;
	if (h->retry_after_sec > REG_MAX_RETRY_AFTER_SEC) {
		fail(h, EAGAIN,
			"%s asks to come back in %llu seconds; longer than %d are not waited",
			h->site->host, (unsigned long long)h->retry_after_sec,
			REG_MAX_RETRY_AFTER_SEC);
		return;
	}
	if (h->retry_after_sec * 1000 > wait)
		wait = h->retry_after_sec * 1000;
	log_debug("%s: %s: %s; again in %llu ms", h->site->host, h->what, e->msg,
		(unsigned long long)wait);
	h->state = REG_HTTP_PAUSE;
	h->due_ms = msb_now_ms() + wait;
}

/* The one that is asked now, as a user would write it. */
static const char *place(const struct reg_http *h)
{
	return h->origin && h->origin->site ? h->origin->site->host
					    : strstr(h->at.origin, "://") + 3;
}

static void failed(struct reg_http *h, int code, const char *what)
{
	struct msb_err e = {0};
	int r = msb_err_set(&e, code, "%s: %s: %s", place(h), h->what, what);

	reg_http_failed(h, r, &e);
}

/* ---- the connection */

static void no_answer(struct reg_http *h, int code, const char *why)
{
	struct msb_err e = {0};
	bool proxy = strcmp(h->connect_host, h->at.host) != 0;

	reg_http_failed(h,
		msb_err_set(&e, code, "%s%s does not answer: %s", proxy ? "the proxy to " : "",
			place(h), why),
		&e);
}

static void wants_login(struct reg_http *h)
{
	fail(h, EACCES,
		"the proxy to %s wants another login: USER:SECRET@ before the proxy's name, in the "
		"environment of msbd",
		place(h));
}

static void transport(struct reg_http *h, CURLcode code)
{
	long os = 0, proxy = 0; /* what it said to CONNECT; 0: nothing */

	(void)curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &os);
	(void)curl_easy_getinfo(h->easy, CURLINFO_HTTP_CONNECTCODE, &proxy);
	if (proxy == 407) {
		wants_login(h);
		return;
	}
	if (proxy == 408 || proxy == 429 || proxy >= 500) {
		failed(h, EHOSTUNREACH, "the proxy does not lead there now");
		return;
	}
	if (proxy >= 300) {
		fail(h, EHOSTUNREACH, "the proxy does not lead to %s: it answers %ld", place(h),
			proxy);
		return;
	}
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION: {
		long verify = 0;

		(void)curl_easy_getinfo(h->easy, CURLINFO_SSL_VERIFYRESULT, &verify);
		fail(h, EPROTO,
			"the certificate of %s is not one to trust (%s); if it is right, give its "
			"issuer with ca=PATH in images/registries",
			place(h),
			verify ? X509_verify_cert_error_string(verify) : "it is for another host");
		return;
	}
	case CURLE_COULDNT_CONNECT:
		reg_name_forget(h->net, h->connect_host);
		if (os == ECONNREFUSED)
			no_answer(h, ECONNREFUSED, "connection refused");
		else
			no_answer(h, os == ETIMEDOUT || !os ? ETIMEDOUT : EHOSTUNREACH,
				os ? strerror((int)os) : "no connection in time");
		return;
	case CURLE_OPERATION_TIMEDOUT:
		failed(h, ETIMEDOUT,
			h->status || h->body_sent ? "it stalled" : "it did not answer in time");
		return;
	case CURLE_SSL_CONNECT_ERROR:
		failed(h, EPROTO,
			"no TLS connection could be made; if it has none, and may be "
			"trusted, set plain_http in images/registries");
		return;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY: failed(h, EHOSTUNREACH, "the proxy does not lead there"); return;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_HTTP3:
	case CURLE_SEND_FAIL_REWIND: failed(h, EIO, "the connection broke"); return;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_UNSUPPORTED_PROTOCOL:
		failed(h, EBADMSG, "what answers does not speak HTTP");
		return;
	case CURLE_OUT_OF_MEMORY: fail(h, ENOMEM, "out of memory"); return;
	case CURLE_SSL_CERTPROBLEM:
		fail(h, EPROTO, "the client certificate for %s cannot be used", h->site->host);
		return;
	default: failed(h, EIO, curl_easy_strerror(code)); return;
	}
}

/* ---- the answer */

static bool leads_on(const struct reg_http *h)
{
	switch (h->status) {
	case 301:
	case 302:
	case 303: return !strcmp(h->method, "GET") || !strcmp(h->method, "HEAD");
	case 307:
	case 308:
		return !h->form; /* a refresh token goes to the one who is named, and no further */
	default: return false;
	}
}

static void redirected(struct reg_http *h)
{
	struct reg_url to;
	char *url;

	if (++h->redirects > REG_MAX_REDIRECTS) {
		fail(h, E2BIG, "%s: %s: more than %d redirects", h->site->host, h->what,
			REG_MAX_REDIRECTS);
		return;
	}
	url = malloc(REG_MAX_URL_BYTES);
	if (!url || reg_url_follow(h->now, h->location, url) < 0 || reg_url_split(url, &to) < 0) {
		free(url);
		fail(h, EBADMSG, "%s: %s: it leads to something that is no address", h->site->host,
			h->what);
		return;
	}
	/* From TLS to none, or out of this machine without: only where that was allowed. */
	if (!to.tls && !h->net->cfg->plain_http && (h->at.tls || !reg_host_is_loopback(to.host))) {
		free(url);
		fail(h, EBADMSG, "%s: %s: it leads to %s without TLS; refused", h->site->host,
			h->what, to.host);
		return;
	}
	free(h->now);
	h->now = url;
	reg_http_ask(h);
}

static void bad_status(struct reg_http *h)
{
	char words[300];

	server_words(h, words, sizeof(words));
	switch (h->status) {
	case 404: fail(h, ENOENT, "%s has no %s%s", h->site->host, h->what, words); return;
	case 403: fail(h, EACCES, "%s refuses the %s%s", h->site->host, h->what, words); return;
	default:
		fail(h, h->status == 416 || h->status == 413 ? E2BIG : EBADMSG,
			"%s: %s: HTTP status %ld%s", h->site->host, h->what, h->status, words);
		return;
	}
}

static void try_later(struct reg_http *h)
{
	char words[300], text[400];
	struct msb_err e = {0};

	server_words(h, words, sizeof(words));
	(void)snprintf(text, sizeof(text), "HTTP status %ld%s%s", h->status,
		h->status == 429 ? ", too many requests" : "", words);
	reg_http_failed(h,
		msb_err_set(
			&e, h->status == 429 ? EAGAIN : EIO, "%s: %s: %s", place(h), h->what, text),
		&e);
}

static void good(struct reg_http *h)
{
	struct msb_err e = {0};
	int r = h->ops->check ? h->ops->check(h, &e) : 0;

	if (r == -EAGAIN) {
		failed(h, EBADMSG, "it sends less than there should be");
		return;
	}
	reg_http_end(h, r, r < 0 ? &e : NULL);
}

void reg_http_finished(struct reg_http *h, CURLcode code)
{
	struct msb_err e = {0};

	if (h->stop < 0) {
		e = h->err;
		reg_http_end(h, h->stop, &e);
	} else if (h->over_limit) {
		fail(h, E2BIG, "%s: %s: headers that are too long", place(h), h->what);
	} else if (code == CURLE_WRITE_ERROR && h->status / 100 == 2) {
		fail(h, E2BIG, "%s: %s: HTTP status %ld, and a page that does not end", h->at.host,
			h->what, h->status);
	} else if (code != CURLE_OK && h->headed && h->status / 100 == 2 && h->ops->whole &&
		   h->ops->whole(h)) {
		good(h);
	} else if (code != CURLE_OK && !(h->headed && h->status / 100 > 2)) {
		transport(h, code);
	} else if (h->status / 100 == 2) {
		good(h);
	} else if (leads_on(h) && *h->location) {
		redirected(h);
	} else if (h->direct_used && h->status / 100 == 4) {
		reg_http_failed(h, -EACCES, &e); /* it was good for a while */
	} else if (h->status == 407) {
		wants_login(h);
	} else if (h->status == 401 && !h->probe) {
		if (h->since_retry >= REG_RETRY_BYTES)
			h->auth_tries = 0;
		h->since_retry = 0;
		if (reg_auth_challenged(h, &e) < 0)
			reg_http_end(h, -e.code, &e);
		else
			reg_http_ask(h);
	} else if (h->status == 429 || h->status == 408 || h->status / 100 == 5) {
		try_later(h);
	} else {
		bad_status(h);
	}
}
