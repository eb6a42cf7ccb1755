// SPDX-License-Identifier: Apache-2.0
// What msb-agentd and msb-fsd tell of a guest that nobody asked for.
#include "ctl/news.h"
#include "base/cleanup.h"
#include "base/msg.h"
#include "base/str.h"
#include "ctl/report.h"
#include "fs/fsd.h"

#include <errno.h>
#include <string.h>

#define MESSAGES_AT_ONCE 16 /* then others have their turn: the descriptor stays readable */
#define REASON_MAX	 256

/* While somebody ends the machine its agent goes, and that is no news. */
static bool expected(const struct ctl_sandbox *sb)
{
	return sb->state != ST_RUNNING && sb->state != ST_PAUSED;
}

/* The peer parses a guest's bytes: anything may stand in it. */
static void take(struct ctl_sandbox *sb, const struct msb_msg *m)
{
	const char *kind = msb_msg_get(m, "kind") ?: "", *reason = msb_msg_get(m, "reason") ?: "";

	if (strcmp(msb_msg_verb(m), "event") != 0)
		return; /* that it has heard us */
	if (!strcmp(kind, "ready") && sb->agent_told) {
		sb->agent_told = false;
		ctl_notice(sb->c, sb, &sb->agent_notes, "agent_ready", "");
	}
	if (!strcmp(kind, "lost") && !expected(sb))
		ctl_agent_lost(sb, reason);
	else if (!strcmp(kind, "oom"))
		ctl_notice(sb->c, sb, &sb->oom_notes, "oom", "");
}

void ctl_agent_lost(struct ctl_sandbox *sb, const char *reason)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	sb->agent_told = true;
	msb_str_adds(&s, ",\"reason\":");
	msb_str_add_json(&s, reason, strnlen(reason, REASON_MAX));
	ctl_notice(sb->c, sb, &sb->agent_notes, "agent_lost", s.buf ?: "");
}

void ctl_news_read(struct ctl_sandbox *sb)
{
	static struct msb_msg m; /* too large for a small stack; one thread comes here */

	for (int i = 0; i < MESSAGES_AT_ONCE && sb->news_fd >= 0; i++) {
		int r = msb_msg_recv(sb->news_fd, &m);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			close(sb->news_fd);
			sb->news_fd = -1;
			return;
		}
		msb_msg_close_fds(&m);
		take(sb, &m);
	}
}

static void denied(struct ctl_sandbox *sb, const struct fsd_denied *x)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	msb_str_adds(&s, ",\"mount\":");
	msb_str_add_json(&s, x->mount, strlen(x->mount));
	msb_str_adds(&s, ",\"path\":");
	msb_str_add_json(&s, x->path, strlen(x->path));
	msb_str_addf(&s, ",\"op\":\"%s\",\"errno\":\"%s\",\"guest_uid\":", x->op,
		strerrorname_np(x->error));
	if (x->uid == FSD_UNKNOWN_ID)
		msb_str_adds(&s, "null");
	else
		msb_str_addf(&s, "%u", x->uid);
	msb_str_addf(&s, ",\"guest_pid\":%u", x->pid);
	sb->denied_notes.more += x->more;
	ctl_notice(sb->c, sb, &sb->denied_notes, "denied", s.buf ?: "");
}

void ctl_denied_read(struct ctl_sandbox *sb)
{
	struct fsd_denied x;

	for (int i = 0; i < MESSAGES_AT_ONCE && sb->denied_fd >= 0; i++) {
		int r = fsd_watch_next(sb->denied_fd, &x);

		if (r == -EAGAIN)
			return;
		if (r > 0)
			denied(sb, &x);
		if (r < 0) { /* it has ended, or says what makes no sense */
			close(sb->denied_fd);
			sb->denied_fd = -1;
		}
	}
}
