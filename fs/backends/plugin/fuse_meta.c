// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: names, attributes, links.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"

#include <string.h>
#include <linux/fs.h>
#include <sys/param.h>
#include <sys/stat.h>

uint32_t pf_masked(const struct plug *p, const struct fsb_req *req, uint32_t mode)
{
	return atomic_load(&p->flags) & FUSE_DONT_MASK ? mode : mode & ~req->umask;
}

static uint64_t to_ms(uint64_t sec, uint32_t nsec)
{
	return sec > UINT32_MAX ? UINT32_MAX * 1000ULL : sec * 1000 + nsec / 1000000;
}

int pf_enter(const struct pf_node *parent, const char *name, const struct fuse_entry_out *pe,
	const struct fsb_entry *ie, struct fsb_entry *ret)
{
	struct plug *p = parent->p;
	struct pn_new k = {0};
	uint64_t id = 0;
	int r = pe ? pw_entry(pe, false) : ie ? 0 : -EIO;

	if (pe) {
		k.pid = pe->nodeid;
		k.generation = pe->generation;
		k.epoch = parent->epoch;
		k.mode = pe->attr.mode;
		k.cache = plug_cache_index(to_ms(pe->entry_valid, pe->entry_valid_nsec),
			to_ms(pe->attr_valid, pe->attr_valid_nsec));
	} else if (ie) {
		k.mode = ie->attr.mode;
		k.cache = plug_cache_index(1000, 1000);
	}
	if (ie)
		k.inner = ie->node;
	if (r == 0)
		r = pn_enter(&p->nodes, parent->n, name, &k, &id);
	if (r < 0) {
		pf_forget_plugin(p, k.pid, parent->epoch, 1);
		plug_below_forget(p, k.inner, 1);
		return r;
	}
	plug_entry(ret, id, pe ? pe->generation : ie->generation, pe ? &pe->attr : &ie->attr);
	return 0;
}

/* The plugin's word on a name. 0 and @ret->nodeid != 0; -ENOENT; -PLUGIN_PASS; -errno. */
static int ask_lookup(const struct pf_node *d, const struct fsb_req *req, const char *name,
	struct fuse_entry_out *ret)
{
	int r = pf_simple(d->p, FUSE_LOOKUP, d, req, NULL, 0, name, NULL, ret, sizeof(*ret));

	return r == 0 && !ret->nodeid ? -ENOENT : r;
}

int pf_enter_below(const struct pf_node *parent, const char *name, const struct fsb_req *req,
	const struct fsb_entry *ie, struct fsb_entry *ret)
{
	struct fuse_entry_out pe = {0};
	int r = name ? ask_lookup(parent, req, name, &pe) : -PLUGIN_PASS;

	return pf_enter(parent, name, r == 0 ? &pe : NULL, ie, ret);
}

static int pf_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_entry_out pe = {0};
	struct fsb_entry ie = {0};
	_pf_node_ d;
	int r = pf_get(p, parent, &d), plugin;

	if (r < 0)
		return r;
	plugin = ask_lookup(&d, req, name, &pe);
	if (plugin < 0 && plugin != -PLUGIN_PASS)
		return plugin;
	r = d.inner ? BELOW(p, lookup, req, d.inner, name, &ie) : -ENOENT;
	if (r == 0 && !ie.node)
		r = -ENOENT;
	if (plugin < 0 && r < 0)
		return r;
	return pf_enter(&d, name, plugin == 0 ? &pe : NULL, r == 0 ? &ie : NULL, ret);
}

static void pf_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	pn_forget(&plug_of(b)->nodes, node, count);
}

int pf_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_getattr_in in = {0};
	struct fuse_attr_out out;
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	(void)plug_handle_get(p, fh, &h); /* the node says which file, too */
	if (h.plug && h.epoch == n.epoch) {
		in.getattr_flags = FUSE_GETATTR_FH;
		in.fh = h.pfh;
	}
	r = pf_simple(p, FUSE_GETATTR, &n, NULL, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	if (r == 0) {
		r = pw_attr(&out.attr);
		*ret = out.attr;
	} else if (r == -PLUGIN_PASS && n.inner) {
		r = BELOW(p, getattr, n.inner, h.below ? h.ifh : 0, ret);
	} else if (r == -PLUGIN_PASS) {
		r = node == FSB_ROOT ? 0 : -EIO;
		*ret = (struct fuse_attr){.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
	}
	if (r == 0)
		atomic_store(&n.n->mode, ret->mode);
	return r;
}

static bool set_id(uint32_t mode)
{
	return (mode & S_IFMT) == S_IFREG &&
	       ((mode & S_ISUID) || (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP));
}

static uint32_t without_set_id(uint32_t mode)
{
	mode &= 07777u & ~(uint32_t)S_ISUID;
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

int pf_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *set, struct fuse_attr *ret)
{
	struct plug *p = plug_of(b);
	bool v2 = atomic_load(&p->flags) & FUSE_HANDLE_KILLPRIV_V2;
	struct fuse_setattr_in in = {.valid = set->valid,
		.mode = set->mode,
		.uid = set->uid,
		.gid = set->gid,
		.size = set->size,
		.atime = set->atime,
		.mtime = set->mtime,
		.ctime = set->ctime,
		.atimensec = set->atimensec,
		.mtimensec = set->mtimensec,
		.ctimensec = set->ctimensec};
	struct fuse_attr_out out;
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	if (fh)
		(void)pf_handle(&n, fh, &h);
	if (h.plug) {
		in.valid |= FATTR_FH;
		in.fh = h.pfh;
	}
	if (set->kill_suidgid && v2)
		in.valid |= FATTR_KILL_SUIDGID;
	/* The kernel would have done it for a file system that does not. */
	if (!v2 && !(set->valid & FATTR_MODE) && set_id(n.n->mode) &&
		(set->kill_suidgid || (set->valid & (FATTR_UID | FATTR_GID)))) {
		in.valid |= FATTR_MODE;
		in.mode = (n.n->mode & S_IFMT) | without_set_id(n.n->mode);
	}
	r = pf_simple(p, FUSE_SETATTR, &n, req, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	if (r == 0) {
		r = pw_attr(&out.attr);
		*ret = out.attr;
	} else if (r == -PLUGIN_PASS) {
		r = HAS_BELOW(p, n.inner, setattr)
			    ? BELOW(p, setattr, req, n.inner, h.below ? h.ifh : 0, set, ret)
			    : -EROFS;
	}
	if (r == 0)
		atomic_store(&n.n->mode, ret->mode);
	return r;
}

int pf_kill_suidgid(const struct pf_node *n, const struct fsb_req *req)
{
	struct fuse_setattr_in in = {.valid = FATTR_MODE};
	struct fuse_attr_out out;
	int r;

	if (!set_id(n->n->mode))
		return 0;
	in.mode = (n->n->mode & S_IFMT) | without_set_id(n->n->mode);
	r = pf_simple(n->p, FUSE_SETATTR, n, req, &in, sizeof(in), NULL, NULL, &out, sizeof(out));
	if (r == 0)
		atomic_store(&n->n->mode, in.mode);
	return r == -PLUGIN_PASS ? 0 : r;
}

static int pf_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	struct iovec v[1], out = {buf, cap};
	_pf_node_ n;
	int64_t r = pf_get(p, node, &n);

	if (r < 0)
		return (int)r;
	r = pf_ask(p, FUSE_READLINK, &n, NULL, v, 1, &out, 1, 1);
	if (r > 0) /* a target has no NUL in it */
		r = (int64_t)strnlen(buf, (size_t)r);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, readlink) ? BELOW(p, readlink, n.inner, buf, cap)
						    : -EINVAL;
	return (int)r;
}

/* What makes a name: the plugin, or the backend below. @below: its result, or -EROFS. */
static int made(const struct pf_node *d, const struct fsb_req *req, const char *name, int plugin,
	const struct fuse_entry_out *pe, int below, const struct fsb_entry *ie,
	struct fsb_entry *ret)
{
	if (plugin == 0)
		return pf_enter(d, name, pe, NULL, ret);
	if (plugin != -PLUGIN_PASS)
		return plugin;
	return below < 0 ? below : pf_enter_below(d, name, req, ie, ret);
}

static int pf_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_mknod_in in = {
		.mode = pf_masked(p, req, mode), .rdev = rdev, .umask = req->umask};
	struct fuse_entry_out pe = {0};
	struct fsb_entry ie;
	_pf_node_ d;
	int r = pf_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = pf_simple(p, FUSE_MKNOD, &d, req, &in, sizeof(in), name, NULL, &pe, sizeof(pe));
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, mknod))
		below = BELOW(p, mknod, req, d.inner, name, mode, rdev, &ie);
	return made(&d, req, name, r, &pe, below, &ie, ret);
}

static int pf_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_mkdir_in in = {.mode = pf_masked(p, req, mode), .umask = req->umask};
	struct fuse_entry_out pe = {0};
	struct fsb_entry ie;
	_pf_node_ d;
	int r = pf_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = pf_simple(p, FUSE_MKDIR, &d, req, &in, sizeof(in), name, NULL, &pe, sizeof(pe));
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, mkdir))
		below = BELOW(p, mkdir, req, d.inner, name, mode, &ie);
	return made(&d, req, name, r, &pe, below, &ie, ret);
}

static int pf_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_entry_out pe = {0};
	struct fsb_entry ie;
	_pf_node_ d;
	int r = pf_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = pf_simple(p, FUSE_SYMLINK, &d, req, NULL, 0, name, target, &pe, sizeof(pe));
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, symlink))
		below = BELOW(p, symlink, req, d.inner, name, target, &ie);
	return made(&d, req, name, r, &pe, below, &ie, ret);
}

static int pf_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_link_in in = {0};
	struct fuse_entry_out pe = {0};
	struct fsb_entry ie;
	_pf_node_ n, d = {0};
	int r = pf_get(p, node, &n), below = -EROFS;

	if (r == 0)
		r = pf_get(p, newparent, &d);
	if (r < 0)
		return r;
	in.oldnodeid = n.pid;
	r = n.pid ? pf_simple(
			    p, FUSE_LINK, &d, req, &in, sizeof(in), newname, NULL, &pe, sizeof(pe))
		  : -PLUGIN_PASS;
	if (r == -PLUGIN_PASS && n.inner && HAS_BELOW(p, d.inner, link))
		below = BELOW(p, link, req, n.inner, d.inner, newname, &ie);
	return made(&d, req, newname, r, &pe, below, &ie, ret);
}

static int remove_name(struct plug *p, uint32_t opcode, const struct fsb_req *req, uint64_t parent,
	const char *name)
{
	_pf_node_ d;
	int r = pf_get(p, parent, &d);

	if (r < 0)
		return r;
	r = pf_simple(p, opcode, &d, req, NULL, 0, name, NULL, NULL, 0);
	if (r == -PLUGIN_PASS && opcode == FUSE_UNLINK)
		r = HAS_BELOW(p, d.inner, unlink) ? BELOW(p, unlink, req, d.inner, name) : -EROFS;
	else if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, d.inner, rmdir) ? BELOW(p, rmdir, req, d.inner, name) : -EROFS;
	if (r == 0)
		pn_unlinked(&p->nodes, d.n, name);
	return r;
}

static int pf_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(plug_of(b), FUSE_UNLINK, req, parent, name);
}

static int pf_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(plug_of(b), FUSE_RMDIR, req, parent, name);
}

static int pf_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct plug *p = plug_of(b);
	struct fuse_rename2_in in2 = {.flags = flags};
	struct fuse_rename_in in = {0};
	_pf_node_ d, to = {0};
	int r = pf_get(p, parent, &d);

	if (r == 0)
		r = pf_get(p, newparent, &to);
	if (r < 0)
		return r;
	in.newdir = in2.newdir = to.pid;
	if (!d.pid || !to.pid)
		r = -PLUGIN_PASS;
	else if (flags)
		r = pf_simple(p, FUSE_RENAME2, &d, req, &in2, sizeof(in2), name, newname, NULL, 0);
	else
		r = pf_simple(p, FUSE_RENAME, &d, req, &in, sizeof(in), name, newname, NULL, 0);
	if (r == -PLUGIN_PASS && to.inner && HAS_BELOW(p, d.inner, rename))
		r = BELOW(p, rename, req, d.inner, name, to.inner, newname, flags);
	else if (r == -PLUGIN_PASS)
		r = flags ? -EINVAL : -EROFS;
	if (r == 0)
		pn_renamed(&p->nodes, d.n, name, to.n, newname, flags & RENAME_EXCHANGE);
	return r;
}

static int pf_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct plug *p = plug_of(b);
	struct fuse_statfs_out o;
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	r = pf_simple(p, FUSE_STATFS, &n, NULL, NULL, 0, NULL, NULL, &o, sizeof(o));
	if (r == -PLUGIN_PASS && HAS_BELOW(p, n.inner, statfs))
		return BELOW(p, statfs, n.inner, ret);
	if (r == -PLUGIN_PASS) {
		o = (struct fuse_statfs_out){.st = {.bsize = 4096, .frsize = 4096, .namelen = 255}};
		r = 0;
	}
	*ret = (struct statvfs){.f_blocks = o.st.blocks,
		.f_bfree = o.st.bfree,
		.f_bavail = o.st.bavail,
		.f_files = o.st.files,
		.f_ffree = o.st.ffree,
		.f_bsize = o.st.bsize,
		.f_frsize = o.st.frsize,
		.f_namemax = o.st.namelen};
	return r;
}

static int pf_syncfs(struct fsb *b, uint64_t node)
{
	struct plug *p = plug_of(b);
	struct fuse_syncfs_in in = {0};
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	r = pf_simple(p, FUSE_SYNCFS, &n, NULL, &in, sizeof(in), NULL, NULL, NULL, 0);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, syncfs) ? BELOW(p, syncfs, n.inner) : 0;
	return r;
}

static int pf_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct plug *p = plug_of(b);
	_pf_node_ n;
	int r = pf_get(p, node, &n);

	if (r < 0)
		return r;
	return HAS_BELOW(p, n.inner, btime) ? BELOW(p, btime, n.inner, ret) : -EOPNOTSUPP;
}

static void pf_stop(struct fsb *b)
{
	plug_stop(plug_of(b));
}

const struct fsb_ops plug_fuse_ops = {
	.name = "plugin",
	.summary = "a process of the user's that speaks FUSE",
	.caps = FSB_CAP_WRITE | FSB_CAP_XATTR | FSB_CAP_WAITS | FSB_CAP_SEE_WHO,
	.stop = pf_stop,
	.lookup = pf_lookup,
	.forget = pf_forget,
	.getattr = pf_getattr,
	.setattr = pf_setattr,
	.readlink = pf_readlink,
	.mknod = pf_mknod,
	.mkdir = pf_mkdir,
	.symlink = pf_symlink,
	.unlink = pf_unlink,
	.rmdir = pf_rmdir,
	.rename = pf_rename,
	.link = pf_link,
	.open = pf_open,
	.create = pf_create,
	.tmpfile = pf_tmpfile,
	.release = pf_release,
	.readv = pf_readv,
	.writev = pf_writev,
	.fsync = pf_fsync,
	.opendir = pf_opendir,
	.readdir = pf_readdir,
	.releasedir = pf_release,
	.statfs = pf_statfs,
	.setxattr = pf_setxattr,
	.getxattr = pf_getxattr,
	.listxattr = pf_listxattr,
	.removexattr = pf_removexattr,
	.fallocate = pf_fallocate,
	.lseek = pf_lseek,
	.copy_file_range = pf_copy_file_range,
	.syncfs = pf_syncfs,
	.btime = pf_btime,
	.cache = plug_cache,
	.load = plug_load,
};
