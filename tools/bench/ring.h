/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's and the guest driver's side of a virtio-fs device, for benches: memory in a memfd, split
 * rings of 1024 with indirect descriptors and event-idx, eventfds, vhost-user in QEMU's order.
 *
 * A request is laid out as Linux 6.12 does it: header, arguments, then data page by page, no two of
 * which are neighbours; the reply likewise. Used by one thread, and all front ends of a process
 * have the same memory: they take turns, and none has a request under way when its turn ends.
 */
#ifndef MSB_BENCH_RING_H
#define MSB_BENCH_RING_H

#include "base/err.h"

#include <linux/fuse.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>

#define RING_NUM   1024
#define FRONTS	   8  /* of a process */
#define RINGS	   2  /* 0: FORGET; 1: everything else */
#define SLOTS	   16 /* requests in flight */
#define PAGE	   4096u
#define SLOT_PAGES 256
#define ARGS_BYTES 2048

/* Room for one request in flight, in guest memory. */
struct slot {
	struct fuse_in_header *in;
	uint8_t *args; /* ARGS_BYTES */
	struct fuse_out_header *out;
	uint8_t *reply; /* ARGS_BYTES: what follows the reply's header, where it is not data */
	uint8_t *data;	/* SLOT_PAGES pages; slot_page() finds the n-th of a request */
	struct vring_desc *table;
	/* Of the operation that goes on here. */
	unsigned int i, step;
	uint64_t since_ns;
};

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	int kick, call;
	uint16_t posted, kicked, seen;
};

struct front {
	int sock;
	uint8_t *mem; /* all front ends' */
	bool spin;    /* waits by looking at the ring; else it sleeps until the device calls */
	struct ring ring[RINGS];
	struct slot slot[SLOTS];
};

/* Connects to the socket @path, where somebody will listen within some seconds; both rings run. */
int front_connect(struct front *f, const char *path, struct msb_err *e);
void front_done(struct front *f); /* accepts what front_connect() failed on */

/* What a request carries besides its header. */
struct shape {
	uint32_t args, data;	    /* bytes that the device reads */
	uint32_t reply, reply_data; /* that it may write */
};

/* Makes the request in @s available on ring @q. The header's length is set here. */
void front_post(struct front *f, unsigned int q, struct slot *s, const struct shape *shape);
void front_kick(struct front *f, unsigned int q); /* where the device wants it */

/* A slot whose request is done; NULL where @wait is false and none is. Exits where the device has
 * been silent for long: then there is nothing to measure. */
struct slot *front_reap(struct front *f, unsigned int q, bool wait);

uint8_t *slot_page(const struct slot *s, unsigned int n);

#endif
