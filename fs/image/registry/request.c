// SPDX-License-Identifier: Apache-2.0
// The client's requests.
#include "fs/image/registry/request.h"
#include "base/cleanup.h"

#include <string.h>

const char reg_manifest_types[] = "application/vnd.oci.image.index.v1+json, "
				  "application/vnd.oci.image.manifest.v1+json, "
				  "application/vnd.docker.distribution.manifest.list.v2+json, "
				  "application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

static const struct reg_request_ops *const kinds[] = {
	&reg_get_ops, &reg_exists_ops, &reg_mount_ops, &reg_put_blob_ops, &reg_put_manifest_ops};

/* ---- answers */

static void send_or_keep(struct reg_serve *s, bool keep)
{
	struct msb_str *o;
	int r = s->out_count ? -EAGAIN : msb_msg_send(s->sock, &s->msg);

	if (r == -E2BIG) /* the descriptor's text is a server's: cut short it is still an answer */
		return;
	if (r != -EAGAIN || !keep || s->out_count == ARRAY_LEN(s->out))
		return;
	o = &s->out[(s->out_first + s->out_count++) % ARRAY_LEN(s->out)];
	msb_str_add(o, &s->msg.head_bytes, sizeof(s->msg.head_bytes));
	msb_str_add(o, s->msg.data, s->msg.head_bytes);
}

int reg_serve_flush(struct reg_serve *s)
{
	while (s->out_count) {
		struct msb_str *o = &s->out[s->out_first];
		int r;

		if (!o->oom) {
			s->msg.nfds = 0;
			s->msg.oversize = false;
			s->msg.payload_bytes = 0;
			memcpy(&s->msg.head_bytes, o->buf, sizeof(s->msg.head_bytes));
			memcpy(s->msg.data, o->buf + sizeof(s->msg.head_bytes), s->msg.head_bytes);
			r = msb_msg_send(s->sock, &s->msg);
			if (r == -EAGAIN)
				return 0;
			if (r < 0)
				return r;
		}
		msb_str_done(o);
		s->out_first = (s->out_first + 1) % ARRAY_LEN(s->out);
		s->out_count--;
	}
	return 0;
}

static void answer(struct reg_serve *s, const char *verb, uint64_t id)
{
	msb_msg_init(&s->msg, verb);
	msb_msg_set(&s->msg, "id", "%llu", (unsigned long long)id);
}

static void error_to(struct reg_serve *s, uint64_t id, int err, const struct msb_err *e)
{
	answer(s, "error", id);
	msb_msg_set(&s->msg, "code", "%d", err < 0 ? -err : EIO);
	msb_msg_set(&s->msg, "msg", "%s", e && e->code ? e->msg : strerror(err < 0 ? -err : EIO));
	send_or_keep(s, true);
}

void reg_request_progress(struct reg_request *r)
{
	if (r->ready < r->told + REG_PROGRESS_BYTES && !(r->ready == r->size && r->told < r->ready))
		return;
	answer(r->serve, "progress", r->id);
	msb_msg_set(&r->serve->msg, "ready_bytes", "%llu", (unsigned long long)r->ready);
	send_or_keep(r->serve, false); /* a client that is slow hears of a later one */
	r->told = r->ready;
}

static void end(struct reg_request *r)
{
	if (r->ops->stop)
		r->ops->stop(r);
	reg_http_cancel(r->h);
	TAILQ_REMOVE(&r->serve->all, r, link);
	r->serve->count--;
	if (r->fd >= 0)
		close(r->fd);
	free(r->direct);
	free(r->location);
	free(r);
}

void reg_request_ok(struct reg_request *r, const char *const keys[][2])
{
	struct reg_serve *s = r->serve;

	answer(s, "ok", r->id);
	for (; (*keys)[0]; keys++)
		msb_msg_set(&s->msg, (*keys)[0], "%s", (*keys)[1]);
	send_or_keep(s, true);
	end(r);
}

void reg_request_error(struct reg_request *r, int err, const struct msb_err *e)
{
	error_to(r->serve, r->id, err, e);
	end(r);
}

const struct reg_site *reg_request_site(const struct reg_request *r)
{
	return &r->serve->cfg->site[r->site];
}

static size_t next_site(const struct reg_serve *s, size_t from)
{
	while (from + 1 < s->cfg->nsites && s->dead[from])
		from++; /* the registry itself is never given up */
	return from;
}

void reg_request_failed(struct reg_request *r, int err, const struct msb_err *e)
{
	struct reg_serve *s = r->serve;
	struct msb_err e2 = {0};

	if (r->local || !r->ops->elsewhere || r->site + 1 >= s->cfg->nsites) {
		reg_request_error(r, err, e);
		return;
	}
	/* It lacks this one, or it is not there at all. */
	if (err != -ENOENT && err != -EACCES)
		s->dead[r->site] = true;
	r->site = next_site(s, r->site + 1);
	err = r->ops->elsewhere(r);
	if (err < 0) {
		(void)msb_err_set(&e2, -err, "%s", strerror(-err));
		reg_request_error(r, err, &e2);
	}
}

char *reg_request_url(const struct reg_request *r, const char *kind, const char *name)
{
	const struct reg_site *s = reg_request_site(r);
	char *url;

	return asprintf(&url, "%s/v2/%s%s/%s/%s", s->base, s->prefix, r->serve->cfg->repo, kind,
		       name) < 0
		       ? NULL
		       : url;
}

/* ---- taking them */

static bool word(const char *s, size_t max, const char *more)
{
	size_t n = s ? strlen(s) : 0;

	if (n == 0 || n >= max)
		return false;
	for (; *s; s++)
		if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') &&
			!(*s >= '0' && *s <= '9') && !strchr(more, *s))
			return false;
	return true;
}

static int named(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	const char *name = msb_msg_get(m, "name"), *what = msb_msg_get(m, "what");
	const char *repo = r->serve->cfg->repo, *from = msb_msg_get(m, "from");
	int n;

	if (!name)
		name = msb_msg_get(m, "digest");
	r->manifest = r->ops == &reg_put_manifest_ops || (what && !strcmp(what, "manifest"));
	if (!word(name, sizeof(r->name), "_.:-") ||
		(!r->manifest && strncmp(name, "sha256:", 7) != 0) ||
		(from && !word(from, REG_MAX_REPO_BYTES, "_.-/")))
		return msb_err_set(e, EINVAL, "`%s` is no name of a %s", name ? name : "",
			r->manifest ? "manifest" : "blob");
	(void)snprintf(r->name, sizeof(r->name), "%s", name);
	(void)snprintf(r->what, sizeof(r->what), "%s %s", r->manifest ? "manifest" : "blob", name);
	n = snprintf(r->scopes, sizeof(r->scopes), "repository:%s%s:%s",
		reg_request_site(r)->prefix, repo, r->serve->cfg->push ? "pull,push" : "pull");
	if (from && n > 0 && (size_t)n < sizeof(r->scopes))
		n += snprintf(
			r->scopes + n, sizeof(r->scopes) - (size_t)n, " repository:%s:pull", from);
	if (n < 0 || (size_t)n >= sizeof(r->scopes))
		return msb_err_set(e, E2BIG, "the name of the repository is too long");
	return 0;
}

static struct reg_request *find(struct reg_serve *s, uint64_t id)
{
	struct reg_request *r;

	TAILQ_FOREACH(r, &s->all, link)
	if (r->id == id)
		return r;
	return NULL;
}

static int begin(struct reg_serve *s, struct msb_msg *m, const struct reg_request_ops *ops,
	uint64_t id, struct msb_err *e)
{
	struct reg_request *r;
	int err;

	if (s->failed.code) {
		*e = s->failed;
		return -e->code;
	}
	if (s->count == REG_MAX_REQUESTS)
		return msb_err_set(e, E2BIG, "more than %d requests at once", REG_MAX_REQUESTS);
	r = calloc(1, sizeof(*r));
	if (!r)
		return msb_err_set(e, ENOMEM, "out of memory");
	r->serve = s;
	r->ops = ops;
	r->id = id;
	r->site = next_site(s, 0);
	r->fd = msb_msg_take_fd(m, 0);
	TAILQ_INSERT_TAIL(&s->all, r, link);
	s->count++;
	err = ops->needs_fd && r->fd < 0
		      ? msb_err_set(e, EINVAL, "%s needs a descriptor", ops->verb)
		      : named(r, m, e);
	if (err == 0)
		err = ops->start(r, m, e);
	if (err < 0)
		end(r);
	return err < 0 ? err : 0;
}

static int take(struct reg_serve *s, struct msb_msg *m)
{
	const char *verb = msb_msg_verb(m);
	struct msb_err e = {0};
	struct reg_request *under_way;
	uint64_t id;
	int r = -EINVAL;

	if (msb_msg_get_u64(m, "id", &id) < 0)
		return -EBADMSG;
	under_way = find(s, id);
	if (!strcmp(verb, "cancel")) {
		if (under_way) {
			(void)msb_err_set(&e, ECANCELED, "given up");
			reg_request_error(under_way, -ECANCELED, &e);
		}
		return 0;
	}
	if (under_way)
		return -EBADMSG; /* two answers could not be told apart */
	(void)msb_err_set(&e, EINVAL, "`%s` is no request", verb);
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (!strcmp(verb, kinds[i]->verb)) {
			e.code = 0;
			r = begin(s, m, kinds[i], id, &e);
		}
	if (r < 0)
		error_to(s, id, r, &e);
	return 0;
}

int reg_serve_take(struct reg_serve *s)
{
	/* The answer is built in the other one. */
	struct msb_msg *m = malloc(sizeof(*m));
	int r = m ? 0 : -ENOMEM;

	while (r == 0) {
		r = msb_msg_recv(s->sock, m);
		if (r == 0) {
			r = take(s, m);
			msb_msg_close_fds(m);
		}
	}
	free(m);
	return r == -EAGAIN ? 0 : r;
}

void reg_serve_turn(struct reg_serve *s)
{
	struct reg_request *r, *next;

	for (r = TAILQ_FIRST(&s->all); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (r->ops->turn)
			r->ops->turn(r);
	}
}

void reg_serve_done(struct reg_serve *s)
{
	struct reg_request *r;

	while ((r = TAILQ_FIRST(&s->all)))
		end(r);
	for (size_t i = 0; i < ARRAY_LEN(s->out); i++)
		msb_str_done(&s->out[i]);
}
