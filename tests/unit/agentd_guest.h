/* SPDX-License-Identifier: Apache-2.0 */
/* This process as the guest, so that it can break the protocol. */
#ifndef MSB_TESTS_AGENTD_GUEST_H
#define MSB_TESTS_AGENTD_GUEST_H

#include "tests/unit/agentd_fixture.h"
#include "guest/wire.h"

static struct wire_rx grx;
static struct wire_tx gtx;
static int gport = -1;
static struct wire_preamble gsync;

static inline void guest_attach(void)
{
	struct msb_err e = {0};
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	assert_int_equal(agent_attach(ctl, sv[0], -1, &e), 0);
	close(sv[0]);
	gport = sv[1];
	wire_rx_init(&grx);
	wire_tx_init(&gtx);
}

static inline void guest_send(void)
{
	assert_int_equal(msb_write_full(gport, gtx.buf + gtx.off, gtx.len - gtx.off), 0);
	gtx.off = gtx.len = 0;
}

/* The next frame or preamble of the host; false: it has closed the port. */
static inline bool guest_next(struct wire_frame *f)
{
	for (;;) {
		size_t room;
		uint8_t *p;
		ssize_t n;
		int r = wire_rx_next(&grx, &gsync, f);

		if (r == WIRE_GOT_PREAMBLE || r == WIRE_GOT_FRAME)
			return true;
		if (r < 0)
			continue;
		assert_int_equal(msb_wait_fd(gport, POLLIN, WAIT_MS), 0);
		p = wire_rx_room(&grx, &room);
		n = read(gport, p, room);
		if (n <= 0)
			return false;
		wire_rx_filled(&grx, (size_t)n);
	}
}

static inline void guest_hello(void)
{
	struct wire_frame f;

	wire_rx_lost(&grx);
	assert_true(guest_next(&f));
	assert_int_equal(gsync.kind, WIRE_SYNC);
	gsync.kind = WIRE_HELLO;
	gsync.flags = WIRE_FLAG_BOOTED;
	wire_rx_accept(&grx, &gsync);
	wire_tx_start(&gtx, &gsync, false);
	guest_send();
}

/* A job of this guest, taken from the host. */
static inline uint32_t guest_exec(int *s)
{
	const char *const argv[] = {"x", NULL};
	struct msb_err e = {0};
	struct wire_frame f;

	*s = -1;
	for (uint64_t end = msb_now_ms() + WAIT_MS; msb_now_ms() < end;) {
		*s = agent_exec(ctl, &(struct agent_exec){.argv = argv}, &e);
		if (*s != -EBUSY) /* until the daemon has read our HELLO */
			break;
	}
	if (*s < 0)
		fprintf(stderr, "exec: %s\n", e.msg);
	assert_true(*s >= 0);
	assert_true(guest_next(&f));
	assert_int_equal(f.type, WIRE_EXEC);
	return f.id;
}

static inline void guest_frame(enum wire_type type, uint32_t id, const void *p, size_t n)
{
	assert_int_equal(wire_tx_frame(&gtx, type, id, p, n), 0);
}

#endif
