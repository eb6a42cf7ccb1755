// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: directories and extended attributes.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"
#include "fs/acl.h"

#include <string.h>

/* Asked of the plugin at once: as much as a guest's kernel asks for. */
#define LIST_BYTES 4096u

struct below {
	struct pf_node *d;
	bool (*asks)(struct pf_node *, const char *name);
	fsb_dirent_fn fn;
	void *arg;
};

static int below_one(void *arg, const char *name, size_t name_bytes, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *ie)
{
	struct below *l = arg;
	struct plug *p = l->d->p;
	struct pn_new k = {0};
	struct fsb_entry e;
	char copy[FUSE_MAX_NAME + 1];
	uint64_t id;
	int r;

	if (name_bytes > FUSE_MAX_NAME)
		return 1;
	memcpy(copy, name, name_bytes);
	copy[name_bytes] = '\0';
	if (!ie || !ie->node || l->asks(l->d, copy)) {
		r = l->fn(l->arg, name, name_bytes, ino, type, next_off, NULL);
		if (r == 0 && ie && ie->node) /* taken without the reference that comes with it */
			plug_below_forget(p, ie->node, 1);
		return r;
	}
	k.inner = ie->node;
	k.mode = ie->attr.mode;
	if (pn_enter(&p->nodes, l->d->n, copy, &k, &id) < 0)
		return 1;
	plug_entry(&e, id, ie->generation, &ie->attr);
	r = l->fn(l->arg, name, name_bytes, ino, type, next_off, &e);
	if (r)
		pn_unenter(&p->nodes, id);
	return r;
}

int plug_list_below(struct pf_node *d, const struct plug_handle *h, const struct fsb_req *req,
	uint64_t off, bool plus, bool (*asks)(struct pf_node *, const char *name), fsb_dirent_fn fn,
	void *arg)
{
	struct below l = {.d = d, .asks = asks, .fn = fn, .arg = arg};

	if (!HAS_BELOW(d->p, d->inner, readdir))
		return 0;
	return h->below ? BELOW(d->p, readdir, req, d->inner, h->ifh, off, plus, below_one, &l)
			: -EBADF;
}

static bool has_lookup(struct pf_node *d, const char *name)
{
	return d->pid && !(atomic_load(&d->p->absent) >> FUSE_LOOKUP & 1);
}

/* One entry of the plugin's list to the kernel. Takes over its reference. 1: no room. */
static int give(struct pf_node *d, const struct pw_dirent *e, fsb_dirent_fn fn, void *arg)
{
	struct fsb_entry entry;
	char name[FUSE_MAX_NAME + 1];
	int r;

	if (!e->entry.nodeid)
		return fn(arg, e->name, e->name_bytes, e->ino, e->type, e->off, NULL);
	memcpy(name, e->name, e->name_bytes);
	name[e->name_bytes] = '\0';
	/* What is below of that name belongs to the node too. */
	{
		struct fsb_entry ie = {0};
		const struct fsb_req root = {0};
		bool have = HAS_BELOW(d->p, d->inner, lookup) &&
			    BELOW(d->p, lookup, &root, d->inner, name, &ie) == 0 && ie.node;

		r = pf_enter(d, name, &e->entry, have ? &ie : NULL, &entry);
	}
	if (r < 0)
		return r;
	r = fn(arg, e->name, e->name_bytes, e->ino, e->type, e->off, &entry);
	if (r)
		pn_forget(&d->p->nodes, entry.node, 1);
	return r;
}

static int list_plugin(
	struct pf_node *d, bool plus, const uint8_t *list, size_t n, fsb_dirent_fn fn, void *arg)
{
	struct pw_dirent e;
	size_t at = 0;
	int r = 0, k;

	while ((k = pw_dirent(list, n, plus, &at, &e)) > 0) {
		if (r == 0)
			r = give(d, &e, fn, arg);
		else /* it comes again; this reference goes back */
			pf_forget_plugin(d->p, e.entry.nodeid, d->epoch, 1);
	}
	if (k < 0) {
		pf_forget_plugin(d->p, e.entry.nodeid, d->epoch, 1);
		return k;
	}
	return r < 0 ? r : 0;
}

int pf_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct plug *p = plug_of(b);
	bool p_plus = plus && atomic_load(&p->flags) & FUSE_DO_READDIRPLUS;
	_Alignas(8) uint8_t list[LIST_BYTES];
	struct plug_handle h = {0};
	struct fuse_read_in in = {.offset = off, .size = sizeof(list)};
	struct iovec v[] = {{0}, {&in, sizeof(in)}}, out = {list, sizeof(list)};
	_pf_node_ d;
	int64_t r = pf_get(p, node, &d);

	if (r == 0)
		r = pf_handle(&d, fh, &h);
	if (r < 0)
		return (int)r;
	/* Positions are one list's: who gave the first entry gives them all. */
	if (h.list_below)
		return plug_list_below(&d, &h, req, off, plus, has_lookup, fn, arg);
	in.fh = h.pfh;
	r = -PLUGIN_PASS;
	if (p_plus)
		r = pf_ask(p, FUSE_READDIRPLUS, &d, req, v, 2, &out, 1, 0);
	if (r == -PLUGIN_PASS) {
		p_plus = false;
		r = pf_ask(p, FUSE_READDIR, &d, req, v, 2, &out, 1, 0);
	}
	if (r == -PLUGIN_PASS && off == 0) {
		plug_handle_list_below(p, fh);
		return plug_list_below(&d, &h, req, off, plus, has_lookup, fn, arg);
	}
	if (r < 0)
		return r == -PLUGIN_PASS ? -EIO : (int)r;
	return list_plugin(&d, p_plus, list, (size_t)r, fn, arg);
}

/* ---- extended attributes. A plugin was not told that ACLs are more than bytes: they are those of
 * what lies below it, or none. */

int pf_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct plug *p = plug_of(b);
	struct fuse_setxattr_in in = {.size = (uint32_t)n, .flags = flags};
	struct iovec v[] = {{0}, {&in, FUSE_COMPAT_SETXATTR_IN_SIZE},
		{(void *)(uintptr_t)name, strlen(name) + 1}, {(void *)(uintptr_t)value, n}};
	_pf_node_ f;
	int64_t r = pf_get(p, node, &f);

	if (r == 0)
		r = acl_is_name(name) ? -PLUGIN_PASS
				      : pf_ask(p, FUSE_SETXATTR, &f, req, v, 4, NULL, 0, 0);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, setxattr)
			    ? BELOW(p, setxattr, req, f.inner, name, value, n, flags)
			    : -EOPNOTSUPP;
	return (int)r;
}

/* A value or a list; @name NULL. */
static int64_t get(struct pf_node *f, const char *name, void *buf, size_t cap)
{
	struct fuse_getxattr_in in = {.size = (uint32_t)cap};
	struct fuse_getxattr_out size;
	struct iovec v[] = {
		{0}, {&in, sizeof(in)}, {(void *)(uintptr_t)name, name ? strlen(name) + 1 : 0}};
	struct iovec out = {cap ? buf : &size, cap ? cap : sizeof(size)};
	int64_t r = pf_ask(f->p, name ? FUSE_GETXATTR : FUSE_LISTXATTR, f, NULL, v, name ? 3 : 2,
		&out, 1, cap ? 0 : sizeof(size));

	if (r < 0 || cap)
		return r;
	return size.size > FUSE_MAX_XATTR ? -E2BIG : (int64_t)size.size;
}

int64_t pf_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	_pf_node_ f;
	int64_t r = pf_get(p, node, &f);

	if (r == 0)
		r = acl_is_name(name) ? -PLUGIN_PASS : get(&f, name, buf, cap);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, getxattr) ? BELOW(p, getxattr, f.inner, name, buf, cap)
						    : -EOPNOTSUPP;
	return r;
}

int64_t pf_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	_pf_node_ f;
	int64_t r = pf_get(p, node, &f);

	if (r == 0)
		r = get(&f, NULL, buf, cap);
	if (r > 0 && cap && buf[r - 1] != '\0')
		r = -EIO;
	if (r > 0 && cap)
		r = (int64_t)acl_names_out(buf, (size_t)r);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, listxattr) ? BELOW(p, listxattr, f.inner, buf, cap) : 0;
	return r;
}

int pf_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct plug *p = plug_of(b);
	_pf_node_ f;
	int r = pf_get(p, node, &f);

	if (r == 0)
		r = acl_is_name(name)
			    ? -PLUGIN_PASS
			    : pf_simple(p, FUSE_REMOVEXATTR, &f, req, NULL, 0, name, NULL, NULL, 0);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, f.inner, removexattr) ? BELOW(p, removexattr, req, f.inner, name)
						       : -EOPNOTSUPP;
	return r;
}
