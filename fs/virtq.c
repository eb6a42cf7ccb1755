// SPDX-License-Identifier: Apache-2.0
// Guest memory and split virtqueues, seen from the device.
#include "fs/virtq.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.2, 2.7.5");
_Static_assert(sizeof(struct vq_inflight_desc) == 16, "vhost-user, inflight description");
_Static_assert(sizeof(struct vq_inflight) == 16, "vhost-user, inflight description");

#define INFLIGHT_VERSION 1

/* One load each, whatever the optimiser thinks of memory that "nobody" writes. */
#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define UNLIKELY(x)	 __builtin_expect(!!(x), 0)

/* What a chain's device has been given to write. */
static void log_elem(const struct vq *q, const struct vq_elem *e)
{
	for (unsigned int i = e->n_out; i < e->n_out + e->n_in; i++) {
		const uint8_t *p = e->iov[i].iov_base;

		for (unsigned int k = 0; k < q->mem->n; k++) {
			const struct gmem_region *r = &q->mem->r[k];

			if ((uintptr_t)p - (uintptr_t)r->host >= r->bytes)
				continue;
			gmem_log_mark(q->log, r->gpa + (uint64_t)(p - r->host), e->iov[i].iov_len);
			break;
		}
	}
}

static void log_used(const struct vq *q, size_t offset, size_t bytes)
{
	if (q->log && q->log_ring)
		gmem_log_mark(q->log, q->used_gpa + offset, bytes);
}

/* Which chains another device took from this ring and never gave back; they come first. */
static int recover(struct vq *q, uint16_t cap)
{
	struct vq_inflight *f = q->inflight;
	uint16_t used = READ_ONCE(q->used->idx), batch;

	if (cap < q->num)
		return -EINVAL;
	if (READ_ONCE(f->version) == 0) {
		WRITE_ONCE(f->used_idx, used);
		WRITE_ONCE(f->desc_num, cap);
		WRITE_ONCE(f->version, INFLIGHT_VERSION);
	}
	if (READ_ONCE(f->version) != INFLIGHT_VERSION || READ_ONCE(f->desc_num) != cap)
		return -EINVAL;
	/* It was killed between telling the guest and telling us: at most one chain here, but a
	 * device may do more at once. */
	batch = (uint16_t)(used - READ_ONCE(f->used_idx));
	if (batch > q->num)
		return -EINVAL;
	for (uint16_t h = READ_ONCE(f->last_batch_head); batch; batch--) {
		if (h >= q->num)
			return -EINVAL;
		WRITE_ONCE(f->desc[h].inflight, 0);
		h = READ_ONCE(f->desc[h].next);
	}
	WRITE_ONCE(f->used_idx, used);
	for (uint16_t i = 0; i < q->num; i++) {
		uint64_t n = READ_ONCE(f->desc[i].counter);

		if (READ_ONCE(f->desc[i].inflight) != 1)
			continue;
		q->again++;
		q->counter = n >= q->counter ? n + 1 : q->counter;
	}
	q->next_avail = (uint16_t)(used + q->again);
	return 0;
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
		.tracked = l->log || l->inflight,
		.log = l->log,
		.log_ring = l->log_ring,
		.used_gpa = l->used_gpa,
		.inflight = l->inflight,
		.counter = 1, /* 0: before all */
	};
	if (!q->desc || !q->avail || !q->used)
		return -EFAULT;
	/* Regions are mapped at page granularity, but nothing forces the front end's addresses to
	 * agree with the host's modulo the alignment. */
	if ((uintptr_t)q->desc % 16 || (uintptr_t)q->avail % 2 || (uintptr_t)q->used % 4)
		return -EINVAL;
	q->avail_event = (void *)((uint8_t *)q->used + 4 + sizeof(struct vring_used_elem) * num);
	q->next_used = q->signalled = READ_ONCE(q->used->idx);
	return q->inflight ? recover(q, l->inflight_num) : 0;
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

/* Takes the head of @e. */
static int take(struct vq *q, struct vq_elem *e, uint16_t head)
{
	e->head = head;
	e->n_out = e->n_in = 0;
	e->out_bytes = e->in_bytes = 0;
	if (head >= q->num || walk(q, e, q->desc, q->num, head, true) < 0) {
		q->broken = true;
		return -EPROTO;
	}
	return 1;
}

/* The oldest chain left of those that are to be taken again; the region may change under us, so
 * there may be none. */
static int take_again(struct vq *q, struct vq_elem *e)
{
	uint64_t least = UINT64_MAX;
	uint16_t head = 0;

	q->again--;
	for (uint16_t i = 0; i < q->num; i++) {
		uint64_t n = READ_ONCE(q->inflight->desc[i].counter);

		if (READ_ONCE(q->inflight->desc[i].inflight) == 1 && n > q->last_again &&
			n < least) {
			least = n;
			head = i;
		}
	}
	if (least == UINT64_MAX) {
		q->again = 0;
		return 0;
	}
	q->last_again = least;
	return take(q, e, head);
}

/*
 * The guest has just written what a chain consists of, on another CPU: fetching it costs more than
 * most requests do. So what the next chains need first is fetched while this one is served: of the
 * third its descriptor, of the second its table, of the next what its table begins with, each
 * found in what was fetched one chain ago. Nothing that is read here is believed.
 */
static void look_ahead(const struct vq *q, uint16_t waiting)
{
	const uint16_t mask = q->num - 1;
	const struct vring_desc *d;
	uint64_t room = 0;
	uint16_t head;

	if (waiting > 3) {
		head = READ_ONCE(q->avail->ring[(q->next_avail + 3u) & mask]);
		__builtin_prefetch(&q->desc[head & mask]);
	}
	if (waiting > 2) {
		head = READ_ONCE(q->avail->ring[(q->next_avail + 2u) & mask]);
		d = gmem_at(q->mem, READ_ONCE(q->desc[head & mask].addr), &room);
		if (d)
			__builtin_prefetch(d);
	}
	if (waiting > 1) {
		head = READ_ONCE(q->avail->ring[(q->next_avail + 1u) & mask]);
		d = gmem_at(q->mem, READ_ONCE(q->desc[head & mask].addr), &room);
		if (!d || room < 2 * sizeof(*d) || (uintptr_t)d % _Alignof(struct vring_desc))
			return;
		for (unsigned int i = 0; i < 2; i++) {
			const void *p = gmem_at(q->mem, READ_ONCE(d[i].addr), &room);

			if (p)
				__builtin_prefetch(p);
		}
	}
}

int vq_pop(struct vq *q, struct vq_elem *e)
{
	uint16_t waiting, head;

	if (q->broken)
		return -EPROTO;
	if (UNLIKELY(q->again)) {
		int r = take_again(q, e);

		if (r != 0)
			return r;
	}
	waiting = (uint16_t)(READ_ONCE(q->avail->idx) - q->next_avail);
	if (waiting == 0)
		return 0;
	atomic_thread_fence(memory_order_acquire); /* the entry was written before the index */
	head = READ_ONCE(q->avail->ring[q->next_avail & (q->num - 1)]);
	if (waiting > q->num) {
		q->broken = true;
		return -EPROTO;
	}
	if (UNLIKELY(q->inflight) && head < q->num) {
		WRITE_ONCE(q->inflight->desc[head].counter, q->counter++);
		atomic_signal_fence(memory_order_seq_cst); /* only a kill comes between */
		WRITE_ONCE(q->inflight->desc[head].inflight, 1);
	}
	look_ahead(q, waiting);
	if (take(q, e, head) < 0)
		return -EPROTO;
	q->next_avail++;
	return 1;
}

static void inflight_done(struct vq *q, uint16_t head)
{
	WRITE_ONCE(q->inflight->desc[head].inflight, 0);
	atomic_signal_fence(memory_order_seq_cst);
	WRITE_ONCE(q->inflight->used_idx, q->next_used);
}

static void before_push(struct vq *q, const struct vq_elem *e)
{
	if (q->log)
		log_elem(q, e);
	if (q->inflight) {
		WRITE_ONCE(
			q->inflight->desc[e->head].next, READ_ONCE(q->inflight->last_batch_head));
		WRITE_ONCE(q->inflight->last_batch_head, e->head);
	}
}

static void after_push(struct vq *q, const struct vq_elem *e)
{
	const size_t ring = offsetof(struct vring_used, ring);

	log_used(q, ring + sizeof(struct vring_used_elem) * ((q->next_used - 1u) & (q->num - 1)),
		sizeof(struct vring_used_elem));
	log_used(q, 0, ring);
	if (q->inflight)
		inflight_done(q, e->head);
}

static void fill_used(struct vq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem *u = &q->used->ring[q->next_used & (q->num - 1)];

	WRITE_ONCE(u->id, head);
	WRITE_ONCE(u->len, written);
	q->next_used++;
}

void vq_publish(struct vq *q)
{
	atomic_thread_fence(memory_order_release); /* entries before the index */
	WRITE_ONCE(q->used->idx, q->next_used);
}

void vq_push(struct vq *q, const struct vq_elem *e, uint32_t written)
{
	if (UNLIKELY(q->tracked))
		before_push(q, e);
	fill_used(q, e->head, written);
	vq_publish(q);
	if (UNLIKELY(q->tracked))
		after_push(q, e);
}

void vq_put(struct vq *q, const struct vq_elem *e, uint32_t written)
{
	if (UNLIKELY(q->tracked)) /* what is tracked is one chain at a time */
		vq_push(q, e, written);
	else
		fill_used(q, e->head, written);
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
	if (UNLIKELY(q->tracked)) {
		log_used(q, 0, sizeof(q->used->flags));
		log_used(q, (size_t)((uint8_t *)q->avail_event - (uint8_t *)q->used),
			sizeof(*q->avail_event));
	}
	atomic_thread_fence(memory_order_seq_cst);
	return !vq_pending(q);
}

void vq_no_kicks(struct vq *q)
{
	/* With event-idx the event index that we leave behind says it already. */
	if (!q->event_idx) {
		WRITE_ONCE(q->used->flags, VRING_USED_F_NO_NOTIFY);
		if (UNLIKELY(q->tracked))
			log_used(q, 0, sizeof(q->used->flags));
	}
}
