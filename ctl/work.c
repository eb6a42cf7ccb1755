// SPDX-License-Identifier: Apache-2.0
// Requests that may wait.
#include "ctl/work.h"
#include "ctl/job.h"
#include "base/cleanup.h"
#include "ctl/image_names.h"
#include "ctl/interrupt.h"
#include "ctl/report.h"
#include "ctl/thread.h"
#include "ctl/volumes.h"

#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

static const int caps[CLASS_COUNT] = {
	[CLASS_READ] = CTL_MAX_READERS,
	[CLASS_EXEC] = CTL_MAX_EXECS,
	[CLASS_COMMAND] = CTL_MAX_COMMANDS,
	[CLASS_KILL] = CTL_MAX_KILLS,
};
static atomic_int running[CLASS_COUNT], of_others[CLASS_COUNT];

struct ctl_work *ctl_work_new(struct ctl *c, fuse_req_t req, size_t n)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct ctl_work *w = calloc(1, sizeof(*w) + n);

	if (!w)
		return NULL;
	w->req = req;
	w->q = (struct ctl_req){
		.c = c, .pid = ctx->pid, .uid = ctx->uid, .gid = ctx->gid, .cancel = &w->cancel};
	w->cancel.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->cancel.fd < 0) {
		free(w);
		return NULL;
	}
	return w;
}

void ctl_work_done(struct ctl_work *w)
{
	close(w->cancel.fd);
	if (w->h && w->h->at.node->dir == D_LOGINS)
		explicit_bzero(w->data, w->size); /* a secret */
	ctl_handle_unref(w->h);
	ctl_sandbox_unref(w->sb);
	ctl_image_unref(w->img);
	ctl_volume_unref(w->vol);
	free(w->path);
	free(w);
}

/* Requests whose caller got a signal that means nothing: looked at again until they are answered.
 */
static struct {
	pthread_mutex_t lock; /* taken before ctl.lock, never after it */
	struct ctl_work *first;
	bool watched; /* a thread looks */
} doubts = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void cancel(struct ctl_work *w)
{
	w->cancel.set = true;
	(void)eventfd_write(w->cancel.fd, 1); /* a full counter is readable too */
	LOCK_SCOPE(&w->q.c->lock);
	pthread_cond_broadcast(&w->q.c->changed);
	if (w->h && w->h->at.job)
		pthread_cond_broadcast(&w->h->at.job->changed);
}

static bool look_again(void)
{
	LOCK_SCOPE(&doubts.lock);
	for (struct ctl_work **at = &doubts.first; *at;) {
		struct ctl_work *w = *at;

		if (ctl_caller_waits_on(w->q.pid)) {
			at = &w->next_doubt;
			continue;
		}
		*at = w->next_doubt;
		w->doubted = false;
		cancel(w);
	}
	return doubts.watched = doubts.first != NULL;
}

static void *doubts_thread(void *arg)
{
	const struct timespec pause = {.tv_nsec = CTL_LOOK_AGAIN_MS * 1000000L};

	do
		nanosleep(&pause, NULL);
	while (look_again());
	return NULL;
}

/* On the thread that reads the session; takes ctl.lock for a moment. */
static void on_interrupt(fuse_req_t req, void *arg)
{
	struct ctl_work *w = arg;

	LOCK_SCOPE(&doubts.lock);
	if (!w->doubted && ctl_caller_waits_on(w->q.pid) &&
		(doubts.watched || ctl_thread(doubts_thread, NULL) == 0)) {
		w->doubted = doubts.watched = true;
		w->next_doubt = doubts.first;
		doubts.first = w;
	}
	if (!w->doubted)
		cancel(w);
}

void ctl_work_answer(struct ctl_work *w)
{
	/* Waits for an interrupt that is being delivered, so that it does not find freed memory. */
	fuse_req_interrupt_func(w->req, NULL, NULL);
	LOCK_SCOPE(&doubts.lock);
	for (struct ctl_work **at = &doubts.first; w->doubted && *at; at = &(*at)->next_doubt)
		if (*at == w) {
			*at = w->next_doubt;
			break;
		}
	w->doubted = false;
}

void ctl_work_fail(struct ctl_work *w, const struct msb_err *e)
{
	/* Not a failure to tell people about: the caller asked for it. */
	if (e->code != EINTR && e->code != EAGAIN)
		ctl_error(&w->q, w->sb ?: w->h ? w->h->at.sb : NULL, w->path ?: "?", e);
	ctl_work_answer(w);
	fuse_reply_err(w->req, e->code ?: EIO);
}

void ctl_work_refuse(struct ctl_work *w, const struct msb_err *e)
{
	ctl_error(&w->q, w->sb ?: w->h ? w->h->at.sb : NULL, w->path ?: "?", e);
	fuse_reply_err(w->req, e->code);
	ctl_work_done(w);
}

static void *work_thread(void *arg)
{
	struct ctl_work *w = arg;
	enum ctl_class class = w->class;
	bool others = w->others;

	w->fn(w);
	ctl_work_done(w);
	running[class]--;
	of_others[class] -= others;
	return NULL;
}

void ctl_work_run(struct ctl_work *w, enum ctl_class class, void (*fn)(struct ctl_work *))
{
	struct msb_err e = {0};

	w->class = class;
	w->fn = fn;
	/* Who opened it counts too: a set-user-ID program waits on what its caller has opened. */
	w->others = w->q.uid != w->q.c->uid || (w->h && w->h->others);
	of_others[class] += w->others;
	if (++running[class] > caps[class]) {
		msb_err_set(&e, EAGAIN, "%d requests of this kind wait already; try again later",
			caps[class]);
	} else if (w->others && of_others[class] > CTL_OTHERS_SHARE(caps[class])) {
		msb_err_set(&e, EAGAIN,
			"%d requests of this kind, of users other than the instance's, wait already; "
			"try again later",
			CTL_OTHERS_SHARE(caps[class]));
	} else {
		fuse_req_interrupt_func(w->req, on_interrupt, w);
		if (ctl_thread(work_thread, w) == 0)
			return;
		msb_err_set(&e, EAGAIN, "no thread for this request; try again later");
		ctl_work_answer(w);
	}
	running[class]--;
	of_others[class] -= w->others;
	ctl_work_refuse(w, &e);
}
