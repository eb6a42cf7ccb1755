/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images: the table of them, what a text that a user wrote means, and what sandboxes are
 * pinned to.
 *
 * A name is a canonical reference (fs/image/ref.h). One that is written without a host means the
 * image that was imported under it (localhost/NAME), or the one of the default registry; where both
 * are there, neither.
 */
#ifndef MSB_CTL_IMAGE_NAMES_H
#define MSB_CTL_IMAGE_NAMES_H

#include "ctl/model.h"

/* All of these with ctl.lock held, but ctl_image_unref(). What is returned is borrowed: valid while
 * the lock is held, or with a reference. */
struct ctl_image *ctl_image_find(struct ctl *c, const char *name); /* canonical */
struct ctl_image *ctl_image_by_serial(struct ctl *c, uint32_t serial);
struct ctl_image *ctl_image_ref(struct ctl_image *img);
void ctl_image_unref(struct ctl_image *img); /* takes the lock itself; NULL is fine */

/**
 * ctl_image_resolve() - The image that @text means
 * @ref: set where @text is a reference, also on failure: what would be pulled for it; may be NULL
 * Errors: -EINVAL it is no reference; -ENOENT none has that name; -ENOTUNIQ two have.
 */
int ctl_image_resolve(struct ctl *c, const char *text, struct img_ref *ref, struct ctl_image **ret,
	struct msb_err *e);
/* The canonical name of an image that is imported, or tagged, as @text. -EINVAL. */
int ctl_image_local_name(const char *text, char ret[IMG_REF_MAX + 1], struct msb_err *e);

/**
 * ctl_image_set() - Give a name to an image that the store holds
 * @ret_old: what had the name; the caller ends its files and drops the reference. May be NULL where
 * the name is known to be free.
 * Return: 0; -EDQUOT CTL_MAX_IMAGES, CTL_MAX_IMAGE_DIRS; -ENOSPC. It is an event.
 */
int ctl_image_set(struct ctl *c, const char *name, const char *digest, uint64_t size_bytes,
	struct ctl_image **ret_old, struct msb_err *e);
/* Takes @img out of the table and the state file. Its reference is the caller's now. */
int ctl_image_drop(struct ctl_image *img, struct msb_err *e);
/* For ctl_db_load(). */
int ctl_image_load(void *ctl, const char *id, const char *name, const char *digest,
	uint64_t size_bytes, uint64_t created_usec);

struct ctl_image_dir *ctl_image_dir_find(struct ctl *c, const char *path);
struct ctl_image_dir *ctl_image_dir_by_serial(struct ctl *c, uint32_t serial);

/* Whether the sandbox's root or mounts are, or would be, made of @img. */
bool ctl_image_used(struct ctl_image *img, const struct ctl_sandbox *sb);

#define CTL_PIN_KEY	   ".pin/" /* and the reference: a fact of a sandbox */
#define CTL_REGISTRIES_KEY "registries"

const struct ctl_pin *ctl_pin_find(const struct ctl_sandbox *sb, const char *ref); /* or NULL */
/* @kept: for ever. Errors: -EDQUOT CTL_MAX_PINS; -ENOMEM; -ENOSPC. */
int ctl_pin_set(
	struct ctl_sandbox *sb, const char *ref, const char *digest, bool kept, struct msb_err *e);
void ctl_pin_drop(struct ctl_sandbox *sb, const char *ref);
int ctl_pin_load(struct ctl_sandbox *sb, const char *ref, const char *value); /* 0 or -errno */

#endif
