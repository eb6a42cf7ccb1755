// SPDX-License-Identifier: Apache-2.0
// Jobs as msb-agentd sees them: between one client's connection and one id on the wire.
#include "vmm/agentd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <signal.h>
#include <string.h>
#include <time.h>

_Static_assert(AGENT_MAX_JOBS == WIRE_MAX_JOBS, "one number");

static const char *const streams[2] = {"stdout", "stderr"};

void ad_job_free(struct agentd *a, struct ad_job *j)
{
	if (j->log)
		for (int i = 0; i < 2; i++)
			ad_log_flush(&a->log, j->number, streams[i], &j->tail[i]);
	if (a->jobs[j->id % WIRE_MAX_JOBS] == j) {
		a->jobs[j->id % WIRE_MAX_JOBS] = NULL;
		a->njobs--;
	}
	a->ntimed -= j->signal_at_ms != 0;
	free(j->ask);
	free(j->in);
	free(j->out);
	free(j->why);
	free(j->exec);
	free(j->mark);
	free(j);
}

/* ---- from the client */

bool ad_job_wants_input(const struct ad_job *j)
{
	return j->ended ? j->held : !j->ask && !j->in_len && !j->signals_due && !j->resize_due;
}

static int kv(uint8_t *b, size_t *n, const char *key, const char *value)
{
	return value ? wire_kv_add(b, WIRE_MAX_PAYLOAD, n, key, value) : 0;
}

static int kv_all(uint8_t *b, size_t *n, const struct msb_msg *m, const char *key)
{
	int r = 0;

	for (const char *v = NULL; r == 0 && (v = msb_msg_next(m, key, v));)
		r = kv(b, n, key, v);
	return r;
}

static struct ad_job *job_alloc(struct agentd *a)
{
	struct ad_job *j;
	unsigned int s = a->next_slot;

	for (; a->jobs[s]; s = (s + 1) % WIRE_MAX_JOBS)
		;
	a->next_slot = (s + 1) % WIRE_MAX_JOBS;
	j = calloc(1, sizeof(*j));
	if (!j)
		return NULL;
	a->generation = (a->generation + 1) % (AGENTD_FIRST_REQUEST / WIRE_MAX_JOBS);
	j->id = a->generation * WIRE_MAX_JOBS + s;
	j->number = ++a->next_number;
	j->window = a->njobs < AGENTD_WIDE_JOBS ? WIRE_OUT_WINDOW : WIRE_MIN_WINDOW;
	j->credit[0] = j->credit[1] = j->window;
	j->in_credit = WIRE_IN_WINDOW;
	a->jobs[s] = j;
	a->njobs++;
	return j;
}

static int take_mark(struct ad_job *j, const struct msb_msg *m, const char *v)
{
	char *copy = v ? strdup(v) : NULL;
	uint64_t hold;

	if (v && !copy)
		return -ENOMEM;
	free(j->mark);
	j->mark = copy;
	if (j->exec && !j->ended && msb_msg_get_u64(m, "hold", &hold) == 0) {
		j->held = hold;
		j->waits = hold == AGENT_HOLD_WAITS;
	}
	return 0;
}

/* What of the request is for us, not for the guest. */
static int set_up(struct agentd *a, struct ad_job *j, const struct msb_msg *m)
{
	uint64_t v = 0;

	j->log = msb_msg_get_u64(m, "log", &v) == 0 && v;
	if (msb_msg_get_u64(m, "job", &v) == 0 && v && v <= UINT32_MAX)
		j->number = (uint32_t)v; /* absent: our own count */
	if (msb_msg_get_u64(m, "timeout_ms", &v) == 0 && v && v <= AGENT_MAX_TIMEOUT_MS) {
		j->signal_at_ms = msb_now_ms() + v;
		a->ntimed++;
	}
	j->eof_told = msb_msg_get_u64(m, "stdin", &v) == 0 && !v; /* there is no input */
	if (msb_msg_get_u64(m, "rows", &v) == 0)
		j->rows = (uint16_t)v;
	if (msb_msg_get_u64(m, "cols", &v) == 0)
		j->cols = (uint16_t)v;
	if (msb_msg_get_u64(m, "hold", &v) < 0)
		return 0;
	j->held = v; /* a mark may change that */
	j->waits = v == AGENT_HOLD_WAITS;
	j->exec = malloc(m->head_bytes);
	if (!j->exec)
		return -ENOMEM;
	memcpy(j->exec, m->data, m->head_bytes);
	j->exec_bytes = m->head_bytes;
	return take_mark(j, m, msb_msg_get(m, "mark"));
}

int ad_job_new(struct agentd *a, struct ad_conn *c, const struct msb_msg *m, struct msb_err *e)
{
	static const char *const once[] = {"user", "cwd", "tty", "rows", "cols", "stdin"};
	uint8_t b[WIRE_MAX_PAYLOAD];
	char window[16];
	struct ad_job *j;
	size_t n = 0;
	int r;

	if (a->refused)
		return msb_err_set(e, EPROTO,
			"the agent in the guest is of another version of msb; start the sandbox again");
	if (!a->booted)
		return msb_err_set(e, EBUSY, "the sandbox is not ready");
	if (a->njobs >= AGENT_MAX_JOBS)
		return msb_err_set(
			e, EAGAIN, "%d jobs run in this sandbox already", AGENT_MAX_JOBS);
	j = job_alloc(a);
	if (!j || set_up(a, j, m) < 0) {
		if (j)
			ad_job_free(a, j);
		return msb_err_set(e, ENOMEM, "no memory for a job");
	}
	(void)snprintf(window, sizeof(window), "%u", j->window);
	r = kv_all(b, &n, m, "arg");
	if (r == 0)
		r = kv_all(b, &n, m, "env");
	if (r == 0)
		r = kv_all(b, &n, m, "rlimit");
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(once); i++)
		r = kv(b, &n, once[i], msb_msg_get(m, once[i]));
	if (r == 0)
		r = kv(b, &n, "window", window);
	if (r < 0) {
		ad_job_free(a, j);
		return msb_err_set(e, -r, "the command and its environment are too long");
	}
	j->ask = malloc(n);
	if (!j->ask) {
		ad_job_free(a, j);
		return msb_err_set(e, ENOMEM, "no memory for a job");
	}
	memcpy(j->ask, b, n);
	j->ask_bytes = n;
	j->conn = c;
	c->kind = AD_JOB;
	c->job = j;
	(void)ad_job_send(a, j); /* what does not fit yet is kept */
	ad_conn_ok(a, c);
	return 0;
}

static int take_input(struct ad_job *j, const struct msb_msg *m)
{
	size_t left = j->in_len - j->in_off, n = m->payload_bytes;
	uint8_t *b;

	if (!n)
		return 0;
	b = malloc(left + n);
	if (!b)
		return -ENOMEM;
	if (left)
		memcpy(b, j->in + j->in_off, left);
	memcpy(b + left, msb_msg_payload_ptr(m), n);
	free(j->in);
	j->in = b;
	j->in_off = 0;
	j->in_len = left + n;
	j->in_bytes += n;
	return 0;
}

/* -EINVAL: it is no message to a job. */
static int message(struct ad_job *j, const struct msb_msg *m)
{
	const char *v = msb_msg_verb(m);
	uint64_t x = 0, y = 0;

	if (!strcmp(v, "mark"))
		return take_mark(j, m, msb_msg_get(m, "v"));
	if (!strcmp(v, "forget")) {
		j->held = false;
		return 0;
	}
	if (j->ended)
		return 0; /* sent before it knew */
	if (!strcmp(v, "in"))
		return j->eof_told ? 0 : take_input(j, m);
	if (!strcmp(v, "eof")) {
		j->in_eof = !j->eof_told;
		j->eof_told = true;
	} else if (!strcmp(v, "signal") && msb_msg_get_u64(m, "n", &x) == 0 && x >= 1 && x <= 64) {
		j->signals_due |= UINT64_C(1) << (x - 1);
	} else if (!strcmp(v, "resize") && msb_msg_get_u64(m, "rows", &x) == 0 &&
		   msb_msg_get_u64(m, "cols", &y) == 0 && x <= UINT16_MAX && y <= UINT16_MAX) {
		j->rows = (uint16_t)x;
		j->cols = (uint16_t)y;
		j->resize_due = true;
	} else {
		return -EINVAL;
	}
	return 0;
}

void ad_job_message(struct agentd *a, struct ad_conn *c, const struct msb_msg *m)
{
	int r = message(c->job, m);

	if (r < 0)
		log_warn("%s", r == -ENOMEM ? "no memory for what a client says to a job"
					    : "a client sent an unknown message to a job");
	if (r < 0 || !strcmp(msb_msg_verb(m), "forget")) {
		ad_conn_close(a, c);
		return;
	}
	(void)ad_job_send(a, c->job); /* what does not fit yet is kept */
	ad_conn_update(a, c);
}

/* What a client that was killed had written, and nobody has read: the writes had returned. */
static void last_words(struct agentd *a, struct ad_conn *c)
{
	struct msb_msg m;

	while (msb_msg_recv(c->fd, &m) == 0) {
		(void)message(c->job, &m); /* what cannot be done is lost with its sender */
		msb_msg_close_fds(&m);
	}
	(void)ad_job_send(a, c->job);
}

void ad_job_abandon(struct agentd *a, struct ad_conn *c)
{
	struct ad_job *j = c->job;

	if (j->held)
		last_words(a, c);
	c->job = NULL;
	j->conn = NULL;
	j->live_due = false;
	if (j->held && j->waits)
		return;
	ad_job_skip(j);
	if (j->held)
		return;
	free(j->in);
	j->in = NULL;
	j->in_off = j->in_len = 0;
	j->in_eof = false;
	if (!j->ended && !j->ask) { /* one that the guest knows of */
		j->hangup_due = true;
		return;
	}
	ad_held_unlink(a, j); /* where it was forgotten now */
	ad_job_free(a, j);
}

/* ---- from the guest */

uint64_t ad_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void end_as(struct agentd *a, struct ad_job *j, int how)
{
	j->ended = how;
	j->ended_usec = ad_now_usec();
	a->ntimed -= j->signal_at_ms != 0;
	j->signal_at_ms = 0;
	free(j->ask);
	j->ask = NULL;
	free(j->in);
	j->in = NULL;
	j->in_off = j->in_len = 0;
	if (j->log)
		for (int i = 0; i < 2; i++)
			ad_log_flush(&a->log, j->number, streams[i], &j->tail[i]);
	ad_job_ended(a, j);
}

static void end_with(
	struct agentd *a, struct ad_job *j, unsigned int fault, const struct msb_err *e)
{
	j->fault = fault <= AD_FAULT_LOST ? fault : WIRE_FAULT_PROGRAM;
	j->why = malloc(sizeof(*j->why));
	if (j->why)
		*j->why = *e;
	/* the number of an error is all there is memory for otherwise */
	end_as(a, j, j->why ? AD_FAILED : AD_EXITED);
}

void ad_jobs_fail(struct agentd *a, const struct msb_err *e)
{
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (a->jobs[i] && !a->jobs[i]->ended)
			end_with(a, a->jobs[i], AD_FAULT_LOST, e);
}

static int stream_frame(
	struct agentd *a, struct ad_job *j, const struct wire_frame *f, const char **why)
{
	int s = f->type == WIRE_ERR;

	if (!j->started)
		return -EBADMSG;
	if (f->len > WIRE_STREAM_MAX || WIRE_COST(f->len) > j->credit[s]) {
		*why = "it sent more output than it was granted";
		return -EBADMSG;
	}
	j->credit[s] -= WIRE_COST(f->len);
	return ad_job_output(a, j, s, f->payload, f->len);
}

static int credit_frame(struct agentd *a, struct ad_job *j, const struct wire_frame *f)
{
	uint32_t n;

	if (f->len != 5 || f->payload[0] != WIRE_IN)
		return -EBADMSG;
	n = wire_get32(f->payload + 1);
	if (n > WIRE_IN_WINDOW - j->in_credit)
		return -EBADMSG;
	j->in_credit += n;
	(void)ad_job_send(a, j);
	return 0;
}

static int started_frame(struct agentd *a, struct ad_job *j, const struct wire_frame *f)
{
	struct msb_msg m;

	if (f->len != 4 || j->started)
		return -EBADMSG;
	j->started = true;
	j->started_usec = ad_now_usec();
	j->pid = wire_get32(f->payload);
	if (!j->conn)
		return 0;
	msb_msg_init(&m, "started");
	msb_msg_set(&m, "job", "%u", j->number);
	msb_msg_set(&m, "pid", "%u", j->pid);
	msb_msg_set(&m, "usec", "%llu", (unsigned long long)j->started_usec);
	if (msb_msg_send(j->conn->fd, &m) < 0) /* the first one: a client that has gone */
		ad_conn_close(a, j->conn);
	return 0;
}

static int exit_frame(struct agentd *a, struct ad_job *j, const struct wire_frame *f)
{
	if (f->len != 3 || f->payload[0] > 1 || f->payload[1] > 1)
		return -EBADMSG;
	j->by_signal = f->payload[0];
	j->oom = f->payload[1];
	j->code = f->payload[2];
	if (j->oom)
		ad_event(a, "oom", "the guest ran out of memory and ended a job");
	end_as(a, j, AD_EXITED);
	return 0;
}

void ad_guest_error(const struct wire_frame *f, struct msb_err *e)
{
	char text[AGENTD_SENTENCE_MAX * 4 + 1];
	struct msb_str s = MSB_STR_FIXED(text);
	uint32_t code = f->len >= 4 ? wire_get32(f->payload) & 0xffff : 0;
	size_t n = f->len > 4 ? f->len - 4 : 0;

	msb_str_add_printable(&s, (const char *)f->payload + 4,
		n < AGENTD_SENTENCE_MAX ? n : AGENTD_SENTENCE_MAX);
	msb_err_set(e, code > 0 && code < 4096 ? (int)code : EIO, "%s",
		s.len ? text : "the guest gave no reason");
}

int ad_job_frame(struct agentd *a, const struct wire_frame *f, const char **why)
{
	struct ad_job *j = a->jobs[f->id % WIRE_MAX_JOBS];
	struct msb_err e = {0};

	*why = "it sent a frame that does not fit";
	if (!j || j->id != f->id || j->ask || j->ended) {
		*why = "it spoke of a job that does not exist";
		return -EBADMSG;
	}
	switch (f->type) {
	case WIRE_STARTED: return started_frame(a, j, f);
	case WIRE_OUT:
	case WIRE_ERR: return stream_frame(a, j, f, why);
	case WIRE_CREDIT: return credit_frame(a, j, f);
	case WIRE_EXIT: return exit_frame(a, j, f);
	case WIRE_ERROR:
		ad_guest_error(f, &e);
		end_with(a, j, f->len >= 4 ? wire_get32(f->payload) >> 16 : WIRE_FAULT_PROGRAM, &e);
		return 0;
	default: return -EBADMSG;
	}
}
