/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a sandbox by itself: it is started again (`restart`), stopped when its time is
 * over (`max_duration_sec`, `idle_timeout_sec`), looked at for its health (ctl/health.h).
 *
 * Theory of operation: whatever is due lies in the sandbox as a time. One timer of the supervisor
 * is set to the nearest of all; when it fires, every sandbox is looked at. Nothing is set anew for
 * what happens often: a command only notes when it ended, and the timer looks at that.
 *
 * All with ctl.lock held.
 */
#ifndef MSB_CTL_POLICY_H
#define MSB_CTL_POLICY_H

#include "ctl/op.h"

enum ctl_restart_kind { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS, RESTART_UNLESS_STOPPED };

struct ctl_restart_policy {
	enum ctl_restart_kind kind;
	unsigned int max; /* of RESTART_ON_FAILURE: tries in a row; 0: any number */
};

/* no, on-failure, on-failure:N, always, unless-stopped. -EINVAL. */
int ctl_restart_parse(const char *text, struct ctl_restart_policy *ret);

/**
 * ctl_restart_delay_ms() - Whether and when a sandbox whose machine ended by itself starts again
 * @failed: it ended as `failed`; @tries: starts in a row since it last ran for CTL_RESTART_GOOD_MS
 * Return: milliseconds, twice as many each time up to CTL_RESTART_MAX_MS; -1: it does not.
 */
int ctl_restart_delay_ms(const struct ctl_restart_policy *p, bool failed, unsigned int tries);

/* A verb has ended so; the state is the new one. @own: nobody asked for it. */
void ctl_policy_settled(struct ctl_sandbox *sb, enum ctl_verb v, int result, bool own);
/* Somebody stops or kills it while no machine is there: it does not start by itself. */
void ctl_policy_cancel(struct ctl_sandbox *sb);
/* Jobs and commands that run in it. */
unsigned int ctl_policy_busy(const struct ctl_sandbox *sb);
/* Whether a new msbd would start it. */
bool ctl_policy_wants(const struct ctl_sandbox *sb);
/* A new msbd has looked at every sandbox. */
void ctl_policy_recovered(struct ctl *c);
/* A value was changed, or something is due: looks at all of it. */
void ctl_policy_run(struct ctl *c);

#endif
