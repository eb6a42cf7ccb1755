/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of ours that outlive msbd: noting them down, finding them again, ending them. */
#ifndef MSB_CTL_HELPER_H
#define MSB_CTL_HELPER_H

#include "ctl/model.h"

/* Has what this thread starts next noted down in run/sb/ID/NAME.pid, for the next msbd, before it
 * runs. @note is kept until then. */
struct ctl_helper_note {
	const struct ctl *c;
	const char *id, *name;
};
void ctl_helper_noted(struct ctl_helper_note *note);
/* Finds it again: 0 and @ret set, or -ESRCH where it has ended. */
int ctl_helper_load(const struct ctl *c, const char *id, const char *name, struct ctl_helper *ret);

/* A helper just started; @pidfd is its own from now on. */
struct ctl_helper ctl_helper_new(pid_t pid, int pidfd);

/**
 * ctl_helper_end() - SIGTERM, then SIGKILL after @grace_ms; waits until it is gone and reaps it
 * @grace_ms 0: SIGKILL at once. Accepts one that has ended, and none. @h is none afterwards.
 * Return: how it ended, as waitid(2) has it in si_code and si_status; code 0 where it was no child.
 */
struct ctl_exit {
	int code, status;
} ctl_helper_end(struct ctl_helper *h, int grace_ms);

/* "exit status 3" or "signal 9 (Killed)"; "ended" where that is not known. */
void ctl_exit_text(struct ctl_exit x, char *buf, size_t cap);

#endif
