/* SPDX-License-Identifier: Apache-2.0 */
/* exec: command lines in the guest. Output is passed through and never looked at. */
#ifndef MSB_CTL_EXEC_H
#define MSB_CTL_EXEC_H

#include "base/msg.h"
#include "ctl/model.h"

/* One job, for one reader. */
struct ctl_job {
	int sock;
	size_t off;   /* of m's payload: what was read */
	size_t bytes; /* of m's payload; 0: nothing is pending */
	bool ended;
	int result; /* once ended: 0, or -errno with its sentence in err */
	struct msb_err err;
	struct msb_msg m;
};

/**
 * ctl_job_start() - Start `sh -c LINE` as the sandbox's user in its workdir; waits until it runs
 * Errors: -EBUSY the sandbox is not running; -EAGAIN AGENT_MAX_JOBS; -EINTR; -ENODEV the machine
 * went.
 */
int ctl_job_start(const struct ctl_req *q, struct ctl_sandbox *sb, const char *line, size_t n,
	struct ctl_job **ret, struct msb_err *e);
struct ctl_job *ctl_job_free(struct ctl_job *j); /* a job that has not ended is hung up */

/**
 * ctl_job_read() - Append output to @s, at most @max bytes
 * Waits for some unless @nonblock. Return: 0, and nothing appended at the end; -EAGAIN; -EINTR.
 */
int ctl_job_read(
	const struct ctl_req *q, struct ctl_job *j, size_t max, bool nonblock, struct msb_str *s);
/* Whether a read gives output, or the end, without waiting. Takes a message that has come. */
bool ctl_job_ready(struct ctl_job *j);
/* Waits for the end, output thrown away. Return: 0 exit 0; -EREMOTEIO anything else; -EINTR. */
int ctl_job_wait(const struct ctl_req *q, struct ctl_job *j, struct msb_err *e);

#endif
