/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POSIX ACLs, for backends that keep them as the bytes of two attributes.
 *
 * A backend keeps what acl_set() and acl_inherit() give it, beside the mode. Of an access ACL the
 * entries of the owner, of others, and of the mask (or the group, where there is no mask) are the
 * mode's: chmod(2) changes the mode alone, and acl_seen(), through which every ACL is read, takes
 * these entries from it. So the two cannot disagree. Who may do what is the kernel's to say.
 *
 * Pure functions over bytes, which a guest, an image or a host's user shapes.
 * Source: linux/posix_acl_xattr.h (the form of the value), acl(5).
 */
#ifndef MSB_FS_ACL_H
#define MSB_FS_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS	"system.posix_acl_access"
#define ACL_DEFAULT	"system.posix_acl_default"
#define ACL_HEAD_BYTES	4
#define ACL_ENTRY_BYTES 8
#define ACL_MAX_ENTRIES 511 /* more than a page is nothing that Linux would ask a server for */
#define ACL_MAX_BYTES	(ACL_HEAD_BYTES + ACL_ENTRY_BYTES * ACL_MAX_ENTRIES)

/* A value to keep; 0 bytes: none. */
struct acl_bytes {
	size_t n;
	uint8_t p[ACL_MAX_BYTES];
};

bool acl_is_name(const char *name); /* one of the two above */
/* Takes both from a list of names, a NUL after each: the bytes that are left. */
size_t acl_names_out(char *names, size_t n);

/**
 * acl_set() - What setting an ACL comes to
 * @name: ACL_ACCESS or ACL_DEFAULT
 * @mode: the file's, with its type; set to the new one by an access ACL. Its set-id bits stay.
 * @ret: what to keep under @name; none where the mode says all of it
 * Return: 0; -EINVAL no ACL; -E2BIG more entries than ACL_MAX_ENTRIES; -EOPNOTSUPP a symbolic link;
 * -EACCES a default ACL of something else than a directory. Nothing is set on failure.
 */
int acl_set(const char *name, const void *value, size_t n, uint32_t *mode, struct acl_bytes *ret);

/**
 * acl_seen() - What the kernel is shown of a kept ACL
 * @mode: the file's
 * Return: 0 and @ret; -ENODATA where what is kept is no ACL: then there is the mode alone.
 */
int acl_seen(const char *name, const void *value, size_t n, uint32_t mode, struct acl_bytes *ret);

/**
 * acl_inherit() - What a new file gets from its directory
 * @value, @n: the directory's default ACL; 0 bytes, or no ACL: none, and the umask counts
 * @mode: as asked for, with its type; set to the new file's
 * @ret_access: the new file's access ACL, or none
 * Return: whether the directory has one: which a new directory then gets itself, as it is.
 */
bool acl_inherit(
	const void *value, size_t n, uint32_t umask, uint32_t *mode, struct acl_bytes *ret_access);

#endif
