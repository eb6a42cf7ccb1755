// SPDX-License-Identifier: Apache-2.0
// Guest memory: its regions, and the log of what was written there.
#include "fs/virtq.h"

#include <errno.h>
#include <stdatomic.h>

static bool overlap(uint64_t a, uint64_t b, uint64_t a_bytes, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

int gmem_add(struct gmem *m, const struct gmem_region *r)
{
	if (m->n == GMEM_MAX_REGIONS)
		return -ENOSPC;
	if (r->bytes == 0 || r->gpa + r->bytes < r->gpa || r->uaddr + r->bytes < r->uaddr)
		return -EINVAL;
	for (unsigned int i = 0; i < m->n; i++) {
		const struct gmem_region *o = &m->r[i];

		if (overlap(o->gpa, r->gpa, o->bytes, r->bytes) ||
			overlap(o->uaddr, r->uaddr, o->bytes, r->bytes))
			return -EINVAL;
	}
	m->r[m->n++] = *r;
	return 0;
}

int gmem_del(struct gmem *m, uint64_t gpa, uint64_t uaddr, uint64_t bytes, struct gmem_region *ret)
{
	for (unsigned int i = 0; i < m->n; i++) {
		struct gmem_region *o = &m->r[i];

		if (o->gpa != gpa || o->uaddr != uaddr || o->bytes != bytes)
			continue;
		*ret = *o;
		*o = m->r[--m->n];
		return 0;
	}
	return -ENOENT;
}

void *gmem_at(const struct gmem *m, uint64_t gpa, uint64_t *ret_bytes)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct gmem_region *r = &m->r[i];

		if (gpa - r->gpa < r->bytes) {
			*ret_bytes = r->bytes - (gpa - r->gpa);
			return r->host + (gpa - r->gpa);
		}
	}
	return NULL;
}

void *gmem_at_uaddr(const struct gmem *m, uint64_t uaddr, uint64_t bytes)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct gmem_region *r = &m->r[i];
		uint64_t at = uaddr - r->uaddr;

		if (at < r->bytes)
			return bytes <= r->bytes - at ? r->host + at : NULL;
	}
	return NULL;
}

void gmem_log_mark(const struct gmem_log *l, uint64_t gpa, uint64_t bytes)
{
	uint64_t last = (gpa + bytes - 1) / GMEM_LOG_PAGE;

	/* The copier takes the bit, then the page: it must find there what we wrote. */
	atomic_thread_fence(memory_order_seq_cst);
	for (uint64_t page = gpa / GMEM_LOG_PAGE; bytes && page <= last && page / 8 < l->bytes;
		page++)
		(void)__atomic_fetch_or(
			&l->bits[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_RELAXED);
}
