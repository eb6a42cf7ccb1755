/* SPDX-License-Identifier: Apache-2.0 */
/* One line of `mounts`: SOURCE GUEST-PATH BACKEND OPTIONS. Pure functions over bytes. */
#ifndef MSB_CTL_FSTAB_H
#define MSB_CTL_FSTAB_H

#include "base/err.h"
#include "base/str.h"
#include "ctl/line.h"
#include "fs/fsd.h"
#include "fs/options.h"

#include <stdbool.h>

#define CTL_MAX_GUEST_PATH 1024 /* bytes */

#define CTL_BACKEND_DISK "disk" /* of no file server: a volume that the machine has as a disk */

struct ctl_mount {
	const char *source, *path, *backend; /* into words */
	const char *volume;		     /* the same: of a source `volume:NAME`; NULL */
	struct fsb_options options;
	struct ctl_words words;
};

/**
 * ctl_mount_parse() - Parse a line of fstab(5) syntax
 * The source is what the backend takes: passthrough an absolute host path of a directory, or
 * `volume:NAME`, disk a `volume:NAME`, plugin
 * one of a program, image and overlay the name of an image, memory `none`. The guest path is
 * absolute and without ., .. or empty components, and not / itself. Options: see fs/options.h; may
 * be absent.
 * Return: 1 a mount; 0 a blank line or a comment; -EINVAL; -E2BIG; -ERANGE; -EOPNOTSUPP unknown
 * backend.
 */
int ctl_mount_parse(const char *line, size_t len, struct ctl_mount *ret, struct msb_err *e);

/* Whether @path is one in the guest as above: 0; -EINVAL; -E2BIG CTL_MAX_GUEST_PATH. */
int ctl_guest_path_check(const char *path, struct msb_err *e);

/* Appends the line that stands for @m, with its newline. May be longer than what can be written. */
void ctl_mount_print(struct msb_str *s, const struct ctl_mount *m);

/* The name that a printed line (@n bytes, no newline) has in the file server: of all its words, so
 * that a changed line is another mount. */
void ctl_mount_name(const char *line, size_t n, char ret[FSD_MAX_MOUNT_NAME + 1]);

#endif
