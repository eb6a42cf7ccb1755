// SPDX-License-Identifier: Apache-2.0
// passthrough: names that are longer than a guest's may be.
#include "tests/unit/passthrough_fixture.h"

#include <limits.h>
#include <sys/syscall.h>

#define LONG_BYTES (NAME_MAX + 46) /* odd, as those of "././f" are */

/* In place of libc's: the file systems of a test's host have no such names, so the first directory
 * listed gets another name for "f" at its end. */
static bool lengthen;

ssize_t getdents64(int fd, void *buf, size_t bytes)
{
	ssize_t n = syscall(SYS_getdents64, fd, buf, bytes);
	size_t reclen = (offsetof(struct dirent64, d_name) + LONG_BYTES + 8) & ~(size_t)7;
	struct dirent64 *d = buf;

	if (!lengthen || n <= 0 || (size_t)n + reclen > bytes)
		return n;
	lengthen = false;
	for (ssize_t at = 0; at < n; at += d->d_reclen)
		d = (struct dirent64 *)(void *)((char *)buf + at);
	memset((char *)buf + n, 0, reclen);
	memcpy((char *)buf + n, d, offsetof(struct dirent64, d_name));
	d = (struct dirent64 *)(void *)((char *)buf + n);
	d->d_reclen = (unsigned short)reclen;
	for (size_t i = 0; i < LONG_BYTES; i++)
		((char *)d + offsetof(struct dirent64, d_name))[i] = i % 2 ? '/' : '.';
	((char *)d + offsetof(struct dirent64, d_name))[LONG_BYTES - 1] = 'f';
	return n + (ssize_t)reclen;
}

static void no_reference_is_left(void **state)
{
	uint64_t nodes = 0, node = 0;

	close(openat(host, "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	lengthen = true;
	assert_int_equal(req_read(&q, FUSE_READDIRPLUS, 1, 0, 0, 4096), 0);
	assert_false(lengthen);
	for (size_t at = 0; at < q.out_bytes;) {
		const struct fuse_direntplus *d = (const void *)(q.out + 16 + at);

		at += FUSE_DIRENTPLUS_SIZE(d);
		assert_in_range(d->dirent.namelen, 1, 2); /* ".", "..", "f" */
		node = d->entry_out.nodeid ?: node;
		nodes += d->entry_out.nodeid != 0;
	}
	assert_int_equal(nodes, 1);
	assert_int_equal(pt_of(fs.b)->nodes.live, 2);
	req_forget(&q, node, 1);
	assert_int_equal(pt_of(fs.b)->nodes.live, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_reference_is_left, setup, teardown),
	};

	return cmocka_run_group_tests_name("passthrough_long", tests, NULL, NULL);
}
