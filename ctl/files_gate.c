// SPDX-License-Identifier: Apache-2.0
// Who passes to the view of a sandbox's root.
#include "base/cleanup.h"
#include "ctl/files.h"
#include "ctl/owner.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ACL "system.posix_acl_access"

/* The bytes of an access list in an extended attribute: acl(5), linux/posix_acl_xattr.h. */
enum { ACL_VERSION = 2 };
enum { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, MASK = 0x10, OTHER = 0x20 };

struct entry {
	uint16_t tag, perm;
	uint32_t id;
};

struct list {
	uint32_t version;
	struct entry e[5];
};

static struct entry entry(uint16_t tag, mode_t perm, uint32_t id)
{
	return (struct entry){
		.tag = htole16(tag), .perm = htole16((uint16_t)perm), .id = htole32(id)};
}

/* Lets one user pass who may do nothing else to the directory, as its owner could. */
static int let_in(int fd, uid_t uid, mode_t mode)
{
	const struct list l = {htole32(ACL_VERSION),
		{entry(USER_OBJ, 07, UINT32_MAX), entry(USER, 01, uid),
			entry(GROUP_OBJ, mode >> 3 & 01, UINT32_MAX), entry(MASK, 01, UINT32_MAX),
			entry(OTHER, mode & 01, UINT32_MAX)}};

	return fsetxattr(fd, ACL, &l, sizeof(l), 0) < 0 ? -errno : 0;
}

int ctl_files_gate(const struct ctl_sandbox *sb)
{
	_cleanup_close_ int fd = -1;
	char dir[80];

	(void)snprintf(dir, sizeof(dir), "views/%s", sb->id);
	fd = openat(sb->c->run_fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* The mode first: at no time may more be let in than both ask for. */
	if (fd < 0 || fchmod(fd, 0700) < 0 || fchown(fd, sb->c->uid, sb->gid) < 0)
		return -errno;
	if (ctl_is_other(sb->c, sb->uid))
		return let_in(fd, sb->uid, sb->mode);
	if (fremovexattr(fd, ACL) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
		return -errno;
	return fchmod(fd, 0700 | (sb->mode & 0011)) < 0 ? -errno : 0;
}
