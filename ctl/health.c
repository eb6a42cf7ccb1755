// SPDX-License-Identifier: Apache-2.0
// Whether a sandbox is well: when it is looked at, and what was found.
#include "ctl/health.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "ctl/argv.h"
#include "ctl/conf.h"
#include "ctl/ended.h"
#include "ctl/image_names.h"
#include "ctl/images.h"
#include "ctl/meta.h"
#include "ctl/report.h"

#include <inttypes.h>
#include <string.h>

void ctl_health_init(struct ctl_health *h)
{
	*h = (struct ctl_health){.check.sock = -1};
}

static void forget_results(struct ctl_health *h)
{
	for (size_t i = 0; i < h->nlast; i++)
		msb_str_done(&h->last[i].output);
	h->nlast = 0;
}

void ctl_health_done(struct ctl_health *h)
{
	forget_results(h);
	if (h->check.sock >= 0)
		close(h->check.sock);
	msb_str_done(&h->check.output);
	free(h->set);
	free(h->words);
	free(h->image_words);
	ctl_health_init(h);
}

/* ---- what is to be done */

static uint64_t clamp(uint64_t v, uint64_t most)
{
	return v < most ? v : most;
}

void ctl_health_image(struct ctl_sandbox *sb, const struct ctl_meta *m)
{
	struct ctl_health *h = &sb->health;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};

	for (char *const *p = m->health; p && *p && s.len <= CTL_MAX_ARGV_BYTES; p++)
		msb_str_add(&s, *p, strlen(*p) + 1);
	free(h->image_words);
	h->image_words = NULL;
	h->image_bytes = 0;
	/* Its author chose them: what is none is no reason not to start. */
	if (s.oom || s.len > CTL_MAX_ARGV_BYTES)
		log_warn("%s: its image's health check is longer than %d bytes, ignoring", sb->name,
			CTL_MAX_ARGV_BYTES);
	else if (s.len && ctl_health_form(s.buf, s.len, &e) < 0)
		log_warn("%s: its image's health check is none: %s, ignoring", sb->name, e.msg);
	else if (s.len) {
		h->image_bytes = s.len;
		h->image_words = steal_ptr(s.buf);
		s = (struct msb_str)MSB_STR_INIT;
	}
	h->image = (struct ctl_health_rule){clamp(m->health_interval_sec, CTL_MAX_HEALTH_SEC),
		clamp(m->health_timeout_sec, CTL_MAX_HEALTH_SEC),
		clamp(m->health_start_sec, CTL_MAX_HEALTH_SEC),
		clamp(m->health_retries, CTL_MAX_HEALTH_RETRIES),
		clamp(m->health_start_interval_sec, CTL_MAX_HEALTH_SEC)};
}

void ctl_health_load(struct ctl_sandbox *sb)
{
	_cleanup_(ctl_meta_done) struct ctl_meta meta = {0};
	const struct ctl_pin *pin;
	struct msb_err e = {0};
	char digest[65] = "";

	pthread_mutex_lock(&sb->c->lock);
	pin = ctl_pin_find(sb, "");
	if (pin)
		memcpy(digest, pin->digest, sizeof(digest));
	pthread_mutex_unlock(&sb->c->lock);
	if (digest[0] && ctl_image_meta(sb->c, digest, &meta, &e) < 0)
		log_warn("%s: what its image says of health is not known: %s", sb->name, e.msg);
	LOCK_SCOPE(&sb->c->lock);
	ctl_health_image(sb, &meta);
}

/* A number of the sandbox, or its image, or of everybody. */
static uint64_t number(
	const struct ctl_sandbox *sb, enum ctl_conf_id id, uint64_t image, uint64_t other)
{
	const char *text = ctl_conf_value(sb, id);
	uint64_t v;

	if (*text && msb_parse_u64(text, 0, UINT32_MAX, &v) == 0) /* it was checked */
		return v;
	return image ?: other;
}

static struct ctl_health_rule rule_of(const struct ctl_sandbox *sb)
{
	const struct ctl_health_rule *i = &sb->health.image;

	return (struct ctl_health_rule){.interval_sec = number(sb, CONF_HEALTH_INTERVAL,
						i->interval_sec, CTL_HEALTH_INTERVAL_SEC),
		.timeout_sec =
			number(sb, CONF_HEALTH_TIMEOUT, i->timeout_sec, CTL_HEALTH_TIMEOUT_SEC),
		.start_sec = number(sb, CONF_HEALTH_START, i->start_sec, 0),
		.retries = number(sb, CONF_HEALTH_RETRIES, i->retries, CTL_HEALTH_RETRIES),
		.start_interval_sec =
			number(sb, CONF_HEALTH_START_INTERVAL, i->start_interval_sec, 0)};
}

/* Takes up the value as it is now. -ENOMEM, and it is tried again at the next look. */
static int take_value(struct ctl_sandbox *sb)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	const char *text = ctl_conf_value(sb, CONF_HEALTHCHECK);
	struct ctl_health *h = &sb->health;
	_cleanup_free_ char *set = strdup(text);
	int form;

	if (*text) /* it was checked */
		(void)ctl_argv_from_json("healthcheck", text, strlen(text), &s, NULL);
	else if (h->image_words)
		msb_str_add(&s, h->image_words, h->image_bytes);
	if (!set || s.oom)
		return -ENOMEM;
	form = s.len ? ctl_health_form(s.buf, s.len, NULL) : HEALTH_FORM_NONE;
	free(h->set);
	free(h->words);
	h->set = steal_ptr(set);
	h->form = form < 0 ? HEALTH_FORM_NONE : (enum ctl_health_form)form;
	h->bytes = s.len;
	h->words = steal_ptr(s.buf);
	s = (struct msb_str)MSB_STR_INIT;
	return 0;
}

/* ---- what it is */

static void become(struct ctl_sandbox *sb, enum ctl_health_status s)
{
	enum ctl_health_status old = sb->health.status;

	if (s == old)
		return;
	sb->health.status = s;
	sb->health.changes++;
	ctl_sandbox_fact(sb, ".health", s == HEALTH_NONE ? NULL : ctl_health_name(s));
	ctl_event(sb->c, sb, "health", ",\"old\":\"%s\",\"new\":\"%s\"", ctl_health_name(old),
		ctl_health_name(s));
}

/* Without a machine it is nothing. */
static void off(struct ctl_sandbox *sb)
{
	struct ctl_health *h = &sb->health;

	ctl_health_drop(sb);
	free(h->set);
	h->set = NULL;
	h->failing = 0;
	become(sb, HEALTH_NONE);
}

static void start(struct ctl_sandbox *sb, uint64_t now)
{
	struct ctl_health *h = &sb->health;

	ctl_health_drop(sb);
	if (take_value(sb) < 0)
		return;
	forget_results(h);
	h->failing = 0;
	h->since_ms = h->last_ms = now;
	become(sb, h->form == HEALTH_FORM_NONE ? HEALTH_NONE : HEALTH_STARTING);
}

void ctl_health_recovered(struct ctl_sandbox *sb, uint64_t now, uint64_t ran_ms)
{
	struct ctl_health *h = &sb->health;

	if (sb->foreign || take_value(sb) < 0)
		return;
	h->since_ms = now > ran_ms ? now - ran_ms : 0;
	h->last_ms = now;
	if (h->form == HEALTH_FORM_NONE)
		become(sb, HEALTH_NONE);
	else if (h->status == HEALTH_NONE)
		become(sb, HEALTH_STARTING);
	/* One that failed so often need not fail so often again. */
	if (h->status == HEALTH_UNHEALTHY)
		h->failing = (unsigned int)rule_of(sb).retries;
}

void ctl_health_result(struct ctl_sandbox *sb, const char *reason, int exit_code, const char *error)
{
	struct ctl_health *h = &sb->health;
	const struct ctl_health_rule rule = rule_of(sb);
	struct ctl_health_check *k = &h->check;
	struct ctl_health_result *x;
	uint64_t now = msb_now_ms(), begun = k->sock < 0 ? now : k->begun_ms;

	if (h->nlast == CTL_HEALTH_RESULTS) {
		msb_str_done(&h->last[0].output);
		memmove(&h->last[0], &h->last[1], --h->nlast * sizeof(h->last[0]));
	}
	x = &h->last[h->nlast++];
	*x = (struct ctl_health_result){.begun_usec = k->begun_usec,
		.ended_usec = ctl_now_usec(),
		.reason = reason,
		.exit_code = exit_code,
		.output = k->output,
		.cut = k->cut};
	(void)snprintf(x->error, sizeof(x->error), "%s", error); /* cut on purpose */
	k->output = (struct msb_str)MSB_STR_INIT;
	if (!x->begun_usec)
		x->begun_usec = x->ended_usec;
	h->last_ms = now;
	h->checks++;
	h->failures += exit_code != 0;
	become(sb, ctl_health_after(&rule, h->status, exit_code == 0,
			   begun > h->since_ms ? begun - h->since_ms : 0, &h->failing));
}

/* ---- when */

static uint64_t next_at(const struct ctl_sandbox *sb)
{
	const struct ctl_health *h = &sb->health;
	const struct ctl_health_rule rule = rule_of(sb);

	if (h->check.sock >= 0 && !h->check.late)
		return h->check.begun_ms + rule.timeout_sec * 1000;
	return h->last_ms + ctl_health_wait_ms(&rule, h->status, h->last_ms - h->since_ms);
}

uint64_t ctl_health_due(const struct ctl_sandbox *sb)
{
	if (sb->health.status == HEALTH_NONE || sb->state != ST_RUNNING)
		return UINT64_MAX;
	if (sb->op && sb->health.check.sock < 0)
		return UINT64_MAX; /* its end looks again */
	return next_at(sb);
}

static void check(struct ctl_sandbox *sb, uint64_t now)
{
	struct msb_err e = {0};
	int r = ctl_health_begin(sb, &e);

	if (r == 0)
		return;
	sb->health.last_ms = now;
	if (r == -E2BIG)
		ctl_health_result(sb, "refused", EXIT_SETUP, e.msg);
	else /* msb-agentd is not there: it is started again */
		log_warn("%s: its health cannot be looked at now: %s", sb->name, e.msg);
}

static void overdue(struct ctl_sandbox *sb)
{
	struct ctl_health_check *k = &sb->health.check;
	char why[96];

	if (k->late) {
		ctl_health_result(sb, "timeout", EXIT_TIMEOUT,
			"the check before it was killed, and has not ended yet");
		return;
	}
	(void)snprintf(
		why, sizeof(why), "it ran longer than %" PRIu64 " s", rule_of(sb).timeout_sec);
	ctl_health_result(sb, "timeout", EXIT_TIMEOUT, why);
	k->late = true;
	ctl_health_kill(sb);
}

void ctl_health_look(struct ctl_sandbox *sb, uint64_t now)
{
	struct ctl_health *h = &sb->health;

	if (sb->gone || sb->foreign || ctl_state_ended(sb->state)) {
		off(sb);
		return;
	}
	if (sb->state != ST_RUNNING) {
		ctl_health_drop(sb); /* once it goes on it has its time again */
		h->last_ms = now;
		return;
	}
	if (!h->set || strcmp(h->set, ctl_conf_value(sb, CONF_HEALTHCHECK)) != 0)
		start(sb, now);
	if (ctl_health_due(sb) > now)
		return;
	if (h->check.sock >= 0)
		overdue(sb);
	else
		check(sb, now);
}

/* ---- telling */

void ctl_health_print(const struct ctl_sandbox *sb, struct msb_str *s)
{
	for (size_t i = 0; i < sb->health.nlast; i++) {
		const struct ctl_health_result *x = &sb->health.last[i];

		msb_str_adds(s, "{\"start\":");
		ctl_json_time(s, x->begun_usec);
		msb_str_adds(s, ",\"end\":");
		ctl_json_time(s, x->ended_usec);
		msb_str_addf(s, ",\"exit_code\":%d,\"reason\":\"%s\"", x->exit_code, x->reason);
		if (x->error[0]) {
			msb_str_adds(s, ",\"error\":");
			msb_str_add_json(s, x->error, strlen(x->error));
		}
		msb_str_adds(s, ",\"output\":");
		msb_str_add_json(s, x->output.buf ?: "", x->output.len);
		msb_str_adds(s, x->cut ? ",\"cut\":true}\n" : "}\n");
	}
}
