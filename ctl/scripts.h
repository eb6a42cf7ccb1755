/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `scripts/` in the guest: a share of its own, read-only, that is mounted where there are scripts,
 * by `start` or when the first one comes. What is written later is in it at once.
 */
#ifndef MSB_CTL_SCRIPTS_H
#define MSB_CTL_SCRIPTS_H

#include "ctl/mounts.h"

#define CTL_SCRIPTS_SHARE "scripts"	     /* its name in the file server: no hash looks so */
#define CTL_SCRIPTS_PATH  "/run/msb-scripts" /* guest/ga_spawn.c has it first in PATH */

/* Adds the share to a table, where @sb has scripts; ctl.lock held. -ENOMEM. */
int ctl_scripts_share(const struct ctl_sandbox *sb, struct ctl_table *t);
bool ctl_scripts_is(const struct ctl_share *s);
/* The directory of scripts. */
int ctl_scripts_open(const struct ctl_sandbox *sb, int *ret, struct msb_err *e);

/**
 * ctl_scripts_live() - Have the share in the guest, where one runs
 * Errors: -EBUSY it is starting, or paused; what the file server or the guest says. Waits; takes
 * files.lock.
 */
int ctl_scripts_live(struct ctl_sandbox *sb, struct msb_err *e);

#endif
