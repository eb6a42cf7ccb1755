/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of jobs share: job_io.c (the buffer), job_run.c (the connection), job_adopt.c.
 * ctl.lock held.
 */
#ifndef MSB_CTL_JOB_INT_H
#define MSB_CTL_JOB_INT_H

#include "base/msg.h"
#include "ctl/job.h"

/* What msb-agentd keeps for the next msbd, of what it need not know: when it was made, and which of
 * the values are its own, in `note` of its start; `keep` and `at-close` in its mark. */
#define JOB_NOTE_BYTES 2048
#define JOB_MARK_BYTES 32
void job_note(const struct ctl_job *j, char ret[JOB_NOTE_BYTES]);
void job_mark(const struct ctl_job *j, char ret[JOB_MARK_BYTES]);
/* What the mark says has changed: tells its agent. */
void job_marked(struct ctl_job *j);

/* Whether the largest message fits, after what no reader needs has fallen out. */
bool job_has_room(struct ctl_job *j);
int job_put(struct ctl_job *j, unsigned int stream, const char *p, uint32_t n); /* -ENOMEM */
/* Takes in a message of its connection. -ENOMEM. */
int job_take(struct ctl_job *j, struct msb_msg *m);
/* It is connected: its input is closed where nobody can write it, and it is watched. */
void job_connected(struct ctl_job *j);
/* Tells its agent that nobody will ask for it again. */
void job_forget(const struct ctl_job *j);
/* Puts it among those of its sandbox, by number. */
void job_insert(struct ctl_job *j);
/* An empty one, of no sandbox's table yet; NULL: no memory. */
struct ctl_job *job_alloc(struct ctl_sandbox *sb, uint32_t number);
/* Has the supervisor wait for what the job waits for. */
void job_watch(struct ctl_job *j);
/* Closes its connection, which hangs it up in the guest; it has ended then. */
void job_hang_up(struct ctl_job *j);
/* Goes on reading its connection where that had stopped and there is room again. */
void job_resume(struct ctl_job *j);

#endif
