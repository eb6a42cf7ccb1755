// SPDX-License-Identifier: Apache-2.0
// Sandboxes that go when their machine has ended.
#include "ctl/auto_remove.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/conf.h"
#include "ctl/policy.h"
#include "ctl/thread.h"

#include <stdio.h>

static void note(struct ctl_sandbox *sb, bool ran)
{
	if (sb->ran == ran)
		return;
	sb->ran = ran;
	ctl_sandbox_fact(sb, ".ran", ran ? "1" : NULL);
}

void ctl_auto_remove_ran(struct ctl_sandbox *sb)
{
	note(sb, true);
}

static void *clear(void *arg)
{
	struct ctl_sandbox *sb = arg;
	struct ctl *c = sb->c;

	ctl_sandbox_clear(sb);
	LOCK_SCOPE(&c->lock);
	c->nops--;
	pthread_cond_broadcast(&c->changed);
	return NULL;
}

/* Whether its machine has ended, and nobody is about to start another. */
static bool is_over(const struct ctl_sandbox *sb)
{
	return sb->ran && !sb->gone && !sb->op && ctl_state_ended(sb->state) &&
	       !sb->restart_at_ms && !sb->restarting &&
	       !(sb->c->stopping_all && ctl_policy_wants(sb));
}

bool ctl_auto_remove(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	if (!is_over(sb))
		return false;
	if (*ctl_conf_value(sb, CONF_AUTO_REMOVE) != '1') {
		note(sb, false);
		return false;
	}
	if (ctl_sandbox_take(sb, "auto_remove", &e) < 0) {
		log_err("%s: cannot be removed; the next msbd tries again: %s", sb->name, e.msg);
		(void)snprintf(sb->error, sizeof(sb->error), "%s", e.msg);
		return false;
	}
	log_info("%s: removed, as its machine has ended", sb->name);
	sb->c->nops++; /* who ends msbd waits for it */
	if (ctl_thread(clear, sb) < 0) {
		log_err("%s: no thread to delete its files; the next msbd does", sb->name);
		sb->c->nops--;
	}
	return true;
}
