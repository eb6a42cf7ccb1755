// SPDX-License-Identifier: Apache-2.0
// The guest's end of msb-agentd: sessions, requests, the console.
#include "vmm/agentd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#define FRAMES	      32 /* read from the guest before clients get their turn */
#define CONSOLE_CHUNK 16384

static void request_free(struct ad_request *q)
{
	free(q->payload);
	*q = (struct ad_request){0};
}

static void request_fail(struct agentd *a, struct ad_request *q, const struct msb_err *e)
{
	struct ad_conn *c = q->conn;

	if (q->type == WIRE_STATUS)
		ad_stats_fail(a, e);
	request_free(q);
	if (c)
		ad_conn_err(a, c, e);
}

/* The session is over: whoever waits learns why. */
static void session_lost(struct agentd *a, const char *why)
{
	struct msb_err e = {0};
	bool had = a->synced;

	a->synced = a->booted = false;
	memset(a->nonce, 0, sizeof(a->nonce)); /* none that is said again opens another */
	wire_rx_lost(&a->rx);
	if (!had)
		return;
	log_warn("lost the session with the guest: %s", why);
	msb_err_set(&e, EIO, "the connection to the guest was lost: %s", why);
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++) {
		struct ad_request *q = &a->requests[i];

		if (!q->id)
			continue;
		if (q->type == WIRE_BOOT && q->conn)
			q->sent = false; /* asked again in the next session, while its time lasts */
		else
			request_fail(a, q, &e);
	}
	ad_jobs_fail(a, &e);
	ad_event(a, "lost", why);
}

static void link_close(struct agentd *a, const char *why)
{
	struct msb_err e = {0};

	if (a->link_fd < 0)
		return;
	close(a->link_fd);
	a->link_fd = -1;
	a->resync_due = false;
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++) {
		struct ad_request *q = &a->requests[i];
		struct ad_conn *c = q->conn;

		/* A machine that was asked to power off and is gone has done so. */
		if (q->id && q->type == WIRE_SHUTDOWN) {
			request_free(q);
			if (c)
				ad_conn_ok(a, c);
		}
	}
	session_lost(a, why);
	msb_err_set(&e, EIO, "the connection to the guest was lost: %s", why);
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++)
		if (a->requests[i].id)
			request_fail(a, &a->requests[i], &e);
}

/* ---- sessions */

static void sync_start(struct agentd *a)
{
	struct wire_preamble p = {.version = WIRE_VERSION, .kind = WIRE_SYNC};
	uint64_t now = msb_now_ms();

	a->resync_due = false;
	if (a->syncs >= AGENTD_RESYNC_MAX &&
		now - a->sync_at[a->syncs % AGENTD_RESYNC_MAX] < AGENTD_RESYNC_SPAN_MS) {
		link_close(a, "the guest's agent keeps breaking the protocol");
		return;
	}
	a->sync_at[a->syncs++ % AGENTD_RESYNC_MAX] = now;
	if (getrandom(p.nonce, sizeof(p.nonce), 0) != (ssize_t)sizeof(p.nonce)) {
		link_close(a, "the host has no random numbers");
		return;
	}
	memcpy(a->nonce, p.nonce, sizeof(a->nonce));
	wire_tx_start(&a->tx, &p, true);
	a->link_blocked = false;
}

/* A new session, at once or, where the last one is younger than the gap, after it. */
static void resync(struct agentd *a)
{
	uint64_t last = a->syncs ? a->sync_at[(a->syncs - 1) % AGENTD_RESYNC_MAX] : 0;

	if (a->syncs && msb_now_ms() - last < AGENTD_RESYNC_GAP_MS)
		a->resync_due = true;
	else
		sync_start(a);
}

static void violation(struct agentd *a, const char *why)
{
	session_lost(a, why);
	if (a->link_fd >= 0)
		resync(a);
}

static void hello(struct agentd *a, const struct wire_preamble *p)
{
	static const uint8_t none[WIRE_NONCE_BYTES];

	if (p->kind != WIRE_HELLO)
		return;
	if (memcmp(p->nonce, none, sizeof(none)) == 0) { /* a guest without a session */
		resync(a);
		return;
	}
	if (memcmp(p->nonce, a->nonce, sizeof(a->nonce)) != 0)
		return; /* an answer to an earlier SYNC */
	if (p->version != WIRE_VERSION && a->refused)
		return; /* said once: the guest may repeat it without end */
	a->refused = p->version != WIRE_VERSION;
	if (a->refused) {
		log_err("the guest's agent speaks version %u, this msb speaks %u", p->version,
			WIRE_VERSION);
		ad_event(a, "lost", "the guest's agent is of another version");
		return;
	}
	wire_rx_accept(&a->rx, p);
	a->synced = true;
	a->resync_due = false;
	a->booted = p->flags & WIRE_FLAG_BOOTED;
	log_info("session with the guest (%s)", a->booted ? "ready" : "waits for its root");
	if (a->booted)
		ad_event(a, "ready", NULL);
}

/* ---- requests */

int ad_request(struct agentd *a, struct ad_conn *c, enum wire_type type, const void *p, size_t n,
	uint64_t timeout_ms, struct msb_err *e)
{
	struct ad_request *q = NULL;

	if (a->link_fd < 0)
		return msb_err_set(e, EBUSY, "no machine is attached");
	if (a->refused)
		return msb_err_set(
			e, EPROTO, "the agent in the guest is of another version of msb");
	/* These wait for a session: the agent's process may have been started just now. */
	if (!a->synced && type != WIRE_BOOT && type != WIRE_MOUNT && type != WIRE_UMOUNT)
		return msb_err_set(e, EBUSY, "the guest does not answer");
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS && !q; i++)
		if (!a->requests[i].id)
			q = &a->requests[i];
	if (!q)
		return msb_err_set(e, EAGAIN, "too many requests at once");
	q->payload = malloc(n + 1);
	if (!q->payload)
		return msb_err_set(e, ENOMEM, "no memory for a request");
	if (n)
		memcpy(q->payload, p, n);
	q->len = n;
	q->id = AGENTD_FIRST_REQUEST + (a->next_request++ % AGENTD_FIRST_REQUEST);
	q->conn = c;
	q->type = type;
	q->deadline = msb_now_ms() + timeout_ms;
	if (c)
		c->kind = AD_REQUEST;
	return 0;
}

void ad_request_forget(struct agentd *a, const struct ad_conn *c)
{
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++) {
		struct ad_request *q = &a->requests[i];

		if (!q->id || q->conn != c)
			continue;
		q->conn = NULL;
		if (!q->sent)
			request_free(q);
	}
}

/* What a guest is booted with has the time in it, which goes on until it can hear us. */
static int request_send(struct agentd *a, const struct ad_request *q)
{
	uint8_t b[WIRE_MAX_PAYLOAD];
	size_t n = q->len;
	char now[24];

	if (q->type != WIRE_BOOT)
		return wire_tx_frame(&a->tx, q->type, q->id, q->payload, n);
	memcpy(b, q->payload, n);
	(void)snprintf(now, sizeof(now), "%llu", (unsigned long long)ad_now_usec());
	(void)wire_kv_add(b, sizeof(b), &n, "clock_usec", now); /* or it keeps its own clock */
	return wire_tx_frame(&a->tx, q->type, q->id, b, n);
}

static void requests_send(struct agentd *a)
{
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS && a->synced; i++) {
		struct ad_request *q = &a->requests[i];

		if (!q->id || q->sent)
			continue;
		if (request_send(a, q) < 0)
			return;
		q->sent = true;
	}
}

static int answer(struct agentd *a, const struct wire_frame *f)
{
	struct msb_err e = {0};
	struct ad_request *q = NULL;
	struct ad_conn *c;
	enum wire_type type;

	for (size_t i = 0; i < AGENTD_MAX_REQUESTS && !q; i++)
		if (a->requests[i].id == f->id && a->requests[i].sent)
			q = &a->requests[i];
	if (!q)
		return -EBADMSG;
	c = q->conn;
	type = q->type;
	request_free(q);
	if (type == WIRE_STATUS) {
		ad_stats_answer(a, f);
		return 0;
	}
	if (f->type == WIRE_ERROR) {
		ad_guest_error(f, &e);
		if (c)
			ad_conn_err(a, c, &e);
		return 0;
	}
	if (type == WIRE_BOOT && !a->booted) {
		a->booted = true;
		ad_event(a, "ready", NULL);
	}
	if (c)
		ad_conn_ok(a, c);
	return 0;
}

/* ---- what the guest sends */

static void event_frame(struct agentd *a, const struct wire_frame *f)
{
	const char *key, *value;
	size_t pos = 0, key_len;

	/* Only kinds that are known become events: the guest does not write the host's news. */
	while (wire_kv_next(f->payload, f->len, &pos, &key, &key_len, &value) > 0)
		if (wire_kv_is(key, key_len, "kind") && !strcmp(value, "oom"))
			ad_event(a, "oom", "the guest ran out of memory and ended a process");
}

static void frame(struct agentd *a, const struct wire_frame *f)
{
	const char *why = "it answered what was not asked";
	int r;

	if (f->type == WIRE_EVENT) {
		event_frame(a, f);
		return;
	}
	if (f->id >= AGENTD_FIRST_REQUEST && (f->type == WIRE_OK || f->type == WIRE_ERROR))
		r = answer(a, f);
	else
		r = ad_job_frame(a, f, &why);
	if (r == -ENOMEM)
		why = "the host has no memory for its output";
	if (r < 0)
		violation(a, why);
}

static void parse(struct agentd *a)
{
	struct wire_preamble p;
	struct wire_frame f;

	while (a->link_fd >= 0) {
		switch (wire_rx_next(&a->rx, &p, &f)) {
		case WIRE_MORE: return;
		case WIRE_GOT_PREAMBLE: hello(a, &p); break;
		case WIRE_GOT_FRAME: frame(a, &f); break;
		default: violation(a, "the guest restarted, or broke the protocol");
		}
	}
}

static void link_read(struct agentd *a)
{
	for (int i = 0; i < FRAMES && a->link_fd >= 0; i++) {
		size_t room;
		uint8_t *p = wire_rx_room(&a->rx, &room);
		ssize_t n = read(a->link_fd, p, room);

		if (n > 0) {
			wire_rx_filled(&a->rx, (size_t)n);
			parse(a);
			if ((size_t)n < room)
				return;
		} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			link_close(a, "the machine has ended");
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

static void link_write(struct agentd *a)
{
	while (a->link_fd >= 0 && !a->link_blocked && a->tx.off < a->tx.len) {
		ssize_t n = write(a->link_fd, a->tx.buf + a->tx.off, a->tx.len - a->tx.off);

		if (n > 0)
			wire_tx_written(&a->tx, (size_t)n);
		else if (n < 0 && errno == EAGAIN)
			a->link_blocked = true;
		else if (n < 0 && errno != EINTR)
			link_close(a, "the machine has ended");
	}
}

static void link_watch(struct agentd *a)
{
	struct epoll_event ev = {
		.events = EPOLLIN | (a->link_blocked ? EPOLLOUT : 0), .data.ptr = &a->link_fd};

	if (a->link_fd >= 0 && ev.events != a->link_events &&
		epoll_ctl(a->ep, EPOLL_CTL_MOD, a->link_fd, &ev) == 0)
		a->link_events = ev.events;
}

void ad_link_pump(struct agentd *a)
{
	unsigned int first = a->send_from;

	requests_send(a);
	for (unsigned int i = 0; a->synced && a->njobs && i < WIRE_MAX_JOBS; i++) {
		unsigned int s = (first + i) % WIRE_MAX_JOBS;

		if (a->jobs[s] && !ad_job_send(a, a->jobs[s])) {
			a->send_from = s;
			break;
		}
	}
	link_write(a);
	link_watch(a);
}

void ad_link_event(struct agentd *a, uint32_t events)
{
	if (events & EPOLLOUT)
		a->link_blocked = false;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		link_read(a);
}

uint64_t ad_link_tick(struct agentd *a, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	struct msb_err e = {0};

	if (a->resync_due) {
		next = a->sync_at[(a->syncs - 1) % AGENTD_RESYNC_MAX] + AGENTD_RESYNC_GAP_MS;
		if (next <= now) {
			sync_start(a);
			next = UINT64_MAX;
		}
	}
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++) {
		struct ad_request *q = &a->requests[i];

		if (!q->id)
			continue;
		if (q->deadline > now) {
			next = q->deadline < next ? q->deadline : next;
			continue;
		}
		if (!q->conn)
			continue; /* kept, so that its late answer is no violation */
		msb_err_set(&e, ETIMEDOUT,
			q->sent ? "the guest did not answer in time"
			: q->type == WIRE_BOOT
				? "the guest's kernel did not start the agent in time"
				: "the guest does not answer");
		ad_conn_err(a, q->conn, &e);
		q->conn = NULL;
		if (!q->sent)
			request_free(q);
	}
	return next;
}

/* ---- attaching */

void ad_link_attach(struct agentd *a, int link_fd, int console_fd)
{
	link_close(a, "another machine was attached");
	if (a->console_fd >= 0)
		close(a->console_fd);
	a->console_fd = console_fd;
	a->link_fd = link_fd;
	a->refused = false;
	a->syncs = 0;
	wire_rx_init(&a->rx);
	wire_tx_init(&a->tx);
	ad_watch_fd(a, link_fd, EPOLLIN, &a->link_fd);
	a->link_events = EPOLLIN;
	if (console_fd >= 0)
		ad_watch_fd(a, console_fd, EPOLLIN, &a->console_fd);
	sync_start(a);
}

void ad_console_event(struct agentd *a)
{
	char buf[CONSOLE_CHUNK];
	ssize_t n = read(a->console_fd, buf, sizeof(buf));

	if (n > 0) {
		ad_file_add(&a->console, buf, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(a->console_fd);
		a->console_fd = -1;
	}
}
