// SPDX-License-Identifier: Apache-2.0
// vhost-user, device side: one connection, from its first byte to its end.
#include "fs/vhost_user.h"
#include "base/cleanup.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

struct conn {
	int sock, stop_fd;
	size_t n;
	uint8_t buf[VU_HEADER_BYTES + VU_MAX_PAYLOAD];
	unsigned int nfds;
	int fds[VU_MAX_FDS]; /* of the message being assembled */
};

static void close_fds(struct conn *c)
{
	for (unsigned int i = 0; i < c->nfds; i++)
		cleanup_close_(&c->fds[i]);
	c->nfds = 0;
}

static int keep_fds(struct conn *c, struct msghdr *mh)
{
	int r = mh->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *m = CMSG_FIRSTHDR(mh); m; m = CMSG_NXTHDR(mh, m)) {
		size_t k = (m->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < k; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + i * sizeof(int), sizeof(fd));
			if (c->nfds < VU_MAX_FDS) {
				c->fds[c->nfds++] = fd;
			} else {
				close(fd);
				r = -EPROTO;
			}
		}
	}
	return r;
}

/* Reads up to @want bytes more. 1, 0 at the end, -errno. */
static int receive(struct conn *c, size_t want)
{
	struct iovec iov = {c->buf + c->n, want};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * VU_MAX_FDS)];
	struct msghdr mh = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl,
		.msg_controllen = sizeof(ctl)};
	struct pollfd p[2] = {{c->sock, POLLIN, 0}, {c->stop_fd, POLLIN, 0}};
	ssize_t got;

	while (poll(p, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	if (p[1].revents)
		return 0;
	got = recvmsg(c->sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : errno == ECONNRESET ? 0 : -errno;
	if (got == 0)
		return 0;
	c->n += (size_t)got;
	return keep_fds(c, &mh) < 0 ? -EPROTO : 1;
}

/* Sends @m and its descriptor. */
static int answer(int sock, struct vu_msg *m)
{
	struct iovec iov[2] = {{m, VU_HEADER_BYTES}, {m->bytes, m->size}};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t w;

	if (m->fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = ctl;
		mh.msg_controllen = sizeof(ctl);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &m->fd, sizeof(int));
	}
	/* A front end waits for each answer; one that lets them pile up is not one, and must not
	 * hold us. */
	w = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (w < 0)
		return -errno;
	return (size_t)w == VU_HEADER_BYTES + m->size ? 0 : -EAGAIN;
}

int vu_serve(struct vu_dev *d, int sock, int stop_fd, struct msb_err *e)
{
	struct conn c = {.sock = sock, .stop_fd = stop_fd};
	struct vu_msg m;
	int r;

	for (;;) {
		/* Never read past one message: descriptors belong to the bytes they came with. */
		size_t want = VU_HEADER_BYTES - c.n;

		r = vu_parse(c.buf, c.n, &m);
		if (r > 0) {
			c.n = 0;
			r = vu_handle(d, &m, c.fds, c.nfds);
			close_fds(&c);
			if (r > 0)
				r = answer(sock, &m);
			cleanup_close_(&m.fd);
			if (r < 0) {
				(void)msb_err_set(e, -r, "vhost-user request %u failed: %s",
					m.request, strerror(-r));
				break;
			}
			continue;
		}
		if (r == 0 && c.n >= VU_HEADER_BYTES) {
			uint32_t size;

			memcpy(&size, c.buf + 8, sizeof(size)); /* at most VU_MAX_PAYLOAD: parsed */
			want = VU_HEADER_BYTES + size - c.n;
		}
		if (r == 0)
			r = receive(&c, want);
		if (r < 0)
			(void)msb_err_set(e, -r, "vhost-user: %s", strerror(-r));
		if (r <= 0)
			break;
	}
	close_fds(&c);
	vu_reset(d);
	return r;
}
