/* SPDX-License-Identifier: Apache-2.0 */
/* Between reading and writing an open file. */
#ifndef MSB_CTL_HANDLE_INT_H
#define MSB_CTL_HANDLE_INT_H

#include "ctl/handle.h"

/* Takes the command of an exec for a while; -EBUSY: another thread has. */
int ctl_handle_take(struct ctl_handle *h, struct ctl_command **ret, struct msb_err *e);
/* Gives it back, or another. */
void ctl_handle_give(struct ctl_handle *h, struct ctl_command *j);

#endif
