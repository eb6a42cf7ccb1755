// SPDX-License-Identifier: Apache-2.0
// Addresses of the hosts that are asked, from the resolver.
#include "base/io.h"
#include "fs/image/registry/net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct reg_name *find(struct reg_net *n, const char *host)
{
	for (size_t i = 0; i < n->nnames; i++)
		if (!strcmp(n->names[i].host, host))
			return &n->names[i];
	return NULL;
}

void reg_name_forget(struct reg_net *n, const char *host)
{
	struct reg_name *name = find(n, host);

	if (name)
		*name = n->names[--n->nnames];
}

int reg_name_lookup(struct reg_http *h, const char **ret_addresses, struct msb_err *e)
{
	struct reg_net *n = h->net;
	struct reg_name *name = find(n, h->connect_host);
	int r;

	*ret_addresses = NULL;
	if (reg_host_is_address(h->connect_host))
		return 0;
	if (name && *name->addresses) {
		*ret_addresses = name->addresses;
		return 0;
	}
	if (name)
		return 1;
	if (n->nnames == REG_MAX_ORIGINS)
		return msb_err_set(
			e, E2BIG, "%s leads to more than %d hosts", h->site->host, REG_MAX_ORIGINS);
	msb_msg_init(&n->msg, "resolve");
	msb_msg_set(&n->msg, "host", "%s", h->connect_host);
	r = msb_msg_send(n->resolver, &n->msg);
	if (r < 0)
		return msb_err_set(e, -r, "cannot look up %s: %s", h->connect_host,
			n->resolver < 0 || r == -EPIPE ? "the resolver died" : strerror(-r));
	name = &n->names[n->nnames++];
	(void)snprintf(name->host, sizeof(name->host), "%s", h->connect_host);
	*name->addresses = '\0';
	name->due_ms = msb_now_ms() + REG_RESOLVE_MS;
	return 1;
}

/* Each that waits for @host goes on (@e NULL), or has failed, in passing where @later may be
 * better. */
static void wake(struct reg_net *n, const char *host, bool later, const struct msb_err *e)
{
	struct reg_http *h;

again:
	TAILQ_FOREACH(h, &n->all, link)
	{
		if (h->state != REG_HTTP_NAME || strcmp(h->connect_host, host) != 0)
			continue;
		if (e && later)
			reg_http_failed(h, -e->code, e);
		else if (e)
			reg_http_end(h, -e->code, e);
		else
			reg_http_ask(h);
		goto again; /* the list is another */
	}
}

void reg_name_answers(struct reg_net *n)
{
	struct msb_err e = {0};
	struct reg_name *name;
	const char *later;
	char host[256];
	int r;

	while ((r = msb_msg_recv(n->resolver, &n->msg)) == 0) {
		const char *asked = msb_msg_get(&n->msg, "host"),
			   *found = msb_msg_get(&n->msg, "addresses"),
			   *why = msb_msg_get(&n->msg, "msg");

		msb_msg_close_fds(&n->msg);
		name = asked ? find(n, asked) : NULL;
		if (!name || *name->addresses)
			continue; /* too late */
		(void)snprintf(host, sizeof(host), "%s", asked);
		if (found && reg_addresses_valid(found)) {
			(void)snprintf(name->addresses, sizeof(name->addresses), "%s", found);
			wake(n, host, false, NULL);
			continue;
		}
		(void)msb_err_set(&e, EHOSTUNREACH, "cannot find the address of %s: %s", host,
			why ? why : "it has none");
		later = msb_msg_get(&n->msg, "again");
		reg_name_forget(n, host);
		wake(n, host, later && !strcmp(later, "1"), &e);
	}
	if (r == -EAGAIN)
		return;
	/* It is gone, and so are its answers. */
	close(n->resolver);
	n->resolver = -1;
	while (n->nnames) {
		(void)snprintf(host, sizeof(host), "%s", n->names[0].host);
		reg_name_forget(n, host);
		(void)msb_err_set(&e, EIO, "cannot look up %s: the resolver died", host);
		wake(n, host, false, &e);
	}
}

void reg_name_overdue(struct reg_net *n, uint64_t now)
{
	struct msb_err e = {0};
	char host[256];

	for (size_t i = 0; i < n->nnames;) {
		if (*n->names[i].addresses || n->names[i].due_ms > now) {
			i++;
			continue;
		}
		(void)snprintf(host, sizeof(host), "%s", n->names[i].host);
		reg_name_forget(n, host);
		(void)msb_err_set(&e, ETIMEDOUT,
			"no answer for the address of %s from the name server", host);
		wake(n, host, true, &e);
		i = 0;
	}
}
