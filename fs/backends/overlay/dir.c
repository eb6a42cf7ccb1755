// SPDX-License-Identifier: Apache-2.0
// The overlay's directories: what changed of a lower one, and how both are listed as one.
//
// Positions in a listing. 1 and 2 follow "." and ".."; 2 + n follows the n-th lower entry; past
// those, 2 + lower_n + c follows the added entry with cookie c. A name that the lower directory has
// is always listed in its lower place, whatever it stands for now; any other name gets the next
// cookie when it appears and keeps it while it exists, also when a rename changes what it stands
// for. So a scan meets each name that exists throughout exactly once, and a position stays good
// after its entry is gone. The low 31 bits of an offset say which cookies there were when the scan
// began: who renames or replaces each file that is listed would else be listing for ever.
#include "fs/backends/overlay/ovl.h"

#include <dirent.h>
#include <xxhash.h>

#define BUCKETS_MIN 8
#define END_BITS    31
#define END_MASK    ((UINT64_C(1) << END_BITS) - 1)

int ovl_check_name(const char *name)
{
	size_t n = strnlen(name, OVL_NAME_MAX + 1);

	if (n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || memchr(name, '/', n))
		return -EINVAL;
	return n > OVL_NAME_MAX ? -ENAMETOOLONG : 0;
}

struct ovl_dir *ovl_dir_free(struct ovl_dir *d)
{
	if (!d)
		return NULL;
	for (uint32_t b = 0; b < d->buckets; b++) {
		for (struct ovl_dent *e = d->bucket[b], *next; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(d->bucket);
	free(d->added);
	free(d->lower);
	free(d);
	return NULL;
}

static uint32_t hash(const struct ovl *o, const char *name, size_t n)
{
	return (uint32_t)XXH3_64bits_withSeed(name, n, o->seed);
}

static struct ovl_dent *find(const struct ovl_dir *d, const char *name, size_t n, uint32_t h)
{
	struct ovl_dent *e = d->bucket[h & (d->buckets - 1)];

	while (e && (e->hash != h || e->name_n != n || memcmp(e->name, name, n) != 0))
		e = e->next;
	return e;
}

struct ovl_dent *ovl_dent_find(
	const struct ovl *o, const struct ovl_inode *dir, const char *name, size_t n)
{
	return dir->dir && dir->dir->dents ? find(dir->dir, name, n, hash(o, name, n)) : NULL;
}

int ovl_dir_lookup(
	const struct ovl *o, const struct ovl_inode *dir, const char *name, size_t n, uint64_t *ret)
{
	const struct ovl_dent *e = ovl_dent_find(o, dir, name, n);
	uint64_t nid;
	int r;

	if (e) {
		*ret = e->ino;
		return e->ino ? 0 : -ENOENT;
	}
	if (!dir->lower || !dir->a.nlink) /* a removed one has nothing, whatever the image says */
		return -ENOENT;
	r = img_index_lookup(o->lower, dir->lower, name, n, &nid);
	return r < 0 ? r : ovl_ino_of_nid(o, nid, ret);
}

uint64_t ovl_parent(const struct ovl *o, uint64_t dir)
{
	const struct ovl_inode *i = ovl_find(o, dir);
	uint64_t nid = i ? i->lower : dir - 1, ino;

	if (dir == OVL_ROOT || (i && i->parent))
		return dir == OVL_ROOT ? OVL_ROOT : i->parent;
	/* It was never moved, so it is where the image has it. */
	if (!o->lower || dir >= OVL_OWN_BASE ||
		img_index_lookup(o->lower, nid, "..", 2, &nid) < 0 ||
		ovl_ino_of_nid(o, nid, &ino) < 0)
		return 0;
	return ino;
}

static struct ovl_dir *dir_of(struct ovl_inode *dir)
{
	if (!dir->dir) {
		struct ovl_dir *d = calloc(1, sizeof(*d));

		if (d)
			d->bucket = calloc(BUCKETS_MIN, sizeof(*d->bucket));
		if (!d || !d->bucket) {
			free(d);
			return NULL;
		}
		d->buckets = BUCKETS_MIN;
		dir->dir = d;
	}
	return dir->dir;
}

/* Twice the buckets; one that cannot have them only gets slower. */
static void grow(struct ovl_dir *d)
{
	struct ovl_dent **t = calloc((size_t)d->buckets * 2, sizeof(struct ovl_dent *));

	if (!t)
		return;
	for (uint32_t b = 0; b < d->buckets; b++) {
		for (struct ovl_dent *e = d->bucket[b], *next; e; e = next) {
			struct ovl_dent **head = &t[e->hash & (d->buckets * 2 - 1)];

			next = e->next;
			e->next = *head;
			*head = e;
		}
	}
	free(d->bucket);
	d->bucket = t;
	d->buckets *= 2;
}

/* Index of the first added entry with a cookie past @cookie. */
static uint32_t after(const struct ovl_dir *d, uint64_t cookie)
{
	uint32_t lo = 0, hi = d->added_n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d->added[mid].cookie <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void close_holes(struct ovl_dir *d)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < d->added_n; i++) {
		if (d->added[i].d)
			d->added[n++] = d->added[i];
	}
	d->added_n = n;
	d->holes = 0;
}

/* Once in two thousand million names of a directory: a scan at work may then miss some. */
static void renumber(struct ovl_dir *d)
{
	close_holes(d);
	for (uint32_t i = 0; i < d->added_n; i++)
		d->added[i].cookie = d->added[i].d->cookie = i + 1;
	d->last_cookie = d->added_n;
}

static int append(struct ovl_dir *d, struct ovl_dent *e)
{
	if (d->added_n == d->added_cap && d->holes > d->added_n / 2)
		close_holes(d);
	if (d->added_n == d->added_cap) {
		uint32_t cap = d->added_cap ? d->added_cap * 2 : BUCKETS_MIN;
		struct ovl_added *p = realloc(d->added, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		d->added = p;
		d->added_cap = cap;
	}
	d->added[d->added_n++] = (struct ovl_added){e->cookie, e};
	d->last_cookie = e->cookie;
	return 0;
}

static void erase(struct ovl_dir *d, struct ovl_dent *e)
{
	struct ovl_dent **p = &d->bucket[e->hash & (d->buckets - 1)];
	uint32_t i = after(d, e->cookie - 1);

	d->added[i].d = NULL; // NOLINT(clang-analyzer-core.NullDereference): every cookie is there
	if (i == d->added_n - 1)
		d->added_n--;
	else
		d->holes++;
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	d->dents--;
	free(e);
}

int ovl_dir_set(struct ovl *o, struct ovl_inode *dir, const char *name, size_t n, uint64_t ino,
	uint32_t type, uint64_t cookie)
{
	struct ovl_dir *d = dir_of(dir);
	uint32_t h = hash(o, name, n);
	struct ovl_dent *e, **head;
	uint64_t nid;
	int r = -ENOENT;

	if (!d)
		return -ENOMEM;
	e = find(d, name, n, h);
	if (e && !ino && e->cookie) {
		erase(d, e);
		return 0;
	}
	if (e) {
		d->gone += !ino;
		d->gone -= !e->ino;
		e->ino = ino;
		e->type = (uint8_t)type;
		return 0;
	}
	if (dir->lower)
		r = img_index_lookup(o->lower, dir->lower, name, n, &nid);
	if (r < 0 && r != -ENOENT)
		return r;
	if (r == -ENOENT && !ino)
		return 0;
	if (r == -ENOENT && cookie == 0) {
		if (d->last_cookie >= OVL_COOKIE_MAX)
			renumber(d);
		cookie = d->last_cookie + 1;
	}
	if (r == -ENOENT && (cookie <= d->last_cookie || cookie > OVL_COOKIE_MAX))
		return -EBADMSG;
	e = malloc(sizeof(*e) + n + 1);
	if (!e)
		return -ENOMEM;
	*e = (struct ovl_dent){.ino = ino,
		.hash = h,
		.type = (uint8_t)type,
		.name_n = (uint8_t)n,
		.cookie = r == 0 ? 0 : cookie};
	memcpy(e->name, name, n);
	e->name[n] = '\0';
	if (e->cookie && append(d, e) < 0) {
		free(e);
		return -ENOMEM;
	}
	if (d->dents >= d->buckets)
		grow(d);
	head = &d->bucket[h & (d->buckets - 1)];
	e->next = *head;
	*head = e;
	d->dents++;
	d->gone += !ino;
	return 0;
}

/* ---- listing */

struct listing {
	const struct ovl *o;
	struct ovl_dir *d;
	uint32_t cap;
	int err;
};

static int list_one(void *arg, const char *name, size_t n, uint64_t nid, uint8_t type)
{
	struct listing *l = arg;
	struct ovl_dir *d = l->d;

	if (n == 0 || n > OVL_NAME_MAX)
		return l->err = -EBADMSG;
	if (d->lower_n == l->cap) {
		uint32_t cap = l->cap ? l->cap * 2 : 16;
		struct ovl_lent *p = realloc(d->lower, cap * sizeof(*p));

		if (!p)
			return l->err = -ENOMEM;
		d->lower = p;
		l->cap = cap;
	}
	d->lower[d->lower_n] = (struct ovl_lent){.name = name, .name_n = (uint8_t)n, .type = type};
	l->err = ovl_ino_of_nid(l->o, nid, &d->lower[d->lower_n].ino);
	if (l->err == 0)
		d->lower_n++;
	return l->err;
}

int ovl_dir_list_lower(struct ovl *o, struct ovl_inode *dir)
{
	struct listing l = {.o = o, .d = dir_of(dir)};
	int r = 0;

	if (!l.d)
		return -ENOMEM;
	if (l.d->listed)
		return 0;
	if (dir->lower && dir->a.nlink)
		r = img_index_readdir(o->lower, dir->lower, list_one, &l);
	if (l.err < 0 || r < 0) {
		l.d->lower_n = 0;
		return l.err < 0 ? l.err : r;
	}
	l.d->listed = true;
	return 0;
}

int ovl_dir_empty(struct ovl *o, struct ovl_inode *dir)
{
	int r = dir->lower ? ovl_dir_list_lower(o, dir) : 0;
	struct ovl_dir *d = dir->dir;

	if (r < 0)
		return r;
	return d && (d->added_n - d->holes || d->lower_n != d->gone) ? -ENOTEMPTY : 0;
}

struct scan {
	struct ovl *o;
	uint64_t end; /* the first cookie that is not listed */
	bool plus;
	fsb_dirent_fn fn;
	void *arg;
};

/* Hands one entry out; the next one's position is @next. Nonzero: it did not fit. */
static int emit(
	struct scan *s, const char *name, size_t n, uint64_t ino, uint32_t type, uint64_t next)
{
	uint64_t next_off = next << END_BITS | s->end;
	struct ovl_inode *i = NULL;
	struct fsb_entry entry;
	int r;

	/* An inode that cannot be had (no memory, too many) is listed all the same, by name. */
	if (s->plus && (ino < OVL_OWN_BASE ? ovl_from_lower(s->o, ino, &i) == 0
					   : ovl_get(s->o, ino, &i) == 0))
		ovl_fill_entry(s->o, i, &entry);
	else
		i = NULL;
	r = s->fn(s->arg, name, n, ino, type, next_off, i ? &entry : NULL);
	if (r && i)
		ovl_unref(s->o, i, 1);
	return r;
}

static void scan_lower(struct scan *s, const struct ovl_inode *dir, uint64_t *off, bool *full)
{
	const struct ovl_dir *d = dir->dir;

	for (uint64_t i = *off - 2; i < d->lower_n; i++) {
		const struct ovl_lent *l = &d->lower[i];
		uint64_t ino = l->ino;
		uint32_t type = l->type;

		if (d->dents) {
			const struct ovl_dent *e = ovl_dent_find(s->o, dir, l->name, l->name_n);

			if (e && !e->ino)
				continue;
			ino = e ? e->ino : ino;
			type = e ? e->type : type;
		}
		if (emit(s, l->name, l->name_n, ino, type, 3 + i)) {
			*full = true;
			return;
		}
	}
	*off = 2 + (uint64_t)d->lower_n;
}

static void scan(struct scan *s, const struct ovl_inode *dir, uint64_t off)
{
	const struct ovl_dir *d = dir->dir;
	uint64_t base = 2 + (d ? (uint64_t)d->lower_n : 0);
	bool full = false;

	s->end = off ? off & END_MASK : (d ? d->last_cookie : 0) + 1;
	s->end = s->end ? s->end : END_MASK;
	off >>= END_BITS; /* above: an offset that nobody gave out is a position all the same */
	if (off == 0 &&
		s->fn(s->arg, ".", 1, dir->ino, DT_DIR, UINT64_C(1) << END_BITS | s->end, NULL))
		return;
	if (off <= 1 && s->fn(s->arg, "..", 2, ovl_parent(s->o, dir->ino), DT_DIR,
				UINT64_C(2) << END_BITS | s->end, NULL))
		return;
	off = off < 2 ? 2 : off;
	if (d && off < base)
		scan_lower(s, dir, &off, &full);
	if (!d || full)
		return;
	for (uint32_t i = after(d, off - base); i < d->added_n; i++) {
		const struct ovl_dent *e = d->added[i].d;

		if (d->added[i].cookie >= s->end)
			return;
		if (e && emit(s, e->name, e->name_n, e->ino, e->type, base + e->cookie))
			return;
	}
}

int ovl_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct ovl *o = ovl_of(b);
	struct scan s = {.o = o, .plus = plus, .fn = fn, .arg = arg};
	struct ovl_inode *dir;
	int r;

	/* The callback packs bytes and comes back: it may run under the lock. */
	if (!plus) {
		OVL_READ(o);
		r = ovl_get_dir(o, node, &dir);
		if (r < 0)
			return r;
		if (!dir->lower || (dir->dir && dir->dir->listed)) {
			scan(&s, dir, off);
			ovl_accessed(o, dir);
			return 0;
		}
	}
	OVL_WRITE(o);
	r = ovl_get_dir(o, node, &dir);
	if (r == 0 && dir->lower)
		r = ovl_dir_list_lower(o, dir);
	if (r == 0) {
		scan(&s, dir, off);
		ovl_accessed(o, dir);
	}
	return r;
}
