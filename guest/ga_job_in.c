// SPDX-License-Identifier: Apache-2.0
// What goes to a job: its input, and the credit that the host gets back for it.
#include "guest/ga.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TTY_EOF 4		     /* ^D */
#define IN_OWED (WIRE_IN_WINDOW / 4) /* credit that is handed back in one frame, at least */

void ga_job_in_close(struct ga_job *j)
{
	ga_watch_close(&j->in);
	j->in_owed += (uint32_t)(j->in_len - j->in_off); /* dropped: the host may go on sending */
	free(j->in_buf);
	j->in_buf = NULL;
	j->in_off = j->in_len = 0;
}

/* As much as it takes of @p. @ret_dead: it reads no more. */
static size_t put(const struct ga_job *j, const uint8_t *p, size_t n, bool *ret_dead)
{
	size_t done = 0;

	*ret_dead = false;
	while (done < n && !*ret_dead) {
		ssize_t k = write(j->in.fd, p + done, n - done);

		if (k > 0)
			done += (size_t)k;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			*ret_dead = true;
	}
	return done;
}

/* It took @n bytes. The host is told of a good part at once: each frame wakes it. */
static void owe(struct ga *g, struct ga_job *j, size_t n)
{
	j->in_owed += (uint32_t)n;
	if (j->in_owed >= IN_OWED)
		ga_queue_job(g, j);
}

static void stdin_write(struct ga *g, struct ga_job *j)
{
	bool dead = false;
	size_t n;

	if (j->in.fd >= 0 && j->in_off < j->in_len) {
		n = put(j, j->in_buf + j->in_off, j->in_len - j->in_off, &dead);
		j->in_off += n;
		owe(g, j, n);
	}
	if (dead)
		ga_job_in_close(j);
	if (j->in_off == j->in_len) {
		j->in_off = j->in_len = 0;
		if (j->in_eof)
			ga_job_in_close(j);
	}
	owe(g, j, 0); /* what was dropped */
}

void ga_job_in_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct ga_job *j = w->of;

	if (j->in_len)
		stdin_write(g, j);
}

int ga_job_in_data(struct ga *g, struct ga_job *j, const uint8_t *p, size_t n)
{
	bool dead = false;
	size_t done = 0;

	owe(g, j, WIRE_COST(0));
	if (j->in.fd < 0 || j->in_eof) {
		owe(g, j, n);
		return 0;
	}
	if (!j->in_len)
		done = put(j, p, n, &dead);
	owe(g, j, done);
	if (!dead && done < n && !j->in_buf) {
		j->in_buf = malloc(WIRE_IN_WINDOW);
		dead = !j->in_buf; /* the job sees an end of file rather than a gap */
	}
	if (dead) { /* it is taken and dropped */
		ga_job_in_close(j);
		owe(g, j, n - done);
		return 0;
	}
	p += done;
	n -= done;
	if (n && j->in_off) {
		memmove(j->in_buf, j->in_buf + j->in_off, j->in_len - j->in_off);
		j->in_len -= j->in_off;
		j->in_off = 0;
	}
	if (n > WIRE_IN_WINDOW - j->in_len)
		return -EBADMSG;
	if (n)
		memcpy(j->in_buf + j->in_len, p, n); /* it was full: its next edge writes them */
	j->in_len += n;
	return 0;
}

int ga_job_in_eof(struct ga *g, struct ga_job *j)
{
	static const uint8_t eof = TTY_EOF;

	if (j->in_eof || j->in.fd < 0)
		return 0;
	if (j->tty)
		return ga_job_in_data(g, j, &eof, 1);
	j->in_eof = true;
	stdin_write(g, j);
	return 0;
}

int ga_job_in_credit(struct ga *g, struct ga_job *j)
{
	uint8_t b[5] = {WIRE_IN};
	int r;

	if (j->in_owed < IN_OWED)
		return 0;
	wire_put32(b + 1, j->in_owed);
	r = wire_tx_frame(&g->tx, WIRE_CREDIT, j->id, b, sizeof(b));
	if (r == 0)
		j->in_owed = 0;
	return r;
}
