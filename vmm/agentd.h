/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside msb-agentd: the host end of the agent channel of one sandbox.
 *
 * Theory of operation. One epoll loop joins three kinds of peers: the guest (guest/wire.h over the
 * agent socket), the console socket, and the clients of vmm/agent.h. The guest is hostile. What it
 * sends is checked by wire_rx_next() and then against the state of the job it names; anything that
 * does not fit ends the session, every job with it, and is told to the watchers as "lost". Memory
 * is bounded by the credits that are granted to it, and by the limits below.
 *
 * Towards the guest nothing is queued beyond one send buffer, however long it does not read, as a
 * paused one. What did not fit waits where it belongs: a request in its slot; of a job its EXEC,
 * its input, and numbers (signals, credits, a hang-up). ad_link_pump() sends that in turn as room
 * comes. A client is asked for more while nothing that it said of its job waits; all else is
 * answered at once.
 */
#ifndef MSB_VMM_AGENTD_H
#define MSB_VMM_AGENTD_H

#include "base/msg.h"
#include "guest/wire.h"
#include "vmm/agent.h"

#include <stdbool.h>
#include <stdint.h>

#define AGENTD_MAX_CONNS  (AGENT_MAX_JOBS + AGENT_MAX_HELD + 128)
#define AGENTD_HELD_BYTES (352u << 10) /* output of a held job that is kept: 256 KiB at least */
/* Of one whose client will be back, what it was sent: more than msbd's buffer (352 KiB), its
 * socket's (208 KiB) and a read that is answered (128 KiB) hold together, so what nobody has read
 * is not lost with msbd. */
#define AGENTD_WAITS_BYTES    (704u << 10)
#define AGENTD_MAX_REQUESTS   64  /* unanswered by the guest, at once */
#define AGENTD_WIDE_JOBS      128 /* that many get WIRE_OUT_WINDOW, the others WIRE_MIN_WINDOW */
#define AGENTD_RESYNC_MAX     10  /* sessions started in AGENTD_RESYNC_SPAN_MS before giving up */
#define AGENTD_RESYNC_SPAN_MS 10000
#define AGENTD_RESYNC_GAP_MS  200   /* least time between two of them */
#define AGENTD_ACCEPT_MS      100   /* from want of descriptors or memory to the next attempt */
#define AGENTD_REQUEST_MS     10000 /* most that the guest may take to answer, but boot, shutdown */
#define AGENTD_SENTENCE_MAX   256   /* bytes of a sentence of the guest that are passed on */
#define AGENTD_FIRST_REQUEST  0x80000000u /* ids below are jobs */

struct agentd;

/* A file that is appended to, and renamed to FILE.1 at a size, that to FILE.2 and so on to
 * FILE.old.
 */
struct ad_file {
	int dir_fd, fd;
	bool failing; /* the last write failed, which was logged */
	const char *name;
	uint64_t size, max;
	unsigned int old;
};
void ad_file_init(struct ad_file *f, int dir_fd, const char *name, uint64_t max, unsigned int old);
void ad_file_add(struct ad_file *f, const void *p, size_t n);
/* Ends a line that an earlier process was killed in. */
void ad_file_mend(struct ad_file *f);
void ad_file_done(struct ad_file *f);

/* The log of the jobs' output, byte-exact: a record is text where its bytes are UTF-8, else base64.
 * A character that is cut by the end of a chunk is kept back for the next record of that stream. */
struct ad_tail {
	unsigned char bytes[3];
	unsigned char n;
};
void ad_log_add(struct ad_file *f, uint32_t job, const char *stream, struct ad_tail *t,
	const void *p, size_t n);
void ad_log_flush(struct ad_file *f, uint32_t job, const char *stream, struct ad_tail *t);

enum ad_kind { AD_NEW, AD_REQUEST, AD_JOB, AD_WATCH, AD_STATS };

struct ad_job;
struct ad_conn {
	struct ad_conn *next;
	int fd; /* -1: closed, to be freed at the end of the round */
	enum ad_kind kind;
	struct ad_job *job;
	uint32_t events;  /* of epoll */
	uint32_t dropped; /* events that a watcher had no room for */
};

struct ad_job {
	uint32_t id;	      /* on the wire */
	uint32_t number;      /* for people: in "started" and in the log */
	struct ad_conn *conn; /* NULL: the client has gone */
	bool started, log, hangup_due, resize_due;
	enum { AD_RUNS, AD_EXITED, AD_FAILED } ended; /* the client is told once it has read all */
	bool by_signal, oom;
	uint8_t code;	     /* exit code or signal */
	struct msb_err *why; /* AD_FAILED */
	unsigned int fault;  /* likewise: enum wire_fault, or ... */
#define AD_FAULT_LOST (WIRE_FAULT_LIMITS + 1)
	struct ad_tail tail[2];
	uint32_t window, credit[2],
		owed[2]; /* of out and err: what the guest may send; to give back */
	uint8_t *ask;	 /* payload of its EXEC, until that is sent; NULL afterwards */
	size_t ask_bytes;
	uint64_t signals_due; /* 1 << number - 1 */
	uint32_t in_credit;
	uint8_t *in; /* what a client sent past the credit: one message, or what it left behind */
	size_t in_off, in_len;
	bool in_eof, eof_told;
	uint32_t pid;			   /* in the guest */
	uint64_t started_usec, ended_usec; /* CLOCK_REALTIME; 0: not */
	uint64_t signal_at_ms;		   /* its time is over; 0: it has no limit */
	bool timed_out;

	/* Records: u8 stream, u32 bytes, bytes. Those before out_sent the client has (or there is
	 * none); for those before out_paid the guest has its credit back. */
	uint8_t *out;
	size_t out_off, out_paid, out_sent, out_len, out_cap;

	/* A held job outlives its client, and keeps what was sent for the next one. */
	bool held;
	bool waits;	     /* held, and its output waits while it has no client */
	bool live_due;	     /* the client adopted it, and does not have all of the past yet */
	bool told;	     /* ended, and the client knows how */
	struct ad_job *next; /* of agentd.past, once it has ended */
	char *exec;	     /* the head of its request */
	uint32_t exec_bytes;
	char *mark;	     /* its client's; may be NULL */
	uint64_t gone[2];    /* bytes that are no longer in `out` */
	uint64_t in_bytes;   /* taken from its clients */
	uint16_t rows, cols; /* of its terminal */
};

struct ad_request {
	uint32_t id; /* 0: free */
	struct ad_conn *conn;
	enum wire_type type;
	bool sent;
	uint64_t deadline;
	uint8_t *payload; /* until it is sent */
	size_t len;
};

struct agentd {
	int ep, listen_fd, dir_fd, link_fd, console_fd;
	struct ad_file console, log;
	struct ad_conn *conns;
	unsigned int nconns;
	uint64_t accept_at; /* when newcomers are looked for again; 0: now */

	bool synced, booted, refused; /* refused: the guest's agent is of another version */
	bool link_blocked, resync_due;
	uint32_t link_events; /* of epoll */
	uint8_t nonce[WIRE_NONCE_BYTES];
	uint64_t sync_at[AGENTD_RESYNC_MAX]; /* when the last sessions were started */
	unsigned int syncs;
	struct wire_rx rx;
	struct wire_tx tx;

	struct ad_job *jobs[WIRE_MAX_JOBS]; /* by id modulo */
	unsigned int njobs, next_slot;
	unsigned int send_from;		 /* the slot whose turn it is to be sent for */
	unsigned int ntimed;		 /* of them, with a time limit */
	struct ad_job *past, **past_end; /* held, and ended: the oldest first */
	unsigned int npast;
	uint32_t generation, next_number, next_request;
	struct ad_request requests[AGENTD_MAX_REQUESTS];
};

/**
 * agentd_run() - Serve until the listening socket fails
 * @listen_fd: SEQPACKET, @dir_fd: the sandbox's directory; both become the daemon's
 */
int agentd_run(int listen_fd, int dir_fd, struct msb_err *e);

/* agentd.c */
void ad_watch_fd(struct agentd *a, int fd, uint32_t events, void *of);
void ad_conn_close(struct agentd *a, struct ad_conn *c);
void ad_conn_update(struct agentd *a, struct ad_conn *c);
void ad_conn_ok(struct agentd *a, struct ad_conn *c);
void ad_conn_err(struct agentd *a, struct ad_conn *c, const struct msb_err *e);
void ad_event(struct agentd *a, const char *kind, const char *reason);

/* agentd_link.c */
void ad_link_attach(struct agentd *a, int link_fd, int console_fd);
void ad_link_event(struct agentd *a, uint32_t events);
void ad_console_event(struct agentd *a);
void ad_link_pump(struct agentd *a);
uint64_t ad_link_tick(struct agentd *a, uint64_t now);
int ad_request(struct agentd *a, struct ad_conn *c, enum wire_type type, const void *p, size_t n,
	uint64_t timeout_ms, struct msb_err *e);
void ad_request_forget(struct agentd *a, const struct ad_conn *c);

/* agentd_stats.c */
int ad_stats_ask(struct agentd *a, struct ad_conn *c, struct msb_err *e);
void ad_stats_answer(struct agentd *a, const struct wire_frame *f); /* to all who asked */
void ad_stats_fail(struct agentd *a, const struct msb_err *e);

/* agentd_job.c */
int ad_job_new(struct agentd *a, struct ad_conn *c, const struct msb_msg *m, struct msb_err *e);
void ad_job_message(struct agentd *a, struct ad_conn *c, const struct msb_msg *m);
int ad_job_frame(struct agentd *a, const struct wire_frame *f, const char **ret_why);
void ad_guest_error(const struct wire_frame *f, struct msb_err *e);
uint64_t ad_now_usec(void); /* CLOCK_REALTIME */
bool ad_job_wants_input(const struct ad_job *j);
void ad_job_abandon(struct agentd *a, struct ad_conn *c);     /* before its descriptor is closed */
void ad_jobs_fail(struct agentd *a, const struct msb_err *e); /* the session has ended */
void ad_job_free(struct agentd *a, struct ad_job *j);

/* agentd_send.c: to the guest */
bool ad_job_send(struct agentd *a, struct ad_job *j);  /* what fits of it; false: there is more */
uint64_t ad_jobs_tick(struct agentd *a, uint64_t now); /* time limits; UINT64_MAX: none */

/* agentd_out.c: from the guest to the client, and what is kept of it */
int ad_job_output(struct agentd *a, struct ad_job *j, int stream, const uint8_t *p, size_t n);
bool ad_job_has_output(const struct ad_job *j);
void ad_job_drain(struct agentd *a, struct ad_job *j); /* to the client, as far as it takes it */
void ad_job_skip(struct ad_job *j);		       /* nobody will read what waits */
void ad_job_ended(struct agentd *a, struct ad_job *j); /* `ended` was set: tells the client */

/* agentd_held.c */
void ad_held_retire(struct agentd *a, struct ad_job *j); /* it has ended: its slot is free */
void ad_held_unlink(struct agentd *a, struct ad_job *j);
void ad_held_list(struct agentd *a, struct msb_msg *m);
int ad_held_adopt(struct agentd *a, struct ad_conn *c, uint32_t number, struct msb_err *e);
void ad_held_forget(struct agentd *a, uint32_t number); /* as its client's `forget` */

#endif
