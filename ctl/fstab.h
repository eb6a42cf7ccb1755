/* SPDX-License-Identifier: Apache-2.0 */
/* One line of `mounts`: SOURCE GUEST-PATH BACKEND OPTIONS. Pure functions over bytes. */
#ifndef MSB_CTL_FSTAB_H
#define MSB_CTL_FSTAB_H

#include "base/err.h"
#include "base/str.h"
#include "ctl/line.h"

#include <stdbool.h>

#define CTL_MAX_GUEST_PATH 1024 /* bytes */

struct ctl_mount {
	const char *source, *path, *backend; /* into words */
	bool readonly;
	struct ctl_words words;
};

/**
 * ctl_mount_parse() - Parse a line of fstab(5) syntax
 * Options: a comma list of ro, rw, defaults; may be absent. The source is an absolute host path,
 * the guest path absolute and without ., .. or empty components, and not / itself. Return: 1 a
 * mount; 0 a blank line or a comment; -EINVAL; -E2BIG; -EOPNOTSUPP unknown backend.
 */
int ctl_mount_parse(const char *line, size_t len, struct ctl_mount *ret, struct msb_err *e);

/* Appends the line that stands for @m, with its newline. */
void ctl_mount_print(struct msb_str *s, const struct ctl_mount *m);

#endif
