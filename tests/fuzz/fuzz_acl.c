// SPDX-License-Identifier: Apache-2.0
// An ACL's bytes: what is taken is shown again as it was, through the mode that it came with, and
// inherits into something that is taken, too.
#include "fs/acl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static bool same(const struct acl_bytes *a, const struct acl_bytes *b)
{
	return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

/* @data: u16 mode, u16 umask, the value. Of exactly its size, so that a sanitizer sees its end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct acl_bytes kept, def, seen, own, again;
	uint32_t mode, after, born, umask;
	uint8_t *value;
	size_t n;
	int r;

	if (size < 4)
		return 0;
	mode = (data[0] | (uint32_t)data[1] << 8) & 07777;
	umask = data[2] | (uint32_t)data[3] << 8;
	n = size - 4;
	value = malloc(n ? n : 1);
	check(value);
	memcpy(value, data + 4, n);

	after = mode | S_IFDIR;
	r = acl_set(ACL_ACCESS, value, n, &after, &kept);
	check((acl_set(ACL_DEFAULT, value, n, &(uint32_t){mode | S_IFDIR}, &def) == 0) == (r == 0));
	check((acl_seen(ACL_DEFAULT, value, n, mode, &seen) == 0) == (r == 0));
	born = mode | S_IFREG;
	check(acl_inherit(value, n, umask, &born, &own) == (r == 0));
	if (r < 0) {
		check(after == (mode | S_IFDIR) && own.n == 0);
		check(born == (S_IFREG | (mode & ~(umask & 0777))));
	} else {
		check(same(&seen, &def) && def.n == n);
		check((after & ~0777u) == ((mode & ~0777u) | S_IFDIR));
		check((born & ~mode & 07777) == 0); /* never more than was asked for */
		check(acl_seen(ACL_ACCESS, value, n, after, &seen) == 0);
		check(same(&seen, &def)); /* the mode that an ACL brings changes nothing of it */
		check(kept.n == 0 || same(&kept, &def));
		if (own.n) {
			after = born;
			check(acl_set(ACL_ACCESS, own.p, own.n, &after, &again) == 0);
			check(after == born && same(&own, &again));
		}
	}
	free(value);
	return 0;
}
