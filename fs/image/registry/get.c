// SPDX-License-Identifier: Apache-2.0
// Fetching: a manifest in one piece, a blob in ranges at once where the registry can do that.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/registry/request.h"

#include <string.h>

/* Everything below r->next is there, or belongs to one of the chunks. */
static uint64_t prefix(const struct reg_request *r)
{
	uint64_t p = r->next;

	for (size_t i = 0; i < REG_MAX_RANGES; i++)
		if (r->chunk[i].h && r->chunk[i].at < p)
			p = r->chunk[i].at;
	return p;
}

static unsigned int active(const struct reg_request *r)
{
	unsigned int n = 0;

	for (size_t i = 0; i < REG_MAX_RANGES; i++)
		n += r->chunk[i].h != NULL;
	return n;
}

static struct reg_chunk *chunk_of(const struct reg_http *h)
{
	struct reg_request *r = h->owner;

	for (size_t i = 0; i < REG_MAX_RANGES; i++)
		if (r->chunk[i].h == h)
			return &r->chunk[i];
	return NULL;
}

static void drop_chunks(struct reg_request *r)
{
	uint64_t p = prefix(r);

	for (size_t i = 0; i < REG_MAX_RANGES; i++) {
		reg_http_cancel(r->chunk[i].h);
		r->chunk[i].h = NULL;
	}
	r->next = p;
}

static void again(struct reg_http *h)
{
	struct reg_request *r = h->owner;
	struct reg_chunk *c = chunk_of(h);
	bool part = !r->manifest && !r->no_ranges && (c->at > 0 || c->end < r->size);

	c->skip = 0;
	if (r->manifest)
		c->at = 0; /* it may be another one by now */
	h->range_first = part ? c->at : 0;
	h->range_last = part ? c->end - 1 : 0;
}

static int lie(const struct reg_http *h, struct msb_err *e, const char *what)
{
	return msb_err_set(e, EBADMSG, "%s: %s: %s; refused", h->site->host, h->what, what);
}

static int head_of_part(
	struct reg_http *h, struct reg_request *r, struct reg_chunk *c, struct msb_err *e)
{
	uint64_t first, last, total;

	if (!h->range_last)
		return lie(h, e, "it sends a part and was asked for the whole");
	if (reg_content_range(h->content_range, &first, &last, &total) < 0 || first != c->at ||
		last >= c->end || (total != REG_UNKNOWN && total != r->size) ||
		(h->bytes != REG_UNKNOWN && h->bytes != last - first + 1))
		return lie(h, e, "it sends another part than it was asked for");
	r->ranges = true;
	return 0;
}

static int head(struct reg_http *h, struct msb_err *e)
{
	struct reg_request *r = h->owner;
	struct reg_chunk *c = chunk_of(h);

	(void)snprintf(r->media_type, sizeof(r->media_type), "%s", h->media_type);
	if (*h->digest) /* what the place that it leads to says is not the registry's word */
		(void)snprintf(r->digest, sizeof(r->digest), "%s", h->digest);
	if (r->manifest && h->bytes != REG_UNKNOWN && h->bytes > REG_MAX_MANIFEST_BYTES)
		return msb_err_set(e, E2BIG,
			"%s: %s has %llu bytes, more than the %u of a manifest", h->site->host,
			h->what, (unsigned long long)h->bytes, REG_MAX_MANIFEST_BYTES);
	if (h->status == 206)
		return head_of_part(h, r, c, e);
	if (r->size != REG_UNKNOWN && h->bytes != REG_UNKNOWN && h->bytes != r->size)
		return msb_err_set(e, EBADMSG,
			"%s: %s: it sends %llu bytes, there should be %llu; refused", h->site->host,
			h->what, (unsigned long long)h->bytes, (unsigned long long)r->size);
	if (h->range_last) {
		/* All of it, from the start: this one is the only one from here on. */
		r->no_ranges = true;
		if (active(r) > 1)
			return -ERESTART;
		c->skip = c->at;
		c->end = r->next = r->size;
	} else if (r->no_ranges) {
		c->skip = c->at;
	}
	return 0;
}

static int data(struct reg_http *h, const void *p, size_t n, struct msb_err *e)
{
	struct reg_request *r = h->owner;
	struct reg_chunk *c = chunk_of(h);
	size_t skip = n < c->skip ? n : (size_t)c->skip;
	int err;

	c->skip -= skip;
	p = (const char *)p + skip;
	n -= skip;
	if (n > c->end - c->at) {
		if (r->manifest && r->size == REG_UNKNOWN)
			return msb_err_set(e, E2BIG,
				"%s: %s has more than the %u bytes of a manifest", h->site->host,
				h->what, REG_MAX_MANIFEST_BYTES);
		return lie(h, e, "it sends more than there should be");
	}
	err = n ? msb_pwrite_full(r->fd, p, n, c->at) : 0;
	if (err < 0) {
		r->local = true;
		return msb_err_set(e, -err, "cannot write the %s: %s", h->what, strerror(-err));
	}
	c->at += n;
	r->ready = prefix(r);
	if (!r->manifest)
		reg_request_progress(r);
	return 0;
}

static int check(struct reg_http *h, struct msb_err *e)
{
	struct reg_request *r = h->owner;
	const struct reg_chunk *c = chunk_of(h);

	if (r->manifest && r->size == REG_UNKNOWN)
		return 0;
	return c->at == c->end ? 0 : -EAGAIN;
}

static bool whole(const struct reg_http *h)
{
	const struct reg_request *r = h->owner;
	const struct reg_chunk *c = chunk_of(h);

	return !(r->manifest && r->size == REG_UNKNOWN) && c->at == c->end;
}

static int start_chunk(struct reg_request *r);

static void finish(struct reg_request *r)
{
	char bytes[24];

	if (!r->manifest)
		reg_request_progress(r);
	(void)snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)r->ready);
	reg_request_ok(r, (const char *const[][2]){{"bytes", bytes}, {"media_type", r->media_type},
				  {"digest", r->digest}, {NULL, NULL}});
}

static void done(struct reg_http *h, int err, const struct msb_err *e)
{
	struct reg_request *r = h->owner;
	struct reg_chunk *c = chunk_of(h);

	if (err < 0) {
		uint64_t there = prefix(r);

		/* What is there stays; the rest is another's now. */
		c->h = NULL;
		drop_chunks(r);
		r->next = there;
		if (err == -ERESTART)
			err = start_chunk(r);
		if (err < 0)
			reg_request_failed(r, err, e);
		return;
	}
	if (r->manifest)
		r->ready = r->next = c->at;
	c->h = NULL;
	if (!r->manifest)
		r->ready = prefix(r);
	if (r->manifest || (r->ready == r->size && !active(r))) {
		finish(r);
		return;
	}
	if (r->next < r->size) {
		err = start_chunk(r);
		if (err < 0)
			reg_request_error(r, err, NULL);
	}
}

static const struct reg_http_ops http_ops = {
	.again = again,
	.head = head,
	.data = data,
	.check = check,
	.whole = whole,
	.done = done,
};

/* The next range, in a free place. */
static int start_chunk(struct reg_request *r)
{
	struct reg_http *h = reg_http_new(r->serve->net, reg_request_site(r), "GET");
	struct reg_chunk *c = r->chunk;

	while (c->h)
		c++;
	if (!h)
		return -ENOMEM;
	h->ops = &http_ops;
	h->owner = r;
	h->what = r->what;
	h->scopes = r->scopes;
	h->accept = r->manifest ? reg_manifest_types : NULL;
	h->direct = r->manifest ? NULL : &r->direct;
	h->next = r->ready > 0;
	h->url = reg_request_url(r, r->manifest ? "manifests" : "blobs", r->name);
	if (!h->url) {
		reg_http_cancel(h);
		return -ENOMEM;
	}
	c->h = h;
	c->at = r->next;
	c->end = r->manifest && r->size == REG_UNKNOWN ? REG_MAX_MANIFEST_BYTES : r->size;
	if (!r->manifest && !r->no_ranges && c->end - c->at > REG_RANGE_BYTES)
		c->end = c->at + REG_RANGE_BYTES;
	r->next = c->end;
	reg_http_start(h);
	return 0;
}

static int start(struct reg_request *r, const struct msb_msg *m, struct msb_err *e)
{
	uint64_t offset = 0;
	int err;

	if (!msb_msg_get(m, "what"))
		return msb_err_set(e, EINVAL, "get needs to know what: a manifest or a blob");
	if (msb_msg_get_u64(m, "size", &r->size) < 0 || (r->manifest && r->size == 0))
		r->size = REG_UNKNOWN;
	(void)msb_msg_get_u64(m, "offset", &offset);
	if (r->manifest && r->size != REG_UNKNOWN && r->size > REG_MAX_MANIFEST_BYTES)
		return msb_err_set(
			e, E2BIG, "a manifest has at most %u bytes", REG_MAX_MANIFEST_BYTES);
	if (!r->manifest && (r->size > INT64_MAX || offset > r->size))
		return msb_err_set(e, EINVAL, "the %s needs its size", r->what);
	r->ready = r->told = r->next = r->manifest ? 0 : offset;
	if (!r->manifest && offset == r->size) {
		finish(r);
		return 0;
	}
	err = start_chunk(r);
	return err < 0 ? msb_err_set(e, -err, "%s", strerror(-err)) : 0;
}

static int elsewhere(struct reg_request *r)
{
	drop_chunks(r);
	r->ranges = r->no_ranges = false;
	free(steal_ptr(r->direct));
	if (r->manifest)
		r->next = 0;
	(void)snprintf(r->scopes, sizeof(r->scopes), "repository:%s%s:pull",
		reg_request_site(r)->prefix, r->serve->cfg->repo);
	return start_chunk(r);
}

/* More ranges at once, where there is room that nobody else waits for. */
static void turn(struct reg_request *r)
{
	while (r->ranges && !r->no_ranges && r->next < r->size && active(r) < REG_MAX_RANGES &&
		reg_net_free_slots(r->serve->net) > 0)
		if (start_chunk(r) < 0)
			return; /* those that run go on */
}

const struct reg_request_ops reg_get_ops = {
	.verb = "get",
	.needs_fd = true,
	.start = start,
	.elsewhere = elsewhere,
	.stop = drop_chunks,
	.turn = turn,
};
