/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent channel. Client side of msb-agentd, which speaks to PID 1 in one guest for one sandbox,
 * keeps its console and its log, and is the only process that parses what the guest says.
 *
 * msb-agentd is started with fd 3 = a listening SEQPACKET socket and fd 4 = the sandbox's own
 * directory (for `log` and `console`, both rotated by size: FILE and FILE.1). It serves any number
 * of connections at once; the first message of a connection says what it is:
 *
 *	attach	fds: connected agent channel, connected console -> ok at once
 *	boot	{hostname= user= workdir= init= env=K=V.. mount=NAME\tPATH\tOPTS.. timeout_ms=}
 *		-> ok when PID 1 is ready to exec, its clock the host's; error if it cannot mount,
 *		or ETIMEDOUT. A guest that is booted already says ok.
 *	exec	{arg=.. env=K=V.. user= cwd= tty=0|1 rows= cols= stdin=0|1 log=0|1 job=
 *		timeout_ms= hold=0|1|2 mark= rlimit=NAME:SOFT:HARD..}
 *		-> ok once taken, or error (EBUSY EAGAIN E2BIG EPROTO). From then on the connection
 *		is the job. job= is its number in the log; without it msb-agentd counts. After
 *		timeout_ms it gets SIGTERM, then all its processes SIGKILL.
 *		to agentd:   "in" payload; "eof"; "signal" {n=}; "resize" {rows= cols=}
 *		from agentd: "started" {job= pid= usec=}; "out" / "err" payload; at last either
 *		"exit" {code= | signal= usec= [oom=1] [timeout=1]} or "error" {code= msg= fault=
 *		usec=}: the program could not be started (fault program: ENOENT not found, EACCES,
 *		ENOEXEC not executable; user, cwd, limits: that one is not as it has to be), or the
 *		guest was lost (fault lost). Then EOF. What a job has written when it ends is
 *		delivered first. Flow control is the socket's: a client that does not read stops
 *		that job's stream and no other. Closing the connection before the end sends the
 *		job's process group SIGHUP, then SIGKILL to all its processes after 1 s. What a job
 *		that ends by itself leaves running goes on.
 *		hold=1: closing the connection ends nothing. The job, how it ended, and the last
 *		256 KiB at least of its output are kept until "forget" (which hangs up one that
 *		runs), and so is the text of "mark" {v= hold=}, which also changes how it is
 *		held; the connection stays open after "exit".
 *		hold=2: as 1, but its client will be back: while there is none, output waits, and
 *		what may not have been read of what was sent is kept.
 *	jobs	-> ok {job=..}: the numbers of those that are held
 *	adopt	{job=} -> ok {pid= started_usec= out_gone= err_gone= in= eof=0|1 rows= cols= mark=},
 *		then "exec" as it was asked for. From then on the connection is the job, from the
 *		oldest output that is kept on; "live" comes between what was there and what is new,
 *		where it runs. A connection it had before is closed. in= is how many bytes of input
 *		all of its clients have sent. ENOENT
 *	forget	{job=}: as "forget" on the job's own connection, where there is no room for it; no
 *		answer
 *	shutdown {timeout_ms=}
 *		-> ok when PID 1 has stopped every process, synced and asked for power-off (or the
 *		machine has ended)
 *	mount	{mount=NAME\tPATH\tOPTS}, umount {name= path= lazy=0|1}
 *		-> ok once the guest has done so, also where it had; EBUSY the guest uses it, or is
 *		not booted; ETIMEDOUT
 *	clock {clock_usec=}, drop_caches -> ok
 *	cpus {n=} -> ok once so many, and no more, are online
 *	status	-> ok {ready=0|1 attached=0|1 jobs= agent_version=}
 *	stats	-> ok {KEY=NUMBER..}, those of guest/wire.h that the guest says; any number of
 *		clients share one question
 *	watch	-> ok, then "event" {kind= reason=} as they happen: ready (also at once, if
 *		so), lost, oom, dropped {n=}. EOF when agentd ends.
 */
#ifndef MSB_VMM_AGENT_H
#define MSB_VMM_AGENT_H

#include "base/err.h"
#include "base/msg.h"
#include "base/user.h"
#include "guest/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define AGENT_MAX_JOBS		1024 /* at once, a sandbox */
#define AGENT_MAX_HELD		1024 /* that have ended, and are kept for who asks */
#define AGENT_HOLD_WAITS	2    /* hold= */
#define AGENT_KILL_MS		2000 /* from the SIGTERM of a time limit to SIGKILL */
#define AGENT_MAX_TIMEOUT_MS	(UINT64_C(31536000) * 1000)
#define AGENT_MAX_CONSOLE_BYTES (1u << 20) /* console, then console.1 */
#define AGENT_MAX_LOG_BYTES	(4u << 20) /* log, then log.1 and so on to ... */
#define AGENT_LOG_OLD		7
#define AGENT_CHUNK_BYTES	32768 /* most payload of one stream message */

/* @user: who it becomes, where the caller is root; NULL: it stays. @dir_fd is that user's. */
pid_t agent_spawn(const char *bin_dir, const char *sandbox, const struct msb_user *user,
	const char *control_path, int dir_fd, int log_fd, int *ret_pidfd, struct msb_err *e);
/* Both connected; @console_fd -1: none. A machine that was attached before is let go. */
int agent_attach(const char *control_path, int agent_fd, int console_fd, struct msb_err *e);

struct agent_boot {
	const char *hostname, *user,
		*workdir;	/* user: name, uid, or uid:gid; "" root. workdir "" is / */
	const char *init;	/* what the guest's PID 1 becomes, a path; NULL: nothing */
	const char *const *env; /* K=V, NULL at the end: defaults of every job */
	const char *disk; /* of the machine, that the root is on; NULL: a file server has it */
	bool readonly;	  /* the root */
	size_t nmounts;
	const struct agent_mount {
		const char *name; /* of its directory in the file system tagged `shares` */
		const char *path; /* in the guest, where it is mounted, in their order */
		bool readonly;
		bool disk; /* name is the serial of a disk, with ext4 on it; for agent_boot() */
		const char *tmpfs; /* its options: it is one, and of no file server; likewise */
	} * mounts;
	int timeout_ms;
	int cancel_fd; /* readable: give up, -EINTR. -1: none */
};
int agent_boot(const char *control_path, const struct agent_boot *, struct msb_err *e);

struct agent_exec {
	const char *const *argv;    /* NULL at the end */
	const char *const *env;	    /* added to the sandbox's; may be NULL */
	const char *user, *cwd;	    /* NULL: the sandbox's */
	const char *const *rlimits; /* NAME:SOFT:HARD, NULL at the end; may be NULL */
	bool tty, want_stdin, log;
	unsigned int hold; /* as above */
	uint16_t rows, cols;
	uint32_t job;	     /* its number in the log; 0: msb-agentd counts */
	uint64_t timeout_ms; /* 0: none */
	const char *note; /* the caller's, given back in agent_adopt()'s exec; NULL: never held */
	const char *mark; /* the first one; may be NULL */
};
/* Starts a job: a connected socket that carries the job messages above, or -errno. -EBUSY not
 * booted; -EAGAIN AGENT_MAX_JOBS reached. Whether the program exists is said by the job ("error" or
 * exit 127). */
int agent_exec(const char *control_path, const struct agent_exec *, struct msb_err *e);
/* The same without waiting: the socket does not block, and its first message is "ok", or "error"
 * where the job was not taken. -E2BIG; -ECONNREFUSED, -ENOENT, -EAGAIN nobody could be asked. */
int agent_exec_ask(const char *control_path, const struct agent_exec *, struct msb_err *e);

/* Has a held job forgotten; does not wait. 0, or -errno: it is held still. */
int agent_forget(const char *control_path, uint32_t job, struct msb_err *e);
/* Numbers of the jobs that are held: at most @max. Return: how many there are. */
int agent_held(const char *control_path, uint32_t *numbers, size_t max, struct msb_err *e);
/**
 * agent_adopt() - Take a held job over
 * @state: what "adopt" answers, @exec: the request that the job was started by
 * Return: the job's socket. -ENOENT; -ETIMEDOUT.
 */
int agent_adopt(const char *control_path, uint32_t job, struct msb_msg *state, struct msb_msg *exec,
	struct msb_err *e);

/* Mounts a share in a guest that runs, and takes it away; both are fine where it is so already.
 * @lazy: also where the guest uses it. What became of it is not known after -EINTR (@cancel_fd, -1:
 * none, was readable), -ETIMEDOUT, and -ENOTCONN: msb-agentd is not there, or went. */
int agent_mount(
	const char *control_path, const struct agent_mount *, int cancel_fd, struct msb_err *e);
int agent_umount(const char *control_path, const struct agent_mount *, bool lazy, int cancel_fd,
	struct msb_err *e);
/* Has the guest end: SIGTERM to everything, SIGKILL after @term_ms, sync, power off. Waits for
 * @wait_ms at most; @cancel_fd readable (-1: none): -EINTR. */
int agent_shutdown(
	const char *control_path, int term_ms, int wait_ms, int cancel_fd, struct msb_err *e);
/* The guest's figures, in two steps, so that many guests can be asked at once: a connected socket,
 * readable once there is an answer, then the answer. Neither waits. -EAGAIN: too many ask now. */
int agent_stats_ask(const char *control_path, struct msb_err *e);
int agent_stats_answer(int fd, struct wire_stats *ret, struct msb_err *e);
/* A connected socket, non-blocking: first comes "ok", then what "watch" says. Does not wait. */
int agent_watch(const char *control_path, struct msb_err *e);
/* The guest's clock as the host's. -EINTR once @cancel_fd (-1: none) is readable; as agent_mount().
 */
int agent_set_clock(const char *control_path, int cancel_fd, struct msb_err *e);
int agent_drop_caches(const char *control_path, struct msb_err *e);
/* Has the guest use @n of its CPUs. */
int agent_cpus(const char *control_path, uint32_t n, struct msb_err *e);

#endif
