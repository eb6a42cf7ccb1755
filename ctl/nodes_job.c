// SPDX-License-Identifier: Apache-2.0
// Files of a job.
#include "base/cleanup.h"
#include "ctl/job.h"
#include "ctl/nodes.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int ctl_read_job_number(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%u\n", at->job->number);
	return 0;
}

int ctl_read_job(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_job *j = at->job;

	switch ((enum ctl_job_file)at->node->arg) {
	case JOB_FILE_ARGV: ctl_job_get_argv(j, s); break;
	case JOB_FILE_STATE: msb_str_addf(s, "%s\n", ctl_job_state_name(j->state)); break;
	case JOB_FILE_ERROR: msb_str_addf(s, "%s\n", j->err.code ? j->err.msg : ""); break;
	case JOB_FILE_SIGNAL:
		msb_str_addf(s, "%s\n", j->signal ? sigabbrev_np(j->signal) ?: "RT" : "");
		break;
	case JOB_FILE_EXIT_CODE:
		if (j->state == JOB_ENDED)
			msb_str_addf(s, "%d", j->exit_code);
		msb_str_adds(s, "\n");
		break;
	}
	return 0;
}

int ctl_read_job_status(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_job *j = at->job;

	msb_str_addf(s, "number %u\nstate %s\nreason %s\nexit_code ", j->number,
		ctl_job_state_name(j->state), j->reason ?: "");
	if (j->state == JOB_ENDED)
		msb_str_addf(s, "%d", j->exit_code);
	msb_str_addf(s, "\nsignal %d\npid %d\nkeep %d\nat_close %s\n", j->signal, (int)j->pid,
		j->keep, ctl_job_close_name(j->at_close));
	msb_str_addf(s,
		"created_usec %" PRIu64 "\nstarted_usec %" PRIu64 "\nended_usec %" PRIu64 "\n",
		j->created_usec, j->started_usec, j->ended_usec);
	msb_str_addf(s, "stdout_gone_bytes %" PRIu64 "\nstderr_gone_bytes %" PRIu64 "\n",
		j->dropped[0], j->dropped[1]);
	msb_str_addf(s, "stdin_bytes %" PRIu64 "\n", j->in_bytes);
	return 0;
}

int ctl_read_job_value(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	ctl_job_get(at->job, (enum ctl_job_value)at->node->arg, s);
	return 0;
}

int ctl_write_job_argv(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	int r;

	pthread_mutex_lock(&at->c->lock);
	r = ctl_job_set_argv(at->job, l->p, l->n, !l->replace, e);
	pthread_mutex_unlock(&at->c->lock);
	if (r == 0)
		*l->used = l->n;
	return r;
}

int ctl_write_job_value(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	if (l->n == 0 && l->more)
		return 0; /* the newline of a value that came in pieces */
	LOCK_SCOPE(&at->c->lock);
	return ctl_job_set(at->job, (enum ctl_job_value)at->node->arg, l->p, l->n, e);
}

/* A write at the beginning replaces the table, others add to it. */
int ctl_write_job_rlimits(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r;

	LOCK_SCOPE(&at->c->lock);
	if (!l->replace)
		ctl_job_get(at->job, JOB_RLIMITS, &s);
	msb_str_add(&s, l->p, l->n);
	if (s.oom)
		return msb_err_set(e, ENOMEM, "no memory");
	if (memchr(s.buf ?: "", '\0', s.len))
		return msb_err_set(e, EINVAL, "a NUL is no part of a limit");
	r = ctl_job_set(at->job, JOB_RLIMITS, s.buf ?: "", s.len, e);
	if (r == 0)
		*l->used = l->n;
	return r;
}

int ctl_read_job_env(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_env *v = ctl_job_env_by_serial(at->job, at->aux);

	if (!v)
		return msb_err_set(e, ENODEV, "the variable is gone");
	msb_str_addf(s, "%s\n", v->value);
	return 0;
}

int ctl_write_job_env(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	struct ctl_env *v;

	if (l->n == 0 && l->more)
		return 0;
	LOCK_SCOPE(&at->c->lock);
	v = ctl_job_env_by_serial(at->job, at->aux);
	if (!v)
		return msb_err_set(e, ENODEV, "the variable is gone");
	return ctl_job_set_env(at->job, v->name, l->p, l->n, &v, e);
}
