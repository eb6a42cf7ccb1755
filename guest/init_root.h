/* SPDX-License-Identifier: Apache-2.0 */
/* What only PID 1 of a real guest does: mounts, the switch of roots, the end of everything. */
#ifndef MSB_GUEST_INIT_ROOT_H
#define MSB_GUEST_INIT_ROOT_H

#include "guest/ga.h"

#define GA_NEWROOT "/newroot"

extern const struct ga_ops ga_init_ops;

/* Of main_init.c: what ps(1) of the guest shows this process as, cut to what there is room for. */
void ga_init_rename(const char *name);

/* mount(2) of a kernel file system; makes the directory. A failure is in @e. */
int ga_mount_kernel_fs(const char *type, const char *path, unsigned long flags, const char *data,
	struct msb_err *e);

/**
 * ga_mount_points() - The mount points of a mountinfo(5), in its order: newest last
 * @text: cut up in place, its octal escapes undone; @points end up pointing into it
 * Return: how many, @max at most.
 */
size_t ga_mount_points(char *text, char *points[], size_t max);

/**
 * ga_share_find() - Where the share @name is in a mountinfo(5), seen from @path
 * @text: cut up in place, as above
 * Return: what a umount2(2) of @path would meet.
 */
enum ga_share_at {
	GA_SHARE_NONE,	  /* it is not mounted there */
	GA_SHARE_TOP,	  /* it */
	GA_SHARE_COVERED, /* something that was mounted over it */
} ga_share_find(char *text, const char *name, const char *path);

/* Loads DIR/NN-NAME.ko in the order of their names, which is that in which they need each other.
 * What fails is said on the console; a directory that is not there is empty. */
void ga_modules_load(const char *dir);

/**
 * ga_disk_mount() - Mount the root of the disk @m->source ("vda") on @target
 * Errors: -ENOENT no such disk, or no partition that is the root; -EINVAL no file system that is
 * known; what mount(2) says.
 */
int ga_disk_mount(const struct ga_mount *m, const char *target, struct msb_err *e);

/* Mounts the disk whose serial is @m->source; its driver was loaded by ga_volumes_prepare(), before
 * the root was entered. -ENOENT: there is none. */
void ga_volumes_prepare(void);
int ga_volume_mount(const struct ga_mount *m, struct msb_err *e);

/* Has the first @n CPUs online, and the others not. -ERANGE there are fewer; what the kernel says.
 */
int ga_cpus_set(uint32_t n, struct msb_err *e);

/* Has the kernel read ahead further in the virtiofs at @dir; one that has no say in it does as it
 * does. The sandbox's /sys is there. */
void ga_read_ahead(const char *dir);

/* Both run in a child of PID 1 whose root directory is the sandbox's root. */
int ga_share_mount(const struct ga_mount *m, struct msb_err *e);
int ga_share_umount(const struct ga_umount *u, struct msb_err *e);

#endif
