// SPDX-License-Identifier: Apache-2.0
// What of a job is for the guest, and waits in the job until there is room for it.
#include "vmm/agentd.h"
#include "base/cleanup.h"

#include <signal.h>

static bool send_exec(struct agentd *a, struct ad_job *j)
{
	if (!j->ask)
		return true;
	if (wire_tx_frame(&a->tx, WIRE_EXEC, j->id, j->ask, j->ask_bytes) < 0)
		return false;
	free(j->ask);
	j->ask = NULL;
	return true;
}

static bool send_number(struct agentd *a, const struct ad_job *j, enum wire_type type, uint32_t v)
{
	uint8_t b[4];

	wire_put32(b, v);
	return wire_tx_frame(&a->tx, type, j->id, b, sizeof(b)) == 0;
}

static bool send_numbers(struct agentd *a, struct ad_job *j)
{
	if (j->hangup_due) {
		if (wire_tx_frame(&a->tx, WIRE_HANGUP, j->id, NULL, 0) < 0)
			return false;
		j->hangup_due = false;
	}
	if (j->resize_due) {
		if (!send_number(a, j, WIRE_RESIZE, j->rows | (uint32_t)j->cols << 16))
			return false;
		j->resize_due = false;
	}
	for (; j->signals_due; j->signals_due &= j->signals_due - 1)
		if (!send_number(a, j, WIRE_SIGNAL, (uint32_t)__builtin_ctzll(j->signals_due) + 1))
			return false;
	for (int i = 0; i < 2; i++) {
		uint8_t b[5] = {i ? WIRE_ERR : WIRE_OUT};

		/* In quarters: a frame for each chunk would double the frames. */
		if (j->owed[i] < j->window / 4)
			continue;
		wire_put32(b + 1, j->owed[i]);
		if (wire_tx_frame(&a->tx, WIRE_CREDIT, j->id, b, sizeof(b)) < 0)
			return false;
		j->credit[i] += j->owed[i];
		j->owed[i] = 0;
	}
	return true;
}

/* As much of what the client sent as the credit allows; false: there is no room for more. */
static bool send_input(struct agentd *a, struct ad_job *j)
{
	while (j->in_off < j->in_len && j->in_credit > WIRE_COST(0)) {
		size_t n = j->in_len - j->in_off;

		if (n > WIRE_MAX_PAYLOAD)
			n = WIRE_MAX_PAYLOAD;
		if (n > j->in_credit - WIRE_COST(0))
			n = j->in_credit - WIRE_COST(0);
		if (wire_tx_frame(&a->tx, WIRE_IN, j->id, j->in + j->in_off, n) < 0)
			return false;
		j->in_off += n;
		j->in_credit -= WIRE_COST(n);
	}
	if (j->in_off < j->in_len)
		return true;
	free(j->in);
	j->in = NULL;
	j->in_off = j->in_len = 0;
	if (!j->in_eof || j->in_credit < WIRE_COST(1))
		return true;
	if (wire_tx_frame(&a->tx, WIRE_IN_EOF, j->id, NULL, 0) < 0)
		return false;
	j->in_credit -= WIRE_COST(1);
	j->in_eof = false;
	return true;
}

bool ad_job_send(struct agentd *a, struct ad_job *j)
{
	bool all = j->ended || (send_exec(a, j) && send_numbers(a, j) && send_input(a, j));

	if (j->conn)
		ad_conn_update(a, j->conn);
	return all;
}

/* ---- time limits */

static uint64_t due(struct ad_job *j, uint64_t now)
{
	if (j->signal_at_ms > now)
		return j->signal_at_ms;
	j->signals_due |= UINT64_C(1) << ((j->timed_out ? SIGKILL : SIGTERM) - 1);
	j->timed_out = true;
	return j->signal_at_ms = now + AGENT_KILL_MS;
}

uint64_t ad_jobs_tick(struct agentd *a, uint64_t now)
{
	uint64_t next = UINT64_MAX, at;

	if (!a->ntimed || !a->synced)
		return next;
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (a->jobs[i] && !a->jobs[i]->ended && a->jobs[i]->signal_at_ms) {
			at = due(a->jobs[i], now);
			next = at < next ? at : next;
		}
	return next;
}
