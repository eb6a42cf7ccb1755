/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main command of a sandbox with `init` cmd: entrypoint and cmd as a job that `start` starts
 * and that is kept. Where it ends by itself the machine is stopped in order, and how it ended says
 * what the sandbox is then: `stopped` for exit status 0, else `failed`.
 *
 * It is known by its number, which is written down: so a new msbd finds it among the jobs.
 */
#ifndef MSB_CTL_RUN_MAIN_H
#define MSB_CTL_RUN_MAIN_H

#include "ctl/job.h"

/* Starts it where `init` says so, on the thread of `start`; the job of the machine before goes.
 * Errors: ctl_job_start()'s. */
int ctl_main_start(struct ctl_sandbox *sb, struct msb_err *e);

/* All with ctl.lock held. */
bool ctl_job_is_main(const struct ctl_job *j);
/* A job has ended; nothing where it is another one. */
void ctl_main_ended(const struct ctl_job *j);
/* Whether it has ended under a machine that goes on, so that this one is to end. */
bool ctl_main_is_over(const struct ctl_sandbox *sb);
/* A new msbd has taken up the sandbox and its jobs. */
void ctl_main_recovered(struct ctl_sandbox *sb);

#endif
