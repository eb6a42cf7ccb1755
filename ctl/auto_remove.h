/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `auto_remove`: a sandbox that goes when its machine has ended.
 *
 * That a machine has run is written down, and taken back once its end was settled otherwise. So one
 * whose msbd was killed between the two is removed by the next msbd, and one that is told to go
 * while it has no machine stays until it has had another.
 *
 * All with ctl.lock held.
 */
#ifndef MSB_CTL_AUTO_REMOVE_H
#define MSB_CTL_AUTO_REMOVE_H

#include "ctl/model.h"

void ctl_auto_remove_ran(struct ctl_sandbox *sb); /* its machine runs */

/**
 * ctl_auto_remove() - Look whether a sandbox is to go now
 * Where its machine has ended and nothing starts it again it is gone when this returns, as with
 * rmdir; its files are deleted by a thread. Nothing where that is not so.
 * Return: whether it has gone.
 */
bool ctl_auto_remove(struct ctl_sandbox *sb);

#endif
