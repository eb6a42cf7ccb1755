/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's and QEMU's side of virtqueues and vhost-user, for tests: memory, rings, messages. */
#ifndef MSB_TESTS_FRONT_H
#define MSB_TESTS_FRONT_H

#include "fs/vhost_user.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRONT_QUEUES 3
#define FRONT_NUM    64
#define FRONT_GPA    0x40000000ULL
#define FRONT_UADDR  0x7f1200000000ULL
#define FRONT_BYTES  (4u << 20)
#define FRONT_RING   (64u << 10)			       /* bytes of a queue's rings */
#define FRONT_DATA   (FRONT_QUEUES * FRONT_RING + (64u << 10)) /* offset of free memory */

struct front {
	int memfd, sock;
	uint8_t *mem;
	int kick[FRONT_QUEUES], call[FRONT_QUEUES];
	uint16_t seen[FRONT_QUEUES]; /* used entries taken */
};

static inline struct vring_desc *front_desc(const struct front *f, unsigned int q)
{
	return (struct vring_desc *)(void *)(f->mem + q * FRONT_RING);
}
static inline struct vring_avail *front_avail(const struct front *f, unsigned int q)
{
	return (struct vring_avail *)(void *)(f->mem + q * FRONT_RING + 16384);
}
static inline struct vring_used *front_used(const struct front *f, unsigned int q)
{
	return (struct vring_used *)(void *)(f->mem + q * FRONT_RING + 32768);
}

static inline struct vq_layout front_layout(unsigned int q)
{
	uint64_t u = FRONT_UADDR + q * FRONT_RING;

	return (struct vq_layout){.num = FRONT_NUM,
		.desc_uaddr = u,
		.avail_uaddr = u + 16384,
		.used_uaddr = u + 32768,
		.event_idx = true};
}

/* Guest memory without a socket. 0 or -errno. */
static inline int front_init(struct front *f)
{
	*f = (struct front){.memfd = memfd_create("guest", MFD_CLOEXEC), .sock = -1};
	if (f->memfd < 0 || ftruncate(f->memfd, FRONT_BYTES) < 0)
		return -errno;
	f->mem = mmap(NULL, FRONT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->memfd, 0);
	for (int i = 0; i < FRONT_QUEUES; i++) {
		f->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	return f->mem == MAP_FAILED ? -errno : 0;
}

static inline void front_done(struct front *f)
{
	munmap(f->mem, FRONT_BYTES);
	close(f->memfd);
	for (int i = 0; i < FRONT_QUEUES; i++) {
		close(f->kick[i]);
		close(f->call[i]);
	}
	if (f->sock >= 0)
		close(f->sock);
}

/* The memory as a device that lives in this process sees it. */
static inline void front_gmem(const struct front *f, struct gmem *m)
{
	m->n = 0;
	(void)gmem_add(m, &(struct gmem_region){.gpa = FRONT_GPA,
				  .uaddr = FRONT_UADDR,
				  .bytes = FRONT_BYTES,
				  .host = f->mem});
}

/* Makes descriptor @head available. */
static inline void front_offer(struct front *f, unsigned int q, uint16_t head)
{
	struct vring_avail *a = front_avail(f, q);

	a->ring[a->idx % FRONT_NUM] = head;
	__atomic_store_n(&a->idx, (uint16_t)(a->idx + 1), __ATOMIC_SEQ_CST);
}

/* One request in direct descriptors 0 and 1: @n bytes at offset FRONT_DATA, reply behind them. */
static inline void front_request(struct front *f, unsigned int q, uint32_t n, uint32_t room)
{
	struct vring_desc *d = front_desc(f, q);
	uint64_t at = FRONT_GPA + FRONT_DATA + q * (1u << 20);

	d[0] = (struct vring_desc){at, n, room ? VRING_DESC_F_NEXT : 0, 1};
	d[1] = (struct vring_desc){at + (512u << 10), room, VRING_DESC_F_WRITE, 0};
	front_offer(f, q, 0);
	(void)eventfd_write(f->kick[q], 1);
}
static inline uint8_t *front_in(const struct front *f, unsigned int q)
{
	return f->mem + FRONT_DATA + q * (1u << 20);
}
static inline uint8_t *front_out(const struct front *f, unsigned int q)
{
	return front_in(f, q) + (512u << 10);
}

#define WAIT_MS 60000 /* for anything that must happen: the machine may be busy */

/* Waits for one used entry. Its length, or -ETIMEDOUT. */
static inline int64_t front_wait(struct front *f, unsigned int q, int timeout_ms)
{
	struct vring_used *u = front_used(f, q);
	eventfd_t n;

	while (__atomic_load_n(&u->idx, __ATOMIC_SEQ_CST) == f->seen[q]) {
		struct pollfd p = {f->call[q], POLLIN, 0};

		/* Ask for the call that comes with the next one. */
		__atomic_store_n(&front_avail(f, q)->ring[FRONT_NUM], f->seen[q], __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&u->idx, __ATOMIC_SEQ_CST) != f->seen[q])
			break;
		if (poll(&p, 1, timeout_ms) <= 0)
			return -ETIMEDOUT;
		(void)!read(f->call[q], &n, sizeof(n));
	}
	return u->ring[f->seen[q]++ % FRONT_NUM].len;
}

/* ---- vhost-user messages */

#define FRONT_NEED_REPLY 8u

static inline int front_send(
	struct front *f, uint32_t request, uint32_t flags, const void *payload, uint32_t n, int fd)
{
	uint32_t h[3] = {request, 1 | flags, n};
	struct iovec iov[2] = {{h, sizeof(h)}, {(void *)(uintptr_t)payload, n}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))] = {0};

	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = ctl;
		mh.msg_controllen = sizeof(ctl);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(f->sock, &mh, MSG_NOSIGNAL) == (ssize_t)(sizeof(h) + n) ? 0 : -EPIPE;
}

/* The payload of an answer, 8 bytes or more; -EPIPE where the device hung up. */
static inline int front_recv(struct front *f, void *payload, size_t n)
{
	uint32_t h[3];

	if (recv(f->sock, h, sizeof(h), MSG_WAITALL) != sizeof(h) || h[1] != (1 | 4) || h[2] > n)
		return -EPIPE;
	return recv(f->sock, payload, h[2], MSG_WAITALL) == (ssize_t)h[2] ? 0 : -EPIPE;
}

/* The same with the descriptor that comes along; -1 in @ret_fd where none does. */
static inline int front_recv_fd(struct front *f, void *payload, size_t n, int *ret_fd)
{
	uint32_t h[3];
	struct iovec iov = {h, sizeof(h)};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))];
	struct msghdr mh = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl,
		.msg_controllen = sizeof(ctl)};
	struct cmsghdr *c;

	*ret_fd = -1;
	if (recvmsg(f->sock, &mh, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof(h) || h[1] != (1 | 4) ||
		h[2] > n)
		return -EPIPE;
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return recv(f->sock, payload, h[2], MSG_WAITALL) == (ssize_t)h[2] ? 0 : -EPIPE;
}

static inline int front_ask(struct front *f, uint32_t request, uint64_t *ret)
{
	int r = front_send(f, request, 0, NULL, 0, -1);

	return r < 0 ? r : front_recv(f, ret, sizeof(*ret));
}

/* Sends with NEED_REPLY; 0 or the error that the device tells. */
static inline int front_do(struct front *f, uint32_t request, const void *p, uint32_t n, int fd)
{
	uint64_t e = 0;
	int r = front_send(f, request, FRONT_NEED_REPLY, p, n, fd);

	if (r == 0)
		r = front_recv(f, &e, sizeof(e));
	return r < 0 ? r : -(int)e;
}

/* Everything that QEMU says until @queues rings run, in its order, of a guest that has used them
 * already. 0 or the first failure. */
static inline int front_reconnect(struct front *f, unsigned int queues)
{
	uint64_t features, protocol, max = 0;
	struct {
		uint32_t n, padding;
		struct vu_mem_region r;
	} mem = {1, 0, {FRONT_GPA, FRONT_BYTES, FRONT_UADDR, 0}};
	int r = front_ask(f, 1, &features);

	if (r == 0)
		r = front_ask(f, 15, &protocol);
	if (r == 0)
		r = front_send(f, 16, 0, &protocol, 8, -1);
	if (r == 0)
		r = front_ask(f, 17, &max);
	if (r == 0 && max < queues)
		r = -ENODEV;
	if (r == 0)
		r = front_send(f, 3, 0, NULL, 0, -1);
	if (r == 0)
		r = front_do(f, 2, &features, 8, -1);
	if (r == 0)
		r = front_do(f, 5, &mem, sizeof(mem), f->memfd);
	for (uint32_t i = 0; r == 0 && i < queues; i++) {
		struct vq_layout l = front_layout(i);
		const uint32_t num[2] = {i, l.num}, base[2] = {i, front_used(f, i)->idx},
			       on[2] = {i, 1};
		const struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr = {i, 0, l.desc_uaddr, l.used_uaddr, l.avail_uaddr, 0};
		const uint64_t index = i;

		r = front_do(f, 8, num, 8, -1);
		if (r == 0)
			r = front_do(f, 10, base, 8, -1);
		if (r == 0)
			r = front_do(f, 9, &addr, sizeof(addr), -1);
		if (r == 0)
			r = front_do(f, 12, &index, 8, f->kick[i]);
		if (r == 0)
			r = front_do(f, 13, &index, 8, f->call[i]);
		if (r == 0)
			r = front_do(f, 18, on, 8, -1);
	}
	return r;
}

/* The same with empty rings. */
static inline int front_connect(struct front *f, unsigned int queues)
{
	uint64_t features;
	int r = front_ask(f, 1, &features);

	/* It answers: whoever had the memory before is gone. */
	memset(f->mem, 0, FRONT_DATA);
	memset(f->seen, 0, sizeof(f->seen));
	/* Who served these rings before, by another socket, may still take a kick for its own. */
	for (int i = 0; i < FRONT_QUEUES; i++) {
		close(f->kick[i]);
		close(f->call[i]);
		f->kick[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->call[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	return r < 0 ? r : front_reconnect(f, queues);
}

#endif
