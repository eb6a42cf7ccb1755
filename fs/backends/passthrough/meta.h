/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest believes of a file and the host must not: kept in one attribute of the host's file.
 *
 * The attribute is text, `UID GID SET HIDE TYPE [MAJOR MINOR | FLAGS]`: owner and group, octal mode
 * bits that the guest sees on top of the host's, and of the host's that it does not see (of 0777),
 * and what the file is: `-` what it is on the host, `b` `c` a device of that number, `p` a FIFO,
 * `s` a socket, `l` a symbolic link whose target is the file's contents. FLAGS, of a `-`, are
 * letters of chattr(1) in the order `SDiadA`. Pure functions over bytes; whoever may write to the
 * host's file shapes them.
 */
#ifndef MSB_FS_PASSTHROUGH_META_H
#define MSB_FS_PASSTHROUGH_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PT_XATTR_OURS	 "user.msb." /* all of ours; no guest sees or sets one of these */
#define PT_XATTR_META	 "user.msb.meta"
#define PT_XATTR_SPECIAL "user.msb.special" /* of a directory: TYPE is not `-` in some entry */
#define PT_XATTR_GUEST	 "user.msb.x."	    /* before an attribute's name that is not user.* */
#define PT_MAX_META	 96

struct pt_meta {
	bool there; /* false: no attribute, and the rest is 0 */
	uint32_t uid, gid;
	uint16_t set, hide;
	uint32_t type;	/* S_IF*, or 0: as on the host */
	uint32_t rdev;	/* of a device */
	uint32_t flags; /* FSB_FL_* */
};

/* -EBADMSG, and @ret is nothing, where @buf is not exactly such a line. */
int pt_meta_parse(const char *buf, size_t n, struct pt_meta *ret);

/* Bytes written to @buf, without a NUL. */
size_t pt_meta_print(const struct pt_meta *m, char buf[PT_MAX_META]);

#endif
