// SPDX-License-Identifier: Apache-2.0
// What may block is done by children of the agent, and so is the end of the guest, step by step.
#include "guest/ga.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

static _Noreturn void child(struct ga *g, enum ga_task_kind kind, const void *of, int fd)
{
	struct msb_err e = {0};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	switch (kind) {
	case GA_TASK_BOOT:
		if (g->ops->mount_root(&g->boot, &e) < 0 && !e.code)
			e.code = EIO;
		break;
	case GA_TASK_DROP_CACHES:
		if (g->ops->drop_caches(&e) < 0 && !e.code)
			e.code = EIO;
		break;
	case GA_TASK_SETTLE: g->ops->settle(); break;
	case GA_TASK_MOUNT:
		if (g->ops->mount(of, &e) < 0 && !e.code)
			e.code = EIO;
		break;
	case GA_TASK_CPUS:
		if (g->ops->cpus(*(const uint32_t *)of, &e) < 0 && !e.code)
			e.code = EIO;
		break;
	case GA_TASK_UMOUNT:
		if (g->ops->umount(of, &e) < 0 && !e.code)
			e.code = EIO;
		break;
	case GA_TASK_INIT: break; /* has no child */
	}
	(void)!write(fd, &e, sizeof(e)); /* without an answer the agent reports a death */
	_exit(0);
}

/* The root is mounted, or could not be. Return: whether an init is to come up yet. */
static bool root_mounted(struct ga *g, const struct ga_task *t, struct msb_err *e)
{
	int r;

	g->booting = false;
	if (e->code == 0)
		(void)g->ops->enter_root(&g->boot, e); /* e tells */
	if (e->code)
		return false;
	g->cgroups = g->ops->cgroups();
	g->sweep_due = g->cgroups >= 0; /* the first job's is made */
	g->booted = !*g->boot.init;
	if (g->booted)
		return false;
	r = ga_init_start(g, t->id);
	g->booting = r == 0;
	if (r < 0)
		msb_err_set(e, -r, "the guest cannot start a process");
	return r == 0;
}

static void finished(struct ga *g, struct ga_task *t, struct msb_err *e)
{
	if (t->kind == GA_TASK_BOOT && root_mounted(g, t, e))
		return;
	if (t->kind == GA_TASK_INIT) {
		g->booting = false;
		g->booted = e->code == 0;
	}
	if (t->kind == GA_TASK_SETTLE) {
		if (g->ending_id && g->ending_session == g->session)
			ga_reply(g, WIRE_OK, g->ending_id, NULL, 0);
		g->off = true;
		return;
	}
	if (t->session != g->session)
		return;
	if (e->code)
		ga_reply_err(g, t->id, e);
	else
		ga_reply(g, WIRE_OK, t->id, NULL, 0);
}

static void task_event(struct ga *g, struct ga_watch *w, uint32_t events)
{
	struct ga_task *t = w->of, **p = &g->tasks;
	struct msb_err e = {0};
	ssize_t n = read(w->fd, &e, sizeof(e)); /* one write of the child, less than PIPE_BUF */

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof(e) && (n != 0 || t->kind != GA_TASK_INIT))
		msb_err_set(&e, EIO, "a process of the guest's agent was killed");
	e.msg[sizeof(e.msg) - 1] = '\0';
	ga_watch_close(w);
	finished(g, t, &e);
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	t->next = g->tasks_trash;
	g->tasks_trash = t;
	g->ntasks--;
}

int ga_task_watch(struct ga *g, enum ga_task_kind kind, uint32_t id, int fd)
{
	struct ga_task *t = calloc(1, sizeof(*t));

	if (t)
		*t = (struct ga_task){.next = g->tasks,
			.w = {.fn = task_event, .fd = -1, .of = t},
			.kind = kind,
			.id = id,
			.session = g->session};
	if (!t || fcntl(fd, F_SETFL, O_NONBLOCK) < 0 || ga_watch_add(g, &t->w, fd, EPOLLIN) < 0) {
		close(fd);
		free(t);
		return -EAGAIN;
	}
	g->tasks = t;
	g->ntasks++;
	return 0;
}

int ga_task_start(struct ga *g, enum ga_task_kind kind, uint32_t id, const void *of)
{
	int fds[2];
	pid_t pid;

	if (g->ntasks >= GA_MAX_TASKS)
		return -EAGAIN;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child(g, kind, of, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return -EAGAIN;
	}
	return ga_task_watch(g, kind, id, fds[0]);
}

void ga_task_adopt(struct ga *g, enum ga_task_kind kind, uint32_t id)
{
	for (struct ga_task *t = g->tasks; t; t = t->next)
		if (t->kind == kind) {
			t->id = id;
			t->session = g->session;
		}
}

/* ---- the end: SIGTERM (or the guest's init is asked), wait, SIGKILL, wait, sync and unmount,
 * power off
 */

void ga_end(struct ga *g, uint32_t id, uint32_t timeout_ms)
{
	if (id) { /* the newest asker is answered */
		g->ending_id = id;
		g->ending_session = g->session;
	}
	if (g->ending != GA_UP)
		return;
	g->ending = GA_TERM;
	g->ending_at = msb_now_ms() + timeout_ms;
	if (g->init) /* it ends everything, and the machine; what it has not by then, we do */
		return;
	ga_jobs_signal(g, SIGTERM);
	g->ops->kill_all(SIGTERM);
}

/* No child left but those of our own making. */
static bool quiet(const struct ga *g)
{
	siginfo_t si;

	return g->ntasks == 0 && waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 &&
	       errno == ECHILD;
}

uint64_t ga_end_tick(struct ga *g, uint64_t now)
{
	switch (g->ending) {
	case GA_UP: return UINT64_MAX;
	case GA_TERM:
		if (g->init && now >= g->ask_at)
			g->ask_at = ga_init_ask_off(g) ? UINT64_MAX : now + GA_ASK_MS;
		if ((g->init || !quiet(g)) && now < g->ending_at)
			return g->init && g->ask_at < g->ending_at ? g->ask_at : g->ending_at;
		g->ending = GA_KILL;
		g->ending_at = now + GA_KILL_WAIT_MS;
		ga_jobs_signal(g, SIGKILL);
		g->ops->kill_all(SIGKILL);
		return now;
	case GA_KILL:
		if (!quiet(g) && now < g->ending_at)
			break;
		g->ending = GA_SETTLE;
		g->ending_at = now + GA_SETTLE_MS;
		if (ga_task_start(g, GA_TASK_SETTLE, 0, NULL) < 0)
			g->off = true;
		break;
	case GA_SETTLE:
		if (now >= g->ending_at)
			g->off = true; /* a file server that does not answer cannot keep us up */
		break;
	}
	return g->ending_at;
}
