// SPDX-License-Identifier: Apache-2.0
// Calls of the image store that people watch.
#include "ctl/pulls.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/handle.h"
#include "ctl/image_names.h"
#include "ctl/images.h"
#include "ctl/report.h"
#include "ctl/thread.h"

#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>

struct img_call ctl_store_call(struct ctl *c, struct ctl_pull *p, int cancel_fd)
{
	struct img_call call = {.bin_dir = c->paths.bin,
		.store_fd = c->store_fd,
		.log_fd = c->log_fd,
		.cancel_fd = cancel_fd,
		.progress = p ? ctl_pull_progress : NULL,
		.arg = p};

	memcpy(call.limits, c->image_limits, sizeof(call.limits));
	return call;
}

/* ---- streams */

struct ctl_pull *ctl_pull_find(struct ctl *c, uint32_t n)
{
	for (size_t i = 0; i < c->npulls; i++)
		if (c->pull[i]->n == n)
			return c->pull[i];
	return NULL;
}

void ctl_pull_unref(struct ctl_pull *p)
{
	if (--p->refs)
		return;
	if (p->cancel_fd >= 0)
		close(p->cancel_fd);
	ctl_ring_done(&p->ring);
	free(p->ref);
	free(p);
}

/* Appends a line and wakes who waits for one; lock held. */
static void tell(struct ctl_pull *p, struct msb_str *line)
{
	msb_str_adds(line, "}\n");
	if (!line->oom)
		(void)ctl_ring_add(&p->ring, line->buf); /* out of memory: it is lost */
	pthread_cond_broadcast(&p->c->changed);
	ctl_poll_wake_pull(p->c, p->n);
}

void ctl_pulls_stop(struct ctl *c)
{
	for (size_t i = 0; i < c->npulls; i++)
		if (!c->pull[i]->ended && c->pull[i]->cancel_fd >= 0) {
			c->pull[i]->given_up = true;
			(void)eventfd_write(c->pull[i]->cancel_fd, 1); /* full: readable too */
		}
}

/* The oldest that have ended make room. */
static void keep_last(struct ctl *c)
{
	size_t ended = 0;

	for (size_t i = 0; i < c->npulls; i++)
		ended += c->pull[i]->ended;
	for (size_t i = 0; i < c->npulls && ended > CTL_MAX_PULLS;) {
		struct ctl_pull *p = c->pull[i];

		if (!p->ended) {
			i++;
			continue;
		}
		memmove(&c->pull[i], &c->pull[i + 1], (--c->npulls - i) * sizeof(c->pull[0]));
		ended--;
		ctl_pull_unref(p);
	}
}

static struct ctl_pull *pull_make(const struct ctl_req *q, const char *verb, const char *ref)
{
	struct ctl_pull *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->c = q->c;
	p->verb = verb;
	p->ref = strdup(ref);
	p->uid = q->uid;
	p->pid = q->pid;
	p->cancel_fd = -1;
	p->refs = 2; /* the table's, the caller's */
	if (p->ref && ctl_ring_init(&p->ring, CTL_MAX_PULL_LINES) == 0)
		return p;
	free(p->ref);
	free(p);
	return NULL;
}

static int wait_collected(const struct ctl_req *q, struct msb_err *e)
{
	while (q->c->collecting) {
		if (q->cancel && q->cancel->set)
			return msb_err_set(e, EINTR, "interrupted");
		pthread_cond_wait(&q->c->changed, &q->c->lock);
	}
	return 0;
}

int ctl_pull_new(const struct ctl_req *q, const char *verb, const char *ref, struct ctl_pull **ret,
	struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, name = MSB_STR_INIT;
	struct ctl *c = q->c;
	struct ctl_pull *p;
	int r = wait_collected(q, e);

	if (r < 0)
		return r;
	if (c->ending)
		return msb_err_set(e, EBUSY, "msbd is ending");
	if (c->npulls == ARRAY_LEN(c->pull))
		return msb_err_set(
			e, EAGAIN, "%zu calls of the image store are under way already", c->npulls);
	p = pull_make(q, verb, ref);
	if (!p)
		return msb_err_set(e, ENOMEM, "no memory");
	p->n = ++c->next_pull;
	c->pull[c->npulls++] = p;
	c->adding++;
	msb_str_add_json(&name, ref, strlen(ref));
	msb_str_addf(&s, "{\"seq\":%u,\"time\":", p->n);
	ctl_json_time(&s, ctl_now_usec());
	msb_str_addf(&s, ",\"verb\":\"%s\",\"ref\":%s,\"uid\":%u,\"pid\":%d", verb,
		name.buf ?: "\"\"", (unsigned int)q->uid, (int)q->pid);
	tell(p, &s);
	ctl_event(c, NULL, verb, ",\"pull\":%u,\"ref\":%s", p->n, name.buf ?: "\"\"");
	*ret = p;
	return 0;
}

void ctl_pull_progress(void *pull, const struct img_progress *g)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	unsigned int i = g->layer <= IMG_MAX_LAYERS ? g->layer : 0;
	const char *stage = g->stage ?: "", *state = g->state ?: "";
	struct ctl_pull *p = pull;
	uint64_t now = msb_now_ms();

	LOCK_SCOPE(&p->c->lock);
	/* Every change of state, and some of the bytes. */
	if (p->line_ms[i] && now - p->line_ms[i] < CTL_PULL_LINE_MS &&
		!strcmp(i ? p->line_state[i] : p->stage, i ? state : stage))
		return;
	p->line_ms[i] = now;
	if (i)
		(void)snprintf(p->line_state[i], sizeof(p->line_state[i]), "%s", state);
	else
		(void)snprintf(p->stage, sizeof(p->stage), "%s", stage);
	if (i) {
		msb_str_addf(&s, "{\"layer\":%u,\"layers\":%u,\"digest\":\"%s%s\",\"state\":", i,
			g->layers, g->digest && *g->digest ? "sha256:" : "", g->digest ?: "");
		msb_str_add_json(&s, state, strlen(state));
	} else {
		msb_str_adds(&s, "{\"stage\":");
		msb_str_add_json(&s, stage, strlen(stage));
	}
	msb_str_addf(&s, ",\"done_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64, g->done_bytes,
		g->total_bytes);
	tell(p, &s);
}

void ctl_pull_damaged(void *pull, const char *line)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_pull *p = pull;

	msb_str_adds(&s, "{\"damaged\":");
	msb_str_add_json(&s, line, strlen(line));
	log_err("the image store is damaged: %s", line);
	LOCK_SCOPE(&p->c->lock);
	tell(p, &s);
}

/* ---- collecting */

typedef char digest_text[65];

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The digests of what is to stay; NULL: no memory. */
static digest_text *to_keep(struct ctl *c, size_t *ret_n)
{
	size_t max = 1, n = 0;
	digest_text *all;

	LOCK_SCOPE(&c->lock);
	max += c->nimg;
	for (size_t i = 0; i < c->nsb; i++)
		max += c->sb[i]->npins;
	all = calloc(max, sizeof(*all));
	for (size_t i = 0; all && i < c->nimg; i++)
		memcpy(all[n++], c->img[i]->digest, sizeof(*all));
	for (size_t i = 0; all && i < c->nsb; i++)
		for (size_t k = 0; k < c->sb[i]->npins; k++)
			memcpy(all[n++], c->sb[i]->pin[k].digest, sizeof(*all));
	*ret_n = n;
	return all;
}

/* Lock held by nobody; collecting is set. */
static int collect(struct ctl *c, bool prune, struct msb_err *e)
{
	struct img_call call = ctl_store_call(c, NULL, -1);
	size_t n = 0, k = 0;
	_cleanup_free_ digest_text *all = to_keep(c, &n);
	_cleanup_free_ const char **list = calloc(n + 1, sizeof(*list));
	int r;

	if (!all || !list)
		return msb_err_set(e, ENOMEM, "no memory");
	qsort(all, n, sizeof(*all), by_text);
	for (size_t i = 0; i < n; i++)
		if (!k || strcmp(list[k - 1], all[i]) != 0)
			list[k++] = all[i];
	/* Nothing that a power cut could bring back may name what is removed. */
	r = ctl_sync(c, e);
	if (r == 0)
		r = img_gc(&call, list, prune, e);
	return r < 0 ? r : 0;
}

static void *gc_thread(void *arg)
{
	struct msb_err e = {0};
	struct ctl *c = arg;
	bool prune;

	pthread_mutex_lock(&c->lock);
	prune = c->prune_due;
	c->gc_due = c->prune_due = false;
	pthread_mutex_unlock(&c->lock);
	if (collect(c, prune, &e) < 0)
		log_warn("the image store was not cleaned: %s; `gc` tries it again", e.msg);
	pthread_mutex_lock(&c->lock);
	c->collecting = false;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int ctl_gc(const struct ctl_req *q, bool prune, struct msb_err *e)
{
	struct ctl *c = q->c;
	int r;

	pthread_mutex_lock(&c->lock);
	r = wait_collected(q, e);
	if (r < 0 || c->adding) {
		c->gc_due |= r == 0;
		c->prune_due |= r == 0 && prune;
		pthread_mutex_unlock(&c->lock);
		return r;
	}
	c->collecting = true;
	pthread_mutex_unlock(&c->lock);
	r = collect(c, prune, e);
	pthread_mutex_lock(&c->lock);
	c->collecting = false;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	return r;
}

void ctl_pull_end(struct ctl_pull *p, int r, const char *digest, const struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, what = MSB_STR_INIT;
	struct ctl *c = p->c;

	if (r < 0) {
		msb_str_addf(&s, "{\"end\":\"error\",\"errno\":\"%s\",\"msg\":",
			strerrorname_np(-r) ?: "EIO");
		msb_str_add_json(&s, e->msg, strlen(e->msg));
		msb_str_addf(&what, "\"%s\"", strerrorname_np(-r) ?: "EIO");
	} else {
		msb_str_adds(&s, "{\"end\":\"ok\"");
		if (digest)
			msb_str_addf(&s, ",\"digest\":\"sha256:%s\"", digest);
		msb_str_adds(&what, "null");
	}
	p->ended = true;
	p->result = r;
	if (r < 0)
		p->err = *e;
	tell(p, &s);
	ctl_event(c, NULL, "pull-end", ",\"pull\":%u,\"verb\":\"%s\",\"errno\":%s", p->n, p->verb,
		what.buf ?: "null");
	keep_last(c);
	ctl_pull_unref(p);
	if (--c->adding || !c->gc_due)
		return;
	c->collecting = true;
	if (ctl_thread(gc_thread, c) < 0)
		c->collecting = false; /* the next call's end, or `gc`, tries again */
}
