// SPDX-License-Identifier: Apache-2.0
// vhost-user: a stream of any messages, some with descriptors, on a device that starts its rings.
#include "fs/vhost_user.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool running[2];

/* Rings are walked where they are started: what the messages made of them must hold. */
static int start(struct vu_dev *d, unsigned int i)
{
	static struct vq_elem e;

	if (running[i])
		abort();
	running[i] = true;
	for (int k = 0; k < 64 && vq_pop(&d->q[i].vq, &e) == 1; k++) {
		for (unsigned int n = 0; n < e.n_in; n++)
			memset(e.iov[e.n_out + n].iov_base, 1, e.iov[e.n_out + n].iov_len & 0xff);
		vq_push(&d->q[i].vq, e.head, 0);
	}
	return 0;
}

static void stop(struct vu_dev *d, unsigned int i)
{
	if (!running[i])
		abort();
	running[i] = false;
}

static int config(struct vu_dev *d, uint32_t offset, void *buf, uint32_t bytes)
{
	memset(buf, 0, bytes);
	return 0;
}

static const struct vu_ops ops = {
	.queues = 2, .queue_start = start, .queue_stop = stop, .get_config = config};

/* Input: messages, each after one byte that says what comes with it: the low bits how many
 * descriptors, the high bit whether memory or events. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int memfd = -1;
	struct vu_dev d;

	if (memfd < 0) {
		memfd = memfd_create("guest", MFD_CLOEXEC);
		if (memfd < 0 || ftruncate(memfd, 1 << 16) < 0)
			abort();
	}
	vu_init(&d, &ops);
	while (size > 1) {
		unsigned int nfds = data[0] & 7;
		bool memory = data[0] & 0x80;
		int fds[VU_MAX_FDS], n, r;
		struct vu_msg m;

		data++;
		size--;
		n = vu_parse(data, size, &m);
		if (n <= 0)
			break;
		for (unsigned int i = 0; i < nfds; i++)
			fds[i] =
				memory ? fcntl(memfd, F_DUPFD_CLOEXEC, 3) : eventfd(0, EFD_CLOEXEC);
		r = vu_handle(&d, &m, fds, nfds);
		for (unsigned int i = 0; i < nfds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		if (r > 0 && m.size > VU_MAX_PAYLOAD)
			abort();
		if (r < 0)
			break;
		data += n;
		size -= (size_t)n;
	}
	vu_reset(&d);
	if (running[0] || running[1] || d.mem.n)
		abort();
	return 0;
}
