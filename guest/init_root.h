/* SPDX-License-Identifier: Apache-2.0 */
/* What only PID 1 of a real guest does: mounts, the switch of roots, the end of everything. */
#ifndef MSB_GUEST_INIT_ROOT_H
#define MSB_GUEST_INIT_ROOT_H

#include "guest/ga.h"

#define GA_NEWROOT "/newroot"

extern const struct ga_ops ga_init_ops;

/* mount(2) of a kernel file system; makes the directory. A failure is in @e. */
int ga_mount_kernel_fs(const char *type, const char *path, unsigned long flags, const char *data,
	struct msb_err *e);

#endif
