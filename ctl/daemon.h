/* SPDX-License-Identifier: Apache-2.0 */
/* msbd's life as a process: one an instance, found and ended by its lock. */
#ifndef MSB_CTL_DAEMON_H
#define MSB_CTL_DAEMON_H

#include "base/err.h"
#include "base/paths.h"

#include <stdbool.h>
#include <sys/types.h>

/* Takes the lock of the instance for as long as the process lives. -EBUSY: @e names who holds it.
 */
int ctl_daemon_lock(const struct msb_paths *p, struct msb_err *e);
/* The process that holds it; 0: none. */
pid_t ctl_daemon_holder(const struct msb_paths *p);
/* Signals the holder and waits until it has ended. */
int ctl_daemon_stop(const struct msb_paths *p, bool all, struct msb_err *e);

/**
 * ctl_daemon_run() - Be msbd: take up the state, mount, serve until asked to end
 * @ready_fd: gets "ok" once requests are answered, then is closed; -1: none. The sentence of a
 * failure goes to @e.
 * @foreground: the log goes to stderr too
 */
int ctl_daemon_run(const struct msb_paths *p, bool foreground, int ready_fd, struct msb_err *e);

struct ctl;
/* Tells the service manager how many machines there are, where that is news; @ready: also that
 * requests are answered. Takes ctl.lock. */
void ctl_daemon_status(struct ctl *c, bool ready);

#endif
