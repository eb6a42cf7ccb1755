/* SPDX-License-Identifier: Apache-2.0 */
/* What msb-agentd and msb-fsd tell of a guest that nobody asked for, as events of its sandbox. */
#ifndef MSB_CTL_NEWS_H
#define MSB_CTL_NEWS_H

#include "ctl/model.h"

/* Takes what has come on sb->news_fd, and closes it at its end. ctl.lock held; the supervisor's
 * thread alone. */
void ctl_news_read(struct ctl_sandbox *sb);

/* The same for sb->denied_fd. */
void ctl_denied_read(struct ctl_sandbox *sb);

/* The guest cannot be spoken to any more, or not for a while; ctl.lock held. */
void ctl_agent_lost(struct ctl_sandbox *sb, const char *reason);

#endif
