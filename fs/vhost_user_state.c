// SPDX-License-Identifier: Apache-2.0
/*
 * vhost-user, device side: the device's own state, on its way to or from the front end.
 *
 * Theory of operation. The device writes or reads a pipe of ours, on a thread, as it likes. A
 * second thread carries bytes between that pipe and the front end's descriptor, never waiting for
 * one of them alone: it can be told to end, and then closes its end of the pipe, which ends the
 * device's part too. So a front end that stops reading, or never writes, holds up nothing.
 *
 * By the protocol the front end closes its end, or has seen ours closed, before it asks how it
 * went: a transfer that would have to wait then is one that failed.
 */
#include "fs/vhost_user_priv.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#define CARRY_BYTES (64u << 10)

enum { SAVE, LOAD };

struct vu_state {
	struct vu_dev *d;
	bool load;
	int from, to;	/* the carrier's ends */
	int device_end; /* the device's end of the pipe */
	int wake_fd;
	_Atomic bool hurry; /* nothing more is to be waited for */
	_Atomic bool failed;
	int result; /* of the device; after its thread has ended */
	pthread_t device, carrier;
	bool have_device, have_carrier;
};

static void *device_main(void *arg)
{
	struct vu_state *s = arg;
	const struct vu_ops *o = s->d->ops;

	s->result = s->load ? o->load(s->d, s->device_end) : o->save(s->d, s->device_end);
	cleanup_close_(&s->device_end);
	return NULL;
}

/* Waits for @fd. Whether it is ready; false: it is not, and must not be waited for. */
static bool ready(const struct vu_state *s, int fd, short events)
{
	struct pollfd p[2] = {{fd, events, 0}, {s->wake_fd, POLLIN, 0}};
	bool hurry;

	do {
		/* The device is not slow on purpose: what waits for its end of the pipe waits. */
		bool device = s->load == (events == POLLOUT);

		hurry = atomic_load(&s->hurry);
		if (poll(p, hurry ? 1 : 2, hurry && !device ? 0 : -1) < 0 && errno != EINTR)
			return false;
	} while (!p[0].revents && !hurry);
	return p[0].revents;
}

/* Carries everything. 0 or -errno. */
static int carry(struct vu_state *s, uint8_t *buf)
{
	while (!atomic_load(&s->failed)) {
		size_t n, done = 0;
		ssize_t got = read(s->from, buf, CARRY_BYTES);

		if (got == 0)
			return 0;
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (got < 0 && !ready(s, s->from, POLLIN))
			return -ETIMEDOUT;
		n = got < 0 ? 0 : (size_t)got;
		while (done < n) {
			ssize_t put = write(s->to, buf + done, n - done);

			if (put < 0 && errno != EAGAIN && errno != EINTR)
				return -errno;
			if (put < 0 && !ready(s, s->to, POLLOUT))
				return -ETIMEDOUT;
			done += put < 0 ? 0 : (size_t)put;
		}
	}
	return -ECANCELED;
}

static void *carrier_main(void *arg)
{
	struct vu_state *s = arg;
	_cleanup_free_ uint8_t *buf = malloc(CARRY_BYTES);

	if (!buf || carry(s, buf) < 0)
		atomic_store(&s->failed, true);
	cleanup_close_(&s->from);
	cleanup_close_(&s->to);
	return NULL;
}

/* Ends both threads and frees. How it went. */
static int finish(struct vu_state *s, bool give_up)
{
	int r;

	if (give_up)
		atomic_store(&s->failed, true);
	atomic_store(&s->hurry, true);
	(void)eventfd_write(s->wake_fd, 1);
	if (s->have_carrier) {
		pthread_join(s->carrier, NULL);
	} else {
		cleanup_close_(&s->from);
		cleanup_close_(&s->to);
	}
	if (s->have_device)
		pthread_join(s->device, NULL);
	else
		cleanup_close_(&s->device_end);
	r = atomic_load(&s->failed) ? -EIO : s->result;
	cleanup_close_(&s->wake_fd);
	free(s);
	return r;
}

void vu_state_abort(struct vu_dev *d)
{
	if (d->state)
		(void)finish(d->state, true);
	d->state = NULL;
}

/* Takes over @fd. */
static int start(struct vu_dev *d, bool load, int fd)
{
	struct vu_state *s = calloc(1, sizeof(*s));
	int p[2], r;

	if (!s || pipe2(p, O_CLOEXEC) < 0) {
		r = s ? -errno : -ENOMEM;
		free(s);
		close(fd);
		return r;
	}
	s->d = d;
	s->load = load;
	s->from = load ? fd : p[0];
	s->to = load ? p[1] : fd;
	s->device_end = load ? p[0] : p[1];
	s->wake_fd = eventfd(0, EFD_CLOEXEC);
	r = s->wake_fd < 0 ? -errno : vu_nonblock(s->from);
	if (r == 0)
		r = vu_nonblock(s->to);
	if (r == 0) {
		r = -pthread_create(&s->device, NULL, device_main, s);
		s->have_device = r == 0;
	}
	if (r == 0) {
		r = -pthread_create(&s->carrier, NULL, carrier_main, s);
		s->have_carrier = r == 0;
	}
	if (r < 0)
		(void)finish(s, true);
	else
		d->state = s;
	return r;
}

int vu_set_device_state_fd(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	struct stat st;
	int r = 0;

	if (nfds != 1 || m->transfer.direction > LOAD || m->transfer.phase != 0 || !d->ops->save ||
		!d->ops->load || d->state)
		r = -EINVAL;
	for (unsigned int i = 0; i < d->ops->queues; i++)
		if (d->q[i].running)
			r = -EBUSY;
	/* What ends, and can be waited for. */
	if (r == 0 && (fstat(fds[0], &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))))
		r = -EINVAL;
	if (r == 0)
		r = start(d, m->transfer.direction == LOAD, steal_fd(&fds[0]));
	m->u64 = VU_NO_FD | (r < 0 ? 1 : 0);
	return 0;
}

int vu_check_device_state(struct vu_dev *d, struct vu_msg *m, int *fds, unsigned int nfds)
{
	int r = d->state ? finish(d->state, false) : -EINVAL;

	d->state = NULL;
	m->u64 = r < 0 ? 1 : 0;
	return 0;
}
