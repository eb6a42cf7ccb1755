// SPDX-License-Identifier: Apache-2.0
// Telling users: events and errors.
#include "ctl/report.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/handle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

void ctl_json_time(struct msb_str *s, uint64_t usec)
{
	time_t sec = (time_t)(usec / 1000000);
	struct tm tm;

	gmtime_r(&sec, &tm);
	msb_str_addf(s, "\"%04d-%02d-%02dT%02d:%02d:%02d.%06uZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned int)(usec % 1000000));
}

static void append(
	struct ctl_ring *ring, struct ctl_sandbox *sb, const char *kind, const char *more)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	msb_str_addf(&s, "{\"seq\":%" PRIu64 ",\"time\":", ring->next);
	ctl_json_time(&s, ctl_now_usec());
	if (sb)
		msb_str_addf(&s, ",\"sandbox\":\"%s\",\"id\":\"%s\"", sb->name, sb->id);
	msb_str_addf(&s, ",\"event\":\"%s\"%s}\n", kind, more);
	if (!s.oom)
		(void)ctl_ring_add(ring, s.buf); /* out of memory: readers see a gap in seq */
}

void ctl_event(struct ctl *c, struct ctl_sandbox *sb, const char *kind, const char *fmt, ...)
{
	_cleanup_free_ char *more = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&more, fmt, ap) < 0)
		more = NULL;
	va_end(ap);
	if (sb)
		append(&sb->events, sb, kind, more ?: "");
	append(&c->events, sb, kind, more ?: "");
	pthread_cond_broadcast(&c->changed);
	ctl_poll_wake(c, sb);
}

void ctl_notice(struct ctl *c, struct ctl_sandbox *sb, struct ctl_notes *notes, const char *kind,
	const char *members)
{
	uint64_t now = msb_now_ms();
	char more[40] = "";

	if (now - notes->since_ms >= CTL_NOTICES_MS) {
		notes->since_ms = now;
		notes->n = 0;
	}
	if (notes->n >= CTL_MAX_NOTICES) {
		notes->more++;
		return;
	}
	notes->n++;
	if (notes->more)
		(void)snprintf(more, sizeof(more), ",\"more\":%" PRIu64, notes->more);
	notes->more = 0;
	ctl_event(c, sb, kind, "%s%s", members, more);
}

/* Lock held. */
static void notice_error(const struct ctl_req *q, struct ctl_sandbox *sb, const char *path,
	const struct msb_err *err)
{
	struct ctl *c = q->c;
	bool denied = err->code == EPERM || err->code == EACCES;
	/* What was only asked not to wait, or interrupted, does not come here. */
	bool limit = err->code == EDQUOT || err->code == ENFILE || err->code == EAGAIN;
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	if (!denied && !limit)
		return;
	msb_str_addf(&s, ",\"uid\":%u,\"path\":", (unsigned int)q->uid);
	msb_str_add_json(&s, path, strlen(path));
	msb_str_addf(&s, ",\"errno\":\"%s\",\"message\":", strerrorname_np(err->code));
	msb_str_add_json(&s, err->msg, strlen(err->msg));
	ctl_notice(c, sb, denied ? &c->denied_notes : &c->limit_notes, denied ? "denied" : "limit",
		s.buf ?: "");
}

void ctl_error(const struct ctl_req *q, struct ctl_sandbox *sb, const char *path,
	const struct msb_err *err)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl *c = q->c;

	log_info("%s: %s (%s)", path, err->msg, strerrorname_np(err->code) ?: "?");
	LOCK_SCOPE(&c->lock);
	msb_str_addf(&s, "{\"seq\":%" PRIu64 ",\"time\":", c->errors.next);
	ctl_json_time(&s, ctl_now_usec());
	msb_str_addf(&s, ",\"pid\":%d,\"uid\":%u,\"path\":", (int)q->pid, (unsigned int)q->uid);
	msb_str_add_json(&s, path, strlen(path));
	msb_str_addf(&s, ",\"errno\":\"%s\",\"message\":", strerrorname_np(err->code) ?: "EIO");
	msb_str_add_json(&s, err->msg, strlen(err->msg));
	msb_str_adds(&s, "}\n");
	if (!s.oom)
		(void)ctl_ring_add(&c->errors, s.buf); /* out of memory: a gap in seq */
	memcpy(c->error, err->msg, sizeof(c->error));
	if (sb)
		memcpy(sb->error, err->msg, sizeof(sb->error));
	notice_error(q, sb, path, err);
	ctl_poll_wake(c, sb);
}
