// SPDX-License-Identifier: Apache-2.0
// Messages between processes of ours.
#include "base/msg.h"
#include "base/io.h"
#include "base/str.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct wire_head {
	uint32_t head_bytes, payload_bytes;
};
#define ROOM (MSB_MSG_MAX - sizeof(struct wire_head))

static void head_add(struct msb_msg *m, const char *key, const char *value)
{
	size_t k = strlen(key), v = value ? strlen(value) : 0, n = value ? k + 1 + v + 1 : k + 1;

	if (m->payload_bytes || m->head_bytes + n > ROOM) {
		m->oversize = true;
		return;
	}
	memcpy(m->data + m->head_bytes, key, k);
	if (value) {
		m->data[m->head_bytes + k] = '=';
		memcpy(m->data + m->head_bytes + k + 1, value, v);
	}
	m->head_bytes += (uint32_t)n;
	m->data[m->head_bytes - 1] = '\0';
}

void msb_msg_init(struct msb_msg *m, const char *verb)
{
	m->head_bytes = m->payload_bytes = 0;
	m->nfds = 0;
	m->oversize = false;
	head_add(m, verb, NULL);
}

void msb_msg_set(struct msb_msg *m, const char *key, const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&p, fmt, ap);
	va_end(ap);
	if (n < 0)
		m->oversize = true;
	else
		head_add(m, key, p);
	free(p);
}

void msb_msg_payload(struct msb_msg *m, const void *p, size_t n)
{
	if (m->head_bytes + n > ROOM) {
		m->oversize = true;
		return;
	}
	if (n)
		memcpy(m->data + m->head_bytes, p, n);
	m->payload_bytes = (uint32_t)n;
}

void msb_msg_add_fd(struct msb_msg *m, int fd)
{
	if (m->nfds == MSB_MSG_FDS)
		m->oversize = true;
	else
		m->fds[m->nfds++] = fd;
}

const char *msb_msg_verb(const struct msb_msg *m)
{
	return m->data;
}

const char *msb_msg_next(const struct msb_msg *m, const char *key, const char *prev)
{
	size_t k = strlen(key);
	const char *p = prev ? prev : m->data, *end = m->data + m->head_bytes;

	for (p += strlen(p) + 1; p < end; p += strlen(p) + 1)
		if (!strncmp(p, key, k) && p[k] == '=')
			return p + k + 1;
	return NULL;
}

const char *msb_msg_get(const struct msb_msg *m, const char *key)
{
	return msb_msg_next(m, key, NULL);
}

int msb_msg_get_u64(const struct msb_msg *m, const char *key, uint64_t *ret)
{
	const char *v = msb_msg_get(m, key);

	if (!v)
		return -ENOENT;
	return msb_parse_u64(v, 0, UINT64_MAX, ret) < 0 ? -EINVAL : 0;
}

const void *msb_msg_payload_ptr(const struct msb_msg *m)
{
	return m->data + m->head_bytes;
}

int msb_msg_take_fd(struct msb_msg *m, unsigned int index)
{
	int fd = index < m->nfds ? m->fds[index] : -1;

	if (index < m->nfds)
		m->fds[index] = -1;
	return fd;
}

void msb_msg_close_fds(struct msb_msg *m)
{
	for (unsigned int i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->nfds = 0;
}

int msb_msg_decode(struct msb_msg *m, size_t n)
{
	struct wire_head h;

	m->head_bytes = m->payload_bytes = 0;
	m->oversize = false;
	if (n < sizeof(h) || n > MSB_MSG_MAX)
		return -EBADMSG;
	memcpy(&h, m->data, sizeof(h));
	n -= sizeof(h);
	/* The head must be there, end in a NUL, and head and payload must fill the datagram
	 * exactly. */
	if (h.head_bytes == 0 || h.head_bytes > n || h.payload_bytes != n - h.head_bytes ||
		m->data[sizeof(h) + h.head_bytes - 1] != '\0')
		return -EBADMSG;
	memmove(m->data, m->data + sizeof(h), n);
	m->head_bytes = h.head_bytes;
	m->payload_bytes = h.payload_bytes;
	return 0;
}

int msb_msg_send(int sock, const struct msb_msg *m)
{
	struct wire_head h = {m->head_bytes, m->payload_bytes};
	struct iovec iov[2] = {
		{&h, sizeof(h)}, {(void *)(uintptr_t)m->data, m->head_bytes + m->payload_bytes}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * MSB_MSG_FDS)];

	if (m->oversize)
		return -E2BIG;
	if (m->nfds) {
		struct cmsghdr *c;

		memset(ctl, 0, sizeof(ctl));
		mh.msg_control = ctl;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * m->nfds);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * m->nfds);
		memcpy(CMSG_DATA(c), m->fds, sizeof(int) * m->nfds);
	}
	while (sendmsg(sock, &mh, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

int msb_msg_recv(int sock, struct msb_msg *m)
{
	struct iovec iov = {m->data, MSB_MSG_MAX};
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int) * MSB_MSG_FDS)];
	struct msghdr mh = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl,
		.msg_controllen = sizeof(ctl)};
	bool reset = false;
	ssize_t n;
	int r;

	m->nfds = 0;
	/* A peer that closes with something unread resets the socket, which is said once, and
	 * before what it had sent: its last words come after it. */
	do
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset && (reset = true))));
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		size_t k = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < k; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (m->nfds < MSB_MSG_FDS)
				m->fds[m->nfds++] = fd;
			else
				close(fd);
		}
	}
	if (n == 0) {
		msb_msg_close_fds(m);
		return -EPIPE;
	}
	r = mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EBADMSG : msb_msg_decode(m, (size_t)n);
	if (r < 0)
		msb_msg_close_fds(m);
	return r;
}

int msb_msg_call(int sock, struct msb_msg *m, int timeout_ms, struct msb_err *e)
{
	int r = msb_msg_send(sock, m);

	if (r == 0)
		r = msb_wait_fd(sock, POLLIN, timeout_ms);
	if (r < 0)
		return msb_err_set(
			e, -r, "%s", r == -EPIPE ? "the helper process ended" : strerror(-r));
	return msb_msg_answer(sock, m, e);
}

int msb_msg_answer(int sock, struct msb_msg *m, struct msb_err *e)
{
	int r = msb_msg_recv(sock, m);

	if (r < 0)
		return msb_err_set(
			e, -r, "%s", r == -EPIPE ? "the helper process ended" : strerror(-r));
	msb_msg_close_fds(m); /* no answer has any: a peer that was taken over may fill our table */
	if (!strcmp(msb_msg_verb(m), "ok"))
		return 0;
	if (strcmp(msb_msg_verb(m), "error") != 0)
		return msb_err_set(e, EBADMSG, "the helper process sent an unknown answer");
	return msb_msg_error(m, e);
}

int msb_msg_error(const struct msb_msg *m, struct msb_err *e)
{
	const char *why = msb_msg_get(m, "msg") ?: "no reason given";
	char text[MSB_ERR_MAX] = "";
	struct msb_str s = MSB_STR_FIXED(text);
	uint64_t code = 0;

	if (msb_msg_get_u64(m, "code", &code) < 0 || code == 0 || code > INT32_MAX ||
		!strerrorname_np((int)code))
		code = EIO;
	msb_str_add_printable(&s, why, strnlen(why, MSB_ERR_MAX)); /* cut on purpose */
	return msb_err_set(e, (int)code, "%s", text);
}

int msb_msg_reply_ok(int sock)
{
	struct msb_msg m;

	msb_msg_init(&m, "ok");
	return msb_msg_send(sock, &m);
}

int msb_msg_reply_err(int sock, const struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "error");
	msb_msg_set(&m, "code", "%d", e->code ? e->code : EIO);
	msb_msg_set(&m, "msg", "%s", e->code ? e->msg : strerror(EIO));
	return msb_msg_send(sock, &m);
}
