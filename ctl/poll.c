// SPDX-License-Identifier: Apache-2.0
// Open files: poll.
#include "base/cleanup.h"
#include "ctl/handle.h"
#include "ctl/pulls.h"
#include "ctl/supervise.h"

#include <fuse_lowlevel.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>

/* ctl.lock held. */
static void unlink_poller(struct ctl_handle *h)
{
	if (!h->ph)
		return;
	fuse_pollhandle_destroy(h->ph);
	h->ph = NULL;
	*h->poll_prev = h->poll_next;
	if (h->poll_next)
		h->poll_next->poll_prev = h->poll_prev;
	h->refs--; /* the list's; the caller holds another, or h is open */
}

void ctl_poll_wake(struct ctl *c, const struct ctl_sandbox *sb)
{
	for (struct ctl_handle *h = c->pollers, *next; h; h = next) {
		next = h->poll_next;
		if (sb && h->at.sb && h->at.sb != sb)
			continue;
		/* What happens to a job wakes those who poll it; all jobs' readers for each would
		 * be the square of them. */
		if (h->at.job && !h->at.job->gone && h->at.sb && !h->at.sb->gone)
			continue;
		(void)fuse_lowlevel_notify_poll(h->ph); /* fails where the mount is gone */
		unlink_poller(h);
	}
}

void ctl_poll_wake_job(const struct ctl_job *j)
{
	for (struct ctl_handle *h = j->sb->c->pollers, *next; h; h = next) {
		next = h->poll_next;
		if (h->at.job != j)
			continue;
		(void)fuse_lowlevel_notify_poll(h->ph); /* fails where the mount is gone */
		unlink_poller(h);
	}
}

void ctl_poll_wake_logs(struct ctl *c)
{
	for (struct ctl_handle *h = c->pollers, *next; h; h = next) {
		next = h->poll_next;
		if (h->at.node->kind != K_LOG)
			continue;
		(void)fuse_lowlevel_notify_poll(h->ph); /* fails where the mount is gone */
		unlink_poller(h);
	}
}

void ctl_poll_wake_pull(struct ctl *c, uint32_t n)
{
	for (struct ctl_handle *h = c->pollers, *next; h; h = next) {
		next = h->poll_next;
		if (!h->pull || h->pull->n != n)
			continue;
		(void)fuse_lowlevel_notify_poll(h->ph); /* fails where the mount is gone */
		unlink_poller(h);
	}
}

void ctl_handle_wake(struct ctl_handle *h)
{
	LOCK_SCOPE(&h->at.c->lock);
	if (h->ph)
		(void)fuse_lowlevel_notify_poll(h->ph); /* fails where the mount is gone */
	unlink_poller(h);
}

void ctl_handle_unpoll(struct ctl_handle *h)
{
	LOCK_SCOPE(&h->at.c->lock);
	unlink_poller(h);
}

/* Has the supervisor look at a log as long as somebody polls it. */
static void watch_log(const struct ctl_handle *h)
{
	const struct ctl *c = h->at.c;
	char path[MSB_PATH_MAX + 128], log[CTL_LOG_PATH];

	if (h->at.sb) {
		ctl_log_path(&h->at, log);
		*strrchr(log, '/') = '\0'; /* its directory: it may not be there yet */
		(void)snprintf(path, sizeof(path), "%s/sandboxes/%s", c->paths.state, log);
	} else {
		(void)snprintf(path, sizeof(path), "%s/msb.log", c->paths.run);
	}
	/* Where there is no watch to be had, a poller wakes with the next event. */
	(void)inotify_add_watch(c->inotify_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO);
}

static bool more_ring(const struct ctl_handle *h)
{
	const struct ctl *c = h->at.c;

	return ctl_ring_more(h->at.sb	       ? &h->at.sb->events
			     : h->at.node->arg ? &c->events
					       : &c->errors,
		&h->ring, h->pos);
}

/* A log's size costs system calls on the host's own disk, no waiting. */
static bool more_log(const struct ctl_handle *h)
{
	char path[CTL_LOG_PATH] = "msb.log";

	if (h->log)
		return ctl_logfile_more(h->log, &h->place, h->pos);
	if (h->at.sb)
		ctl_log_path(&h->at, path);
	return ctl_logfile_size(h->at.sb ? h->at.c->sandboxes_fd : h->at.c->run_fd, path,
		       (unsigned)h->at.node->arg) > h->pos;
}

/* h->lock held, as by whoever takes the job. */
static unsigned int ready_exec(struct ctl_handle *h)
{
	const unsigned int in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM;

	if (h->busy)
		return 0; /* woken when it is given back */
	if (!h->rdwr || !h->job)
		return in | out;
	if (ctl_command_ready(h->job))
		return h->job->bytes ? in : in | out | POLLHUP;
	/* Better awake for nothing than asleep for ever. */
	return h->ph && ctl_supervise_output(h->at.sb, h->job->sock) < 0 ? in : 0;
}

static unsigned int ready_job(struct ctl_handle *h)
{
	const unsigned int in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM;
	struct ctl_job *j = h->at.job;

	switch (h->at.node->kind) {
	case K_OUT:
		return !ctl_job_reader_ready(j, &h->stream) ? 0
		       : j->state == JOB_ENDED		    ? in | POLLHUP
							    : in;
	case K_IN: return ctl_job_writable(j) ? out : 0;
	case K_WAIT: return j->state == JOB_ENDED ? in : 0;
	case K_CTL: return h->rdonly || h->answer.len ? in | out : out;
	default:
		if ((h->at.node->flags & NF_STATE) && h->seen != j->changes)
			return in | out | POLLPRI | POLLERR;
		return in | out;
	}
}

static unsigned int ready(struct ctl_handle *h)
{
	const struct ctl_sandbox *sb = h->at.sb;
	unsigned int in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM;

	if ((sb && sb->gone) || (h->at.img && h->at.img->gone))
		return in | POLLHUP;
	if (h->at.job)
		return ready_job(h);
	switch (h->at.node->kind) {
	case K_RING: return more_ring(h) ? in : 0;
	case K_PULL:
		return ctl_ring_more(&h->pull->ring, &h->ring, h->pos) ? in
		       : h->pull->ended				       ? in | POLLHUP
								       : 0;
	case K_LOG: return more_log(h) ? in : 0;
	case K_WAIT: return sb && !sb->op && ctl_state_ended(sb->state) ? in : 0;
	case K_EXEC: return ready_exec(h);
	case K_CTL: return h->rdonly || h->answer.len ? in | out : out;
	default:
		if ((h->at.node->flags & (NF_STATE | NF_HEALTH)) &&
			h->seen != ctl_handle_changes(&h->at))
			return in | out | POLLPRI | POLLERR;
		return in | out;
	}
}

unsigned int ctl_handle_poll(struct ctl_handle *h, struct fuse_pollhandle *ph)
{
	struct ctl *c = h->at.c;

	if (ph && h->at.node->kind == K_LOG)
		watch_log(h);
	LOCK_SCOPE(&h->lock);
	LOCK_SCOPE(&c->lock);
	unlink_poller(h);
	if (ph) {
		h->ph = ph;
		h->refs++;
		h->poll_next = c->pollers;
		h->poll_prev = &c->pollers;
		if (h->poll_next)
			h->poll_next->poll_prev = &h->poll_next;
		c->pollers = h;
	}
	return ready(h);
}
