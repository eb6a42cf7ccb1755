// SPDX-License-Identifier: Apache-2.0
// Jobs as msb-agentd sees them: between one client's connection and one id on the wire.
#include "vmm/agentd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <string.h>

#define RECORD_HEAD 5 /* u8 stream, u32 bytes; less than what WIRE_COST() charges for a frame */

_Static_assert(RECORD_HEAD <= WIRE_COST(0), "what waits for a client is bounded by its credit");
_Static_assert(AGENT_MAX_JOBS == WIRE_MAX_JOBS, "one number");

static const char *const streams[2] = {"stdout", "stderr"};
static const char *const faults[] = {[WIRE_FAULT_PROGRAM] = "program",
	[WIRE_FAULT_USER] = "user",
	[WIRE_FAULT_CWD] = "cwd",
	[WIRE_FAULT_LIMITS] = "limits",
	[AD_FAULT_LOST] = "lost"};
static const char *const verbs[2] = {"out", "err"};

static void job_free(struct agentd *a, struct ad_job *j)
{
	if (j->log)
		for (int i = 0; i < 2; i++)
			ad_log_flush(&a->log, j->number, streams[i], &j->tail[i]);
	a->jobs[j->id % WIRE_MAX_JOBS] = NULL;
	a->njobs--;
	free(j->in);
	free(j->out);
	free(j->why);
	free(j);
}

/* ---- towards the client */

bool ad_job_has_output(const struct ad_job *j)
{
	return j->out_off < j->out_len;
}

static int deliver(const struct ad_job *j, int stream, const void *p, size_t n)
{
	struct msb_msg m;

	msb_msg_init(&m, verbs[stream]);
	msb_msg_payload(&m, p, n);
	return msb_msg_send(j->conn->fd, &m);
}

static int keep(struct ad_job *j, int stream, const void *p, size_t n)
{
	uint8_t *b;

	if (j->out_off && j->out_len + RECORD_HEAD + n > j->out_cap) {
		memmove(j->out, j->out + j->out_off, j->out_len - j->out_off);
		j->out_len -= j->out_off;
		j->out_off = 0;
	}
	if (j->out_len + RECORD_HEAD + n > j->out_cap) {
		size_t cap = j->out_cap ? j->out_cap : 4096;

		while (cap < j->out_len + RECORD_HEAD + n)
			cap *= 2;
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

static void passed_on(struct ad_job *j, int stream, size_t n)
{
	j->owed[stream] += WIRE_COST(n);
}

static int output(struct agentd *a, struct ad_job *j, int stream, const uint8_t *p, size_t n)
{
	int r = 0;

	if (j->log && n)
		ad_log_add(&a->log, j->number, streams[stream], &j->tail[stream], p, n);
	if (j->conn && n && !ad_job_has_output(j))
		r = deliver(j, stream, p, n);
	else if (j->conn && n)
		r = -EAGAIN;
	if (r == -EAGAIN) {
		if (keep(j, stream, p, n) < 0)
			return -ENOMEM;
		ad_conn_update(a, j->conn);
		return 0;
	}
	passed_on(j, stream, n);
	if (r < 0)
		ad_conn_close(a, j->conn);
	return 0;
}

void ad_job_drain(struct agentd *a, struct ad_job *j)
{
	while (ad_job_has_output(j)) {
		const uint8_t *b = j->out + j->out_off;
		uint32_t n = wire_get32(b + 1);
		int r = deliver(j, b[0], b + RECORD_HEAD, n);

		if (r == -EAGAIN)
			break;
		if (r < 0) {
			ad_conn_close(a, j->conn);
			return;
		}
		passed_on(j, b[0], n);
		j->out_off += RECORD_HEAD + n;
	}
	if (!ad_job_has_output(j)) {
		j->out_off = j->out_len = 0;
		if (j->out_cap > WIRE_FRAME_MAX) { /* a reader that was slow once keeps no memory */
			free(j->out);
			j->out = NULL;
			j->out_cap = 0;
		}
		if (j->ended) {
			ad_job_finish(a, j);
			return;
		}
	}
	ad_conn_update(a, j->conn);
}

/* ---- from the client */

bool ad_job_wants_input(const struct ad_job *j)
{
	return j->in_len == 0 && !j->ended;
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

int ad_job_new(struct agentd *a, struct ad_conn *c, const struct msb_msg *m, struct msb_err *e)
{
	static const char *const once[] = {"user", "cwd", "tty", "rows", "cols", "stdin"};
	uint8_t b[WIRE_MAX_PAYLOAD];
	uint64_t want_log = 0, number = 0;
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
	(void)msb_msg_get_u64(m, "log", &want_log); /* absent: no */
	(void)msb_msg_get_u64(m, "job", &number);   /* absent: our own count */
	j = job_alloc(a);
	if (!j)
		return msb_err_set(e, ENOMEM, "no memory for a job");
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
	if (r == 0)
		r = wire_tx_frame(
			&a->tx, WIRE_EXEC, j->id, b, n); /* there is room: see wants_read */
	if (r < 0) {
		job_free(a, j);
		return msb_err_set(e, -r, "the command and its environment are too long");
	}
	j->log = want_log != 0;
	if (number && number <= UINT32_MAX)
		j->number = (uint32_t)number;
	j->conn = c;
	c->kind = AD_JOB;
	c->job = j;
	ad_conn_ok(a, c);
	return 0;
}

/* As much of what the client sent as the credit allows. */
static void input(struct agentd *a, struct ad_job *j)
{
	while (j->in_off < j->in_len && j->in_credit > WIRE_COST(0)) {
		size_t n = j->in_len - j->in_off;

		if (n > WIRE_STREAM_MAX)
			n = WIRE_STREAM_MAX;
		if (n > j->in_credit - WIRE_COST(0))
			n = j->in_credit - WIRE_COST(0);
		if (wire_tx_frame(&a->tx, WIRE_IN, j->id, j->in + j->in_off, n) < 0)
			return;
		j->in_off += n;
		j->in_credit -= WIRE_COST(n);
	}
	if (j->in_off < j->in_len)
		return;
	free(j->in);
	j->in = NULL;
	j->in_off = j->in_len = 0;
	if (j->in_eof && j->in_credit >= WIRE_COST(1) &&
		wire_tx_frame(&a->tx, WIRE_IN_EOF, j->id, NULL, 0) == 0) {
		j->in_credit -= WIRE_COST(1);
		j->in_eof = false;
	}
}

static void take_input(struct agentd *a, struct ad_job *j, const struct msb_msg *m)
{
	if (!m->payload_bytes)
		return;
	j->in = malloc(m->payload_bytes);
	if (!j->in) {
		log_warn("no memory for a job's input");
		ad_conn_close(a, j->conn);
		return;
	}
	memcpy(j->in, msb_msg_payload_ptr(m), m->payload_bytes);
	j->in_len = m->payload_bytes;
	j->in_off = 0;
	input(a, j);
}

void ad_job_message(struct agentd *a, struct ad_conn *c, const struct msb_msg *m)
{
	const char *v = msb_msg_verb(m);
	struct ad_job *j = c->job;
	uint64_t x = 0, y = 0;
	uint8_t b[4];

	if (!strcmp(v, "in")) {
		take_input(a, j, m);
	} else if (!strcmp(v, "eof")) {
		j->in_eof = true;
		input(a, j);
	} else if (!strcmp(v, "signal") && msb_msg_get_u64(m, "n", &x) == 0 && x >= 1 && x <= 64) {
		wire_put32(b, (uint32_t)x);
		(void)wire_tx_frame(&a->tx, WIRE_SIGNAL, j->id, b, 4); /* there is room */
	} else if (!strcmp(v, "resize") && msb_msg_get_u64(m, "rows", &x) == 0 &&
		   msb_msg_get_u64(m, "cols", &y) == 0 && x <= UINT16_MAX && y <= UINT16_MAX) {
		wire_put32(b, (uint32_t)(x | y << 16));
		(void)wire_tx_frame(&a->tx, WIRE_RESIZE, j->id, b, 4); /* there is room */
	} else {
		log_warn("a client sent an unknown message to a job");
		ad_conn_close(a, c);
		return;
	}
	ad_conn_update(a, c);
}

void ad_job_abandon(struct agentd *a, struct ad_job *j)
{
	j->conn->job = NULL;
	j->conn = NULL;
	while (ad_job_has_output(j)) { /* nobody will read it: its credit goes back */
		const uint8_t *b = j->out + j->out_off;

		passed_on(j, b[0], wire_get32(b + 1));
		j->out_off += RECORD_HEAD + wire_get32(b + 1);
	}
	free(j->in);
	j->in = NULL;
	j->in_off = j->in_len = 0;
	j->in_eof = false;
	if (j->ended)
		job_free(a, j);
	else
		j->hangup_due = true;
}

/* ---- towards the guest */

bool ad_job_send(struct agentd *a, struct ad_job *j)
{
	if (j->ended)
		return true;
	if (j->hangup_due) {
		if (wire_tx_frame(&a->tx, WIRE_HANGUP, j->id, NULL, 0) < 0)
			return false;
		j->hangup_due = false;
	}
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
	if (j->in_len || j->in_eof) {
		input(a, j);
		if (j->conn)
			ad_conn_update(a, j->conn);
	}
	return true;
}

/* ---- from the guest */

void ad_job_finish(struct agentd *a, struct ad_job *j)
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
	if (c && msb_msg_send(c->fd, &m) == -EAGAIN) {
		ad_conn_update(a, c); /* comes back when there is room */
		return;
	}
	if (c) {
		c->job = NULL;
		ad_conn_close(a, c);
	}
	job_free(a, j);
}

static void end_with(
	struct agentd *a, struct ad_job *j, unsigned int fault, const struct msb_err *e)
{
	j->ended = AD_FAILED;
	j->fault = fault < ARRAY_LEN(faults) ? fault : WIRE_FAULT_PROGRAM;
	j->why = malloc(sizeof(*j->why));
	if (!j->why)
		j->ended = AD_EXITED; /* the number of an error is all there is memory for */
	else
		*j->why = *e;
	if (!ad_job_has_output(j))
		ad_job_finish(a, j);
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
	return output(a, j, s, f->payload, f->len);
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
	input(a, j);
	if (j->conn)
		ad_conn_update(a, j->conn);
	return 0;
}

static int started_frame(struct agentd *a, struct ad_job *j, const struct wire_frame *f)
{
	struct msb_msg m;

	if (f->len != 4 || j->started)
		return -EBADMSG;
	j->started = true;
	if (!j->conn)
		return 0;
	msb_msg_init(&m, "started");
	msb_msg_set(&m, "job", "%u", j->number);
	msb_msg_set(&m, "pid", "%u", wire_get32(f->payload));
	if (msb_msg_send(j->conn->fd, &m) < 0) /* the first one: a client that has gone */
		ad_conn_close(a, j->conn);
	return 0;
}

static int exit_frame(struct agentd *a, struct ad_job *j, const struct wire_frame *f)
{
	if (f->len != 3 || f->payload[0] > 1 || f->payload[1] > 1)
		return -EBADMSG;
	j->ended = AD_EXITED;
	j->by_signal = f->payload[0];
	j->oom = f->payload[1];
	j->code = f->payload[2];
	if (j->oom)
		ad_event(a, "oom", "the guest ran out of memory and ended a job");
	if (!ad_job_has_output(j))
		ad_job_finish(a, j);
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
	if (!j || j->id != f->id || j->ended) {
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
