// SPDX-License-Identifier: Apache-2.0
// Jobs while they run: their output, signals, and ends.
#include "guest/ga.h"
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TTY_DRAIN_BYTES (64u << 10) /* what a terminal may still hold when its leader has ended */

static void close_streams(struct ga_job *j)
{
	ga_job_in_close(j);
	for (int i = 0; i < 2; i++) {
		ga_watch_close(&j->out[i].w);
		j->out[i].ready = false;
	}
}

/* The job is over and has said so: it goes at the end of this round of events. */
void ga_job_discard(struct ga *g, struct ga_job *j)
{
	struct ga_job **p = &g->leaving;

	j->gone = true;
	close_streams(j);
	ga_watch_close(&j->exec_status);
	ga_cgroup_remove(g, j->serial);
	if (*ga_job_slot(g, j->id) == j)
		*ga_job_slot(g, j->id) = NULL;
	else
		for (; *p; p = &(*p)->next)
			if (*p == j) {
				*p = j->next;
				break;
			}
	g->njobs--;
	j->next = g->trash;
	g->trash = j;
}

void ga_jobs_collect(struct ga *g)
{
	struct ga_job **p = &g->trash;

	while (*p) {
		struct ga_job *j = *p;

		if (j->queued) { /* ga_pump() meets it once more */
			p = &j->next;
			continue;
		}
		*p = j->next;
		free(j);
	}
	while (g->tasks_trash) {
		struct ga_task *t = g->tasks_trash;

		g->tasks_trash = t->next;
		free(t);
	}
}

static void send_signal(struct ga_job *j, int sig)
{
	if (!j->pid)
		return;
	if (!j->started && sig != SIGKILL)
		j->pending_signals |= UINT64_C(1) << (sig - 1); /* its group may not exist yet */
	else
		(void)kill(j->started ? -j->pid : j->pid, sig); /* ESRCH: it has just ended */
}

static void kill_all_of(struct ga *g, struct ga_job *j)
{
	send_signal(j, SIGKILL);
	(void)ga_cgroup_kill(g, j->serial);
}

static void hang_up(struct ga *g, struct ga_job *j)
{
	if (j->hung_up)
		return;
	j->hung_up = true;
	close_streams(j);
	send_signal(j, SIGHUP);
	j->kill_at = msb_now_ms() + WIRE_HUP_KILL_MS;
	if (j->kill_at < g->next_kill)
		g->next_kill = j->kill_at;
	ga_queue_job(g, j);
}

void ga_jobs_detach(struct ga *g)
{
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++) {
		struct ga_job *j = g->jobs[i];

		if (!j)
			continue;
		g->jobs[i] = NULL;
		j->detached = true;
		j->next = g->leaving;
		g->leaving = j;
		hang_up(g, j);
		ga_queue_job(g, j);
	}
}

static void end_signal(struct ga_job *j, int sig)
{
	send_signal(j, sig);
	if (j->tty && sig == SIGTERM)
		send_signal(j, SIGHUP); /* an interactive shell ignores SIGTERM */
}

void ga_jobs_signal(struct ga *g, int sig)
{
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (g->jobs[i])
			end_signal(g->jobs[i], sig);
	for (struct ga_job *j = g->leaving; j; j = j->next)
		end_signal(j, sig);
}

static void tick_one(struct ga *g, struct ga_job *j, uint64_t now)
{
	if (!j->kill_at)
		return;
	if (j->kill_at <= now) {
		j->kill_at = 0;
		kill_all_of(g, j);
	} else if (j->kill_at < g->next_kill) {
		g->next_kill = j->kill_at;
	}
}

uint64_t ga_jobs_tick(struct ga *g, uint64_t now)
{
	if (now < g->next_kill)
		return g->next_kill;
	g->next_kill = UINT64_MAX;
	for (size_t i = 0; i < WIRE_MAX_JOBS; i++)
		if (g->jobs[i])
			tick_one(g, g->jobs[i], now);
	for (struct ga_job *j = g->leaving; j; j = j->next)
		tick_one(g, j, now);
	return g->next_kill;
}

/* ---- what comes from the job */

static void run_pending(struct ga_job *j)
{
	j->started = true;
	for (int sig = 1; sig <= 64; sig++)
		if (j->pending_signals >> (sig - 1) & 1)
			send_signal(j, sig);
	j->pending_signals = 0;
}

void ga_job_exec_status(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct ga_job *j = w->of;
	ssize_t n = read(w->fd, &j->failed, sizeof(j->failed));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(j->failed))
		j->failed.msg[sizeof(j->failed.msg) - 1] = '\0';
	else
		j->failed.code = 0;
	ga_watch_close(w);
	if (!j->failed.code)
		run_pending(j);
	ga_queue_job(g, j);
}

void ga_job_out_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct ga_job *j = w->of;

	for (int i = 0; i < 2; i++)
		if (w == &j->out[i].w)
			j->out[i].ready = true;
	ga_queue_job(g, j);
}

/* Return: whether the stream may have more to give now. */
static bool draw(struct ga *g, struct ga_job *j, struct ga_stream *s)
{
	size_t max = WIRE_STREAM_MAX;
	ssize_t n;

	if (s->w.fd < 0 || !s->ready || s->credit <= WIRE_COST(0))
		return false;
	if (s->credit - WIRE_COST(0) < max)
		max = s->credit - WIRE_COST(0);
	if (j->exited && s->drain_left < max)
		max = s->drain_left;
	n = max ? read(s->w.fd, wire_tx_place(&g->tx), max) : 0;
	if (n > 0) {
		wire_tx_commit(&g->tx, s->type, j->id, (size_t)n);
		s->credit -= WIRE_COST(n);
		if (j->exited)
			s->drain_left -= (uint32_t)n;
		return true;
	}
	if (n < 0 && errno == EINTR)
		return true;
	s->ready = false;
	/* A terminal says EIO while nobody has it open, which may change. Whoever still holds the
	 * other end once the job itself has ended is no longer listened to. */
	if (j->exited || (!j->tty && (n == 0 || errno != EAGAIN)))
		ga_watch_close(&s->w);
	return false;
}

/* ---- frames of a job */

static int credit(struct ga_job *j, const struct wire_frame *f)
{
	struct ga_stream *s = &j->out[0];
	uint32_t n;

	if (f->len != 5)
		return -EBADMSG;
	if (f->payload[0] == WIRE_ERR)
		s = &j->out[1];
	else if (f->payload[0] != WIRE_OUT)
		return -EBADMSG;
	n = wire_get32(f->payload + 1);
	if (n > WIRE_OUT_WINDOW || s->credit + n > WIRE_OUT_WINDOW)
		return -EBADMSG;
	s->credit += n;
	return 0;
}

int ga_job_frame(struct ga *g, const struct wire_frame *f)
{
	struct ga_job *j = *ga_job_slot(g, f->id);
	struct winsize ws = {0};
	int sig;

	if (!j || j->id != f->id) /* it ended while the frame was on its way */
		return f->type >= WIRE_OK && f->type != WIRE_CREDIT ? -EBADMSG : 0;
	switch (f->type) {
	case WIRE_IN: return ga_job_in_data(g, j, f->payload, f->len);
	case WIRE_IN_EOF: return ga_job_in_eof(g, j);
	case WIRE_SIGNAL:
		sig = f->len == 4 ? (int)wire_get32(f->payload) : 0;
		if (sig < 1 || sig > 64)
			return -EBADMSG;
		if (j->exited)
			return 0;
		if (sig == SIGKILL)
			kill_all_of(g, j); /* what has left the process group too */
		else
			send_signal(j, sig);
		return 0;
	case WIRE_RESIZE:
		if (f->len != 4)
			return -EBADMSG;
		ws.ws_row = (unsigned short)wire_get32(f->payload);
		ws.ws_col = (unsigned short)(wire_get32(f->payload) >> 16);
		if (j->tty && j->in.fd >= 0)
			(void)ioctl(j->in.fd, TIOCSWINSZ, &ws); /* it may be ending */
		return 0;
	case WIRE_HANGUP: hang_up(g, j); return 0;
	case WIRE_CREDIT: ga_queue_job(g, j); return credit(j, f);
	default: return -EBADMSG;
	}
}

/* ---- the end */

void ga_job_reaped(struct ga *g, pid_t pid, int status)
{
	struct ga_job *j = NULL;

	for (size_t i = 0; i < WIRE_MAX_JOBS && !j; i++)
		if (g->jobs[i] && g->jobs[i]->pid == pid)
			j = g->jobs[i];
	for (struct ga_job *l = g->leaving; l && !j; l = l->next)
		if (l->pid == pid)
			j = l;
	if (!j)
		return; /* an orphan that came to PID 1, or a helper */
	if (j->exec_status.fd >= 0)
		ga_job_exec_status(g, &j->exec_status, 0);
	j->pid = 0;
	j->exited = true;
	j->status = status;
	j->kill_at = 0;
	ga_job_in_close(j);
	if (j->hung_up)
		(void)ga_cgroup_kill(g, j->serial);
	for (int i = 0; i < 2; i++) {
		int size = j->out[i].w.fd >= 0 && !j->tty ? fcntl(j->out[i].w.fd, F_GETPIPE_SZ) : 0;

		j->out[i].ready = true;
		j->out[i].drain_left = size > 0 ? (uint32_t)size : TTY_DRAIN_BYTES;
	}
	ga_queue_job(g, j);
}

static int say_end(struct ga *g, struct ga_job *j)
{
	uint8_t b[4 + MSB_ERR_MAX];
	size_t n;

	if (j->failed.code) {
		n = strlen(j->failed.msg);
		wire_put32(b, (uint32_t)j->failed.code);
		memcpy(b + 4, j->failed.msg, n);
		return wire_tx_frame(&g->tx, WIRE_ERROR, j->id, b, 4 + n);
	}
	b[0] = WIFSIGNALED(j->status);
	b[1] = b[0] && ga_cgroup_oom(g, j->serial);
	b[2] = (uint8_t)(b[0] ? WTERMSIG(j->status) : WEXITSTATUS(j->status));
	return wire_tx_frame(&g->tx, WIRE_EXIT, j->id, b, 3);
}

bool ga_job_pump(struct ga *g, struct ga_job *j)
{
	uint8_t pid[4];
	bool more = false;

	if (j->gone)
		return true;
	if (j->detached) {
		if (j->exited)
			ga_job_discard(g, j);
		return true;
	}
	if (wire_tx_space(&g->tx) < WIRE_MAX_PAYLOAD)
		return false;
	if (j->started && !j->said_started) {
		wire_put32(pid, (uint32_t)j->first_pid);
		if (wire_tx_frame(&g->tx, WIRE_STARTED, j->id, pid, sizeof(pid)) < 0)
			return false;
		j->said_started = true;
	}
	if (!j->exited && ga_job_in_credit(g, j) < 0)
		return false;
	for (int i = 0; i < 2 && j->started; i++) {
		if (wire_tx_space(&g->tx) < WIRE_STREAM_MAX)
			return false;
		more |= draw(g, j, &j->out[i]);
	}
	if (more) {
		ga_queue_job(g, j);
		return true;
	}
	if (j->exited && (j->failed.code || (j->out[0].w.fd < 0 && j->out[1].w.fd < 0))) {
		if (say_end(g, j) < 0)
			return false;
		ga_job_discard(g, j);
	}
	return true;
}
