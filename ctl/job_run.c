// SPDX-License-Identifier: Apache-2.0
// Jobs: starting them, and what their connection says.
#include "ctl/job_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/msg.h"
#include "ctl/conf.h"
#include "ctl/ended.h"
#include "ctl/exec.h"
#include "ctl/handle.h"
#include "ctl/run_argv.h"
#include "ctl/report.h"
#include "ctl/rlimits.h"
#include "ctl/run_main.h"
#include "ctl/supervise.h"
#include "vmm/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define MESSAGES_AT_ONCE 16 /* of one job, before the others' turn */

int ctl_signal_parse(const char *text)
{
	uint64_t v;

	if (msb_parse_u64(text, 1, 64, &v) == 0)
		return (int)v;
	if (strncmp(text, "SIG", 3) == 0)
		text += 3;
	for (int i = 1; i <= 64; i++)
		if (sigabbrev_np(i) && strcmp(sigabbrev_np(i), text) == 0)
			return i;
	return -EINVAL;
}

/* ---- messages to it */

void job_hang_up(struct ctl_job *j)
{
	if (j->sock < 0 || j->state == JOB_ENDED)
		return;
	msb_err_set(&j->err, EPIPE, "nobody held it any more");
	ctl_supervise_drop(j->sb->c, j->sock);
	job_forget(j);
	(void)shutdown(j->sock, SHUT_RDWR); /* a socket of ours */
	ctl_job_end(j, "hangup", EXIT_SIGNAL + SIGHUP, SIGHUP);
}

static int tell(struct ctl_job *j, struct msb_msg *m, struct msb_err *e)
{
	int r;

	if (j->state == JOB_ENDED || j->gone)
		return msb_err_set(e, ESRCH, "job %u has ended", j->number);
	if (j->sock < 0)
		return msb_err_set(e, EBUSY, "job %u was not started", j->number);
	r = msb_msg_send(j->sock, m);
	/* Its agent takes these between two pieces of input, so there is room in a moment. */
	if (r == -EAGAIN)
		return msb_err_set(
			e, EAGAIN, "job %u does not read its input; try again", j->number);
	return r < 0 ? msb_err_set(e, ESRCH, "job %u has ended", j->number) : 0;
}

static struct msb_msg *message(const char *verb, struct msb_err *e)
{
	struct msb_msg *m = malloc(sizeof(*m));

	if (m)
		msb_msg_init(m, verb);
	else
		msb_err_set(e, ENOMEM, "no memory");
	return m;
}

int ctl_job_signal(struct ctl_job *j, int sig, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = message("signal", e);

	if (!m)
		return -ENOMEM;
	msb_msg_set(m, "n", "%d", sig);
	LOCK_SCOPE(&j->sb->c->lock);
	return tell(j, m, e);
}

int ctl_job_resize(struct ctl_job *j, const char *rows, const char *cols, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = message("resize", e);
	uint64_t r, c;
	char *text;
	int err;

	if (!m)
		return -ENOMEM;
	if (msb_parse_u64(rows, 1, UINT16_MAX, &r) < 0 ||
		msb_parse_u64(cols, 1, UINT16_MAX, &c) < 0)
		return msb_err_set(e, EINVAL, "it is `resize ROWS COLS`, numbers from 1 to 65535");
	msb_msg_set(m, "rows", "%u", (unsigned int)r);
	msb_msg_set(m, "cols", "%u", (unsigned int)c);
	LOCK_SCOPE(&j->sb->c->lock);
	if (!j->values[JOB_TTY] || strcmp(j->values[JOB_TTY], "0") == 0)
		return msb_err_set(e, EINVAL, "job %u has no terminal", j->number);
	err = tell(j, m, e);
	if (err == 0 && asprintf(&text, "%u %u", (unsigned int)r, (unsigned int)c) > 0) {
		free(j->values[JOB_TTY]);
		j->values[JOB_TTY] = text;
	}
	return err;
}

int ctl_job_close_stdin(struct ctl_job *j, struct msb_err *e)
{
	_cleanup_free_ struct msb_msg *m = message("eof", e);
	int r;

	if (!m)
		return -ENOMEM;
	if (j->eof_sent)
		return 0;
	if (j->state == JOB_CREATED || j->state == JOB_STARTING) {
		j->eof_due = j->sock < 0;
		if (j->eof_due)
			return 0; /* it will find no input */
	}
	r = tell(j, m, e);
	/* Where there is no room for it, it is sent when there is: see ctl_job_event(). */
	j->eof_sent = r == 0;
	j->eof_due = r == -EAGAIN;
	if (j->eof_due)
		job_watch(j);
	return j->eof_due ? 0 : r;
}

static unsigned int job_hold(const struct ctl_job *j)
{
	return j->at_close == JOB_CLOSE_HANGUP ? AGENT_HOLD_WAITS : 1;
}

static void send_mark(struct ctl_job *j)
{
	_cleanup_free_ struct msb_msg *m = message("mark", NULL);
	char mark[JOB_MARK_BYTES];
	int r = -EAGAIN;

	if (m) {
		job_mark(j, mark);
		msb_msg_set(m, "v", "%s", mark);
		msb_msg_set(m, "hold", "%u", job_hold(j));
		r = msb_msg_send(j->sock, m);
	}
	j->mark_due = r == -EAGAIN; /* sent when there is room: see ctl_job_event() */
}

void job_marked(struct ctl_job *j)
{
	if (j->sock < 0) { /* its start says so, or, where that is under way, begun() */
		j->mark_due = j->state == JOB_STARTING;
		return;
	}
	send_mark(j);
	if (j->mark_due && j->state != JOB_ENDED)
		job_watch(j);
}

void job_forget(const struct ctl_job *j)
{
	_cleanup_free_ struct msb_msg *m = j->sock < 0 ? NULL : message("forget", NULL);
	char path[108];

	if (!m || msb_msg_send(j->sock, m) != -EAGAIN)
		return;
	/* It is full of input that the job does not read. Where this fails too the machine has
	 * gone, or the next msbd does it. */
	ctl_sock_path(j->sb->c, j->sb->id, "agent", path);
	(void)agent_forget(path, j->number, NULL);
}

/* ---- messages from it */

static void running(struct ctl_job *j, const struct msb_msg *m)
{
	uint64_t pid = 0;

	if (j->state != JOB_STARTING)
		return;
	(void)msb_msg_get_u64(m, "pid", &pid); /* for people */
	j->pid = (pid_t)(pid & INT32_MAX);
	j->state = JOB_RUNNING;
	j->changes++;
	if (msb_msg_get_u64(m, "usec", &j->started_usec) < 0)
		j->started_usec = ctl_now_usec();
	j->sb->jobs_total++;
	ctl_event(j->sb->c, j->sb, "job_started", ",\"job\":%u", j->number);
}

/* The peer parses a guest's bytes: anything may stand in it. */
int job_take(struct ctl_job *j, struct msb_msg *m)
{
	const char *verb = msb_msg_verb(m);
	struct ctl_ended how;

	msb_msg_close_fds(m);
	if (!strcmp(verb, "out") || !strcmp(verb, "err"))
		return job_put(j, *verb == 'o' ? JOB_OUT : JOB_ERR, msb_msg_payload_ptr(m),
			m->payload_bytes);
	if (!strcmp(verb, "started")) {
		running(j, m);
	} else if (ctl_ended_take(m, &how)) {
		j->err = how.err;
		ctl_job_end(j, how.reason, how.exit_code, how.signal);
	}
	/* When it was: this msbd may have come later. */
	if (j->state == JOB_ENDED)
		(void)msb_msg_get_u64(m, "usec", &j->ended_usec);
	return 0;
}

void job_watch(struct ctl_job *j)
{
	bool in = job_has_room(j);

	j->stalled = !in;
	if (ctl_supervise_job(j, in, j->eof_due || j->mark_due || j->poll_out) < 0)
		ctl_job_end(j, "lost", EXIT_LOST, 0);
}

void job_resume(struct ctl_job *j)
{
	if (j->stalled && j->state != JOB_ENDED && job_has_room(j))
		job_watch(j);
}

void ctl_job_event(struct ctl_job *j)
{
	static struct msb_msg m; /* the supervisor's thread alone comes here */
	struct msb_err e;

	ctl_job_ref(j); /* its end may be when it goes */
	j->poll_out = false;
	for (int i = 0; i < MESSAGES_AT_ONCE && j->state != JOB_ENDED && job_has_room(j); i++) {
		int r = msb_msg_recv(j->sock, &m);

		if (r == -EAGAIN)
			break;
		if (r == 0)
			r = job_take(j, &m);
		if (r < 0) {
			msb_err_set(&j->err, ENODEV, "%s",
				r == -ENOMEM
					? "no memory for its output"
					: "the machine, or its agent, ended before the job did");
			ctl_job_end(j, "lost", EXIT_LOST, 0);
		}
	}
	if (j->eof_due && j->state != JOB_ENDED)
		(void)ctl_job_close_stdin(j, &e); /* no room yet: it is due still */
	if (j->mark_due && !j->gone)
		send_mark(j);
	if (j->state == JOB_ENDED)
		ctl_supervise_drop(j->sb->c, j->sock);
	else
		job_watch(j);
	pthread_cond_broadcast(&j->changed);
	ctl_poll_wake_job(j);
	ctl_job_unref(j);
}

/* ---- start */

/* What the agent is told, out of what was set; the arrays point into the job and @env. */
struct request {
	struct agent_exec x;
	const char **argv, **env;
	struct ctl_rlimits limits;
	struct msb_str whole; /* argv with the entrypoint before it; empty: as it is */
	struct ctl_values values;
	char **pairs;
	char note[JOB_NOTE_BYTES], mark[JOB_MARK_BYTES];
};

static void request_done(struct request *rq)
{
	for (char **p = rq->pairs; p && *p; p++)
		free(*p);
	free(rq->pairs);
	free(rq->argv);
	free(rq->env);
	ctl_rlimits_done(&rq->limits);
	msb_str_done(&rq->whole);
	ctl_values_done(&rq->values);
}

static int request_env(struct ctl_job *j, struct request *rq)
{
	size_t n = 0;

	rq->pairs = calloc(j->nenv + 1, sizeof(char *));
	for (char **p = rq->values.env; *p; p++)
		n++;
	rq->env = calloc(n + j->nenv + 1, sizeof(char *));
	if (!rq->pairs || !rq->env)
		return -ENOMEM;
	memcpy(rq->env, rq->values.env, n * sizeof(char *));
	for (size_t i = 0; i < j->nenv; i++) {
		if (asprintf(&rq->pairs[i], "%s=%s", j->env[i].name, j->env[i].value) < 0) {
			rq->pairs[i] = NULL;
			return -ENOMEM;
		}
		rq->env[n + i] = rq->pairs[i]; /* the last one of a name counts */
	}
	return 0;
}

static int request_argv(struct request *rq, const char *argv, size_t bytes)
{
	size_t n = 0;

	for (size_t at = 0; at < bytes; at += strlen(argv + at) + 1)
		n++;
	free(rq->argv);
	rq->argv = calloc(n + 1, sizeof(char *));
	if (!rq->argv)
		return -ENOMEM;
	n = 0;
	for (size_t at = 0; at < bytes; at += strlen(argv + at) + 1)
		rq->argv[n++] = argv + at;
	rq->x.argv = rq->argv;
	return 0;
}

/* Lock held. */
static int request_make(struct ctl_job *j, struct request *rq, struct msb_err *e)
{
	const char *user = j->values[JOB_USER], *cwd = j->values[JOB_CWD],
		   *tty = j->values[JOB_TTY];
	unsigned int rows = 0, cols = 0;
	uint64_t sec = 0;
	/* Of the main command's start the sandbox's is a part. */
	int r = ctl_job_is_main(j) ? ctl_values_copy(j->sb, &rq->values, e)
				   : ctl_values_get(j->sb, &rq->values, e);

	if (r < 0)
		return r;
	if (request_env(j, rq) < 0 || request_argv(rq, j->argv, j->argv_bytes) < 0 ||
		ctl_rlimits_list(ctl_conf_value(j->sb, CONF_RLIMITS), j->values[JOB_RLIMITS] ?: "",
			&rq->limits) < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	if (tty && sscanf(tty, "%u %u", &rows, &cols) != 2)
		rows = cols = 0;
	if (j->values[JOB_TIMEOUT]) /* it was checked */
		(void)msb_parse_u64(j->values[JOB_TIMEOUT], 0, CTL_MAX_JOB_TIMEOUT_SEC, &sec);
	job_note(j, rq->note);
	job_mark(j, rq->mark);
	rq->x = (struct agent_exec){.argv = rq->argv,
		.env = rq->env,
		.rlimits = (const char *const *)rq->limits.v,
		.user = user && *user ? user : rq->values.user,
		.cwd = cwd && *cwd ? cwd : rq->values.workdir,
		.tty = rows > 0,
		.want_stdin = rows > 0 || !j->eof_due, /* else /dev/null, and nothing to tell */
		.log = true,
		.hold = job_hold(j),
		.rows = (uint16_t)rows,
		.cols = (uint16_t)cols,
		.job = j->number,
		.timeout_ms = sec * 1000,
		.note = rq->note,
		.mark = rq->mark};
	return 0;
}

static bool wants_entrypoint(const struct ctl_job *j)
{
	return j->values[JOB_ENTRYPOINT] && *j->values[JOB_ENTRYPOINT] == '1';
}

/* Without the lock: its state keeps argv as it is. */
static int request_entrypoint(struct ctl_job *j, struct request *rq, struct msb_err *e)
{
	int r;

	if (!wants_entrypoint(j))
		return 0;
	r = ctl_run_argv(j->sb, j->argv, j->argv_bytes, &rq->whole, e);
	if (r == 0 && request_argv(rq, rq->whole.buf, rq->whole.len) < 0)
		r = msb_err_set(e, ENOMEM, "no memory");
	return r;
}

static int begin(struct ctl_job *j, struct request *rq, struct msb_err *e)
{
	int r;

	LOCK_SCOPE(&j->sb->c->lock);
	if (j->gone)
		return msb_err_set(e, ENODEV, "the job is gone");
	if (j->state != JOB_CREATED)
		return msb_err_set(e, EBUSY, "job %u is %s: a job is started once", j->number,
			ctl_job_state_name(j->state));
	if (!j->argv_bytes && !wants_entrypoint(j))
		return msb_err_set(e, EINVAL, "job %u has no argv: write it first", j->number);
	r = request_make(j, rq, e);
	if (r < 0)
		return r;
	j->state = JOB_STARTING; /* from here on nothing of it changes under the request */
	j->changes++;
	return 0;
}

void job_connected(struct ctl_job *j)
{
	struct msb_err no_eof;

	if (fcntl(j->sock, F_SETFL, O_NONBLOCK) < 0)
		log_warn("%s: job %u: its connection blocks, ignoring", j->sb->name, j->number);
	/* Who asked for it has gone. */
	if (!j->handles && j->at_close == JOB_CLOSE_HANGUP && !j->rejoin) {
		job_hang_up(j);
		return;
	}
	if (j->eof_due ||
		(!j->handles && !j->keep && !j->rejoin && j->at_close != JOB_CLOSE_NOTHING))
		(void)ctl_job_close_stdin(j, &no_eof); /* nobody is left who could write it */
	job_watch(j);
}

/* The agent has taken it, or not. */
static int begun(struct ctl_job *j, struct request *rq, int sock)
{
	LOCK_SCOPE(&j->sb->c->lock);
	if (sock < 0) {
		j->state = JOB_CREATED;
		j->changes++;
		pthread_cond_broadcast(&j->changed);
		return sock;
	}
	j->sock = sock;
	if (!rq->x.want_stdin) {
		j->eof_sent = true;
		j->eof_due = false;
	}
	if (rq->whole.len) { /* what is read is what runs */
		free(j->argv);
		j->argv_bytes = rq->whole.len;
		j->argv = steal_ptr(rq->whole.buf);
		rq->whole = (struct msb_str)MSB_STR_INIT;
	}
	if (j->mark_due)
		send_mark(j);
	job_connected(j);
	return 0;
}

int ctl_job_start(const struct ctl_req *q, struct ctl_job *j, struct msb_err *e)
{
	_cleanup_(request_done) struct request rq = {0};
	struct msb_err why = {0};
	char sock[108];
	int r = begin(j, &rq, e), fd;

	if (r < 0)
		return r;
	ctl_sock_path(j->sb->c, j->sb->id, "agent", sock);
	fd = request_entrypoint(j, &rq, &why);
	if (fd == 0)
		fd = agent_exec(sock, &rq.x, &why);
	r = begun(j, &rq, fd);
	if (r < 0) {
		*e = why;
		return r;
	}
	LOCK_SCOPE(&j->sb->c->lock);
	while (j->state == JOB_STARTING) {
		if ((q->cancel && q->cancel->set) || (ctl_job_is_main(j) && j->sb->doom))
			return msb_err_set(e, EINTR, "interrupted; the job goes on");
		pthread_cond_wait(&j->changed, &j->sb->c->lock);
	}
	if (j->started_usec || !j->err.code)
		return 0;
	*e = j->err;
	return -e->code;
}
