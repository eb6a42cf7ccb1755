// SPDX-License-Identifier: Apache-2.0
// The streams of a job, joined to our own.
#include "tools/msb/stream.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/mnt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BUFFER_BYTES 131072 /* as much as one request of the tree carries */
#define SAFE_BYTES   4096   /* PIPE_BUF: what a descriptor that polls writable takes at once */

#define TURNS_UNPOLLED 16
#define LOOK_MS	       100  /* between two looks for another msbd */
#define QUIET_MS       2000 /* that it may take before we speak of it */

static const int passed_on[] = {
	SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP};

/* ---- our side's descriptors */

struct sink {
	int fd;
	bool own;    /* opened again, without blocking */
	bool socket; /* can be asked not to block for each write */
	bool file;   /* does not block */
};

static void sink_open(struct sink *k, int fd)
{
	char path[32];
	struct stat st;

	*k = (struct sink){.fd = fd};
	if (fstat(fd, &st) < 0)
		return;
	k->file = S_ISREG(st.st_mode);
	k->socket = S_ISSOCK(st.st_mode);
	if (k->file || k->socket)
		return;
	/* O_NONBLOCK belongs to the open file, which others have too: another one, then. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	k->fd = fd;
	k->own = true;
}

static void sink_close(struct sink *k)
{
	if (k->own)
		close(k->fd);
}

static ssize_t sink_write(const struct sink *k, bool polled, const char *p, size_t n)
{
	if (k->socket)
		return send(k->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (!k->own && !k->file) {
		if (!polled) {
			errno = EAGAIN;
			return -1;
		}
		n = n < SAFE_BYTES ? n : SAFE_BYTES;
	}
	return write(k->fd, p, n);
}

/* ---- a direction */

struct pump {
	int from;
	struct sink to;
	char *buf;
	size_t off, len;
	bool readable, writable; /* as far as is known: try before polling */
	bool eof;		 /* of `from`, or there is none */
};

static bool busy(const struct pump *p)
{
	return p->len ? p->writable : !p->eof && p->readable;
}

static void refill(struct pump *p, size_t n)
{
	p->off = 0;
	p->len = n;
	p->writable = true;
}

/* Gives on what there is. Return: 0, also where it has to wait; -errno of the write. */
static int give(struct pump *p, bool polled)
{
	ssize_t n = sink_write(&p->to, polled, p->buf + p->off, p->len);

	if (n < 0 && errno == EINTR)
		return 0;
	if (n < 0 && errno == EAGAIN) {
		p->writable = false;
		return 0;
	}
	if (n < 0)
		return -errno;
	p->off += (size_t)n;
	p->len -= (size_t)n;
	return 0;
}

/* ---- the loop */

enum { OUT, ERR, IN, PUMPS };

struct loop {
	struct stream *s;
	struct pump pump[PUMPS];
	struct term term;
	unsigned int turns;
	sigset_t set, old;
	int signal_fd;
	unsigned int seen[65]; /* signals of each kind */
	uint64_t late;	       /* those that could not be told: bits */
	bool eof_due;	       /* so could the end of its input */
	char typed[BUFFER_BYTES];
	char buf[PUMPS][BUFFER_BYTES + TERM_KEYS_MAX];
};

int stream_tell(const struct stream *s, const char *line)
{
	_cleanup_close_ int fd = openat(s->dir, "ctl", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, line, strlen(line)) < 0 ? -errno : 0;
}

static void resize(struct stream *s)
{
	unsigned int rows, cols;
	char line[64];

	term_size(&rows, &cols);
	if (!s->tty || (rows == s->rows && cols == s->cols))
		return;
	(void)snprintf(line, sizeof(line), "resize %u %u", rows, cols);
	if (stream_tell(s, line) == 0) { /* it may just end */
		s->rows = rows;
		s->cols = cols;
	}
}

/* ^Z from elsewhere: our terminal is not left raw while we stand still. */
static void stop(struct loop *l)
{
	int fd = l->term.fd;
	struct msb_err e;

	term_restore(&l->term);
	(void)raise(SIGSTOP); /* a valid signal */
	if (fd >= 0)
		(void)term_raw(&l->term, fd, &e); /* as it was before */
	resize(l->s);
}

/* Return: whether whoever waits is to end. */
static bool on_signal(struct loop *l)
{
	struct signalfd_siginfo si;
	char line[32];
	int sig;

	if (read(l->signal_fd, &si, sizeof(si)) != sizeof(si))
		return false;
	sig = (int)si.ssi_signo;
	if (sig == SIGWINCH) {
		resize(l->s);
		return false;
	}
	if (sig == SIGTSTP) {
		stop(l);
		return false;
	}
	l->s->signal = sig;
	(void)snprintf(line, sizeof(line), "signal %s", sigabbrev_np(sig));
	if (mnt_gone(-stream_tell(l->s, line))) /* else it may just end */
		l->late |= UINT64_C(1) << (sig - 1);
	if (sig == SIGUSR1 || sig == SIGUSR2)
		return false;
	return ++l->seen[sig] > 1 || sig == SIGHUP;
}

/* Takes what a job has printed. Return: 0; -errno: it is gone, not ended. */
static int from_job(struct loop *l, int i)
{
	struct pump *p = &l->pump[i];
	ssize_t n = read(p->from, p->buf, BUFFER_BYTES);
	size_t skip;

	if (n > 0) {
		skip = l->s->skip[i] < (size_t)n ? (size_t)l->s->skip[i] : (size_t)n;
		l->s->skip[i] -= skip;
		l->s->got[i] += (size_t)n - skip;
		refill(p, (size_t)n);
		p->off = skip;
		p->len -= skip;
	} else if (n == 0) {
		p->eof = true;
	} else if (errno == EAGAIN) {
		p->readable = false;
	} else if (errno != EINTR) {
		return -errno;
	}
	return 0;
}

/* Our input has ended, or its has. */
static void in_done(struct loop *l, bool tell)
{
	l->pump[IN].eof = true;
	l->pump[IN].len = 0;
	if (tell) /* it may just end */
		l->eof_due = mnt_gone(-stream_tell(l->s, "close-stdin"));
}

/* Return: whether the keys were typed. */
static bool from_user(struct loop *l)
{
	struct pump *p = &l->pump[IN];
	bool found = false;
	ssize_t n = read(p->from, l->typed, BUFFER_BYTES);

	p->readable = false; /* polled each time: it may be one that blocks */
	if (n > 0 && l->s->tty) {
		size_t len = term_keys_take(&l->s->keys, l->typed, (size_t)n, p->buf, &found);

		refill(p, len);
	} else if (n > 0) {
		memcpy(p->buf, l->typed, (size_t)n);
		refill(p, (size_t)n);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		/* EIO: a terminal that is gone, or of which we are in the background. */
		in_done(l, true);
	}
	return found;
}

/* Gives the job what was typed. Return: 0, also where it does not want it; -ENOTCONN. */
static int to_job(struct loop *l)
{
	struct pump *in = &l->pump[IN];
	size_t before = in->len;
	int r = give(in, false);

	l->s->given += before - in->len;
	if (mnt_gone(-r))
		return -ENOTCONN;
	if (r < 0)
		in_done(l, false); /* EPIPE: it does not want more */
	return 0;
}

/* Waits for what was found not to be ready. Where something may be, only looks, and mostly only at
 * what costs no request of the tree. */
static int wait_for(struct loop *l, struct pollfd pf[PUMPS + 1])
{
	bool some = false, all = l->turns++ % TURNS_UNPOLLED == 0;
	int r;

	for (int i = 0; i < PUMPS; i++)
		some = some || busy(&l->pump[i]);
	pf[PUMPS] = (struct pollfd){.fd = l->signal_fd, .events = POLLIN};
	for (int i = 0; i < PUMPS; i++) {
		const struct pump *p = &l->pump[i];
		bool ours = (i == IN) != (p->len > 0);
		bool idle = p->len ? !p->writable : !p->eof && !p->readable;

		pf[i] = (struct pollfd){.fd = -1};
		if (idle && (ours || !some || all))
			pf[i] = (struct pollfd){.fd = p->len ? p->to.fd : p->from,
				.events = p->len ? POLLOUT : POLLIN};
	}
	do
		r = poll(pf, PUMPS + 1, some ? 0 : -1);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* A pump of the job's output goes on. Return: 0; STREAM_CLOSED; -errno. */
static int step(struct loop *l, int i, bool polled, struct msb_err *e)
{
	struct pump *p = &l->pump[i];
	int r = 0;

	if (p->len && p->writable) {
		r = give(p, polled);
		if (r < 0 && r != -EPIPE)
			return msb_err_set(e, -r, "cannot write to %s: %s",
				i == ERR ? "stderr" : "stdout", strerror(-r));
	} else if (!p->len && !p->eof && p->readable) {
		r = from_job(l, i);
		if (mnt_gone(-r))
			return -ENOTCONN;
		if (r < 0)
			return msb_err_set(e, -r, "the job's output broke off: %s", strerror(-r));
	}
	return r == -EPIPE ? STREAM_CLOSED : 0;
}

static int turn(struct loop *l, const struct pollfd pf[PUMPS + 1], struct msb_err *e)
{
	struct pump *in = &l->pump[IN];
	bool ended = true;
	int r;

	if (pf[PUMPS].revents && on_signal(l))
		return STREAM_SIGNAL;
	for (int i = 0; i < PUMPS; i++) {
		struct pump *p = &l->pump[i];

		if (pf[i].revents && p->len)
			p->writable = true;
		else if (pf[i].revents)
			p->readable = true;
	}
	if (!in->len && !in->eof && in->readable && from_user(l)) {
		if (in->len)
			(void)to_job(l); /* typed before the keys */
		return STREAM_DETACHED;
	}
	r = in->len && in->writable ? to_job(l) : 0;
	if (r < 0)
		return r;
	for (int i = OUT; i <= ERR; i++) {
		r = step(l, i, pf[i].revents != 0, e);
		if (r != 0)
			return r;
		ended = ended && l->pump[i].eof && !l->pump[i].len;
	}
	return ended ? STREAM_ENDED : 0;
}

/* ---- another msbd */

/* The files are others; what is in the buffers stays. */
static void go_on(struct loop *l)
{
	struct stream *s = l->s;
	struct pump *in = &l->pump[IN];
	uint64_t taken = s->in_taken < in->len ? s->in_taken : in->len;
	char line[32];

	l->pump[OUT].from = s->out;
	l->pump[ERR].from = s->err;
	in->to.fd = s->in;
	in->off += taken;
	in->len -= taken;
	s->given += taken;
	for (int i = OUT; i <= ERR; i++)
		l->pump[i].readable = true;
	in->writable = true;
	resize(s);
	for (int sig = 1; l->late; sig++)
		if (l->late & UINT64_C(1) << (sig - 1)) {
			l->late &= ~(UINT64_C(1) << (sig - 1));
			(void)snprintf(line, sizeof(line), "signal %s", sigabbrev_np(sig));
			(void)stream_tell(s, line); /* it may just end */
		}
	/* Said to the last msbd it may not have come to the job: see ctl_job_close_stdin(). */
	if (l->eof_due || (in->eof && s->in >= 0))
		in_done(l, true);
}

/* Waits for the next msbd, and goes on there. Return: 0; STREAM_SIGNAL; -errno. */
static int again(struct loop *l, struct msb_err *e)
{
	uint64_t since = msb_now_ms(), now = since;
	bool said = false;
	int r = l->s->again(l->s, l->s->again_arg, e);

	for (; r == -EAGAIN && now - since < MNT_AGAIN_MS; now = msb_now_ms()) {
		struct pollfd pf = {.fd = l->signal_fd, .events = POLLIN};

		if (!said && now - since >= QUIET_MS)
			(void)fprintf(stderr, "msb: msbd ended; waiting for another%s",
				l->term.fd >= 0 ? "\r\n" : "\n");
		said = now - since >= QUIET_MS;
		if (poll(&pf, 1, LOOK_MS) > 0 && on_signal(l))
			return STREAM_SIGNAL;
		r = l->s->again(l->s, l->s->again_arg, e);
	}
	if (r == -EAGAIN)
		return msb_err_set(e, ENOTCONN, "msbd ended, and no other has come in %d s",
			MNT_AGAIN_MS / 1000);
	if (r == 0) {
		*e = (struct msb_err){0};
		go_on(l);
	}
	return r;
}

static int run(struct loop *l, struct msb_err *e)
{
	struct pollfd pf[PUMPS + 1];
	int r = 0;

	while (r == 0) {
		r = wait_for(l, pf);
		r = r < 0 ? msb_err_set(e, -r, "poll: %s", strerror(-r)) : turn(l, pf, e);
		if (r == -ENOTCONN && l->s->again)
			r = again(l, e);
	}
	return r;
}

static int begin(struct loop *l, struct msb_err *e)
{
	struct stream *s = l->s;

	l->term = (struct term)TERM_INIT;
	sigemptyset(&l->set);
	for (size_t i = 0; i < ARRAY_LEN(passed_on); i++) {
		/* Without a raw terminal ^Z is the shell's business. What is ignored stays so:
		 * nohup. */
		struct sigaction sa;

		if (sigaction(passed_on[i], NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			continue;
		if (passed_on[i] != SIGTSTP || (s->tty && s->in >= 0 && isatty(STDIN_FILENO)))
			sigaddset(&l->set, passed_on[i]);
	}
	l->signal_fd = signalfd(-1, &l->set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signal_fd < 0)
		return msb_err_set(e, errno, "signals cannot be waited for: %m");
	(void)sigprocmask(SIG_BLOCK, &l->set, &l->old); /* a valid set */
	l->pump[OUT] = (struct pump){.from = s->out, .eof = s->out < 0};
	l->pump[ERR] = (struct pump){.from = s->err, .eof = s->err < 0};
	l->pump[IN] = (struct pump){.from = STDIN_FILENO, .eof = s->in < 0};
	for (int i = 0; i < PUMPS; i++)
		l->pump[i].buf = l->buf[i];
	sink_open(&l->pump[OUT].to, STDOUT_FILENO);
	sink_open(&l->pump[ERR].to, STDERR_FILENO);
	l->pump[IN].to = (struct sink){.fd = s->in, .file = true}; /* without blocking already */
	resize(s);
	return s->tty && s->in >= 0 && isatty(STDIN_FILENO) ? term_raw(&l->term, STDIN_FILENO, e)
							    : 0;
}

static void end(struct loop *l)
{
	term_restore(&l->term);
	sink_close(&l->pump[OUT].to);
	sink_close(&l->pump[ERR].to);
	if (l->signal_fd >= 0) {
		struct signalfd_siginfo si;

		/* What came too late for the job would end us now, after the job has said its
		 * status. */
		while (read(l->signal_fd, &si, sizeof(si)) == sizeof(si))
			;
		close(l->signal_fd);
		(void)sigprocmask(SIG_SETMASK, &l->old, NULL); /* a valid set */
	}
}

int stream_run(struct stream *s, struct msb_err *e)
{
	_cleanup_free_ struct loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return msb_err_set(e, ENOMEM, "no memory");
	l->s = s;
	r = begin(l, e);
	if (r == 0)
		r = run(l, e);
	end(l);
	return r;
}
