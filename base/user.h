/* SPDX-License-Identifier: Apache-2.0 */
/* A user of the host: the rights that a login would give. */
#ifndef MSB_BASE_USER_H
#define MSB_BASE_USER_H

#include <stddef.h>
#include <sys/types.h>

#define MSB_USER_NOBODY 65534
#define MSB_USER_GROUPS 256  /* supplementary groups that count; of more, the first */
#define MSB_USER_TEXT	4096 /* as msb_user_print() writes it */

struct msb_user {
	uid_t uid;
	gid_t gid;
	size_t ngroups;
	gid_t groups[MSB_USER_GROUPS];
};

/**
 * msb_user_find() - What rights @uid has, by the host's user database
 * @gid: of one that is not in it, who is in no other group; 0, which nobody but root is to have for
 * that, is nobody's instead
 * Asks NSS: loads libraries, may speak over the network, and blocks. For processes that end soon.
 */
void msb_user_find(uid_t uid, gid_t gid, struct msb_user *ret);

/* Takes them on, of all threads that a program of one has: no libc in between. Does nothing where
 * the caller is not root. -errno. Async-signal-safe. */
int msb_user_become(const struct msb_user *u);

/* "UID GID GROUP GROUP...", for arguments and messages. */
void msb_user_print(const struct msb_user *u, char ret[MSB_USER_TEXT]);
int msb_user_parse(const char *text, struct msb_user *ret); /* -EINVAL */

#endif
