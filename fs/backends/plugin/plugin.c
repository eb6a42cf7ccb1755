// SPDX-License-Identifier: Apache-2.0
// plugin: an instance from its start to its end, and what both protocols share.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/filter.h"
#include "fs/fsd.h"
#include "fs/options.h"

#include <string.h>

/* ---- what a kernel may believe. Four steps each of an entry's and the attributes' time, and the
 * two flags of an open that a guest's kernel is told. */

static const uint32_t steps_ms[] = {0, 100, 1000, 10000};

#define CACHE(e, a, flags)                                                                         \
	{                                                                                          \
		.entry_ms = (e), .attr_ms = (a), .negative_ms = (e), .open_flags = (flags)         \
	}
#define OPEN_FLAGS(e, a)                                                                           \
	CACHE(e, a, 0), CACHE(e, a, FOPEN_DIRECT_IO), CACHE(e, a, FOPEN_KEEP_CACHE),               \
		CACHE(e, a, FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE)
#define ATTRS(e) OPEN_FLAGS(e, 0), OPEN_FLAGS(e, 100), OPEN_FLAGS(e, 1000), OPEN_FLAGS(e, 10000)

static const struct fsb_cache caches[] = {ATTRS(0), ATTRS(100), ATTRS(1000), ATTRS(10000)};

static uint8_t step(uint64_t ms)
{
	uint8_t i = ARRAY_LEN(steps_ms) - 1;

	while (i && ms < steps_ms[i])
		i--;
	return i;
}

uint8_t plug_cache_index(uint64_t entry_ms, uint64_t attr_ms)
{
	return (uint8_t)(step(entry_ms) << 2 | step(attr_ms));
}

const struct fsb_cache *plug_cache(struct fsb *b, uint64_t node)
{
	struct plug *p = plug_of(b);
	struct pn *n = pn_get(&p->nodes, node);
	const struct fsb_cache *c = NULL;
	uint64_t pid;

	if (!n)
		return NULL;
	if (pn_pid(&p->nodes, n, 0, &pid) == 0 && !pid && !n->open_flags)
		c = HAS_BELOW(p, n->inner, cache) ? BELOW(p, cache, n->inner) : NULL;
	else
		c = &caches[n->cache << 2 | (n->open_flags & (FOPEN_DIRECT_IO | FOPEN_KEEP_CACHE))];
	pn_put(&p->nodes, n);
	return c;
}

/* What a plugin means by an id nobody can say for it: the kernel looks its names up again, and may
 * hold the old ids for as long as it likes. */
int plug_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	pn_held(&plug_of(b)->nodes, node);
	return -ESTALE;
}

/* ---- what is below */

void plug_below_forget(struct plug *p, uint64_t inner, uint64_t count)
{
	if (inner && count)
		BELOW(p, forget, inner, count);
}

void plug_below_release(struct plug *p, bool dir, uint64_t inner, uint64_t fh)
{
	const struct fsb_ops *o = p->inner->ops;

	if (dir && o->releasedir)
		o->releasedir(p->inner, inner, fh);
	else if (!dir && o->release)
		o->release(p->inner, inner, fh);
}

void plug_entry(
	struct fsb_entry *ret, uint64_t node, uint64_t generation, const struct fuse_attr *a)
{
	*ret = (struct fsb_entry){.node = node, .generation = generation, .attr = *a};
}

/* ---- an instance */

static void gone(void *arg, const struct pn *n)
{
	struct plug *p = arg;

	if (p->b.ops == &plug_fuse_ops)
		pf_forget_plugin(p, n->pid, n->epoch, n->pid_refs);
	plug_below_forget(p, n->inner, n->inner_refs);
}

void plug_stop(struct plug *p)
{
	plug_break(&p->conn, "it is being taken away");
	pn_done(&p->nodes); /* tells nobody any more, but asks the connection */
	plug_conn_done(&p->conn);
	if (p->inner)
		p->inner->ops->stop(p->inner);
	for (uint32_t i = 0; i < p->handles; i++)
		pj_list_free(p->handle[i].list);
	free(p->handle);
	free(p->says);
	(void)pthread_mutex_destroy(&p->says_lock);
	(void)pthread_mutex_destroy(&p->lists_lock);
	(void)pthread_mutex_destroy(&p->handles_lock);
	(void)pthread_mutex_destroy(&p->shm_lock);
	free(p);
}

static int start(const struct fsb_start *s, struct fsb **ret, struct msb_err *e)
{
	static const struct fsb_options defaults;
	const struct fsb_options *o = s->options ?: &defaults;
	struct plug *p;
	struct fsb *b;
	int r;

	if (s->sock_fd < 0) {
		fsb_start_close(s);
		return msb_err_set(e, EINVAL, "a plugin takes a socket to it");
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		fsb_start_close(s);
		return msb_err_set(e, ENOMEM, "no memory for a plugin");
	}
	p->b.ops = o->plugin_json ? &plug_json_ops : &plug_fuse_ops;
	p->inner = s->inner;
	atomic_store(&p->max_io, 4096);
	(void)pthread_mutex_init(&p->handles_lock, NULL);
	(void)pthread_mutex_init(&p->shm_lock, NULL);
	(void)pthread_mutex_init(&p->says_lock, NULL);
	(void)pthread_mutex_init(&p->lists_lock, NULL);
	plug_conn_init(&p->conn, o->plugin_json ? &plug_json_proto : &plug_fuse_proto,
		o->plugin_timeout_ms ?: FSB_PLUGIN_TIMEOUT_MS);
	b = &p->b;
	r = pn_init(&p->nodes, FSD_MAX_NODES, s->inner ? FSB_ROOT : 0, gone, p);
	if (r == 0 && o->plugin_json) {
		r = fsb_rules_said(b, pj_wait_said, &b, e);
		if (r < 0) {
			close(s->sock_fd);
			return r;
		}
		p->rules = b;
	}
	if (r == 0)
		r = plug_conn_attach(&p->conn, s->sock_fd);
	else
		close(s->sock_fd);
	if (r < 0) {
		b->ops->stop(b);
		return msb_err_set(e, -r, "the plugin's socket: %s", strerror(-r));
	}
	*ret = b;
	return 0;
}

/* The plugin under whatever is laid over it. */
static struct plug *find(struct fsb *b)
{
	for (struct fsb *below; (below = fsb_filter_below(b));)
		b = below;
	return b->ops == &plug_fuse_ops || b->ops == &plug_json_ops ? plug_of(b) : NULL;
}

int fsb_plugin_attach(struct fsb *b, int sock_fd)
{
	struct plug *p = find(b);

	if (p)
		return plug_conn_attach(&p->conn, sock_fd);
	close(sock_fd);
	return -EOPNOTSUPP;
}

int fsb_plugin_status(struct fsb *b, struct fsb_plugin_status *ret)
{
	struct plug *p = find(b);

	if (!p)
		return -EOPNOTSUPP;
	LOCK_SCOPE(&p->conn.lock);
	*ret = (struct fsb_plugin_status){.ready = p->conn.state == PLUG_READY,
		.broken = p->conn.state == PLUG_BROKEN,
		.starts = p->conn.epoch};
	(void)snprintf(ret->why, sizeof(ret->why), "%s", p->conn.why);
	return 0;
}

const struct fsb_kind fsb_plugin_kind = {
	.name = "plugin",
	.summary = "a process of yours, by FUSE messages or lines of JSON",
	.start = start,
};
