// SPDX-License-Identifier: Apache-2.0
// What a health check is, and what follows from how it ends: docker's rules.
#include "ctl/health.h"
#include "base/cleanup.h"
#include "base/err.h"

#include <string.h>

static const char *const names[] = {"none", "starting", "healthy", "unhealthy"};

const char *ctl_health_name(enum ctl_health_status s)
{
	return names[s];
}

enum ctl_health_status ctl_health_named(const char *name)
{
	for (int i = HEALTH_STARTING; i <= HEALTH_UNHEALTHY; i++)
		if (!strcmp(names[i], name))
			return (enum ctl_health_status)i;
	return HEALTH_NONE;
}

int ctl_health_form(const char *words, size_t bytes, struct msb_err *e)
{
	size_t n = 0;

	for (size_t at = 0; at < bytes; at += strnlen(words + at, bytes - at) + 1)
		n++;
	if (n == 0 || words[bytes - 1])
		return msb_err_set(e, EINVAL, "it is empty");
	if (!strcmp(words, "NONE"))
		return n == 1 ? HEALTH_FORM_NONE
			      : msb_err_set(e, EINVAL, "nothing comes after NONE");
	if (!strcmp(words, "CMD"))
		return n > 1 && words[strlen("CMD") + 1]
			       ? HEALTH_FORM_CMD
			       : msb_err_set(e, EINVAL, "a program comes after CMD");
	if (!strcmp(words, "CMD-SHELL"))
		return n == 2 && words[strlen("CMD-SHELL") + 1]
			       ? HEALTH_FORM_SHELL
			       : msb_err_set(e, EINVAL, "one line comes after CMD-SHELL");
	return msb_err_set(
		e, EINVAL, "its first word is CMD, CMD-SHELL or NONE, not `%.64s`", words);
}

/* A failure while it starts says nothing yet. */
static bool excused(const struct ctl_health_rule *r, enum ctl_health_status s, uint64_t since_ms)
{
	return s == HEALTH_STARTING && since_ms < r->start_sec * 1000;
}

enum ctl_health_status ctl_health_after(const struct ctl_health_rule *r,
	enum ctl_health_status status, bool good, uint64_t since_ms, unsigned int *failing)
{
	if (good) {
		*failing = 0;
		return HEALTH_HEALTHY;
	}
	if (excused(r, status, since_ms))
		return status;
	++*failing;
	return *failing >= r->retries ? HEALTH_UNHEALTHY : status;
}

uint64_t ctl_health_wait_ms(
	const struct ctl_health_rule *r, enum ctl_health_status status, uint64_t since_ms)
{
	uint64_t sec = r->interval_sec;

	if (excused(r, status, since_ms) && r->start_interval_sec)
		sec = r->start_interval_sec;
	else if (excused(r, status, since_ms) && sec > CTL_HEALTH_START_INTERVAL_SEC)
		sec = CTL_HEALTH_START_INTERVAL_SEC;
	return sec * 1000;
}
