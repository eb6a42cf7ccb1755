/* SPDX-License-Identifier: Apache-2.0 */
/* What a sandbox's root is made of, said by how `image` is written. */
#ifndef MSB_CTL_ROOT_H
#define MSB_CTL_ROOT_H

#include "ctl/model.h"

enum ctl_root_kind {
	CTL_ROOT_NONE,
	CTL_ROOT_IMAGE, /* a reference */
	CTL_ROOT_DIR,	/* /dir: a directory of the host, with an overlay on top */
	CTL_ROOT_DISK,	/* /file.qcow2, /file.raw, /file.img: a disk of a machine */
};

enum ctl_root_kind ctl_root_kind(const char *image); /* "" and NULL: none */

/**
 * ctl_root_check() - `image` where it is a path, or looks like one; ctl.lock held
 * Nothing of the host is looked at: `start` does.
 * Errors: -EINVAL a relative path; options of the root that a disk cannot have; -EBUSY as for
 * images.
 */
int ctl_root_check(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e);
/* Whether @options, as `root_options` keeps them, fit a root of that kind: -EINVAL. */
int ctl_root_options_check(enum ctl_root_kind kind, const char *options, struct msb_err *e);

/* A tree of a directory of the host, opened: see fs/image/dir.h. -1: none. */
struct ctl_root_fds {
	int dir, index, files;
};
#define CTL_ROOT_NO_FDS                                                                            \
	{                                                                                          \
		-1, -1, -1                                                                         \
	}
void ctl_root_close(struct ctl_root_fds *fds);

/**
 * ctl_root_dir_open() - The directory @path below @sb's changes, as it was first walked for it
 * With the rights of @sb's owner. @fresh: forget the earlier walk: nothing of @sb lies on it.
 * Errors: -ENOENT, -EACCES, -ENOTDIR, -E2BIG, with a sentence. Blocks; files.lock held.
 */
int ctl_root_dir_open(struct ctl_sandbox *sb, const char *path, bool fresh,
	struct ctl_root_fds *ret, struct msb_err *e);

#endif
