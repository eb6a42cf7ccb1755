// SPDX-License-Identifier: Apache-2.0
// vhost-user, device side: rings, when they run and how.
#include "fs/vhost_user_priv.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <sys/eventfd.h>

int vu_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static void queue_stop(struct vu_dev *d, unsigned int i)
{
	struct vu_queue *q = &d->q[i];

	if (!q->running)
		return;
	d->ops->queue_stop(d, i);
	q->running = false;
	q->base = q->vq.next_avail;
}

void vu_queue_close(struct vu_queue *q)
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
	       (q->enabled || !(d->features & VU_BIT(VU_F_PROTOCOL)));
}

/* Starts the ring where all of it is known. A ring that cannot start breaks the connection. */
static int queue_try_start(struct vu_dev *d, unsigned int i)
{
	struct vu_queue *q = &d->q[i];
	int r;

	if (q->running || !queue_ready(d, q))
		return 0;
	if (d->state) /* saved or loaded state must not change meanwhile */
		return -EBUSY;
	q->layout.event_idx = d->features & VU_BIT(VIRTIO_RING_F_EVENT_IDX);
	q->layout.log = d->log.bits && d->features & VU_BIT(VHOST_F_LOG_ALL) ? &d->log : NULL;
	q->layout.log_ring = q->log_ring;
	q->layout.inflight = vu_inflight_of(d, i);
	q->layout.inflight_num = d->inflight.queue_size;
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

void vu_stop_all(struct vu_dev *d)
{
	for (unsigned int i = 0; i < d->ops->queues; i++)
		queue_stop(d, i);
}

int vu_restart_all(struct vu_dev *d)
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

int vu_set_vring_num(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num == 0 || m->state.num > VQ_MAX_SIZE)
		return -EINVAL;
	queue_stop(d, m->state.index);
	d->q[m->state.index].layout.num = (uint16_t)m->state.num;
	return queue_try_start(d, m->state.index);
}

int vu_set_vring_addr(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	struct vu_queue *q;

	if (m->addr.index >= d->ops->queues || m->addr.flags & ~VU_BIT(VHOST_VRING_F_LOG))
		return -EINVAL;
	q = &d->q[m->addr.index];
	queue_stop(d, m->addr.index);
	q->layout.desc_uaddr = m->addr.desc;
	q->layout.avail_uaddr = m->addr.avail;
	q->layout.used_uaddr = m->addr.used;
	q->layout.used_gpa = m->addr.log;
	q->log_ring = m->addr.flags & VU_BIT(VHOST_VRING_F_LOG);
	q->have_addr = true;
	return queue_try_start(d, m->addr.index);
}

int vu_set_vring_base(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num > UINT16_MAX)
		return -EINVAL;
	queue_stop(d, m->state.index);
	d->q[m->state.index].base = (uint16_t)m->state.num;
	return queue_try_start(d, m->state.index);
}

int vu_get_vring_base(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	struct vu_queue *q;

	if (m->state.index >= d->ops->queues)
		return -EINVAL;
	q = &d->q[m->state.index];
	queue_stop(d, m->state.index);
	vu_queue_close(q); /* a stopped ring starts again with a new kick descriptor only */
	q->have_addr = false;
	m->state.num = q->base;
	return 0;
}

/* Kick, call and err: index in the low byte, NO_FD where none comes along. */
int vu_set_vring_fd(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	unsigned int i = m->u64 & VU_VRING_INDEX_MASK;
	bool none = m->u64 & VU_NO_FD;
	struct vu_queue *q;
	int *slot;

	if (i >= d->ops->queues || m->u64 > (VU_VRING_INDEX_MASK | VU_NO_FD) ||
		nfds != (none ? 0 : 1))
		return -EINVAL;
	q = &d->q[i];
	slot = m->request == VU_SET_VRING_KICK	 ? &q->kick_fd
	       : m->request == VU_SET_VRING_CALL ? &q->call_fd
						 : &q->err_fd;
	if (none && slot == &q->kick_fd)
		return -ENOTSUP; /* asks the device to poll for ever */
	/* Another ring may take this one's kicks, and a counter may be full. */
	if (!none && vu_nonblock(fds[0]) < 0)
		return -EINVAL;
	queue_stop(d, i);
	cleanup_close_(slot);
	*slot = none ? -1 : steal_fd(&fds[0]);
	return queue_try_start(d, i);
}

int vu_set_vring_enable(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	if (m->state.index >= d->ops->queues || m->state.num > 1)
		return -EINVAL;
	if (!m->state.num)
		queue_stop(d, m->state.index);
	d->q[m->state.index].enabled = m->state.num;
	return queue_try_start(d, m->state.index);
}
