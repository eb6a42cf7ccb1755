// SPDX-License-Identifier: Apache-2.0
// plugin: one connection, its requests under way, and its end.
#include "fs/backends/plugin/conn.h"
#include "base/cleanup.h"
#include "fs/fuse_iov.h"

#include <poll.h>
#include <string.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_PIECES 64 /* of one system call */

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t deadline_of(const struct plug_conn *c)
{
	return now_ns() + c->timeout_ms * 1000000LL;
}

/* Waits for a change. False: the time is over. */
static bool wait_until(struct plug_conn *c, int64_t deadline)
{
	const struct timespec t = {
		.tv_sec = deadline / 1000000000, .tv_nsec = deadline % 1000000000};

	return pthread_cond_timedwait(&c->changed, &c->lock, &t) != ETIMEDOUT;
}

/* ---- the state; c->lock is held */

static void unlink_call(struct plug_conn *c, struct plug_call *call)
{
	struct plug_call **p = &c->calls;

	while (*p && *p != call)
		p = &(*p)->next;
	if (*p) {
		*p = call->next;
		c->inflight--;
	}
}

static void finish(struct plug_conn *c, struct plug_call *call, int error, bool broken)
{
	unlink_call(c, call);
	call->error = error;
	call->broken = broken;
	call->filling = false;
	call->done = true;
}

static void break_locked(struct plug_conn *c, const char *why)
{
	struct plug_call *next;

	if (c->state == PLUG_BROKEN)
		return;
	c->state = PLUG_BROKEN;
	(void)snprintf(c->why, sizeof(c->why), "%s", why);
	/* Wakes the receiver; the plugin reads the end and can go. */
	(void)shutdown(c->sock, SHUT_RDWR);
	for (struct plug_call *call = c->calls; call; call = next) {
		next = call->next;
		if (!call->filling) /* else the receiver is writing into it, and ends it */
			finish(c, call, -EIO, true);
	}
	(void)pthread_cond_broadcast(&c->changed);
}

/* -EIO at @deadline too, while a plugin that starts slowly may still come. */
static int ready_locked(struct plug_conn *c, int64_t deadline)
{
	while (c->state == PLUG_STARTING) {
		if (now_ns() >= c->ready_by)
			break_locked(c, "it did not answer the greeting in time");
		else if (!wait_until(c, MIN(deadline, c->ready_by)) && now_ns() >= deadline)
			return -EIO;
	}
	return c->state == PLUG_READY ? 0 : -EIO;
}

void plug_break(struct plug_conn *c, const char *why)
{
	LOCK_SCOPE(&c->lock);
	break_locked(c, why);
}

void plug_ready(struct plug_conn *c)
{
	LOCK_SCOPE(&c->lock);
	if (c->state == PLUG_STARTING)
		c->state = PLUG_READY;
	(void)pthread_cond_broadcast(&c->changed);
}

int plug_wait_ready(struct plug_conn *c, uint32_t *ret_epoch)
{
	int r;

	LOCK_SCOPE(&c->lock);
	r = ready_locked(c, deadline_of(c));
	*ret_epoch = c->epoch;
	return r;
}

/* ---- sending */

/* The pieces of @v from byte @off on, at most MAX_PIECES. */
static unsigned int rest(struct iovec *dst, const struct iovec *v, unsigned int n, size_t off)
{
	unsigned int k = 0;

	for (unsigned int i = 0; i < n && k < MAX_PIECES; i++) {
		if (off >= v[i].iov_len) {
			off -= v[i].iov_len;
			continue;
		}
		dst[k++] = (struct iovec){(char *)v[i].iov_base + off, v[i].iov_len - off};
		off = 0;
	}
	return k;
}

static int send_all(int sock, const struct iovec *v, unsigned int n, int64_t deadline)
{
	size_t sent = 0, all = iov_bytes(v, n);

	while (sent < all) {
		struct iovec part[MAX_PIECES];
		struct msghdr m = {.msg_iov = part, .msg_iovlen = rest(part, v, n, sent)};
		ssize_t r = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r >= 0) {
			sent += (size_t)r;
		} else if (errno == EAGAIN) {
			struct pollfd p = {sock, POLLOUT, 0};
			int64_t left = deadline - now_ns();

			if (left <= 0)
				return -ETIMEDOUT;
			(void)poll(&p, 1, (int)(left / 1000000) + 1);
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* One message at a time goes out. c->lock is held, and given up meanwhile. */
static int send_locked(
	struct plug_conn *c, const struct iovec *msg, unsigned int n, int64_t deadline)
{
	uint32_t epoch = c->epoch;
	int r;

	while (c->sending && c->state != PLUG_BROKEN)
		if (!wait_until(c, deadline) && c->sending && c->epoch == epoch)
			break_locked(c, "it does not take requests in time");
	if (c->state == PLUG_BROKEN || c->epoch != epoch)
		return -EIO;
	c->sending = true;
	(void)pthread_mutex_unlock(&c->lock);
	r = send_all(c->sock, msg, n, deadline);
	(void)pthread_mutex_lock(&c->lock);
	c->sending = false;
	if (r < 0) /* part of it may have gone out */
		break_locked(
			c, r == -ETIMEDOUT ? "it does not take requests in time" : "it has ended");
	(void)pthread_cond_broadcast(&c->changed);
	return r < 0 ? -EIO : 0;
}

int plug_call_run(struct plug_conn *c, struct plug_call *call, const struct iovec *msg,
	unsigned int n, plug_number_fn number, void *arg)
{
	int64_t deadline = deadline_of(c);
	char why[sizeof(c->why)];
	int r;

	LOCK_SCOPE(&c->lock);
	r = ready_locked(c, deadline);
	while (r == 0 && c->inflight >= PLUGIN_MAX_INFLIGHT) {
		if (!wait_until(c, deadline) && c->inflight >= PLUGIN_MAX_INFLIGHT)
			return -EIO;
		r = c->state == PLUG_READY ? 0 : -EIO;
	}
	if (r < 0)
		return r;
	if (call->epoch && call->epoch != c->epoch)
		return -ESTALE;
	call->error = 0;
	call->bytes = 0;
	call->object = NULL;
	call->done = call->filling = false;
	call->id = ++c->last_id;
	number(arg, call->id);
	call->next = c->calls;
	c->calls = call;
	c->inflight++;
	(void)send_locked(c, msg, n, deadline); /* a failure has ended the call too */
	while (!call->done)
		if (!wait_until(c, deadline) && !call->done) {
			(void)snprintf(why, sizeof(why), "no answer within %u ms", c->timeout_ms);
			break_locked(c, why);
			deadline += 1000000000; /* the receiver is letting go of the call */
		}
	(void)pthread_cond_broadcast(&c->changed); /* there is room for one more */
	return call->broken ? -EIO : 0;
}

int plug_post(struct plug_conn *c, uint32_t epoch, const struct iovec *msg, unsigned int n,
	plug_number_fn number, void *arg)
{
	LOCK_SCOPE(&c->lock);
	if (c->state == PLUG_BROKEN || (epoch && epoch != c->epoch))
		return -EIO;
	number(arg, ++c->last_id);
	return send_locked(c, msg, n, deadline_of(c));
}

/* ---- receiving */

/* What came along with the bytes: one descriptor is kept, more are a mistake. */
static void take_fds(struct plug_buf *b, struct msghdr *m)
{
	for (struct cmsghdr *k = CMSG_FIRSTHDR(m); k; k = CMSG_NXTHDR(m, k)) {
		size_t n = k->cmsg_type == SCM_RIGHTS && k->cmsg_level == SOL_SOCKET
				   ? (k->cmsg_len - CMSG_LEN(0)) / sizeof(int)
				   : 0;

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(k) + i * sizeof(fd), sizeof(fd));
			if (b->fd < 0)
				b->fd = fd;
			else
				close(fd);
		}
	}
}

static ssize_t receive(struct plug_conn *c, struct plug_buf *b, struct iovec *v, unsigned int n)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
	ssize_t r;

	do {
		struct msghdr m = {.msg_iov = v,
			.msg_iovlen = n,
			.msg_control = control,
			.msg_controllen = sizeof(control)};

		r = recvmsg(c->sock, &m, MSG_CMSG_CLOEXEC);
		if (r >= 0)
			take_fds(b, &m);
	} while (r < 0 && errno == EINTR);
	return r > 0 ? r : r == 0 ? -EPIPE : -errno;
}

int plug_more(struct plug_conn *c, struct plug_buf *b)
{
	struct iovec v;
	ssize_t r;

	if (b->at && (b->at == b->end || b->end == b->cap)) {
		memmove(b->p, b->p + b->at, b->end - b->at);
		b->end -= b->at;
		b->at = 0;
	}
	if (b->end == b->cap)
		return -EMSGSIZE;
	v = (struct iovec){b->p + b->end, b->cap - b->end};
	r = receive(c, b, &v, 1);
	if (r < 0)
		return (int)r;
	b->end += (size_t)r;
	return 0;
}

int plug_need(struct plug_conn *c, struct plug_buf *b, size_t n)
{
	int r = 0;

	while (r == 0 && b->end - b->at < n)
		r = plug_more(c, b);
	return r;
}

int plug_skip(struct plug_conn *c, struct plug_buf *b, size_t n)
{
	for (;;) {
		size_t k = MIN(n, b->end - b->at);
		int r;

		b->at += k;
		n -= k;
		if (n == 0)
			return 0;
		r = plug_more(c, b);
		if (r < 0)
			return r;
	}
}

struct plug_call *plug_reply_begin(struct plug_conn *c, uint64_t id)
{
	struct plug_call *call;

	LOCK_SCOPE(&c->lock);
	for (call = c->calls; call && call->id != id; call = call->next)
		;
	if (call)
		call->filling = true;
	return call;
}

int plug_reply_data(struct plug_conn *c, struct plug_buf *b, struct plug_call *call, size_t n)
{
	size_t k = MIN(n, b->end - b->at);

	(void)iov_write(call->out, call->n_out, 0, b->p + b->at, k);
	b->at += k;
	while (k < n) {
		struct iovec part[MAX_PIECES];
		unsigned int pieces = rest(part, call->out, call->n_out, k);
		size_t room = 0;
		ssize_t r;

		/* Not past the reply: what follows is another's. */
		for (unsigned int i = 0; i < pieces; i++) {
			part[i].iov_len = MIN(part[i].iov_len, n - k - room);
			room += part[i].iov_len;
		}
		r = receive(c, b, part, pieces);
		if (r < 0)
			return (int)r;
		k += (size_t)r;
	}
	call->bytes = n;
	return 0;
}

void plug_reply_end(struct plug_conn *c, struct plug_call *call, int error)
{
	LOCK_SCOPE(&c->lock);
	finish(c, call, error, false);
	(void)pthread_cond_broadcast(&c->changed);
}

static const char *cause(int r)
{
	return r == -EPIPE || r == -ECONNRESET ? "it has ended"
	       : r == -ENOMEM		       ? "no memory for its answer"
					       : "its answer breaks the protocol";
}

void plug_reply_fail(struct plug_conn *c, struct plug_call *call, int r)
{
	LOCK_SCOPE(&c->lock);
	break_locked(c, cause(r)); /* before whoever asked can look */
	finish(c, call, -EIO, true);
	(void)pthread_cond_broadcast(&c->changed);
}

static void *reader_main(void *arg)
{
	struct plug_conn *c = arg;
	struct plug_buf b = {.p = malloc(PLUGIN_BUFFER), .cap = PLUGIN_BUFFER, .fd = -1};
	int r = b.p ? 0 : -ENOMEM;

	while (r == 0)
		r = c->proto->receive(c, &b);
	plug_break(c, cause(r));
	if (b.fd >= 0)
		close(b.fd);
	free(b.p);
	return NULL;
}

/* ---- from socket to socket */

static void end_connection(struct plug_conn *c)
{
	plug_break(c, "it is being replaced");
	if (c->running)
		(void)pthread_join(c->reader, NULL);
	c->running = false;
	(void)pthread_mutex_lock(&c->lock);
	while (c->sending) /* not for long: its socket is shut */
		(void)pthread_cond_wait(&c->changed, &c->lock);
	(void)pthread_mutex_unlock(&c->lock);
	if (c->sock >= 0)
		close(c->sock);
	c->sock = -1;
	if (c->proto->ended)
		c->proto->ended(c);
}

int plug_conn_attach(struct plug_conn *c, int sock)
{
	int r;

	end_connection(c);
	{
		LOCK_SCOPE(&c->lock);
		c->sock = sock;
		c->epoch++;
		c->state = PLUG_STARTING;
		c->ready_by = now_ns() + MAX(c->timeout_ms, PLUGIN_START_MS) * 1000000LL;
		c->why[0] = '\0';
	}
	r = pthread_create(&c->reader, NULL, reader_main, c);
	c->running = r == 0;
	if (r == 0 && c->proto->greet)
		r = c->proto->greet(c);
	else
		r = -r;
	if (r < 0)
		plug_break(c, "it could not be greeted");
	return r;
}

void plug_conn_init(struct plug_conn *c, const struct plug_proto *proto, uint32_t timeout_ms)
{
	pthread_condattr_t attr;

	c->proto = proto;
	c->timeout_ms = timeout_ms;
	c->state = PLUG_BROKEN;
	c->sock = -1;
	(void)pthread_mutex_init(&c->lock, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&c->changed, &attr);
	(void)pthread_condattr_destroy(&attr);
}

void plug_conn_done(struct plug_conn *c)
{
	end_connection(c);
	(void)pthread_cond_destroy(&c->changed);
	(void)pthread_mutex_destroy(&c->lock);
}
