// SPDX-License-Identifier: Apache-2.0
// The thread that waits for what nobody asked for.
#include "ctl/supervise.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/notify.h"
#include "ctl/daemon.h"
#include "ctl/handle.h"
#include "ctl/image_names.h"
#include "ctl/instance.h"
#include "ctl/job.h"
#include "ctl/logfile.h"
#include "ctl/news.h"
#include "ctl/op.h"
#include "ctl/pulls.h"
#include "ctl/policy.h"
#include "ctl/thread.h"
#include "vmm/agent.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

/* What an epoll event stands for: a kind, and the serial of the sandbox or image. */
enum kind {
	K_SIGNAL,
	K_TIMER,
	K_INOTIFY,
	K_AGENT,
	K_QEMU,
	K_FSD_SANDBOX,
	K_FSD_IMAGE,
	K_OUTPUT,
	K_JOB,
	K_POLICY,
	K_NEWS,
	K_DENIED,
	K_HEALTH
};
#define TAG(kind, serial) ((uint64_t)(serial) << 8 | (kind))

struct supervisor {
	struct ctl *c;
	int exit_fd, signal_fd, timer_fd;
	atomic_bool folding; /* a thread of its own does: fold() */
};

static int watch(int ep, int fd, uint64_t tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* What it refuses a guest. Nothing else depends on that. */
static void watch_denied(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};
	char sock[108];

	ctl_sock_path(sb->c, sb->id, "fsd", sock);
	if (sb->denied_fd >= 0)
		close(sb->denied_fd); /* of an earlier one */
	sb->denied_fd = fsd_watch(sock, &e);
	if (sb->denied_fd < 0)
		log_warn("%s: no events of what is denied: %s", sb->name, e.msg);
	else if (watch(sb->c->epoll_fd, sb->denied_fd, TAG(K_DENIED, sb->serial)) < 0)
		log_err("%s: no events of what is denied: %m", sb->name);
}

void ctl_supervise_fsd(const struct ctl_files_of *of)
{
	uint32_t serial =
		of->sb ? of->sb->serial
		       : ((struct ctl_image *)((char *)of->f - offsetof(struct ctl_image, files)))
				 ->serial;

	if (watch(of->c->epoll_fd, of->f->fsd.pidfd,
		    TAG(of->sb ? K_FSD_SANDBOX : K_FSD_IMAGE, serial)) < 0)
		log_err("%s: its file server is not watched: %m", of->name);
	if (of->sb)
		watch_denied(of->sb);
}

void ctl_supervise_agent(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};
	char sock[108];

	ctl_sock_path(sb->c, sb->id, "agent", sock);
	if (watch(sb->c->epoll_fd, sb->agent.pidfd, TAG(K_AGENT, sb->serial)) < 0)
		log_err("%s: its agent's process is not watched: %m", sb->name);
	if (sb->news_fd >= 0)
		close(sb->news_fd); /* of an earlier one */
	sb->news_fd = agent_watch(sock, &e);
	if (sb->news_fd < 0)
		log_warn("%s: no events of its guest: %s", sb->name, e.msg);
	else if (watch(sb->c->epoll_fd, sb->news_fd, TAG(K_NEWS, sb->serial)) < 0)
		log_err("%s: no events of its guest: %m", sb->name);
}

void ctl_supervise_qemu(struct ctl_sandbox *sb)
{
	if (watch(sb->c->epoll_fd, sb->qemu.pidfd, TAG(K_QEMU, sb->serial)) < 0)
		log_err("%s: its machine is not watched: %m", sb->name);
}

int ctl_supervise_check(const struct ctl_sandbox *sb, int fd)
{
	return watch(sb->c->epoll_fd, fd, TAG(K_HEALTH, sb->serial));
}

int ctl_supervise_output(const struct ctl_sandbox *sb, int fd)
{
	struct epoll_event ev = {
		.events = EPOLLIN | EPOLLONESHOT, .data.u64 = TAG(K_OUTPUT, sb->serial)};

	if (epoll_ctl(sb->c->epoll_fd, EPOLL_CTL_MOD, fd, &ev) == 0)
		return 0;
	return epoll_ctl(sb->c->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int ctl_supervise_job(const struct ctl_job *j, bool in, bool out)
{
	struct epoll_event ev = {.events = (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0) | EPOLLONESHOT,
		.data.u64 = TAG(K_JOB, j->serial)};
	int ep = j->sb->c->epoll_fd;

	if (!in && !out) { /* a hang-up is reported whatever was asked for */
		ctl_supervise_drop(j->sb->c, j->sock);
		return 0;
	}
	if (epoll_ctl(ep, EPOLL_CTL_MOD, j->sock, &ev) == 0)
		return 0;
	return epoll_ctl(ep, EPOLL_CTL_ADD, j->sock, &ev) < 0 ? -errno : 0;
}

void ctl_supervise_drop(struct ctl *c, int pidfd)
{
	if (pidfd >= 0)
		(void)epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, pidfd, NULL); /* may not be there */
}

/* How a child ended, without reaping it. */
static struct ctl_exit peek(int pidfd)
{
	siginfo_t si = {0};

	if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return (struct ctl_exit){0};
	return (struct ctl_exit){si.si_code, si.si_status};
}

struct lost {
	struct ctl_sandbox *sb;
	struct ctl_image *img;
};

/* Reaps a file server and unmounts its view: may wait for whoever talks to it. */
static void *files_lost(void *arg)
{
	struct lost *l = arg;
	struct ctl_files_of of;

	if (l->sb)
		of = (struct ctl_files_of){.c = l->sb->c,
			.f = &l->sb->files,
			.id = l->sb->id,
			.name = l->sb->name,
			.sb = l->sb};
	else
		ctl_files_of_image(l->img, &of);
	(void)ctl_files_lost(&of); /* why it ended was looked at before */
	ctl_sandbox_unref(l->sb);
	ctl_image_unref(l->img);
	free(l);
	return NULL;
}

/* Lock held. */
static void fsd_ended(struct ctl *c, struct ctl_sandbox *sb, struct ctl_image *img)
{
	struct ctl_helper *h = sb ? &sb->files.fsd : &img->files.fsd;
	struct lost *l = calloc(1, sizeof(*l));
	char how[64];

	ctl_exit_text(peek(h->pidfd), how, sizeof(how));
	log_warn("%s: the file server ended: %s", sb ? sb->name : img->name, how);
	ctl_supervise_drop(c, h->pidfd);
	if (sb)
		ctl_op_clean(sb, EIO, "the file server ended: %s", how);
	if (!l)
		return; /* out of memory: the next use fails, and clears it away */
	l->sb = sb ? ctl_sandbox_ref(sb) : NULL;
	l->img = img ? ctl_image_ref(img) : NULL;
	if (ctl_thread(files_lost, l) < 0) {
		if (sb)
			sb->refs--;
		else
			img->refs--;
		free(l);
	}
}

/* Lock held. */
static void agent_ended(struct ctl *c, struct ctl_sandbox *sb)
{
	uint64_t now = msb_now_ms();
	char how[64];

	ctl_exit_text(peek(sb->agent.pidfd), how, sizeof(how));
	log_warn("%s: the agent's process ended: %s", sb->name, how);
	ctl_supervise_drop(c, sb->agent.pidfd);
	if (sb->state == ST_RUNNING || sb->state == ST_PAUSED) {
		if (now - sb->agent_ends_since > CTL_AGENT_ENDS_MS) {
			sb->agent_ends_since = now;
			sb->agent_ends = 0;
		}
		ctl_agent_lost(sb, how);
		/* A guest that has found a way to end it must not keep the host busy with that. */
		if (++sb->agent_ends > CTL_MAX_AGENT_ENDS)
			ctl_op_clean(sb, EIO, "the agent's process keeps ending: %s", how);
		else
			ctl_op_reattach(sb);
	} else if (sb->op && sb->op->verb == VERB_START)
		ctl_op_clean(sb, EIO, "the agent's process ended: %s", how);
}

/* Lock held. */
static void qemu_ended(struct ctl *c, struct ctl_sandbox *sb)
{
	ctl_supervise_drop(c, sb->qemu.pidfd);
	ctl_machine_exited(sb);
}

/* An event may be older than the process that now stands in its place. */
static bool has_ended(const struct ctl_helper *h)
{
	return h->pidfd >= 0 && msb_wait_fd(h->pidfd, POLLIN, 0) == 0;
}

static void helper_ended(struct ctl *c, enum kind kind, uint32_t serial)
{
	struct ctl_sandbox *sb;
	struct ctl_image *img;
	const struct ctl_helper *h;

	LOCK_SCOPE(&c->lock);
	sb = kind == K_FSD_IMAGE ? NULL : ctl_sandbox_by_serial(c, serial);
	img = kind == K_FSD_IMAGE ? ctl_image_by_serial(c, serial) : NULL;
	if (!sb && !img)
		return;
	h = kind == K_AGENT  ? &sb->agent
	    : kind == K_QEMU ? &sb->qemu
	    : sb	     ? &sb->files.fsd
			     : &img->files.fsd;
	if (!has_ended(h))
		return;
	if (kind == K_AGENT)
		agent_ended(c, sb);
	else if (kind == K_QEMU)
		qemu_ended(c, sb);
	else
		fsd_ended(c, sb, img);
}

/* --stop --all: every machine, then every file server, then msbd. */
static void *end_all(void *arg)
{
	struct supervisor *s = arg;

	ctl_stop_everything(s->c);
	(void)eventfd_write(s->exit_fd, 1);
	return NULL;
}

/* Lets verbs under way come to their end for a while, then ends msbd; machines go on. */
static void *end_soon(void *arg)
{
	struct supervisor *s = arg;
	struct ctl *c = s->c;
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += CTL_DRAIN_TIMEOUT_MS / 1000;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	ctl_pulls_stop(c);
	while (c->nops && pthread_cond_timedwait(&c->changed, &c->lock, &t) == 0)
		;
	pthread_mutex_unlock(&c->lock);
	(void)eventfd_write(s->exit_fd, 1);
	return NULL;
}

static void on_signal(struct supervisor *s)
{
	struct signalfd_siginfo si;

	if (read(s->signal_fd, &si, sizeof(si)) != sizeof(si))
		return;
	log_info("signal %u from pid %u: ending%s", si.ssi_signo, si.ssi_pid,
		si.ssi_signo == SIGUSR1 ? " with every machine" : "; machines go on");
	msb_notify("STOPPING=1", "ends%s",
		si.ssi_signo == SIGUSR1 ? " with every machine" : "; machines that run go on");
	if (ctl_thread(si.ssi_signo == SIGUSR1 ? end_all : end_soon, s) < 0)
		(void)eventfd_write(s->exit_fd, 1);
}

/* Waits for the disk. */
static void *fold(void *arg)
{
	struct supervisor *s = arg;

	{
		LOCK_SCOPE(&s->c->fold_lock);
		ctl_db_checkpoint(s->c->db);
	}
	s->folding = false;
	return NULL;
}

static void on_timer(struct supervisor *s)
{
	uint64_t n;

	(void)!read(s->timer_fd, &n, sizeof(n)); /* only to make it unreadable again */
	/* Where no thread is to be had it is for the next time. */
	if (!atomic_exchange(&s->folding, true) && ctl_thread(fold, s) < 0)
		s->folding = false;
	ctl_logfile_rotate(s->c->run_fd, "msb.log", CTL_MAX_LOG_BYTES);
	ctl_daemon_status(s->c, false);
}

static void on_inotify(struct ctl *c)
{
	_Alignas(struct inotify_event) char buf[4096];

	while (read(c->inotify_fd, buf, sizeof(buf)) > 0)
		;
	LOCK_SCOPE(&c->lock);
	ctl_poll_wake_logs(c);
}

static void on_output(struct ctl *c, uint32_t serial)
{
	const struct ctl_sandbox *sb;

	LOCK_SCOPE(&c->lock);
	sb = ctl_sandbox_by_serial(c, serial);
	if (sb)
		ctl_poll_wake(c, sb);
}

static void on_job(struct ctl *c, uint32_t serial)
{
	struct ctl_job *j;

	LOCK_SCOPE(&c->lock);
	j = ctl_job_by_serial(c, serial);
	if (j)
		ctl_job_event(j);
}

static void on_news(struct ctl *c, uint32_t serial, void (*read_it)(struct ctl_sandbox *sb))
{
	struct ctl_sandbox *sb;

	LOCK_SCOPE(&c->lock);
	sb = ctl_sandbox_by_serial(c, serial);
	if (sb)
		read_it(sb);
}

static void on_health(struct ctl *c, uint32_t serial)
{
	struct ctl_sandbox *sb;

	LOCK_SCOPE(&c->lock);
	sb = ctl_sandbox_by_serial(c, serial);
	if (!sb)
		return;
	ctl_health_event(sb);
	if (sb->health.check.sock < 0)
		ctl_policy_run(c); /* it has ended, and the next one is due some time */
}

static void on_policy(struct ctl *c)
{
	uint64_t n;

	(void)!read(c->policy_fd, &n, sizeof(n)); /* only to make it unreadable again */
	LOCK_SCOPE(&c->lock);
	ctl_policy_run(c);
}

static void *loop(void *arg)
{
	struct supervisor *s = arg;

	for (;;) {
		struct epoll_event ev[16];
		int n = epoll_wait(s->c->epoll_fd, ev, ARRAY_LEN(ev), -1);

		for (int i = 0; i < n; i++) {
			enum kind kind = ev[i].data.u64 & 0xff;

			if (kind == K_SIGNAL)
				on_signal(s);
			else if (kind == K_TIMER)
				on_timer(s);
			else if (kind == K_INOTIFY)
				on_inotify(s->c);
			else if (kind == K_OUTPUT)
				on_output(s->c, (uint32_t)(ev[i].data.u64 >> 8));
			else if (kind == K_POLICY)
				on_policy(s->c);
			else if (kind == K_NEWS)
				on_news(s->c, (uint32_t)(ev[i].data.u64 >> 8), ctl_news_read);
			else if (kind == K_DENIED)
				on_news(s->c, (uint32_t)(ev[i].data.u64 >> 8), ctl_denied_read);
			else if (kind == K_HEALTH)
				on_health(s->c, (uint32_t)(ev[i].data.u64 >> 8));
			else if (kind == K_JOB)
				on_job(s->c, (uint32_t)(ev[i].data.u64 >> 8));
			else
				helper_ended(s->c, kind, (uint32_t)(ev[i].data.u64 >> 8));
		}
	}
	return NULL;
}

int ctl_supervise_start(struct ctl *c, int exit_fd, struct msb_err *e)
{
	struct itimerspec every = {{CTL_CHECKPOINT_MS / 1000, 0}, {CTL_CHECKPOINT_MS / 1000, 0}};
	struct supervisor *s = calloc(1, sizeof(*s)); /* lives as long as msbd */
	sigset_t set;

	if (!s)
		return msb_err_set(e, ENOMEM, "no memory");
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	s->c = c;
	s->exit_fd = c->exit_fd = exit_fd;
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	s->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	c->policy_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->signal_fd < 0 || s->timer_fd < 0 || c->epoll_fd < 0 || c->inotify_fd < 0 ||
		c->policy_fd < 0 || watch(c->epoll_fd, c->policy_fd, TAG(K_POLICY, 0)) < 0 ||
		timerfd_settime(s->timer_fd, 0, &every, NULL) < 0 ||
		watch(c->epoll_fd, s->signal_fd, TAG(K_SIGNAL, 0)) < 0 ||
		watch(c->epoll_fd, s->timer_fd, TAG(K_TIMER, 0)) < 0 ||
		watch(c->epoll_fd, c->inotify_fd, TAG(K_INOTIFY, 0)) < 0 || ctl_thread(loop, s) < 0)
		return msb_err_set(e, errno, "cannot supervise: %m");
	return 0;
}
