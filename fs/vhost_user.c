// SPDX-License-Identifier: Apache-2.0
// vhost-user, device side: which messages there are, and what those that concern no ring do.
#include "fs/vhost_user_priv.h"

#include <errno.h>
#include <string.h>

#define FLAG_VERSION	  1u
#define FLAG_VERSION_MASK 3u
#define FLAG_REPLY	  4u
#define FLAG_NEED_REPLY	  8u

/* What each request carries. */
struct shape {
	uint16_t min_bytes, max_bytes;
	enum { ON_DEMAND, U64, SAME_SIZE } answer; /* by its own nature, but for ON_DEMAND */
	vu_request_fn run;
};

static uint64_t offered(const struct vu_dev *d)
{
	return d->ops->features | VU_BIT(VIRTIO_F_VERSION_1) | VU_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
	       VU_BIT(VIRTIO_RING_F_EVENT_IDX) | VU_BIT(VU_F_PROTOCOL) | VU_BIT(VHOST_F_LOG_ALL);
}

static uint64_t offered_protocol(const struct vu_dev *d)
{
	return VU_BIT(VU_PROTO_MQ) | VU_BIT(VU_PROTO_LOG_SHMFD) | VU_BIT(VU_PROTO_REPLY_ACK) |
	       VU_BIT(VU_PROTO_INFLIGHT) | VU_BIT(VU_PROTO_RESET) | VU_BIT(VU_PROTO_MEM_SLOTS) |
	       VU_BIT(VU_PROTO_STATUS) | (d->ops->get_config ? VU_BIT(VU_PROTO_CONFIG) : 0) |
	       (d->ops->save && d->ops->load ? VU_BIT(VU_PROTO_DEVICE_STATE) : 0);
}

static int get_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = offered(d);
	return 0;
}

static int set_features(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->u64 & ~offered(d))
		return -EINVAL;
	vu_stop_all(d);
	d->features = m->u64;
	return vu_restart_all(d);
}

/* SET_OWNER; and SET_LOG_FD, whose event nobody has ever waited for. */
static int nothing(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
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

static int get_config(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (!d->ops->get_config || m->config.size > sizeof(m->config.region) ||
		m->config.offset > sizeof(m->config.region) - m->config.size ||
		m->size < 12 + m->config.size)
		return -EINVAL;
	return d->ops->get_config(d, m->config.offset, m->config.region, m->config.size);
}

static void disable_all(struct vu_dev *d)
{
	vu_stop_all(d);
	for (unsigned int i = 0; i < d->ops->queues; i++)
		d->q[i].enabled = false;
}

/* Deprecated, and no reset: of all that was ever read into it, this does no harm. */
static int reset_owner(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	disable_all(d);
	return 0;
}

static int reset_device(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	vu_state_abort(d);
	disable_all(d);
	d->status = 0;
	if (d->ops->reset)
		d->ops->reset(d);
	return 0;
}

static int get_status(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	m->u64 = d->status;
	return 0;
}

/* QEMU says 0 whenever it stops the rings, be it to save the device's state next: that is no reset.
 * For that there is RESET_DEVICE. */
static int set_status(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->u64 > UINT8_MAX)
		return -EINVAL;
	if (m->u64 == 0)
		disable_all(d);
	d->status = (uint8_t)m->u64;
	return 0;
}

static const struct shape shapes[VU_REQUESTS] = {
	[VU_GET_FEATURES] = {0, 8, U64, get_features},
	[VU_SET_FEATURES] = {8, 8, ON_DEMAND, set_features},
	[VU_SET_OWNER] = {0, 8, ON_DEMAND, nothing},
	[VU_RESET_OWNER] = {0, 8, ON_DEMAND, reset_owner},
	[VU_SET_MEM_TABLE] = {8, 8 + VU_MAX_FDS * sizeof(struct vu_mem_region), ON_DEMAND,
		vu_set_mem_table},
	[VU_SET_LOG_BASE] = {16, 16, U64, vu_set_log_base},
	[VU_SET_LOG_FD] = {0, 8, ON_DEMAND, nothing},
	[VU_SET_VRING_NUM] = {8, 8, ON_DEMAND, vu_set_vring_num},
	[VU_SET_VRING_ADDR] = {40, 40, ON_DEMAND, vu_set_vring_addr},
	[VU_SET_VRING_BASE] = {8, 8, ON_DEMAND, vu_set_vring_base},
	[VU_GET_VRING_BASE] = {8, 8, U64, vu_get_vring_base},
	[VU_SET_VRING_KICK] = {8, 8, ON_DEMAND, vu_set_vring_fd},
	[VU_SET_VRING_CALL] = {8, 8, ON_DEMAND, vu_set_vring_fd},
	[VU_SET_VRING_ERR] = {8, 8, ON_DEMAND, vu_set_vring_fd},
	[VU_GET_PROTOCOL_FEATURES] = {0, 8, U64, get_protocol_features},
	[VU_SET_PROTOCOL_FEATURES] = {8, 8, ON_DEMAND, set_protocol_features},
	[VU_GET_QUEUE_NUM] = {0, 8, U64, get_queue_num},
	[VU_SET_VRING_ENABLE] = {8, 8, ON_DEMAND, vu_set_vring_enable},
	[VU_GET_CONFIG] = {12, 12 + 256, SAME_SIZE, get_config},
	/* Two 64-bit and two 16-bit numbers; QEMU sends what its compiler pads that to. */
	[VU_GET_INFLIGHT_FD] = {20, 24, SAME_SIZE, vu_get_inflight_fd},
	[VU_SET_INFLIGHT_FD] = {20, 24, ON_DEMAND, vu_set_inflight_fd},
	[VU_RESET_DEVICE] = {0, 8, ON_DEMAND, reset_device},
	[VU_GET_MAX_MEM_SLOTS] = {0, 8, U64, get_max_mem_slots},
	[VU_ADD_MEM_REG] = {40, 40, ON_DEMAND, vu_add_mem_reg},
	[VU_REM_MEM_REG] = {40, 40, ON_DEMAND, vu_rem_mem_reg},
	[VU_SET_STATUS] = {8, 8, ON_DEMAND, set_status},
	[VU_GET_STATUS] = {0, 8, U64, get_status},
	[VU_SET_DEVICE_STATE_FD] = {8, 8, U64, vu_set_device_state_fd},
	[VU_CHECK_DEVICE_STATE] = {0, 8, U64, vu_check_device_state},
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
	if (h.request < VU_REQUESTS && shapes[h.request].run &&
		(h.size < shapes[h.request].min_bytes || h.size > shapes[h.request].max_bytes))
		return -EPROTO;
	if (n < sizeof(h) + h.size)
		return 0;
	*ret = (struct vu_msg){.request = h.request, .flags = h.flags, .size = h.size, .fd = -1};
	memcpy(ret->bytes, p + sizeof(h), h.size);
	return (int)(sizeof(h) + h.size);
}

int vu_handle(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	const struct shape *s = m->request < VU_REQUESTS ? &shapes[m->request] : NULL;
	bool ack =
		(m->flags & FLAG_NEED_REPLY) && (d->protocol_features & VU_BIT(VU_PROTO_REPLY_ACK));
	int r = s && s->run ? s->run(d, m, fds, nfds) : -ENOTSUP;

	m->flags = FLAG_VERSION | FLAG_REPLY;
	if (s && s->answer != ON_DEMAND) {
		if (r < 0)
			return r;
		if (s->answer == U64)
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
	d->log = (struct gmem_log){0};
	d->inflight.at = NULL;
	d->status = 0;
	d->state = NULL;
	for (unsigned int i = 0; i < VU_MAX_QUEUES; i++)
		d->q[i] = (struct vu_queue){.kick_fd = -1, .call_fd = -1, .err_fd = -1};
}

void vu_reset(struct vu_dev *d)
{
	vu_state_abort(d);
	vu_stop_all(d);
	for (unsigned int i = 0; i < VU_MAX_QUEUES; i++)
		vu_queue_close(&d->q[i]);
	vu_unmap_all(d);
	if (d->ops->reset)
		d->ops->reset(d);
	vu_init(d, d->ops);
}
