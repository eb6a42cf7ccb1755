/* SPDX-License-Identifier: Apache-2.0 */
/* What a sandbox is there to run: its entrypoint and its cmd, or its image's. */
#ifndef MSB_CTL_RUN_ARGV_H
#define MSB_CTL_RUN_ARGV_H

#include "base/str.h"
#include "ctl/model.h"

/**
 * ctl_run_argv() - The entrypoint, and behind it arguments, or the cmd
 * As docker has it: a sandbox's own entrypoint comes without the image's cmd.
 * @own, @own_bytes: the arguments, a NUL after each; none: the cmd
 * @ret: a NUL after each is appended
 * Reads the image's record: without ctl.lock. Errors: -EINVAL there is nothing to run; -E2BIG
 * CTL_MAX_ARGV_BYTES; -EIO the store.
 */
int ctl_run_argv(struct ctl_sandbox *sb, const char *own, size_t own_bytes, struct msb_str *ret,
	struct msb_err *e);

#endif
