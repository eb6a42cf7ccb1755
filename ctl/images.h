/* SPDX-License-Identifier: Apache-2.0 */
/* The image store, as its users see it: importing, removing, reading what the import wrote down. */
#ifndef MSB_CTL_IMAGES_H
#define MSB_CTL_IMAGES_H

#include "ctl/meta.h"
#include "ctl/model.h"

/**
 * ctl_image_import() - `import PATH NAME`; waits for its end
 * Errors: -EINVAL a bad name, or PATH is not absolute; -EEXIST; -ENOENT; -EBADMSG; -ENOSPC; -EINTR.
 */
int ctl_image_import(
	const struct ctl_req *q, const char *path, const char *name, struct msb_err *e);
/* `rm NAME`: -ENOENT; -EBUSY a sandbox uses it. What nothing refers to is deleted from the store.
 */
int ctl_image_remove(const struct ctl_req *q, const char *name, struct msb_err *e);
/* `gc`: deletes what nothing refers to. */
int ctl_image_gc(const struct ctl_req *q, struct msb_err *e);

/* Files of an image in the store; both wait for the disk. */
int ctl_image_meta(struct ctl *c, const char *digest, struct ctl_meta *ret, struct msb_err *e);
int ctl_image_config(struct ctl *c, const char *digest, struct msb_str *s, struct msb_err *e);

#endif
