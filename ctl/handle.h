/* SPDX-License-Identifier: Apache-2.0 */
/* An open file of the control tree: its snapshot, its place in a stream, its private transaction.
 */
#ifndef MSB_CTL_HANDLE_H
#define MSB_CTL_HANDLE_H

#include "ctl/exec.h"
#include "ctl/job.h"
#include "ctl/logfile.h"
#include "ctl/tree.h"

struct fuse_pollhandle;

struct ctl_handle {
	struct ctl_at at;		     /* its sb, img, vol and job are references */
	struct ctl_pull *pull;		     /* of K_PULL: a reference */
	unsigned int refs;		     /* ctl.lock */
	bool nonblock, append, rdwr, rdonly; /* as it was opened */
	int file;			     /* of K_FILE; -1 */
	uid_t uid;			     /* who opened it */
	gid_t gid;
	bool others; /* that is another user than the instance's */
	uid_t owner; /* whose its sandbox, or volume, was then */

	pthread_mutex_t lock; /* guards what follows; never held across waits */
	struct msb_str snap;  /* what reads give */
	bool snapped;
	struct ctl_ring_reader ring;
	struct ctl_logfile *log; /* of a K_LOG, once it was read */
	struct ctl_log_reader place;
	struct msb_str answer; /* of verbs, not read yet */
	struct ctl_command *job;
	bool busy; /* somebody reads or starts the job, without the lock */
	struct msb_err
		owed; /* error of a line whose predecessors were consumed in the same write */
	uint64_t owed_off;
	uint64_t pos; /* end of the last read: what poll goes by */

	/* ctl.lock */
	struct ctl_job_reader stream; /* of a K_OUT */
	uint64_t seen;		      /* the state's changes that were read */
	struct fuse_pollhandle *ph;
	struct ctl_handle *poll_next, **poll_prev; /* in ctl.pollers while ph is set */
};

/* Whether one more file or directory may be opened; who does counts it in c->nhandles and, where it
 * is another user than the instance's, c->nothers. ctl.lock held; -ENFILE. */
int ctl_handle_room(const struct ctl *c, bool others, struct msb_err *e);

/* ctl.lock held; -ENFILE CTL_MAX_HANDLES, or what others may have of it. @flags: of open(2). */
int ctl_handle_new(const struct ctl_at *at, uid_t uid, gid_t gid, int flags,
	struct ctl_handle **ret, struct msb_err *e);
void ctl_handle_unref(struct ctl_handle *h); /* takes ctl.lock itself; NULL is fine */

/* Whether its reads are taken from a stream, so that they may not go through the page cache. */
bool ctl_handle_streams(const struct ctl_handle *h);
/* Whether reading at @off needs a thread of its own. */
bool ctl_handle_waits(struct ctl_handle *h, uint64_t off);
/* Whether it may do without one at times: to be tried with ctl_req.no_wait, which says -EAGAIN. */
bool ctl_handle_may_wait(const struct ctl_handle *h, uint64_t off);
/* Whether a write never waits for anything but ctl.lock. */
bool ctl_handle_writes_now(const struct ctl_handle *h);
/* -EACCES: it is not the instance's user who has it open, and it was given away since. Takes
 * ctl.lock. */
int ctl_handle_still_its(const struct ctl_handle *h, struct msb_err *e);
/**
 * ctl_handle_read() - Append what a read gives to @s
 * Return: 0, and nothing appended at the end; -EAGAIN nothing yet, and O_NONBLOCK; -EINTR; -EACCES
 * as ctl_handle_still_its(); others with a sentence in @e.
 */
int ctl_handle_read(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, size_t max,
	struct msb_str *s, struct msb_err *e);
/* Does the lines of a write. Return: bytes consumed, or -errno with its sentence in @e; -EACCES as
 * for a read. */
int64_t ctl_handle_write(const struct ctl_req *q, struct ctl_handle *h, uint64_t off, const char *p,
	size_t n, struct msb_err *e);

/* Keeps an error for `error` and `errors`. */
void ctl_handle_report(const struct ctl_req *q, struct ctl_handle *h, const struct msb_err *err);

/* How often what poll goes by has changed, of a file with NF_STATE or NF_HEALTH; ctl.lock held. */
uint64_t ctl_handle_changes(const struct ctl_at *at);
/* Ends polling: before the file is released. Takes ctl.lock. */
void ctl_handle_unpoll(struct ctl_handle *h);
/* poll(2): what is ready now; @ph (may be NULL) is notified once, when that may have changed. */
unsigned int ctl_handle_poll(struct ctl_handle *h, struct fuse_pollhandle *ph);
/* Notifies who polls this open file. Takes ctl.lock. */
void ctl_handle_wake(struct ctl_handle *h);
/* Notifies those who poll a file of @sb, or of the instance (NULL: everybody), but for jobs that
 * go on; ctl.lock held. */
void ctl_poll_wake(struct ctl *c, const struct ctl_sandbox *sb);
void ctl_poll_wake_logs(struct ctl *c);
/* The same of those who poll images/pulls/N. */
void ctl_poll_wake_pull(struct ctl *c, uint32_t n);
/* Likewise the open files of one job; ctl.lock held. */
void ctl_poll_wake_job(const struct ctl_job *j);

#endif
