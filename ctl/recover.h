/* SPDX-License-Identifier: Apache-2.0 */
/* Taking up again what an earlier msbd left. */
#ifndef MSB_CTL_RECOVER_H
#define MSB_CTL_RECOVER_H

#include "ctl/model.h"

/* Detaches control mounts at c->paths.mnt that nobody serves any more. -EBUSY an msbd with another
 * state directory does. */
int ctl_recover_mount(const struct ctl *c, struct msb_err *e);

/**
 * ctl_recover() - Compare what the state file says with what is there
 * Machines that run are running again, those that vanished failed; half-done starts are cleared
 * away; directories and helpers of sandboxes that are gone are removed. Before the first request.
 * Errors: whatever keeps it from finding machines that may run: nothing was changed.
 */
int ctl_recover(struct ctl *c, struct msb_err *e);

#endif
