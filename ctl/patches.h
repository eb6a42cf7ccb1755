/* SPDX-License-Identifier: Apache-2.0 */
/* `patches/`: files that are put into the root before its machine begins; see fs/patch.h. */
#ifndef MSB_CTL_PATCHES_H
#define MSB_CTL_PATCHES_H

#include "ctl/files.h"

/* Whether this root can have them, where there are any: -EOPNOTSUPP. Takes ctl.lock. */
int ctl_patches_check(struct ctl_sandbox *sb, bool served, struct msb_err *e);

/**
 * ctl_patches_apply() - Bring the root up to its patches; its file server is there
 * Each is done once; what was done before it fails is done again, or not, by the next call. Waits;
 * files.lock held. Errors: with the path in the root.
 */
int ctl_patches_apply(struct ctl_files_of *of, struct msb_err *e);

#endif
