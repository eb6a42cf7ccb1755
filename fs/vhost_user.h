/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end (device) side of the vhost-user protocol. Knows nothing of any device: a device
 * says how many queues it has and starts and stops them when told to.
 *
 * Three layers: vu_parse() checks the bytes of one message; vu_handle() carries it out on the
 * device's state; vu_serve() runs a connection. One thread drives all three. While a message
 * changes a ring or the memory map, the rings concerned are stopped, so a device's threads need no
 * lock. Front ends are hostile: whatever they send, the worst is the end of their connection.
 * Source: QEMU, docs/interop/vhost-user.rst.
 */
#ifndef MSB_FS_VHOST_USER_H
#define MSB_FS_VHOST_USER_H

#include "base/err.h"
#include "fs/virtq.h"

#define VU_MAX_QUEUES  16
#define VU_MAX_FDS     8	    /* descriptors of one message: SET_MEM_TABLE's limit */
#define VU_MAX_PAYLOAD 512	    /* bytes; the largest message known (GET_CONFIG) needs 268 */
#define VU_MAX_MEM     (1ULL << 43) /* bytes of one guest memory region */
#define VU_MAX_LOG     (VU_MAX_MEM / GMEM_LOG_PAGE / 8) /* bytes of the dirty log */

struct vu_mem_region {
	uint64_t gpa, bytes, uaddr, mmap_offset;
};

/* Message as on the wire (host order), header checked and payload complete. */
struct vu_msg {
	uint32_t request, flags, size;
	union {
		uint8_t bytes[VU_MAX_PAYLOAD];
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state;
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t n, padding;
			struct vu_mem_region r[VU_MAX_FDS];
		} mem;
		struct {
			uint64_t padding;
			struct vu_mem_region r;
		} mem_one;
		struct {
			uint32_t offset, size, flags;
			uint8_t region[256];
		} config;
		struct {
			uint64_t bytes, offset;
		} log;
		struct {
			uint64_t bytes, offset;
			uint16_t queues, queue_size;
		} inflight;
		struct {
			uint32_t direction, phase;
		} transfer;
	};
	int fd; /* to be sent with the answer and closed, or -1 */
};
#define VU_HEADER_BYTES 12

struct vu_dev;

/* What a device does. Called on the thread that runs vu_serve(). */
struct vu_ops {
	unsigned int queues; /* at most VU_MAX_QUEUES */
	uint64_t features;   /* device bits, besides those of rings and protocol */
	/* A ring may be used from here on: @q is started. 0 or -errno: then it stays stopped. */
	int (*queue_start)(struct vu_dev *, unsigned int index);
	/* Returns when nothing uses the ring, its descriptors or guest memory any more. */
	void (*queue_stop)(struct vu_dev *, unsigned int index);
	/* Fills device configuration space; NULL: the front end has it (virtio-fs). */
	int (*get_config)(struct vu_dev *, uint32_t offset, void *buf, uint32_t bytes);
	/* The front end is gone or has reset the device; every queue is stopped. May be NULL. */
	void (*reset)(struct vu_dev *);
	/* The device's own state, to and from a pipe; NULL: it cannot be migrated. On a thread of
	 * its own, while every queue is stopped. They may block on @fd: where the front end goes
	 * away, it fails. load() reads to the end; what it read is hostile. 0 or -errno. */
	int (*save)(struct vu_dev *, int fd);
	int (*load)(struct vu_dev *, int fd);
};

struct vu_queue {
	struct vq vq;
	struct vq_layout layout;
	uint16_t base; /* next_avail while stopped */
	int kick_fd, call_fd, err_fd;
	bool have_addr, enabled, running;
	bool log_ring; /* as SET_VRING_ADDR said; used while the log is on */
};

struct vu_state;

/* A device's vhost-user state. A device embeds it first in its own struct. */
struct vu_dev {
	const struct vu_ops *ops;
	uint64_t features, protocol_features; /* as negotiated */
	struct gmem mem;
	struct gmem_log log; /* bits NULL: none */
	struct {
		uint8_t *at; /* NULL: none */
		size_t bytes;
		uint16_t queues, queue_size;
	} inflight;
	uint8_t status;		/* virtio's status byte, as last told */
	struct vu_state *state; /* a transfer of the device's state under way; NULL */
	struct vu_queue q[VU_MAX_QUEUES];
};

void vu_init(struct vu_dev *d, const struct vu_ops *ops);
void vu_reset(struct vu_dev *d); /* stops every queue, unmaps, forgets; usable again */

/**
 * vu_parse() - Check one message
 * @p, @n: bytes received so far
 * Return: bytes of the whole message, @ret filled; 0: more bytes are needed (at most
 * VU_HEADER_BYTES + VU_MAX_PAYLOAD in all); -EPROTO.
 */
int vu_parse(const uint8_t *p, size_t n, struct vu_msg *ret);

/**
 * vu_handle() - Carry out a message
 * @m:   as parsed; replaced by the answer where there is one, whose descriptor is the caller's
 * @fds: descriptors that came with it; those kept become -1, the others stay the caller's
 * Return: 1: send @m back; 0: no answer; -errno: end the connection.
 */
int vu_handle(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds);

/**
 * vu_serve() - Run one connection to its end
 * @sock: connected stream socket, borrowed
 * @stop_fd: ends it when readable
 * Return: 0 when the front end hung up or @stop_fd fired; -errno with @e. The device is reset.
 */
int vu_serve(struct vu_dev *d, int sock, int stop_fd, struct msb_err *e);

/* Interrupts the guest where it wants it, after vq_push(). For the thread that runs the queue. */
void vu_call(struct vu_queue *q);

#endif
