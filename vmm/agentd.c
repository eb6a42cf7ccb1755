// SPDX-License-Identifier: Apache-2.0
// msb-agentd: the loop and its clients.
#include "vmm/agentd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "vmm/vmm.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS 64

void ad_watch_fd(struct agentd *a, int fd, uint32_t events, void *of)
{
	struct epoll_event ev = {.events = events, .data.ptr = of};

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(a->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		log_err("cannot watch a descriptor: %m");
}

/* ---- connections */

void ad_conn_close(struct agentd *a, struct ad_conn *c)
{
	if (c->fd < 0)
		return;
	if (c->job)
		ad_job_abandon(a, c);
	close(c->fd);
	c->fd = -1;
	ad_request_forget(a, c);
}

static void collect(struct agentd *a)
{
	struct ad_conn **p = &a->conns;

	while (*p) {
		struct ad_conn *c = *p;

		if (c->fd >= 0) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		a->nconns--;
		free(c);
	}
}

static uint32_t wanted(const struct ad_conn *c)
{
	const struct ad_job *j = c->job;

	if (!j)
		return EPOLLIN | (c->dropped ? EPOLLOUT : 0);
	return (ad_job_wants_input(j) ? EPOLLIN : 0) |
	       (ad_job_has_output(j) || (j->ended && !j->told) ? EPOLLOUT : 0);
}

void ad_conn_update(struct agentd *a, struct ad_conn *c)
{
	struct epoll_event ev = {.data.ptr = c};

	if (c->fd < 0)
		return;
	ev.events = wanted(c);
	if (ev.events != c->events && epoll_ctl(a->ep, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->events = ev.events;
}

void ad_conn_ok(struct agentd *a, struct ad_conn *c)
{
	if (c->kind == AD_REQUEST)
		c->kind = AD_NEW; /* a connection may ask again */
	if (msb_msg_reply_ok(c->fd) < 0)
		ad_conn_close(a, c);
}

void ad_conn_err(struct agentd *a, struct ad_conn *c, const struct msb_err *e)
{
	if (c->kind == AD_REQUEST)
		c->kind = AD_NEW;
	if (msb_msg_reply_err(c->fd, e) < 0)
		ad_conn_close(a, c);
}

static int send_event(struct ad_conn *c, const char *kind, const char *reason)
{
	struct msb_msg m;

	msb_msg_init(&m, "event");
	msb_msg_set(&m, "kind", "%s", kind);
	if (reason)
		msb_msg_set(&m, "reason", "%s", reason);
	return msb_msg_send(c->fd, &m);
}

void ad_event(struct agentd *a, const char *kind, const char *reason)
{
	for (struct ad_conn *c = a->conns; c; c = c->next) {
		int r;

		if (c->fd < 0 || c->kind != AD_WATCH)
			continue;
		r = c->dropped ? -EAGAIN : send_event(c, kind, reason);
		if (r == -EAGAIN) {
			c->dropped++;
			ad_conn_update(a, c);
		} else if (r < 0) {
			ad_conn_close(a, c);
		}
	}
}

/* A watcher that was too slow learns how much it has missed. */
static void tell_dropped(struct agentd *a, struct ad_conn *c)
{
	struct msb_msg m;

	msb_msg_init(&m, "event");
	msb_msg_set(&m, "kind", "dropped");
	msb_msg_set(&m, "n", "%u", c->dropped);
	if (msb_msg_send(c->fd, &m) == 0)
		c->dropped = 0;
	ad_conn_update(a, c);
}

/* ---- verbs */

static int do_attach(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	int link = msb_msg_take_fd(m, 0), console = msb_msg_take_fd(m, 1);

	if (link < 0) {
		if (console >= 0)
			close(console);
		return msb_err_set(e, EINVAL, "attach without descriptors");
	}
	ad_link_attach(a, link, console);
	ad_conn_ok(a, c);
	return 0;
}

/* Every value of @keys (NULL at the end) as a kv payload. */
static int pass_on(
	const struct msb_msg *m, const char *const *keys, uint8_t b[WIRE_MAX_PAYLOAD], size_t *n)
{
	for (; *keys; keys++)
		for (const char *v = NULL; (v = msb_msg_next(m, *keys, v));)
			if (wire_kv_add(b, WIRE_MAX_PAYLOAD, n, *keys, v) < 0)
				return -E2BIG;
	return 0;
}

static int do_boot(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	static const char *const keys[] = {
		"hostname", "user", "workdir", "init", "env", "mount", NULL};
	uint64_t timeout_ms = AGENTD_REQUEST_MS;
	uint8_t b[WIRE_MAX_PAYLOAD];
	size_t n = 0;

	if (pass_on(m, keys, b, &n) < 0)
		return msb_err_set(
			e, E2BIG, "the sandbox's environment, mounts and tmpfs are too long");
	if (msb_msg_get_u64(m, "timeout_ms", &timeout_ms) == -EINVAL || timeout_ms > INT32_MAX)
		return msb_err_set(e, EINVAL, "timeout_ms is not valid");
	return ad_request(a, c, WIRE_BOOT, b, n, timeout_ms, e);
}

static int do_mount(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	static const char *const keys[] = {"mount", NULL};
	uint8_t b[WIRE_MAX_PAYLOAD];
	size_t n = 0;

	return pass_on(m, keys, b, &n) < 0
		       ? msb_err_set(e, E2BIG, "the mount is too long")
		       : ad_request(a, c, WIRE_MOUNT, b, n, AGENTD_REQUEST_MS, e);
}

static int do_umount(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	static const char *const keys[] = {"name", "path", "lazy", NULL};
	uint8_t b[WIRE_MAX_PAYLOAD];
	size_t n = 0;

	return pass_on(m, keys, b, &n) < 0
		       ? msb_err_set(e, E2BIG, "the mount is too long")
		       : ad_request(a, c, WIRE_UMOUNT, b, n, AGENTD_REQUEST_MS, e);
}

static int do_shutdown(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	uint64_t ms = 0;
	uint8_t b[4];

	if (msb_msg_get_u64(m, "timeout_ms", &ms) == -EINVAL || ms > INT32_MAX)
		return msb_err_set(e, EINVAL, "timeout_ms is not valid");
	wire_put32(b, (uint32_t)ms);
	return ad_request(a, c, WIRE_SHUTDOWN, b, sizeof(b), ms + AGENTD_REQUEST_MS, e);
}

static int do_clock(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	uint64_t usec;
	uint8_t b[8];

	if (msb_msg_get_u64(m, "clock_usec", &usec) < 0)
		return msb_err_set(e, EINVAL, "clock_usec is not valid");
	wire_put64(b, usec);
	return ad_request(a, c, WIRE_CLOCK, b, sizeof(b), AGENTD_REQUEST_MS, e);
}

static int do_drop_caches(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	return ad_request(a, c, WIRE_DROP_CACHES, NULL, 0, AGENTD_REQUEST_MS, e);
}

static int do_cpus(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	uint64_t n = 0;
	uint8_t b[4];

	if (msb_msg_get_u64(m, "n", &n) < 0 || n < 1 || n > VMM_MAX_CPUS)
		return msb_err_set(e, EINVAL, "no number of CPUs");
	wire_put32(b, (uint32_t)n);
	return ad_request(a, c, WIRE_CPUS, b, sizeof(b), AGENTD_REQUEST_MS, e);
}

static int do_status(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	msb_msg_init(m, "ok");
	msb_msg_set(m, "ready", "%d", a->booted);
	msb_msg_set(m, "attached", "%d", a->link_fd >= 0);
	msb_msg_set(m, "jobs", "%u", a->njobs);
	msb_msg_set(m, "agent_version", "%d", WIRE_VERSION);
	if (msb_msg_send(c->fd, m) < 0)
		ad_conn_close(a, c);
	return 0;
}

static int do_stats(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	return ad_stats_ask(a, c, e);
}

static int do_watch(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	c->kind = AD_WATCH;
	ad_conn_ok(a, c);
	if (c->fd >= 0 && a->booted && send_event(c, "ready", NULL) < 0)
		ad_conn_close(a, c);
	return 0;
}

static int do_jobs(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	msb_msg_init(m, "ok");
	ad_held_list(a, m);
	if (msb_msg_send(c->fd, m) < 0)
		ad_conn_close(a, c);
	return 0;
}

static int do_adopt(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	uint64_t number;

	if (msb_msg_get_u64(m, "job", &number) < 0 || number > UINT32_MAX)
		return msb_err_set(e, EINVAL, "job is not valid");
	return ad_held_adopt(a, c, (uint32_t)number, e);
}

static int do_forget(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	uint64_t number;

	if (msb_msg_get_u64(m, "job", &number) == 0 && number <= UINT32_MAX)
		ad_held_forget(a, (uint32_t)number);
	ad_conn_close(a, c);
	return 0;
}

static int do_exec(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e)
{
	return ad_job_new(a, c, m, e);
}

static const struct {
	const char *name;
	int (*fn)(struct agentd *a, struct ad_conn *c, struct msb_msg *m, struct msb_err *e);
} table[] = {
	{"attach", do_attach},
	{"boot", do_boot},
	{"exec", do_exec},
	{"jobs", do_jobs},
	{"adopt", do_adopt},
	{"forget", do_forget},
	{"mount", do_mount},
	{"umount", do_umount},
	{"shutdown", do_shutdown},
	{"clock", do_clock},
	{"drop_caches", do_drop_caches},
	{"cpus", do_cpus},
	{"status", do_status},
	{"stats", do_stats},
	{"watch", do_watch},
};

static void request(struct agentd *a, struct ad_conn *c, struct msb_msg *m)
{
	struct msb_err e = {0};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(msb_msg_verb(m), table[i].name)) {
			if (table[i].fn(a, c, m, &e) < 0)
				ad_conn_err(a, c, &e);
			return;
		}
	msb_err_set(&e, EINVAL, "unknown request");
	ad_conn_err(a, c, &e);
}

static void conn_read(struct agentd *a, struct ad_conn *c)
{
	struct msb_msg m;
	int r = msb_msg_recv(c->fd, &m);

	if (r == -EAGAIN)
		return;
	if (r < 0 || c->kind == AD_REQUEST || c->kind == AD_WATCH || c->kind == AD_STATS) {
		/* Gone, broken, or talking before it was answered. */
		if (r == 0)
			msb_msg_close_fds(&m);
		ad_conn_close(a, c);
		return;
	}
	if (c->kind == AD_JOB)
		ad_job_message(a, c, &m);
	else
		request(a, c, &m);
	msb_msg_close_fds(&m);
	ad_conn_update(a, c);
}

static void conn_event(struct agentd *a, struct ad_conn *c, uint32_t events)
{
	if (events & EPOLLOUT && c->kind == AD_JOB)
		ad_job_drain(a, c->job);
	if (events & EPOLLOUT && c->fd >= 0 && c->kind == AD_WATCH && c->dropped)
		tell_dropped(a, c);
	if (c->fd >= 0 && events & EPOLLIN)
		conn_read(a, c);
	else if (c->fd >= 0 && events & (EPOLLHUP | EPOLLERR))
		ad_conn_close(a, c);
}

/* The socket stays readable: without this the loop would find nothing but that. */
static void accept_later(struct agentd *a, uint64_t at)
{
	struct epoll_event ev = {.events = at ? 0 : EPOLLIN, .data.ptr = &a->listen_fd};

	a->accept_at = at;
	(void)epoll_ctl(
		a->ep, EPOLL_CTL_MOD, a->listen_fd, &ev); /* it is there, and needs nothing */
}

static int accept_all(struct agentd *a)
{
	for (;;) {
		int fd = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct epoll_event ev = {.events = EPOLLIN};
		struct ad_conn *c;

		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return 0;
		if (fd < 0 && errno != EMFILE && errno != ENFILE && errno != ENOMEM)
			return -errno;
		if (fd < 0) {
			accept_later(a, msb_now_ms() + AGENTD_ACCEPT_MS);
			return 0;
		}
		c = a->nconns < AGENTD_MAX_CONNS ? calloc(1, sizeof(*c)) : NULL;
		if (!c) {
			const struct msb_err e = {EAGAIN, "too many connections to this sandbox"};

			(void)msb_msg_reply_err(fd, &e); /* it finds the connection closed, too */
			close(fd);
			continue;
		}
		*c = (struct ad_conn){.next = a->conns, .fd = fd, .events = EPOLLIN};
		ev.data.ptr = c;
		if (epoll_ctl(a->ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
			close(fd);
			free(c);
			continue;
		}
		a->conns = c;
		a->nconns++;
	}
}

static int turn(struct agentd *a)
{
	struct epoll_event ev[EVENTS];
	uint64_t now = msb_now_ms(), next = ad_link_tick(a, now), over = ad_jobs_tick(a, now);
	int n, r = 0;

	next = over < next ? over : next;
	if (a->accept_at && a->accept_at <= now)
		accept_later(a, 0);
	if (a->accept_at && a->accept_at < next)
		next = a->accept_at;
	ad_link_pump(a);
	collect(a);
	n = epoll_wait(a->ep, ev, EVENTS,
		next == UINT64_MAX   ? -1
		: next <= now	     ? 0
		: next - now > 60000 ? 60000
				     : (int)(next - now) + 1);
	for (int i = 0; i < n; i++) {
		void *of = ev[i].data.ptr;
		struct ad_conn *c = of;

		if (of == &a->listen_fd)
			r = accept_all(a);
		else if (of == &a->link_fd)
			ad_link_event(a, ev[i].events);
		else if (of == &a->console_fd) {
			if (a->console_fd >= 0)
				ad_console_event(a);
		} else if (c->fd >= 0)
			conn_event(a, c, ev[i].events);
	}
	return r;
}

int agentd_run(int listen_fd, int dir_fd, struct msb_err *e)
{
	struct agentd *a = calloc(1, sizeof(*a));
	int r = 0;

	if (!a)
		return msb_err_set(e, ENOMEM, "no memory for the agent");
	a->listen_fd = listen_fd;
	a->dir_fd = dir_fd;
	a->link_fd = a->console_fd = -1;
	a->ep = epoll_create1(EPOLL_CLOEXEC);
	wire_rx_init(&a->rx);
	wire_tx_init(&a->tx);
	signal(SIGPIPE, SIG_IGN);
	ad_file_init(&a->console, dir_fd, "console", AGENT_MAX_CONSOLE_BYTES, 1);
	ad_file_init(&a->log, dir_fd, "log", AGENT_MAX_LOG_BYTES, AGENT_LOG_OLD);
	ad_file_mend(&a->log);
	if (a->ep < 0) {
		r = msb_err_set(e, errno, "epoll: %m");
	} else {
		ad_watch_fd(a, listen_fd, EPOLLIN, &a->listen_fd);
		while (r == 0)
			r = turn(a);
		if (!e->code)
			msb_err_set(e, -r, "the control socket failed: %s", strerror(-r));
	}
	ad_file_done(&a->console);
	ad_file_done(&a->log);
	free(a);
	return r;
}
