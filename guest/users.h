/* SPDX-License-Identifier: Apache-2.0 */
/* Who a job runs as: /etc/passwd and /etc/group of the sandbox's root, read strictly. */
#ifndef MSB_GUEST_USERS_H
#define MSB_GUEST_USERS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define GA_MAX_GROUPS	 256	    /* supplementary groups of one user; more are left out */
#define GA_MAX_NAME	 64	    /* bytes of a user's name, NUL included */
#define GA_MAX_HOME	 256	    /* bytes of a home directory, NUL included */
#define GA_MAX_USER_FILE (4u << 20) /* bytes of passwd or group that are read */

struct ga_user {
	uint32_t uid, gid;
	uint32_t groups[GA_MAX_GROUPS];
	size_t ngroups;
	char name[GA_MAX_NAME]; /* "" where the uid has no entry */
	char home[GA_MAX_HOME];
};

/**
 * ga_user_resolve() - Turn "", USER[:GROUP[:GROUP,...]] into ids
 * @spec:   "" is uid 0. Names and numbers may be mixed.
 * @passwd: the bytes of passwd(5), @group those of group(5); both untrusted, may be NULL with 0
 * As the OCI image specification has it: without a group, the user's own and its supplementary
 * groups; with one, that group alone; with a third part, that list besides. A number without an
 * entry is itself, in group 0, at home in
 * "/". Lines that are not exactly seven (four) fields with valid numbers are no entries.
 * Return: 0; -EINVAL @spec is no user; -ENOENT a name that has no entry.
 */
int ga_user_resolve(const char *spec, const char *passwd, size_t passwd_bytes, const char *group,
	size_t group_bytes, struct ga_user *ret, struct msb_err *e);

/* The same from the files under @root_fd ("etc/passwd", "etc/group"; absent ones are empty). */
int ga_user_load(int root_fd, const char *spec, struct ga_user *ret, struct msb_err *e);

#endif
