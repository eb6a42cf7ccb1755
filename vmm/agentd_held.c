// SPDX-License-Identifier: Apache-2.0
// Jobs that outlive their client: what an msbd that was killed left, for the next one.
#include "vmm/agentd.h"
#include "base/cleanup.h"

#include <string.h>

void ad_held_unlink(struct agentd *a, struct ad_job *j)
{
	struct ad_job **at = &a->past;

	while (*at && *at != j)
		at = &(*at)->next;
	if (!*at)
		return;
	*at = j->next;
	a->npast--;
	if (!*at)
		a->past_end = at;
}

/* The oldest that nobody is connected to: its client ended before it could say `forget`. */
static void make_room(struct agentd *a)
{
	for (struct ad_job *j = a->past; j; j = j->next)
		if (!j->conn) {
			ad_held_unlink(a, j);
			ad_job_free(a, j);
			return;
		}
}

void ad_held_retire(struct agentd *a, struct ad_job *j)
{
	if (a->npast >= AGENT_MAX_HELD)
		make_room(a);
	a->jobs[j->id % WIRE_MAX_JOBS] = NULL;
	a->njobs--;
	if (!a->past_end)
		a->past_end = &a->past;
	j->next = NULL;
	*a->past_end = j;
	a->past_end = &j->next;
	a->npast++;
}

void ad_held_list(struct agentd *a, struct msb_msg *m)
{
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (a->jobs[i] && a->jobs[i]->held)
			msb_msg_set(m, "job", "%u", a->jobs[i]->number);
	for (const struct ad_job *j = a->past; j; j = j->next)
		msb_msg_set(m, "job", "%u", j->number);
}

static struct ad_job *find(struct agentd *a, uint32_t number)
{
	struct ad_job *j;

	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (a->jobs[i] && a->jobs[i]->held && a->jobs[i]->number == number)
			return a->jobs[i];
	for (j = a->past; j && j->number != number; j = j->next)
		;
	return j;
}

/* What the next client has to know: its state, then the request that it was made by. */
static int describe(const struct ad_job *j, int fd)
{
	struct msb_msg m;
	int r;

	msb_msg_init(&m, "ok");
	msb_msg_set(&m, "pid", "%u", j->pid);
	msb_msg_set(&m, "started_usec", "%llu", (unsigned long long)j->started_usec);
	msb_msg_set(&m, "out_gone", "%llu", (unsigned long long)j->gone[0]);
	msb_msg_set(&m, "err_gone", "%llu", (unsigned long long)j->gone[1]);
	msb_msg_set(&m, "in", "%llu", (unsigned long long)j->in_bytes);
	msb_msg_set(&m, "eof", "%d", j->eof_told);
	msb_msg_set(&m, "rows", "%u", j->rows);
	msb_msg_set(&m, "cols", "%u", j->cols);
	if (j->mark)
		msb_msg_set(&m, "mark", "%s", j->mark);
	r = msb_msg_send(fd, &m);
	if (r < 0)
		return r;
	memcpy(m.data, j->exec, j->exec_bytes);
	m.head_bytes = j->exec_bytes;
	return msb_msg_send(fd, &m);
}

void ad_held_forget(struct agentd *a, uint32_t number)
{
	struct ad_job *j = find(a, number);

	if (!j)
		return;
	j->held = false;
	if (j->conn) {
		ad_conn_close(a, j->conn); /* and the job with it */
	} else if (j->ended || j->ask) {   /* over, or the guest does not know of it yet */
		ad_held_unlink(a, j);
		ad_job_free(a, j);
	} else {
		ad_job_skip(j);
		j->hangup_due = true;
	}
}

int ad_held_adopt(struct agentd *a, struct ad_conn *c, uint32_t number, struct msb_err *e)
{
	struct ad_job *j = find(a, number);

	if (j && j->conn) { /* one that has died, and was not noticed yet */
		ad_conn_close(a, j->conn);
		j = find(a, number); /* its last word may have been to forget it */
	}
	if (!j)
		return msb_err_set(e, ENOENT, "no job %u is held here", number);
	c->kind = AD_JOB;
	c->job = j;
	j->conn = c;
	j->told = false;
	j->live_due = true;
	j->out_sent = j->out_off;
	if (describe(j, c->fd) < 0)
		ad_conn_close(a, c);
	else
		ad_job_drain(a, j);
	return 0;
}
