/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest agent: one epoll loop that speaks guest/wire.h on a descriptor and runs jobs.
 *
 * Theory of operation. The loop never blocks: what may block (mounts, the root's files, sync) is
 * done by children, which report through a pipe. All descriptors are edge-triggered; an edge only
 * marks a stream as readable. Output is drawn, not pushed: ga_pump() goes round the jobs that have
 * something to say and lets each fill a bounded share of the send buffer, as far as its credit
 * goes. So one job can neither delay the others nor make memory grow.
 *
 * PID 1 (init.c) runs this loop with the operations of a real guest; the tests run it as an
 * ordinary process.
 */
#ifndef MSB_GUEST_GA_H
#define MSB_GUEST_GA_H

#include "guest/request.h"
#include "guest/wire.h"

#include <sys/types.h>

#define GA_ANNOUNCE_FIRST_MS                                                                       \
	500		     /* how long a guest waits for a SYNC before it announces itself       \
			      */
#define GA_ANNOUNCE_MS	2000 /* and again */
#define GA_SETTLE_MS	5000 /* most that sync and unmount may take at shutdown */
#define GA_KILL_WAIT_MS 2000 /* most that killed processes may take to end at shutdown */
#define GA_ASK_MS	100  /* until an init that was not ready is asked again to power off */
#define GA_OWN_END_MS	5000 /* from SIGTERM to SIGKILL where the guest itself asked */
#define GA_MAX_TASKS	64   /* helper children at once */

/* What differs between PID 1 and a test. */
struct ga_ops {
	int (*mount_root)(const struct ga_boot *b, struct msb_err *e); /* in a child */
	int (*enter_root)(const struct ga_boot *b, struct msb_err *e); /* in the agent, after it */
	int (*cgroups)(void);	   /* directory for the jobs' cgroups, or -errno */
	void (*kill_all)(int sig); /* every process of the guest but this one */
	void (*settle)(void);	   /* in a child: sync, unmount */
	void (*power_off)(void);
	int (*drop_caches)(struct msb_err *e); /* in a child */
	int (*set_clock)(uint64_t usec);
	/* In a child. A share that is mounted there already, or no longer, is 0. */
	int (*mount)(const struct ga_mount *m, struct msb_err *e);
	int (*umount)(const struct ga_umount *u, struct msb_err *e);
	int (*cpus)(uint32_t n, struct msb_err *e); /* in a child: @n of them online */
	void (*apart)(void); /* in the agent, once it is a process beside another PID 1 */
};

/* Runs until power_off() returns. Return: -errno where it could not even start. */
int ga_run(int port_fd, const struct ga_ops *ops, struct msb_err *e);

/* ---- between the files of the agent */
struct ga;
struct ga_watch {
	void (*fn)(struct ga *g, struct ga_watch *w, uint32_t events);
	int fd;	  /* -1: none */
	int ep;	  /* the set it is in */
	void *of; /* what it belongs to */
};

struct ga_stream {
	struct ga_watch w;
	enum wire_type type;
	bool ready;	     /* may be readable */
	uint32_t credit;     /* what the host still takes */
	uint32_t drain_left; /* once the job has ended: what is still fetched */
};

struct ga_job {
	struct ga_job *next; /* of the list it is on: leaving, trash */
	uint32_t id;
	uint64_t serial; /* names its cgroup */
	pid_t pid;	 /* leads the process group and the session; 0 once reaped */
	pid_t first_pid; /* the same, kept for people */
	bool tty, started, said_started, exited, hung_up;
	bool detached;		  /* of a session that has ended: never says anything again */
	int status;		  /* of waitpid() */
	uint64_t pending_signals; /* that came before the program was started */
	uint64_t kill_at;	  /* monotonic ms; 0: not */
	struct msb_err failed;	  /* why the program could not be started; code 0: it was */

	struct ga_watch exec_status; /* pipe on which the child says why it could not exec */
	struct ga_stream out[2];
	struct ga_watch in;
	uint8_t *in_buf; /* WIRE_IN_WINDOW bytes once something had to wait */
	size_t in_off, in_len;
	uint32_t in_owed; /* credit to hand back */
	bool in_eof;

	bool queued, gone;
	struct ga_job *queue_next;
};

struct ga_reply {
	struct ga_reply *next;
	enum wire_type type;
	uint32_t id, len;
	uint8_t data[];
};

enum ga_task_kind {
	GA_TASK_BOOT,
	GA_TASK_DROP_CACHES,
	GA_TASK_SETTLE,
	GA_TASK_MOUNT,
	GA_TASK_UMOUNT,
	GA_TASK_CPUS,
	GA_TASK_INIT, /* no child: the init that PID 1 becomes */
};

struct ga_task {
	struct ga_task *next;
	struct ga_watch w;
	enum ga_task_kind kind;
	uint32_t id, session;
};

enum ga_ending { GA_UP, GA_TERM, GA_KILL, GA_SETTLE };

struct ga {
	const struct ga_ops *ops;
	int ep;
	struct ga_watch port, signals;
	bool port_in, port_out; /* not yet seen to be empty, full */
	uint32_t session;	/* counts; jobs of another one are leaving */
	uint64_t announce_at;	/* 0: has a session */

	struct ga_job *jobs[WIRE_MAX_JOBS]; /* by id modulo */
	unsigned int njobs;
	struct ga_job *leaving, *trash;
	uint64_t next_kill;		   /* monotonic ms: no job is to be killed before */
	struct ga_job *queue, *queue_last; /* jobs with something to say */
	struct ga_reply *replies, **replies_end;
	struct ga_task *tasks, *tasks_trash;
	unsigned int ntasks;

	struct ga_boot boot;
	bool booted, booting;
	pid_t init; /* the guest's own, beside which this runs; 0: this is PID 1 */
	int cgroups;
	uint64_t next_serial;
	uint64_t *lingering; /* cgroups of ended jobs, to be removed once no process is in them */
	size_t nlingering;
	bool sweep_due;	  /* some may be */
	int spare_cgroup; /* of the next job, spare_serial; -1: not made */
	uint64_t spare_serial;

	enum ga_ending ending;
	uint32_t ending_id, ending_session;
	uint64_t ending_at; /* when the next phase begins at the latest */
	uint64_t ask_at;    /* when the init is asked to power off; UINT64_MAX: it was */
	bool off;

	int stat_fd, meminfo_fd, vmstat_fd; /* of /proc; -1: not there */
	struct ga_watch kmsg;		    /* the kernel's log */
	uint64_t oom_kills;		    /* that the host has been told of */

	struct wire_rx rx;
	struct wire_tx tx;
};

/* ga_loop.c */
int ga_watch_add(struct ga *g, struct ga_watch *w, int fd, uint32_t events);
void ga_watch_close(struct ga_watch *w);
void ga_queue_job(struct ga *g, struct ga_job *j);
void ga_reply(struct ga *g, enum wire_type type, uint32_t id, const void *p, size_t n);
void ga_reply_err(struct ga *g, uint32_t id, const struct msb_err *e);

/* The descriptor by which signals come; in place of one of another process. */
int ga_signals_open(struct ga *g);

/* ga_init.c */
/* Whether a file can be PID 1: -ENOENT and others of stat(2); -EACCES it is not executable. */
int ga_init_check(const char *path, struct msb_err *e);
/* Forks: this process becomes the init of g->boot, and the child returns as the agent, with a task
 * under way that answers @id once it is known whether the init runs. -errno where it could not. */
int ga_init_start(struct ga *g, uint32_t id);
/* By a signal. Return: whether the init was ready for one; else it is to be asked again. */
bool ga_init_ask_off(const struct ga *g);
/* The one by which an init powers off that catches or blocks what its /proc/PID/status says, or
 * waits for @awaited: systemd's, busybox's, or SIGTERM; 0: none of them. */
int ga_init_off_signal(const char *status, uint64_t awaited);
/* Where in its memory the set is for which a process waits in sigtimedwait(2) that has @call in its
 * /proc/PID/syscall; 0: it does not. */
uint64_t ga_init_awaits(const char *call);

static inline struct ga_job **ga_job_slot(struct ga *g, uint32_t id)
{
	return &g->jobs[id % WIRE_MAX_JOBS];
}

/* ga_job_start.c */
void ga_job_exec(struct ga *g, uint32_t id, const uint8_t *p, size_t n);

/* ga_job_in.c */
void ga_job_in_event(struct ga *g, struct ga_watch *w, uint32_t events);
/* Gives it @p, or keeps that; -EBADMSG: more than the credit that the host has. */
int ga_job_in_data(struct ga *g, struct ga_job *j, const uint8_t *p, size_t n);
int ga_job_in_eof(struct ga *g, struct ga_job *j);
void ga_job_in_close(struct ga_job *j);
/* Hands a good part of the credit back, once it is one; -errno: no room left to send. */
int ga_job_in_credit(struct ga *g, struct ga_job *j);

/* ga_job.c */
void ga_job_exec_status(struct ga *g, struct ga_watch *w, uint32_t events);
void ga_job_out_event(struct ga *g, struct ga_watch *w, uint32_t events);
/* It is over and has said so: it goes at the end of this round of events. */
void ga_job_discard(struct ga *g, struct ga_job *j);
int ga_job_frame(struct ga *g, const struct wire_frame *f); /* -EBADMSG: a violation */
bool ga_job_pump(struct ga *g, struct ga_job *j);	    /* false: no room left to send */
void ga_job_reaped(struct ga *g, pid_t pid, int status);
void ga_jobs_detach(struct ga *g); /* the session has ended */
void ga_jobs_signal(struct ga *g, int sig);
uint64_t ga_jobs_tick(struct ga *g, uint64_t now); /* next deadline, UINT64_MAX: none */
void ga_jobs_collect(struct ga *g); /* frees what this round of events is done with */

/* ga_spawn.c */
struct ga_stdio {
	int in, out, err; /* the child's ends; of a terminal: in is its master, out and err -1 */
};
/* Forks. The child reports on @status_fd (struct msb_err) where it cannot run the program. */
pid_t ga_spawn(const struct ga_exec *x, const struct ga_boot *defaults, const struct ga_stdio *io,
	int status_fd, int cgroup_fd);

/* ga_cgroup.c: all are no-ops without cgroups */
int ga_cgroup_make(struct ga *g, uint64_t serial); /* its directory, or -1 */
bool ga_cgroup_kill(struct ga *g, uint64_t serial);
bool ga_cgroup_oom(struct ga *g, uint64_t serial);    /* did it lose a process to that? */
void ga_cgroup_remove(struct ga *g, uint64_t serial); /* soon */
/* While nobody waits and sweep_due: removes some, then makes the next job's. */
void ga_cgroup_tidy(struct ga *g);

/* ga_stats.c */
void ga_stats_init(struct ga *g);
void ga_stats_done(struct ga *g);
size_t ga_stats_add(struct ga *g, uint8_t *b, size_t cap, size_t n); /* kv; where they end now */

/* ga_task.c */
/* @of: struct ga_mount or ga_umount of those kinds; the child has a copy. */
int ga_task_start(struct ga *g, enum ga_task_kind kind, uint32_t id, const void *of);
void ga_task_adopt(struct ga *g, enum ga_task_kind kind, uint32_t id); /* answers that request */
/* A task that somebody else does, who writes a struct msb_err to @fd, or just closes it. Takes @fd.
 */
int ga_task_watch(struct ga *g, enum ga_task_kind kind, uint32_t id, int fd);
/* Begins the end of the guest. @id: the request to answer, 0: the guest itself wants it. */
void ga_end(struct ga *g, uint32_t id, uint32_t timeout_ms);
uint64_t ga_end_tick(struct ga *g, uint64_t now);

#endif
