/* SPDX-License-Identifier: Apache-2.0 */
/* Telling users: events and errors. */
#ifndef MSB_CTL_REPORT_H
#define MSB_CTL_REPORT_H

#include "ctl/model.h"

/**
 * ctl_event() - Append an event of @sb (NULL: of the instance) and wake who waits; lock held
 * @kind: what happened; @fmt: further JSON members, each preceded by a comma, or ""
 */
void ctl_event(struct ctl *c, struct ctl_sandbox *sb, const char *kind, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/**
 * ctl_notice() - The same of what a user or a guest may cause without end
 * @notes: of this kind: CTL_MAX_NOTICES in CTL_NOTICES_MS are told, the next one after them says by
 * "more" how many were not
 * @members: further JSON members, each preceded by a comma, or ""
 */
void ctl_notice(struct ctl *c, struct ctl_sandbox *sb, struct ctl_notes *notes, const char *kind,
	const char *members);

/* Keeps an error for `errors`, `error`, and @sb's `error` where it has one; a limit and a refusal
 * are events too. Takes the lock. */
void ctl_error(const struct ctl_req *q, struct ctl_sandbox *sb, const char *path,
	const struct msb_err *err);

void ctl_json_time(struct msb_str *s, uint64_t usec); /* "2026-01-31T12:00:00.000000Z" */

#endif
