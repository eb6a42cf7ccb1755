// SPDX-License-Identifier: Apache-2.0
// How a program in a guest ended.
#include "ctl/ended.h"

#include <errno.h>
#include <string.h>

static void end(struct ctl_ended *x, const char *reason, int exit_code, int signal)
{
	x->reason = reason;
	x->exit_code = exit_code;
	x->signal = signal;
}

/* How the guest said that the program could not be started. */
static void failed(const struct msb_msg *m, struct ctl_ended *x)
{
	const char *fault = msb_msg_get(m, "fault") ?: "";
	bool not_found = msb_msg_error(m, &x->err) == -ENOENT;

	if (strcmp(fault, "user") == 0)
		end(x, "bad_user", EXIT_SETUP, 0);
	else if (strcmp(fault, "cwd") == 0)
		end(x, "bad_cwd", EXIT_SETUP, 0);
	else if (strcmp(fault, "limits") == 0)
		end(x, "bad_rlimits", EXIT_SETUP, 0);
	else if (strcmp(fault, "lost") == 0)
		end(x, "lost", EXIT_LOST, 0);
	else
		end(x, not_found ? "not_found" : "not_executable",
			not_found ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, 0);
}

static void exited(const struct msb_msg *m, struct ctl_ended *x)
{
	uint64_t sig = 0, code = 0;
	bool oom = msb_msg_get(m, "oom") != NULL;
	bool over = msb_msg_get(m, "timeout") != NULL;

	if (msb_msg_get_u64(m, "signal", &sig) < 0 || sig < 1 || sig > 64)
		sig = 0;
	(void)msb_msg_get_u64(m, "code", &code); /* absent where a signal ended it */
	if (over) {
		msb_err_set(&x->err, ETIMEDOUT, "it ran longer than its timeout_sec");
		end(x, "timeout", EXIT_TIMEOUT, (int)sig);
	} else if (sig) {
		msb_err_set(&x->err, EREMOTEIO, "%s by signal %d (%s)",
			oom ? "the guest ran out of memory; killed" : "killed", (int)sig,
			sigdescr_np((int)sig) ?: "unknown");
		end(x, oom ? "oom" : "signal", EXIT_SIGNAL + (int)sig, (int)sig);
	} else {
		if (code)
			msb_err_set(&x->err, EREMOTEIO, "exit status %d", (int)(code & 0xff));
		end(x, "exited", (int)(code & 0xff), 0);
	}
}

bool ctl_ended_take(const struct msb_msg *m, struct ctl_ended *ret)
{
	struct ctl_ended x = {0};

	if (strcmp(msb_msg_verb(m), "exit") == 0)
		exited(m, &x);
	else if (strcmp(msb_msg_verb(m), "error") == 0)
		failed(m, &x);
	else
		return false;
	*ret = x;
	return true;
}
