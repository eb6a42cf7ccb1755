// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: names, attributes, links.
#include "fs/backends/plugin/plugin_priv.h"
#include "base/cleanup.h"

#include <string.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <time.h>

#define OWN_INO (UINT64_C(1) << 40) /* files of the plugin's own, beside those below */

/* The attributes of a file that is the plugin's, before it says more. */
static void own_attr(struct fuse_attr *a, uint32_t mode)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	*a = (struct fuse_attr){.mode = mode,
		.nlink = 1,
		.atime = (uint64_t)now.tv_sec,
		.mtime = (uint64_t)now.tv_sec,
		.ctime = (uint64_t)now.tv_sec,
		.blksize = 4096};
}

int pj_enter(const struct pf_node *parent, const char *name, const struct fuse_attr *a,
	const struct fsb_entry *ie, struct fsb_entry *ret)
{
	struct plug *p = parent->p;
	struct pn_new k = {.by_place = !ie};
	struct fuse_attr attr = a ? *a : ie->attr;
	uint64_t id = 0;
	int r;

	k.inner = ie ? ie->node : 0;
	k.mode = attr.mode;
	/* What it makes or changes is read from it each time, whatever size it said. */
	if (a || !name || pj_asks(parent, FSB_READ, name) || pj_asks_after(parent, FSB_READ, name))
		k.open_flags = FOPEN_DIRECT_IO;
	r = pn_enter(&p->nodes, parent->n, name, &k, &id);
	if (r < 0) {
		plug_below_forget(p, k.inner, 1);
		return r;
	}
	if (!attr.ino)
		attr.ino = OWN_INO | id;
	plug_entry(ret, id, ie ? ie->generation : 0, &attr);
	return 0;
}

/* "attr" of an answer, on top of what is in @a. */
static int answered_attr(const json_t *o, struct fuse_attr *a)
{
	const json_t *attr = json_object_get(o, "attr");

	return attr ? pj_attr_read(attr, a) : 0;
}

static int pj_lookup(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	struct fsb_entry ie = {0};
	struct fuse_attr a;
	_pf_node_ d;
	int r = pj_get(p, parent, &d), below;

	if (r < 0)
		return r;
	/* Who answers GETATTR can say what a name is. */
	r = pj_simple(&d, pj_asks(&d, FSB_LOOKUP, name) ? FSB_LOOKUP : FSB_GETATTR, name, req, &o);
	if (r < 0 && r != -PLUGIN_PASS)
		return r;
	below = HAS_BELOW(p, d.inner, lookup) ? BELOW(p, lookup, req, d.inner, name, &ie) : -ENOENT;
	if (below == 0 && !ie.node)
		below = -ENOENT;
	if (r < 0)
		return below < 0 ? below : pj_enter(&d, name, NULL, &ie, ret);
	own_attr(&a, 0);
	if (below == 0)
		a = ie.attr;
	r = json_object_get(o, "attr") ? answered_attr(o, &a) : -EIO;
	if (r < 0) {
		plug_below_forget(p, below == 0 ? ie.node : 0, 1);
		return r;
	}
	/* A directory that is made up is not the file below of that name. */
	if (below == 0 && (a.mode ^ ie.attr.mode) & S_IFMT) {
		plug_below_forget(p, ie.node, 1);
		below = -ENOENT;
		a.ino = 0;
	}
	return pj_enter(&d, name, &a, below == 0 ? &ie : NULL, ret);
}

static void pj_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	pn_forget(&plug_of(b)->nodes, node, count);
}

int pj_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pj_get(p, node, &n), plugin;

	if (r < 0)
		return r;
	(void)plug_handle_get(p, fh, &h);
	plugin = pj_simple(&n, FSB_GETATTR, NULL, NULL, &o);
	if (plugin == -PLUGIN_PASS && !n.inner && node != FSB_ROOT &&
		!pj_asks(&n, FSB_GETATTR, NULL))
		plugin = pj_simple(&n, FSB_LOOKUP, NULL, NULL, &o);
	if (plugin < 0 && plugin != -PLUGIN_PASS)
		return plugin;
	if (n.inner) {
		r = BELOW(p, getattr, n.inner, h.below ? h.ifh : 0, ret);
	} else {
		own_attr(ret, n.n->mode);
		ret->ino = node == FSB_ROOT ? 1 : OWN_INO | node;
	}
	if (r == 0 && plugin == 0)
		r = answered_attr(o, ret);
	if (r == 0 && (ret->mode ^ n.n->mode) & S_IFMT && node != FSB_ROOT)
		r = -ESTALE;
	return r;
}

static int pj_setattr(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh,
	const struct fsb_setattr *set, struct fuse_attr *ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct plug *p = plug_of(b);
	struct plug_handle h = {0};
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r < 0)
		return r;
	(void)plug_handle_get(p, fh, &h);
	if (!pj_asks(&n, FSB_SETATTR, NULL)) {
		r = -PLUGIN_PASS;
	} else {
		r = pj_begin(&s, &n, FSB_SETATTR, NULL, req);
		if (set->valid & FATTR_MODE)
			pj_add_number(&s, "mode", set->mode & 07777);
		if (set->valid & FATTR_UID)
			pj_add_number(&s, "set_uid", set->uid);
		if (set->valid & FATTR_GID)
			pj_add_number(&s, "set_gid", set->gid);
		if (set->valid & FATTR_SIZE)
			pj_add_number(&s, "size", set->size);
		if (set->valid & FATTR_ATIME)
			msb_str_addf(
				&s, ",\"atime\":%lld.%09u", (long long)set->atime, set->atimensec);
		if (set->valid & FATTR_MTIME)
			msb_str_addf(
				&s, ",\"mtime\":%lld.%09u", (long long)set->mtime, set->mtimensec);
		if (r == 0)
			r = pj_ask(p, &s, NULL);
	}
	if (r == -PLUGIN_PASS && HAS_BELOW(p, n.inner, setattr))
		return (int)pj_after(&n, FSB_SETATTR, NULL,
			BELOW(p, setattr, req, n.inner, h.below ? h.ifh : 0, set, ret));
	/* Opening a file that takes writes truncates it; that is no business of a plugin's that
	 * does not ask for it. */
	if (r == -PLUGIN_PASS)
		r = pj_asks(&n, FSB_WRITE, NULL) ? 0 : -EROFS;
	if (r < 0)
		return r;
	if (!n.inner && set->valid & FATTR_MODE)
		atomic_store(&n.n->mode, (n.n->mode & S_IFMT) | (set->mode & 07777));
	return pj_getattr(b, node, fh, ret);
}

static int pj_readlink(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	const char *target;
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = pj_simple(&n, FSB_READLINK, NULL, NULL, &o);
	if (r == -PLUGIN_PASS)
		return HAS_BELOW(p, n.inner, readlink) ? BELOW(p, readlink, n.inner, buf, cap)
						       : -EINVAL;
	if (r < 0)
		return r;
	target = json_string_value(json_object_get(o, "target"));
	if (!target || !*target || strlen(target) > cap)
		return -EIO;
	memcpy(buf, target, strlen(target));
	return (int)strlen(target);
}

/* A question about what is to be made; NULL members are left out. */
static int ask_make(const struct pf_node *d, enum fsb_op op, const char *name,
	const struct fsb_req *req, uint32_t mode, uint32_t rdev, const char *target,
	struct fuse_attr *ret)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_json_ *o = NULL;
	int r;

	if (!pj_asks(d, op, name))
		return -PLUGIN_PASS;
	mode &= ~req->umask;
	r = pj_begin(&s, d, op, name, req);
	if (r < 0)
		return r;
	pj_add_number(&s, "mode", mode & 07777);
	if (op == FSB_MKNOD) {
		pj_add_number(&s, "type", (mode & S_IFMT) >> 12);
		pj_add_number(&s, "rdev", rdev);
	}
	if (target && !msb_utf8_valid(target, strlen(target)))
		return -EILSEQ;
	if (target)
		pj_add_string(&s, "target", target);
	r = pj_ask(d->p, &s, &o);
	if (r < 0)
		return r;
	own_attr(ret, mode);
	ret->uid = req->uid;
	ret->gid = req->gid;
	return answered_attr(o, ret);
}

/* @plugin, @a: what the plugin said; @below, @ie: or what was made below. */
static int made(const struct pf_node *d, enum fsb_op op, const char *name, int plugin,
	const struct fuse_attr *a, int below, const struct fsb_entry *ie, struct fsb_entry *ret)
{
	if (plugin == 0)
		return pj_enter(d, name, a, NULL, ret);
	if (plugin != -PLUGIN_PASS)
		return plugin;
	if (below == -EROFS && !d->inner)
		return below;
	(void)pj_after(d, op, name, below);
	return below < 0 ? below : pj_enter(d, name, NULL, ie, ret);
}

static int pj_mknod(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, uint32_t rdev, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fsb_entry ie;
	struct fuse_attr a;
	_pf_node_ d;
	int r = pj_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = ask_make(&d, FSB_MKNOD, name, req, mode, rdev, NULL, &a);
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, mknod))
		below = BELOW(p, mknod, req, d.inner, name, mode, rdev, &ie);
	return made(&d, FSB_MKNOD, name, r, &a, below, &ie, ret);
}

static int pj_mkdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint32_t mode, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fsb_entry ie;
	struct fuse_attr a;
	_pf_node_ d;
	int r = pj_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = ask_make(&d, FSB_MKDIR, name, req, S_IFDIR | (mode & 07777), 0, NULL, &a);
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, mkdir))
		below = BELOW(p, mkdir, req, d.inner, name, mode, &ie);
	return made(&d, FSB_MKDIR, name, r, &a, below, &ie, ret);
}

static int pj_symlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	const char *target, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	const struct fsb_req open = {.uid = req->uid, .gid = req->gid, .pid = req->pid};
	struct fsb_entry ie;
	struct fuse_attr a;
	_pf_node_ d;
	int r = pj_get(p, parent, &d), below = -EROFS;

	if (r < 0)
		return r;
	r = ask_make(&d, FSB_SYMLINK, name, &open, S_IFLNK | 0777, 0, target, &a);
	if (r == -PLUGIN_PASS && HAS_BELOW(p, d.inner, symlink))
		below = BELOW(p, symlink, req, d.inner, name, target, &ie);
	return made(&d, FSB_SYMLINK, name, r, &a, below, &ie, ret);
}

/* RENAME and LINK: asked with two paths, where it wants either. */
static int ask_two(enum fsb_op op, const struct pf_node *from, const char *name,
	const struct pf_node *to, const char *newname, const struct fsb_req *req, uint32_t flags)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	if (!pj_asks(from, op, name) && !pj_asks(to, op, newname))
		return -PLUGIN_PASS;
	r = pj_begin(&s, from, op, name, req);
	if (r == 0)
		r = pj_add_path(&s, "to", to, newname);
	if (r < 0)
		return r;
	if (flags & RENAME_NOREPLACE)
		msb_str_adds(&s, ",\"noreplace\":true");
	if (flags & RENAME_EXCHANGE)
		msb_str_adds(&s, ",\"exchange\":true");
	return pj_ask(from->p, &s, NULL);
}

static int pj_link(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t newparent,
	const char *newname, struct fsb_entry *ret)
{
	struct plug *p = plug_of(b);
	struct fsb_entry ie;
	struct fuse_attr a;
	_pf_node_ n, d = {0};
	int r = pj_get(p, node, &n), below = -EROFS;

	if (r == 0)
		r = pj_get(p, newparent, &d);
	if (r < 0)
		return r;
	r = ask_two(FSB_LINK, &n, NULL, &d, newname, req, 0);
	own_attr(&a, n.n->mode);
	if (r == -PLUGIN_PASS && n.inner && HAS_BELOW(p, d.inner, link))
		below = BELOW(p, link, req, n.inner, d.inner, newname, &ie);
	return made(&d, FSB_LINK, newname, r, &a, below, &ie, ret);
}

static int pj_rename(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name,
	uint64_t newparent, const char *newname, uint32_t flags)
{
	struct plug *p = plug_of(b);
	_pf_node_ d, to = {0};
	int r = pj_get(p, parent, &d);

	if (r == 0)
		r = pj_get(p, newparent, &to);
	if (r < 0)
		return r;
	r = ask_two(FSB_RENAME, &d, name, &to, newname, req, flags);
	if (r == -PLUGIN_PASS && to.inner && HAS_BELOW(p, d.inner, rename))
		r = (int)pj_after(&d, FSB_RENAME, name,
			BELOW(p, rename, req, d.inner, name, to.inner, newname, flags));
	else if (r == -PLUGIN_PASS)
		r = -EROFS;
	if (r == 0)
		pn_renamed(&p->nodes, d.n, name, to.n, newname, flags & RENAME_EXCHANGE);
	return r;
}

static int remove_name(struct plug *p, enum fsb_op op, const struct fsb_req *req, uint64_t parent,
	const char *name)
{
	_pf_node_ d;
	int r = pj_get(p, parent, &d);

	if (r < 0)
		return r;
	r = pj_simple(&d, op, name, req, NULL);
	if (r == -PLUGIN_PASS && op == FSB_UNLINK && HAS_BELOW(p, d.inner, unlink))
		r = (int)pj_after(&d, op, name, BELOW(p, unlink, req, d.inner, name));
	else if (r == -PLUGIN_PASS && op == FSB_RMDIR && HAS_BELOW(p, d.inner, rmdir))
		r = (int)pj_after(&d, op, name, BELOW(p, rmdir, req, d.inner, name));
	if (r == -PLUGIN_PASS)
		r = -EROFS;
	if (r == 0)
		pn_unlinked(&p->nodes, d.n, name);
	return r;
}

static int pj_unlink(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(plug_of(b), FSB_UNLINK, req, parent, name);
}

static int pj_rmdir(struct fsb *b, const struct fsb_req *req, uint64_t parent, const char *name)
{
	return remove_name(plug_of(b), FSB_RMDIR, req, parent, name);
}

static int pj_statfs(struct fsb *b, uint64_t node, struct statvfs *ret)
{
	struct plug *p = plug_of(b);
	_cleanup_json_ *o = NULL;
	json_t *size, *left;
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = pj_simple(&n, FSB_STATFS, NULL, NULL, &o);
	if (r == -PLUGIN_PASS && HAS_BELOW(p, n.inner, statfs))
		return BELOW(p, statfs, n.inner, ret);
	if (r < 0 && r != -PLUGIN_PASS)
		return r;
	size = json_object_get(o, "size_bytes");
	left = json_object_get(o, "free_bytes");
	if ((size && (!json_is_integer(size) || json_integer_value(size) < 0)) ||
		(left && (!json_is_integer(left) || json_integer_value(left) < 0)))
		return -EIO;
	*ret = (struct statvfs){.f_bsize = 4096,
		.f_frsize = 4096,
		.f_blocks = (uint64_t)json_integer_value(size) / 4096,
		.f_bfree = (uint64_t)json_integer_value(left) / 4096,
		.f_bavail = (uint64_t)json_integer_value(left) / 4096,
		.f_namemax = 255};
	return 0;
}

static int pj_syncfs(struct fsb *b, uint64_t node)
{
	struct plug *p = plug_of(b);
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r == 0)
		r = pj_simple(&n, FSB_SYNCFS, NULL, NULL, NULL);
	if (r == -PLUGIN_PASS)
		r = HAS_BELOW(p, n.inner, syncfs) ? BELOW(p, syncfs, n.inner) : 0;
	return r;
}

static int pj_btime(struct fsb *b, uint64_t node, struct timespec *ret)
{
	struct plug *p = plug_of(b);
	_pf_node_ n;
	int r = pj_get(p, node, &n);

	if (r < 0)
		return r;
	return HAS_BELOW(p, n.inner, btime) ? BELOW(p, btime, n.inner, ret) : -EOPNOTSUPP;
}

static void pj_stop(struct fsb *b)
{
	plug_stop(plug_of(b));
}

const struct fsb_ops plug_json_ops = {
	.name = "plugin",
	.summary = "a process of the user's that speaks lines of JSON",
	.caps = FSB_CAP_WRITE | FSB_CAP_XATTR | FSB_CAP_WAITS | FSB_CAP_SEE_WHO,
	.stop = pj_stop,
	.lookup = pj_lookup,
	.forget = pj_forget,
	.getattr = pj_getattr,
	.setattr = pj_setattr,
	.readlink = pj_readlink,
	.mknod = pj_mknod,
	.mkdir = pj_mkdir,
	.symlink = pj_symlink,
	.unlink = pj_unlink,
	.rmdir = pj_rmdir,
	.rename = pj_rename,
	.link = pj_link,
	.open = pj_open,
	.create = pj_create,
	.tmpfile = pj_tmpfile,
	.release = pj_release,
	.readv = pj_readv,
	.writev = pj_writev,
	.fsync = pj_fsync,
	.opendir = pj_opendir,
	.readdir = pj_readdir,
	.releasedir = pj_release,
	.statfs = pj_statfs,
	.setxattr = pj_setxattr,
	.getxattr = pj_getxattr,
	.listxattr = pj_listxattr,
	.removexattr = pj_removexattr,
	.fallocate = pj_fallocate,
	.lseek = pj_lseek,
	.copy_file_range = pj_copy_file_range,
	.syncfs = pj_syncfs,
	.btime = pj_btime,
	.cache = plug_cache,
	.load = plug_load,
};
