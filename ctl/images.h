/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of images/ctl, and what the store says of an image. */
#ifndef MSB_CTL_IMAGES_H
#define MSB_CTL_IMAGES_H

#include "ctl/meta.h"
#include "ctl/model.h"

/*
 * Each waits for its end. An interrupted one is -EINTR: what is complete stays in the store. @ref
 * is what a user wrote (ctl/image_names.h). PATHs are opened with the requester's rights.
 */

/* `import PATH NAME`: -EINVAL; -EEXIST the name is taken; -ENOENT; -EBADMSG; -ENOSPC. */
int ctl_image_import(
	const struct ctl_req *q, const char *path, const char *name, struct msb_err *e);
/* `pull REF`: img_pull()'s. */
int ctl_image_pull(const struct ctl_req *q, const char *ref, struct msb_err *e);
/* `push REF [AS]`: to where it is called, or to AS. -EINVAL it is called localhost/. */
int ctl_image_push(const struct ctl_req *q, const char *ref, const char *as, struct msb_err *e);
/* `export PATH REF`: an OCI archive; PATH is all of it or what it was. */
int ctl_image_export(const struct ctl_req *q, const char *path, const char *ref, struct msb_err *e);
/* `tag REF NEW`: NEW is moved where it is another image's. -EBUSY a sandbox was made for that. */
int ctl_image_tag(const struct ctl_req *q, const char *ref, const char *name, struct msb_err *e);
/* `rm REF`: -ENOENT; -EBUSY a sandbox uses it. What nothing refers to is deleted from the store. */
int ctl_image_remove(const struct ctl_req *q, const char *ref, struct msb_err *e);
/* `verify [REF]`: -EBADMSG something is damaged; a pull mends it. */
int ctl_image_verify(const struct ctl_req *q, const char *ref, struct msb_err *e);
/* `prune`: removes what no sandbox uses, and what interrupted pulls left. */
int ctl_image_prune(const struct ctl_req *q, struct msb_err *e);

/* Files of an image in the store; they wait for the disk. */
int ctl_image_meta(struct ctl *c, const char *digest, struct ctl_meta *ret, struct msb_err *e);
/* @file: config.json, manifest.json, layers. */
int ctl_image_file(
	struct ctl *c, const char *digest, const char *file, struct msb_str *s, struct msb_err *e);

#endif
