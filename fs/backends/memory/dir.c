// SPDX-License-Identifier: Apache-2.0
// The memory backend's directories: a hash table of names, and a list of them by rising cookie.
//
// Positions in a listing: 1 and 2 follow "." and ".."; 2 + c follows the entry with cookie c. A
// name gets the next cookie when it appears and keeps it while it exists, also when a rename
// changes what it stands for. So a scan meets each name that exists throughout exactly once, and a
// position stays good after its entry is gone. The low 31 bits of an offset say which cookies there
// were when the scan began: who renames each file that is listed would else be listing for ever.
#include "fs/backends/memory/mem.h"

#include <dirent.h>
#include <xxhash.h>

#define LEAST	 8u /* buckets, and entries of the list */
#define END_BITS 31
#define END_MASK ((UINT64_C(1) << END_BITS) - 1)

int mem_check_name(const char *name)
{
	size_t n = strnlen(name, MEM_NAME_MAX + 1);

	if (n == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || memchr(name, '/', n))
		return -EINVAL;
	return n > MEM_NAME_MAX ? -ENAMETOOLONG : 0;
}

static uint32_t hash(const struct mem *m, const char *name, size_t n)
{
	return (uint32_t)XXH3_64bits_withSeed(name, n, m->seed);
}

struct mem_dent *mem_dent_find(
	const struct mem *m, const struct mem_inode *dir, const char *name, size_t n)
{
	const struct mem_dir *d = &dir->dir;
	uint32_t h;
	struct mem_dent *e;

	if (!d->dents)
		return NULL;
	h = hash(m, name, n);
	e = d->bucket[h & (d->buckets - 1)];
	while (e && (e->hash != h || e->name_n != n || memcmp(e->name, name, n) != 0))
		e = e->next;
	return e;
}

/* As many buckets; one that cannot have them only gets slower. */
static int rehash(struct mem *m, struct mem_dir *d, uint32_t buckets)
{
	struct mem_dent **t = mem_alloc(m, buckets * sizeof(struct mem_dent *));

	if (!t)
		return -ENOSPC;
	for (uint32_t b = 0; b < d->buckets; b++) {
		for (struct mem_dent *e = d->bucket[b], *next; e; e = next) {
			struct mem_dent **head = &t[e->hash & (buckets - 1)];

			next = e->next;
			e->next = *head;
			*head = e;
		}
	}
	if (d->buckets)
		mem_free(m, d->bucket, d->buckets * sizeof(struct mem_dent *));
	d->bucket = t;
	d->buckets = buckets;
	return 0;
}

/* Index of the first in the list with a cookie past @cookie. */
static uint32_t after(const struct mem_dir *d, uint64_t cookie)
{
	uint32_t lo = 0, hi = d->listed;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d->list[mid].cookie <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The list without what is gone, with room for @cap. */
static int relist(struct mem *m, struct mem_dir *d, uint32_t cap)
{
	struct mem_listed *to = d->list;
	uint32_t n = 0;

	if (cap != d->cap) {
		to = mem_alloc(m, cap * sizeof(*to));
		if (!to)
			return -ENOSPC;
	}
	for (uint32_t i = 0; i < d->listed; i++)
		if (d->list[i].d)
			to[n++] = d->list[i];
	if (to != d->list && d->cap)
		mem_free(m, d->list, d->cap * sizeof(*d->list));
	d->list = to;
	d->cap = cap;
	d->listed = n;
	d->gone = 0;
	return 0;
}

/* Once in two thousand million names of a directory: a scan at work may then miss some. */
static void renumber(struct mem *m, struct mem_dir *d)
{
	(void)relist(m, d, d->cap); /* in place: it cannot fail */
	for (uint32_t i = 0; i < d->listed; i++)
		d->list[i].cookie = d->list[i].d->cookie = i + 1;
	d->last_cookie = d->listed;
}

int mem_dir_add(struct mem *m, struct mem_inode *dir, const char *name, size_t n, uint64_t cookie,
	struct mem_inode *child)
{
	struct mem_dir *d = &dir->dir;
	struct mem_dent *e, **head;
	int r = 0;

	if (!cookie && d->last_cookie >= MEM_MAX_COOKIE)
		renumber(m, d);
	if (d->listed == d->cap)
		r = relist(m, d,
			d->cap == 0		  ? LEAST
			: d->gone > d->listed / 2 ? d->cap
						  : d->cap * 2);
	if (r == 0 && d->dents >= d->buckets)
		r = rehash(m, d, d->buckets ? d->buckets * 2 : LEAST);
	if (r < 0 && (d->listed == d->cap || !d->buckets))
		return r;
	e = mem_alloc(m, sizeof(*e) + n + 1);
	if (!e)
		return -ENOSPC;
	*e = (struct mem_dent){.inode = child,
		.cookie = cookie ? cookie : d->last_cookie + 1,
		.hash = hash(m, name, n),
		.name_n = (uint8_t)n};
	memcpy(e->name, name, n);
	d->last_cookie = e->cookie;
	d->list[d->listed++] = (struct mem_listed){e->cookie, e};
	head = &d->bucket[e->hash & (d->buckets - 1)];
	e->next = *head;
	*head = e;
	d->dents++;
	return 0;
}

void mem_dir_remove(struct mem *m, struct mem_inode *dir, struct mem_dent *e)
{
	struct mem_dir *d = &dir->dir;
	struct mem_dent **p = &d->bucket[e->hash & (d->buckets - 1)];
	uint32_t i = after(d, e->cookie - 1);

	d->list[i].d = NULL;
	if (i == d->listed - 1)
		d->listed--;
	else
		d->gone++;
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	d->dents--;
	mem_free(m, e, sizeof(*e) + e->name_n + 1);
	/* A directory that was large once gives its memory back; what cannot be had to do so is
	 * had another time. */
	if (d->buckets > LEAST * 8 && d->dents < d->buckets / 8)
		(void)rehash(m, d, d->buckets / 4);
	if (d->cap > LEAST * 8 && d->dents < d->cap / 8)
		(void)relist(m, d, d->cap / 4);
}

void mem_dir_free(struct mem *m, struct mem_dir *d)
{
	for (uint32_t b = 0; b < d->buckets; b++) {
		for (struct mem_dent *e = d->bucket[b], *next; e; e = next) {
			next = e->next;
			mem_free(m, e, sizeof(*e) + e->name_n + 1);
		}
	}
	if (d->buckets)
		mem_free(m, d->bucket, d->buckets * sizeof(struct mem_dent *));
	if (d->cap)
		mem_free(m, d->list, d->cap * sizeof(*d->list));
}

static uint32_t dtype(const struct mem_inode *i)
{
	return i->type >> 12; /* IFTODT */
}

static void scan(const struct mem_inode *dir, uint64_t off, bool plus, fsb_dirent_fn fn, void *arg)
{
	const struct mem_dir *d = &dir->dir;
	const struct mem_inode *up = d->parent ? d->parent : dir;
	uint64_t end = off ? off & END_MASK : d->last_cookie + 1;

	end = end ? end : END_MASK;
	off >>= END_BITS; /* above: an offset that nobody gave out is a position all the same */
	if (off == 0 && fn(arg, ".", 1, dir->id, DT_DIR, UINT64_C(1) << END_BITS | end, NULL))
		return;
	if (off <= 1 && fn(arg, "..", 2, up->id, DT_DIR, UINT64_C(2) << END_BITS | end, NULL))
		return;
	off = off < 2 ? 2 : off;
	for (uint32_t i = after(d, off - 2); i < d->listed; i++) {
		const struct mem_dent *e = d->list[i].d;
		struct fsb_entry entry;

		if (d->list[i].cookie >= end)
			return;
		if (!e)
			continue;
		if (plus) {
			mem_ref(e->inode);
			mem_entry(e->inode, &entry);
		}
		if (fn(arg, e->name, e->name_n, e->inode->id, dtype(e->inode),
			    (e->cookie + 2) << END_BITS | end, plus ? &entry : NULL)) {
			if (plus)
				mem_unref(e->inode);
			return;
		}
	}
}

int mem_readdir(struct fsb *b, const struct fsb_req *req, uint64_t node, uint64_t fh, uint64_t off,
	bool plus, fsb_dirent_fn fn, void *arg)
{
	struct mem *m = mem_of(b);
	struct mem_inode *dir;
	int r = mem_get_dir(m, node, &dir);

	if (r < 0)
		return r;
	{
		/* The callback packs bytes and comes back: it may run under the locks. */
		MEM_SHARED(&m->tree);
		MEM_SHARED(&dir->dir.lock);
		scan(dir, off, plus, fn, arg);
	}
	mem_accessed(m, dir);
	return 0;
}
