// SPDX-License-Identifier: Apache-2.0
// Which partition of a disk is the root.
#include "guest/parts.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define MBR_TABLE     446
#define MBR_ENTRY     16
#define GPT_ENTRY_MIN 128
#define GPT_NAME      56 /* in an entry: 36 units of UTF-16 */

/* As they lie on the disk: the first three groups little-endian. */
static const struct {
	enum ga_part_kind kind;
	uint8_t guid[16];
} types[] = {
	/* 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 */
	{GA_PART_ROOT, {0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca,
			       0xf9, 0x84, 0xb7, 0x09}},
	/* 0fc63daf-8483-4772-8e79-3d69d8477de4 */
	{GA_PART_LINUX, {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69,
				0xd8, 0x47, 0x7d, 0xe4}},
	/* c12a7328-f81f-11d2-ba4b-00a0c93ec93b, the EFI system partition */
	{GA_PART_BOOT, {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0,
			       0xc9, 0x3e, 0xc9, 0x3b}},
	/* 21686148-6449-6e6f-744e-656564454649, for a boot loader of a BIOS */
	{GA_PART_BOOT, {0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65,
			       0x64, 0x45, 0x46, 0x49}},
	/* bc13c2ff-59e6-4262-a352-b275fd6f7172, /boot */
	{GA_PART_BOOT, {0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75,
			       0xfd, 0x6f, 0x71, 0x72}},
};

static const char *const root_labels[] = {"root", "rootfs", "cloudimg-rootfs"};

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void gpt_entry(const uint8_t *p, struct ga_part *ret)
{
	size_t k = 0;

	ret->kind = GA_PART_OTHER;
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (!memcmp(p, types[i].guid, 16))
			ret->kind = types[i].kind;
	for (size_t i = 0; i < 36; i++) {
		unsigned int c = p[GPT_NAME + 2 * i] | (unsigned int)p[GPT_NAME + 2 * i + 1] << 8;

		if (c == 0)
			break;
		if (c >= 0x20 && c < 0x7f)
			ret->label[k++] = (char)c;
	}
	ret->label[k] = '\0';
}

static size_t parse_gpt(
	const uint8_t *p, size_t n, unsigned int sector, struct ga_part *ret, size_t max)
{
	static const uint8_t none[16];
	const uint8_t *h = p + sector;
	uint32_t count = get32(h + 80), size = get32(h + 84);
	uint64_t lba = get64(h + 72);
	size_t got = 0, at;

	if (size < GPT_ENTRY_MIN || size > n || lba > n / sector)
		return 0;
	at = (size_t)lba * sector;
	for (uint32_t k = 0; k < count && got < max && at <= n - size; k++, at += size) {
		if (!memcmp(p + at, none, 16))
			continue;
		ret[got].number = k + 1;
		gpt_entry(p + at, &ret[got++]);
	}
	return got;
}

static size_t parse_mbr(const uint8_t *p, struct ga_part *ret, size_t max)
{
	size_t got = 0;

	for (unsigned int k = 0; k < 4 && got < max; k++) {
		const uint8_t *entry = p + MBR_TABLE + (size_t)k * MBR_ENTRY;

		/* A file system's first sector may end in the same two bytes as a table. */
		if (entry[0] != 0 && entry[0] != 0x80)
			return 0;
		if (entry[4] == 0 || get32(entry + 12) == 0)
			continue;
		ret[got++] = (struct ga_part){.number = k + 1,
			.kind = entry[4] == 0x83   ? GA_PART_LINUX
				: entry[4] == 0xef ? GA_PART_BOOT
						   : GA_PART_OTHER};
	}
	return got;
}

size_t ga_parts_parse(
	const uint8_t *p, size_t n, unsigned int sector, struct ga_part *ret, size_t max)
{
	if (n < 512 || p[510] != 0x55 || p[511] != 0xaa)
		return 0;
	if (n >= 2 * (size_t)sector && sector >= 512 && !memcmp(p + sector, "EFI PART", 8))
		return parse_gpt(p, n, sector, ret, max);
	return parse_mbr(p, ret, max);
}

static bool labelled(const struct ga_part *p)
{
	for (size_t i = 0; i < ARRAY_LEN(root_labels); i++)
		if (!strcasecmp(p->label, root_labels[i]))
			return true;
	return false;
}

int ga_parts_root(const struct ga_part *part, size_t n, struct msb_err *e)
{
	char text[160];
	struct msb_str list = MSB_STR_FIXED(text);
	const struct ga_part *of_linux = NULL, *other = NULL;
	size_t nlinux = 0, nother = 0;

	text[0] = '\0';
	for (size_t k = 0; k < n; k++)
		if (part[k].kind == GA_PART_ROOT)
			return (int)part[k].number;
	for (size_t k = 0; k < n; k++)
		if (part[k].kind != GA_PART_BOOT && labelled(&part[k]))
			return (int)part[k].number;
	for (size_t k = 0; k < n; k++) {
		static const char *const names[] = {"other", "boot", "Linux", "root"};

		if (part[k].kind == GA_PART_LINUX) {
			of_linux = &part[k];
			nlinux++;
		} else if (part[k].kind == GA_PART_OTHER) {
			other = &part[k];
			nother++;
		}
		msb_str_addf(&list, "%s%u %s%s%s", k ? ", " : "", part[k].number,
			names[part[k].kind], *part[k].label ? " " : "", part[k].label);
	}
	if (nlinux == 1)
		return (int)of_linux->number;
	if (nlinux == 0 && nother == 1)
		return (int)other->number;
	return msb_err_set(e, ENOENT,
		"no partition of the disk says that it is the root, by its type, by a label `root`, "
		"or as the only one of Linux: %s",
		text);
}
