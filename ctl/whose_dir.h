/* SPDX-License-Identifier: Apache-2.0 */
/* Relative paths that are written to the control tree: they are the writer's. */
#ifndef MSB_CTL_WHOSE_DIR_H
#define MSB_CTL_WHOSE_DIR_H

#include "base/str.h"
#include "ctl/model.h"

/**
 * ctl_absolute() - The path that a writer means
 * @path: absolute, or beginning with `./` or `../`: below the writer's working directory, who waits
 * in its write meanwhile. Nothing is opened: that is done with the writer's rights, as of any path.
 * Errors: -EINVAL neither, or the writer's directory cannot be told (it is removed, in another
 * root or mount namespace, or in the control tree); -ENAMETOOLONG. Threads: any.
 */
int ctl_absolute(const struct ctl_req *q, const char *path, struct msb_str *ret, struct msb_err *e);

/* Whether it begins with `./` or `../`, or is one of them without the slash. */
bool ctl_is_relative(const char *path);

#endif
