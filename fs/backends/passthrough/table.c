// SPDX-License-Identifier: Apache-2.0
// passthrough: looking at files, and the tables of nodes.
#include "fs/backends/passthrough/nodes.h"
#include "base/cleanup.h"
#include "base/hash.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>

#define EVICT_BATCH 64 /* descriptors that are closed where the process has no more */
#define INO_MASK    ((UINT64_C(1) << PT_INO_BITS) - 1)
#define MIX	    0x9e3779b97f4a7c15ULL

_Static_assert(PT_OWN_IDS + INO_MASK < FSB_MAX_ID, "ids of a share");

/* ---- looking at files */

int pt_openat(struct pt_nodes *t, int dirfd, const char *name, int flags, mode_t mode)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
			   (t->submounts ? 0u : RESOLVE_NO_XDEV)};
	long r = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));

	if (r < 0 && (errno == EMFILE || errno == ENFILE)) {
		pt_evict(t, EVICT_BATCH);
		r = syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
	}
	return r < 0 ? -errno : (int)r;
}

/* Not by a flag of open(2), which fails where the file is neither ours nor we are root. */
int pt_reader(const struct pt_nodes *t, int fd)
{
	if (fd >= 0 && t->noatime)
		(void)fcntl(fd, F_SETFL, O_NONBLOCK | O_NOATIME);
	return fd;
}

int pt_statx(const struct pt_nodes *t, int dirfd, const char *name, struct statx *ret)
{
	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH),
		    STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID, ret) < 0)
		return -errno;
	return t->submounts || ret->stx_mnt_id == t->device[0].mnt ? 0 : -EXDEV;
}

uint64_t pt_dev_of(const struct statx *sx)
{
	return (uint64_t)sx->stx_dev_major << 32 | sx->stx_dev_minor;
}

static bool is_device(const struct pt_device *d, const struct statx *sx)
{
	return d->mnt == sx->stx_mnt_id && d->dev == pt_dev_of(sx);
}

/* By mount and not by device: a directory that is bound to two places is two directories, or the
 * guest's kernel would meet one inside itself. Whichever is seen first, a device has the same index
 * in every server, but for two that want the same. */
int pt_device(struct pt_nodes *t, const struct statx *sx)
{
	uint32_t first, unused = 0;

	if (is_device(&t->device[0], sx))
		return 0;
	first = (uint32_t)(pt_dev_of(sx) * MIX >> 32);
	for (uint32_t i = 0; i < PT_MAX_DEVICES - 1; i++) {
		uint32_t at = 1 + (first + i) % (PT_MAX_DEVICES - 1);

		if (is_device(&t->device[at], sx))
			return (int)at;
		if (!unused && !t->device[at].nodes)
			unused = at;
		if (!t->device[at].mnt && !t->device[at].dev)
			break;
	}
	if (!unused)
		return -EXDEV;
	t->device[unused] = (struct pt_device){.mnt = sx->stx_mnt_id, .dev = pt_dev_of(sx)};
	return (int)unused;
}

int pt_identity(struct pt_nodes *t, const struct statx *sx, struct pt_identity *ret)
{
	int dev = pt_device(t, sx);

	*ret = (struct pt_identity){.ino = sx->stx_ino,
		.type = sx->stx_mode & S_IFMT,
		.dev = (uint32_t)dev,
		.birth_nsec = PT_NO_BIRTH};
	if (sx->stx_mask & STATX_BTIME) {
		ret->birth_sec = sx->stx_btime.tv_sec;
		ret->birth_nsec = sx->stx_btime.tv_nsec;
	}
	return dev < 0 ? dev : 0;
}

bool pt_same(const struct pt_identity *a, const struct pt_identity *b)
{
	return a->ino == b->ino && a->birth_sec == b->birth_sec && a->birth_nsec == b->birth_nsec &&
	       a->type == b->type &&
	       (a->dev == b->dev || a->dev == PT_DEV_ANY || b->dev == PT_DEV_ANY);
}

uint64_t pt_ino_on(uint32_t dev, uint64_t ino)
{
	/* No file system counts that far, but some make numbers up. */
	if (ino > INO_MASK)
		ino = (ino * MIX >> (64 - PT_INO_BITS)) | 1;
	return (uint64_t)dev << PT_INO_BITS | ino;
}

uint64_t pt_ino(struct pt_nodes *t, const struct statx *sx)
{
	int dev = 0;

	if (!is_device(&t->device[0], sx)) {
		LOCK_SCOPE(&t->lock);
		dev = pt_device(t, sx);
	}
	return pt_ino_on(dev < 0 ? 0 : (uint32_t)dev, sx->stx_ino);
}

/* ---- the tables; t->lock is held */

/* Most ops begin here: thousands of numbers in a row, as one file system gives them to what is made
 * at one time, have a bucket each. ext4 begins its groups of them at multiples of 2^13. */
static struct pt_node **id_bucket(const struct pt_nodes *t, uint64_t id)
{
	return &t->by_id[(id + (id >> 12) * 0x9e3779b1) & (t->buckets - 1)];
}

static struct pt_node **file_bucket(const struct pt_nodes *t, const struct pt_identity *f)
{
	return &t->by_file[msb_near_hash(f->ino) & (t->buckets - 1)];
}

static struct pt_node **place_bucket(const struct pt_nodes *t, uint64_t place)
{
	return &t->by_place[(place >> 32) & (t->buckets - 1)];
}

static uint64_t place_of(uint64_t parent, const char *name)
{
	uint64_t h = parent * MIX;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3ULL;
	return h * MIX;
}

struct pt_node *pt_find_id(const struct pt_nodes *t, uint64_t id)
{
	struct pt_node *n = *id_bucket(t, id);

	while (n && n->id != id)
		n = n->next_by_id;
	return n;
}

struct pt_node *pt_find_file(const struct pt_nodes *t, const struct pt_identity *f)
{
	struct pt_node *n = *file_bucket(t, f);

	while (n && (n->gone || !pt_same(&n->file, f)))
		n = n->next_by_file;
	return n;
}

/* Of what lies below the share the device too: the same index may be another's in the next server,
 * and a copy of a file system has the original's numbers and times. */
static uint32_t generation_of(const struct pt_nodes *t, const struct pt_identity *f)
{
	uint64_t born = (uint64_t)f->birth_sec * 1000000000 + f->birth_nsec;

	if (f->dev)
		born ^= t->device[f->dev].dev * MIX;
	return (uint32_t)(born * MIX >> 32);
}

void pt_give_id(struct pt_nodes *t, struct pt_node *n)
{
	n->id = pt_ino_on(n->file.dev, n->file.ino);
	n->generation = generation_of(t, &n->file);
	if (n->file.birth_nsec != PT_NO_BIRTH && n->id && !pt_find_id(t, n->id))
		return;
	do
		n->id = PT_OWN_IDS | (t->own_ids++ & INO_MASK);
	while (pt_find_id(t, n->id));
	n->generation = t->own_generation;
}

bool pt_is_place(const struct pt_node *n, const struct pt_node *parent, const char *name)
{
	return n->parent == parent && n->name && !strcmp(n->name, name);
}

struct pt_node *pt_find_place(
	const struct pt_nodes *t, const struct pt_node *parent, const char *name)
{
	uint64_t place = place_of(parent->id, name);
	struct pt_node *n = *place_bucket(t, place);

	while (n && !(n->place == place && pt_is_place(n, parent, name)))
		n = n->next_by_place;
	return n;
}

void pt_link_place(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **p;

	if (!n->name)
		return;
	n->place = place_of(n->parent->id, n->name);
	p = place_bucket(t, n->place);
	n->next_by_place = *p;
	*p = n;
}

void pt_unlink_place(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **p = place_bucket(t, n->place);

	if (!n->name)
		return;
	while (*p != n)
		p = &(*p)->next_by_place;
	*p = n->next_by_place;
}

void pt_link_node(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **i = id_bucket(t, n->id), **f = file_bucket(t, &n->file);

	n->next_by_id = *i;
	*i = n;
	n->next_by_file = *f;
	*f = n;
	pt_link_place(t, n);
}

void pt_unlink_node(struct pt_nodes *t, struct pt_node *n)
{
	struct pt_node **p = id_bucket(t, n->id);

	while (*p != n)
		p = &(*p)->next_by_id;
	*p = n->next_by_id;
	p = file_bucket(t, &n->file);
	while (*p != n)
		p = &(*p)->next_by_file;
	*p = n->next_by_file;
	pt_unlink_place(t, n);
}

/* Doubles the tables. Where memory is short the old ones go on, with longer chains. */
int pt_grow(struct pt_nodes *t, size_t buckets)
{
	struct pt_nodes n = {.buckets = buckets,
		.by_id = calloc(buckets, sizeof(*n.by_id)),
		.by_file = calloc(buckets, sizeof(*n.by_file)),
		.by_place = calloc(buckets, sizeof(*n.by_place))};

	if (!n.by_id || !n.by_file || !n.by_place) {
		free(n.by_id);
		free(n.by_file);
		free(n.by_place);
		return -ENOMEM;
	}
	for (size_t i = 0; i < t->buckets; i++)
		for (struct pt_node *m = t->by_id[i], *next; m; m = next) {
			next = m->next_by_id;
			pt_link_node(&n, m);
		}
	free(t->by_id);
	free(t->by_file);
	free(t->by_place);
	t->by_id = n.by_id;
	t->by_file = n.by_file;
	t->by_place = n.by_place;
	t->buckets = buckets;
	return 0;
}

int pt_add_node(struct pt_nodes *t, struct pt_node *n)
{
	if (t->live >= FSD_MAX_NODES)
		return -ENFILE;
	if (t->live >= t->buckets)
		(void)pt_grow(t, t->buckets * 2); /* long chains will do */
	pt_link_node(t, n);
	t->live++;
	if (n->file.dev != PT_DEV_ANY)
		t->device[n->file.dev].nodes++;
	return 0;
}

void pt_refile(struct pt_nodes *t, struct pt_node *n, const struct pt_identity *f)
{
	pt_unlink_node(t, n);
	if (n->file.dev != PT_DEV_ANY)
		t->device[n->file.dev].nodes--;
	n->file = *f;
	if (n->file.dev != PT_DEV_ANY)
		t->device[n->file.dev].nodes++;
	pt_link_node(t, n);
}

void pt_settle(struct pt_nodes *t, struct pt_node *n, const struct pt_identity *f)
{
	n->file.dev = f->dev;
	t->device[f->dev].nodes++;
}
