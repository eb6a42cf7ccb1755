/* SPDX-License-Identifier: Apache-2.0 */
/* What is done to all sandboxes at once: stopping everything, and clearing away what has ended. */
#ifndef MSB_CTL_INSTANCE_H
#define MSB_CTL_INSTANCE_H

#include "ctl/model.h"

/**
 * ctl_stop_everything() - Stop every machine in order, then end every file server
 * From then on nothing starts. Who had started what stays noted: the next msbd starts again what
 * `restart` says, as after the host's own shutdown. Waits as long as `stop_timeout_sec` lets it.
 */
void ctl_stop_everything(struct ctl *c);

/* `shutdown`: the same; msbd ends once the write is answered, which ctl_answered() is told. */
int ctl_shutdown(const struct ctl_req *q, struct msb_err *e);
void ctl_answered(struct ctl *c);

/**
 * ctl_prune() - `prune`: remove sandboxes that have ended, and collect the store's garbage
 * Those alone that are `stopped` or `failed` and that nothing starts again: one that was never
 * started, or whose `restart` policy wants it, stays. Volumes and names of images stay.
 * Errors: -EINTR; ctl_gc()'s. One that is used meanwhile is left.
 */
int ctl_prune(const struct ctl_req *q, struct msb_err *e);

#endif
