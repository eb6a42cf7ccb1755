/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of jobs share: job_io.c (the buffer), job_run.c (the connection). ctl.lock held.
 */
#ifndef MSB_CTL_JOB_INT_H
#define MSB_CTL_JOB_INT_H

#include "ctl/job.h"

/* Whether the largest message fits, after what no reader needs has fallen out. */
bool job_has_room(struct ctl_job *j);
int job_put(struct ctl_job *j, unsigned int stream, const char *p, uint32_t n); /* -ENOMEM */
/* Has the supervisor wait for what the job waits for. */
void job_watch(struct ctl_job *j);
/* Closes its connection, which hangs it up in the guest; it has ended then. */
void job_hang_up(struct ctl_job *j);
/* Goes on reading its connection where that had stopped and there is room again. */
void job_resume(struct ctl_job *j);

#endif
