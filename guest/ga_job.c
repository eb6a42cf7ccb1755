// SPDX-License-Identifier: Apache-2.0
// Jobs: their streams, signals, and ends.
#include "guest/ga.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#define TTY_DRAIN_BYTES (64u << 10) /* what a terminal may still hold when its leader has ended */
#define TTY_EOF		4	    /* ^D */
#define IN_OWED		(WIRE_IN_WINDOW / 4) /* credit that is handed back in one frame, at least */

static struct ga_job **slot(struct ga *g, uint32_t id)
{
	return &g->jobs[id % WIRE_MAX_JOBS];
}

static void close_stdin(struct ga_job *j)
{
	ga_watch_close(&j->in);
	j->in_owed += (uint32_t)(j->in_len - j->in_off); /* dropped: the host may go on sending */
	free(j->in_buf);
	j->in_buf = NULL;
	j->in_off = j->in_len = 0;
}

static void close_streams(struct ga_job *j)
{
	close_stdin(j);
	for (int i = 0; i < 2; i++) {
		ga_watch_close(&j->out[i].w);
		j->out[i].ready = false;
	}
}

/* The job is over and has said so: it goes at the end of this round of events. */
static void discard(struct ga *g, struct ga_job *j)
{
	struct ga_job **p = &g->leaving;

	j->gone = true;
	close_streams(j);
	ga_watch_close(&j->exec_status);
	ga_cgroup_remove(g, j->serial);
	if (*slot(g, j->id) == j)
		*slot(g, j->id) = NULL;
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

static void out_event(struct ga *g, struct ga_watch *w, uint32_t events)
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

/* ---- what goes to the job */

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
		close_stdin(j);
	if (j->in_off == j->in_len) {
		j->in_off = j->in_len = 0;
		if (j->in_eof)
			close_stdin(j);
	}
	owe(g, j, 0); /* what was dropped */
}

static void in_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct ga_job *j = w->of;

	if (j->in_len)
		stdin_write(g, j);
}

static int stdin_data(struct ga *g, struct ga_job *j, const uint8_t *p, size_t n)
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
		close_stdin(j);
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

static int stdin_eof(struct ga *g, struct ga_job *j)
{
	static const uint8_t eof = TTY_EOF;

	if (j->in_eof || j->in.fd < 0)
		return 0;
	if (j->tty)
		return stdin_data(g, j, &eof, 1);
	j->in_eof = true;
	stdin_write(g, j);
	return 0;
}

/* ---- starting */

static void run_pending(struct ga_job *j)
{
	j->started = true;
	for (int sig = 1; sig <= 64; sig++)
		if (j->pending_signals >> (sig - 1) & 1)
			send_signal(j, sig);
	j->pending_signals = 0;
}

static void exec_status_event(struct ga *g, struct ga_watch *w, uint32_t events)
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

/* Our end of a pair: not blocking, watched, and alone so, for the flag is the open file's. */
static int adopt(struct ga *g, struct ga_watch *w, int fd, uint32_t events)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0 || fcntl(fd, F_SETFL, fl | O_NONBLOCK) < 0)
		return -errno;
	return ga_watch_add(g, w, fd, events);
}

static int open_tty(struct ga *g, struct ga_job *j, const struct ga_exec *x, struct ga_stdio *io)
{
	struct winsize ws = {.ws_row = x->rows ? x->rows : 24, .ws_col = x->cols ? x->cols : 80};
	int m = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), unlock = 0, in, r;

	if (m < 0)
		return -errno;
	in = fcntl(m, F_DUPFD_CLOEXEC, 0); /* one watch a descriptor */
	if (in < 0 || ioctl(m, TIOCSPTLCK, &unlock) < 0 || ioctl(m, TIOCSWINSZ, &ws) < 0) {
		r = -errno;
		close(m);
		if (in >= 0)
			close(in);
		return r;
	}
	io->in = m;
	r = adopt(g, &j->out[0].w, m, EPOLLIN);
	if (r < 0)
		close(m);
	if (r == 0) {
		r = adopt(g, &j->in, in, EPOLLOUT);
		if (r < 0)
			close(in);
	} else {
		close(in);
	}
	return r;
}

static int open_pipe(struct ga *g, struct ga_watch *w, bool to_child, int *theirs)
{
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	r = adopt(g, w, p[to_child ? 1 : 0], to_child ? EPOLLOUT : EPOLLIN);
	if (r < 0) {
		close(p[0]);
		close(p[1]);
		return r;
	}
	*theirs = p[to_child ? 0 : 1];
	return 0;
}

static int start(struct ga *g, struct ga_job *j, const struct ga_exec *x)
{
	_cleanup_close_ int in = -1, out = -1, err = -1, status = -1, cgroup = -1;
	struct ga_stdio io = {-1, -1, -1};
	int r = open_pipe(g, &j->exec_status, false, &status);

	if (r < 0)
		return r;
	if (x->tty) {
		r = open_tty(g, j, x, &io);
	} else {
		if (x->want_stdin)
			r = open_pipe(g, &j->in, true, &in);
		else
			in = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (r == 0)
			r = open_pipe(g, &j->out[0].w, false, &out);
		if (r == 0)
			r = open_pipe(g, &j->out[1].w, false, &err);
		io = (struct ga_stdio){in, out, err};
	}
	if (r < 0)
		return r;
	cgroup = ga_cgroup_make(g, j->serial);
	j->pid = ga_spawn(x, &g->boot, &io, status, cgroup);
	j->first_pid = j->pid;
	return j->pid < 0 ? j->pid : 0;
}

static int refuse(struct ga *g, uint32_t id, struct msb_err *e)
{
	if (!g->booted)
		return msb_err_set(e, EBUSY, "the sandbox's root is not mounted");
	if (g->ending != GA_UP)
		return msb_err_set(e, EBUSY, "the sandbox is shutting down");
	if (*slot(g, id) || g->njobs >= 2 * WIRE_MAX_JOBS)
		return msb_err_set(e, EAGAIN, "too many jobs at once");
	return 0;
}

void ga_job_exec(struct ga *g, uint32_t id, const uint8_t *p, size_t n)
{
	struct ga_exec x = {0};
	struct msb_err e = {0};
	struct ga_job *j = NULL;
	int r = refuse(g, id, &e);

	if (r == 0)
		r = ga_exec_parse(p, n, &x, &e);
	if (r == 0) {
		j = calloc(1, sizeof(*j));
		if (!j)
			msb_err_set(&e, ENOMEM, "the guest is out of memory");
	}
	if (!j) {
		ga_reply_err(g, id, &e);
		ga_exec_done(&x);
		return;
	}
	*j = (struct ga_job){.id = id,
		.serial = g->next_serial++,
		.tty = x.tty,
		.exec_status = {.fn = exec_status_event, .fd = -1, .of = j},
		.in = {.fn = in_event, .fd = -1, .of = j},
		.out = {{.type = WIRE_OUT, .credit = x.window},
			{.type = WIRE_ERR, .credit = x.window}}};
	for (int i = 0; i < 2; i++)
		j->out[i].w = (struct ga_watch){.fn = out_event, .fd = -1, .of = j};
	r = start(g, j, &x);
	ga_exec_done(&x);
	*slot(g, id) = j;
	g->njobs++;
	if (r < 0) {
		j->pid = 0;
		msb_err_set(&e, -r, "cannot start a process in the guest: %s", strerror(-r));
		ga_reply_err(g, id, &e);
		discard(g, j);
	}
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
	struct ga_job *j = *slot(g, f->id);
	struct winsize ws = {0};
	int sig;

	if (!j || j->id != f->id) /* it ended while the frame was on its way */
		return f->type >= WIRE_OK && f->type != WIRE_CREDIT ? -EBADMSG : 0;
	switch (f->type) {
	case WIRE_IN: return stdin_data(g, j, f->payload, f->len);
	case WIRE_IN_EOF: return stdin_eof(g, j);
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
		exec_status_event(g, &j->exec_status, 0);
	j->pid = 0;
	j->exited = true;
	j->status = status;
	j->kill_at = 0;
	close_stdin(j);
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

static int say_credit(struct ga *g, struct ga_job *j)
{
	uint8_t b[5] = {WIRE_IN};
	int r;

	wire_put32(b + 1, j->in_owed);
	r = wire_tx_frame(&g->tx, WIRE_CREDIT, j->id, b, sizeof(b));
	if (r == 0)
		j->in_owed = 0;
	return r;
}

bool ga_job_pump(struct ga *g, struct ga_job *j)
{
	uint8_t pid[4];
	bool more = false;

	if (j->gone)
		return true;
	if (j->detached) {
		if (j->exited)
			discard(g, j);
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
	if (j->in_owed >= IN_OWED && !j->exited && say_credit(g, j) < 0)
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
		discard(g, j);
	}
	return true;
}
