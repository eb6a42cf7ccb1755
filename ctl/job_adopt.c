// SPDX-License-Identifier: Apache-2.0
// Jobs that an earlier msbd left: msb-agentd has held them.
#include "ctl/job_int.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/conf.h"
#include "vmm/agent.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#define PAST_MS	 5000  /* for each message of what a job had printed before */
#define ADOPT_MS 30000 /* for all of a sandbox: others wait for their turn, and for msbd, */
#define EACH_MS	 100   /* and so much more for each of its jobs */
/* What comes after that comes as any output does. */
#define PAST_BYTES (512u << 10)

/* A line of numbers, then its own limits. */
void job_note(const struct ctl_job *j, char ret[JOB_NOTE_BYTES])
{
	const char *user = j->values[JOB_USER] ?: "", *cwd = j->values[JOB_CWD] ?: "";

	(void)snprintf(ret, JOB_NOTE_BYTES, "%" PRIu64 " %d %d %zu\n%s", j->created_usec,
		*user != 0, *cwd != 0, j->nenv, j->values[JOB_RLIMITS] ?: "");
}

void job_mark(const struct ctl_job *j, char ret[JOB_MARK_BYTES])
{
	(void)snprintf(ret, JOB_MARK_BYTES, "%s%s", j->keep ? "keep " : "",
		ctl_job_close_name(j->at_close));
}

/* ---- what it was started with. Its agent parses a guest's bytes: anything may stand in it. */

static int take_argv(struct ctl_job *j, const struct msb_msg *exec)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	for (const char *v = NULL; (v = msb_msg_next(exec, "arg", v));)
		msb_str_add(&s, v, strlen(v) + 1);
	if (s.oom || s.len > CTL_MAX_ARGV_BYTES)
		return -E2BIG;
	j->argv_bytes = s.len;
	j->argv = steal_ptr(s.buf);
	s = (struct msb_str)MSB_STR_INIT;
	return 0;
}

/* Its own are the last @own ones. */
static void take_env(struct ctl_job *j, const struct msb_msg *exec, size_t own)
{
	size_t all = 0, i = 0;

	for (const char *v = NULL; (v = msb_msg_next(exec, "env", v));)
		all++;
	for (const char *v = NULL; (v = msb_msg_next(exec, "env", v)); i++) {
		const char *eq = strchr(v, '=');
		_cleanup_free_ char *name = NULL;
		struct ctl_env *ret;

		if (i + own < all || !eq)
			continue;
		name = strndup(v, (size_t)(eq - v));
		if (name)
			(void)ctl_job_set_env(j, name, eq + 1, strlen(eq + 1), &ret, NULL);
	}
}

static void take_value(struct ctl_job *j, enum ctl_job_value v, const char *text)
{
	if (text)
		(void)ctl_job_set(
			j, v, text, strlen(text), NULL); /* else it reads as the default */
}

static void take_values(struct ctl_job *j, const struct msb_msg *state, const struct msb_msg *exec)
{
	uint64_t created = 0, ms = 0, rows = 0, cols = 0;
	int user = 0, cwd = 0;
	unsigned int env = 0;
	const char *note = msb_msg_get(exec, "note") ?: "", *limits = strchr(note, '\n');
	char text[32];

	if (sscanf(note, "%" SCNu64 " %d %d %u", &created, &user, &cwd, &env) == 4)
		j->created_usec = created;
	take_env(j, exec, env);
	if (limits && limits[1])
		take_value(j, JOB_RLIMITS, limits + 1);
	if (user)
		take_value(j, JOB_USER, msb_msg_get(exec, "user"));
	if (cwd)
		take_value(j, JOB_CWD, msb_msg_get(exec, "cwd"));
	if (msb_msg_get_u64(exec, "timeout_ms", &ms) == 0) {
		(void)snprintf(text, sizeof(text), "%" PRIu64, ms / 1000);
		take_value(j, JOB_TIMEOUT, text);
	}
	(void)msb_msg_get_u64(state, "rows", &rows); /* 0: no terminal */
	(void)msb_msg_get_u64(state, "cols", &cols);
	if (rows && cols) {
		(void)snprintf(text, sizeof(text), "%u %u", (unsigned int)rows & UINT16_MAX,
			(unsigned int)cols & UINT16_MAX);
		take_value(j, JOB_TTY, text);
	}
}

static void take_mark(struct ctl_job *j, const char *mark)
{
	j->keep = !strncmp(mark, "keep ", 5);
	for (int k = 0; k < JOB_CLOSE_KINDS; k++)
		if (!strcmp(mark + (j->keep ? 5 : 0), ctl_job_close_name((enum ctl_job_close)k)))
			j->at_close = (enum ctl_job_close)k;
}

static void take_state(struct ctl_job *j, const struct msb_msg *state)
{
	uint64_t v = 0;

	take_mark(j, msb_msg_get(state, "mark") ?: "");
	j->rejoin = j->at_close == JOB_CLOSE_HANGUP;
	if (j->rejoin)
		j->sb->rejoin_at_ms = UINT64_MAX; /* ctl_policy_recovered() says until when */
	j->eof_sent = msb_msg_get_u64(state, "eof", &v) == 0 && v;
	(void)msb_msg_get_u64(state, "in", &j->in_bytes);	  /* absent: 0 */
	(void)msb_msg_get_u64(state, "out_gone", &j->dropped[0]); /* absent: 0 */
	(void)msb_msg_get_u64(state, "err_gone", &j->dropped[1]);
	j->state = JOB_STARTING;
	if (msb_msg_get_u64(state, "started_usec", &v) < 0 || !v)
		return;
	j->state = JOB_RUNNING;
	j->started_usec = v;
	if (msb_msg_get_u64(state, "pid", &v) == 0)
		j->pid = (pid_t)(v & INT32_MAX);
}

/* ---- adopting */

/* What it had printed, and its end where it has ended: the first who looks finds it all. */
static void take_past(struct ctl_job *j, uint64_t until_ms, struct msb_msg *m)
{
	struct ctl *c = j->sb->c;
	size_t bytes = 0;

	while (j->state != JOB_ENDED && bytes < PAST_BYTES && msb_now_ms() < until_ms) {
		int r = msb_wait_fd(j->sock, POLLIN, PAST_MS);

		if (r == 0)
			r = msb_msg_recv(j->sock, m);
		if (r < 0)
			return; /* what is wrong is found again by who waits for it */
		bytes += m->head_bytes + m->payload_bytes;
		LOCK_SCOPE(&c->lock);
		if (!strcmp(msb_msg_verb(m), "live")) {
			msb_msg_close_fds(m);
			return;
		}
		if (job_take(j, m) < 0)
			return;
	}
}

/* The table's, with its connection; -ENOMEM. */
static int insert(
	struct ctl_job *j, int sock, const struct msb_msg *state, const struct msb_msg *exec)
{
	LOCK_SCOPE(&j->sb->c->lock);
	j->sock = sock;
	take_values(j, state, exec);
	if (take_argv(j, exec) < 0)
		return -ENOMEM;
	take_state(j, state);
	job_insert(j);
	ctl_job_ref(j);
	return 0;
}

static void adopt(struct ctl_sandbox *sb, uint32_t number, const char *path, uint64_t until_ms,
	struct msb_msg *m)
{
	struct msb_err e = {0};
	struct ctl_job *j;
	int fd = agent_adopt(path, number, &m[0], &m[1], &e);

	if (fd < 0) {
		log_err("%s: job %u: %s", sb->name, number, e.msg);
		return;
	}
	pthread_mutex_lock(&sb->c->lock);
	j = job_alloc(sb, number);
	pthread_mutex_unlock(&sb->c->lock);
	if (!j) {
		close(fd);
		return;
	}
	if (insert(j, fd, &m[0], &m[1]) == 0)
		take_past(j, until_ms, m);
	LOCK_SCOPE(&sb->c->lock);
	if (j->state == JOB_STARTING || j->state == JOB_RUNNING)
		job_connected(j);
	ctl_job_unref(j); /* one that had ended, and that nobody keeps, has gone */
}

void ctl_jobs_rejoin_over(struct ctl_sandbox *sb)
{
	struct ctl_job *next;

	sb->rejoin_at_ms = 0;
	for (struct ctl_job *j = sb->jobs; j; j = next) {
		next = j->next;
		if (!j->rejoin)
			continue;
		j->rejoin = false;
		ctl_job_ref(j); /* its end is when it goes */
		ctl_job_opened(j, false);
		job_resume(j);
		ctl_job_closed(j, false); /* as the last who held it would */
		ctl_job_unref(j);
	}
}

int ctl_jobs_adopt(struct ctl_sandbox *sb)
{
	uint64_t until = msb_now_ms() + ADOPT_MS;
	_cleanup_free_ struct msb_msg *m = calloc(2, sizeof(*m));
	uint32_t number[CTL_MAX_JOBS];
	struct msb_err e = {0};
	char path[108];
	int n;

	ctl_sock_path(sb->c, sb->id, "agent", path);
	n = m ? agent_held(path, number, CTL_MAX_JOBS, &e) : msb_err_set(&e, ENOMEM, "no memory");
	if (n < 0)
		log_err("%s: its jobs cannot be taken up: %s", sb->name, e.msg);
	until += n > 0 ? (uint64_t)n * EACH_MS : 0;
	for (int i = 0; i < n && msb_now_ms() < until; i++)
		adopt(sb, number[i], path, until, m);
	if (n > 0)
		log_info("%s: %d jobs taken up", sb->name, n);
	return msb_now_ms() < until ? 0 : -ETIMEDOUT;
}
