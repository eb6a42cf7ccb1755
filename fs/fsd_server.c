// SPDX-License-Identifier: Apache-2.0
// What one msb-fsd serves, and the control verbs that change it.
#include "fs/fsd_server.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <string.h>

/* A descriptor named by its index in key @key; -1 where the key is absent. */
static int take_fd(struct msb_msg *m, const char *key)
{
	uint64_t i;

	return msb_msg_get_u64(m, key, &i) < 0 || i >= MSB_MSG_FDS
		       ? -1
		       : msb_msg_take_fd(m, (unsigned int)i);
}

static bool flag(const struct msb_msg *m, const char *key)
{
	uint64_t v;

	return msb_msg_get_u64(m, key, &v) == 0 && v == 1;
}

static int do_tree(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	struct fsb_overlay_opts o = {.index_fd = -1, .packs_fd = -1, .upper_fd = -1};
	struct fsb *b;
	int r;

	if (d->have_tree)
		return msb_err_set(e, EEXIST, "the tree is there already");
	o.index_fd = take_fd(m, "index");
	o.packs_fd = take_fd(m, "packs");
	o.upper_fd = take_fd(m, "upper");
	r = fsb_overlay_start(&o, &b, e);
	if (r < 0)
		return r;
	fsd_fs_init(&d->tree, b);
	d->have_tree = true;
	return 0;
}

static void reap_views(struct fsd *d)
{
	for (int i = 0; i < FSD_MAX_VIEWS; i++)
		if (d->view[i] && dev_fuse_ended(d->view[i]))
			d->view[i] = dev_fuse_free(d->view[i]);
}

static int do_view(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	int i = 0;

	if (!d->have_tree)
		return msb_err_set(e, ENOENT, "no tree to view");
	if (m->nfds != 1)
		return msb_err_set(e, EINVAL, "view takes one descriptor");
	reap_views(d);
	while (i < FSD_MAX_VIEWS && d->view[i])
		i++;
	if (i == FSD_MAX_VIEWS)
		return msb_err_set(e, ENOSPC, "a file server has at most %d views", i);
	return dev_fuse_new(&d->tree, msb_msg_take_fd(m, 0), flag(m, "readonly"), &d->view[i], e);
}

static int do_unview(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	for (int i = 0; i < FSD_MAX_VIEWS; i++)
		d->view[i] = dev_fuse_free(d->view[i]);
	return 0;
}

static struct fsd_export *find_export(struct fsd *d, const char *tag)
{
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev && !strcmp(virtiofs_tag(d->export[i].dev), tag))
			return &d->export[i];
	return NULL;
}

static int do_export(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *tag = msb_msg_get(m, "tag"), *kind = msb_msg_get(m, "backend");
	bool readonly = flag(m, "readonly"), tree = kind && !strcmp(kind, "tree");
	struct fsd_export *x = NULL;
	int r;

	if (!tag || !*tag || strlen(tag) > 36)
		return msb_err_set(e, EINVAL, "an export's tag has 1 to 36 bytes");
	if (!kind || (!tree && strcmp(kind, "passthrough") != 0))
		return msb_err_set(e, EINVAL, "export %s: no such backend", tag);
	if (m->nfds != (tree ? 1 : 2))
		return msb_err_set(e, EINVAL, "export %s: wrong number of descriptors", tag);
	if (tree && !d->have_tree)
		return msb_err_set(e, ENOENT, "export %s: no tree yet", tag);
	if (find_export(d, tag))
		return msb_err_set(e, EEXIST, "export %s exists", tag);
	for (int i = 0; i < FSD_MAX_EXPORTS && !x; i++)
		if (!d->export[i].dev)
			x = &d->export[i];
	if (!x)
		return msb_err_set(
			e, ENOSPC, "a file server has at most %d exports", FSD_MAX_EXPORTS);
	x->owns = !tree;
	if (!tree) {
		struct fsb_passthrough_opts o = {
			.root_fd = msb_msg_take_fd(m, 1), .readonly = readonly};
		struct fsb *b;

		r = fsb_passthrough_start(&o, &b, e);
		if (r < 0)
			return r;
		fsd_fs_init(&x->own, b);
	}
	r = virtiofs_new(
		tree ? &d->tree : &x->own, tag, msb_msg_take_fd(m, 0), readonly, &x->dev, e);
	if (r < 0 && x->owns)
		fsd_fs_done(&x->own);
	return r;
}

static void export_done(struct fsd_export *x)
{
	if (!x->dev)
		return;
	x->dev = virtiofs_free(x->dev);
	if (x->owns)
		fsd_fs_done(&x->own);
}

static int do_unexport(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *tag = msb_msg_get(m, "tag");
	struct fsd_export *x = tag ? find_export(d, tag) : NULL;

	if (!x)
		return msb_err_set(e, ENOENT, "no export %s", tag ?: "without a tag");
	export_done(x);
	return 0;
}

static int do_status(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	unsigned int exports = 0, views = 0;
	struct fuse_counts n = {0};

	reap_views(d);
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev) {
			exports++;
			virtiofs_counts(d->export[i].dev, &n);
		}
	for (int i = 0; i < FSD_MAX_VIEWS; i++)
		if (d->view[i]) {
			views++;
			dev_fuse_counts(d->view[i], &n);
		}
	msb_msg_close_fds(m);
	msb_msg_init(m, "ok");
	msb_msg_set(m, "exports", "%u", exports);
	msb_msg_set(m, "views", "%u", views);
	msb_msg_set(m, "nodes", "%llu", (unsigned long long)n.nodes);
	msb_msg_set(m, "fds", "%llu", (unsigned long long)n.handles);
	msb_msg_set(m, "requests", "%llu", (unsigned long long)n.requests);
	return 0;
}

static int do_sync(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	int r = 0;

	if (d->have_tree && d->tree.b->ops->syncfs)
		r = d->tree.b->ops->syncfs(d->tree.b, FSB_ROOT);
	return r < 0 ? msb_err_set(e, -r, "sync: %s", strerror(-r)) : 0;
}

static int do_quit(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	d->quit = true;
	return do_sync(d, m, e);
}

static const struct {
	const char *verb;
	int (*run)(struct fsd *, struct msb_msg *, struct msb_err *);
} verbs[] = {
	{"tree", do_tree},
	{"view", do_view},
	{"unview", do_unview},
	{"export", do_export},
	{"unexport", do_unexport},
	{"status", do_status},
	{"sync", do_sync},
	{"quit", do_quit},
};

void fsd_handle(struct fsd *d, struct msb_msg *m)
{
	const char *verb = msb_msg_verb(m);
	struct msb_err e = {0};
	int r = -ENOSYS;
	size_t i;

	for (i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(verbs[i].verb, verb)) {
			r = verbs[i].run(d, m, &e);
			break;
		}
	if (i == ARRAY_LEN(verbs))
		(void)msb_err_set(&e, ENOSYS, "no such verb");
	if (r == 0 && !strcmp(msb_msg_verb(m), "ok"))
		return; /* the verb has written its own answer */
	msb_msg_close_fds(m);
	msb_msg_init(m, r < 0 ? "error" : "ok");
	if (r < 0) {
		msb_msg_set(m, "code", "%d", e.code ? e.code : EIO);
		msb_msg_set(m, "msg", "%s", e.code ? e.msg : "internal error");
	}
}

void fsd_done(struct fsd *d)
{
	(void)do_unview(d, NULL, NULL);
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		export_done(&d->export[i]);
	if (d->have_tree)
		fsd_fs_done(&d->tree);
	d->have_tree = false;
}
