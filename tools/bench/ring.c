// SPDX-License-Identifier: Apache-2.0
// The front end of the benches: vhost-user and rings.
#include "tools/bench/ring.h"
#include "base/cleanup.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define CONNECT_MS 10000
#define SILENCE_MS 20000

#define RING_BYTES  (64u << 10)
#define TABLE_BYTES (2 * PAGE) /* of one slot; 260 descriptors are needed at most */
#define HEAD_BYTES  (2 * PAGE)
#define SLOT_BYTES  (TABLE_BYTES + HEAD_BYTES + SLOT_PAGES * PAGE)
#define FRONT_BYTES (RINGS * RING_BYTES)
#define MEM_BYTES   (FRONTS * FRONT_BYTES + SLOTS * SLOT_BYTES)

/* One memory for all front ends: what a copy costs depends on which pages it meets, and whoever
 * came later had better ones. Each has rings of its own in it; the slots are whose turn it is. */
static struct {
	int fd;
	uint8_t *mem;
	unsigned int fronts;
} guest = {.fd = -1};

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
};

#define NEED_REPLY	8u
#define PROTO_MQ	1u
#define PROTO_REPLY_ACK 8u

static uint64_t gpa(const struct front *f, const void *p)
{
	return (uint64_t)((const uint8_t *)p - f->mem);
}

static int send_msg(
	const struct front *f, uint32_t request, uint32_t flags, const void *p, uint32_t n, int fd)
{
	uint32_t h[3] = {request, 1 | flags, n};
	struct iovec iov[2] = {{h, sizeof(h)}, {(void *)(uintptr_t)p, n}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))] = {0};

	if (fd >= 0) {
		struct cmsghdr *c = (struct cmsghdr *)(void *)ctl;

		mh.msg_control = ctl;
		mh.msg_controllen = sizeof(ctl);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(f->sock, &mh, MSG_NOSIGNAL) == (ssize_t)(sizeof(h) + n) ? 0 : -EPIPE;
}

static int recv_u64(const struct front *f, uint64_t *ret)
{
	uint32_t h[3];

	if (recv(f->sock, h, sizeof(h), MSG_WAITALL) != sizeof(h) || h[2] != sizeof(*ret))
		return -EPIPE;
	return recv(f->sock, ret, sizeof(*ret), MSG_WAITALL) == sizeof(*ret) ? 0 : -EPIPE;
}

static int ask(const struct front *f, uint32_t request, uint64_t *ret)
{
	int r = send_msg(f, request, 0, NULL, 0, -1);

	return r < 0 ? r : recv_u64(f, ret);
}

/* With an acknowledgement, as QEMU wants it of these two. */
static int send_acked(const struct front *f, uint32_t request, const void *p, uint32_t n, int fd)
{
	uint64_t error = 0;
	int r = send_msg(f, request, NEED_REPLY, p, n, fd);

	if (r == 0)
		r = recv_u64(f, &error);
	return r < 0 ? r : error ? -EREMOTEIO : 0;
}

static int start_ring(const struct front *f, uint32_t i)
{
	const struct ring *g = &f->ring[i];
	const uint32_t num[2] = {i, RING_NUM}, base[2] = {i, 0};
	const uint64_t index = i;
	const struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} addr = {i, 0, (uintptr_t)g->desc, (uintptr_t)g->used, (uintptr_t)g->avail, 0};
	int r = send_msg(f, SET_VRING_NUM, 0, num, sizeof(num), -1);

	if (r == 0)
		r = send_msg(f, SET_VRING_BASE, 0, base, sizeof(base), -1);
	if (r == 0)
		r = send_msg(f, SET_VRING_ADDR, 0, &addr, sizeof(addr), -1);
	if (r == 0)
		r = send_msg(f, SET_VRING_KICK, 0, &index, sizeof(index), g->kick);
	if (r == 0)
		r = send_msg(f, SET_VRING_CALL, 0, &index, sizeof(index), g->call);
	return r;
}

static int handshake(const struct front *f)
{
	uint64_t features = 0, protocol = 0, queues = 0;
	struct {
		uint32_t n, padding;
		uint64_t gpa, bytes, uaddr, offset;
	} mem = {1, 0, 0, MEM_BYTES, (uintptr_t)f->mem, 0};
	int r = ask(f, GET_FEATURES, &features);

	if (r == 0)
		r = ask(f, GET_PROTOCOL_FEATURES, &protocol);
	protocol &= PROTO_MQ | PROTO_REPLY_ACK;
	if (r == 0)
		r = send_msg(f, SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), -1);
	if (r == 0)
		r = ask(f, GET_QUEUE_NUM, &queues);
	if (r == 0)
		r = send_msg(f, SET_OWNER, 0, NULL, 0, -1);
	if (r == 0)
		r = ask(f, GET_FEATURES, &features);
	for (uint64_t i = 0; r == 0 && i < RINGS; i++) {
		r = send_msg(f, SET_VRING_CALL, 0, &i, sizeof(i), f->ring[i].call);
		if (r == 0)
			r = send_msg(f, SET_VRING_ERR, 0, &i, sizeof(i), f->ring[i].call);
	}
	/* VERSION_1, EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES */
	features &= 1ULL << 32 | 1ULL << 30 | 1ULL << 29 | 1ULL << 28;
	if (r == 0)
		r = send_msg(f, SET_FEATURES, 0, &features, sizeof(features), -1);
	if (r == 0)
		r = send_acked(f, SET_MEM_TABLE, &mem, sizeof(mem), guest.fd);
	for (uint32_t i = 0; r == 0 && i < RINGS; i++)
		r = start_ring(f, i);
	for (uint32_t i = 0; r == 0 && i < RINGS; i++) {
		const uint32_t on[2] = {i, 1};

		r = send_acked(f, SET_VRING_ENABLE, on, sizeof(on), -1);
	}
	return r;
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(a.sun_path))
		return fd < 0 ? -errno : -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	for (int ms = 0; ms < CONNECT_MS; ms += 10) {
		if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
			return fd;
		(void)poll(NULL, 0, 10);
	}
	close(fd);
	return -ETIMEDOUT;
}

static void lay_out(struct front *f)
{
	uint8_t *p = f->mem + guest.fronts * FRONT_BYTES;

	for (int i = 0; i < RINGS; i++, p += RING_BYTES) {
		f->ring[i].desc = (void *)p;
		f->ring[i].avail = (void *)(p + RING_NUM * sizeof(struct vring_desc));
		f->ring[i].used = (void *)(p + RING_BYTES / 2);
	}
	p = f->mem + FRONTS * FRONT_BYTES;
	for (int i = 0; i < SLOTS; i++, p += SLOT_BYTES) {
		struct slot *s = &f->slot[i];

		s->table = (void *)p;
		s->in = (void *)(p + TABLE_BYTES);
		s->args = p + TABLE_BYTES + sizeof(*s->in);
		s->out = (void *)(p + TABLE_BYTES + PAGE);
		s->reply = p + TABLE_BYTES + PAGE + sizeof(*s->out);
		s->data = p + TABLE_BYTES + HEAD_BYTES;
	}
}

static int make_guest(struct msb_err *e)
{
	if (guest.mem)
		return 0;
	guest.fd = memfd_create("guest", MFD_CLOEXEC);
	if (guest.fd < 0 || ftruncate(guest.fd, MEM_BYTES) < 0)
		return msb_err_set(e, errno, "guest memory: %m");
	guest.mem = mmap(
		NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, guest.fd, 0);
	if (guest.mem == MAP_FAILED) {
		guest.mem = NULL;
		return msb_err_set(e, errno, "guest memory: %m");
	}
	memset(guest.mem, 0, MEM_BYTES);
	return 0;
}

int front_connect(struct front *f, const char *path, struct msb_err *e)
{
	int r;

	*f = (struct front){.sock = -1};
	for (int i = 0; i < RINGS; i++) {
		f->ring[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		f->ring[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	r = guest.fronts == FRONTS ? msb_err_set(e, ENOSPC, "too many front ends") : make_guest(e);
	if (r < 0)
		return r;
	f->mem = guest.mem;
	lay_out(f);
	guest.fronts++;
	f->sock = connect_to(path);
	if (f->sock < 0)
		return msb_err_set(e, -f->sock, "%s: %s", path, strerror(-f->sock));
	r = handshake(f);
	return r < 0 ? msb_err_set(e, -r, "%s: handshake: %s", path, strerror(-r)) : 0;
}

void front_done(struct front *f)
{
	cleanup_close_(&f->sock);
	for (int i = 0; i < RINGS; i++) {
		cleanup_close_(&f->ring[i].kick);
		cleanup_close_(&f->ring[i].call);
	}
}

uint8_t *slot_page(const struct slot *s, unsigned int n)
{
	return s->data + n * 37 % SLOT_PAGES * PAGE; /* a permutation without neighbours */
}

/* One descriptor; true data pages get one each. */
static unsigned int add(struct front *f, const struct slot *s, unsigned int k, const void *p,
	uint32_t n, uint16_t flags)
{
	if (n == 0)
		return k;
	s->table[k] =
		(struct vring_desc){gpa(f, p), n, flags | VRING_DESC_F_NEXT, (uint16_t)(k + 1)};
	return k + 1;
}

static unsigned int add_data(
	struct front *f, const struct slot *s, unsigned int k, uint32_t bytes, uint16_t flags)
{
	for (unsigned int i = 0; bytes; i++) {
		uint32_t n = bytes < PAGE ? bytes : PAGE;

		k = add(f, s, k, slot_page(s, i), n, flags);
		bytes -= n;
	}
	return k;
}

void front_post(struct front *f, unsigned int q, struct slot *s, const struct shape *shape)
{
	struct ring *g = &f->ring[q];
	uint16_t id = (uint16_t)(s - f->slot);
	unsigned int k = add(f, s, 0, s->in, sizeof(*s->in), 0);
	struct timespec t;

	s->in->len = (uint32_t)sizeof(*s->in) + shape->args + shape->data;
	k = add(f, s, k, s->args, shape->args, 0);
	k = add_data(f, s, k, shape->data, 0);
	if (q != 0) /* FORGET has no reply */
		k = add(f, s, k, s->out, sizeof(*s->out), VRING_DESC_F_WRITE);
	k = add(f, s, k, s->reply, shape->reply, VRING_DESC_F_WRITE);
	k = add_data(f, s, k, shape->reply_data, VRING_DESC_F_WRITE);
	s->table[k - 1].flags &= (uint16_t)~VRING_DESC_F_NEXT;
	s->table[k - 1].next = 0;
	g->desc[id] = (struct vring_desc){gpa(f, s->table), k * (uint32_t)sizeof(struct vring_desc),
		VRING_DESC_F_INDIRECT, 0};
	clock_gettime(CLOCK_MONOTONIC, &t);
	s->since_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	g->avail->ring[g->posted++ % RING_NUM] = id;
	__atomic_store_n(&g->avail->idx, g->posted, __ATOMIC_RELEASE);
}

/* virtio 1.2, 2.7.7: the index words behind the other side's ring. */
static uint16_t *used_event(const struct ring *g)
{
	return &g->avail->ring[RING_NUM];
}

static uint16_t avail_event(const struct ring *g)
{
	return __atomic_load_n((uint16_t *)(void *)&g->used->ring[RING_NUM], __ATOMIC_RELAXED);
}

void front_kick(struct front *f, unsigned int q)
{
	struct ring *g = &f->ring[q];

	atomic_thread_fence(memory_order_seq_cst);
	if (vring_need_event(avail_event(g), g->posted, g->kicked))
		(void)eventfd_write(g->kick, 1);
	g->kicked = g->posted;
}

static bool any_used(const struct ring *g)
{
	return __atomic_load_n(&g->used->idx, __ATOMIC_ACQUIRE) != g->seen;
}

static void silent(void)
{
	(void)fprintf(stderr, "vufs: the device does not answer\n");
	exit(1);
}

static void sleep_until_used(struct ring *g)
{
	while (!any_used(g)) {
		struct pollfd p = {g->call, POLLIN, 0};
		eventfd_t n;

		__atomic_store_n(used_event(g), g->seen, __ATOMIC_SEQ_CST);
		atomic_thread_fence(memory_order_seq_cst);
		if (any_used(g))
			break;
		if (poll(&p, 1, SILENCE_MS) <= 0)
			silent();
		(void)!read(g->call, &n, sizeof(n));
	}
}

static void spin_until_used(struct ring *g)
{
	for (uint64_t i = 0; !any_used(g); i++) {
		__builtin_ia32_pause();
		if (i == 1ull << 34)
			silent();
	}
}

struct slot *front_reap(struct front *f, unsigned int q, bool wait)
{
	struct ring *g = &f->ring[q];

	if (!any_used(g)) {
		if (!wait)
			return NULL;
		if (f->spin) {
			__atomic_store_n(used_event(g), (uint16_t)(g->seen - 1), __ATOMIC_RELAXED);
			spin_until_used(g);
		} else {
			sleep_until_used(g);
		}
	}
	return &f->slot[g->used->ring[g->seen++ % RING_NUM].id % SLOTS];
}
