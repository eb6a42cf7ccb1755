/* SPDX-License-Identifier: Apache-2.0 */
/* ACLs as a person writes them, `u::rwx,u:1000:r-x,g::r--,m::r-x,o::---`, to and from the bytes of
 * the attribute. What is written need not make sense. */
#ifndef MSB_TESTS_ACL_TEXT_H
#define MSB_TESTS_ACL_TEXT_H

#include "fs/acl.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline uint16_t acl_text_tag(char kind, bool named)
{
	switch (kind) {
	case 'u': return named ? ACL_USER : ACL_USER_OBJ;
	case 'g': return named ? ACL_GROUP : ACL_GROUP_OBJ;
	case 'm': return ACL_MASK;
	default: return ACL_OTHER;
	}
}

/* Bytes, at most sizeof(ret->p). */
static inline void acl_from_text(const char *text, struct acl_bytes *ret)
{
	const uint32_t version = htole32(POSIX_ACL_XATTR_VERSION);

	memcpy(ret->p, &version, 4);
	ret->n = 4;
	while (*text) {
		struct posix_acl_xattr_entry x = {.e_id = htole32((uint32_t)ACL_UNDEFINED_ID)};
		char kind = *text, *end;
		uint16_t perm = 0;

		text += 2;
		x.e_tag = htole16(acl_text_tag(kind, *text != ':'));
		if (*text != ':') {
			x.e_id = htole32((uint32_t)strtoul(text, &end, 10));
			text = end;
		}
		for (text++; *text && *text != ','; text++)
			perm |= *text == 'r' ? 4 : *text == 'w' ? 2 : *text == 'x' ? 1 : 0;
		x.e_perm = htole16(perm);
		memcpy(ret->p + ret->n, &x, sizeof(x));
		ret->n += sizeof(x);
		text += *text == ',';
	}
}

/* "" where there is none. */
static inline const char *acl_to_text(const uint8_t *p, size_t n, char buf[4096])
{
	char *at = buf;

	*at = '\0';
	for (size_t i = 4; i + sizeof(struct posix_acl_xattr_entry) <= n && at < buf + 4000;
		i += sizeof(struct posix_acl_xattr_entry)) {
		struct posix_acl_xattr_entry x;
		unsigned int tag, perm;

		memcpy(&x, p + i, sizeof(x));
		tag = le16toh(x.e_tag);
		perm = le16toh(x.e_perm);
		at += sprintf(at, "%s%c:", i > 4 ? "," : "",
			tag & (ACL_USER_OBJ | ACL_USER)	    ? 'u'
			: tag & (ACL_GROUP_OBJ | ACL_GROUP) ? 'g'
			: tag == ACL_MASK		    ? 'm'
							    : 'o');
		if (le32toh(x.e_id) != (uint32_t)ACL_UNDEFINED_ID)
			at += sprintf(at, "%u", le32toh(x.e_id));
		at += sprintf(at, ":%c%c%c", perm & 4 ? 'r' : '-', perm & 2 ? 'w' : '-',
			perm & 1 ? 'x' : '-');
	}
	return buf;
}

#endif
