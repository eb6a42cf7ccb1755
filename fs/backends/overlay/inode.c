// SPDX-License-Identifier: Apache-2.0
// The overlay's inodes: the table, references, attributes.
#include "fs/backends/overlay/ovl.h"
#include "base/hash.h"
#include "fs/backends/relatime.h"

#include <sys/stat.h>
#include <time.h>

#define TABLE_MIN 1024

static uint64_t slot(const struct ovl *o, uint64_t ino)
{
	return msb_near_hash(ino) & (o->table_n - 1);
}

int ovl_table_init(struct ovl *o)
{
	o->table = calloc(TABLE_MIN, sizeof(*o->table));
	if (!o->table)
		return -ENOMEM;
	o->table_n = TABLE_MIN;
	return 0;
}

void ovl_table_done(struct ovl *o)
{
	for (uint64_t b = 0; b < o->table_n; b++) {
		for (struct ovl_inode *i = o->table[b], *next; i; i = next) {
			next = i->hnext;
			ovl_inode_free(i);
		}
	}
	free(o->table);
	o->table = NULL;
	o->table_n = 0;
}

/* A table that cannot grow only gets slower. */
static void grow(struct ovl *o)
{
	struct ovl_inode **old = o->table, **t = calloc(o->table_n * 2, sizeof(*t));
	uint64_t n = o->table_n;

	if (!t)
		return;
	o->table = t;
	o->table_n = n * 2;
	for (uint64_t b = 0; b < n; b++) {
		for (struct ovl_inode *i = old[b], *next; i; i = next) {
			struct ovl_inode **head = &t[slot(o, i->ino)];

			next = i->hnext;
			i->hnext = *head;
			*head = i;
		}
	}
	free(old);
}

struct ovl_inode *ovl_find(const struct ovl *o, uint64_t ino)
{
	struct ovl_inode *i = o->table[slot(o, ino)];

	while (i && i->ino != ino)
		i = i->hnext;
	return i;
}

int ovl_get(const struct ovl *o, uint64_t node, struct ovl_inode **ret)
{
	*ret = ovl_find(o, node);
	return *ret ? 0 : -ESTALE;
}

int ovl_get_dir(const struct ovl *o, uint64_t node, struct ovl_inode **ret)
{
	int r = ovl_get(o, node, ret);

	return r ? r : S_ISDIR((*ret)->a.mode) ? 0 : -ENOTDIR;
}

struct ovl_inode *ovl_new(struct ovl *o, uint64_t ino)
{
	struct ovl_inode *i = calloc(1, sizeof(*i)), **head;

	if (!i)
		return NULL;
	if (o->nodes >= o->table_n)
		grow(o);
	i->ino = ino;
	head = &o->table[slot(o, ino)];
	i->hnext = *head;
	*head = i;
	o->nodes++;
	return i;
}

void ovl_remove(struct ovl *o, struct ovl_inode *i)
{
	struct ovl_inode **p = &o->table[slot(o, i->ino)];

	while (*p != i)
		p = &(*p)->hnext;
	*p = i->hnext;
	o->nodes--;
}

struct ovl_inode *ovl_inode_free(struct ovl_inode *i)
{
	if (!i)
		return NULL;
	for (struct ovl_xattr *x = i->xattrs, *next; x; x = next) {
		next = x->next;
		free(x);
	}
	ovl_dir_free(i->dir);
	free(i->target);
	free(i);
	return NULL;
}

int ovl_ino_of_nid(const struct ovl *o, uint64_t nid, uint64_t *ret)
{
	if (nid == o->lower_root)
		*ret = OVL_ROOT;
	else if (nid == 0 || nid >= OVL_OWN_BASE - 1)
		return -EBADMSG;
	else
		*ret = nid + 1;
	return 0;
}

bool ovl_mode_known(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFLNK:
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK: return (mode & ~(uint32_t)(S_IFMT | 07777)) == 0;
	default: return false;
	}
}

static int is_cap(void *arg, const char *name, size_t n, const void *value, size_t value_n)
{
	static const char cap[] = "security.capability";

	*(bool *)arg = n == sizeof(cap) - 1 && memcmp(name, cap, n) == 0;
	return *(bool *)arg;
}

int ovl_from_lower(struct ovl *o, uint64_t ino, struct ovl_inode **ret)
{
	uint64_t nid = ino == OVL_ROOT ? o->lower_root : ino - 1;
	struct ovl_inode *i = ovl_find(o, ino);
	struct img_attr a;
	bool cap = false;
	int r;

	if (i) {
		*ret = i;
		return 0;
	}
	if (!o->lower || ino == 0 || ino >= OVL_OWN_BASE)
		return -EBADMSG;
	if (o->nodes >= o->max_nodes)
		return -ENFILE;
	r = img_index_getattr(o->lower, nid, &a);
	if (r == 0 && S_ISREG(a.mode))
		r = img_index_xattrs(o->lower, nid, is_cap, &cap);
	if (r < 0)
		return r;
	/* What the log would not take back could be served, but never changed. */
	if (!ovl_mode_known(a.mode) || a.size > INT64_MAX)
		return -EBADMSG;
	i = ovl_new(o, ino);
	if (!i)
		return -ENOMEM;
	i->lower = nid;
	i->a = (struct ovl_attr){.mode = a.mode,
		.uid = a.uid,
		.gid = a.gid,
		.rdev = a.rdev,
		.nlink = a.nlink,
		.size = a.size};
	i->a.mtime = (struct ovl_time){a.mtime_sec, a.mtime_nsec % 1000000000u};
	i->a.atime = i->a.ctime = i->a.mtime;
	i->blocks = S_ISREG(a.mode) ? (a.size + 511) / 512 : 0;
	i->flags = cap ? OVL_HAS_CAP : 0;
	*ret = i;
	return 0;
}

/* ---- references */

bool ovl_unused(const struct ovl_inode *i)
{
	return atomic_load(&i->refs) == 0 && i->ino != OVL_ROOT &&
	       (!(i->flags & OVL_CHANGED) || i->a.nlink == 0);
}

void ovl_ref(struct ovl_inode *i, uint64_t lookups)
{
	/* A guest that looks up for days on end must not run over into the pins. */
	if ((atomic_load_explicit(&i->refs, memory_order_relaxed) & OVL_LOOKUPS) < OVL_LOOKUPS / 2)
		atomic_fetch_add_explicit(&i->refs, lookups, memory_order_relaxed);
}

/* Frees @ino's inode where nothing wants it any more. Its file goes once the lock is given back:
 * freeing a large one takes the host a while. */
static void reap(struct ovl *o, uint64_t ino)
{
	struct ovl_inode *i;
	{
		OVL_WRITE(o);
		i = ovl_find(o, ino);
		if (!i || !ovl_unused(i))
			return;
		ovl_remove(o, i);
	}
	ovl_fd_drop(o, &i->fd);
	if (i->flags & OVL_FILE && !atomic_load(&o->saved))
		(void)ovl_data_unlink(o, ino); /* else the next load finds it */
	ovl_inode_free(i);
}

void ovl_unpin(struct ovl *o, struct ovl_inode *i)
{
	uint64_t ino = i->ino; /* another thread may free @i as soon as it is let go */

	if (atomic_fetch_sub(&i->refs, OVL_PIN) == OVL_PIN)
		reap(o, ino);
}

/* Takes back up to @count LOOKUPs: never more than there are, whatever a client says. */
static bool drop_lookups(struct ovl_inode *i, uint64_t count)
{
	uint64_t old = atomic_load(&i->refs), less;

	do {
		less = old & OVL_LOOKUPS;
		less = count < less ? count : less;
	} while (!atomic_compare_exchange_weak(&i->refs, &old, old - less));
	return old == less;
}

void ovl_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	struct ovl *o = ovl_of(b);
	bool last;
	{
		OVL_READ(o);
		struct ovl_inode *i = ovl_find(o, node);

		last = i && drop_lookups(i, count) && ovl_unused(i);
	}
	if (last)
		reap(o, node);
}

void ovl_unref(struct ovl *o, struct ovl_inode *i, uint64_t count)
{
	/* Only clean lower inodes go here. What has a file to remove, be it of a copy-up that
	 * failed, waits for forget. */
	if (drop_lookups(i, count) && ovl_unused(i) && !(i->flags & (OVL_CHANGED | OVL_FILE))) {
		ovl_remove(o, i);
		ovl_inode_free(i);
	}
}

/* ---- attributes */

struct ovl_time ovl_now(void)
{
	struct timespec ts;

	/* Not the coarse clock: a time taken after a write must not be before the host file's. */
	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct ovl_time){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

static struct timespec spec(struct ovl_time t)
{
	return (struct timespec){t.sec, t.nsec};
}

void ovl_accessed(struct ovl *o, struct ovl_inode *i)
{
	if (o->atime == FSB_NOATIME || !(i->flags & OVL_CHANGED) ||
		i->flags & (uint32_t)FSB_FL_NOATIME << OVL_FL_SHIFT)
		return;
	OVL_ATTR(o, i);
	if (atime_due(o->atime, spec(i->a.atime), spec(i->a.mtime), spec(i->a.ctime))) {
		i->a.atime = ovl_now();
		i->flags |= OVL_DIRTY; /* the log hears of it with the next change, or at the end */
	}
}

void ovl_fill_attr(struct ovl *o, struct ovl_inode *i, struct fuse_attr *ret)
{
	OVL_ATTR(o, i);

	if (i->flags & (OVL_STALE_SIZE | OVL_STALE_BLOCKS))
		ovl_data_refresh(o, i);
	*ret = (struct fuse_attr){
		.ino = i->ino,
		.size = i->a.size,
		.blocks = i->blocks,
		.atime = (uint64_t)i->a.atime.sec,
		.mtime = (uint64_t)i->a.mtime.sec,
		.ctime = (uint64_t)i->a.ctime.sec,
		.atimensec = i->a.atime.nsec,
		.mtimensec = i->a.mtime.nsec,
		.ctimensec = i->a.ctime.nsec,
		.mode = i->a.mode,
		.nlink = i->a.nlink,
		.uid = i->a.uid,
		.gid = i->a.gid,
		.rdev = i->a.rdev,
		.blksize = 4096,
	};
}

void ovl_fill_entry(struct ovl *o, struct ovl_inode *i, struct fsb_entry *ret)
{
	ret->node = i->ino;
	ret->generation = 0; /* an ino is never used twice */
	ovl_fill_attr(o, i, &ret->attr);
	ovl_ref(i, 1);
}
