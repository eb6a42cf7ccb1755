/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs of a sandbox. A verb has a thread of its own, so that it goes on whoever waits for it: a
 * writer that is interrupted leaves it running, and one that writes the same verb again joins it.
 * One verb at a time and sandbox; only `kill` is accepted beside another: it dooms that one.
 *
 *	start	created, stopped, failed -> starting -> running; running: 0
 *	stop	running, paused -> stopping -> stopped; no machine: 0
 *	kill	any -> stopped; no machine: 0
 *	restart	stop, then start
 *	pause	running -> paused		resume	paused -> running
 */
#ifndef MSB_CTL_OP_H
#define MSB_CTL_OP_H

#include "ctl/model.h"

enum ctl_verb {
	VERB_START,
	VERB_STOP,
	VERB_KILL,
	VERB_PAUSE,
	VERB_RESUME,
	VERB_CLEAN,    /* of msbd's own: the machine has ended, or has to; doom says why */
	VERB_REATTACH, /* of msbd's own: the agent's process ended under a running machine */
	VERB_MOUNTS,   /* a write to `mounts` of a running sandbox */
	VERB_RESIZE,   /* a write to `cpus` or `memory_bytes` of a running sandbox */
	VERB_FINISH,   /* of msbd's own: a stop, because the main command has ended */
	VERB_MEND,     /* of msbd's own: an exchange of mounts that was cut off is undone */
};

struct ctl_op {
	unsigned int refs; /* ctl.lock */
	enum ctl_verb verb;
	struct ctl_sandbox *sb; /* a reference */
	enum ctl_state before;
	int cancel_fd;	       /* eventfd: readable once doomed */
	int done_fd;	       /* eventfd: readable once done */
	int result;	       /* 0 or -errno, once done */
	struct ctl_req who;    /* who began it, without a cancellation; of msbd's own verbs: msbd */
	unsigned int waiting;  /* callers; ctl.lock */
	bool own;	       /* nobody asked for it */
	bool pulling;	       /* the last of them that is interrupted ends it; ctl.lock */
	char *table;	       /* VERB_MOUNTS: the new one */
	unsigned int stop_sec; /* VERB_STOP; 0: as the value stop_timeout_sec says */
	uint32_t cpus;	       /* VERB_RESIZE; 0: as it is */
	uint64_t memory_bytes;
	struct msb_err err;
};

/**
 * ctl_verb() - Do a verb and wait for its end
 * Return: 0; -EBUSY the state does not allow it; -EINTR the caller no longer waits (the verb goes
 * on); what made it fail, with a sentence. The sandbox is `failed` then, or as it was.
 */
int ctl_verb(const struct ctl_req *q, struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e);
/* `stop`, and `restart`, with a time of their own before it is killed; 0: stop_timeout_sec's. One
 * that is under way keeps its own. */
int ctl_stop(const struct ctl_req *q, struct ctl_sandbox *sb, unsigned int sec, struct msb_err *e);
int ctl_restart(
	const struct ctl_req *q, struct ctl_sandbox *sb, unsigned int sec, struct msb_err *e);

/**
 * ctl_op_mounts() - Exchange the table of mounts
 * @make: makes the new table of the present one; called with ctl.lock held, again where another
 * change came before
 * Without a machine it is stored. Under a running one it is carried out first, by a verb.
 * Errors: @make's; -EBUSY the state; ctl_op_mounts_run()'s; -EINTR, and it goes on.
 */
int ctl_op_mounts(const struct ctl_req *q, struct ctl_sandbox *sb,
	int (*make)(struct ctl_sandbox *sb, void *arg, struct msb_str *table, struct msb_err *e),
	void *arg, struct msb_err *e);

/**
 * ctl_op_resize() - Give a running machine other CPUs, or other memory; 0: as it is
 * What the guest has then is kept as the value. Errors: -EBUSY the state, or the machine has no
 * room for it; ctl_op_resize_run()'s; -EINTR, and it goes on.
 */
int ctl_op_resize(const struct ctl_req *q, struct ctl_sandbox *sb, uint32_t cpus,
	uint64_t memory_bytes, struct msb_err *e);

/* Starts `start` or `stop` of a sandbox with no verb under way, by itself; ctl.lock held. */
int ctl_op_begin(struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e);
/* Starts one of msbd's own verbs; ctl.lock held. Where a verb is under way that one is doomed. */
void ctl_op_clean(struct ctl_sandbox *sb, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void ctl_op_reattach(struct ctl_sandbox *sb);
/* The same, where the main command has ended and the machine has not; nothing else. Where a verb is
 * under way it begins after that one. */
void ctl_op_finish(struct ctl_sandbox *sb);
/* The same, where an exchange of mounts was cut off; nothing where none was. */
void ctl_op_mend(struct ctl_sandbox *sb);

/* Tags of the two file systems of every machine. */
#define CTL_TAG_ROOT   "root"
#define CTL_TAG_SHARES "shares" /* a directory for each mount; guest/init_share.c has it too */

/* ---- for the verbs themselves, on the op's thread (start.c, stop.c) */
/* Has the image there that the root is made of, as the value `pull` wants it. Waits. */
int ctl_op_pull(struct ctl_op *op, struct msb_err *e);
int ctl_op_start(struct ctl_op *op, struct msb_err *e);
int ctl_op_stop(struct ctl_op *op, struct msb_err *e);
int ctl_op_reattach_run(struct ctl_op *op, struct msb_err *e);
int ctl_op_mounts_run(struct ctl_op *op, struct msb_err *e);
int ctl_op_resize_run(struct ctl_op *op, struct msb_err *e);
int ctl_op_mend_run(struct ctl_op *op, struct msb_err *e);
void ctl_mounts_settled(struct ctl_sandbox *sb); /* the table alone counts again; lock held */
/* Ends machine and agent and takes the exports back; what is gone already is fine. */
void ctl_teardown(struct ctl_sandbox *sb);
int ctl_agent_start(
	struct ctl_sandbox *sb, struct msb_err *e);	   /* process, attached to both channels */
int ctl_doomed(struct ctl_sandbox *sb, struct msb_err *e); /* 0, or what dooms the verb */

/* The machine worker's client, made at the first need. Waits. */
int ctl_vmm(struct ctl *c, struct vmm **ret, struct msb_err *e);
/* Its callback when it says that a machine has ended. */
void ctl_machine_ended(void *arg, const char *id, enum vmm_end how, const char *detail);
/* Watches the machine's process, which is told apart from how it ended: libvirt may see the end of
 * a process that it did not start itself only seconds later. Takes ctl.lock. */
void ctl_machine_watch(struct ctl_sandbox *sb, struct vmm *vmm);
/* Waits until the machine has ended by itself, or the verb under way is doomed, or @ms have passed.
 */
void ctl_machine_await_end(struct ctl_sandbox *sb, unsigned int ms);
/* Its process has ended; ctl.lock held. */
void ctl_machine_exited(struct ctl_sandbox *sb);

#endif
