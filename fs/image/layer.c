// SPDX-License-Identifier: Apache-2.0
// Applying a layer's tar to an image's tree.
#include "fs/image/layer.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define WH     ".wh."
#define OPAQUE ".wh..wh..opq"
#define META   ".wh..wh."

/* Where an entry goes: its directory in the tree and its own name, into the entry's path. */
struct place {
	struct img_inode *dir; /* NULL: not there, and not to be made */
	const char *name;
	size_t n; /* 0: the root itself */
};

static int no(struct msb_err *e, int code, const char *path, const char *why)
{
	char shown[256];
	struct msb_str s = MSB_STR_FIXED(shown);

	msb_str_add_printable(&s, path, strlen(path));
	return msb_err_set(e, code, "%s: %s", s.buf, why);
}

static int tree_error(struct msb_err *e, int r, const char *path)
{
	switch (r) {
	case -E2BIG: return no(e, E2BIG, path, "the image holds too many files");
	case -ELOOP: return no(e, E2BIG, path, "directories are too deep");
	default: return no(e, ENOMEM, path, "out of memory");
	}
}

static bool is_dot(const char *p, size_t n)
{
	return n == 1 && p[0] == '.';
}

static bool is_dotdot(const char *p, size_t n)
{
	return n == 2 && p[0] == '.' && p[1] == '.';
}

/* The next component of *@p, which moves past it; 0 bytes at the end. "." is left out. */
static size_t component(const char **p, const char **ret)
{
	size_t n;

	do {
		*p += strspn(*p, "/");
		*ret = *p;
		n = strcspn(*p, "/");
		*p += n;
	} while (is_dot(*ret, n));
	return n;
}

static int implied_dir(struct img_layer *l, struct img_inode *at, const char *name, size_t n,
	struct img_inode **ret)
{
	struct img_inode *i;
	int r = img_tree_new_inode(l->tree, S_IFDIR | 0755, &i);

	if (r < 0)
		return r;
	r = img_tree_add(l->tree, at, name, n, i, l->number, NULL);
	if (r < 0)
		img_tree_drop(l->tree, i);
	else
		*ret = i;
	return r;
}

/* Walks @path (its first @path_n bytes) from the root, following symlinks inside the tree. */
static int walk(struct img_layer *l, const char *path, size_t path_n, bool make,
	struct img_inode **ret, struct msb_err *e)
{
	char a[2 * IMG_TAR_MAX_PATH + 2], b[sizeof(a)], *rest = a, *other = b;
	struct img_inode *cur = img_tree_root(l->tree);
	unsigned int follows = 0;
	const char *p = a, *c;
	size_t n;

	*ret = NULL;
	memcpy(a, path, path_n); /* shorter than IMG_TAR_MAX_PATH */
	a[path_n] = 0;
	while ((n = component(&p, &c))) {
		struct img_dent *d;
		int r;

		if (is_dotdot(c, n)) { /* of a symlink's target: the root is its own parent */
			cur = cur->parent;
			continue;
		}
		if (n > IMG_MAX_NAME)
			return no(e, E2BIG, path, "a name is longer than 255 bytes");
		d = img_tree_find(l->tree, cur, c, n);
		if (!d) {
			if (!make)
				return 0;
			r = implied_dir(l, cur, c, n, &cur);
			if (r < 0)
				return tree_error(e, r, path);
		} else if (S_ISDIR(d->inode->mode)) {
			cur = d->inode;
		} else if (S_ISLNK(d->inode->mode)) {
			const char *target = d->inode->bytes;
			size_t left = strlen(p);
			char *swap = rest;

			if (++follows > IMG_MAX_FOLLOW)
				return no(e, EBADMSG, path, "too many symbolic links on the way");
			if (d->inode->size + 1 + left >= sizeof(a))
				return no(e, E2BIG, path, "symbolic links make the path too long");
			memcpy(other, target, d->inode->size);
			other[d->inode->size] = '/';
			memcpy(other + d->inode->size + 1, p, left + 1);
			rest = other;
			other = swap;
			p = rest;
			if (target[0] == '/')
				cur = img_tree_root(l->tree);
		} else {
			return make ? no(e, EBADMSG, path, "what should be a directory is none")
				    : 0;
		}
	}
	*ret = cur;
	return 0;
}

static int locate(
	struct img_layer *l, const char *path, bool make, struct place *ret, struct msb_err *e)
{
	const char *p = path, *c, *last = path;
	size_t n, last_n = 0;

	while ((n = component(&p, &c))) {
		if (is_dotdot(c, n))
			return no(e, EBADMSG, path, "a name in a layer must not hold '..'");
		last = c;
		last_n = n;
	}
	if (last_n > IMG_MAX_NAME)
		return no(e, E2BIG, path, "a name is longer than 255 bytes");
	*ret = (struct place){.name = last, .n = last_n};
	return walk(l, path, (size_t)(last - path), make, &ret->dir, e);
}

static int whiteout(struct img_layer *l, const struct place *w, const char *path, struct msb_err *e)
{
	const char *name = w->name + strlen(WH);
	size_t n = w->n - strlen(WH);
	struct img_dent *d;

	if (w->n == strlen(OPAQUE) && memcmp(w->name, OPAQUE, w->n) == 0) {
		for (struct img_dent *c = w->dir ? w->dir->children : NULL, *next; c; c = next) {
			next = c->next;
			img_tree_remove_lower(l->tree, c, l->number);
		}
		return 0;
	}
	if (w->n >= strlen(META) && memcmp(w->name, META, strlen(META)) == 0)
		return 0; /* what an old union file system kept for itself */
	if (!n || is_dot(name, n) || is_dotdot(name, n))
		return no(e, EBADMSG, path, "a whiteout of nothing");
	d = w->dir ? img_tree_find(l->tree, w->dir, name, n) : NULL;
	if (d)
		img_tree_remove_lower(l->tree, d, l->number);
	return 0;
}

static int set_attrs(
	struct img_inode *i, const struct img_tar_entry *x, const char *path, struct msb_err *e)
{
	i->mode = (i->mode & S_IFMT) | x->mode;
	i->uid = x->uid;
	i->gid = x->gid;
	i->mtime_sec = x->mtime_sec;
	i->mtime_nsec = x->mtime_nsec;
	img_inode_clear_xattrs(i);
	for (size_t k = 0; k < x->nxattrs; k++) {
		const struct img_tar_xattr *a = &x->xattrs[k];
		int r = img_inode_set_xattr(i, a->name, a->name_n, a->value, a->value_n);

		if (r == -EOPNOTSUPP)
			log_debug("%s: extended attribute '%.*s' is of no known kind, ignoring",
				path, (int)a->name_n, a->name);
		else if (r < 0)
			return no(e, -r, path,
				r == -E2BIG ? "extended attributes are too large"
					    : "out of memory");
	}
	return 0;
}

static uint32_t type_of(enum img_tar_type type)
{
	switch (type) {
	case IMG_TAR_SYMLINK: return S_IFLNK;
	case IMG_TAR_CHR: return S_IFCHR;
	case IMG_TAR_BLK: return S_IFBLK;
	case IMG_TAR_DIR: return S_IFDIR;
	case IMG_TAR_FIFO: return S_IFIFO;
	default: return S_IFREG;
	}
}

/* Enters @i, which must have nothing else to lose, in place of what has its name. */
static int put(struct img_layer *l, const struct place *w, struct img_inode *i, const char *path,
	struct msb_err *e)
{
	struct img_dent *d = img_tree_find(l->tree, w->dir, w->name, w->n);
	int r;

	if (d)
		img_tree_remove(l->tree, d);
	r = img_tree_add(l->tree, w->dir, w->name, w->n, i, l->number, NULL);
	return r < 0 ? tree_error(e, r, path) : 0;
}

static int hardlink(struct img_layer *l, const struct place *w, const struct img_tar_entry *x,
	struct msb_err *e)
{
	struct img_dent *d = NULL;
	struct place target = {0};
	int r = locate(l, x->link, false, &target, e);

	if (r < 0)
		return r;
	if (target.dir && target.n)
		d = img_tree_find(l->tree, target.dir, target.name, target.n);
	if (!d)
		return no(
			e, EBADMSG, x->path, "a hard link to a file that the image does not hold");
	if (S_ISDIR(d->inode->mode))
		return no(e, EBADMSG, x->path, "a hard link to a directory");
	if (d == img_tree_find(l->tree, w->dir, w->name, w->n))
		return no(e, EBADMSG, x->path, "a hard link to itself");
	/* What is replaced may be a directory that holds the target. */
	d->inode->refs++;
	struct img_inode *i = d->inode;
	r = put(l, w, i, x->path, e);
	if (--i->refs == 0)
		img_tree_drop(l->tree, i);
	return r;
}

static int fill(struct img_inode *i, const struct img_tar_entry *x, struct msb_err *e)
{
	int r = set_attrs(i, x, x->path, e);

	if (r < 0)
		return r;
	switch (x->type) {
	case IMG_TAR_SYMLINK:
		i->size = strlen(x->link);
		if (!i->size || i->size > IMG_MAX_SYMLINK)
			return no(
				e, EBADMSG, x->path, "a symbolic link with no target, or too long");
		i->mode = S_IFLNK | 0777;
		i->bytes = strdup(x->link);
		return i->bytes ? 0 : no(e, ENOMEM, x->path, "out of memory");
	case IMG_TAR_CHR:
	case IMG_TAR_BLK:
		if (x->dev_major >= 1u << 12 || x->dev_minor >= 1u << 20)
			return no(e, EBADMSG, x->path, "a device with an impossible number");
		i->rdev = (uint32_t)makedev(x->dev_major, x->dev_minor);
		return 0;
	case IMG_TAR_FILE:
		i->size = x->size;
		if (!x->size || x->size > IMG_INLINE_MAX)
			return 0;
		i->bytes = malloc(x->size + 1);
		if (!i->bytes)
			return no(e, ENOMEM, x->path, "out of memory");
		i->bytes[x->size] = 0;
		i->inlined = true;
		return 0;
	default: return 0;
	}
}

static int on_entry(void *arg, const struct img_tar_entry *x, struct msb_err *e)
{
	struct img_layer *l = arg;
	struct img_inode *i;
	struct img_dent *d;
	struct place w = {0};
	bool wh;
	int r;

	l->to = NULL;
	l->got = 0;
	r = locate(l, x->path, false, &w, e);
	if (r < 0)
		return r;
	wh = w.n >= strlen(WH) && memcmp(w.name, WH, strlen(WH)) == 0;
	if (wh)
		return whiteout(l, &w, x->path, e);
	if (!w.n)
		return x->type == IMG_TAR_DIR
			       ? set_attrs(img_tree_root(l->tree), x, x->path, e)
			       : no(e, EBADMSG, x->path, "the root of an image is a directory");
	if (!w.dir) {
		r = locate(l, x->path, true, &w, e);
		if (r < 0)
			return r;
	}
	if (x->type == IMG_TAR_HARDLINK)
		return hardlink(l, &w, x, e);
	d = img_tree_find(l->tree, w.dir, w.name, w.n);
	if (d && x->type == IMG_TAR_DIR && S_ISDIR(d->inode->mode)) {
		d->layer = l->number;
		return set_attrs(d->inode, x, x->path, e);
	}
	r = img_tree_new_inode(l->tree, type_of(x->type), &i);
	if (r < 0)
		return tree_error(e, r, x->path);
	r = fill(i, x, e);
	if (r == 0)
		r = put(l, &w, i, x->path, e);
	if (r < 0) {
		img_tree_drop(l->tree, i);
		return r;
	}
	if (x->type == IMG_TAR_FILE)
		l->to = i;
	return 0;
}

static int on_data(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct img_layer *l = arg;

	if (!l->to || !l->to->inlined)
		return 0;
	memcpy(l->to->bytes + l->got, p, n); /* no more than the entry's size ever comes */
	l->got += n;
	return 0;
}

static int on_hole(void *arg, uint64_t n, struct msb_err *e)
{
	struct img_layer *l = arg;

	if (!l->to || !l->to->inlined)
		return 0;
	memset(l->to->bytes + l->got, 0, n);
	l->got += n;
	return 0;
}

static int on_done(void *arg, struct msb_err *e)
{
	struct img_layer *l = arg;
	struct img_inode *i = l->to;
	struct img_span at = l->at;

	l->to = NULL;
	l->at = (struct img_span){0};
	if (!i || i->inlined || !i->size)
		return 0;
	if (at.len != i->size)
		return msb_err_set(e, EBADMSG, "a file's contents are not where they should be");
	i->pack_id = at.pack;
	i->pack_off = (uint64_t)at.blk * IMG_PACK_ALIGN;
	return 0;
}

const struct img_tar_ops img_layer_ops = {on_entry, on_data, on_hole, on_done};
