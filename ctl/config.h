/* SPDX-License-Identifier: Apache-2.0 */
/* The whole configuration of a sandbox as one YAML document. */
#ifndef MSB_CTL_CONFIG_H
#define MSB_CTL_CONFIG_H

#include "ctl/model.h"

/* Appends it, defaults included, `generation` first; ctl.lock held. */
void ctl_config_print(const struct ctl_sandbox *sb, struct msb_str *s);
/* A line for each key whose value the running machine does not have yet; ctl.lock held. */
void ctl_config_pending(const struct ctl_sandbox *sb, struct msb_str *s);

/**
 * ctl_config_write() - Make a document the configuration: all of it, or nothing
 * Keys that it lacks get their defaults. Under a running machine `mounts` are exchanged at once,
 * what the next command sees holds at once, and the rest waits for the next start. Errors: -EINVAL,
 * -E2BIG syntax, with line and column; each key's own; -ESTALE its `generation` is not the present
 * one; -EBUSY a verb is under way, or a key cannot be changed now; ctl_mounts_write()'s.
 */
int ctl_config_write(const struct ctl_req *q, struct ctl_sandbox *sb, const char *p, size_t n,
	struct msb_err *e);

/* The machine has ended: nothing is pending any more; ctl.lock held. */
void ctl_config_settled(struct ctl_sandbox *sb);

#endif
