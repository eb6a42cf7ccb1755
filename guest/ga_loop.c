// SPDX-License-Identifier: Apache-2.0
// The agent's loop: the port, sessions, requests.
#include "guest/ga.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define EVENTS	64
#define FRAMES	32	    /* handled before other descriptors get their turn */
#define BACKLOG (64u << 10) /* unsent bytes past which jobs wait */

int ga_watch_add(struct ga *g, struct ga_watch *w, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events | EPOLLET, .data.ptr = w};

	if (epoll_ctl(g->ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	w->fd = fd;
	w->ep = g->ep;
	return 0;
}

void ga_watch_close(struct ga_watch *w)
{
	if (w->fd >= 0) {
		/* Closing alone leaves it in the set while a job between fork and exec has a copy.
		 */
		(void)epoll_ctl(w->ep, EPOLL_CTL_DEL, w->fd, NULL);
		close(w->fd);
	}
	w->fd = -1;
}

void ga_queue_job(struct ga *g, struct ga_job *j)
{
	if (j->queued)
		return;
	j->queued = true;
	j->queue_next = NULL;
	if (g->queue)
		g->queue_last->queue_next = j;
	else
		g->queue = j;
	g->queue_last = j;
}

void ga_reply(struct ga *g, enum wire_type type, uint32_t id, const void *p, size_t n)
{
	struct ga_reply *r;

	if (!g->rx.synced)
		return;
	r = malloc(sizeof(*r) + n);
	if (!r)
		return; /* the host's own time limit tells */
	*r = (struct ga_reply){.type = type, .id = id, .len = (uint32_t)n};
	if (n)
		memcpy(r->data, p, n);
	*g->replies_end = r;
	g->replies_end = &r->next;
}

void ga_reply_err(struct ga *g, uint32_t id, const struct msb_err *e)
{
	uint8_t b[4 + MSB_ERR_MAX];
	size_t n = strnlen(e->msg, MSB_ERR_MAX - 1);

	wire_put32(b, (uint32_t)(e->code ? e->code : EIO));
	memcpy(b + 4, e->msg, n);
	ga_reply(g, WIRE_ERROR, id, b, 4 + n);
}

static void drop_replies(struct ga *g)
{
	while (g->replies) {
		struct ga_reply *r = g->replies;

		g->replies = r->next;
		free(r);
	}
	g->replies_end = &g->replies;
}

/* ---- sessions */

static void session_end(struct ga *g)
{
	wire_rx_lost(&g->rx);
	ga_jobs_detach(g);
	drop_replies(g);
	g->session++;
	g->announce_at = msb_now_ms() + GA_ANNOUNCE_FIRST_MS;
}

static void session_start(struct ga *g, const struct wire_preamble *sync)
{
	struct wire_preamble hello = *sync;

	session_end(g);
	hello.kind = WIRE_HELLO;
	hello.version = WIRE_VERSION;
	hello.flags = g->booted ? WIRE_FLAG_BOOTED : 0;
	wire_tx_start(&g->tx, &hello, false);
	/* A host of another version learns ours, and that is all it can do with us. */
	if (sync->version == WIRE_VERSION)
		wire_rx_accept(&g->rx, sync);
	g->announce_at = 0;
}

static void announce(struct ga *g)
{
	static const struct wire_preamble hello = {.version = WIRE_VERSION, .kind = WIRE_HELLO};

	if (g->tx.off == g->tx.len)
		wire_tx_start(&g->tx, &hello, true);
	g->announce_at = msb_now_ms() + GA_ANNOUNCE_MS;
}

/* ---- requests */

static void boot(struct ga *g, const struct wire_frame *f)
{
	struct msb_err e = {0};
	struct ga_boot b;

	if (g->booted) {
		ga_reply(g, WIRE_OK, f->id, NULL, 0);
		return;
	}
	if (g->booting) { /* begun in a session that is over: its end answers this one */
		ga_task_adopt(g, GA_TASK_BOOT, f->id);
		ga_task_adopt(g, GA_TASK_INIT, f->id);
		return;
	}
	if (ga_boot_parse(f->payload, f->len, &b, &e) < 0) {
		ga_boot_done(&b);
		ga_reply_err(g, f->id, &e);
		return;
	}
	ga_boot_done(&g->boot);
	g->boot = b;
	if (b.clock_usec)
		(void)g->ops->set_clock(b.clock_usec); /* a wrong clock is no reason not to boot */
	g->booting = true;
	if (ga_task_start(g, GA_TASK_BOOT, f->id, NULL) < 0) {
		g->booting = false;
		msb_err_set(&e, ENOMEM, "the guest cannot start a process");
		ga_reply_err(g, f->id, &e);
	}
}

static void status(struct ga *g, uint32_t id)
{
	uint8_t b[512];
	char text[16];
	size_t n = 0;

	(void)snprintf(text, sizeof(text), "%u", g->njobs);
	(void)wire_kv_add(b, sizeof(b), &n, "jobs", text); /* fits */
	(void)wire_kv_add(b, sizeof(b), &n, "ready", g->booted ? "1" : "0");
	n = ga_stats_add(g, b, sizeof(b), n);
	ga_reply(g, WIRE_OK, id, b, n);
}

static void task(struct ga *g, enum ga_task_kind kind, uint32_t id, const void *of)
{
	struct msb_err e = {0};

	if (ga_task_start(g, kind, id, of) == 0)
		return;
	msb_err_set(&e, ENOMEM, "the guest cannot start a process");
	ga_reply_err(g, id, &e);
}

static void mount_share(struct ga *g, const struct wire_frame *f)
{
	struct msb_err e = {0};
	struct ga_mount m;
	uint8_t *raw = NULL;
	int r = g->booted ? ga_mount_parse(f->payload, f->len, &m, &raw, &e)
			  : msb_err_set(&e, EBUSY, "the guest has no root yet");

	if (r < 0)
		ga_reply_err(g, f->id, &e);
	else
		task(g, GA_TASK_MOUNT, f->id, &m);
	free(raw);
}

static void umount_share(struct ga *g, const struct wire_frame *f)
{
	struct msb_err e = {0};
	struct ga_umount u = {0};
	int r = g->booted ? ga_umount_parse(f->payload, f->len, &u, &e)
			  : msb_err_set(&e, EBUSY, "the guest has no root yet");

	if (r < 0)
		ga_reply_err(g, f->id, &e);
	else
		task(g, GA_TASK_UMOUNT, f->id, &u);
	free(u.raw);
}

static int cpus(struct ga *g, const struct wire_frame *f)
{
	uint32_t n;

	if (f->len != 4)
		return -EBADMSG;
	n = wire_get32(f->payload);
	task(g, GA_TASK_CPUS, f->id, &n); /* a child, with its own copy */
	return 0;
}

static int frame(struct ga *g, const struct wire_frame *f)
{
	struct msb_err e = {0};
	int r;

	switch (f->type) {
	case WIRE_BOOT: boot(g, f); return 0;
	case WIRE_EXEC: ga_job_exec(g, f->id, f->payload, f->len); return 0;
	case WIRE_SHUTDOWN:
		if (f->len != 4)
			return -EBADMSG;
		ga_end(g, f->id, wire_get32(f->payload));
		return 0;
	case WIRE_CLOCK:
		if (f->len != 8)
			return -EBADMSG;
		r = g->ops->set_clock(wire_get64(f->payload));
		if (r < 0) {
			msb_err_set(&e, -r, "cannot set the guest's clock: %s", strerror(-r));
			ga_reply_err(g, f->id, &e);
		} else {
			ga_reply(g, WIRE_OK, f->id, NULL, 0);
		}
		return 0;
	case WIRE_DROP_CACHES: task(g, GA_TASK_DROP_CACHES, f->id, NULL); return 0;
	case WIRE_MOUNT: mount_share(g, f); return 0;
	case WIRE_UMOUNT: umount_share(g, f); return 0;
	case WIRE_CPUS: return cpus(g, f);
	case WIRE_STATUS: status(g, f->id); return 0;
	default: return ga_job_frame(g, f);
	}
}

/* ---- the port */

static void port_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	(void)w;
	g->port_in = true; /* also on EPOLLHUP: read(2) then returns 0, which ends the session */
	g->port_out = true;
}

static void parse(struct ga *g)
{
	struct wire_preamble p;
	struct wire_frame f;

	for (;;) {
		switch (wire_rx_next(&g->rx, &p, &f)) {
		case WIRE_MORE: return;
		case WIRE_GOT_PREAMBLE:
			if (p.kind == WIRE_SYNC)
				session_start(g, &p);
			break;
		case WIRE_GOT_FRAME:
			if (frame(g, &f) < 0)
				session_end(g);
			break;
		default: session_end(g);
		}
	}
}

static void port_read(struct ga *g)
{
	for (int i = 0; g->port_in && i < FRAMES; i++) {
		size_t room;
		uint8_t *p = wire_rx_room(&g->rx, &room);
		ssize_t n = read(g->port.fd, p, room);

		if (n > 0) {
			wire_rx_filled(&g->rx, (size_t)n);
			parse(g);
		} else if (n == 0) {
			g->port_in =
				false; /* the host has disconnected; an edge says when it is back */
			wire_rx_init(&g->rx);
			wire_tx_init(&g->tx);
			session_end(g);
		} else if (errno != EINTR) {
			g->port_in = false;
		}
	}
}

static void port_write(struct ga *g)
{
	while (g->port_out && g->tx.off < g->tx.len) {
		ssize_t n = write(g->port.fd, g->tx.buf + g->tx.off, g->tx.len - g->tx.off);

		if (n > 0)
			wire_tx_written(&g->tx, (size_t)n);
		else if (n < 0 && errno != EINTR)
			g->port_out = false;
	}
}

/* Answers first, then each job in turn. Return: whether anything is left that could be sent now. */
static bool fill(struct ga *g)
{
	while (g->replies) {
		struct ga_reply *r = g->replies;

		if (wire_tx_frame(&g->tx, r->type, r->id, r->data, r->len) < 0)
			return true;
		g->replies = r->next;
		if (!g->replies)
			g->replies_end = &g->replies;
		free(r);
	}
	while (g->queue && g->tx.len - g->tx.off < BACKLOG) {
		struct ga_job *j = g->queue;

		g->queue = j->queue_next;
		j->queued = false;
		if (!ga_job_pump(g, j))
			ga_queue_job(g, j);
	}
	return g->queue != NULL;
}

static void pump(struct ga *g)
{
	bool more;

	do {
		more = fill(g);
		port_write(g);
	} while (more && g->port_out);
}

/* ---- children */

static void signal_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct signalfd_siginfo si;

	while (read(w->fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		if (si.ssi_signo != SIGCHLD && !g->init) /* else it is the init's affair */
			ga_end(g, 0, GA_OWN_END_MS);
	for (;;) {
		int st;
		pid_t pid = waitpid(-1, &st, WNOHANG);

		if (pid <= 0)
			break;
		ga_job_reaped(g, pid, st);
	}
	g->sweep_due = g->cgroups >= 0;
}

int ga_signals_open(struct ga *g)
{
	static const int heard[] = {SIGCHLD, SIGTERM, SIGUSR1, SIGUSR2, SIGPWR};
	sigset_t set;
	int fd;

	sigemptyset(&set);
	/* SIGCHLD, and by what poweroff(8), halt(8) and reboot(8) of common images ask their init.
	 */
	for (size_t i = 0; i < ARRAY_LEN(heard); i++)
		sigaddset(&set, heard[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	ga_watch_close(&g->signals);
	g->signals.fn = signal_event;
	return ga_watch_add(g, &g->signals, fd, EPOLLIN);
}

static int setup(struct ga *g, int port_fd)
{
	int fd, r;

	g->ep = epoll_create1(EPOLL_CLOEXEC);
	if (g->ep < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	r = ga_signals_open(g);
	if (r < 0)
		return r;
	g->port.fn = port_event;
	fd = fcntl(port_fd, F_GETFL);
	if (fd < 0 || fcntl(port_fd, F_SETFL, fd | O_NONBLOCK) < 0)
		return -errno;
	ga_stats_init(g);
	return ga_watch_add(g, &g->port, port_fd, EPOLLIN | EPOLLOUT);
}

static void turn(struct ga *g)
{
	struct epoll_event ev[EVENTS];
	uint64_t now = msb_now_ms(), next = ga_jobs_tick(g, now), end = ga_end_tick(g, now);
	bool idle;
	int n, wait;

	if (g->announce_at && g->announce_at <= now)
		announce(g);
	if (g->announce_at && g->announce_at < next)
		next = g->announce_at;
	if (end < next)
		next = end;
	pump(g);
	idle = !g->port_in && g->tx.off == g->tx.len;
	if (idle && g->sweep_due)
		ga_cgroup_tidy(g);
	wait = g->port_in || g->off || (idle && g->sweep_due) ? 0
	       : next == UINT64_MAX			      ? -1
	       : next <= now				      ? 0
	       : next - now > 60 * 1000			      ? 60 * 1000
							      : (int)(next - now);
	n = epoll_wait(g->ep, ev, EVENTS, wait);
	for (int i = 0; i < n; i++) {
		struct ga_watch *w = ev[i].data.ptr;

		if (w->fd >= 0) /* not closed by an earlier event of this round */
			w->fn(g, w, ev[i].events);
	}
	port_read(g);
	ga_jobs_collect(g);
}

int ga_run(int port_fd, const struct ga_ops *ops, struct msb_err *e)
{
	struct ga *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return msb_err_set(e, ENOMEM, "no memory for the agent");
	g->ops = ops;
	g->cgroups = g->spare_cgroup = -1;
	g->next_kill = UINT64_MAX;
	g->ep = g->port.fd = g->signals.fd = -1;
	g->replies_end = &g->replies;
	g->boot = (struct ga_boot){.hostname = "", .user = "", .workdir = "/", .init = ""};
	wire_rx_init(&g->rx);
	wire_tx_init(&g->tx);
	g->announce_at = msb_now_ms() + GA_ANNOUNCE_FIRST_MS;
	r = setup(g, port_fd);
	if (r < 0) {
		free(g);
		return msb_err_set(e, -r, "the agent cannot start: %s", strerror(-r));
	}
	while (!g->off)
		turn(g);
	for (int i = 0; i < 20 && g->tx.off < g->tx.len; i++) { /* the last answer, while it can */
		g->port_out = true;
		port_write(g);
		(void)msb_wait_fd(port_fd, POLLOUT, 10);
	}
	ops->power_off();
	ga_stats_done(g);
	close(g->ep);
	close(g->signals.fd);
	ga_boot_done(&g->boot);
	free(g);
	return 0;
}
