// SPDX-License-Identifier: Apache-2.0
// Verbs of a sandbox: who may do what when, and the thread that does it.
#include "ctl/op.h"
#include "ctl/run_main.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/auto_remove.h"
#include "ctl/conf.h"
#include "ctl/files.h"
#include "ctl/policy.h"
#include "ctl/report.h"
#include "ctl/resize.h"
#include "ctl/thread.h"
#include "vmm/agent.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

static const char *const verb_names[] = {"start", "stop", "kill", "pause", "resume", "clean up",
	"reattach", "mounts", "resize", "finish", "mend"};

static void op_unref(struct ctl_op *op)
{
	struct ctl *c = op->sb->c;
	bool last;

	pthread_mutex_lock(&c->lock);
	last = --op->refs == 0;
	pthread_mutex_unlock(&c->lock);
	if (!last)
		return;
	close(op->cancel_fd);
	close(op->done_fd);
	ctl_sandbox_unref(op->sb);
	free(op->table);
	free(op);
}

int ctl_doomed(struct ctl_sandbox *sb, struct msb_err *e)
{
	LOCK_SCOPE(&sb->c->lock);
	return sb->doom ? msb_err_set(e, sb->doom, "%s", sb->doom_msg) : 0;
}

/* Lock held. The first cause counts. */
static void doom(struct ctl_sandbox *sb, int code, const char *msg)
{
	if (!sb->doom) {
		sb->doom = code;
		(void)snprintf(sb->doom_msg, sizeof(sb->doom_msg), "%s", msg);
	}
	if (sb->op)
		(void)eventfd_write(sb->op->cancel_fd, 1); /* a full counter is readable too */
	for (struct ctl_job *j = sb->jobs; j; j = j->next)
		if (ctl_job_is_main(j))
			pthread_cond_broadcast(&j->changed); /* `start` may wait for it */
	pthread_cond_broadcast(&sb->c->changed);
}

/* What the sandbox is after its verb; lock held. @r: how the verb went, with its sentence in err.
 */
static void settle(struct ctl_op *op, int r, bool as_before)
{
	struct ctl_sandbox *sb = op->sb;
	const char *why = op->err.msg;

	switch (op->verb) {
	case VERB_STOP:
	case VERB_KILL:
		ctl_sandbox_state(sb, ST_STOPPED, sb->stop_why);
		sb->stop_why[0] = '\0';
		return;
	case VERB_START:
	case VERB_RESUME:
		if (r == 0) {
			ctl_sandbox_state(sb, ST_RUNNING, NULL);
			return;
		}
		break;
	case VERB_PAUSE:
		if (r == 0) {
			ctl_sandbox_state(sb, ST_PAUSED, NULL);
			return;
		}
		break;
	case VERB_REATTACH:
	case VERB_MOUNTS:
	case VERB_RESIZE:
	case VERB_MEND:
		if (r == 0)
			return;
		break;
	case VERB_FINISH:
		ctl_sandbox_state(sb, sb->main_exit ? ST_FAILED : ST_STOPPED, sb->main_why);
		return;
	case VERB_CLEAN: break;
	}
	if (as_before) {
		if (sb->state != op->before)
			ctl_sandbox_state(sb, op->before, sb->reason);
		(void)snprintf(sb->error, sizeof(sb->error), "%s", why);
	} else if (op->err.code == ECANCELED ||
		   (op->err.code == ESHUTDOWN && op->verb != VERB_START)) {
		ctl_sandbox_state(sb, ST_STOPPED, why);
	} else {
		ctl_sandbox_state(sb, ST_FAILED, why);
	}
}

/* The machine's clock stood still with it. */
static void set_clock(struct ctl_op *op)
{
	struct msb_err e = {0};
	char sock[108];

	if (op->sb->foreign)
		return;
	ctl_sock_path(op->sb->c, op->sb->id, "agent", sock);
	if (agent_set_clock(sock, op->cancel_fd, &e) < 0 && e.code != EINTR)
		log_warn("%s: its clock is behind by its pause: %s", op->sb->name, e.msg);
}

static int perform(struct ctl_op *op, struct msb_err *e)
{
	struct vmm *vmm;
	int r;

	switch (op->verb) {
	case VERB_START: return ctl_op_start(op, e);
	case VERB_STOP:
	case VERB_FINISH: return ctl_op_stop(op, e);
	case VERB_REATTACH: return ctl_op_reattach_run(op, e);
	case VERB_MOUNTS: return ctl_op_mounts_run(op, e);
	case VERB_RESIZE: return ctl_op_resize_run(op, e);
	case VERB_MEND: return ctl_op_mend_run(op, e);
	case VERB_PAUSE:
	case VERB_RESUME:
		r = ctl_vmm(op->sb->c, &vmm, e);
		if (r < 0)
			return r;
		if (op->verb == VERB_PAUSE)
			return vmm_suspend(vmm, op->sb->id, e);
		r = vmm_resume(vmm, op->sb->id, e);
		if (r == 0) {
			set_clock(op);
			ctl_files_refresh(op->sb);
		}
		return r;
	case VERB_KILL:
	case VERB_CLEAN: break;
	}
	return 0;
}

/* Whether a verb that fails leaves the machine as it was. */
static bool spares_machine(enum ctl_verb v)
{
	return v == VERB_PAUSE || v == VERB_RESUME || v == VERB_MOUNTS || v == VERB_RESIZE ||
	       v == VERB_MEND;
}

/* What became due while a verb was under way; lock held. */
static void follow_up(struct ctl_sandbox *sb, enum ctl_verb v)
{
	bool lost = sb->agent_lost;

	sb->agent_lost = false;
	if (lost && (sb->state == ST_RUNNING || sb->state == ST_PAUSED))
		ctl_op_reattach(sb);
	else if (ctl_main_is_over(sb))
		ctl_op_finish(sb);
	else if (v != VERB_MEND) /* tried just now: only another agent's process can help */
		ctl_op_mend(sb);
}

static void *op_thread(void *arg)
{
	struct ctl_op *op = arg;
	struct ctl_sandbox *sb = op->sb;
	struct ctl *c = sb->c;
	int r = perform(op, &op->err);
	bool machine_stays = false, as_before = false;

	/* A verb that was doomed under way reports that, not what followed from it. */
	if (op->verb != VERB_STOP && op->verb != VERB_KILL && op->verb != VERB_FINISH) {
		int d = ctl_doomed(sb, &op->err);

		if (d < 0) {
			r = d;
			as_before = d == -EINTR && !sb->nexports &&
				    !sb->machine; /* while it was pulling */
		}
		if (d < 0)
			machine_stays = false;
		else if (r < 0 && spares_machine(op->verb))
			machine_stays = as_before = true;
		else if (r < 0 && op->verb == VERB_START && !sb->nexports && !sb->machine)
			as_before = true; /* refused before anything was begun */
		if (r == 0)
			machine_stays = true;
	}
	if (r < 0)
		log_info("%s: %s: %s", sb->name, verb_names[op->verb], op->err.msg);
	if (!machine_stays)
		ctl_teardown(sb);
	pthread_mutex_lock(&c->lock);
	/* Its machine may have ended between the last step and now. */
	if (machine_stays && sb->doom) {
		pthread_mutex_unlock(&c->lock);
		ctl_teardown(sb);
		pthread_mutex_lock(&c->lock);
		r = msb_err_set(&op->err, sb->doom, "%s", sb->doom_msg);
		as_before = false;
	}
	sb->op = NULL;
	sb->doom = 0;
	settle(op, r, as_before);
	ctl_policy_settled(sb, op->verb, r, op->own);
	follow_up(sb, op->verb);
	op->result = r;
	c->nops--;
	(void)eventfd_write(op->done_fd, 1); /* cannot fail: it was 0 */
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	op_unref(op);
	return NULL;
}

/* Starts a verb's thread; lock held. */
static int begin(struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e)
{
	struct ctl_op *op = calloc(1, sizeof(*op));

	if (!op)
		return msb_err_set(e, ENOMEM, "no memory");
	op->refs = 1;
	op->verb = v;
	op->before = sb->state;
	op->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	op->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	op->sb = ctl_sandbox_ref(sb);
	sb->op = op;
	if (v != VERB_CLEAN)
		sb->doom = 0;
	sb->c->nops++;
	if (op->cancel_fd < 0 || op->done_fd < 0 || ctl_thread(op_thread, op) < 0) {
		if (op->cancel_fd >= 0)
			close(op->cancel_fd);
		if (op->done_fd >= 0)
			close(op->done_fd);
		free(op);
		sb->op = NULL;
		sb->refs--; /* the table and the caller hold others */
		sb->c->nops--;
		return msb_err_set(e, EAGAIN, "too many threads or open files; try again");
	}
	if (v == VERB_START) {
		sb->error[0] = '\0';
		ctl_sandbox_state(sb, ST_STARTING, NULL);
	} else if (v == VERB_STOP || v == VERB_KILL || v == VERB_CLEAN || v == VERB_FINISH) {
		ctl_sandbox_state(sb, ST_STOPPING,
			v == VERB_CLEAN	   ? sb->doom_msg
			: v == VERB_FINISH ? sb->main_why
					   : NULL);
	}
	return 0;
}

/* Waits for @op, whose reference it gives back. */
static int wait_for(const struct ctl_req *q, struct ctl_op *op, bool report, struct msb_err *e)
{
	struct pollfd pf[2] = {{.fd = op->done_fd, .events = POLLIN},
		{.fd = q->cancel ? q->cancel->fd : -1, .events = POLLIN}};
	int r = 0;

	while (poll(pf, 2, -1) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&q->c->lock);
	op->waiting--;
	if (!pf[0].revents && op->pulling && !op->waiting) {
		doom(op->sb, EINTR, "interrupted while its image was pulled");
		pthread_mutex_unlock(&q->c->lock);
		/* At once; who writes `start` again begins anew. */
		(void)poll(pf, 1, CTL_END_TIMEOUT_MS);
		pthread_mutex_lock(&q->c->lock);
		r = msb_err_set(e, EINTR, "interrupted while its image was pulled");
	} else if (!pf[0].revents)
		r = msb_err_set(e, EINTR, "interrupted; `%s` goes on", verb_names[op->verb]);
	else if (report && op->result < 0)
		r = msb_err_set(e, op->err.code, "%s", op->err.msg);
	pthread_mutex_unlock(&q->c->lock);
	op_unref(op);
	return r;
}

static int busy(const struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e)
{
	return msb_err_set(e, EBUSY, "cannot %s %s: it is %s%s",
		v == VERB_MOUNTS ? "change the mounts of" : verb_names[v], sb->name,
		ctl_state_name(sb->state),
		v == VERB_STOP && sb->state == ST_STARTING ? "; kill ends it"
		: (v == VERB_START || v == VERB_MOUNTS || v == VERB_RESIZE) &&
				sb->state == ST_PAUSED
			? "; resume it"
			: "");
}

/* What @v is to do now; lock held. 1: join sb->op. 2: wait for sb->op, then look again. 3: doom it
 * first. 4: begin. 0: nothing. */
static int decide(struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e)
{
	enum ctl_verb cur = sb->op ? sb->op->verb : v;
	bool ending =
		cur == VERB_STOP || cur == VERB_KILL || cur == VERB_CLEAN || cur == VERB_FINISH;

	if (sb->gone)
		return msb_err_set(e, ENODEV, "the sandbox was removed");
	if (v == VERB_KILL) {
		if (sb->op)
			return cur == VERB_KILL || cur == VERB_CLEAN ? 2 : 3;
		return ctl_state_ended(sb->state) ? 0 : 4;
	}
	if (sb->op && cur == v)
		return v == VERB_MOUNTS || v == VERB_RESIZE ? 2
							    : 1; /* another one, or on top of it */
	if (v == VERB_STOP && sb->op && ending)
		return 2;
	if (sb->op && (cur == VERB_START || ending))
		return busy(sb, v, e);
	if (sb->op)
		return 2;
	switch (v) {
	case VERB_START:
		return sb->state == ST_RUNNING ? 0 : sb->state == ST_PAUSED ? busy(sb, v, e) : 4;
	case VERB_STOP: return ctl_state_ended(sb->state) ? 0 : 4;
	case VERB_MOUNTS:
	case VERB_RESIZE:
		return ctl_state_ended(sb->state) ? 0
		       : sb->state == ST_RUNNING  ? 4
						  : busy(sb, v, e);
	case VERB_PAUSE:
		return sb->state == ST_PAUSED ? 0 : sb->state == ST_RUNNING ? 4 : busy(sb, v, e);
	default: return sb->state == ST_RUNNING ? 0 : sb->state == ST_PAUSED ? 4 : busy(sb, v, e);
	}
}

int ctl_op_begin(struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e)
{
	int r = begin(sb, v, e);

	if (r == 0) {
		sb->op->own = true;
		sb->op->who = (struct ctl_req){.c = sb->c, .uid = sb->uid, .gid = sb->gid};
	}
	return r;
}

/* The verb under way, for one more to wait for, or NULL: wait_for() lets go of it. Lock held. */
static struct ctl_op *join(struct ctl_sandbox *sb)
{
	if (sb->op) {
		sb->op->refs++;
		sb->op->waiting++;
	}
	return sb->op;
}

static int verb(const struct ctl_req *q, struct ctl_sandbox *sb, enum ctl_verb v,
	unsigned int stop_sec, struct msb_err *e)
{
	struct ctl *c = sb->c;

	for (;;) {
		struct ctl_op *op;
		struct vmm *vmm;
		int what, r = 0;

		pthread_mutex_lock(&c->lock);
		what = decide(sb, v, e);
		if (what == 0 && (v == VERB_STOP || v == VERB_KILL))
			ctl_policy_cancel(sb);
		if (what == 4 && c->ending && v == VERB_START)
			what = msb_err_set(e, EBUSY, "msbd is ending");
		if (what == 4)
			r = begin(sb, v, e);
		if (what == 4 && r == 0) { /* its thread takes the lock before it looks */
			sb->op->stop_sec = stop_sec;
			sb->op->who = *q;
			sb->op->who.cancel = NULL;
		}
		if (what == 3)
			doom(sb, ECANCELED, "killed");
		op = what > 0 && r == 0 ? join(sb) : NULL;
		pthread_mutex_unlock(&c->lock);
		if (!op)
			return what < 0 ? what : r;
		/* A doomed verb may wait for the machine, so that goes at once; what fails here
		 * the verb's own teardown tries again. */
		if (what == 3 && ctl_vmm(c, &vmm, NULL) == 0)
			(void)vmm_destroy(vmm, sb->id, NULL);
		r = wait_for(q, op, what == 1 || what == 4, e);
		if (r < 0 || what == 1 || what == 4)
			return r;
	}
}

int ctl_verb(const struct ctl_req *q, struct ctl_sandbox *sb, enum ctl_verb v, struct msb_err *e)
{
	return verb(q, sb, v, 0, e);
}

int ctl_stop(const struct ctl_req *q, struct ctl_sandbox *sb, unsigned int sec, struct msb_err *e)
{
	return verb(q, sb, VERB_STOP, sec, e);
}

/* The new table, in place of the one that is stored or carried out; lock held. */
static int exchange(struct ctl_sandbox *sb, bool run, struct msb_str *table, struct msb_err *e)
{
	char *copy;
	int r;

	if (!strcmp(table->buf ?: "", ctl_conf_value(sb, CONF_MOUNTS)))
		return 0;
	if (!run)
		return ctl_conf_store(sb, CONF_MOUNTS, table, e);
	copy = table->oom ? NULL : strdup(table->buf ?: "");
	if (!copy)
		return msb_err_set(e, ENOMEM, "no memory");
	r = begin(sb, VERB_MOUNTS, e);
	if (r == 0)
		sb->op->table = copy; /* its thread takes the lock before it looks */
	else
		free(copy);
	return r;
}

int ctl_op_mounts(const struct ctl_req *q, struct ctl_sandbox *sb,
	int (*make)(struct ctl_sandbox *sb, void *arg, struct msb_str *table, struct msb_err *e),
	void *arg, struct msb_err *e)
{
	struct ctl *c = sb->c;

	for (;;) {
		_cleanup_str_ struct msb_str table = MSB_STR_INIT;
		struct ctl_op *op;
		int what, r = 0;

		pthread_mutex_lock(&c->lock);
		what = decide(sb, VERB_MOUNTS, e);
		if (what == 4 && c->ending)
			what = msb_err_set(e, EBUSY, "msbd is ending");
		if (what == 4 && sb->foreign)
			what = msb_err_set(e, EOPNOTSUPP,
				"a mixtape's guest has no agent of msb's that could make mounts");
		if (what == 0 || what == 4)
			r = make(sb, arg, &table, e);
		if (r == 0 && (what == 0 || what == 4))
			r = exchange(sb, what == 4, &table, e);
		op = what > 0 && r == 0 ? join(sb) : NULL;
		pthread_mutex_unlock(&c->lock);
		if (!op)
			return what < 0 ? what : r;
		r = wait_for(q, op, what == 4, e);
		if (r < 0 || what == 4)
			return r;
	}
}

int ctl_op_resize(const struct ctl_req *q, struct ctl_sandbox *sb, uint32_t cpus,
	uint64_t memory_bytes, struct msb_err *e)
{
	struct ctl *c = sb->c;

	for (;;) {
		struct ctl_op *op;
		int what, r = 0;

		pthread_mutex_lock(&c->lock);
		what = decide(sb, VERB_RESIZE, e);
		if (what == 0)
			what = msb_err_set(e, EBUSY, "%s has just ended; write it again", sb->name);
		if (what == 4 && c->ending)
			what = msb_err_set(e, EBUSY, "msbd is ending");
		if (what == 4)
			r = ctl_resize_check(sb, cpus, memory_bytes, e);
		if (what == 4 && r == 0)
			r = begin(sb, VERB_RESIZE, e);
		if (what == 4 && r == 0) { /* its thread takes the lock before it looks */
			sb->op->cpus = cpus;
			sb->op->memory_bytes = memory_bytes;
		}
		op = what > 0 && r == 0 ? join(sb) : NULL;
		pthread_mutex_unlock(&c->lock);
		if (!op)
			return what < 0 ? what : r;
		r = wait_for(q, op, what == 4, e);
		if (r < 0 || what == 4)
			return r;
	}
}

int ctl_restart(
	const struct ctl_req *q, struct ctl_sandbox *sb, unsigned int sec, struct msb_err *e)
{
	int r;

	pthread_mutex_lock(&sb->c->lock);
	sb->restarting++;
	pthread_mutex_unlock(&sb->c->lock);
	r = ctl_stop(q, sb, sec, e);
	if (r == 0)
		r = ctl_verb(q, sb, VERB_START, e);
	LOCK_SCOPE(&sb->c->lock);
	sb->restarting--;
	(void)ctl_auto_remove(sb); /* where the start was not to be */
	return r;
}

void ctl_op_clean(struct ctl_sandbox *sb, int code, const char *fmt, ...)
{
	struct msb_err e = {0}, why = {0};
	char msg[MSB_ERR_MAX];
	va_list ap;

	if (sb->gone || (ctl_state_ended(sb->state) && !sb->op))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap); /* cut on purpose */
	va_end(ap);
	msb_err_set(&why, code, "%s", msg); /* QEMU's own words may be in it: one line of text */
	if (sb->op) {
		doom(sb, code, why.msg);
		return;
	}
	sb->doom = 0;
	doom(sb, code, why.msg);
	if (begin(sb, VERB_CLEAN, &e) < 0) {
		log_err("%s: %s; what was left of its machine goes with the next verb: %s",
			sb->name, why.msg, e.msg);
		ctl_sandbox_state(sb, ST_FAILED, why.msg);
	}
}

void ctl_op_reattach(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	if (sb->op && (sb->op->verb == VERB_MOUNTS || sb->op->verb == VERB_MEND))
		sb->agent_lost = true; /* that verb fails, or does not, by itself */
	else if (sb->op)
		doom(sb, EIO, "the agent's process ended");
	else if (begin(sb, VERB_REATTACH, &e) < 0)
		log_err("%s: cannot start the agent's process again: %s", sb->name, e.msg);
}

void ctl_op_finish(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	/* While a new msbd takes it up, or its agent is, there is none. */
	if (sb->gone || sb->op || sb->agent.pidfd < 0 || !ctl_main_is_over(sb) ||
		ctl_state_ended(sb->state))
		return;
	log_info("%s: %s", sb->name, sb->main_why);
	if (begin(sb, VERB_FINISH, &e) < 0)
		log_err("%s: cannot be stopped: %s", sb->name, e.msg);
}

void ctl_op_mend(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	if (sb->gone || sb->op || !sb->other_mounts || sb->state != ST_RUNNING)
		return;
	if (begin(sb, VERB_MEND, &e) < 0)
		log_err("%s: its mounts may differ from the table: %s", sb->name, e.msg);
}
