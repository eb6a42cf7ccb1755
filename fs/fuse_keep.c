// SPDX-License-Identifier: Apache-2.0
// What one kernel holds, in memory that outlives the server: slots.
#include "fs/fuse_keep.h"
#include "base/cleanup.h"
#include "fs/guard.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAGIC	   UINT64_C(0x32706565656b7366)
#define HEAD_BYTES 4096u
#define ALL_BYTES  (HEAD_BYTES + sizeof(struct fuse_keep_slot) * FUSE_KEEP_SLOTS)

#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)
#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_ACQUIRE)

struct head {
	uint64_t magic;
	uint64_t init_flags;
	uint32_t minor;
	uint8_t ready, opens_off;
	uint32_t high; /* slots that were ever used: what lies behind is not even read */
};

/* A growing list. What does not fit for want of memory is left out by who adds. */
struct list {
	struct entry {
		uint64_t value;
		uint32_t slot;
		bool gone;
	} * e;
	size_t n, cap;
};

struct fuse_keep {
	struct head *head;
	struct fuse_keep_slot *slot; /* slot[0] is number 1 */
	uint32_t high;		     /* numbers up to it have been used */
	struct list free, later, unsaved;
};

static bool list_add(struct list *l, struct entry e)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		struct entry *p = reallocarray(l->e, cap, sizeof(*p));

		if (!p)
			return false;
		l->e = p;
		l->cap = cap;
	}
	l->e[l->n++] = e;
	return true;
}

int fuse_keep_new(int fd, struct fuse_keep **ret)
{
	struct fuse_keep *k = calloc(1, sizeof(*k));
	struct stat st;
	uint8_t *p;

	if (!k)
		return -ENOMEM;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		((uint64_t)st.st_size < ALL_BYTES && ftruncate(fd, (off_t)ALL_BYTES) < 0)) {
		free(k);
		return -EINVAL;
	}
	p = mmap(NULL, ALL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED) {
		free(k);
		return -errno;
	}
	guard_add(p, ALL_BYTES);
	k->head = (void *)p;
	k->slot = (void *)(p + HEAD_BYTES);
	*ret = k;
	return 0;
}

struct fuse_keep *fuse_keep_free(struct fuse_keep *k)
{
	if (k) {
		guard_del(k->head);
		munmap(k->head, ALL_BYTES);
		free(k->free.e);
		free(k->later.e);
		free(k->unsaved.e);
		free(k);
	}
	return NULL;
}

bool fuse_keep_used(const struct fuse_keep *k, struct fuse_keep_init *ret)
{
	if (LOAD(k->head->magic) != MAGIC || LOAD(k->head->ready) != 1)
		return false;
	*ret = (struct fuse_keep_init){.init_flags = LOAD(k->head->init_flags),
		.minor = LOAD(k->head->minor),
		.ready = true,
		.opens_off = LOAD(k->head->opens_off)};
	return true;
}

void fuse_keep_init(struct fuse_keep *k, const struct fuse_keep_init *i)
{
	STORE(k->head->ready, 0);
	STORE(k->head->init_flags, i->init_flags);
	STORE(k->head->minor, i->minor);
	STORE(k->head->opens_off, i->opens_off);
	STORE(k->head->magic, MAGIC);
	STORE(k->head->ready, i->ready);
}

uint32_t fuse_keep_take(struct fuse_keep *k, enum fuse_keep_kind kind, uint64_t key, uint64_t count,
	uint64_t node, uint32_t flags)
{
	uint32_t n = k->free.n ? k->free.e[--k->free.n].slot : k->high + 1;
	struct fuse_keep_slot *s = &k->slot[n - 1];

	if (n > FUSE_KEEP_SLOTS)
		return 0;
	if (n > k->high) {
		k->high = n;
		STORE(k->head->high, n);
	}
	STORE(s->count, count);
	STORE(s->node, node);
	STORE(s->flags, flags);
	STORE(s->kind, (uint8_t)kind);
	STORE(s->saved, kind == FUSE_KEEP_NODE ? 0 : FUSE_KEEP_SAVED);
	STORE(s->state_bytes, 0);
	STORE(s->key, key); /* from here on it is one */
	if (kind == FUSE_KEEP_NODE &&
		!list_add(&k->unsaved, (struct entry){.slot = n, .value = key}))
		STORE(s->saved, FUSE_KEEP_LARGER);
	return n;
}

void fuse_keep_more(struct fuse_keep *k, uint32_t slot, uint64_t count)
{
	struct fuse_keep_slot *s = &k->slot[slot - 1];

	STORE(s->count, s->count + count);
}

void fuse_keep_less(struct fuse_keep *k, uint32_t slot, uint64_t count, bool gone)
{
	/* Without memory it says too much, and the slot is lost until the session ends. */
	(void)list_add(&k->later, (struct entry){.slot = slot, .value = count, .gone = gone});
}

void fuse_keep_drop(struct fuse_keep *k, uint32_t slot)
{
	STORE(k->slot[slot - 1].key, 0);
	(void)list_add(&k->free, (struct entry){.slot = slot});
}

void fuse_keep_commit(struct fuse_keep *k)
{
	for (size_t i = 0; i < k->later.n; i++) {
		const struct entry *e = &k->later.e[i];
		struct fuse_keep_slot *s = &k->slot[e->slot - 1];

		if (e->gone)
			fuse_keep_drop(k, e->slot);
		else
			STORE(s->count, s->count > e->value ? s->count - e->value : 1);
	}
	k->later.n = 0;
}

uint32_t fuse_keep_unsaved(struct fuse_keep *k, uint64_t *ret_key)
{
	if (k->unsaved.n == 0)
		return 0;
	*ret_key = k->unsaved.e[--k->unsaved.n].value;
	return k->unsaved.e[k->unsaved.n].slot;
}

void fuse_keep_state(struct fuse_keep *k, uint32_t slot, uint64_t key, const void *p, int64_t bytes)
{
	struct fuse_keep_slot *s = &k->slot[slot - 1];

	if (LOAD(s->key) != key || s->saved)
		return; /* it went meanwhile */
	if (bytes < 0 || bytes > FUSE_KEEP_STATE) {
		STORE(s->saved, FUSE_KEEP_LARGER);
		return;
	}
	memcpy(s->state, p, (size_t)bytes);
	STORE(s->state_bytes, (uint8_t)bytes);
	STORE(s->saved, FUSE_KEEP_SAVED);
}

/* ---- taking over */

uint32_t fuse_keep_last(const struct fuse_keep *k)
{
	uint32_t n = LOAD(k->head->high);

	return n < FUSE_KEEP_SLOTS ? n : FUSE_KEEP_SLOTS;
}

bool fuse_keep_read(struct fuse_keep *k, uint32_t slot, struct fuse_keep_slot *ret)
{
	struct fuse_keep_slot *s = &k->slot[slot - 1];

	if (LOAD(s->key) == 0)
		return false;
	memcpy(ret, s, sizeof(*ret));
	/* A node without a state: its reply never left. */
	if (ret->key && ret->count && ret->kind >= FUSE_KEEP_NODE && ret->kind <= FUSE_KEEP_DIR &&
		ret->state_bytes <= FUSE_KEEP_STATE && ret->saved >= FUSE_KEEP_SAVED &&
		ret->saved <= FUSE_KEEP_LARGER) {
		return true;
	}
	STORE(s->key, 0);
	return false;
}

void fuse_keep_claim(struct fuse_keep *k)
{
	k->high = fuse_keep_last(k);
	k->free.n = 0; /* those that were dropped are among them */
	for (uint32_t n = k->high; n > 0; n--)
		if (LOAD(k->slot[n - 1].key) == 0)
			(void)list_add(&k->free, (struct entry){.slot = n});
}
