// SPDX-License-Identifier: Apache-2.0
// An image's merged tree in memory: inodes, names, and one hash table over (directory, name).
#include "fs/image/tree.h"
#include "fs/image/erofs.h"
#include "fs/image/image.h"
#include "base/cleanup.h"

#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

struct img_tree {
	struct img_inode *root;
	uint64_t inodes, max_inodes;
	struct img_dent **hash;
	size_t nhash, nents;
};

#define FIRST_HASH 1024

int img_tree_new(uint64_t max_inodes, struct img_tree **ret)
{
	struct img_tree *t = calloc(1, sizeof(*t));
	int r = -ENOMEM;

	if (!t)
		return -ENOMEM;
	t->max_inodes = max_inodes;
	t->nhash = FIRST_HASH;
	t->hash = calloc(t->nhash, sizeof(*t->hash));
	if (t->hash)
		r = img_tree_new_inode(t, S_IFDIR | 0755, &t->root);
	if (r < 0) {
		img_tree_free(t);
		return r;
	}
	t->root->parent = t->root;
	*ret = t;
	return 0;
}

struct img_tree *img_tree_free(struct img_tree *t)
{
	if (!t)
		return NULL;
	if (t->root) {
		while (t->root->children)
			img_tree_remove(t, t->root->children);
		img_tree_drop(t, t->root);
	}
	free(t->hash);
	free(t);
	return NULL;
}

struct img_inode *img_tree_root(const struct img_tree *t)
{
	return t->root;
}

uint64_t img_tree_inodes(const struct img_tree *t)
{
	return t->inodes;
}

int img_tree_new_inode(struct img_tree *t, uint32_t mode, struct img_inode **ret)
{
	struct img_inode *i;

	if (t->inodes >= t->max_inodes)
		return -E2BIG;
	i = calloc(1, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->mode = mode;
	t->inodes++;
	*ret = i;
	return 0;
}

void img_inode_clear_xattrs(struct img_inode *i)
{
	for (struct img_xattr *x = i->xattrs, *next; x; x = next) {
		next = x->next;
		free(x);
	}
	i->xattrs = NULL;
}

void img_tree_drop(struct img_tree *t, struct img_inode *i)
{
	img_inode_clear_xattrs(i);
	if (S_ISLNK(i->mode) || i->inlined)
		free(i->bytes);
	free(i);
	t->inodes--;
}

static size_t slot(
	const struct img_tree *t, const struct img_inode *dir, const char *name, size_t n)
{
	return XXH3_64bits_withSeed(name, n, (uintptr_t)dir) & (t->nhash - 1);
}

struct img_dent *img_tree_find(
	const struct img_tree *t, const struct img_inode *dir, const char *name, size_t n)
{
	for (struct img_dent *d = t->hash[slot(t, dir, name, n)]; d; d = d->hnext)
		if (d->dir == dir && d->name_n == n && memcmp(d->name, name, n) == 0)
			return d;
	return NULL;
}

static void grow(struct img_tree *t)
{
	size_t n = t->nhash * 2;
	struct img_dent **old = t->hash, **new = calloc(n, sizeof(*new));

	if (!new)
		return; /* longer chains, nothing else */
	t->hash = new;
	t->nhash = n;
	for (size_t i = 0; i < n / 2; i++)
		for (struct img_dent *d = old[i], *next; d; d = next) {
			size_t s = slot(t, d->dir, d->name, d->name_n);

			next = d->hnext;
			d->hnext = new[s];
			new[s] = d;
		}
	free(old);
}

int img_tree_add(struct img_tree *t, struct img_inode *dir, const char *name, size_t n,
	struct img_inode *inode, uint32_t layer, struct img_dent **ret)
{
	struct img_dent *d;
	size_t s;

	if (t->nents >= t->max_inodes)
		return -E2BIG;
	if (S_ISDIR(inode->mode) && dir->depth + 1 > img_limit(IMG_LIMIT_DEPTH))
		return -ELOOP;
	d = calloc(1, sizeof(*d) + n + 1);
	if (!d)
		return -ENOMEM;
	if (t->nents >= t->nhash)
		grow(t);
	memcpy(d->name, name, n);
	d->name_n = (uint8_t)n;
	d->dir = dir;
	d->inode = inode;
	d->layer = layer;
	s = slot(t, dir, name, n);
	d->hnext = t->hash[s];
	t->hash[s] = d;
	d->next = dir->children;
	if (d->next)
		d->next->pprev = &d->next;
	d->pprev = &dir->children;
	dir->children = d;
	dir->nchildren++;
	if (S_ISDIR(inode->mode)) {
		dir->nsubdirs++;
		inode->parent = dir;
		inode->depth = dir->depth + 1;
	}
	inode->refs++;
	t->nents++;
	if (ret)
		*ret = d;
	return 0;
}

/* Of an entry with nothing below it. */
static void unlink_entry(struct img_tree *t, struct img_dent *d)
{
	struct img_dent **p = &t->hash[slot(t, d->dir, d->name, d->name_n)];

	while (*p != d)
		p = &(*p)->hnext;
	*p = d->hnext;
	*d->pprev = d->next;
	if (d->next)
		d->next->pprev = d->pprev;
	d->dir->nchildren--;
	if (S_ISDIR(d->inode->mode))
		d->dir->nsubdirs--;
	t->nents--;
	if (--d->inode->refs == 0)
		img_tree_drop(t, d->inode);
	free(d);
}

void img_tree_remove(struct img_tree *t, struct img_dent *d)
{
	if (S_ISDIR(d->inode->mode)) /* as deep as IMG_MAX_DEPTH */
		while (d->inode->children)
			img_tree_remove(t, d->inode->children);
	unlink_entry(t, d);
}

bool img_tree_remove_lower(struct img_tree *t, struct img_dent *d, uint32_t layer)
{
	if (S_ISDIR(d->inode->mode)) {
		for (struct img_dent *c = d->inode->children, *next; c; c = next) {
			next = c->next;
			img_tree_remove_lower(t, c, layer);
		}
		if (d->inode->children)
			return true;
	}
	if (d->layer >= layer)
		return true;
	unlink_entry(t, d);
	return false;
}

static int xattr_cmp(const struct img_xattr *x, unsigned int index, const char *name, size_t n)
{
	int r = (int)x->index - (int)index;

	if (!r)
		r = memcmp(x->bytes, name, x->name_n < n ? x->name_n : n);
	return r ? r : (int)x->name_n - (int)n;
}

int img_inode_set_xattr(
	struct img_inode *i, const char *name, size_t name_n, const void *value, size_t value_n)
{
	struct img_xattr **p = &i->xattrs, *x;
	const char *prefix;
	unsigned int index;
	size_t total = sizeof(struct erofs_xattr_ibody), skip = 0;

	for (index = 1; index <= 6; index++) {
		prefix = erofs_xattr_prefix(index);
		skip = prefix ? strlen(prefix) : 0;
		if (!prefix || name_n < skip || memcmp(name, prefix, skip) != 0)
			continue;
		/* A namespace needs a name in it; a whole name nothing after. */
		if ((prefix[skip - 1] == '.') == (name_n > skip))
			break;
	}
	if (index > 6 || memchr(name, 0, name_n))
		return -EOPNOTSUPP;
	if (name_n > IMG_MAX_NAME || value_n > UINT16_MAX)
		return -E2BIG;
	name += skip;
	name_n -= skip;
	for (x = i->xattrs; x; x = x->next)
		total += sizeof(struct erofs_xattr_entry) + x->name_n + x->value_n + 3;
	if (total + sizeof(struct erofs_xattr_entry) + name_n + value_n + 3 >
		img_limit(IMG_LIMIT_XATTR_BYTES))
		return -E2BIG;
	while (*p && xattr_cmp(*p, index, name, name_n) < 0)
		p = &(*p)->next;
	x = malloc(sizeof(*x) + name_n + value_n);
	if (!x)
		return -ENOMEM;
	x->index = (uint8_t)index;
	x->name_n = (uint8_t)name_n;
	x->value_n = (uint16_t)value_n;
	memcpy(x->bytes, name, name_n);
	memcpy(x->bytes + name_n, value, value_n);
	x->next = *p;
	if (x->next && xattr_cmp(x->next, index, name, name_n) == 0) {
		struct img_xattr *old = x->next;

		x->next = old->next;
		free(old);
	}
	*p = x;
	return 0;
}
