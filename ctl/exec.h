/* SPDX-License-Identifier: Apache-2.0 */
/* exec: command lines in the guest. Output is passed through and never looked at. */
#ifndef MSB_CTL_EXEC_H
#define MSB_CTL_EXEC_H

#include "base/msg.h"
#include "ctl/model.h"

/* The sandbox's values as they are now: what a command sees need not wait for a restart. NULL is
 * the default that the machine was started with: the image's, where the sandbox has none. */
struct ctl_values {
	char *user, *workdir;
	char **env; /* NAME=VALUE, NULL at the end */
};
/* ctl.lock held. -EBUSY it does not run; -ENODEV; -ENOMEM. To be given to ctl_values_done() in any
 * case. */
int ctl_values_get(struct ctl_sandbox *sb, struct ctl_values *ret, struct msb_err *e);
/* The same, whatever the state is. */
int ctl_values_copy(const struct ctl_sandbox *sb, struct ctl_values *ret, struct msb_err *e);
void ctl_values_done(struct ctl_values *v);

/* One command line, for one reader. */
struct ctl_command {
	int sock;
	struct ctl_sandbox *sb; /* borrowed from who holds the command */
	bool counted;		/* among its commands under way */
	size_t off;		/* of m's payload: what was read */
	size_t bytes;		/* of m's payload; 0: nothing is pending */
	bool ended;
	int result; /* once ended: 0, or -errno with its sentence in err */
	struct msb_err err;
	struct msb_msg m;
};

/**
 * ctl_command_start() - Start `sh -c LINE` as the sandbox's user in its workdir; waits until it
 * runs Errors: -EBUSY the sandbox is not running; -EAGAIN AGENT_MAX_JOBS; -EINTR; -ENODEV the
 * machine went.
 */
int ctl_command_start(const struct ctl_req *q, struct ctl_sandbox *sb, const char *line, size_t n,
	struct ctl_command **ret, struct msb_err *e);
struct ctl_command *ctl_command_free(
	struct ctl_command *j); /* a job that has not ended is hung up */

/**
 * ctl_command_read() - Append output to @s, at most @max bytes
 * Waits for some unless @nonblock. Return: 0, and nothing appended at the end; -EAGAIN; -EINTR.
 */
int ctl_command_read(const struct ctl_req *q, struct ctl_command *j, size_t max, bool nonblock,
	struct msb_str *s);
/* Whether a read gives output, or the end, without waiting. Takes a message that has come. */
bool ctl_command_ready(struct ctl_command *j);
/* Waits for the end, output thrown away. Return: 0 exit 0; -EREMOTEIO anything else; -EINTR. */
int ctl_command_wait(const struct ctl_req *q, struct ctl_command *j, struct msb_err *e);

#endif
