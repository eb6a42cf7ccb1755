// SPDX-License-Identifier: Apache-2.0
// The memory backend's inodes: their ids, who wants them, and their attributes.
#include "fs/backends/memory/mem.h"
#include "fs/backends/relatime.h"

#include <malloc.h>
#include <sys/stat.h>

#define FREE(next) ((uintptr_t)(next) << 1 | 1)
static const char cap_name[] = "security.capability";

/* ---- ids */

static _Atomic(uintptr_t) *slot_at(const struct mem *m, uint64_t id)
{
	uint32_t slot = (uint32_t)(id & (MEM_SLOTS - 1));
	_Atomic(uintptr_t) *chunk = atomic_load_explicit(
		&((struct mem *)m)->chunk[slot / MEM_CHUNK], memory_order_acquire);

	return chunk ? &chunk[slot % MEM_CHUNK] : NULL;
}

struct mem_inode *mem_find(const struct mem *m, uint64_t id)
{
	_Atomic(uintptr_t) *slot = slot_at(m, id);
	uintptr_t v = slot ? atomic_load_explicit(slot, memory_order_acquire) : 0;
	struct mem_inode *i = v & 1 ? NULL : (struct mem_inode *)v;

	return i && i->id == id ? i : NULL;
}

int mem_get_dir(const struct mem *m, uint64_t id, struct mem_inode **ret)
{
	*ret = mem_find(m, id);
	if (!*ret)
		return -ESTALE;
	return S_ISDIR((*ret)->type) ? 0 : -ENOTDIR;
}

/* The slots of chunk @c, none of them free yet. slots_lock held. */
static int make_chunk(struct mem *m, uint32_t c)
{
	_Atomic(uintptr_t) *chunk = mem_alloc(m, MEM_CHUNK * sizeof(*chunk));

	if (!chunk)
		return -ENOSPC;
	atomic_store_explicit(&m->chunk[c], chunk, memory_order_release);
	return 0;
}

/* Lists the slots of chunk @c that hold nothing; the lowest is the next to be taken. */
static void list_chunk(struct mem *m, uint32_t c)
{
	_Atomic(uintptr_t) *chunk = m->chunk[c];

	for (uint32_t s = MEM_CHUNK; s-- > (c == 0 ? 1 : 0);) {
		if (atomic_load(&chunk[s]) == 0) {
			atomic_store(&chunk[s], FREE(m->free_slot));
			m->free_slot = c * MEM_CHUNK + s;
		}
	}
}

/* Puts @i where its id says, or where there is room and gives it an id. slots_lock held. */
static int place(struct mem *m, struct mem_inode *i)
{
	_Atomic(uintptr_t) *slot;
	uint32_t c = (uint32_t)(i->id & (MEM_SLOTS - 1)) / MEM_CHUNK;
	int r = 0;

	if (i->id && !m->chunk[c])
		r = make_chunk(m, c);
	if (!i->id && !m->free_slot) {
		while (c < MEM_SLOTS / MEM_CHUNK && m->chunk[c])
			c++;
		r = c < MEM_SLOTS / MEM_CHUNK ? make_chunk(m, c) : -ENOSPC;
		if (r == 0)
			list_chunk(m, c);
	}
	if (r < 0)
		return r;
	if (i->id) {
		slot = slot_at(m, i->id);
		if (atomic_load(slot) != 0)
			return -EEXIST;
	} else {
		slot = slot_at(m, m->free_slot);
		m->counter = m->counter < MEM_COUNTER_MAX ? m->counter + 1 : 1;
		i->id = m->counter << MEM_SLOT_BITS | m->free_slot;
		m->free_slot = (uint32_t)(atomic_load(slot) >> 1);
	}
	atomic_store_explicit(slot, (uintptr_t)i, memory_order_release);
	return 0;
}

void mem_slots_hide(struct mem *m)
{
	LOCK_SCOPE(&m->slots_lock);
	for (uint32_t s = m->free_slot, next; s; s = next) {
		next = (uint32_t)(atomic_load(slot_at(m, s)) >> 1);
		atomic_store(slot_at(m, s), 0);
	}
	m->free_slot = 0;
}

void mem_slots_list(struct mem *m)
{
	LOCK_SCOPE(&m->slots_lock);
	for (uint32_t c = MEM_SLOTS / MEM_CHUNK; c-- > 0;)
		if (m->chunk[c])
			list_chunk(m, c);
}

/* ---- life */

/* Frees it and what it holds; its id is none any more. */
static void done(struct mem *m, struct mem_inode *i)
{
	if (S_ISREG(i->type))
		mem_map_erase(m, &i->map, 0, UINT64_MAX);
	if (S_ISLNK(i->type) && i->target)
		mem_free(m, i->target, i->size + 1);
	if (S_ISDIR(i->type)) {
		mem_dir_free(m, &i->dir);
		pthread_rwlock_destroy(&i->dir.lock);
	}
	mem_xattrs_free(m, i);
	pthread_rwlock_destroy(&i->lock);
	mem_free(m, i, sizeof(*i));
}

int mem_inode_new(struct mem *m, uint64_t id, uint32_t mode, struct mem_inode **ret)
{
	struct mem_inode *i = NULL;
	int r = -ENOSPC;

	if (atomic_load_explicit(&m->sweep, memory_order_relaxed))
		mem_sweep(m);
	/* Counted first, so that any number of threads stay below the limit. */
	if (atomic_fetch_add(&m->nodes, 1) < m->max_nodes)
		i = mem_alloc(m, sizeof(*i));
	if (i) {
		pthread_rwlock_init(&i->lock, NULL);
		if (S_ISDIR(mode))
			pthread_rwlock_init(&i->dir.lock, NULL);
		i->id = id;
		i->mode = mode;
		i->type = mode & S_IFMT;
		i->size = S_ISDIR(mode) ? MEM_PAGE : 0;
		atomic_init(&i->refs, 0);
		LOCK_SCOPE(&m->slots_lock);
		r = place(m, i);
	}
	if (r < 0) {
		atomic_fetch_sub(&m->nodes, 1);
		if (i)
			done(m, i);
		return r;
	}
	*ret = i;
	return 0;
}

/* Gives the heap's free pages back to the kernel, once they are worth it. */
static void trim(struct mem *m)
{
	uint64_t heap = atomic_load(&m->heap), peak = atomic_load(&m->heap_peak);

	if (heap > peak)
		(void)atomic_compare_exchange_strong(&m->heap_peak, &peak, heap);
	else if (peak - heap >= MEM_TRIM_BYTES && heap <= peak / 2 &&
		 atomic_compare_exchange_strong(&m->heap_peak, &peak, heap))
		(void)malloc_trim(0);
}

void mem_inode_free(struct mem *m, struct mem_inode *i)
{
	{
		LOCK_SCOPE(&m->slots_lock);
		atomic_store_explicit(slot_at(m, i->id), FREE(m->free_slot), memory_order_release);
		m->free_slot = (uint32_t)(i->id & (MEM_SLOTS - 1));
	}
	done(m, i);
	atomic_fetch_sub(&m->nodes, 1);
	trim(m);
}

void mem_inodes_free(struct mem *m)
{
	for (uint32_t c = 0; c < MEM_SLOTS / MEM_CHUNK; c++) {
		_Atomic(uintptr_t) *chunk = m->chunk[c];

		for (uint32_t s = 0; chunk && s < MEM_CHUNK; s++) {
			uintptr_t v = atomic_load(&chunk[s]);
			struct mem_inode *i = v & 1 ? NULL : (struct mem_inode *)v;

			if (i)
				mem_inode_free(m, i);
		}
	}
	for (uint32_t c = 0; c < MEM_SLOTS / MEM_CHUNK; c++) {
		if (m->chunk[c])
			mem_free(m, (void *)m->chunk[c], MEM_CHUNK * sizeof(*m->chunk[c]));
		m->chunk[c] = NULL;
	}
	m->free_slot = 0;
	m->root = NULL;
}

/* ---- references */

void mem_ref(struct mem_inode *i)
{
	/* A guest that looks up for days on end must not run over into MEM_NAMED. */
	if ((atomic_load_explicit(&i->refs, memory_order_relaxed) & MEM_LOOKUPS) < MEM_LOOKUPS / 2)
		atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
}

struct mem_inode *mem_hold(struct mem *m, uint64_t id)
{
	struct mem_inode *i;
	uint64_t refs;

	/* What is freed gives up its slot first. */
	LOCK_SCOPE(&m->slots_lock);
	i = mem_find(m, id);
	refs = i ? atomic_load(&i->refs) : 0;
	do {
		if (!(refs & ~MEM_LOADED) || (refs & MEM_LOOKUPS) >= MEM_LOOKUPS / 2)
			return NULL;
	} while (!atomic_compare_exchange_weak(&i->refs, &refs, refs + 1));
	return i;
}

void mem_unref(struct mem_inode *i)
{
	atomic_fetch_sub(&i->refs, 1);
}

void mem_named(struct mem_inode *i)
{
	atomic_fetch_or(&i->refs, MEM_NAMED);
}

void mem_nameless(struct mem *m, struct mem_inode *i)
{
	if ((atomic_fetch_and(&i->refs, ~MEM_NAMED) & ~MEM_NAMED) == 0)
		mem_inode_free(m, i);
}

void mem_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	struct mem *m = mem_of(b);
	struct mem_inode *i = mem_find(m, node);
	uint64_t old, less;

	if (!i)
		return;
	old = atomic_load(&i->refs);
	do { /* never more than there are, whatever a client says */
		less = old & MEM_LOOKUPS;
		less = count < less ? count : less;
	} while (!atomic_compare_exchange_weak(&i->refs, &old, old - less));
	if (less && old == less)
		mem_inode_free(m, i);
}

/* What is in @slot where that was loaded and is the caller's to free now. */
static struct mem_inode *unwanted(struct mem *m, _Atomic(uintptr_t) *slot)
{
	/* What is freed gives up its slot first. */
	LOCK_SCOPE(&m->slots_lock);
	uintptr_t v = atomic_load(slot);
	struct mem_inode *i = v & 1 ? NULL : (struct mem_inode *)v;

	return i && atomic_fetch_and(&i->refs, ~MEM_LOADED) == MEM_LOADED ? i : NULL;
}

/* Frees inodes that were loaded without a name, and that no client asked for. */
void mem_sweep(struct mem *m)
{
	if (!atomic_exchange(&m->sweep, false))
		return;
	for (uint32_t c = 0; c < MEM_SLOTS / MEM_CHUNK; c++) {
		_Atomic(uintptr_t) *chunk = atomic_load(&m->chunk[c]);

		for (uint32_t s = 0; chunk && s < MEM_CHUNK; s++) {
			struct mem_inode *i = unwanted(m, &chunk[s]);

			if (i)
				mem_inode_free(m, i);
		}
	}
}

/* ---- attributes */

struct mem_time mem_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (struct mem_time){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

static struct timespec spec(struct mem_time t)
{
	return (struct timespec){t.sec, t.nsec};
}

static bool access_due(const struct mem *m, const struct mem_inode *i)
{
	return atime_due(m->atime, spec(i->atime), spec(i->mtime), spec(i->ctime));
}

void mem_accessed(const struct mem *m, struct mem_inode *i)
{
	if (m->atime == FSB_NOATIME)
		return;
	{
		MEM_SHARED(&i->lock);
		if (!access_due(m, i) || i->flags & (uint32_t)FSB_FL_NOATIME << MEM_FL_SHIFT)
			return;
	}
	MEM_EXCLUSIVE(&i->lock);
	if (access_due(m, i))
		i->atime = mem_now();
}

void mem_attr(const struct mem_inode *i, struct fuse_attr *ret)
{
	*ret = (struct fuse_attr){
		.ino = i->id,
		.size = i->size,
		.blocks = S_ISREG(i->type) ? i->map.pages * (MEM_PAGE / 512) : 0,
		.atime = (uint64_t)i->atime.sec,
		.mtime = (uint64_t)i->mtime.sec,
		.ctime = (uint64_t)i->ctime.sec,
		.atimensec = i->atime.nsec,
		.mtimensec = i->mtime.nsec,
		.ctimensec = i->ctime.nsec,
		.mode = i->mode,
		.nlink = i->nlink,
		.uid = i->uid,
		.gid = i->gid,
		.rdev = i->rdev,
		.blksize = MEM_PAGE,
	};
}

void mem_entry(struct mem_inode *i, struct fsb_entry *ret)
{
	ret->node = i->id;
	ret->generation = 0;
	MEM_SHARED(&i->lock);
	mem_attr(i, &ret->attr);
}

void mem_touch_dir(struct mem_inode *dir, int subdirs, struct mem_time now)
{
	MEM_EXCLUSIVE(&dir->lock);
	dir->nlink += (uint32_t)subdirs;
	dir->mtime = dir->ctime = now;
}

/* setgid without group execution once meant mandatory locking: members of the group may keep it. */
static uint32_t without_suidgid(const struct mem_inode *i, const struct fsb_req *req, bool owner)
{
	bool member = req->uid == 0 || fsb_in_group(req, i->gid, owner ? 0 : i->mode);
	uint32_t mode = i->mode & ~(uint32_t)S_ISUID;

	return mode & S_IXGRP || !member ? mode & ~(uint32_t)S_ISGID : mode;
}

void mem_kill_privs(struct mem *m, struct mem_inode *i, const struct fsb_req *suidgid, bool owner)
{
	if (suidgid && !S_ISDIR(i->type))
		i->mode = without_suidgid(i, suidgid, owner);
	if (i->flags & MEM_HAS_CAP && mem_xattr_drop(m, i, cap_name))
		i->flags &= ~(uint32_t)MEM_HAS_CAP;
}
