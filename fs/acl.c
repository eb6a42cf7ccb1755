// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs: reading and writing the attributes' bytes, and what an ACL and a mode say of another.
#include "fs/acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(sizeof(struct posix_acl_xattr_header) == ACL_HEAD_BYTES, "linux/posix_acl_xattr.h");
_Static_assert(sizeof(struct posix_acl_xattr_entry) == ACL_ENTRY_BYTES, "linux/posix_acl_xattr.h");

#define PERMS	 (ACL_READ | ACL_WRITE | ACL_EXECUTE)
#define NAMED	 (ACL_USER | ACL_GROUP) /* any number of them, each with an id */
#define OBLIGED	 (ACL_USER_OBJ | ACL_GROUP_OBJ | ACL_OTHER) /* as a mode has them */
#define ALL_TAGS (OBLIGED | NAMED | ACL_MASK)

struct entry {
	uint16_t tag, perm;
	uint32_t id; /* of those that are named */
};

struct acl {
	size_t n;
	struct entry e[ACL_MAX_ENTRIES];
};

bool acl_is_name(const char *name)
{
	return !strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT);
}

size_t acl_names_out(char *names, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0, len; i < n; i += len) {
		len = strnlen(names + i, n - i) + 1;
		if (len > n - i || acl_is_name(names + i))
			continue;
		memmove(names + kept, names + i, len);
		kept += len;
	}
	return kept;
}

static struct entry get_entry(const uint8_t *p)
{
	struct posix_acl_xattr_entry x;

	memcpy(&x, p, sizeof(x));
	return (struct entry){le16toh(x.e_tag), le16toh(x.e_perm), le32toh(x.e_id)};
}

/* Tags rise from entry to entry, since each is a bit above the last one's; only named ones repeat.
 */
static bool may_follow(const struct entry *e, uint16_t last)
{
	bool one_bit = e->tag && !(e->tag & (e->tag - 1)) && e->tag <= ALL_TAGS;

	if (!one_bit || e->perm & ~PERMS)
		return false;
	if (e->tag & NAMED)
		return e->tag >= last && e->id != (uint32_t)ACL_UNDEFINED_ID;
	return e->tag > last;
}

static int parse(const void *value, size_t n, struct acl *ret)
{
	const uint8_t *p = value;
	struct posix_acl_xattr_header h;
	uint16_t last = 0, seen = 0;

	if (n < ACL_HEAD_BYTES || (n - ACL_HEAD_BYTES) % ACL_ENTRY_BYTES)
		return -EINVAL;
	memcpy(&h, p, sizeof(h));
	if (le32toh(h.a_version) != POSIX_ACL_XATTR_VERSION)
		return -EINVAL;
	if (n > ACL_MAX_BYTES)
		return -E2BIG;
	ret->n = (n - ACL_HEAD_BYTES) / ACL_ENTRY_BYTES;
	for (size_t i = 0; i < ret->n; i++) {
		ret->e[i] = get_entry(p + ACL_HEAD_BYTES + i * ACL_ENTRY_BYTES);
		if (!may_follow(&ret->e[i], last))
			return -EINVAL;
		last = ret->e[i].tag;
		seen |= last;
	}
	if ((seen & OBLIGED) != OBLIGED || (seen & NAMED && !(seen & ACL_MASK)))
		return -EINVAL;
	return 0;
}

static void print(const struct acl *a, struct acl_bytes *ret)
{
	const struct posix_acl_xattr_header h = {htole32(POSIX_ACL_XATTR_VERSION)};
	uint8_t *p = ret->p;

	memcpy(p, &h, sizeof(h));
	p += sizeof(h);
	for (size_t i = 0; i < a->n; i++, p += ACL_ENTRY_BYTES) {
		const struct entry *e = &a->e[i];
		const struct posix_acl_xattr_entry x = {htole16(e->tag), htole16(e->perm),
			htole32(e->tag & NAMED ? e->id : (uint32_t)ACL_UNDEFINED_ID)};

		memcpy(p, &x, sizeof(x));
	}
	ret->n = ACL_HEAD_BYTES + a->n * ACL_ENTRY_BYTES;
}

/* The entry that the mode's bits from @shift on are those of. */
static struct entry *of_mode(struct acl *a, unsigned int shift)
{
	struct entry *ret = NULL;

	for (size_t i = 0; i < a->n; i++) {
		uint16_t tag = a->e[i].tag;

		if ((shift == 6 && tag == ACL_USER_OBJ) || (shift == 0 && tag == ACL_OTHER) ||
			(shift == 3 && (tag == ACL_GROUP_OBJ || tag == ACL_MASK)))
			ret = &a->e[i]; /* the mask comes behind the group */
	}
	return ret;
}

static uint32_t mode_of(struct acl *a, uint32_t mode)
{
	mode &= ~0777u;
	for (unsigned int shift = 0; shift <= 6; shift += 3)
		mode |= (uint32_t)of_mode(a, shift)->perm << shift;
	return mode;
}

/* The three that every ACL has are a mode. */
static void print_unless_plain(const struct acl *a, struct acl_bytes *ret)
{
	if (a->n > 3)
		print(a, ret);
	else
		ret->n = 0;
}

int acl_set(const char *name, const void *value, size_t n, uint32_t *mode, struct acl_bytes *ret)
{
	struct acl a;
	int r = parse(value, n, &a);

	if (r < 0)
		return r;
	if (S_ISLNK(*mode))
		return -EOPNOTSUPP;
	if (!strcmp(name, ACL_DEFAULT)) {
		if (!S_ISDIR(*mode))
			return -EACCES;
		print(&a, ret);
		return 0;
	}
	*mode = mode_of(&a, *mode);
	print_unless_plain(&a, ret);
	return 0;
}

int acl_seen(const char *name, const void *value, size_t n, uint32_t mode, struct acl_bytes *ret)
{
	struct acl a;

	if (parse(value, n, &a) < 0)
		return -ENODATA;
	for (unsigned int shift = 0; !strcmp(name, ACL_ACCESS) && shift <= 6; shift += 3)
		of_mode(&a, shift)->perm = mode >> shift & PERMS;
	print(&a, ret);
	return 0;
}

bool acl_inherit(
	const void *value, size_t n, uint32_t umask, uint32_t *mode, struct acl_bytes *ret_access)
{
	struct acl a;

	ret_access->n = 0;
	if (S_ISLNK(*mode))
		return false;
	if (n == 0 || parse(value, n, &a) < 0) {
		*mode &= ~(umask & 0777);
		return false;
	}
	for (unsigned int shift = 0; shift <= 6; shift += 3)
		of_mode(&a, shift)->perm &= *mode >> shift & PERMS;
	*mode = mode_of(&a, *mode);
	print_unless_plain(&a, ret_access);
	return true;
}
