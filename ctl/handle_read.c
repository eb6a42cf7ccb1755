// SPDX-License-Identifier: Apache-2.0
// Reading open files: texts, rings, logs, streams.
#include "base/cleanup.h"
#include "base/io.h"
#include "ctl/handle_int.h"
#include "ctl/pulls.h"

#include <string.h>

static bool gone(const struct ctl_at *at)
{
	return (at->sb && at->sb->gone) || (at->img && at->img->gone) ||
	       (at->vol && at->vol->gone) || (at->job && at->job->gone);
}

/* How its machine ended is asked for when it has, and it may be gone by then. */
static bool says_last(const struct ctl_handle *h)
{
	return (h->at.node->flags & NF_LAST) && h->at.sb->ends;
}

/* The text of a file as it is now. A slow one is made without any lock: the thread that answers the
 * kernel takes h->lock. */
static int make_text(
	const struct ctl_req *q, struct ctl_handle *h, struct msb_str *s, struct msb_err *e)
{
	struct ctl_at at = h->at;
	struct ctl *c = at.c;
	bool slow = h->at.node->flags & NF_SLOW;
	int r;

	pthread_mutex_lock(&c->lock);
	if (gone(&h->at) && !says_last(h)) {
		pthread_mutex_unlock(&c->lock);
		return msb_err_set(e, ENODEV, "it was removed");
	}
	h->seen = ctl_handle_changes(&h->at);
	if (slow)
		pthread_mutex_unlock(&c->lock);
	at.cancel = q ? q->cancel : NULL;
	r = at.node->read(&at, s, e);
	if (!slow)
		pthread_mutex_unlock(&c->lock);
	return r == 0 && s->oom ? msb_err_set(e, ENOMEM, "no memory") : r;
}

static void give(const struct msb_str *from, uint64_t off, size_t max, struct msb_str *s)
{
	if (off < from->len)
		msb_str_add(
			s, from->buf + off, from->len - off < max ? from->len - (size_t)off : max);
}

/* Blocks until the machine has ended. */
static int wait_end(const struct ctl_req *q, struct ctl_handle *h, struct msb_err *e)
{
	struct ctl_sandbox *sb = h->at.sb;
	struct ctl *c = sb->c;
	uint64_t ends;

	LOCK_SCOPE(&c->lock);
	ends = sb->ends;
	while (!sb->gone && sb->ends == ends && (sb->op || !ctl_state_ended(sb->state))) {
		if (h->nonblock || q->no_wait)
			return msb_err_set(e, EAGAIN, "the machine has not ended");
		if (q->cancel && q->cancel->set)
			return msb_err_set(e, EINTR, "interrupted");
		pthread_cond_wait(&c->changed, &c->lock);
	}
	return 0;
}

static int read_text(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, size_t max,
	struct msb_str *s, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	bool fresh;
	int r = 0;

	if (off == 0 && h->at.node->kind == K_WAIT) {
		r = h->at.job ? ctl_job_wait(q, h->at.job, h->nonblock || q->no_wait, e)
			      : wait_end(q, h, e);
		if (r < 0)
			return r;
	}
	pthread_mutex_lock(&h->lock);
	fresh = off == 0 || !h->snapped;
	pthread_mutex_unlock(&h->lock);
	if (fresh)
		r = make_text(q, h, &text, e);
	LOCK_SCOPE(&h->lock);
	if (fresh) {
		msb_str_done(&h->snap);
		h->snapped = r == 0;
	}
	if (fresh && r == 0) {
		h->snap = text;
		text = (struct msb_str)MSB_STR_INIT;
	}
	if (r == 0)
		give(&h->snap, off, max, s);
	return r;
}

static int read_ring(struct ctl_handle *h, uint64_t off, size_t max, struct msb_str *s)
{
	struct ctl *c = h->at.c;
	const struct ctl_ring *ring = h->at.sb		? &h->at.sb->events
				      : h->at.node->arg ? &c->events
							: &c->errors;

	LOCK_SCOPE(&h->lock);
	{
		LOCK_SCOPE(&c->lock);
		ctl_ring_read(ring, &h->ring, off, max, s);
	}
	h->pos = off + s->len;
	return 0;
}

/* Blocks until there is more, or it has ended: then end of file. */
static int read_pull(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, size_t max,
	struct msb_str *s, struct msb_err *e)
{
	struct ctl *c = h->at.c;

	for (;;) {
		{
			LOCK_SCOPE(&h->lock);
			LOCK_SCOPE(&c->lock);
			ctl_ring_read(&h->pull->ring, &h->ring, off, max, s);
			h->pos = off + s->len;
			if (s->len || h->pull->ended)
				return 0;
		}
		if (h->nonblock)
			return msb_err_set(e, EAGAIN, "nothing yet");
		LOCK_SCOPE(&c->lock);
		while (!ctl_ring_more(&h->pull->ring, &h->ring, off) && !h->pull->ended) {
			if (q->cancel && q->cancel->set)
				return msb_err_set(e, EINTR, "interrupted");
			pthread_cond_wait(&c->changed, &c->lock);
		}
	}
}

static int read_log(
	struct ctl_handle *h, uint64_t off, size_t max, struct msb_str *s, struct msb_err *e)
{
	struct ctl *c = h->at.c;
	char path[CTL_LOG_PATH] = "msb.log";
	int r;

	LOCK_SCOPE(&h->lock);
	if (h->at.sb)
		ctl_log_path(&h->at, path);
	if (!h->log)
		h->log = ctl_logfile_open(
			h->at.sb ? c->sandboxes_fd : c->run_fd, path, (unsigned)h->at.node->arg);
	if (!h->log)
		return msb_err_set(e, ENOMEM, "no memory");
	/* The console is bytes, the others are lines. */
	r = ctl_logfile_read(
		h->log, &h->place, off, max, strcmp(h->at.node->name, "console") != 0, s);
	h->pos = off + s->len;
	return r < 0 ? msb_err_set(e, -r, "cannot read the log: %s", strerror(-r)) : 0;
}

/* A read-write descriptor gives what became of its verbs, once; a read-only one the list of them.
 */
static int read_ctl(
	struct ctl_handle *h, uint64_t off, size_t max, struct msb_str *s, struct msb_err *e)
{
	size_t n;

	if (h->rdonly)
		return read_text(NULL, h, off, max, s, e);
	LOCK_SCOPE(&h->lock);
	n = h->answer.len < max ? h->answer.len : max;
	give(&h->answer, 0, n, s);
	if (n)
		memmove(h->answer.buf, h->answer.buf + n, h->answer.len - n);
	h->answer.len -= n;
	return 0;
}

static int read_exec(const struct ctl_req *q, struct ctl_handle *h, size_t max, struct msb_str *s,
	struct msb_err *e)
{
	struct ctl_command *j = NULL;
	int r = ctl_handle_take(h, &j, e);

	if (r < 0)
		return r;
	if (j) {
		r = ctl_command_read(q, j, max, h->nonblock, s);
		if (r < 0)
			msb_err_set(e, -r, "%s", strerror(-r));
	}
	/* Its end is told once, as `error`; the reader has its end of file. */
	if (j && r == 0 && s->len == 0 && j->result < 0) {
		ctl_handle_report(q, h, &j->err);
		j->result = 0;
	}
	ctl_handle_give(h, j);
	return r;
}

static int read_stream(const struct ctl_req *q, struct ctl_handle *h, size_t max, struct msb_str *s,
	struct msb_err *e)
{
	int r = ctl_job_read(q, h->at.job, &h->stream, max, h->nonblock || q->no_wait, s);

	return r < 0 ? msb_err_set(e, -r, "%s", strerror(-r)) : 0;
}

static int read_file(
	struct ctl_handle *h, uint64_t off, size_t max, struct msb_str *s, struct msb_err *e)
{
	_cleanup_free_ char *buf = malloc(max);
	int64_t n = buf ? msb_pread_full(h->file, buf, max, off) : -ENOMEM;

	if (n < 0)
		return msb_err_set(e, (int)-n, "cannot read: %s", strerror((int)-n));
	msb_str_add(s, buf, (size_t)n);
	return 0;
}

int ctl_handle_read(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, size_t max,
	struct msb_str *s, struct msb_err *e)
{
	int r = ctl_handle_still_its(h, e);

	if (r < 0)
		return r;
	switch (h->at.node->kind) {
	case K_RING: return read_ring(h, off, max, s);
	case K_PULL: return read_pull(q, h, off, max, s, e);
	case K_LOG: return read_log(h, off, max, s, e);
	case K_CTL: return read_ctl(h, off, max, s, e);
	case K_IN: return 0;
	case K_FILE: return read_file(h, off, max, s, e);
	case K_OUT: return read_stream(q, h, max, s, e);
	case K_EXEC: return h->rdwr ? read_exec(q, h, max, s, e) : 0;
	default: return read_text(q, h, off, max, s, e);
	}
}
