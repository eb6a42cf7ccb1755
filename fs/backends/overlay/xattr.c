// SPDX-License-Identifier: Apache-2.0
// The overlay's extended attributes: the image's until the first change, then our own set.
#include "fs/acl.h"
#include "fs/backends/overlay/ovl.h"

#include <sys/stat.h>
#include <sys/xattr.h>

struct copying {
	struct ovl_txn *t;
	uint64_t ino;
	const char *but;
};

static int copy_one(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	struct copying *c = arg;

	if (n == 0 || n > OVL_NAME_MAX || value_n > OVL_MAX_XATTR_VALUE)
		return 0; /* nobody could have read it */
	if (!c->but || strlen(c->but) != n || memcmp(c->but, name, n) != 0)
		ovl_txn_xattr(c->t, c->ino, name, n, value, (uint32_t)value_n);
	return 0;
}

void ovl_txn_own_xattrs(struct ovl *o, struct ovl_txn *t, struct ovl_inode *i, const char *but)
{
	struct copying c = {t, i->ino, but};

	if (i->flags & OVL_OWN_XATTRS)
		ovl_txn_xattr(t, i->ino, but, strlen(but), NULL, OVL_XATTR_GONE);
	else if (i->lower)
		(void)img_index_xattrs(o->lower, i->lower, copy_one, &c); /* what can be read */
}

/* ---- one walk over either set */

typedef int (*xattr_fn)(void *arg, const char *name, size_t n, const void *value, size_t value_n);

static int each(struct ovl *o, const struct ovl_inode *i, xattr_fn fn, void *arg)
{
	if (!(i->flags & OVL_OWN_XATTRS))
		return i->lower ? img_index_xattrs(o->lower, i->lower, fn, arg) : 0;
	for (const struct ovl_xattr *x = i->xattrs; x; x = x->next) {
		if (fn(arg, x->bytes, x->name_n, x->bytes + x->name_n + 1, x->value_n))
			break;
	}
	return 0;
}

struct wanted {
	const char *name;
	size_t name_n;
	const void *value; /* NULL: not found */
	size_t value_n;
	uint64_t total; /* bytes of all the others */
};

static int want_one(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	struct wanted *w = arg;

	if (n == w->name_n && memcmp(name, w->name, n) == 0) {
		w->value = value ? value : "";
		w->value_n = value_n;
	} else {
		w->total += n + value_n;
	}
	return 0;
}

static int check_name(const char *name, struct wanted *w)
{
	size_t n = strnlen(name, OVL_NAME_MAX + 1);

	*w = (struct wanted){.name = name, .name_n = n};
	return n == 0 || n > OVL_NAME_MAX ? -ERANGE : 0;
}

/* What Linux has; another one would be kept, but no other file system takes it. */
static bool known_namespace(const char *name)
{
	static const char *const prefix[] = {"user.", "trusted.", "security.", "system."};

	for (size_t i = 0; i < ARRAY_LEN(prefix); i++) {
		if (strncmp(name, prefix[i], strlen(prefix[i])) == 0)
			return true;
	}
	return false;
}

/* The inode of @node and its attribute @w->name; the tree is locked. -ENODATA where it has none. */
static int find(struct ovl *o, uint64_t node, struct ovl_inode **ret, struct wanted *w)
{
	int r = ovl_get(o, node, ret);

	if (r == 0)
		r = each(o, *ret, want_one, w);
	return r < 0 ? r : w->value ? 0 : -ENODATA;
}

int64_t ovl_getxattr(struct fsb *b, uint64_t node, const char *name, void *buf, size_t cap)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct wanted w;
	int r = check_name(name, &w);

	if (r < 0)
		return r;
	OVL_READ(o);
	r = find(o, node, &i, &w);
	if (r < 0)
		return r;
	if (cap && w.value_n > cap)
		return -ERANGE;
	if (cap)
		memcpy(buf, w.value, w.value_n);
	return (int64_t)w.value_n;
}

struct names {
	char *buf;
	size_t cap, n;
};

static int name_one(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	struct names *l = arg;

	if (l->cap && l->n + n + 1 <= l->cap) {
		memcpy(l->buf + l->n, name, n);
		l->buf[l->n + n] = '\0';
	}
	l->n += n + 1;
	return 0;
}

int64_t ovl_listxattr(struct fsb *b, uint64_t node, char *buf, size_t cap)
{
	struct ovl *o = ovl_of(b);
	struct names l = {buf, cap, 0};
	struct ovl_inode *i;
	int r;

	OVL_READ(o);
	r = ovl_get(o, node, &i);
	if (r == 0)
		r = each(o, i, name_one, &l);
	if (r < 0)
		return r;
	return cap && l.n > cap ? -ERANGE : (int64_t)l.n;
}

int ovl_inherit(struct ovl *o, const struct ovl_inode *dir, uint32_t umask, uint32_t *mode,
	struct acl_bytes *ret_access, struct iovec *ret_default)
{
	struct wanted w = {.name = ACL_DEFAULT, .name_n = strlen(ACL_DEFAULT)};
	int r = o->fsb.acls ? each(o, dir, want_one, &w) : 0;
	bool has = r == 0 && acl_inherit(w.value, w.value_n, umask, mode, ret_access);

	*ret_default = has && S_ISDIR(*mode)
			       ? (struct iovec){.iov_base = (void *)w.value, .iov_len = w.value_n}
			       : (struct iovec){0};
	return r;
}

/* Adds to @t what turns @i's attributes into its own ones with @mode and a new ctime. */
static void take_over(
	struct ovl *o, struct ovl_txn *t, struct ovl_inode *i, const char *but, uint32_t mode)
{
	struct ovl_attr a;

	if (i->flags & OVL_STALE_SIZE)
		ovl_data_refresh(o, i);
	a = i->a;
	a.mode = mode;
	a.ctime = ovl_now();
	ovl_txn_inode(t, i->ino, i->lower, i->flags | OVL_OWN_XATTRS, &a);
	if (!(i->flags & OVL_OWN_XATTRS))
		ovl_txn_own_xattrs(o, t, i, but);
}

int ovl_setxattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name,
	const void *value, size_t n, uint32_t flags)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct acl_bytes acl;
	struct wanted w;
	bool gone = false;
	uint32_t mode;
	OVL_TXN(t);
	int r = check_name(name, &w);

	if (r < 0)
		return r;
	if (!known_namespace(name))
		return -EOPNOTSUPP;
	if (n > OVL_MAX_XATTR_VALUE)
		return -E2BIG;
	if (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE | FSB_XATTR_KILL_SGID))
		return -EINVAL;
	OVL_WRITE(o);
	r = ovl_get(o, node, &i);
	if (r == 0)
		r = each(o, i, want_one, &w);
	if (r < 0)
		return r;
	mode = i->a.mode;
	if (acl_is_name(name)) {
		r = acl_set(name, value, n, &mode, &acl);
		if (r < 0)
			return r;
		value = acl.p;
		n = acl.n;
		gone = n == 0;
		if (flags & FSB_XATTR_KILL_SGID)
			mode &= ~(uint32_t)S_ISGID;
	}
	if (flags & XATTR_CREATE && w.value)
		return -EEXIST;
	if (flags & XATTR_REPLACE && !w.value)
		return -ENODATA;
	if (!gone && w.total + w.name_n + n > OVL_MAX_XATTR_BYTES)
		return -ENOSPC;
	take_over(o, &t, i, name, mode);
	ovl_txn_xattr(&t, i->ino, name, w.name_n, value, gone ? OVL_XATTR_GONE : (uint32_t)n);
	return ovl_commit(o, &t, false);
}

int ovl_removexattr(struct fsb *b, const struct fsb_req *req, uint64_t node, const char *name)
{
	struct ovl *o = ovl_of(b);
	struct ovl_inode *i;
	struct wanted w;
	OVL_TXN(t);
	int r = check_name(name, &w);

	if (r < 0)
		return r;
	OVL_WRITE(o);
	r = find(o, node, &i, &w);
	if (r < 0)
		return r;
	take_over(o, &t, i, name, i->a.mode);
	if (i->flags & OVL_OWN_XATTRS)
		ovl_txn_xattr(&t, i->ino, name, w.name_n, NULL, OVL_XATTR_GONE);
	return ovl_commit(o, &t, true);
}
