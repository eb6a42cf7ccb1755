/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The programs of plugin mounts. Each is a process of the sandbox's owner, in a session of its own,
 * with a socket to the file server as descriptor 3, and a thread of msbd that looks after it: logs
 * what it prints, starts it again when it has ended or no longer answers (limits.h says how often),
 * and ends it with its mount. It knows nothing of msbd: a new msbd starts it anew.
 */
#ifndef MSB_CTL_PLUGIN_H
#define MSB_CTL_PLUGIN_H

#include "ctl/mounts.h"

/**
 * ctl_plugin_start() - Start the program of a mount
 * @ret_sock: the file server's end, the caller's
 * Errors: -ENOENT, -EACCES, -ENOEXEC as execve(2) has it for the sandbox's owner; -EEXIST is none:
 * what ran under that name is ended first. Takes ctl.lock.
 */
int ctl_plugin_start(
	struct ctl_sandbox *sb, const struct ctl_share *s, int *ret_sock, struct msb_err *e);
/* After a restart of msbd: starts it again, as if it had ended, for a mount that is still served.
 */
int ctl_plugin_resume(struct ctl_sandbox *sb, const struct ctl_share *s, struct msb_err *e);
/* Ends it; fine where there is none. Does not wait for its end. Takes ctl.lock. */
void ctl_plugin_stop(struct ctl_sandbox *sb, const char *name);
void ctl_plugins_stop(struct ctl_sandbox *sb); /* all of them */
/* After a restart of msbd: ends what is left of sandbox or image @id, by what is noted down. */
void ctl_plugins_end_stale(struct ctl *c, const char *id);

#endif
