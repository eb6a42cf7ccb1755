// SPDX-License-Identifier: Apache-2.0
// The memory backend's pages: address space for all that the limit allows, memory for those in use.
//
// A few pages that become free stay as they are, for the next write to take without asking the
// kernel; all others go back to it at once. Pages are had in order from the lowest free one, so
// files that are written in one go lie in runs.
#include "fs/backends/memory/mem.h"

#include <sys/mman.h>

#define WORD 64u

int mem_pool_init(struct mem_pool *p, uint64_t bytes)
{
	size_t words, summary;
	void *base;

	pthread_mutex_init(&p->lock, NULL);
	p->pages = (uint32_t)(bytes / MEM_PAGE);
	words = (p->pages + WORD - 1) / WORD;
	summary = (words + WORD - 1) / WORD;
	p->used = calloc(words, sizeof(*p->used));
	p->full = calloc(summary, sizeof(*p->full));
	base = mmap(NULL, (size_t)p->pages * MEM_PAGE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base != MAP_FAILED)
		p->base = base;
	if (!p->used || !p->full || !p->base)
		return -ENOMEM;
	/* What does not exist is in use. */
	for (uint32_t b = p->pages; b < words * WORD; b++)
		p->used[b / WORD] |= UINT64_C(1) << b % WORD;
	for (size_t w = words; w < summary * WORD; w++)
		p->full[w / WORD] |= UINT64_C(1) << w % WORD;
	return 0;
}

void mem_pool_done(struct mem_pool *p)
{
	if (p->base)
		munmap(p->base, (size_t)p->pages * MEM_PAGE);
	free(p->used);
	free(p->full);
	pthread_mutex_destroy(&p->lock);
}

/* Locked. What was charged for is there. */
static uint32_t take_cold(struct mem_pool *p)
{
	uint32_t w, bit;

	while (p->full[p->low] == UINT64_MAX)
		p->low++;
	w = p->low * WORD + (uint32_t)__builtin_ctzll(~p->full[p->low]);
	bit = (uint32_t)__builtin_ctzll(~p->used[w]);
	p->used[w] |= UINT64_C(1) << bit;
	if (p->used[w] == UINT64_MAX)
		p->full[w / WORD] |= UINT64_C(1) << w % WORD;
	return w * WORD + bit;
}

static void give_cold(struct mem_pool *p, uint32_t page)
{
	uint32_t w = page / WORD;

	p->used[w] &= ~(UINT64_C(1) << page % WORD);
	p->full[w / WORD] &= ~(UINT64_C(1) << w % WORD);
	if (w / WORD < p->low)
		p->low = w / WORD;
}

_Static_assert(MEM_FAN <= MEM_HOT_PAGES / 2, "what is given at once fits when half has gone");

/* As much of @n pages as the limit leaves. */
static uint32_t charge_some(struct mem *m, uint32_t n)
{
	uint64_t used;

	if (mem_charge(m, (uint64_t)n * MEM_PAGE) == 0)
		return n;
	used = atomic_load(&m->used);
	if (used >= m->limit || (m->limit - used) / MEM_PAGE == 0)
		return 0;
	if ((m->limit - used) / MEM_PAGE < n)
		n = (uint32_t)((m->limit - used) / MEM_PAGE);
	return mem_charge(m, (uint64_t)n * MEM_PAGE) == 0 ? n : 0;
}

uint32_t mem_pages_take(struct mem *m, uint32_t n, uint32_t *ret)
{
	struct mem_pool *p = &m->pool;

	n = charge_some(m, n);
	if (n == 0)
		return 0;
	LOCK_SCOPE(&p->lock);
	for (uint32_t i = 0; i < n; i++)
		ret[i] = 1 + (p->hot_n ? p->hot[--p->hot_n] : take_cold(p));
	return n;
}

/* Advises the kernel of all runs of @least pages or more. What it refuses it does later, or not. */
static void advise(
	const struct mem_pool *p, const uint32_t *entry, uint32_t n, uint32_t least, int advice)
{
	for (uint32_t i = 0, run; i < n; i += run) {
		uint32_t first = entry[i] & ~MEM_UNWRITTEN;

		for (run = 1; i + run < n; run++)
			if ((entry[i + run] & ~MEM_UNWRITTEN) != first + run)
				break;
		if (run >= least)
			(void)madvise(p->base + (uint64_t)(first - 1) * MEM_PAGE,
				(size_t)run * MEM_PAGE, advice);
	}
}

void mem_pages_fault(struct mem *m, const uint32_t *entry, uint32_t n)
{
	advise(&m->pool, entry, n, MEM_FAULT_PAGES, MADV_POPULATE_WRITE);
}

static int by_number(const void *a, const void *b)
{
	return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

/* The longest unused of the hot pages go, many at once: files that were made one after another
 * mostly lie side by side. Under the lock: a page that is neither hot nor cold would be missed by
 * who was promised it. */
static void spill(struct mem_pool *p)
{
	uint32_t go[MEM_HOT_PAGES / 2];
	const uint32_t n = ARRAY_LEN(go);

	for (uint32_t i = 0; i < n; i++)
		go[i] = p->hot[i] + 1;
	p->hot_n -= n;
	memmove(p->hot, p->hot + n, p->hot_n * sizeof(p->hot[0]));
	qsort(go, n, sizeof(go[0]), by_number);
	advise(p, go, n, 1, MADV_DONTNEED);
	for (uint32_t i = 0; i < n; i++)
		give_cold(p, go[i] - 1);
}

void mem_pages_give(struct mem *m, const uint32_t *entry, uint32_t n)
{
	struct mem_pool *p = &m->pool;

	if (n == 0)
		return;
	{
		LOCK_SCOPE(&p->lock);
		if (n > MEM_HOT_PAGES - p->hot_n)
			spill(p);
		/* Backwards, so that they are taken in order again. */
		for (uint32_t i = n; i-- > 0;)
			p->hot[p->hot_n++] = (entry[i] & ~MEM_UNWRITTEN) - 1;
	}
	mem_uncharge(m, (uint64_t)n * MEM_PAGE);
}
