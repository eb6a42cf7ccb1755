// SPDX-License-Identifier: Apache-2.0
// Users of the host.
#include "base/user.h"
#include "base/str.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void msb_user_find(uid_t uid, gid_t gid, struct msb_user *ret)
{
	struct passwd pw, *known = NULL;
	int n = MSB_USER_GROUPS;
	char buf[16384];

	*ret = (struct msb_user){.uid = uid, .gid = gid || !uid ? gid : MSB_USER_NOBODY};
	if (getpwuid_r(uid, &pw, buf, sizeof(buf), &known) != 0 || !known)
		return;
	ret->gid = pw.pw_gid;
	if (getgrouplist(pw.pw_name, pw.pw_gid, ret->groups, &n) < 0)
		n = MSB_USER_GROUPS; /* it has more: those that fit are there */
	ret->ngroups = (size_t)n;
}

int msb_user_become(const struct msb_user *u)
{
	if (geteuid() != 0)
		return 0;
	/* Also between fork and exec, where libc's functions would talk to threads that are not
	 * there. */
	return syscall(SYS_setgroups, u->ngroups, u->groups) < 0 ||
			       syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0 ||
			       syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0
		       ? -errno
		       : 0;
}

void msb_user_print(const struct msb_user *u, char ret[MSB_USER_TEXT])
{
	int n = snprintf(ret, MSB_USER_TEXT, "%u %u", u->uid, u->gid);

	for (size_t i = 0; i < u->ngroups; i++) /* at most 11 bytes each */
		n += snprintf(ret + n, MSB_USER_TEXT - (size_t)n, " %u", u->groups[i]);
}

int msb_user_parse(const char *text, struct msb_user *ret)
{
	char copy[MSB_USER_TEXT], *rest = copy, *word;
	struct msb_user u = {0};
	size_t n = 0;

	if ((size_t)snprintf(copy, sizeof(copy), "%s", text) >= sizeof(copy))
		return -EINVAL;
	for (; (word = strsep(&rest, " ")); n++) {
		uint64_t v;

		if (n == MSB_USER_GROUPS + 2 || msb_parse_u64(word, 0, UINT32_MAX - 1, &v) < 0)
			return -EINVAL;
		if (n == 0)
			u.uid = (uid_t)v;
		else if (n == 1)
			u.gid = (gid_t)v;
		else
			u.groups[u.ngroups++] = (gid_t)v;
	}
	if (n < 2)
		return -EINVAL;
	*ret = u;
	return 0;
}
