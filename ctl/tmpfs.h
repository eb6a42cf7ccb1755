/* SPDX-License-Identifier: Apache-2.0 */
/* The table `tmpfs`: GUEST-PATH [OPTIONS] a line. Pure functions over bytes. */
#ifndef MSB_CTL_TMPFS_H
#define MSB_CTL_TMPFS_H

#include "ctl/fstab.h"
#include "vmm/agent.h"

#define CTL_TMPFS_TEXT 192 /* all options, printed */

struct ctl_tmpfs {
	char path[CTL_MAX_GUEST_PATH + 1];
	char options[CTL_TMPFS_TEXT]; /* in one order, ro or rw first; tmpfs(5) has them as well */
};

/**
 * ctl_tmpfs_parse() - Parse a line
 * OPTIONS is a comma list of ro rw nosuid nodev noexec noatime, and of size= (bytes, or with K, M,
 * G, T), nr_inodes=, mode= (octal), uid=, gid=; `defaults` for none. Return: 1; 0 a blank line or a
 * comment; -EINVAL syntax, an unknown option, one that comes twice; -ERANGE its value; -E2BIG the
 * path.
 */
int ctl_tmpfs_parse(const char *line, size_t len, struct ctl_tmpfs *ret, struct msb_err *e);

/**
 * ctl_tmpfs_check() - All lines as they are kept
 * Errors: as above, and -EEXIST a path comes twice, -EDQUOT CTL_MAX_TMPFS; @e names the line.
 */
int ctl_tmpfs_check(const char *text, struct msb_str *ret, struct msb_err *e);

/* Whether a checked table has something at @path; whether it has what a table of mounts, checked as
 * well, has: -EEXIST. */
bool ctl_tmpfs_has(const char *text, const char *path);
int ctl_tmpfs_clash(const char *text, const char *mounts, struct msb_err *e);

/**
 * ctl_tmpfs_place() - Put a checked table's lines among what a guest is to mount
 * Each comes behind all that lies above its path, and before what lies below; the others stay in
 * their order.
 * @t: CTL_MAX_TMPFS of them, which @m points into afterwards
 * @m: @n entries, room for CTL_MAX_TMPFS more
 * Return: how many there are now.
 */
size_t ctl_tmpfs_place(const char *text, struct ctl_tmpfs *t, struct agent_mount *m, size_t n);

#endif
