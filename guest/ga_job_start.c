// SPDX-License-Identifier: Apache-2.0
// Starting a job: its streams, its cgroup, its process.
#include "guest/ga.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

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
	if (*ga_job_slot(g, id) || g->njobs >= 2 * WIRE_MAX_JOBS)
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
		.exec_status = {.fn = ga_job_exec_status, .fd = -1, .of = j},
		.in = {.fn = ga_job_in_event, .fd = -1, .of = j},
		.out = {{.type = WIRE_OUT, .credit = x.window},
			{.type = WIRE_ERR, .credit = x.window}}};
	for (int i = 0; i < 2; i++)
		j->out[i].w = (struct ga_watch){.fn = ga_job_out_event, .fd = -1, .of = j};
	r = start(g, j, &x);
	ga_exec_done(&x);
	*ga_job_slot(g, id) = j;
	g->njobs++;
	if (r < 0) {
		j->pid = 0;
		msb_err_set(&e, -r, "cannot start a process in the guest: %s", strerror(-r));
		ga_reply_err(g, id, &e);
		ga_job_discard(g, j);
	}
}
