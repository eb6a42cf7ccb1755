/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory and split virtqueues, seen from the device. Knows nothing of any device.
 *
 * Everything in guest memory changes under our hands: each ring word and descriptor is read once,
 * into private memory, and checked there. What does not check out makes the queue broken: from then
 * on vq_pop() returns -EPROTO, and the device lives on.
 * Source: virtio 1.2, sections 2.6 (memory), 2.7 (split virtqueues).
 */
#ifndef MSB_FS_VIRTQ_H
#define MSB_FS_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define GMEM_MAX_REGIONS 64   /* memory slots of one machine */
#define VQ_MAX_SIZE	 1024 /* ring entries */
#define VQ_MAX_SEGS	 1024 /* pieces of host memory one chain may span; IOV_MAX too */
#define GMEM_LOG_PAGE	 4096 /* bytes of guest memory behind one bit of a log */

/* One mapped piece of guest memory. Regions do not overlap, in either address space. */
struct gmem_region {
	uint64_t gpa;	/* guest-physical address of its first byte */
	uint64_t uaddr; /* the same byte's address in the front end (QEMU) */
	uint64_t bytes;
	uint8_t *host; /* the same byte here */
};

struct gmem {
	unsigned int n;
	struct gmem_region r[GMEM_MAX_REGIONS];
};

/**
 * gmem_add() - Enter a region
 * Return: 0; -ENOSPC at GMEM_MAX_REGIONS; -EINVAL where it is empty, wraps or overlaps another.
 */
int gmem_add(struct gmem *m, const struct gmem_region *r);

/* Removes the region with exactly these addresses. -ENOENT. @ret: what it was. */
int gmem_del(struct gmem *m, uint64_t gpa, uint64_t uaddr, uint64_t bytes, struct gmem_region *ret);

/* Host address of @gpa and how many bytes follow it there, in @ret_bytes; NULL outside memory. */
void *gmem_at(const struct gmem *m, uint64_t gpa, uint64_t *ret_bytes);

/* Host address of front-end address @uaddr where @bytes lie in one region behind it; else NULL. */
void *gmem_at_uaddr(const struct gmem *m, uint64_t uaddr, uint64_t bytes);

/* Which pages the device has written, for whoever copies a running guest's memory. Shared: bits are
 * set atomically here and taken away by the front end. */
struct gmem_log {
	uint8_t *bits; /* one a page, from guest-physical address 0 on */
	uint64_t bytes;
};

/* Marks what was written before; what the log does not cover is not marked. */
void gmem_log_mark(const struct gmem_log *l, uint64_t gpa, uint64_t bytes);

/* One chain of buffers: @n_out pieces to read, then @n_in to write. */
struct vq_elem {
	uint16_t head;
	unsigned int n_out, n_in;
	size_t out_bytes, in_bytes;
	struct iovec iov[VQ_MAX_SEGS];
};

/*
 * Which chains a ring's device has taken and not given back, in memory that outlives the device: a
 * new one starts with those. Shared and hostile. Zero bytes are a ring that never ran.
 * Source: QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking" (split virtqueue).
 */
struct vq_inflight_desc {
	uint8_t inflight, padding[5];
	uint16_t next;	  /* head given back before this one */
	uint64_t counter; /* order of taking */
};
struct vq_inflight {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct vq_inflight_desc desc[];
};
#define VQ_INFLIGHT_BYTES(num)                                                                     \
	((sizeof(struct vq_inflight) + sizeof(struct vq_inflight_desc) * (num) + 63) & ~(size_t)63)

/* Where a ring lies, as the front end told it. */
struct vq_layout {
	uint16_t num; /* power of two, at most VQ_MAX_SIZE */
	uint64_t desc_uaddr, avail_uaddr, used_uaddr;
	bool event_idx;
	const struct gmem_log *log;   /* NULL: writes are not marked */
	bool log_ring;		      /* with @log: writes to the used ring are marked too ... */
	uint64_t used_gpa;	      /* ... as if it lay there */
	struct vq_inflight *inflight; /* NULL: not tracked */
	uint16_t inflight_num;	      /* entries that @inflight has room for */
};

struct vring_desc;
struct vring_avail;
struct vring_used;

/* A ring in use. One thread at a time. */
struct vq {
	const struct gmem *mem; /* must not change while the ring is in use */
	const struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t *avail_event; /* behind the used ring */
	uint16_t num, next_avail, next_used, signalled;
	bool event_idx, broken;
	bool tracked; /* there is a log or an inflight region: seldom */
	bool log_ring;
	const struct gmem_log *log;
	uint64_t used_gpa;
	struct vq_inflight *inflight;
	uint64_t counter;    /* of the next chain taken */
	uint16_t again;	     /* chains that are taken a second time, before new ones */
	uint64_t last_again; /* counter of the one before */
};

/**
 * vq_start() - Take up a ring
 * @base: index of the first available entry to take; where chains are tracked, those say it
 * Return: 0; -EINVAL for a bad size or alignment, or an inflight region that makes no sense;
 * -EFAULT where a part lies outside of memory.
 */
int vq_start(struct vq *q, const struct gmem *mem, const struct vq_layout *l, uint16_t base);

/**
 * vq_pop() - Take the next chain
 * Return: 1 and @e filled; 0 where none waits; -EPROTO: the queue is broken and stays so.
 */
int vq_pop(struct vq *q, struct vq_elem *e);

/* Gives a chain back as vq_pop() filled it, with @written bytes in its n_in pieces; the guest sees
 * it at once. All of those pieces are marked in the log. */
void vq_push(struct vq *q, const struct vq_elem *e, uint32_t written);

/* The same, but the guest may see it as late as vq_publish() or the next vq_push(). */
void vq_put(struct vq *q, const struct vq_elem *e, uint32_t written);
void vq_publish(struct vq *q);

/* Whether the guest wants to be called for what was pushed or published since the last time this
 * said so. */
bool vq_need_call(struct vq *q);

/* Whether a chain waits, besides those that vq_pop() takes again after a start. A few nanoseconds:
 * for polling. */
bool vq_pending(const struct vq *q);

/* Asks the guest for kicks; false where a chain slipped in: pop again before sleeping. */
bool vq_want_kicks(struct vq *q);

/* Tells the guest that kicks are not needed (best effort). */
void vq_no_kicks(struct vq *q);

#endif
