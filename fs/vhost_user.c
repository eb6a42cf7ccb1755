// SPDX-License-Identifier: Apache-2.0
// vhost-user, device side: what each message does.
#include "fs/vhost_user.h"
#include "base/cleanup.h"

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	GET_QUEUE_NUM = 17,
	SET_VRING_ENABLE = 18,
	GET_CONFIG = 24,
	RESET_DEVICE = 34,
	GET_MAX_MEM_SLOTS = 36,
	ADD_MEM_REG = 37,
	REM_MEM_REG = 38,
	REQUESTS = 39,
};

#define FLAG_VERSION	  1u
#define FLAG_VERSION_MASK 3u
#define FLAG_REPLY	  4u
#define FLAG_NEED_REPLY	  8u

#define F_PROTOCOL	30 /* VHOST_USER_F_PROTOCOL_FEATURES */
#define PROTO_MQ	0
#define PROTO_REPLY_ACK 3
#define PROTO_CONFIG	9
#define PROTO_RESET	13
#define PROTO_MEM_SLOTS 15

#define VRING_INDEX_MASK 0xffu
#define VRING_NO_FD	 0x100u

#define BIT(n) (1ULL << (n))

/* What each request carries. */
struct shape {
	uint16_t min_bytes, max_bytes;
	bool answers; /* by its own nature, whatever NEED_REPLY says */
	int (*run)(struct vu_dev *, struct vu_msg *, int *fds, unsigned int nfds);
};

static uint64_t offered(const struct vu_dev *d)
{
	return d->ops->features | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) |
	       BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(F_PROTOCOL);
}

static uint64_t offered_protocol(const struct vu_dev *d)
{
	return BIT(PROTO_MQ) | BIT(PROTO_REPLY_ACK) | BIT(PROTO_RESET) | BIT(PROTO_MEM_SLOTS) |
	       (d->ops->get_config ? BIT(PROTO_CONFIG) : 0);
}

/* ---- rings */

static void queue_stop(struct vu_dev *d, unsigned int i)
{
	struct vu_queue *q = &d->q[i];

	if (!q->running)
		return;
	d->ops->queue_stop(d, i);
	q->running = false;
	q->base = q->vq.next_avail;
}

static void queue_close(struct vu_queue *q)
{
	cleanup_close_(&q->kick_fd);
	cleanup_close_(&q->call_fd);
	cleanup_close_(&q->err_fd);
	q->kick_fd = q->call_fd = q->err_fd = -1;
}

static bool queue_ready(const struct vu_dev *d, const struct vu_queue *q)
{
	/* Without protocol features there is no ENABLE: a kick descriptor is all. */
	return q->have_addr && q->kick_fd >= 0 && q->layout.num &&
	       (q->enabled || !(d->features & BIT(F_PROTOCOL)));
}

/* Starts the ring where all of it is known. A ring that cannot start breaks the connection. */
static int queue_try_start(struct vu_dev *d, unsigned int i)
{
	struct vu_queue *q = &d->q[i];
	int r;

	if (q->running || !queue_ready(d, q))
		return 0;
	q->layout.event_idx = d->features & BIT(VIRTIO_RING_F_EVENT_IDX);
	r = vq_start(&q->vq, &d->mem, &q->layout, q->base);
	if (r < 0)
		return r;
	r = d->ops->queue_start(d, i);
	if (r < 0)
		return r;
	q->running = true;
	/* Completions may have gone to a call descriptor that was replaced: one call too many does
	 * no harm. */
	if (q->call_fd >= 0)
		(void)eventfd_write(q->call_fd, 1);
	return 0;
}

static void stop_all(struct vu_dev *d)
{
	for (unsigned int i = 0; i < d->ops->queues; i++)
		queue_stop(d, i);
}

static int restart_all(struct vu_dev *d)
{
	for (unsigned int i = 0; i < d->ops->queues; i++) {
		int r = queue_try_start(d, i);

		if (r < 0)
			return r;
	}
	return 0;
}

void vu_call(struct vu_queue *q)
{
	if (q->call_fd >= 0 && vq_need_call(&q->vq))
		(void)eventfd_write(q->call_fd, 1); /* full counter: the guest is called already */
}

/* ---- memory */

static void unmap_region(const struct gmem_region *r)
{
	size_t lead = (uintptr_t)r->host & 4095;

	munmap(r->host - lead, r->bytes + lead);
}

static void unmap_all(struct vu_dev *d)
{
	for (unsigned int i = 0; i < d->mem.n; i++)
		unmap_region(&d->mem.r[i]);
	d->mem.n = 0;
}

static int map_region(struct vu_dev *d, const struct vu_mem_region *w, int fd)
{
	struct gmem_region r = {.gpa = w->gpa, .uaddr = w->uaddr, .bytes = w->bytes};
	uint64_t lead = w->mmap_offset & 4095;
	struct stat st;
	uint8_t *p;
	int e;

	/* A mapping past the file's end would fault with SIGBUS at a touch. */
	if (w->bytes == 0 || w->bytes > VU_MAX_MEM || w->mmap_offset > INT64_MAX - VU_MAX_MEM)
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < w->mmap_offset + w->bytes)
		return -EINVAL;
	p = mmap(NULL, w->bytes + lead, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
		(off_t)(w->mmap_offset - lead));
	if (p == MAP_FAILED)
		return -errno;
	r.host = p + lead;
	e = gmem_add(&d->mem, &r);
	if (e < 0)
		munmap(p, w->bytes + lead);
	return e;
}

/* ---- one function a request: 0, or -errno */

static int get_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = offered(d);
	return 0;
}

static int set_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->u64 & ~offered(d))
		return -EINVAL;
	stop_all(d);
	d->features = m->u64;
	return restart_all(d);
}

static int set_owner(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	return 0;
}

static int get_protocol_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = offered_protocol(d);
	return 0;
}

static int set_protocol_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->u64 & ~offered_protocol(d))
		return -EINVAL;
	d->protocol_features = m->u64;
	return 0;
}

static int get_queue_num(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = d->ops->queues;
	return 0;
}

static int get_max_mem_slots(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = GMEM_MAX_REGIONS;
	return 0;
}

static int set_mem_table(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->mem.n == 0 || m->mem.n > VU_MAX_FDS || m->mem.n != nfds ||
		m->size < 8 + m->mem.n * sizeof(m->mem.r[0]))
		return -EINVAL;
	stop_all(d);
	unmap_all(d);
	for (unsigned int i = 0; i < m->mem.n; i++) {
		int r = map_region(d, &m->mem.r[i], fds[i]);

		if (r < 0)
			return r;
	}
	return restart_all(d);
}

static int add_mem_reg(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	int r;

	if (nfds != 1)
		return -EINVAL;
	stop_all(d);
	r = map_region(d, &m->mem_one.r, fds[0]);
	return r < 0 ? r : restart_all(d);
}

static int rem_mem_reg(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	const struct vu_mem_region *w = &m->mem_one.r;
	struct gmem_region r;
	int e;

	stop_all(d);
	e = gmem_del(&d->mem, w->gpa, w->uaddr, w->bytes, &r);
	if (e < 0)
		return e;
	unmap_region(&r);
	return restart_all(d);
}

static int set_vring_num(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num == 0 || m->state.num > VQ_MAX_SIZE)
		return -EINVAL;
	queue_stop(d, m->state.index);
	d->q[m->state.index].layout.num = (uint16_t)m->state.num;
	return queue_try_start(d, m->state.index);
}

static int set_vring_addr(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	struct vu_queue *q;

	if (m->addr.index >= d->ops->queues)
		return -EINVAL;
	q = &d->q[m->addr.index];
	queue_stop(d, m->addr.index);
	q->layout.desc_uaddr = m->addr.desc;
	q->layout.avail_uaddr = m->addr.avail;
	q->layout.used_uaddr = m->addr.used;
	q->have_addr = true;
	return queue_try_start(d, m->addr.index);
}

static int set_vring_base(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num > UINT16_MAX)
		return -EINVAL;
	queue_stop(d, m->state.index);
	d->q[m->state.index].base = (uint16_t)m->state.num;
	return queue_try_start(d, m->state.index);
}

static int get_vring_base(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	struct vu_queue *q;

	if (m->state.index >= d->ops->queues)
		return -EINVAL;
	q = &d->q[m->state.index];
	queue_stop(d, m->state.index);
	queue_close(q); /* a stopped ring starts again with a new kick descriptor only */
	q->have_addr = false;
	m->state.num = q->base;
	return 0;
}

/* Kick, call and err: index in the low byte, NO_FD where none comes along. */
static int set_vring_fd(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	unsigned int i = m->u64 & VRING_INDEX_MASK;
	bool none = m->u64 & VRING_NO_FD;
	struct vu_queue *q;
	int *slot;

	if (i >= d->ops->queues || m->u64 > (VRING_INDEX_MASK | VRING_NO_FD) ||
		nfds != (none ? 0 : 1))
		return -EINVAL;
	q = &d->q[i];
	slot = m->request == SET_VRING_KICK   ? &q->kick_fd
	       : m->request == SET_VRING_CALL ? &q->call_fd
					      : &q->err_fd;
	if (none && slot == &q->kick_fd)
		return -ENOTSUP; /* asks the device to poll for ever */
	queue_stop(d, i);
	cleanup_close_(slot);
	*slot = none ? -1 : steal_fd(&fds[0]);
	return queue_try_start(d, i);
}

static int set_vring_enable(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num > 1)
		return -EINVAL;
	if (!m->state.num)
		queue_stop(d, m->state.index);
	d->q[m->state.index].enabled = m->state.num;
	return queue_try_start(d, m->state.index);
}

static int get_config(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (!d->ops->get_config || m->config.size > sizeof(m->config.region) ||
		m->config.offset > sizeof(m->config.region) - m->config.size ||
		m->size < 12 + m->config.size)
		return -EINVAL;
	return d->ops->get_config(d, m->config.offset, m->config.region, m->config.size);
}

static int reset_device(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	for (unsigned int i = 0; i < d->ops->queues; i++) {
		queue_stop(d, i);
		d->q[i].enabled = false;
	}
	if (d->ops->reset)
		d->ops->reset(d);
	return 0;
}

static const struct shape shapes[REQUESTS] = {
	[GET_FEATURES] = {0, 8, true, get_features},
	[SET_FEATURES] = {8, 8, false, set_features},
	[SET_OWNER] = {0, 8, false, set_owner},
	[RESET_OWNER] = {0, 8, false, reset_device},
	[SET_MEM_TABLE] = {8, 8 + VU_MAX_FDS * sizeof(struct vu_mem_region), false, set_mem_table},
	[SET_VRING_NUM] = {8, 8, false, set_vring_num},
	[SET_VRING_ADDR] = {40, 40, false, set_vring_addr},
	[SET_VRING_BASE] = {8, 8, false, set_vring_base},
	[GET_VRING_BASE] = {8, 8, true, get_vring_base},
	[SET_VRING_KICK] = {8, 8, false, set_vring_fd},
	[SET_VRING_CALL] = {8, 8, false, set_vring_fd},
	[SET_VRING_ERR] = {8, 8, false, set_vring_fd},
	[GET_PROTOCOL_FEATURES] = {0, 8, true, get_protocol_features},
	[SET_PROTOCOL_FEATURES] = {8, 8, false, set_protocol_features},
	[GET_QUEUE_NUM] = {0, 8, true, get_queue_num},
	[SET_VRING_ENABLE] = {8, 8, false, set_vring_enable},
	[GET_CONFIG] = {12, 12 + 256, true, get_config},
	[RESET_DEVICE] = {0, 8, false, reset_device},
	[GET_MAX_MEM_SLOTS] = {0, 8, true, get_max_mem_slots},
	[ADD_MEM_REG] = {40, 40, false, add_mem_reg},
	[REM_MEM_REG] = {40, 40, false, rem_mem_reg},
};

int vu_parse(const uint8_t *p, size_t n, struct vu_msg *ret)
{
	struct {
		uint32_t request, flags, size;
	} h;
	_Static_assert(sizeof(h) == VU_HEADER_BYTES, "vhost-user header");

	if (n < sizeof(h))
		return 0;
	memcpy(&h, p, sizeof(h));
	if ((h.flags & FLAG_VERSION_MASK) != FLAG_VERSION || (h.flags & FLAG_REPLY) ||
		h.size > VU_MAX_PAYLOAD)
		return -EPROTO;
	if (h.request < REQUESTS && shapes[h.request].run &&
		(h.size < shapes[h.request].min_bytes || h.size > shapes[h.request].max_bytes))
		return -EPROTO;
	if (n < sizeof(h) + h.size)
		return 0;
	*ret = (struct vu_msg){.request = h.request, .flags = h.flags, .size = h.size};
	memcpy(ret->bytes, p + sizeof(h), h.size);
	return (int)(sizeof(h) + h.size);
}

int vu_handle(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	const struct shape *s = m->request < REQUESTS ? &shapes[m->request] : NULL;
	bool ack = (m->flags & FLAG_NEED_REPLY) && (d->protocol_features & BIT(PROTO_REPLY_ACK));
	int r = s && s->run ? s->run(d, m, fds, nfds) : -ENOTSUP;

	m->flags = FLAG_VERSION | FLAG_REPLY;
	if (s && s->answers) {
		if (r < 0)
			return r;
		if (m->request != GET_CONFIG)
			m->size = 8;
		return 1;
	}
	if (!ack)
		return r < 0 ? r : 0;
	m->size = 8;
	m->u64 = r < 0 ? (uint64_t)-r : 0;
	return 1;
}

void vu_init(struct vu_dev *d, const struct vu_ops *ops)
{
	d->ops = ops;
	d->features = d->protocol_features = 0;
	d->mem.n = 0;
	for (unsigned int i = 0; i < VU_MAX_QUEUES; i++)
		d->q[i] = (struct vu_queue){.kick_fd = -1, .call_fd = -1, .err_fd = -1};
}

void vu_reset(struct vu_dev *d)
{
	stop_all(d);
	for (unsigned int i = 0; i < VU_MAX_QUEUES; i++)
		queue_close(&d->q[i]);
	unmap_all(d);
	if (d->ops->reset)
		d->ops->reset(d);
	vu_init(d, d->ops);
}
