// SPDX-License-Identifier: Apache-2.0
// The records of the overlay's log: how a change is written down, and how it is applied.
//
// A record: u8 kind, u8 zero, u16 bytes (head included), then its fields, little-endian, packed:
//	INODE	u64 ino, lower; u32 flags (chattr's among them), mode, uid, gid, rdev, nlink; u64
// size; 		{i64 sec, u32 nsec} atime, mtime, ctime 	TOUCH	u64 ino; u32 nlink;
// i64 sec; u32 nsec; u32 1: mtime too 	TARGET	u64 ino; bytes 	DENT	u64 dir, ino (0: no more),
// cookie; name 	XATTR u64 ino; u32 value bytes (~0: no more); u8 name bytes; name; value
// NEXT	u64 the next own ino 	BTIME u64 ino; i64 sec; u32 nsec: of an own inode, where its first
// INODE has a later ctime
// The value of an XATTR does not count in `bytes` (it may be 64 KiB): it follows the record.
#include "fs/backends/overlay/ovl.h"
#include "fs/backends/overlay/record.h"

#include <endian.h>
#include <sys/stat.h>

void ovl_txn_init(struct ovl_txn *t)
{
	t->buf = t->small;
	t->len = OVL_FRAME_HEAD;
	t->cap = sizeof(t->small);
	t->oom = false;
}

void ovl_txn_done(struct ovl_txn *t)
{
	if (t->buf != t->small)
		free(t->buf);
	t->buf = t->small;
}

static void put(struct ovl_txn *t, const void *p, size_t n)
{
	if (t->oom)
		return;
	if (t->len + n > t->cap) {
		size_t cap = t->cap * 2 > t->len + n ? t->cap * 2 : t->len + n;
		uint8_t *b = t->buf == t->small ? malloc(cap) : realloc(t->buf, cap);

		if (!b) {
			t->oom = true;
			return;
		}
		if (t->buf == t->small)
			memcpy(b, t->small, t->len);
		t->buf = b;
		t->cap = cap;
	}
	if (n)
		memcpy(t->buf + t->len, p, n);
	t->len += n;
}

static void put32(struct ovl_txn *t, uint32_t v)
{
	v = htole32(v);
	put(t, &v, sizeof(v));
}

static void put64(struct ovl_txn *t, uint64_t v)
{
	v = htole64(v);
	put(t, &v, sizeof(v));
}

static void put_time(struct ovl_txn *t, struct ovl_time v)
{
	put64(t, (uint64_t)v.sec);
	put32(t, v.nsec);
}

static void head(struct ovl_txn *t, enum ovl_record kind, size_t body)
{
	uint16_t n = htole16((uint16_t)(OVL_RECORD_HEAD + body));

	put(t, (uint8_t[]){(uint8_t)kind, 0}, 2);
	put(t, &n, sizeof(n));
}

void ovl_txn_inode(
	struct ovl_txn *t, uint64_t ino, uint64_t lower, uint32_t flags, const struct ovl_attr *a)
{
	head(t, OVL_R_INODE, OVL_R_INODE_BODY);
	put64(t, ino);
	put64(t, lower);
	put32(t, flags & (OVL_LOGGED_FLAGS | OVL_FL_MASK));
	put32(t, a->mode);
	put32(t, a->uid);
	put32(t, a->gid);
	put32(t, a->rdev);
	put32(t, a->nlink);
	put64(t, a->size);
	put_time(t, a->atime);
	put_time(t, a->mtime);
	put_time(t, a->ctime);
}

void ovl_txn_touch(struct ovl_txn *t, uint64_t ino, uint32_t nlink, struct ovl_time now, bool mtime)
{
	head(t, OVL_R_TOUCH, OVL_R_TOUCH_BODY);
	put64(t, ino);
	put32(t, nlink);
	put_time(t, now);
	put32(t, mtime);
}

void ovl_txn_file(struct ovl_txn *t, const struct ovl_inode *i, uint32_t nlink, struct ovl_time now)
{
	/* The log's mtime is older than a write then, and the new ctime would hide the data file's,
	 * which is all that a load after a crash could go by. */
	if (nlink && i->flags & OVL_DIRTY)
		ovl_txn_inode(t, i->ino, i->lower, i->flags, &i->a);
	ovl_txn_touch(t, i->ino, nlink, now, false);
}

void ovl_txn_target(struct ovl_txn *t, uint64_t ino, const char *target, size_t n)
{
	head(t, OVL_R_TARGET, 8 + n);
	put64(t, ino);
	put(t, target, n);
}

void ovl_txn_dent(
	struct ovl_txn *t, uint64_t dir, const char *name, size_t n, uint64_t ino, uint64_t cookie)
{
	head(t, OVL_R_DENT, 24 + n);
	put64(t, dir);
	put64(t, ino);
	put64(t, cookie);
	put(t, name, n);
}

void ovl_txn_xattr(struct ovl_txn *t, uint64_t ino, const char *name, size_t n, const void *value,
	uint32_t value_n)
{
	head(t, OVL_R_XATTR, 13 + n);
	put64(t, ino);
	put32(t, value_n);
	put(t, &(uint8_t){(uint8_t)n}, 1);
	put(t, name, n);
	if (value_n != OVL_XATTR_GONE)
		put(t, value, value_n);
}

void ovl_txn_next(struct ovl_txn *t, uint64_t next_ino)
{
	head(t, OVL_R_NEXT, 8);
	put64(t, next_ino);
}

void ovl_txn_birth(struct ovl_txn *t, const struct ovl_inode *i)
{
	if (i->lower || (i->btime.sec == i->a.ctime.sec && i->btime.nsec == i->a.ctime.nsec))
		return;
	head(t, OVL_R_BTIME, OVL_R_BTIME_BODY);
	put64(t, i->ino);
	put_time(t, i->btime);
}

void ovl_txn_whole(struct ovl_txn *t, const struct ovl_inode *i)
{
	ovl_txn_inode(t, i->ino, i->lower, i->flags, &i->a);
	ovl_txn_birth(t, i);
	if (i->target)
		ovl_txn_target(t, i->ino, i->target, strlen(i->target));
	for (const struct ovl_xattr *x = i->xattrs; x; x = x->next)
		ovl_txn_xattr(t, i->ino, x->bytes, x->name_n, x->bytes + x->name_n + 1, x->value_n);
}

/* ---- applying. A cursor that has been read past its end stays bad and yields zeros. */

struct cur {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static const uint8_t *take(struct cur *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->bad || n > c->n) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->n -= n;
	return p;
}

static uint32_t get32(struct cur *c)
{
	const uint8_t *p = take(c, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(struct cur *c)
{
	const uint8_t *p = take(c, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static struct ovl_time get_time(struct cur *c)
{
	struct ovl_time t;

	t.sec = (int64_t)get64(c);
	t.nsec = get32(c);
	if (t.nsec >= 1000000000u)
		c->bad = true;
	return t;
}

/* The inode that a record speaks of: in the table, or a lower one that is changed by it. */
static int subject(struct ovl *o, uint64_t ino, struct ovl_inode **ret)
{
	int r;

	*ret = ovl_find(o, ino);
	if (*ret)
		return 0;
	r = ovl_from_lower(o, ino, ret);
	return r == -ENOMEM || r == -ENFILE ? r : r < 0 ? -EBADMSG : 0;
}

static int apply_inode(struct ovl *o, struct cur *c)
{
	uint64_t ino = get64(c), lower = get64(c);
	uint32_t flags = get32(c);
	struct ovl_inode *i;
	struct ovl_attr a;
	int r;

	a.mode = get32(c);
	a.uid = get32(c);
	a.gid = get32(c);
	a.rdev = get32(c);
	a.nlink = get32(c);
	a.size = get64(c);
	a.atime = get_time(c);
	a.mtime = get_time(c);
	a.ctime = get_time(c);
	if (c->bad || c->n || ino == 0 || !ovl_mode_known(a.mode) ||
		flags & ~(OVL_LOGGED_FLAGS | OVL_FL_MASK) || a.size > INT64_MAX)
		return -EBADMSG;
	i = ovl_find(o, ino);
	if (!i && lower == 0 && (ino >= OVL_OWN_BASE || ino == OVL_ROOT) && ino < INT64_MAX) {
		i = ovl_new(o, ino);
		if (!i)
			return -ENOMEM;
		i->a.mode = a.mode;
		i->btime = a.ctime;
		if (ino >= o->next_ino)
			o->next_ino = ino + 1;
	} else if (!i) {
		r = subject(o, ino, &i);
		if (r < 0)
			return r;
	}
	/* A file has its bytes either below or here. */
	if (S_ISREG(a.mode) && !lower && !(flags & OVL_OWN_DATA))
		return -EBADMSG;
	if (i->lower != lower || ((i->a.mode ^ a.mode) & S_IFMT) ||
		(flags & OVL_OWN_DATA && !S_ISREG(a.mode)) || i->flags & OVL_LOGGED_FLAGS & ~flags)
		return -EBADMSG;
	if (flags & OVL_OWN_XATTRS & ~i->flags)
		i->flags &= ~(uint32_t)OVL_HAS_CAP; /* an XATTR record may set it again */
	if (flags >> OVL_FL_SHIFT & FSB_FL_GUARDS)
		atomic_store(&fsb_guards, true);
	i->a = a;
	i->flags = ((i->flags & ~OVL_FL_MASK) | flags | OVL_CHANGED) & ~(uint32_t)OVL_DIRTY;
	return 0;
}

static int apply_btime(struct ovl *o, struct cur *c)
{
	uint64_t ino = get64(c);
	struct ovl_time t = get_time(c);
	struct ovl_inode *i = c->bad || c->n ? NULL : ovl_find(o, ino);

	if (!i || i->lower)
		return -EBADMSG;
	i->btime = t;
	return 0;
}

static int apply_touch(struct ovl *o, struct cur *c)
{
	uint64_t ino = get64(c);
	uint32_t nlink = get32(c), mtime;
	struct ovl_time now = get_time(c);
	struct ovl_inode *i;
	int r;

	mtime = get32(c);
	if (c->bad || c->n || mtime > 1)
		return -EBADMSG;
	r = subject(o, ino, &i);
	if (r < 0)
		return r;
	i->a.nlink = nlink;
	i->a.ctime = now;
	if (mtime)
		i->a.mtime = now;
	i->flags |= OVL_CHANGED;
	if (nlink)
		i->flags &= ~(uint32_t)OVL_LINKABLE;
	return 0;
}

static int apply_target(struct ovl *o, struct cur *c)
{
	uint64_t ino = get64(c);
	struct ovl_inode *i = c->bad ? NULL : ovl_find(o, ino);
	char *t;

	if (!i || !S_ISLNK(i->a.mode) || i->lower || i->target || c->n == 0 ||
		c->n > OVL_TARGET_MAX || memchr(c->p, 0, c->n))
		return -EBADMSG;
	t = malloc(c->n + 1);
	if (!t)
		return -ENOMEM;
	memcpy(t, c->p, c->n);
	t[c->n] = '\0';
	i->target = t;
	return 0;
}

static int apply_dent(struct ovl *o, struct cur *c)
{
	uint64_t dir = get64(c), ino = get64(c), cookie = get64(c);
	struct ovl_inode *d, *i = NULL;
	char name[OVL_NAME_MAX + 1];
	int r;

	if (c->bad || c->n > OVL_NAME_MAX || memchr(c->p, 0, c->n))
		return -EBADMSG;
	memcpy(name, c->p, c->n);
	name[c->n] = '\0';
	if (ovl_check_name(name) < 0)
		return -EBADMSG;
	r = subject(o, dir, &d);
	if (r < 0)
		return r;
	if (ino)
		i = ovl_find(o, ino);
	/* What a name is given to has been changed by that, so the log has spoken of it before. */
	if (!S_ISDIR(d->a.mode) || (ino && (!i || !(i->flags & OVL_CHANGED) || ino == OVL_ROOT)))
		return -EBADMSG;
	r = ovl_dir_set(o, d, name, c->n, ino, i ? ovl_dtype(i->a.mode) : 0, cookie);
	if (r == 0) {
		d->flags |= OVL_CHANGED;
		if (i && S_ISDIR(i->a.mode))
			i->parent = dir;
	}
	return r;
}

static int apply_xattr(struct ovl *o, struct cur *c, struct cur *all)
{
	uint64_t ino = get64(c);
	uint32_t value_n = get32(c);
	const uint8_t *name_n = take(c, 1), *value = NULL;
	struct ovl_inode *i = c->bad ? NULL : ovl_find(o, ino);
	struct ovl_xattr *x = NULL, **p;
	bool cap;

	if (!i || !(i->flags & OVL_OWN_XATTRS) || c->n != *name_n || c->n == 0 ||
		memchr(c->p, 0, c->n))
		return -EBADMSG;
	if (value_n != OVL_XATTR_GONE) {
		value = take(all, value_n);
		if (!value || value_n > OVL_MAX_XATTR_VALUE)
			return -EBADMSG;
		x = malloc(sizeof(*x) + c->n + 1 + value_n);
		if (!x)
			return -ENOMEM;
		x->name_n = *name_n;
		x->value_n = value_n;
		memcpy(x->bytes, c->p, c->n);
		x->bytes[c->n] = '\0';
		memcpy(x->bytes + c->n + 1, value, value_n);
	}
	cap = c->n == 19 && memcmp(c->p, "security.capability", 19) == 0;
	if (cap)
		i->flags = (i->flags & ~(uint32_t)OVL_HAS_CAP) | (x ? OVL_HAS_CAP : 0);
	for (p = &i->xattrs; *p; p = &(*p)->next) {
		struct ovl_xattr *old = *p;

		if (old->name_n != c->n || memcmp(old->bytes, c->p, c->n) != 0)
			continue;
		*p = old->next;
		free(old);
		break;
	}
	if (x) {
		x->next = *p;
		*p = x;
	}
	return 0;
}

static int apply_next(struct ovl *o, struct cur *c)
{
	uint64_t next = get64(c);

	if (c->bad || c->n || next < o->next_ino || next >= INT64_MAX)
		return -EBADMSG;
	o->next_ino = next;
	return 0;
}

int ovl_apply(struct ovl *o, const uint8_t *p, size_t n)
{
	struct cur all = {p, n, false};
	int r = 0;

	while (r == 0 && all.n) {
		const uint8_t *h = take(&all, OVL_RECORD_HEAD);
		struct cur c = {0};
		uint16_t bytes;

		if (!h)
			return -EBADMSG;
		memcpy(&bytes, h + 2, sizeof(bytes));
		bytes = le16toh(bytes);
		if (h[1] || bytes < OVL_RECORD_HEAD)
			return -EBADMSG;
		c.n = bytes - OVL_RECORD_HEAD;
		c.p = take(&all, c.n);
		if (!c.p)
			return -EBADMSG;
		switch (h[0]) {
		case OVL_R_INODE: r = apply_inode(o, &c); break;
		case OVL_R_TOUCH: r = apply_touch(o, &c); break;
		case OVL_R_TARGET: r = apply_target(o, &c); break;
		case OVL_R_DENT: r = apply_dent(o, &c); break;
		case OVL_R_XATTR: r = apply_xattr(o, &c, &all); break;
		case OVL_R_NEXT: r = apply_next(o, &c); break;
		case OVL_R_BTIME: r = apply_btime(o, &c); break;
		default: r = -EBADMSG;
		}
	}
	return r;
}
