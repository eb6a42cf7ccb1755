// SPDX-License-Identifier: Apache-2.0
// The main command of a sandbox.
#include "ctl/run_main.h"
#include "base/io.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/op.h"

#include <stdio.h>
#include <string.h>

static void note(struct ctl_sandbox *sb, uint32_t number)
{
	char text[16];

	sb->main_job = number;
	sb->main_over = false;
	sb->main_exit = -1;
	sb->main_why[0] = '\0';
	(void)snprintf(text, sizeof(text), "%u", number);
	ctl_sandbox_fact(sb, ".main_job", number ? text : NULL);
	ctl_sandbox_fact(sb, ".exit_code", NULL);
}

/* That of the last machine has nobody who wants it but for `status`. */
static void forget(struct ctl_sandbox *sb)
{
	struct ctl_job *j = sb->main_job ? ctl_job_find(sb, sb->main_job) : NULL;

	note(sb, 0);
	if (j)
		ctl_job_keep(j, false);
}

/* Lock held. */
static int make(struct ctl_sandbox *sb, struct ctl_job **ret, struct msb_err *e)
{
	struct msb_err no_eof;
	int r = ctl_job_new(sb, ret, e);

	if (r == 0)
		r = ctl_job_set(*ret, JOB_ENTRYPOINT, "1", 1, e);
	if (r < 0)
		return r;
	ctl_job_keep(*ret, true);
	(void)ctl_job_close_stdin(*ret, &no_eof); /* nobody is there to write it */
	ctl_job_ref(*ret);
	note(sb, (*ret)->number);
	return 0;
}

int ctl_main_start(struct ctl_sandbox *sb, struct msb_err *e)
{
	const struct ctl_req nobody = {.c = sb->c};
	struct ctl_job *j;
	int r;

	pthread_mutex_lock(&sb->c->lock);
	forget(sb);
	r = strcmp(ctl_conf_value(sb, CONF_INIT), "cmd") == 0 ? make(sb, &j, e) : 1;
	pthread_mutex_unlock(&sb->c->lock);
	if (r != 0)
		return r < 0 ? r : 0;
	r = ctl_job_start(&nobody, j, e);
	pthread_mutex_lock(&sb->c->lock);
	ctl_job_unref(j);
	pthread_mutex_unlock(&sb->c->lock);
	return r < 0 ? msb_err_wrap(e, "its command") : 0;
}

bool ctl_job_is_main(const struct ctl_job *j)
{
	return j->sb->main_job == j->number;
}

void ctl_main_ended(const struct ctl_job *j)
{
	struct ctl_sandbox *sb = j->sb;
	char text[16];

	if (!ctl_job_is_main(j) || sb->main_over)
		return;
	sb->main_over = true;
	sb->main_exit = j->exit_code;
	sb->main_ended_ms = msb_now_ms();
	(void)snprintf(sb->main_why, sizeof(sb->main_why), "its command has ended: %.200s",
		j->err.code ? j->err.msg : "exit status 0");
	(void)snprintf(text, sizeof(text), "%d", j->exit_code);
	ctl_sandbox_fact(sb, ".exit_code", text);
	/* Of one that is lost the machine, or its agent, has ended: whoever sees that goes on. */
	if (strcmp(j->reason, "lost") != 0)
		ctl_op_finish(sb);
}

bool ctl_main_is_over(const struct ctl_sandbox *sb)
{
	return sb->main_job && sb->main_over;
}

void ctl_main_recovered(struct ctl_sandbox *sb)
{
	if (!sb->main_job || ctl_state_ended(sb->state))
		return;
	if (!sb->main_over && !ctl_job_find(sb, sb->main_job)) {
		sb->main_over = true;
		sb->main_exit = 255;
		sb->main_ended_ms = msb_now_ms();
		(void)snprintf(sb->main_why, sizeof(sb->main_why),
			"its command was lost while msbd was not running");
	}
	ctl_op_finish(sb);
}
