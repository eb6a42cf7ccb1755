// SPDX-License-Identifier: Apache-2.0
// Guest memory and split virtqueues, seen from the device.
#include "fs/virtq.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");

/* One load each, whatever the optimiser thinks of memory that "nobody" writes. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

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

int vq_start(struct vq *q, const struct gmem *mem, const struct vq_layout *l, uint16_t base)
{
	uint16_t num = l->num;

	if (num == 0 || num > VQ_MAX_SIZE || (num & (num - 1)) || l->desc_uaddr % 16 ||
		l->avail_uaddr % 2 || l->used_uaddr % 4)
		return -EINVAL;
	*q = (struct vq){
		.mem = mem,
		.num = num,
		.event_idx = l->event_idx,
		.desc = gmem_at_uaddr(mem, l->desc_uaddr, sizeof(struct vring_desc) * num),
		/* flags, idx, ring, used_event; flags, idx, ring, avail_event */
		.avail = gmem_at_uaddr(mem, l->avail_uaddr, 6 + sizeof(uint16_t) * num),
		.used = gmem_at_uaddr(mem, l->used_uaddr, 6 + sizeof(struct vring_used_elem) * num),
		.next_avail = base,
	};
	if (!q->desc || !q->avail || !q->used)
		return -EFAULT;
	/* Regions are mapped at page granularity, but nothing forces the front end's addresses to
	 * agree with the host's modulo the alignment. */
	if ((uintptr_t)q->desc % 16 || (uintptr_t)q->avail % 2 || (uintptr_t)q->used % 4)
		return -EINVAL;
	q->avail_event = (void *)((uint8_t *)q->used + 4 + sizeof(struct vring_used_elem) * num);
	q->next_used = q->signalled = READ_ONCE(q->used->idx);
	return 0;
}

/* Adds the host pieces of one buffer. Zero bytes add nothing. */
static int add_buffer(struct vq *q, struct vq_elem *e, uint64_t gpa, uint64_t bytes, bool in)
{
	if (!in && e->n_in)
		return -EPROTO; /* 2.7.4.2: what the device reads comes first */
	while (bytes) {
		uint64_t room = 0;
		void *p = gmem_at(q->mem, gpa, &room);

		if (!p || e->n_out + e->n_in == VQ_MAX_SEGS)
			return -EPROTO;
		if (room > bytes)
			room = bytes;
		e->iov[e->n_out + e->n_in] = (struct iovec){p, room};
		*(in ? &e->n_in : &e->n_out) += 1;
		*(in ? &e->in_bytes : &e->out_bytes) += room;
		gpa += room;
		bytes -= room;
	}
	return 0;
}

static struct vring_desc read_desc(const struct vring_desc *d)
{
	return (struct vring_desc){.addr = READ_ONCE(d->addr),
		.len = READ_ONCE(d->len),
		.flags = READ_ONCE(d->flags),
		.next = READ_ONCE(d->next)};
}

/* Walks one table of @n descriptors from @i. Follows an indirect one where @top. */
static int walk(struct vq *q, struct vq_elem *e, const struct vring_desc *table, unsigned int n,
	unsigned int i, bool top)
{
	/* A chain longer than its table loops. */
	for (unsigned int steps = 0; steps < n; steps++) {
		struct vring_desc d;
		int r;

		if (i >= n)
			return -EPROTO;
		d = read_desc(&table[i]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			uint64_t room = 0;
			const struct vring_desc *t = gmem_at(q->mem, d.addr, &room);
			unsigned int count = d.len / (unsigned int)sizeof(*t);

			/* 2.7.5.3: not nested, not followed by anything. */
			if (!top || (d.flags & VRING_DESC_F_NEXT) || !t || room < d.len ||
				d.len % sizeof(*t) || count == 0 || count > VQ_MAX_SEGS ||
				(uintptr_t)t % _Alignof(struct vring_desc))
				return -EPROTO;
			return walk(q, e, t, count, 0, false);
		}
		r = add_buffer(q, e, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);
		if (r < 0)
			return r;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		i = d.next;
	}
	return -EPROTO;
}

bool vq_pending(const struct vq *q)
{
	return READ_ONCE(q->avail->idx) != q->next_avail;
}

int vq_pop(struct vq *q, struct vq_elem *e)
{
	uint16_t waiting, head;

	if (q->broken)
		return -EPROTO;
	waiting = (uint16_t)(READ_ONCE(q->avail->idx) - q->next_avail);
	if (waiting == 0)
		return 0;
	atomic_thread_fence(memory_order_acquire); /* the entry was written before the index */
	head = READ_ONCE(q->avail->ring[q->next_avail & (q->num - 1)]);
	e->head = head;
	e->n_out = e->n_in = 0;
	e->out_bytes = e->in_bytes = 0;
	if (waiting > q->num || head >= q->num || walk(q, e, q->desc, q->num, head, true) < 0) {
		q->broken = true;
		return -EPROTO;
	}
	q->next_avail++;
	return 1;
}

void vq_push(struct vq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem *u = &q->used->ring[q->next_used & (q->num - 1)];

	WRITE_ONCE(u->id, head);
	WRITE_ONCE(u->len, written);
	q->next_used++;
	atomic_thread_fence(memory_order_release);
	WRITE_ONCE(q->used->idx, q->next_used);
}

bool vq_need_call(struct vq *q)
{
	uint16_t old = q->signalled;

	if (old == q->next_used)
		return false;
	q->signalled = q->next_used;
	/* Our index must be visible before we read what the guest wants (2.7.7.2). */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(READ_ONCE(q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(READ_ONCE(q->avail->ring[q->num]), q->next_used, old);
}

bool vq_want_kicks(struct vq *q)
{
	if (q->event_idx)
		WRITE_ONCE(*q->avail_event, q->next_avail);
	else
		WRITE_ONCE(q->used->flags, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return !vq_pending(q);
}

void vq_no_kicks(struct vq *q)
{
	/* With event-idx the event index that we leave behind says it already. */
	if (!q->event_idx)
		WRITE_ONCE(q->used->flags, VRING_USED_F_NO_NOTIFY);
}
