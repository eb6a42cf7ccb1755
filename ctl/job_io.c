// SPDX-License-Identifier: Apache-2.0
// Jobs: their streams.
#include "ctl/job_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "vmm/agent.h"

#include <poll.h>
#include <string.h>

#define HEAD 5 /* of a record */

struct record {
	unsigned int stream;
	uint32_t n;
	const char *p;
};

static struct record record_at(const struct ctl_job *j, uint64_t pos)
{
	const char *b = j->buf + j->off + (pos - j->base);
	struct record rec = {.stream = (unsigned char)b[0], .p = b + HEAD};

	memcpy(&rec.n, b + 1, sizeof(rec.n));
	return rec;
}

static uint64_t end_of(const struct ctl_job *j)
{
	return j->base + j->len;
}

/* ---- what falls out */

static bool wanted(const struct ctl_job *j, const struct record *rec)
{
	if (j->rejoin && !j->readers)
		return true;
	for (const struct ctl_job_reader *r = j->readers; r; r = r->next)
		if (r->pos == j->base && (r->mask & rec->stream))
			return true;
	return false;
}

/* Lets the oldest records go until @more bytes fit. Return: whether they do. */
static bool make_room(struct ctl_job *j, size_t more)
{
	while (j->len && j->len + more > CTL_JOB_BUFFER) {
		struct record rec = record_at(j, j->base);
		size_t n = HEAD + rec.n;

		if (wanted(j, &rec))
			return false;
		for (struct ctl_job_reader *r = j->readers; r; r = r->next)
			if (r->pos == j->base) { /* of another stream: nothing to it */
				r->pos += n;
				r->skip = 0;
			}
		/* What a reader has had is not lost, but who comes later does not find it. */
		j->dropped[rec.stream == JOB_ERR] += rec.n;
		j->base += n;
		j->off += n;
		j->len -= n;
	}
	return true;
}

bool job_has_room(struct ctl_job *j)
{
	return make_room(j, HEAD + AGENT_CHUNK_BYTES);
}

int job_put(struct ctl_job *j, unsigned int stream, const char *p, uint32_t n)
{
	char *b;

	(void)make_room(
		j, HEAD + n); /* the caller has asked; a message may be larger than a chunk */
	if (j->off + j->len + HEAD + n > j->cap) {
		size_t cap = 4096;

		if (j->len)
			memmove(j->buf, j->buf + j->off, j->len);
		j->off = 0;
		/* Twice what has to fit, so that moving it together is paid for by as much coming.
		 */
		while (cap < 2 * (j->len + HEAD + n))
			cap *= 2;
		if (cap > j->cap) {
			b = realloc(j->buf, cap);
			if (!b)
				return -ENOMEM;
			j->buf = b;
			j->cap = cap;
		}
	}
	b = j->buf + j->off + j->len;
	b[0] = (char)stream;
	memcpy(b + 1, &n, sizeof(n));
	memcpy(b + HEAD, p, n);
	j->len += HEAD + n;
	return 0;
}

/* ---- readers */

void ctl_job_reader_add(struct ctl_job *j, struct ctl_job_reader *r, unsigned int mask)
{
	*r = (struct ctl_job_reader){.mask = mask, .pos = j->base, .next = j->readers};
	r->prev = &j->readers;
	if (r->next)
		r->next->prev = &r->next;
	j->readers = r;
}

void ctl_job_reader_remove(struct ctl_job *j, struct ctl_job_reader *r)
{
	if (!r->prev)
		return;
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->prev = NULL;
	job_resume(j);
}

/* Moves past records of other streams. Return: whether there is one of its own. */
static bool seek(const struct ctl_job *j, uint64_t *pos, unsigned int mask)
{
	while (*pos < end_of(j)) {
		struct record rec = record_at(j, *pos);

		if (rec.stream & mask)
			return true;
		*pos += HEAD + rec.n;
	}
	return false;
}

bool ctl_job_reader_ready(const struct ctl_job *j, const struct ctl_job_reader *r)
{
	uint64_t pos = r->pos;

	return seek(j, &pos, r->mask) || j->state == JOB_ENDED || j->gone;
}

static void take(struct ctl_job *j, struct ctl_job_reader *r, size_t max, struct msb_str *s)
{
	while (s->len < max && seek(j, &r->pos, r->mask)) {
		struct record rec = record_at(j, r->pos);
		size_t n = rec.n - r->skip;

		if (n > max - s->len)
			n = max - s->len;
		msb_str_add(s, rec.p + r->skip, n);
		r->skip += (uint32_t)n;
		if (r->skip == rec.n) {
			r->pos += HEAD + rec.n;
			r->skip = 0;
		}
	}
}

/* For a change of the job; ctl.lock held. */
static int wait_change(const struct ctl_req *q, struct ctl_job *j, bool nonblock)
{
	if (nonblock)
		return -EAGAIN;
	if (q->cancel && q->cancel->set)
		return -EINTR;
	pthread_cond_wait(&j->changed, &j->sb->c->lock);
	return 0;
}

int ctl_job_read(const struct ctl_req *q, struct ctl_job *j, struct ctl_job_reader *r, size_t max,
	bool nonblock, struct msb_str *s)
{
	int err = 0;

	LOCK_SCOPE(&j->sb->c->lock);
	for (;;) {
		take(j, r, max, s);
		if (s->len || j->state == JOB_ENDED || j->gone)
			break;
		err = wait_change(q, j, nonblock);
		if (err < 0)
			return err;
	}
	job_resume(j);
	return s->oom ? -ENOMEM : 0;
}

int ctl_job_wait(const struct ctl_req *q, struct ctl_job *j, bool nonblock, struct msb_err *e)
{
	int r = 0;

	LOCK_SCOPE(&j->sb->c->lock);
	while (r == 0 && j->state != JOB_ENDED && !j->gone)
		r = wait_change(q, j, nonblock);
	return r < 0 ? msb_err_set(e, -r, "%s", r == -EINTR ? "interrupted" : "it has not ended")
		     : 0;
}

/* ---- input */

/* Waits until it was started. */
static int input_open(const struct ctl_req *q, struct ctl_job *j, bool nonblock, struct msb_err *e)
{
	int r = 0;

	LOCK_SCOPE(&j->sb->c->lock);
	while (r == 0 && !j->gone && (j->state == JOB_CREATED || j->state == JOB_STARTING))
		r = wait_change(q, j, nonblock);
	if (r < 0)
		return msb_err_set(
			e, -r, "%s", r == -EINTR ? "interrupted" : "the job was not started yet");
	if (j->gone || j->state == JOB_ENDED)
		return msb_err_set(e, EPIPE, "job %u has ended", j->number);
	if (j->eof_sent)
		return msb_err_set(e, EPIPE, "the input of job %u was closed", j->number);
	return 0;
}

/* Waits for room in its connection. */
static int input_room(const struct ctl_req *q, struct ctl_job *j, struct msb_err *e)
{
	struct pollfd pf[2] = {{.fd = j->sock, .events = POLLOUT},
		{.fd = q->cancel ? q->cancel->fd : -1, .events = POLLIN}};

	while (poll(pf, 2, -1) < 0 && errno == EINTR)
		;
	if (pf[1].revents)
		return msb_err_set(e, EINTR, "interrupted");
	return 0;
}

int64_t ctl_job_write(const struct ctl_req *q, struct ctl_job *j, const char *p, size_t n,
	bool nonblock, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = malloc(sizeof(*m));
	size_t done = 0;
	int r = m ? input_open(q, j, nonblock, e) : msb_err_set(e, ENOMEM, "no memory");

	while (r == 0 && done < n) {
		size_t k = n - done < AGENT_CHUNK_BYTES ? n - done : AGENT_CHUNK_BYTES;

		msb_msg_init(m, "in");
		msb_msg_payload(m, p + done, k);
		r = msb_msg_send(j->sock, m);
		if (r == 0)
			done += k;
		else if (r != -EAGAIN)
			r = msb_err_set(e, EPIPE, "job %u has ended", j->number);
		else if (nonblock)
			r = msb_err_set(e, EAGAIN, "it has not read what it was given");
		else
			r = input_room(q, j, e);
	}
	LOCK_SCOPE(&j->sb->c->lock);
	j->in_bytes += done;
	return done ? (int64_t)done : r;
}

bool ctl_job_writable(struct ctl_job *j)
{
	if (j->state == JOB_ENDED || j->gone || j->eof_sent)
		return true; /* to find that out */
	if (j->sock < 0 || msb_wait_fd(j->sock, POLLOUT, 0) == 0)
		return j->sock >= 0;
	j->poll_out = true;
	job_watch(j);
	return false;
}
