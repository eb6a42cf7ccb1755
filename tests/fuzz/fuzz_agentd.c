// SPDX-License-Identifier: Apache-2.0
// msb-agentd against a guest that says anything: whole frames of any type, id and payload, in any
// order, in sessions that the daemon has accepted, with jobs, requests and watchers of its clients.
#include "base/io.h"
#include "base/log.h"
#include "base/msg.h"
#include "vmm/agentd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLIENTS 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct agentd *a;
static int client[CLIENTS], guest = -1;
static struct wire_rx rx;
static struct wire_tx tx;

static void start(void)
{
	char dir[] = "/tmp/fuzz-agentd-XXXXXX";

	msb_log_init("fuzz", NULL, open("/dev/null", O_WRONLY | O_CLOEXEC));
	a = calloc(1, sizeof(*a));
	if (!a || !mkdtemp(dir))
		abort();
	a->listen_fd = a->link_fd = a->console_fd = -1;
	a->ep = epoll_create1(EPOLL_CLOEXEC);
	a->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ad_file_init(&a->console, a->dir_fd, "console", 1 << 16, 1);
	ad_file_init(&a->log, a->dir_fd, "log", 1 << 16, 2);
	(void)unlinkat(a->dir_fd, "console", 0);
	(void)unlinkat(a->dir_fd, "log", 0); /* open, and gone when we are */
	(void)rmdir(dir);
}

static void pair(int type, int sv[2])
{
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		abort();
}

static struct ad_conn *connect_client(int i)
{
	struct ad_conn *c = calloc(1, sizeof(*c));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
	int sv[2];

	pair(SOCK_SEQPACKET, sv);
	client[i] = sv[0];
	*c = (struct ad_conn){.next = a->conns, .fd = sv[1], .events = EPOLLIN};
	if (epoll_ctl(a->ep, EPOLL_CTL_ADD, sv[1], &ev) < 0)
		abort();
	a->conns = c;
	a->nconns++;
	return c;
}

/* The guest reads what the host said, and follows it into its newest session. */
static void follow(void)
{
	struct wire_preamble p;
	struct wire_frame f;

	ad_link_pump(a);
	for (;;) {
		size_t room;
		uint8_t *to = wire_rx_room(&rx, &room);
		ssize_t n = read(guest, to, room);
		int r;

		if (n <= 0)
			break;
		wire_rx_filled(&rx, (size_t)n);
		while ((r = wire_rx_next(&rx, &p, &f)) != WIRE_MORE)
			if (r == WIRE_GOT_PREAMBLE) {
				wire_rx_accept(&rx, &p);
				p.kind = WIRE_HELLO;
				p.flags = WIRE_FLAG_BOOTED;
				wire_tx_start(&tx, &p, false);
			}
	}
}

static void tell(void)
{
	ssize_t n = write(guest, tx.buf + tx.off, tx.len - tx.off);

	wire_tx_init(&tx);
	tx.tag = rx.tag;
	if (n >= 0)
		ad_link_event(a, EPOLLIN);
}

static void clients(void)
{
	static const char *const verbs[] = {
		"exec", "exec", "exec", "watch", "clock", "boot", "stats"};
	struct msb_err e = {0};
	struct msb_msg m;

	for (int i = 0; i < CLIENTS; i++) {
		struct ad_conn *c = connect_client(i);

		msb_msg_init(&m, verbs[i]);
		msb_msg_set(&m, "arg", "x");
		msb_msg_set(&m, "log", "%d", i & 1);
		msb_msg_set(&m, "hold", "%d", i > 0);
		if (!strcmp(verbs[i], "exec"))
			(void)ad_job_new(a, c, &m, &e);
		else if (!strcmp(verbs[i], "watch"))
			c->kind = AD_WATCH;
		else if (!strcmp(verbs[i], "stats"))
			(void)ad_stats_ask(a, c, &e);
		else
			(void)ad_request(
				a, c, i == 4 ? WIRE_CLOCK : WIRE_BOOT, "12345678", 8, 1000, &e);
	}
}

/* One frame or action out of four bytes and what follows; how much was used. */
static size_t action(const uint8_t *d, size_t n)
{
	unsigned int k = 0;
	size_t len = (size_t)d[2] | (size_t)(d[3] & 0x80) << 1, have;
	uint32_t id = d[1] & 0x80 ? AGENTD_FIRST_REQUEST + (d[1] & 0xf)
				  : a->generation * WIRE_MAX_JOBS + (d[1] & 0x7f);

	have = n - 4 < len ? n - 4 : len;
	if (d[3] & 1) { /* as the engine numbers its jobs: find one that exists */
		for (size_t i = 0, skip = d[1] % 4; i < WIRE_MAX_JOBS; i++)
			if (a->jobs[i] && skip-- == 0)
				id = a->jobs[i]->id;
	}
	switch (d[0]) {
	case 200: /* raw bytes */
		(void)!write(guest, d + 4, have);
		ad_link_event(a, EPOLLIN);
		break;
	case 201: /* a client leaves */
		for (struct ad_conn *c = a->conns; c; c = c->next)
			if (k++ == d[1] % CLIENTS) {
				ad_conn_close(a, c);
				break;
			}
		break;
	case 202: /* a client reads */
		for (struct ad_conn *c = a->conns; c; c = c->next)
			if (c->fd >= 0 && c->kind == AD_JOB && c->job)
				ad_job_drain(a, c->job);
		break;
	case 203:
		follow();
		tell();
		break;
	default: (void)wire_tx_frame(&tx, d[0] & 0x7f, id, d + 4, have); tell();
	}
	ad_link_pump(a);
	return 4 + have;
}

static void check(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < WIRE_MAX_JOBS; i++) {
		const struct ad_job *j = a->jobs[i];

		n += j != NULL;
		if (j && (j->credit[0] > j->window || j->credit[1] > j->window ||
				 j->in_credit > WIRE_IN_WINDOW ||
				 j->out_len - j->out_sent > 2 * (size_t)j->window ||
				 j->out_len - j->out_off >
					 AGENTD_HELD_BYTES + 2 * (size_t)j->window))
			abort();
	}
	if (n != a->njobs)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int sv[2];

	if (!a)
		start();
	pair(SOCK_STREAM, sv);
	guest = sv[0];
	wire_rx_init(&rx);
	wire_tx_init(&tx);
	ad_link_attach(a, sv[1], -1);
	follow();
	tell();
	clients();
	follow();
	while (size >= 4) {
		size_t used = action(data, size);

		data += used;
		size -= used;
		check();
	}
	close(guest);
	ad_link_event(a, EPOLLIN);
	ad_link_event(a, EPOLLIN);
	for (int i = 0; i < CLIENTS; i++)
		close(client[i]);
	while (a->conns) {
		struct ad_conn *c = a->conns;

		ad_conn_close(a, c);
		a->conns = c->next;
		a->nconns--;
		free(c);
	}
	for (int i = 0; i < 4 && a->link_fd >= 0; i++)
		ad_link_event(a, EPOLLIN);
	check();
	while (a->past) {
		struct ad_job *j = a->past;

		ad_held_unlink(a, j);
		ad_job_free(a, j);
	}
	if (a->njobs || a->npast || a->link_fd >= 0)
		abort();
	return 0;
}
