// SPDX-License-Identifier: Apache-2.0
// Questions to a registry: the order in which they are asked, and their steps.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/image/registry/net.h"
#include "fs/image/registry/trust.h"

#include <string.h>

int reg_net_new(const struct reg_config *cfg, int resolver, struct reg_net **ret, struct msb_err *e)
{
	struct reg_net *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return msb_err_set(e, ENOMEM, "out of memory");
	n->cfg = cfg;
	n->resolver = resolver;
	TAILQ_INIT(&n->all);
	r = reg_trust_load(cfg, &n->trust, e);
	if (r == 0) {
		n->multi = curl_multi_init();
		r = n->multi ? 0 : msb_err_set(e, ENOMEM, "out of memory");
	}
	if (r < 0) {
		reg_net_free(n);
		return r;
	}
	(void)curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, 2L * REG_MAX_TRANSFERS);
	*ret = n;
	return 0;
}

void reg_net_free(struct reg_net *n)
{
	struct reg_http *h;

	if (!n)
		return;
	while ((h = TAILQ_FIRST(&n->all)))
		reg_http_cancel(h);
	reg_auth_done(n);
	if (n->multi)
		(void)curl_multi_cleanup(n->multi);
	reg_trust_free(n->trust);
	if (n->resolver >= 0)
		close(n->resolver);
	free(n);
}

unsigned int reg_net_free_slots(const struct reg_net *n)
{
	const struct reg_http *h;

	TAILQ_FOREACH(h, &n->all, link)
	if (h->state == REG_HTTP_QUEUED && !h->is_token && !h->due_ms)
		return 0;
	return n->running < REG_MAX_TRANSFERS ? REG_MAX_TRANSFERS - n->running : 0;
}

struct reg_http *reg_http_new(struct reg_net *n, const struct reg_site *site, const char *method)
{
	struct reg_http *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->net = n;
	h->site = site;
	h->method = method;
	h->body_fd = -1;
	h->state = REG_HTTP_QUEUED;
	return h;
}

static void wipe(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
	*p = NULL;
}

static void free_headers(struct curl_slist **list)
{
	for (struct curl_slist *l = *list; l; l = l->next)
		explicit_bzero(l->data, strlen(l->data));
	curl_slist_free_all(*list);
	*list = NULL;
}

void reg_http_detach(struct reg_http *h)
{
	if (h->easy) {
		(void)curl_multi_remove_handle(h->net->multi, h->easy);
		curl_easy_cleanup(h->easy);
		h->easy = NULL;
	}
	free_headers(&h->headers);
	curl_slist_free_all(h->resolve);
	h->resolve = NULL;
}

static void free_http(struct reg_http *h)
{
	reg_http_detach(h);
	wipe(&h->token_shown);
	free(h->url);
	free(h->now);
	msb_str_done(&h->body);
	free(h);
}

/* Off every list; nobody points at it any more. */
static void unlink_http(struct reg_http *h)
{
	TAILQ_REMOVE(&h->net->all, h, link);
	if (h->state != REG_HTTP_QUEUED && !h->is_token)
		h->net->running--;
	reg_http_detach(h);
}

void reg_http_cancel(struct reg_http *h)
{
	if (!h)
		return;
	if (h->is_token)
		reg_auth_forget(h->net, h);
	if (h->link.tqe_prev)
		unlink_http(h);
	free_http(h);
}

void reg_http_end(struct reg_http *h, int r, const struct msb_err *e)
{
	unlink_http(h);
	h->ops->done(h, r, e);
	free_http(h);
}

void reg_http_start(struct reg_http *h)
{
	h->state = REG_HTTP_QUEUED;
	if (h->next)
		TAILQ_INSERT_HEAD(&h->net->all, h, link);
	else
		TAILQ_INSERT_TAIL(&h->net->all, h, link);
}

void reg_http_ask(struct reg_http *h)
{
	struct msb_err e = {0};
	int r;

	reg_http_detach(h);
	h->state = REG_HTTP_PAUSE; /* until it is known what it waits for */
	r = reg_http_begin(h, &e);
	if (r < 0)
		reg_http_end(h, r, &e);
}

void reg_http_restart(struct reg_http *h)
{
	const char *url = h->url;

	h->redirects = 0;
	h->direct_used = h->direct && *h->direct;
	if (h->direct_used)
		url = *h->direct;
	free(h->now);
	h->now = strdup(url);
	if (!h->now) {
		const struct msb_err e = {.code = ENOMEM, .msg = "out of memory"};

		reg_http_end(h, -ENOMEM, &e);
		return;
	}
	reg_http_ask(h);
}

/* Those that were told to wait until now, and those whose turn it is. A callback may end or start
 * others: begin again after each. */
static bool one_due(struct reg_net *n, uint64_t now)
{
	struct reg_http *h;

	TAILQ_FOREACH(h, &n->all, link)
	{
		if (h->state == REG_HTTP_PAUSE && h->due_ms <= now) {
			reg_http_restart(h);
			return true;
		}
		if (h->state == REG_HTTP_QUEUED && h->due_ms <= now &&
			(h->is_token || n->running < REG_MAX_TRANSFERS)) {
			if (!h->is_token)
				n->running++;
			h->state = REG_HTTP_PAUSE;
			reg_http_restart(h);
			return true;
		}
	}
	return false;
}

static int next_due(const struct reg_net *n, uint64_t now, int most)
{
	const struct reg_http *h;
	uint64_t due = now + (uint64_t)most;

	TAILQ_FOREACH(h, &n->all, link)
	if ((h->state == REG_HTTP_PAUSE || (h->state == REG_HTTP_QUEUED && h->due_ms)) &&
		h->due_ms < due && h->due_ms > now)
		due = h->due_ms;
	for (size_t i = 0; i < n->nnames; i++)
		if (!*n->names[i].addresses && n->names[i].due_ms < due)
			due = n->names[i].due_ms;
	return due > now ? (int)(due - now) : 0;
}

int reg_net_turn(struct reg_net *n, struct curl_waitfd *client, int timeout_ms)
{
	struct curl_waitfd fds[2] = {{.fd = n->resolver, .events = CURL_WAIT_POLLIN}, {.fd = -1}};
	int still, left;
	CURLMsg *m;

	while (one_due(n, msb_now_ms()))
		;
	if (curl_multi_perform(n->multi, &still) != CURLM_OK)
		return -EIO;
	while ((m = curl_multi_info_read(n->multi, &left))) {
		struct reg_http *h = NULL;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&h);
		reg_http_finished(h, code);
		timeout_ms = 0; /* the caller may have been told something */
	}
	while (one_due(n, msb_now_ms()))
		;
	if (client)
		fds[1] = *client;
	if (curl_multi_poll(n->multi, fds, client ? 2 : 1, next_due(n, msb_now_ms(), timeout_ms),
		    &still) != CURLM_OK)
		return -EIO;
	if (client)
		client->revents = fds[1].revents;
	if (fds[0].revents)
		reg_name_answers(n);
	reg_name_overdue(n, msb_now_ms());
	return 0;
}
