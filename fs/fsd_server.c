// SPDX-License-Identifier: Apache-2.0
// What one msb-fsd serves, and the control verbs that change it.
#include "fs/fsd_server.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/backends/plugin/plugin.h"
#include "fs/audit_sink.h"
#include "fs/mux.h"
#include "fs/options.h"
#include "fs/patch.h"

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

static int shares(struct fsd *d, struct msb_err *e)
{
	struct fsb *mux;

	if (d->have_shares)
		return 0;
	if (mux_new(&mux) < 0)
		return msb_err_set(e, ENOMEM, "no memory for the mounts");
	fsd_fs_init(&d->shares, mux);
	d->have_shares = true;
	return 0;
}

/* What a plugin is laid over: a directory, where it has one. */
static int start_inner(struct fsb_start *s, struct msb_err *e)
{
	struct fsb_start inner = FSB_START_NONE;

	if (s->dir_fd < 0)
		return 0;
	inner.options = s->options;
	inner.mount = s->mount;
	inner.dir_fd = steal_fd(&s->dir_fd);
	return fsb_kind_find("passthrough")->start(&inner, &s->inner, e);
}

/* A backend as the message describes it: its descriptors and options. */
static int start(
	struct fsd *d, struct msb_msg *m, const char *backend, struct fsb **ret, struct msb_err *e)
{
	_cleanup_free_ struct fsb_options *o = calloc(1, sizeof(*o));
	const char *text = msb_msg_get(m, "options") ?: "";
	struct fsb_start s = FSB_START_NONE;
	int r;

	if (!o)
		return msb_err_set(e, ENOMEM, "no memory for a mount");
	r = fsb_options_parse(backend, text, strlen(text), o, e);
	if (r < 0)
		return r;
	s.options = o;
	s.sink = d->sink;
	s.denials = d->denials;
	s.mount = msb_msg_get(m, "label") ?: msb_msg_get(m, "name") ?: "root";
	s.dir_fd = take_fd(m, "dir");
	s.index_fd = take_fd(m, "index");
	s.packs_fd = take_fd(m, "packs");
	s.files_fd = take_fd(m, "files");
	s.upper_fd = take_fd(m, "upper");
	s.sock_fd = take_fd(m, "sock");
	s.usage_fd = take_fd(m, "usage");
	r = strcmp(backend, "plugin") ? 0 : start_inner(&s, e);
	if (r < 0) {
		fsb_start_close(&s);
		return r;
	}
	return fsb_stack_start(backend, &s, ret, e);
}

static int do_audit(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	int fd = take_fd(m, "dir");

	if (fd < 0 || d->sink) {
		if (fd >= 0)
			close(fd);
		return d->sink ? msb_err_set(e, EEXIST, "audit lines have a place already")
			       : msb_err_set(e, EINVAL, "audit takes a directory");
	}
	return audit_sink_new(fd, 0, &d->sink, e);
}

static int do_tree(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	struct fsb *b;
	int r;

	if (d->have_tree)
		return msb_err_set(e, EEXIST, "the tree is there already");
	r = start(d, m, "overlay", &b, e);
	if (r < 0)
		return r;
	fsd_fs_init(&d->tree, b);
	d->have_tree = true;
	return 0;
}

/* ---- views */

static void view_done(struct fsd_viewed *v)
{
	if (!v->dev)
		return;
	v->dev = dev_fuse_free(v->dev);
}

static void reap_views(struct fsd *d)
{
	for (int i = 0; i < FSD_MAX_VIEWS; i++)
		if (d->view[i].dev && dev_fuse_ended(d->view[i].dev))
			view_done(&d->view[i]);
}

static int do_view(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *name = msb_msg_get(m, "name");
	struct fsd_viewed *v = NULL;
	struct fsb *b = NULL;

	if (m->nfds != 1)
		return msb_err_set(e, EINVAL, "view takes one descriptor");
	if (name && d->have_shares)
		b = mux_find(d->shares.b, name);
	if (name ? !b : !d->have_tree)
		return msb_err_set(
			e, ENOENT, name ? "no mount %s to view" : "no tree to view", name);
	reap_views(d);
	for (int i = 0; i < FSD_MAX_VIEWS && !v; i++)
		if (!d->view[i].dev)
			v = &d->view[i];
	if (!v)
		return msb_err_set(e, ENOSPC, "a file server has at most %d views", FSD_MAX_VIEWS);
	(void)snprintf(v->name, sizeof(v->name), "%s", name ?: "");
	if (name)
		fsd_fs_init(&v->mount, b);
	return dev_fuse_new(name ? &v->mount : &d->tree, msb_msg_take_fd(m, 0), flag(m, "private"),
		flag(m, "readonly"), &v->dev, e);
}

static int do_unview(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	for (int i = 0; i < FSD_MAX_VIEWS; i++)
		view_done(&d->view[i]);
	return 0;
}

/* ---- mounts */

/* What a guest was told once, to send no OPEN or to check no ACLs, it keeps to for all mounts,
 * until it has let all of them go. */
static bool was_told(const struct fsd *d, bool (*what)(const struct virtiofs *))
{
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev && d->export[i].shares && what(d->export[i].dev))
			return true;
	return false;
}

/* Before the shares' first machine, and between two. */
static void forget_mounts(struct fsd *d)
{
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev && d->export[i].shares)
			return;
	mux_forgotten(d->shares.b);
}

/* Whether mount @b came too late for the guest. */
static int check_told(const struct fsd *d, const struct fsb *b, struct msb_err *e)
{
	bool opens = (b->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_SEE_OPENS)) != FSB_CAP_NO_OPEN;

	if (opens && was_told(d, virtiofs_opens_off))
		return msb_err_set(e, EBUSY,
			"the machine has mounts already and reports no opening of files on them, which this one "
			"needs; stop and start it, or unmount the others first");
	if (b->acls && was_told(d, virtiofs_acls_off))
		return msb_err_set(e, EBUSY,
			"the machine has mounts already and checks no ACLs on them, which this one asks for; "
			"stop and start it, or unmount the others first");
	return 0;
}

static int do_mount(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *name = msb_msg_get(m, "name"), *kind = msb_msg_get(m, "backend");
	struct fsb *b;
	int r = shares(d, e);

	if (r < 0)
		return r;
	if (!name || !kind)
		return msb_err_set(e, EINVAL, "a mount has a name and a backend");
	if (mux_find(d->shares.b, name))
		return msb_err_set(e, EEXIST, "mount %s exists", name);
	forget_mounts(d);
	r = start(d, m, kind, &b, e);
	if (r < 0)
		return r;
	r = mux_add(d->shares.b, name, b);
	if (r == -ENOSPC)
		return msb_err_set(
			e, ENOSPC, "a file server has at most %d mounts", FSD_MAX_MOUNTS);
	if (r < 0)
		return msb_err_set(e, -r, "mount %s: %s", name, strerror(-r));
	r = check_told(d, b, e);
	if (r < 0)
		(void)mux_remove(d->shares.b, name);
	return r;
}

static int do_unmount(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *name = msb_msg_get(m, "name");

	for (int i = 0; name && i < FSD_MAX_VIEWS; i++)
		if (!strcmp(d->view[i].name, name))
			view_done(&d->view[i]);
	if (!name || !d->have_shares || mux_remove(d->shares.b, name) < 0)
		return msb_err_set(e, ENOENT, "no mount %s", name ?: "without a name");
	return 0;
}

/* ---- exports */

static struct fsd_export *find_export(struct fsd *d, const char *tag)
{
	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev && !strcmp(virtiofs_tag(d->export[i].dev), tag))
			return &d->export[i];
	return NULL;
}

static int do_export(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *tag = msb_msg_get(m, "tag"), *what = msb_msg_get(m, "what");
	bool readonly = flag(m, "readonly"), tree = what && !strcmp(what, "tree"),
	     mux = what && !strcmp(what, "shares");
	struct fsd_export *x = NULL;
	_cleanup_close_ int keep = -1;
	int r = 0;

	if (!tag || !*tag || strlen(tag) > 36)
		return msb_err_set(e, EINVAL, "an export's tag has 1 to 36 bytes");
	if (!tree && !mux)
		return msb_err_set(e, EINVAL, "export %s: of what?", tag);
	if (m->nfds != (msb_msg_get(m, "keep") ? 2 : 1))
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
	r = mux ? shares(d, e) : 0;
	if (r < 0)
		return r;
	if (mux)
		forget_mounts(d);
	x->shares = mux;
	keep = take_fd(m, "keep");
	return virtiofs_new(tree ? &d->tree : &d->shares, tag, msb_msg_take_fd(m, 0), keep,
		readonly, &x->dev, e);
}

static int do_unexport(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *tag = msb_msg_get(m, "tag");
	struct fsd_export *x = tag ? find_export(d, tag) : NULL;

	if (!x)
		return msb_err_set(e, ENOENT, "no export %s", tag ?: "without a tag");
	x->dev = virtiofs_free(x->dev);
	return 0;
}

static int do_plugin(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	const char *name = msb_msg_get(m, "name");
	struct fsb *b = name && d->have_shares ? mux_find(d->shares.b, name) : NULL;
	int r;

	if (!b)
		return msb_err_set(e, ENOENT, "no mount %s", name ?: "without a name");
	if (m->nfds != 1)
		return msb_err_set(e, EINVAL, "plugin takes one descriptor");
	r = fsb_plugin_attach(b, msb_msg_take_fd(m, 0));
	return r < 0 ? msb_err_set(e, -r, "mount %s: %s", name,
			       r == -EOPNOTSUPP ? "it is no plugin" : strerror(-r))
		     : 0;
}

static int do_patch(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	_cleanup_close_ int dir = take_fd(m, "dir"), changes = take_fd(m, "changes");
	int r;

	if (!d->have_tree || changes < 0)
		return msb_err_set(e, EINVAL, "patches take a tree, and where its changes are");
	r = fs_patch(d->tree.b, dir, changes, e);
	fuse_views_forget();
	return r;
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
		if (d->view[i].dev) {
			views++;
			dev_fuse_counts(d->view[i].dev, &n);
		}
	msb_msg_close_fds(m);
	msb_msg_init(m, "ok");
	msb_msg_set(m, "exports", "%u", exports);
	msb_msg_set(m, "views", "%u", views);
	msb_msg_set(m, "audit_lost", "%llu",
		(unsigned long long)(d->sink ? audit_sink_lost(d->sink) : 0));
	msb_msg_set(m, "mounts", "%u", d->have_shares ? mux_count(d->shares.b) : 0);
	msb_msg_set(m, "nodes", "%llu", (unsigned long long)n.nodes);
	msb_msg_set(m, "fds", "%llu", (unsigned long long)n.handles);
	msb_msg_set(m, "requests", "%llu", (unsigned long long)n.requests);
	return 0;
}

static int do_stats(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	struct fsd_stats t = {0};

	for (int i = 0; i < FSD_MAX_EXPORTS; i++)
		if (d->export[i].dev)
			virtiofs_stats(d->export[i].dev, &t);
	msb_msg_close_fds(m);
	msb_msg_init(m, "ok");
	msb_msg_set(m, "errors", "%llu", (unsigned long long)t.errors);
	msb_msg_set(m, "read_bytes", "%llu", (unsigned long long)t.read_bytes);
	msb_msg_set(m, "written_bytes", "%llu", (unsigned long long)t.written_bytes);
	for (int i = 0; i < FSD_OPS; i++) {
		char text[(FSD_BUCKETS + 1) * 21 + 1];
		int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)t.usec[i]);

		for (int k = 0; k < FSD_BUCKETS; k++)
			n += snprintf(text + n, sizeof(text) - (size_t)n, ",%llu",
				(unsigned long long)t.hist[i][k]);
		msb_msg_set(m, fsd_op_name((enum fsd_op)i), "%s", text);
	}
	return 0;
}

static int sync_one(const struct fsd_fs *fs, bool have)
{
	return have && fs->b->ops->syncfs ? fs->b->ops->syncfs(fs->b, FSB_ROOT) : 0;
}

static int do_quit(struct fsd *d, struct msb_msg *m, struct msb_err *e)
{
	int r = sync_one(&d->tree, d->have_tree), s = sync_one(&d->shares, d->have_shares);

	d->quit = true;
	r = r < 0 ? r : s;
	return r < 0 ? msb_err_set(e, -r, "sync: %s", strerror(-r)) : 0;
}

static const struct {
	const char *verb;
	int (*run)(struct fsd *, struct msb_msg *, struct msb_err *);
} verbs[] = {
	{"audit", do_audit},
	{"tree", do_tree},
	{"view", do_view},
	{"unview", do_unview},
	{"export", do_export},
	{"unexport", do_unexport},
	{"mount", do_mount},
	{"unmount", do_unmount},
	{"plugin", do_plugin},
	{"patch", do_patch},
	{"status", do_status},
	{"stats", do_stats},
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
		d->export[i].dev = virtiofs_free(d->export[i].dev);
	if (d->have_tree)
		fsd_fs_done(&d->tree);
	if (d->have_shares)
		fsd_fs_done(&d->shares);
	d->have_tree = d->have_shares = false;
	d->sink = audit_sink_free(d->sink);
	d->denials = denials_free(d->denials);
}
