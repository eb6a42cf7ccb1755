// SPDX-License-Identifier: Apache-2.0
// The audit wrapper: a record of every operation that its level, operations and patterns ask for.
#include "fs/audit_sink.h"
#include "fs/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct audit {
	struct fsb_filter f; /* first */
	struct audit_sink *sink;
	uint32_t ops; /* that are recorded */
	bool uncached;
	char mount[AUDIT_MAX_MOUNT + 1];
	unsigned int nglobs;
	struct fsb_glob glob[]; /* any of them; none: every path */
};

static struct audit *of(struct fsb_filter *f)
{
	return (struct audit *)(void *)f;
}

/* What is not known may match. */
static bool wanted(const struct audit *a, const char *path, size_t n)
{
	if (!a->nglobs || path[0] == '?')
		return true;
	for (unsigned int i = 0; i < a->nglobs; i++)
		if (fsb_glob_match(&a->glob[i], path, n))
			return true;
	return false;
}

/* What moved, or was asked for. */
static uint64_t bytes_of(const struct fsb_call *c, int64_t result)
{
	switch (c->op) {
	case FSB_READ:
	case FSB_WRITE:
	case FSB_COPY_FILE_RANGE:
	case FSB_GETXATTR:
	case FSB_LISTXATTR: return result >= 0 ? (uint64_t)result : c->bytes;
	default: return c->bytes;
	}
}

static void record(
	struct audit *a, const struct fsb_call *c, int64_t result, const struct fsb_entry *made)
{
	char path[FSB_MAX_PATH], path2[FSB_MAX_PATH];
	struct audit_event ev = {.op = c->op,
		.result = result < 0 ? (int)result : 0,
		.flags = c->flags,
		.mode = c->mode,
		.off = c->op == FSB_COPY_FILE_RANGE ? c->off2 : c->off,
		.bytes = bytes_of(c, result),
		.mount = a->mount};
	size_t n;
	bool want;

	ev.path = fsb_names_path_in(
		a->f.names, c->node, c->name, c->name ? strlen(c->name) : 0, path, &n);
	ev.path_bytes = (uint16_t)n;
	want = wanted(a, ev.path, n);
	if (c->node2) {
		ev.path2 = fsb_names_path_in(
			a->f.names, c->node2, c->name2, c->name2 ? strlen(c->name2) : 0, path2, &n);
		ev.path2_bytes = (uint16_t)n;
		want = want || wanted(a, ev.path2, n);
	} else if (c->name2) {
		ev.path2 = c->name2;
		ev.path2_bytes = (uint16_t)strnlen(c->name2, FSB_MAX_PATH);
	}
	if (!want)
		return;
	if (c->req) {
		ev.pid = c->req->pid;
		ev.uid = c->req->uid;
		ev.gid = c->req->gid;
	}
	if (c->op == FSB_LOOKUP && result == 0 && made && !made->node)
		ev.result = -ENOENT;
	audit_sink_add(a->sink, &ev);
}

/* The path is put together behind the operation, which takes as long as it takes to fetch it. */
static int before(struct fsb_filter *f, const struct fsb_call *c)
{
	struct audit *a = of(f);

	if (a->ops & FSB_OP_BIT(c->op))
		fsb_names_soon(f->names, c->node);
	return 0;
}

static void after(struct fsb_filter *f, const struct fsb_call *c, int64_t result,
	const struct fsb_entry *made)
{
	struct audit *a = of(f);

	if (a->ops & FSB_OP_BIT(c->op))
		record(a, c, result, made);
}

/* A read from a cache is none that could be seen. */
static const struct fsb_cache *cache(struct fsb_filter *f, uint64_t node)
{
	static const struct fsb_cache none = {.open_flags = FOPEN_DIRECT_IO};

	return of(f)->uncached ? &none : NULL;
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {.name = "audit",
	.summary = "records operations",
	.before = before,
	.after = after,
	.cache = cache,
	.stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	const struct fsb_options *o = from->options;
	struct audit *a;

	if (!o || !o->audit) {
		*ret = next;
		return 0;
	}
	a = from->sink ? calloc(1, sizeof(*a) + o->naudit_globs * sizeof(a->glob[0])) : NULL;
	if (a)
		fsb_filter_init(&a->f, &ops, next,
			FSB_CAP_SEE_WHO | (o->audit >= FSB_AUDIT_OPENS ? FSB_CAP_SEE_OPENS : 0), 0);
	if (!a || fsb_filter_names(&a->f) < 0) {
		free(a);
		next->ops->stop(next);
		return from->sink ? msb_err_set(e, ENOMEM, "no memory to audit")
				  : msb_err_set(e, EINVAL, "audit: there is no place to write it");
	}
	a->sink = from->sink;
	a->ops = o->audit_ops ?: fsb_audit_ops(o->audit);
	a->uncached = o->audit == FSB_AUDIT_ALL;
	(void)snprintf(a->mount, sizeof(a->mount), "%s", from->mount ?: "root");
	for (; a->nglobs < o->naudit_globs; a->nglobs++)
		(void)fsb_glob_compile(o->audit_glob[a->nglobs], strlen(o->audit_glob[a->nglobs]),
			&a->glob[a->nglobs], NULL); /* checked as it was read */
	*ret = &a->f.b;
	return 0;
}

const struct fsb_kind fsb_audit_kind = {
	.name = "audit", .summary = "records operations (option audit)", .wrap = wrap};
