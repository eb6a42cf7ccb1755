// SPDX-License-Identifier: Apache-2.0
// vhost-user: a stream of any messages, some with descriptors, on a device that starts its rings.
#include "fs/vhost_user.h"

#include <fcntl.h>
#include <signal.h>
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
		vq_push(&d->q[i].vq, &e, 0);
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

static int save(struct vu_dev *d, int fd)
{
	if (running[0] || running[1])
		abort();
	return write(fd, "state", 5) == 5 ? 0 : -1;
}

static int load(struct vu_dev *d, int fd)
{
	char buf[64];

	if (running[0] || running[1])
		abort();
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	return 0;
}

static const struct vu_ops ops = {.queues = 2,
	.queue_start = start,
	.queue_stop = stop,
	.get_config = config,
	.save = save,
	.load = load};

/* A descriptor as the bits of @what say: memory, one end of a pipe whose other end is closed, or an
 * event. */
static int descriptor(int memfd, uint8_t what)
{
	int p[2];

	if (what & 0x80)
		return fcntl(memfd, F_DUPFD_CLOEXEC, 3);
	if (!(what & 0x40))
		return eventfd(0, EFD_CLOEXEC);
	if (pipe2(p, O_CLOEXEC) < 0)
		abort();
	close(p[what >> 5 & 1]);
	return p[~what >> 5 & 1];
}

/* Input: messages, each after one byte that says what comes with it: the low bits how many
 * descriptors, the high bits of which kind. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int memfd = -1;
	struct vu_dev d;

	if (memfd < 0) {
		(void)signal(SIGPIPE, SIG_IGN);
		memfd = memfd_create("guest", MFD_CLOEXEC);
		if (memfd < 0 || ftruncate(memfd, 1 << 16) < 0)
			abort();
	}
	vu_init(&d, &ops);
	while (size > 1) {
		unsigned int nfds = data[0] & 7;
		uint8_t what = data[0];
		int fds[VU_MAX_FDS], n, r;
		struct vu_msg m;

		data++;
		size--;
		n = vu_parse(data, size, &m);
		if (n <= 0)
			break;
		for (unsigned int i = 0; i < nfds; i++)
			fds[i] = descriptor(memfd, what);
		r = vu_handle(&d, &m, fds, nfds);
		for (unsigned int i = 0; i < nfds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		if (m.fd >= 0)
			close(m.fd);
		if (r > 0 && m.size > VU_MAX_PAYLOAD)
			abort();
		if (r < 0)
			break;
		data += n;
		size -= (size_t)n;
	}
	vu_reset(&d);
	if (running[0] || running[1] || d.mem.n || d.log.bits || d.inflight.at || d.state)
		abort();
	return 0;
}
