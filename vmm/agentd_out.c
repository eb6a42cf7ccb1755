// SPDX-License-Identifier: Apache-2.0
// What a job prints: to its client, and kept for the next one where the job is held.
#include "vmm/agentd.h"
#include "base/cleanup.h"

#include <string.h>

#define RECORD_HEAD 5 /* u8 stream, u32 bytes; less than what WIRE_COST() charges for a frame */

_Static_assert(RECORD_HEAD <= WIRE_COST(0), "what waits for a client is bounded by its credit");

static const char *const streams[2] = {"stdout", "stderr"};
static const char *const verbs[2] = {"out", "err"};
static const char *const faults[] = {[WIRE_FAULT_PROGRAM] = "program",
	[WIRE_FAULT_USER] = "user",
	[WIRE_FAULT_CWD] = "cwd",
	[WIRE_FAULT_LIMITS] = "limits",
	[AD_FAULT_LOST] = "lost"};

bool ad_job_has_output(const struct ad_job *j)
{
	return j->out_sent < j->out_len || j->live_due;
}

static uint32_t record_bytes(const struct ad_job *j, size_t off)
{
	return wire_get32(j->out + off + 1);
}

/* Gives the guest its credit for what has been sent, once. */
static void pay(struct ad_job *j)
{
	while (j->out_paid < j->out_sent) {
		uint32_t n = record_bytes(j, j->out_paid);

		j->owed[j->out[j->out_paid]] += WIRE_COST(n);
		j->out_paid += RECORD_HEAD + n;
	}
}

/* Lets go of what nobody will ask for. */
static bool too_much(const struct ad_job *j)
{
	return j->waits ? j->out_sent - j->out_off > AGENTD_WAITS_BYTES
			: j->out_len - j->out_off > AGENTD_HELD_BYTES;
}

static void trim(struct ad_job *j)
{
	while (j->out_off < j->out_sent && (!j->held || too_much(j))) {
		uint32_t n = record_bytes(j, j->out_off);

		j->gone[j->out[j->out_off]] += n;
		j->out_off += RECORD_HEAD + n;
	}
	if (j->out_off < j->out_len)
		return;
	j->out_off = j->out_paid = j->out_sent = j->out_len = 0;
	if (j->out_cap > WIRE_FRAME_MAX) { /* a reader that was slow once keeps no memory */
		free(j->out);
		j->out = NULL;
		j->out_cap = 0;
	}
}

void ad_job_skip(struct ad_job *j)
{
	j->out_sent = j->out_len;
	pay(j);
	trim(j);
}

/* Moves what is kept to the buffer's beginning. */
static void compact(struct ad_job *j)
{
	if (!j->out_off)
		return;
	memmove(j->out, j->out + j->out_off, j->out_len - j->out_off);
	j->out_paid -= j->out_off;
	j->out_sent -= j->out_off;
	j->out_len -= j->out_off;
	j->out_off = 0;
}

static int keep(struct ad_job *j, int stream, const void *p, size_t n)
{
	size_t cap = j->out_cap ? j->out_cap : 4096;
	uint8_t *b;

	/* Only where as much comes as is moved: else it grows. */
	if (j->out_len + RECORD_HEAD + n > j->out_cap && j->out_off >= j->out_len / 2)
		compact(j);
	while (cap < j->out_len + RECORD_HEAD + n)
		cap *= 2;
	if (cap > j->out_cap) {
		b = realloc(j->out, cap);
		if (!b)
			return -ENOMEM;
		j->out = b;
		j->out_cap = cap;
	}
	b = j->out + j->out_len;
	b[0] = (uint8_t)stream;
	wire_put32(b + 1, (uint32_t)n);
	memcpy(b + RECORD_HEAD, p, n);
	j->out_len += RECORD_HEAD + n;
	return 0;
}

static int deliver(const struct ad_job *j, int stream, const void *p, size_t n)
{
	struct msb_msg m;

	msb_msg_init(&m, verbs[stream]);
	msb_msg_payload(&m, p, n);
	return msb_msg_send(j->conn->fd, &m);
}

int ad_job_output(struct agentd *a, struct ad_job *j, int stream, const uint8_t *p, size_t n)
{
	bool waits = ad_job_has_output(j);
	int r = 0;

	if (j->log && n)
		ad_log_add(&a->log, j->number, streams[stream], &j->tail[stream], p, n);
	if (j->conn && n && !waits)
		r = deliver(j, stream, p, n);
	else if (j->conn && n)
		r = -EAGAIN;
	if (n && (j->held || r == -EAGAIN) && keep(j, stream, p, n) < 0)
		return -ENOMEM;
	if (r == -EAGAIN) {
		ad_conn_update(a, j->conn);
		return 0;
	}
	if (n && j->held && (j->conn || !j->waits))
		ad_job_skip(j); /* it was sent, or there is nobody */
	else if (n && j->held)
		return 0; /* the guest has its credit back once it was sent */
	else
		j->owed[stream] += WIRE_COST(n);
	if (r < 0)
		ad_conn_close(a, j->conn);
	return 0;
}

/* How it ended. */
static void finish(struct agentd *a, struct ad_job *j)
{
	struct ad_conn *c = j->conn;
	struct msb_msg m;

	if (j->ended == AD_EXITED) {
		msb_msg_init(&m, "exit");
		msb_msg_set(&m, j->by_signal ? "signal" : "code", "%u", j->code);
		if (j->oom)
			msb_msg_set(&m, "oom", "1");
	} else {
		msb_msg_init(&m, "error");
		msb_msg_set(&m, "code", "%d", j->why->code);
		msb_msg_set(&m, "msg", "%s", j->why->msg);
		msb_msg_set(&m, "fault", "%s", faults[j->fault]);
	}
	if (j->timed_out)
		msb_msg_set(&m, "timeout", "1");
	msb_msg_set(&m, "usec", "%llu", (unsigned long long)j->ended_usec);
	if (c && msb_msg_send(c->fd, &m) == -EAGAIN) {
		ad_conn_update(a, c); /* comes back when there is room */
		return;
	}
	if (j->held) { /* a client that has gone is noticed by itself */
		j->told = c != NULL;
		return;
	}
	if (c) {
		c->job = NULL;
		ad_conn_close(a, c);
	}
	ad_job_free(a, j);
}

void ad_job_drain(struct agentd *a, struct ad_job *j)
{
	struct ad_conn *c = j->conn;
	struct msb_msg m;
	int r = 0;

	while (r == 0 && j->out_sent < j->out_len) {
		uint32_t n = record_bytes(j, j->out_sent);

		r = deliver(j, j->out[j->out_sent], j->out + j->out_sent + RECORD_HEAD, n);
		if (r == 0)
			j->out_sent += RECORD_HEAD + n;
	}
	pay(j);
	trim(j);
	if (r == 0 && j->live_due && !j->ended) {
		msb_msg_init(&m, "live");
		r = msb_msg_send(c->fd, &m);
	}
	if (r == 0)
		j->live_due = false;
	if (r < 0 && r != -EAGAIN) {
		ad_conn_close(a, c);
		return;
	}
	if (r == 0 && j->ended && !j->told)
		finish(a, j); /* may be its end, and the connection's */
	ad_conn_update(a, c);
}

void ad_job_ended(struct agentd *a, struct ad_job *j)
{
	if (j->held)
		ad_held_retire(a, j);
	compact(j);
	if (!ad_job_has_output(j))
		finish(a, j);
}
