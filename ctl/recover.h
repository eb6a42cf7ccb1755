/* SPDX-License-Identifier: Apache-2.0 */
/* Taking up again what an earlier msbd left. */
#ifndef MSB_CTL_RECOVER_H
#define MSB_CTL_RECOVER_H

#include "ctl/model.h"

/* Detaches control mounts at c->paths.mnt that nobody serves any more. The caller holds the lock of
 * the instance: nobody does. */
void ctl_recover_mount(const struct ctl *c);

/**
 * ctl_recover() - Compare what the state file says with what is there
 * Machines that run are running again, those that vanished failed; half-done starts are cleared
 * away; directories and helpers of sandboxes that are gone are removed. Before the first request.
 */
void ctl_recover(struct ctl *c);

#endif
