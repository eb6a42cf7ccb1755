/* SPDX-License-Identifier: Apache-2.0 */
/* How a program in a guest ended: what msb-agentd says, in msb's words. A pure function. */
#ifndef MSB_CTL_ENDED_H
#define MSB_CTL_ENDED_H

#include "base/msg.h"

/* Exit codes of what did not end by itself, as shells and env(1) have them. */
enum {
	EXIT_TIMEOUT = 124,
	EXIT_SETUP = 125,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128, /* and the signal's number */
	EXIT_LOST = 255
};

struct ctl_ended {
	const char *reason; /* a word: see mnt-layout.md */
	int exit_code, signal;
	struct msb_err err; /* code 0: exit status 0 */
};

/* Whether @m is a program's end: "exit", or "error" where it could not be started. The peer parses
 * a guest's bytes: anything may stand in it. */
bool ctl_ended_take(const struct msb_msg *m, struct ctl_ended *ret);

#endif
