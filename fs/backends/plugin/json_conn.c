// SPDX-License-Identifier: Apache-2.0
/*
 * plugin, protocol=json: one question a line, one answer a line.
 *
 * Theory of operation. The plugin speaks first: which operations it wants to be asked about, for
 * which paths, which it wants to be told of afterwards, and by what rules it wants others judged
 * without being asked. Everything else goes to the backend below with no round trip. Files have no
 * ids here but their paths, so a plugin started anew goes on where the old one ended.
 */
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"

#include <string.h>

#define SMALL PLUGIN_BUFFER /* what the buffer shrinks to again */

static struct plug *of(struct plug_conn *c)
{
	return (struct plug *)((char *)c - offsetof(struct plug, conn));
}

/* ---- what comes in */

static int resize(struct plug_buf *b, size_t cap)
{
	uint8_t *p = realloc(b->p, cap);

	if (!p)
		return -ENOMEM;
	b->p = p;
	b->cap = cap;
	return 0;
}

/* The bytes of the next line, its end included, at b->p + b->at. */
static int need_line(struct plug_conn *c, struct plug_buf *b, size_t *ret)
{
	size_t seen = 0;

	for (;;) {
		const uint8_t *end = memchr(b->p + b->at + seen, '\n', b->end - b->at - seen);
		int r = 0;

		if (end) {
			*ret = (size_t)(end - b->p) + 1 - b->at;
			return 0;
		}
		seen = b->end - b->at;
		if (seen == b->cap)
			r = b->cap < PLUGIN_MAX_LINE ? resize(b, b->cap * 2) : -EMSGSIZE;
		if (r == 0)
			r = plug_more(c, b);
		if (r < 0)
			return r;
	}
}

static int take_says(struct plug *p, json_t *o)
{
	struct pj_says *s = calloc(1, sizeof(*s)), *old;
	int r = s ? pj_says_read(o, s) : -ENOMEM;

	json_decref(o);
	if (r < 0) {
		free(s);
		return r;
	}
	{
		LOCK_SCOPE(&p->says_lock);
		old = p->says;
		p->says = s;
	}
	free(old);
	fsb_rules_set(p->rules, &s->rules); /* nobody else frees it */
	p->said = true;
	plug_ready(&p->conn);
	return 0;
}

static int take_answer(struct plug *p, json_t *o)
{
	const json_t *id = json_object_get(o, "id");
	struct plug_call *call = NULL;

	if (!json_is_integer(id)) {
		json_decref(o);
		return -EBADMSG;
	}
	if (json_integer_value(id) > 0)
		call = plug_reply_begin(&p->conn, (uint64_t)json_integer_value(id));
	if (!call) { /* nobody waits for it */
		json_decref(o);
		return 0;
	}
	call->object = o;
	plug_reply_end(&p->conn, call, 0);
	return 0;
}

static int json_receive(struct plug_conn *c, struct plug_buf *b)
{
	struct plug *p = of(c);
	size_t n = 0;
	json_t *o;
	int r = need_line(c, b, &n);

	if (r < 0)
		return r;
	if (b->fd >= 0) /* descriptors are no part of this */
		close(steal_fd(&b->fd));
	o = pj_decode((const char *)b->p + b->at, n);
	b->at += n;
	if (b->at == b->end && b->cap > SMALL) {
		b->at = b->end = 0;
		r = resize(b, SMALL);
	}
	if (r < 0 || !o) {
		json_decref(o);
		return r < 0 ? r : -EBADMSG;
	}
	return p->said ? take_answer(p, o) : take_says(p, o);
}

static void json_ended(struct plug_conn *c)
{
	of(c)->said = false;
}

const struct plug_proto plug_json_proto = {
	.receive = json_receive,
	.ended = json_ended,
};

/* ---- who wants to be asked */

int pj_wait_said(struct fsb *b)
{
	uint32_t epoch;

	return plug_wait_ready(&plug_of(b)->conn, &epoch);
}

int pj_get(struct plug *p, uint64_t node, struct pf_node *ret)
{
	int r = plug_wait_ready(&p->conn, &ret->epoch);

	ret->p = p;
	ret->n = NULL;
	ret->pid = 0;
	if (r < 0)
		return r;
	ret->n = pn_get(&p->nodes, node);
	if (!ret->n)
		return -ESTALE;
	ret->inner = ret->n->inner;
	return 0;
}

static int path_of(const struct pf_node *n, const char *name, char buf[static PLUGIN_MAX_PATH])
{
	int r = pn_path(&n->p->nodes, n->n, buf);
	size_t at;

	if (r < 0 || !name)
		return r;
	at = strlen(buf);
	if (at > 1)
		buf[at++] = '/';
	if (at + strlen(name) >= PLUGIN_MAX_PATH)
		return -ENAMETOOLONG;
	memcpy(buf + at, name, strlen(name) + 1);
	return 0;
}

static bool wants(const struct pf_node *n, uint32_t op, bool after, const char *name)
{
	char path[PLUGIN_MAX_PATH];
	int r;

	LOCK_SCOPE(&n->p->says_lock);
	if (!n->p->says || !((after ? n->p->says->after : n->p->says->ops) & FSB_OP_BIT(op)))
		return false;
	/* A directory's list may hold what is wanted, whatever its own path is. */
	if (n->p->says->npaths == 0 || op == FSB_READDIR)
		return true;
	r = path_of(n, name, path);
	return r < 0 || pj_says_path(n->p->says, path);
}

bool pj_asks(const struct pf_node *n, enum fsb_op op, const char *name)
{
	return wants(n, op, false, name);
}

bool pj_asks_after(const struct pf_node *n, enum fsb_op op, const char *name)
{
	return wants(n, op, true, name);
}

/* ---- what goes out */

void pj_add_string(struct msb_str *s, const char *key, const char *value)
{
	msb_str_addf(s, ",\"%s\":", key);
	msb_str_add_json(s, value, strlen(value));
}

void pj_add_number(struct msb_str *s, const char *key, uint64_t value)
{
	msb_str_addf(s, ",\"%s\":%llu", key, (unsigned long long)value);
}

int pj_add_path(struct msb_str *s, const char *key, const struct pf_node *n, const char *name)
{
	char path[PLUGIN_MAX_PATH];
	int r = path_of(n, name, path);

	if (r == -ESTALE) { /* without a place: the file that was there */
		path[0] = '\0';
		r = 0;
	}
	if (r == 0 && !msb_utf8_valid(path, strlen(path)))
		r = -EILSEQ;
	if (r == 0)
		pj_add_string(s, key, path);
	return r;
}

static void add_id(struct msb_str *s, const char *key, uint32_t id)
{
	if (id == FSB_UNKNOWN_ID)
		msb_str_addf(s, ",\"%s\":null", key);
	else
		pj_add_number(s, key, id);
}

int pj_begin(struct msb_str *s, const struct pf_node *n, enum fsb_op op, const char *name,
	const struct fsb_req *req)
{
	msb_str_addf(s, "\"op\":\"%s\"", fsb_op_name(op));
	if (!req)
		req = fsb_asking;
	if (req) {
		add_id(s, "uid", req->uid);
		add_id(s, "gid", req->gid);
		pj_add_number(s, "pid", req->pid);
	}
	return pj_add_path(s, "path", n, name);
}

struct numbered {
	struct iovec *first;
	char text[32];
};

static void number(void *arg, uint64_t id)
{
	struct numbered *m = arg;

	m->first->iov_base = m->text;
	m->first->iov_len =
		(size_t)snprintf(m->text, sizeof(m->text), "{\"id\":%llu,", (unsigned long long)id);
}

static void no_number(void *arg, uint64_t id)
{
}

int pj_ask(struct plug *p, struct msb_str *s, json_t **ret)
{
	struct iovec v[3];
	struct numbered m = {.first = v};
	struct plug_call call = {0};
	enum pj_verdict verdict;
	int r, error;

	if (ret)
		*ret = NULL;
	if (s->oom)
		return -ENOMEM;
	v[0] = (struct iovec){0};
	v[1] = (struct iovec){s->buf, s->len};
	v[2] = (struct iovec){(char[]){"}\n"}, 2};
	r = plug_call_run(&p->conn, &call, v, 3, number, &m);
	if (r < 0) {
		json_decref(call.object);
		return -EIO;
	}
	r = pj_verdict_read(call.object, &verdict, &error);
	if (r < 0) {
		plug_break(&p->conn, "its answer breaks the protocol");
		r = -EIO;
	} else if (verdict != PJ_DONE) {
		r = verdict == PJ_PASS ? -PLUGIN_PASS : error;
	}
	/* "pass" may come with something of its own: a directory's list does. */
	if (ret && (r == 0 || r == -PLUGIN_PASS))
		*ret = call.object;
	else
		json_decref(call.object);
	return r;
}

int pj_simple(const struct pf_node *n, enum fsb_op op, const char *name, const struct fsb_req *req,
	json_t **ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	if (ret)
		*ret = NULL;
	if (!pj_asks(n, op, name))
		return -PLUGIN_PASS;
	r = pj_begin(&s, n, op, name, req);
	return r < 0 ? r : pj_ask(n->p, &s, ret);
}

int64_t pj_after(const struct pf_node *n, enum fsb_op op, const char *name, int64_t r)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct iovec v;

	if (!pj_asks_after(n, op, name))
		return r;
	msb_str_adds(&s, "{");
	if (pj_begin(&s, n, op, name, NULL) < 0)
		return r;
	msb_str_addf(&s, ",\"after\":true,\"result\":%lld}\n", (long long)r);
	v = (struct iovec){s.buf, s.len};
	if (!s.oom)
		(void)plug_post(&n->p->conn, 0, &v, 1, no_number, NULL);
	return r;
}
