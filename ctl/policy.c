// SPDX-License-Identifier: Apache-2.0
// Starting again and stopping by themselves.
#include "ctl/policy.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/auto_remove.h"
#include "ctl/conf.h"
#include "ctl/job.h"
#include "ctl/report.h"
#include "ctl/run_main.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/timerfd.h>

int ctl_restart_parse(const char *text, struct ctl_restart_policy *ret)
{
	static const char limited[] = "on-failure:";
	uint64_t n;

	*ret = (struct ctl_restart_policy){.kind = RESTART_NO};
	if (strcmp(text, "no") == 0)
		return 0;
	if (strcmp(text, "always") == 0)
		ret->kind = RESTART_ALWAYS;
	else if (strcmp(text, "unless-stopped") == 0)
		ret->kind = RESTART_UNLESS_STOPPED;
	else if (strcmp(text, "on-failure") == 0)
		ret->kind = RESTART_ON_FAILURE;
	else if (strncmp(text, limited, strlen(limited)) == 0 &&
		 msb_parse_u64(text + strlen(limited), 1, CTL_MAX_RESTART_TRIES, &n) == 0)
		*ret = (struct ctl_restart_policy){RESTART_ON_FAILURE, (unsigned int)n};
	else
		return -EINVAL;
	return 0;
}

int ctl_restart_delay_ms(const struct ctl_restart_policy *p, bool failed, unsigned int tries)
{
	if (p->kind == RESTART_NO || (p->kind == RESTART_ON_FAILURE && !failed) ||
		(p->max && tries >= p->max))
		return -1;
	return tries < 16 && CTL_RESTART_FIRST_MS << tries < CTL_RESTART_MAX_MS
		       ? CTL_RESTART_FIRST_MS << tries
		       : CTL_RESTART_MAX_MS;
}

static struct ctl_restart_policy policy_of(const struct ctl_sandbox *sb)
{
	struct ctl_restart_policy p;

	(void)ctl_restart_parse(ctl_conf_value(sb, CONF_RESTART), &p); /* it was checked */
	return p;
}

static uint64_t seconds_of(const struct ctl_sandbox *sb, enum ctl_conf_id id)
{
	uint64_t v = 0;

	(void)msb_parse_u64(ctl_conf_value(sb, id), 0, UINT32_MAX, &v); /* it was checked */
	return v;
}

static void want(struct ctl_sandbox *sb, bool wanted)
{
	if (sb->started_once && sb->wanted == wanted)
		return;
	sb->wanted = wanted;
	sb->started_once = true;
	ctl_sandbox_fact(sb, ".wanted", wanted ? "1" : "0");
}

static void schedule(struct ctl_sandbox *sb, bool failed)
{
	const struct ctl_restart_policy p = policy_of(sb);
	int delay = ctl_restart_delay_ms(&p, failed, sb->restart_tries);

	if (delay < 0) {
		if (p.kind == RESTART_ON_FAILURE && failed)
			ctl_event(
				sb->c, sb, "restart_given_up", ",\"tries\":%u", sb->restart_tries);
		return;
	}
	sb->restart_tries++;
	sb->restart_at_ms = msb_now_ms() + (uint64_t)delay;
	ctl_event(sb->c, sb, "restart", ",\"in_ms\":%d,\"try\":%u", delay, sb->restart_tries);
}

/* ---- when something is due: monotonic milliseconds, UINT64_MAX never */

unsigned int ctl_policy_busy(const struct ctl_sandbox *sb)
{
	unsigned int n = sb->commands;

	for (const struct ctl_job *j = sb->jobs; j; j = j->next)
		n += j->state == JOB_STARTING || j->state == JOB_RUNNING;
	return n;
}

/* How long its machine has run: by its process, as the host's clock may be set, and msbd another.
 */
static uint64_t ran_ms(const struct ctl_sandbox *sb)
{
	uint64_t since = sb->qemu.start_ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK), now;
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	return since && now > since ? now - since : 0;
}

static uint64_t over_at(const struct ctl_sandbox *sb)
{
	uint64_t sec = seconds_of(sb, CONF_MAX_DURATION), ran;

	if (!sec)
		return UINT64_MAX;
	ran = ran_ms(sb);
	return msb_now_ms() + (ran < sec * 1000 ? sec * 1000 - ran : 0);
}

static uint64_t idle_at(const struct ctl_sandbox *sb)
{
	uint64_t sec = seconds_of(sb, CONF_IDLE_TIMEOUT);

	if (!sec || sb->state != ST_RUNNING)
		return UINT64_MAX;
	return (ctl_policy_busy(sb) ? msb_now_ms() : sb->active_ms) + sec * 1000;
}

static uint64_t due_at(const struct ctl_sandbox *sb)
{
	uint64_t at = UINT64_MAX, over, idle;

	if (sb->op)
		return at; /* its end looks again */
	if (ctl_state_ended(sb->state))
		return sb->restart_at_ms ?: at;
	over = over_at(sb);
	idle = idle_at(sb);
	return over < idle ? over : idle;
}

static void arm(struct ctl *c)
{
	struct itimerspec t = {0};
	uint64_t at = UINT64_MAX;

	for (size_t i = 0; i < c->nsb; i++) {
		uint64_t one = due_at(c->sb[i]), health = ctl_health_due(c->sb[i]);
		uint64_t rejoin = c->sb[i]->rejoin_at_ms ?: at;

		at = one < at ? one : at;
		at = rejoin < at ? rejoin : at;
		at = health < at ? health : at;
	}
	if (at != UINT64_MAX) {
		t.it_value.tv_sec = (time_t)(at / 1000);
		t.it_value.tv_nsec = (long)(at % 1000) * 1000000 + 1; /* 0 would be never */
	}
	if (c->policy_fd >= 0)
		(void)timerfd_settime(c->policy_fd, TFD_TIMER_ABSTIME, &t, NULL); /* a valid time */
}

static void start_again(struct ctl_sandbox *sb)
{
	struct msb_err e = {0};

	sb->restart_at_ms = 0;
	if (sb->c->ending)
		return;
	if (ctl_op_begin(sb, VERB_START, &e) < 0) {
		log_warn("%s: cannot be started again now: %s", sb->name, e.msg);
		schedule(sb, true);
	}
}

static void stop_now(struct ctl_sandbox *sb, const char *why)
{
	struct msb_err e = {0};

	log_info("%s: stopped: %s", sb->name, why);
	(void)snprintf(sb->stop_why, sizeof(sb->stop_why), "%s", why);
	if (ctl_op_begin(sb, VERB_STOP, &e) < 0)
		log_warn("%s: cannot be stopped now: %s", sb->name, e.msg);
}

static void look(struct ctl_sandbox *sb, uint64_t now)
{
	char why[96];

	ctl_health_look(sb, now);
	if (sb->rejoin_at_ms && sb->rejoin_at_ms <= now)
		ctl_jobs_rejoin_over(sb);
	if (due_at(sb) > now)
		return;
	if (ctl_state_ended(sb->state)) {
		start_again(sb);
	} else if (over_at(sb) <= now) {
		(void)snprintf(why, sizeof(why), "max_duration_sec: it ran for %" PRIu64 " s",
			seconds_of(sb, CONF_MAX_DURATION));
		stop_now(sb, why);
	} else {
		(void)snprintf(why, sizeof(why),
			"idle_timeout_sec: nothing ran in it for %" PRIu64 " s",
			seconds_of(sb, CONF_IDLE_TIMEOUT));
		stop_now(sb, why);
	}
}

void ctl_policy_run(struct ctl *c)
{
	uint64_t now = msb_now_ms();

	for (size_t i = 0; i < c->nsb; i++)
		look(c->sb[i], now);
	arm(c);
}

/* ---- what happened */

void ctl_policy_cancel(struct ctl_sandbox *sb)
{
	sb->restart_at_ms = 0;
	sb->restart_tries = 0;
	if (sb->started_once && !sb->c->stopping_all)
		want(sb, false);
	arm(sb->c);
}

static void started(struct ctl_sandbox *sb, bool own)
{
	char text[24];

	want(sb, true);
	ctl_auto_remove_ran(sb);
	sb->restart_at_ms = 0;
	sb->ran_since_ms = msb_now_ms();
	sb->active_ms = sb->ran_since_ms;
	(void)snprintf(text, sizeof(text), "%" PRIu64, sb->started_usec);
	ctl_sandbox_fact(sb, ".started_usec", text);
	if (!own)
		return;
	(void)snprintf(text, sizeof(text), "%u", ++sb->restarts);
	ctl_sandbox_fact(sb, ".restarts", text);
}

/* Whether it ran for long: until its command ended, where that is what it is for. What a machine
 * takes to stop then, or a slow host, is no time in which it was of use. */
static bool ran_well(const struct ctl_sandbox *sb)
{
	uint64_t end = ctl_main_is_over(sb) ? sb->main_ended_ms : msb_now_ms();

	return end > sb->ran_since_ms && end - sb->ran_since_ms >= CTL_RESTART_GOOD_MS;
}

void ctl_policy_settled(struct ctl_sandbox *sb, enum ctl_verb v, int result, bool own)
{
	switch (v) {
	case VERB_START:
		if (result == 0)
			started(sb, own);
		else if (result == -ECANCELED)
			ctl_policy_cancel(sb);
		else if (own)
			schedule(sb, true);
		break;
	case VERB_STOP:
	case VERB_KILL: ctl_policy_cancel(sb); break;
	default: /* its machine ended under another verb, or under none */
		if (!ctl_state_ended(sb->state))
			break;
		if (ran_well(sb))
			sb->restart_tries = 0;
		schedule(sb, sb->state == ST_FAILED);
		break;
	}
	ctl_health_look(sb, msb_now_ms());
	(void)ctl_auto_remove(sb); /* it may go, or stay */
	arm(sb->c);
}

bool ctl_policy_wants(const struct ctl_sandbox *sb)
{
	switch (policy_of(sb).kind) {
	case RESTART_ALWAYS: return sb->started_once;
	case RESTART_UNLESS_STOPPED: return sb->wanted;
	case RESTART_ON_FAILURE: return sb->wanted && sb->state == ST_FAILED;
	default: return false;
	}
}

void ctl_policy_recovered(struct ctl *c)
{
	for (size_t i = 0; i < c->nsb;) {
		struct ctl_sandbox *sb = c->sb[i];

		sb->ran_since_ms = msb_now_ms();
		sb->active_ms = sb->ran_since_ms;
		if (sb->rejoin_at_ms) /* the tree is there from now on */
			sb->rejoin_at_ms = sb->active_ms + CTL_REJOIN_MS;
		if (ctl_state_ended(sb->state) && !sb->op) {
			sb->started_usec = 0; /* of a machine that is no more */
			if (ctl_policy_wants(sb))
				schedule(sb, true);
			ctl_health_look(sb, sb->active_ms);
			if (ctl_auto_remove(sb))
				continue; /* another one is in its place */
		} else if (!ctl_state_ended(sb->state)) {
			ctl_health_recovered(sb, sb->active_ms, ran_ms(sb));
			ctl_auto_remove_ran(sb);
		}
		i++;
	}
	arm(c);
}
