// SPDX-License-Identifier: Apache-2.0
// Showing who asks: Basic, and Bearer tokens from a token server, fetched once for all who need
// one.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/registry/net.h"

#include <string.h>

#define MARGIN_MS 5000 /* a token that ends sooner is not shown any more */
#define MAX_TRIES 2    /* 401s of one question without any progress between */

static void wipe(char **p)
{
	if (*p)
		explicit_bzero(*p, strlen(*p));
	free(*p);
	*p = NULL;
}

/* A site's credentials belong to its own address, and to no other that it leads to. */
static const struct reg_site *site_at(const struct reg_config *c, const char *origin)
{
	struct reg_url u;

	for (size_t i = 0; i < c->nsites; i++)
		if (reg_url_split(c->site[i].base, &u) == 0 && !strcmp(u.origin, origin))
			return &c->site[i];
	return NULL;
}

struct reg_origin *reg_origin_of(struct reg_net *n, const char *name)
{
	struct reg_origin *o = n->origins;

	while (o < n->origins + n->norigins && strcmp(o->name, name) != 0)
		o++;
	if (o == n->origins + n->norigins) {
		if (n->norigins == REG_MAX_ORIGINS)
			return NULL;
		n->norigins++;
		(void)snprintf(o->name, sizeof(o->name), "%s", name);
	}
	o->site = site_at(n->cfg, name); /* the probe may have given it another address since */
	return o;
}

static void drop_token(struct reg_token *t)
{
	reg_http_cancel(t->fetch);
	wipe(&t->value);
	wipe(&t->form);
	free(t->scopes);
	if (t->answer.buf)
		explicit_bzero(t->answer.buf, t->answer.len);
	msb_str_done(&t->answer);
	memset(t, 0, sizeof(*t));
}

void reg_auth_done(struct reg_net *n)
{
	for (size_t i = 0; i < REG_MAX_TOKENS; i++)
		drop_token(&n->tokens[i]);
	for (size_t i = 0; i < n->norigins; i++)
		free(n->origins[i].bearer);
}

static char *basic(const struct reg_cred *c)
{
	struct msb_str plain = MSB_STR_INIT, out = MSB_STR_INIT;

	msb_str_addf(&plain, "%s:%s", c->user, c->secret);
	msb_str_adds(&out, "Basic ");
	if (plain.buf) {
		msb_str_add_base64(&out, plain.buf, plain.len);
		explicit_bzero(plain.buf, plain.len);
	}
	if (plain.oom || out.oom)
		msb_str_done(&out);
	msb_str_done(&plain);
	return out.buf;
}

static char *bearer(const char *token)
{
	char *s;

	return asprintf(&s, "Bearer %s", token) < 0 ? NULL : s;
}

/* ---- scopes */

static bool actions_in(const char *want, size_t n, const char *have)
{
	while (n) {
		size_t k = 0, m;
		const char *p = have;
		bool found = false;

		while (k < n && want[k] != ',')
			k++;
		while (*p && *p != ' ' && !found) {
			m = strcspn(p, ", ");
			found = m == k && !memcmp(p, want, k);
			p += m + (p[m] == ',');
		}
		if (!found)
			return false;
		n -= k;
		want += k;
		if (n) {
			want++;
			n--;
		}
	}
	return true;
}

/* Does one of @list allow all that @scope (@n bytes) does? */
static bool covered(const char *list, const char *scope, size_t n)
{
	const char *colon = memrchr(scope, ':', n);
	size_t name = colon ? (size_t)(colon - scope) : n;

	while (*list) {
		size_t k = strcspn(list, " ");

		if (k == n && !memcmp(list, scope, n))
			return true;
		if (colon && k > name && list[name] == ':' && !memcmp(list, scope, name) &&
			actions_in(colon + 1, n - name - 1, list + name + 1))
			return true;
		list += k + (list[k] == ' ');
	}
	return false;
}

/* What is asked of the token server: what we need, and what the registry says that we need. */
static int scopes_of(const struct reg_http *h, char *out, size_t cap)
{
	const struct reg_origin *o = h->origin;
	const char *p = o->bearer->scope;
	struct msb_str s = {.buf = out, .cap = cap, .fixed = true};
	size_t count = 0;

	*out = '\0';
	if (o->site && h->scopes) {
		msb_str_adds(&s, h->scopes);
		for (const char *q = h->scopes; q; q = strchr(q + 1, ' '))
			count++;
	}
	while (*p) {
		size_t n = strcspn(p, " ");

		if (n && !covered(out, p, n)) {
			if (++count > REG_MAX_SCOPES)
				return -E2BIG;
			msb_str_adds(&s, s.len ? " " : "");
			msb_str_add(&s, p, n);
		}
		p += n + (p[n] == ' ');
	}
	return s.len + 1 < cap ? 0 : -E2BIG;
}

/* ---- the token server */

static int take_answer(struct reg_http *h, const void *p, size_t n, struct msb_err *e)
{
	struct reg_token *t = h->owner;

	if (t->answer.len + n > REG_MAX_TOKEN_BYTES)
		return msb_err_set(e, E2BIG, "the token server of %s sends more than %u bytes",
			h->site->host, REG_MAX_TOKEN_BYTES);
	msb_str_add(&t->answer, p, n);
	return t->answer.oom ? msb_err_set(e, ENOMEM, "out of memory") : 0;
}

static void answer_again(struct reg_http *h)
{
	struct reg_token *t = h->owner;

	if (t->answer.buf)
		explicit_bzero(t->answer.buf, t->answer.len);
	msb_str_done(&t->answer);
}

static void have_token(struct reg_http *h, int r, const struct msb_err *why)
{
	struct reg_token *t = h->owner;
	struct reg_net *n = h->net;
	struct msb_err e = {0};
	struct reg_http *w;
	uint64_t sec = 0;

	t->fetch = NULL; /* @h, which goes with this call */
	wipe(&t->form);
	if (r == 0) {
		r = reg_token_parse(
			t->answer.buf ? t->answer.buf : "", t->answer.len, &t->value, &sec);
		if (r < 0)
			msb_err_set(&e, r == -EBADMSG ? EBADMSG : -r,
				"the token server of %s gave no token that can be used",
				h->site->host);
	} else {
		e = *why;
	}
	answer_again(h);
	t->stale_ms = msb_now_ms() + sec * 1000;
	if (sec * 1000 > 2 * MARGIN_MS)
		t->stale_ms -= MARGIN_MS;
again:
	TAILQ_FOREACH(w, &n->all, link)
	{
		if (w->state != REG_HTTP_TOKEN || w->token != t)
			continue;
		w->token = NULL;
		if (r < 0)
			reg_http_end(w, r, &e);
		else
			reg_http_ask(w);
		goto again; /* the list is another */
	}
	if (r < 0)
		drop_token(t);
}

static const struct reg_http_ops token_ops = {
	.again = answer_again,
	.data = take_answer,
	.done = have_token,
};

static void add_escaped(struct msb_str *s, const char *key, const char *value)
{
	char *v = curl_easy_escape(NULL, value, (int)strlen(value));

	msb_str_addf(s, "%s%s=%s", s->len ? "&" : "", key, v ? v : "");
	s->oom |= !v;
	if (v)
		explicit_bzero(v, strlen(v));
	curl_free(v);
}

/* docker's way: GET with what is wanted in the query. */
static char *query_url(const struct reg_challenge *c, const char *scopes, const char *user)
{
	struct msb_str q = MSB_STR_INIT;
	char *url = NULL, one[REG_MAX_SCOPE_BYTES];

	if (*c->service)
		add_escaped(&q, "service", c->service);
	while (*scopes) {
		size_t n = strcspn(scopes, " ");

		(void)snprintf(one, sizeof(one), "%.*s", (int)n, scopes);
		add_escaped(&q, "scope", one);
		scopes += n + (scopes[n] == ' ');
	}
	if (*user)
		add_escaped(&q, "account", user);
	add_escaped(&q, "client_id", "msb");
	if (!q.oom &&
		asprintf(&url, "%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?', q.buf) < 0)
		url = NULL;
	msb_str_done(&q);
	return url;
}

/* OAuth 2's: POST with a refresh token. */
static char *refresh_form(const struct reg_challenge *c, const char *scopes, const char *secret)
{
	struct msb_str s = MSB_STR_INIT;

	add_escaped(&s, "grant_type", "refresh_token");
	add_escaped(&s, "service", c->service);
	add_escaped(&s, "client_id", "msb");
	add_escaped(&s, "scope", scopes);
	add_escaped(&s, "refresh_token", secret);
	if (s.oom)
		msb_str_done(&s);
	return s.buf;
}

static int fetch(struct reg_http *h, struct reg_token *t, struct msb_err *e)
{
	static const struct reg_cred nobody = {0};
	const struct reg_origin *o = h->origin;
	const struct reg_cred *c = o->site ? &o->site->cred : &nobody;
	bool identity = c->kind == REG_CRED_IDENTITY;
	struct reg_http *f = reg_http_new(h->net, h->site, identity ? "POST" : "GET");

	if (!f)
		return msb_err_set(e, ENOMEM, "out of memory");
	f->is_token = true;
	f->ops = &token_ops;
	f->owner = t;
	f->what = "token";
	f->accept = "application/json";
	if (identity) {
		t->form = refresh_form(o->bearer, t->scopes, c->secret);
		f->form = t->form;
		f->url = t->form ? strdup(o->bearer->realm) : NULL;
	} else {
		f->url = query_url(o->bearer, t->scopes, c->user);
		f->token_shown = c->kind == REG_CRED_PASSWORD ? basic(c) : NULL;
	}
	if (!f->url || (c->kind == REG_CRED_PASSWORD && !f->token_shown)) {
		reg_http_cancel(f);
		return msb_err_set(e, ENOMEM, "out of memory");
	}
	t->fetch = f;
	reg_http_start(f);
	return 0;
}

static bool waited_for(const struct reg_net *n, const struct reg_token *t)
{
	const struct reg_http *h;

	TAILQ_FOREACH(h, &n->all, link)
	if (h->token == t)
		return true;
	return t->fetch != NULL;
}

/* The token of @scopes, or room for it. NULL: all are in use. */
static struct reg_token *find_token(
	struct reg_net *n, const struct reg_origin *o, const char *scopes)
{
	struct reg_token *room = NULL;

	for (size_t i = 0; i < REG_MAX_TOKENS; i++) {
		struct reg_token *t = &n->tokens[i];

		if (t->origin == o && !strcmp(t->scopes, scopes))
			return t;
		if (!waited_for(n, t) && (!room || t->stale_ms < room->stale_ms))
			room = t;
	}
	if (!room)
		return NULL;
	drop_token(room);
	room->scopes = strdup(scopes);
	room->origin = room->scopes ? o : NULL;
	return room->scopes ? room : NULL;
}

static int bearer_header(struct reg_http *h, char **ret, struct msb_err *e)
{
	char scopes[REG_MAX_SCOPE_BYTES];
	struct reg_token *t;
	int r;

	if (h->origin->site && h->origin->site->cred.kind == REG_CRED_BEARER) {
		*ret = bearer(h->origin->site->cred.secret);
		return *ret ? 0 : msb_err_set(e, ENOMEM, "out of memory");
	}
	r = scopes_of(h, scopes, sizeof(scopes));
	if (r < 0)
		return msb_err_set(e, E2BIG, "%s wants a token of more than %d scopes",
			h->site->host, REG_MAX_SCOPES);
	t = find_token(h->net, h->origin, scopes);
	if (!t)
		return msb_err_set(
			e, E2BIG, "%s wants more than %d tokens", h->site->host, REG_MAX_TOKENS);
	if (t->value && t->stale_ms > msb_now_ms()) {
		wipe(&h->token_shown);
		h->token_shown = strdup(t->value);
		*ret = h->token_shown ? bearer(t->value) : NULL;
		return *ret ? 0 : msb_err_set(e, ENOMEM, "out of memory");
	}
	if (!t->fetch) {
		wipe(&t->value);
		r = fetch(h, t, e);
		if (r < 0)
			return r;
	}
	h->token = t;
	return 1;
}

static int token_header(struct reg_http *h, char **ret, struct msb_err *e)
{
	struct reg_url first;

	/* A redirect elsewhere goes without. */
	if (!h->token_shown || reg_url_split(h->url, &first) < 0 ||
		strcmp(first.origin, h->at.origin) != 0)
		return 0;
	*ret = strdup(h->token_shown);
	return *ret ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

int reg_auth_header(struct reg_http *h, char **ret_header, struct msb_err *e)
{
	const struct reg_origin *o = h->origin;

	*ret_header = NULL;
	h->basic_shown = false;
	if (h->is_token)
		return token_header(h, ret_header, e);
	if (o->auth == REG_AUTH_BEARER)
		return bearer_header(h, ret_header, e);
	if (o->auth != REG_AUTH_BASIC)
		return 0;
	if (!o->site || o->site->cred.kind != REG_CRED_PASSWORD)
		return 0;
	*ret_header = basic(&o->site->cred);
	h->basic_shown = true;
	return *ret_header ? 0 : msb_err_set(e, ENOMEM, "out of memory");
}

void reg_auth_forget(struct reg_net *n, const struct reg_http *h)
{
	for (size_t i = 0; i < REG_MAX_TOKENS; i++)
		if (n->tokens[i].fetch == h)
			n->tokens[i].fetch = NULL;
}

/* ---- 401 */

static int wants_login(const struct reg_http *h, struct msb_err *e)
{
	const struct reg_token *t = h->is_token ? h->owner : NULL;
	const struct reg_site *site = t ? t->origin->site : h->origin->site;
	const struct reg_cred *c = site ? &site->cred : NULL;

	if (!site)
		return msb_err_set(e, EACCES, "%s leads to %s for the %s, which wants a login",
			h->site->host, h->at.host, h->what);
	if (c->kind == REG_CRED_NONE)
		return msb_err_set(e, EACCES,
			"%s wants a login for the %s, or it is not there: write `login %s USER` to "
			"images/ctl, or log in with docker or podman",
			h->site->host, h->what, h->site->host);
	return msb_err_set(e, EACCES, "%s does not accept the login%s%s for the %s", h->site->host,
		*c->user ? " of " : "", c->user, h->what);
}

/* The realm is the registry's word: credentials never go over plain HTTP for it, unless the
 * registry itself is asked so. */
static bool realm_good(const struct reg_http *h, const char *realm)
{
	struct reg_url u;

	return reg_url_split(realm, &u) == 0 &&
	       (u.tls || (!h->at.tls && (h->net->cfg->plain_http || reg_host_is_loopback(u.host))));
}

static int bearer_challenged(struct reg_http *h, const struct reg_challenge *c, struct msb_err *e)
{
	struct reg_origin *o = h->origin;

	if (!realm_good(h, c->realm))
		return msb_err_set(e, EBADMSG,
			"%s names a token server that cannot be trusted with a login",
			h->site->host);
	if (o->site && o->site->cred.kind == REG_CRED_BEARER && o->auth == REG_AUTH_BEARER)
		return wants_login(h, e);
	if (!o->bearer)
		o->bearer = malloc(sizeof(*o->bearer));
	if (!o->bearer)
		return msb_err_set(e, ENOMEM, "out of memory");
	*o->bearer = *c;
	o->auth = REG_AUTH_BEARER;
	/* The one that was refused; another may have fetched a new one meanwhile. */
	for (size_t i = 0; i < REG_MAX_TOKENS; i++) {
		struct reg_token *t = &h->net->tokens[i];

		if (h->token_shown && t->origin == o && t->value && !t->fetch &&
			!strcmp(t->value, h->token_shown))
			wipe(&t->value);
	}
	return 0;
}

int reg_auth_challenged(struct reg_http *h, struct msb_err *e)
{
	struct reg_challenge *c = calloc(REG_MAX_CHALLENGES, sizeof(*c));
	const struct reg_challenge *want_basic = NULL, *want_bearer = NULL;
	int n = c ? reg_challenge_parse(h->authenticate, strlen(h->authenticate), c) : -ENOMEM, r;

	for (int i = 0; i < n; i++) {
		if (c[i].scheme == REG_AUTH_BASIC && !want_basic)
			want_basic = &c[i];
		if (c[i].scheme == REG_AUTH_BEARER && !want_bearer)
			want_bearer = &c[i];
	}
	if (n < 0)
		r = msb_err_set(e, -n, "%s asks for a login in a way that is not understood",
			h->site->host);
	else if (++h->auth_tries > MAX_TRIES || h->is_token)
		r = wants_login(h, e);
	else if (want_bearer)
		r = bearer_challenged(h, want_bearer, e);
	else if (!want_basic || h->basic_shown || !h->origin->site ||
		 h->origin->site->cred.kind != REG_CRED_PASSWORD)
		r = wants_login(h, e);
	else {
		h->origin->auth = REG_AUTH_BASIC;
		r = 0;
	}
	free(c);
	return r;
}
