// SPDX-License-Identifier: Apache-2.0
// qcow2 headers: what a user's file may say, and what an empty one of ours says.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/qcow2.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static uint8_t file[IMG_QCOW2_HEAD_BYTES];

static void put(size_t at, unsigned int bytes, uint64_t v)
{
	for (unsigned int k = 0; k < bytes; k++)
		file[at + k] = (uint8_t)(v >> (8 * (bytes - 1 - k)));
}

/* A header as qemu-img writes it: version 3, 1 GiB, an extension that lists feature names. */
static void fresh(void)
{
	memset(file, 0, sizeof(file));
	put(0, 4, 0x514649fb);
	put(4, 4, 3);
	put(20, 4, 16);
	put(24, 8, UINT64_C(1) << 30);
	put(100, 4, 104);
	put(104, 4, 0x6803f857);
	put(108, 4, 144);
}

static int check(size_t n, struct msb_err *e)
{
	uint64_t bytes = 7;
	int r = img_qcow2_check(file, n, &bytes, e);

	assert_int_equal(bytes, r < 0 ? 7 : (UINT64_C(1) << 30));
	return r;
}

static void headers(void **state)
{
	static const struct {
		const char *what;
		size_t at;
		unsigned int bytes;
		uint64_t v;
		int want;
		const char *says;
	} t[] = {
		{"as it is", 0, 4, 0x514649fb, 0, NULL},
		{"another magic", 0, 4, 0x514649fc, -EBADMSG, "no qcow2 file"},
		{"version 1", 4, 4, 1, -EOPNOTSUPP, "version 1"},
		{"version 4", 4, 4, 4, -EOPNOTSUPP, "version 4"},
		{"a backing file", 8, 8, 120, -EOPNOTSUPP, "has a backing file"},
		{"one at a far place", 8, 8, UINT64_MAX, -EOPNOTSUPP, "has a backing file"},
		{"small clusters", 20, 4, 8, -EBADMSG, "damaged"},
		{"large clusters", 20, 4, 22, -EBADMSG, "damaged"},
		{"no bytes", 24, 8, 0, -ERANGE, "0 bytes"},
		{"half a sector", 24, 8, (UINT64_C(1) << 30) + 256, -ERANGE, "whole sectors"},
		{"too many bytes", 24, 8, (UINT64_C(4) << 40) + 512, -ERANGE, "4 TiB"},
		{"encrypted", 32, 4, 1, -EOPNOTSUPP, "encrypted"},
		{"by LUKS", 32, 4, 2, -EOPNOTSUPP, "encrypted"},
		{"dirty", 72, 8, 1, 0, NULL},
		{"corrupt", 72, 8, 2, -EBADMSG, "corrupt"},
		{"an external data file", 72, 8, 4, -EOPNOTSUPP, "another file"},
		{"compressed by zstd", 72, 8, 8, 0, NULL},
		{"extended tables", 72, 8, 16, 0, NULL},
		{"something new", 72, 8, 32, -EOPNOTSUPP, "0x20"},
		{"something far", 72, 8, UINT64_C(1) << 63, -EOPNOTSUPP, "0x8000000000000000"},
		{"a short header", 100, 4, 103, -EBADMSG, "damaged"},
		{"a long header", 100, 4, 65537, -EBADMSG, "damaged"},
		{"an extension that names a data file", 104, 4, 0x44415441, -EOPNOTSUPP,
			"another file"},
		{"a second one that does", 256, 4, 0x44415441, -EOPNOTSUPP, "another file"},
		{"an unknown one", 104, 4, 0x12345678, 0, NULL},
		{"one without an end", 108, 4, UINT32_MAX, -EOPNOTSUPP, "extensions"},
		{"one to the end", 108, 4, IMG_QCOW2_HEAD_BYTES - 112, -EOPNOTSUPP, "extensions"},
	};

	for (size_t k = 0; k < ARRAY_LEN(t); k++) {
		struct msb_err e = {0};
		int r;

		fresh();
		put(t[k].at, t[k].bytes, t[k].v);
		r = check(sizeof(file), &e);
		if (r != t[k].want || (t[k].says && !strstr(e.msg, t[k].says)))
			fail_msg("%s: %d, '%s'", t[k].what, r, e.msg);
	}
}

/* Features are version 3's; in version 2 the extensions follow where they begin. */
static void version_two(void **state)
{
	fresh();
	put(4, 4, 2);
	put(72, 8, 0);
	assert_int_equal(check(sizeof(file), NULL), 0);
	put(72, 4, 0x44415441);
	assert_int_equal(check(sizeof(file), NULL), -EOPNOTSUPP);
}

static void cut_off(void **state)
{
	for (size_t n = 0; n < 300; n++) {
		_cleanup_free_ uint8_t *own = malloc(n + 1); /* so that one too far is seen */
		uint64_t bytes;
		int r;

		fresh();
		memcpy(own, file, n);
		r = img_qcow2_check(own, n, &bytes, NULL);
		assert_int_equal(r, n < 264 ? -EBADMSG : 0);
	}
}

static void empty_ones(void **state)
{
	_cleanup_free_ uint8_t *p = malloc(IMG_QCOW2_EMPTY_BYTES);
	uint64_t bytes;
	uint8_t size[8];

	assert_non_null(p);
	img_qcow2_make(UINT64_C(64) << 20, p);
	assert_int_equal(img_qcow2_check(p, IMG_QCOW2_HEAD_BYTES, &bytes, NULL), 0);
	assert_int_equal(bytes, UINT64_C(64) << 20);
	img_qcow2_resize(IMG_DISK_MAX_BYTES, size);
	memcpy(p + IMG_QCOW2_SIZE_OFF, size, sizeof(size));
	assert_int_equal(img_qcow2_check(p, IMG_QCOW2_HEAD_BYTES, &bytes, NULL), 0);
	assert_int_equal(bytes, IMG_DISK_MAX_BYTES);
}

/* What QEMU's own tool says of ours, also at the largest size, and written to its end. */
static void beside_qemu_img(void **state)
{
	_cleanup_free_ uint8_t *p = malloc(IMG_QCOW2_EMPTY_BYTES);
	static const uint64_t sizes[] = {
		IMG_DISK_MIN_BYTES, UINT64_C(10) << 30, IMG_DISK_MAX_BYTES};
	char dir[] = "/tmp/msb-qcow2-XXXXXX", path[64], cmd[256];

	if (system("command -v qemu-img qemu-io >/dev/null") != 0)
		skip(); /* qemu-utils of tools/packages */
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/x.qcow2", dir);
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		img_qcow2_make(sizes[k], p);
		assert_int_equal(msb_write_full(fd, p, IMG_QCOW2_EMPTY_BYTES), 0);
		(void)snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 %s", path);
		assert_int_equal(system(cmd), 0);
		(void)snprintf(cmd, sizeof(cmd),
			"qemu-io -f qcow2 -c 'write -q -P 7 %llu 64k' -c 'read -q -P 7 %llu 64k' -c "
			"'read -q -P 0 0 64k' %s",
			(unsigned long long)sizes[k] - 65536, (unsigned long long)sizes[k] - 65536,
			path);
		assert_int_equal(system(cmd), 0);
		(void)snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 %s", path);
		assert_int_equal(system(cmd), 0);
	}
	assert_int_equal(msb_rm_rf(AT_FDCWD, dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers),
		cmocka_unit_test(version_two),
		cmocka_unit_test(cut_off),
		cmocka_unit_test(empty_ones),
		cmocka_unit_test(beside_qemu_img),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
