/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kernel asks of a file's flags by FUSE_IOCTL. A pure function over bytes, which are
 * hostile. Source: linux/fuse.h (protocol 7.38); Linux 6.12, fs/fuse/ioctl.c and fs/ioctl.c.
 */
#ifndef MSB_FS_FUSE_IOCTL_H
#define MSB_FS_FUSE_IOCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_flags_ask {
	bool set;
	bool xflags;	/* FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR: the reply is a struct fsxattr */
	uint32_t flags; /* FSB_FL_*, to be set */
	uint32_t said;	/* of those, what the command speaks of: the others stay */
};

/**
 * fuse_ioctl_parse() - Read a request
 * @p: a struct fuse_ioctl_in and what follows
 * Return: 0; -ENOTTY: another command, or not the kernel's own; -EINVAL: sizes that are not the
 * command's; -EOPNOTSUPP: a flag or a field that no file has here.
 */
int fuse_ioctl_parse(const uint8_t *p, size_t n, struct fuse_flags_ask *ret);

#endif
