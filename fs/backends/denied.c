// SPDX-License-Identifier: Apache-2.0
// The denied wrapper: what rules, or a plugin, have refused is told.
#include "fs/denials.h"
#include "fs/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct denied {
	struct fsb_filter f; /* first */
	struct denials *to;
	char mount[DENIALS_MAX_MOUNT + 1];
};

static struct denied *of(struct fsb_filter *f)
{
	return (struct denied *)(void *)f;
}

static void tell(struct denied *d, const struct fsb_call *c, int error)
{
	struct denial x = {.op = c->op, .error = error};
	char path[FSB_MAX_PATH];

	(void)fsb_names_path(d->f.names, c->node, c->name, c->name ? strlen(c->name) : 0, path);
	(void)snprintf(x.path, sizeof(x.path), "%s", path);
	(void)snprintf(x.mount, sizeof(x.mount), "%s", d->mount);
	if (c->req) {
		x.uid = c->req->uid;
		x.pid = c->req->pid;
	}
	denials_add(d->to, &x);
}

static void after(struct fsb_filter *f, const struct fsb_call *c, int64_t result,
	const struct fsb_entry *made)
{
	if (result == -EACCES || result == -EPERM)
		tell(of(f), c, (int)-result);
}

static void stop(struct fsb_filter *f)
{
	free(f);
}

static const struct fsb_filter_ops ops = {
	.name = "denied", .summary = "tells what was refused", .after = after, .stop = stop};

static int wrap(const struct fsb_start *from, struct fsb *next, struct fsb **ret, struct msb_err *e)
{
	bool plugin = from->sock_fd >= 0, rules = from->options && from->options->nrules;
	struct denied *d;

	if (!from->denials || (!plugin && !rules)) {
		*ret = next;
		return 0;
	}
	d = calloc(1, sizeof(*d));
	if (d)
		fsb_filter_init(&d->f, &ops, next, FSB_CAP_SEE_WHO, 0);
	if (!d || fsb_filter_names(&d->f) < 0) {
		free(d);
		next->ops->stop(next);
		return msb_err_set(e, ENOMEM, "no memory for rules");
	}
	d->to = from->denials;
	(void)snprintf(d->mount, sizeof(d->mount), "%s", from->mount ?: "root");
	*ret = &d->f.b;
	return 0;
}

const struct fsb_kind fsb_denied_kind = {.name = "denied",
	.summary = "tells what rules (options allow, deny, redact) or a plugin have refused",
	.wrap = wrap};
