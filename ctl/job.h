/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs: programs in the guest, each a directory of the control tree.
 *
 * Theory of operation. A job is made by opening jobs/clone, set up by its value files, and started
 * by its ctl. From then on it is one connection to msb-agentd. The supervisor's thread takes what
 * comes on it into the job's buffer, a queue of records in the order in which they came, and every
 * open stdout, stderr or output is a place in that queue. A job goes once it has ended (or was
 * never started) and nobody holds one of its files open, unless it is kept.
 *
 * msb-agentd holds it: where msbd is killed the job goes on, and the next msbd adopts it
 * (ctl_jobs_adopt()) with the output that is kept there. That is as if all its files had been
 * closed, but for the input of one that is kept, which stays open. Whoever held one that is to be
 * hung up has CTL_REJOIN_MS to open it again: until then that is as if nothing of it had been
 * closed.
 *
 * What makes a job wait for its readers: an open stream that has not read what would fall out of
 * the buffer. Where no stream is open, the oldest bytes fall out and are counted; `log` has them.
 *
 * All of it is guarded by ctl.lock; whoever waits for a job waits on its own condition.
 */
#ifndef MSB_CTL_JOB_H
#define MSB_CTL_JOB_H

#include "base/str.h"
#include "ctl/model.h"

enum ctl_job_state { JOB_CREATED, JOB_STARTING, JOB_RUNNING, JOB_ENDED };

/* What happens to it when nobody holds a file of it any more. */
enum ctl_job_close {
	JOB_CLOSE_EOF,	   /* its input ends */
	JOB_CLOSE_HANGUP,  /* it is hung up */
	JOB_CLOSE_NOTHING, /* and its input does not end with its last writer either */
	JOB_CLOSE_KINDS
};

enum ctl_job_value {
	JOB_CWD,
	JOB_USER,
	JOB_TTY,
	JOB_TIMEOUT,
	JOB_RLIMITS,
	JOB_ENTRYPOINT,
	JOB_VALUES
};

/* Streams as masks: `output` is both, as they came. */
#define JOB_OUT 1u
#define JOB_ERR 2u

/* The place of an open stream. */
struct ctl_job_reader {
	struct ctl_job_reader *next, **prev; /* of the job's; prev NULL: none */
	unsigned int mask;
	uint64_t pos;  /* of the record it reads next, counted since the job's beginning */
	uint32_t skip; /* bytes of it that were read */
};

struct ctl_job {
	struct ctl_job *next;	 /* of the sandbox's, by number */
	struct ctl_job *chained; /* the next in its chain of ctl.job */
	struct ctl_sandbox *sb;	 /* borrowed: who holds a job holds its sandbox */
	unsigned int refs;
	uint32_t serial, number;
	bool gone, keep;
	bool rejoin; /* who held it under an earlier msbd may come back */
	enum ctl_job_close at_close;
	unsigned int handles; /* open files of it */
	unsigned int writers; /* of stdin, among them */
	uint64_t created_usec, started_usec, ended_usec;

	char *argv; /* arguments, each with its NUL */
	size_t argv_bytes;
	char *argv_raw; /* what was written, as some shells write a line at a time */
	size_t argv_raw_bytes;
	char *values[JOB_VALUES]; /* NULL: the default */
	struct ctl_env *env;
	size_t nenv, env_bytes;
	uint32_t next_env;

	enum ctl_job_state state;
	uint64_t changes;	/* of state */
	pthread_cond_t changed; /* with ctl.lock: state, buffer, readers */
	int sock; /* -1: not started. Stays open, so that who writes it needs no lock */
	bool eof_sent, eof_due; /* the end of its input: told; to be told */
	bool mark_due;		/* `keep` changed: to be told */
	bool poll_out;		/* somebody polls for room in its input */
	uint64_t in_bytes;	/* of its input, taken so far */
	pid_t pid;		/* in the guest */
	int exit_code, signal;
	const char *reason; /* of the end: a word, see mnt-layout.md */
	struct msb_err err; /* code 0: none */

	char *buf; /* records: u8 stream, u32 bytes, bytes */
	size_t off, len, cap;
	uint64_t base;	     /* position of buf[off] */
	uint64_t dropped[2]; /* bytes that are no longer in it */
	bool stalled;	     /* its socket is not read: a reader is behind */
	struct ctl_job_reader *readers;
};

/* ---- with ctl.lock held */

/* Makes one. -EDQUOT CTL_MAX_JOBS; -ENODEV the sandbox was removed; -ENOMEM. Borrowed: it is the
 * sandbox's until it goes. */
int ctl_job_new(struct ctl_sandbox *sb, struct ctl_job **ret, struct msb_err *e);
struct ctl_job *ctl_job_find(const struct ctl_sandbox *sb, uint32_t number);
struct ctl_job *ctl_job_by_serial(struct ctl *c, uint32_t serial);
struct ctl_job *ctl_job_ref(struct ctl_job *j);
void ctl_job_unref(struct ctl_job *j);
/* A file of it is opened, and closed; @writes: its stdin, for writing. The last close may be the
 * job's end: @j is borrowed no longer then. */
void ctl_job_opened(struct ctl_job *j, bool writes);
void ctl_job_closed(struct ctl_job *j, bool writes);
/* It stays when nobody holds a file of it, or does not: where nobody does it may go now. */
void ctl_job_keep(struct ctl_job *j, bool on);
void ctl_jobs_drop(struct ctl_sandbox *sb); /* the sandbox is removed */
/* The number of the sandbox's next job: also of a command of `exec`, for the log. */
uint32_t ctl_job_number(struct ctl_sandbox *sb);
const char *ctl_job_state_name(enum ctl_job_state s);
const char *ctl_job_close_name(enum ctl_job_close k);
/* By its name; holds from the next close on. -EINVAL. */
int ctl_job_at_close(struct ctl_job *j, const char *name, struct msb_err *e);

/* Before it is started: -EBUSY after. -EINVAL, -ERANGE, -E2BIG, -ENOMEM with @e. */
/* @more: it goes on where the last write ended. */
int ctl_job_set_argv(struct ctl_job *j, const char *p, size_t n, bool more, struct msb_err *e);
int ctl_job_set(
	struct ctl_job *j, enum ctl_job_value v, const char *p, size_t n, struct msb_err *e);
void ctl_job_get(const struct ctl_job *j, enum ctl_job_value v, struct msb_str *s);
void ctl_job_get_argv(
	const struct ctl_job *j, struct msb_str *s); /* JSON; NULs where it cannot be */
/* @value NULL: make it, empty, where it is not there. */
int ctl_job_set_env(struct ctl_job *j, const char *name, const char *value, size_t n,
	struct ctl_env **ret, struct msb_err *e);
struct ctl_env *ctl_job_env_find(const struct ctl_job *j, const char *name);
struct ctl_env *ctl_job_env_by_serial(const struct ctl_job *j, uint32_t serial);

void ctl_job_end(struct ctl_job *j, const char *reason, int exit_code, int signal); /* once */

/* ---- without it */
/**
 * ctl_job_start() - Start it, and wait until its program runs
 * Errors: -EBUSY it was started before, or the sandbox is not running; -EINVAL no argv; what the
 * guest met, and the job has ended then; -EINTR, and it goes on.
 */
int ctl_job_start(const struct ctl_req *q, struct ctl_job *j, struct msb_err *e);
/* @sig to its process group, SIGKILL to all its processes. -ESRCH it has ended; -EBUSY not started.
 */
int ctl_job_signal(struct ctl_job *j, int sig, struct msb_err *e);
int ctl_job_resize(struct ctl_job *j, const char *rows, const char *cols, struct msb_err *e);
int ctl_job_close_stdin(struct ctl_job *j, struct msb_err *e);
/* A signal by its number or name, with or without SIG; -EINVAL. */
int ctl_signal_parse(const char *text);

/* ---- streams (job_io.c) */
void ctl_job_reader_add(
	struct ctl_job *j, struct ctl_job_reader *r, unsigned int mask);	    /* locked */
void ctl_job_reader_remove(struct ctl_job *j, struct ctl_job_reader *r);	    /* locked */
bool ctl_job_reader_ready(const struct ctl_job *j, const struct ctl_job_reader *r); /* locked */
/**
 * ctl_job_read() - Append what a stream has next, at most @max bytes
 * Waits for it. Return: 0, and nothing appended at the end; -EAGAIN @nonblock; -EINTR; -ENOMEM.
 */
int ctl_job_read(const struct ctl_req *q, struct ctl_job *j, struct ctl_job_reader *r, size_t max,
	bool nonblock, struct msb_str *s);
/* Gives it input; waits until it was started, and until there is room. Bytes taken, or -errno:
 * -EPIPE it has ended, or its stdin was closed. */
int64_t ctl_job_write(const struct ctl_req *q, struct ctl_job *j, const char *p, size_t n,
	bool nonblock, struct msb_err *e);
/* Whether it would take some now; where it would not, its sandbox's pollers are woken once it does.
 * Locked. */
bool ctl_job_writable(struct ctl_job *j);
/* Waits for its end. -EINTR, -EAGAIN. */
int ctl_job_wait(const struct ctl_req *q, struct ctl_job *j, bool nonblock, struct msb_err *e);

/* What the supervisor calls, locked: its connection has something. */
void ctl_job_event(struct ctl_job *j);

/* Takes up the jobs that an earlier msbd left in the machine of @sb, which runs. Before the first
 * request. -ETIMEDOUT: its agent, which may be a guest's by now, takes its time. (job_adopt.c) */
int ctl_jobs_adopt(struct ctl_sandbox *sb);
/* sb->rejoin_at_ms has come: who has not come back does not. Locked. */
void ctl_jobs_rejoin_over(struct ctl_sandbox *sb);

#endif
