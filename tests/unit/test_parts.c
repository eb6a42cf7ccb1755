// SPDX-License-Identifier: Apache-2.0
// guest/parts: partition tables as tools write them and as nobody should, and which is the root.
#include "base/cleanup.h"
#include "guest/parts.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define EFI   "28732ac11ff8d211ba4b00a0c93ec93b"
#define BIOS  "4861682149646f6e744e656564454649"
#define LINUX "af3dc60f838472478e793d69d8477de4"
#define ROOT  "e3bc684fcde8b14d96e7fbcaf984b709"
#define OTHER "a2a0d0ebe5b9334487c068b6b72699c7"

static uint8_t disk[GA_PARTS_BYTES];

static void put(size_t at, unsigned int bytes, uint64_t v)
{
	for (unsigned int k = 0; k < bytes; k++)
		disk[at + k] = (uint8_t)(v >> (8 * k));
}

static void gpt(unsigned int sector, uint64_t lba, uint32_t count, uint32_t size)
{
	memset(disk, 0, sizeof(disk));
	put(510, 2, 0xaa55);
	put(446 + 4, 1, 0xee);
	put(446 + 12, 4, UINT32_MAX);
	memcpy(disk + sector, "EFI PART", 8);
	put(sector + 72, 8, lba);
	put(sector + 80, 4, count);
	put(sector + 84, 4, size);
}

static void entry(size_t at, const char *type, const char *label)
{
	for (unsigned int k = 0; k < 16; k++) {
		char two[3] = {type[2 * k], type[2 * k + 1], '\0'};

		disk[at + k] = (uint8_t)strtoul(two, NULL, 16);
	}
	for (size_t k = 0, n = strnlen(label, 36); k < n; k++)
		disk[at + 56 + 2 * k] = (uint8_t)label[k];
}

static struct ga_part part[GA_MAX_PARTS];

static void types(void **state)
{
	gpt(512, 2, 128, 128);
	entry(1024, EFI, "ESP");
	entry(1024 + 128, LINUX, "swap?");
	entry(1024 + 3 * 128, ROOT, "a name of thirty-six characters or mo");
	entry(1024 + 127 * 128, OTHER, "last");
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, GA_MAX_PARTS), 4);
	assert_int_equal(part[0].kind, GA_PART_BOOT);
	assert_int_equal(part[1].kind, GA_PART_LINUX);
	assert_string_equal(part[1].label, "swap?");
	assert_int_equal(part[2].number, 4);
	assert_int_equal(part[2].kind, GA_PART_ROOT);
	assert_string_equal(part[2].label, "a name of thirty-six characters or m");
	assert_int_equal(part[3].number, 128);
	assert_int_equal(part[3].kind, GA_PART_OTHER);
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, 2), 2);
	gpt(4096, 2, 4, 128);
	entry(8192, ROOT, "big sectors");
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 4096, part, GA_MAX_PARTS), 1);
}

static void which_is_root(void **state)
{
	static const struct {
		const char *what;
		struct {
			const char *type, *label;
		} p[4];
		int want;
	} t[] = {
		{"by type", {{EFI, ""}, {LINUX, "root"}, {ROOT, ""}}, 3},
		{"by label", {{EFI, "root"}, {LINUX, "home"}, {LINUX, "root"}}, 3},
		{"in capitals", {{LINUX, "data"}, {OTHER, "ROOTFS"}}, 2},
		{"the cloud's", {{LINUX, ""}, {LINUX, "cloudimg-rootfs"}}, 2},
		{"the only one of Linux", {{BIOS, ""}, {EFI, ""}, {LINUX, "x"}, {OTHER, ""}}, 3},
		{"the only one", {{OTHER, ""}}, 1},
		{"the only one beside the boot loader's", {{EFI, ""}, {OTHER, ""}}, 2},
		{"two of Linux", {{LINUX, "a"}, {LINUX, "b"}}, -ENOENT},
		{"two others", {{OTHER, ""}, {OTHER, ""}}, -ENOENT},
		{"a boot loader alone", {{EFI, ""}}, -ENOENT},
	};

	for (size_t k = 0; k < ARRAY_LEN(t); k++) {
		struct msb_err e = {0};
		size_t n = 0;
		int r;

		gpt(512, 2, 128, 128);
		for (; n < 4 && t[k].p[n].type; n++)
			entry(1024 + n * 128, t[k].p[n].type, t[k].p[n].label);
		assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, GA_MAX_PARTS), n);
		r = ga_parts_root(part, n, &e);
		if (r != t[k].want)
			fail_msg("%s: %d %s", t[k].what, r, e.msg);
		if (r < 0 && (!strstr(e.msg, "no partition") || !strstr(e.msg, "1 ")))
			fail_msg("%s: %s", t[k].what, e.msg);
	}
}

static void mbr(void **state)
{
	memset(disk, 0, sizeof(disk));
	put(510, 2, 0xaa55);
	put(446 + 16 + 4, 1, 0x83);
	put(446 + 16 + 12, 4, 1000);
	put(446 + 32 + 4, 1, 0x82);
	put(446 + 32 + 12, 4, 1000);
	put(446 + 48 + 4, 1, 0x83); /* of no sectors */
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, GA_MAX_PARTS), 2);
	assert_int_equal(part[0].number, 2);
	assert_int_equal(ga_parts_root(part, 2, NULL), 2);
	/* A file system's own boot sector. */
	disk[446] = 0x12;
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, GA_MAX_PARTS), 0);
	disk[446] = 0;
	disk[510] = 0;
	assert_int_equal(ga_parts_parse(disk, sizeof(disk), 512, part, GA_MAX_PARTS), 0);
	assert_int_equal(ga_parts_parse(disk, 511, 512, part, GA_MAX_PARTS), 0);
}

static void hostile(void **state)
{
	static const struct {
		uint64_t lba;
		uint32_t count, size;
		size_t n, want;
	} t[] = {
		{2, UINT32_MAX, 128, GA_PARTS_BYTES, GA_MAX_PARTS},
		{UINT64_MAX, 1, 128, GA_PARTS_BYTES, 0},
		{UINT64_MAX / 512 + 3, 1, 128, GA_PARTS_BYTES, 0},
		{2, 1, 127, GA_PARTS_BYTES, 0},
		{2, 1, UINT32_MAX, GA_PARTS_BYTES, 0},
		{2, 9, GA_PARTS_BYTES, GA_PARTS_BYTES, 0},
		{GA_PARTS_BYTES / 512, 9, 128, GA_PARTS_BYTES, 0},
		{2, 9, 128, 1024, 0},
		{2, 9, 128, 1024 + 127, 0},
		{2, 9, 128, 1024 + 128, 1},
	};

	for (size_t k = 0; k < ARRAY_LEN(t); k++) {
		_cleanup_free_ uint8_t *own = malloc(t[k].n);
		size_t n;

		gpt(512, t[k].lba, t[k].count, t[k].size);
		memset(disk + 1024, 0x41, sizeof(disk) - 1024);
		memcpy(own, disk, t[k].n);
		n = ga_parts_parse(own, t[k].n, 512, part, GA_MAX_PARTS);
		if (n != t[k].want)
			fail_msg("%zu: %zu", k, n);
		if (n)
			(void)ga_parts_root(part, n, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types),
		cmocka_unit_test(which_is_root),
		cmocka_unit_test(mbr),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
