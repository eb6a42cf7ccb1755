/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which partition of a disk is the root. Pure: the disk's first bytes, which its author shaped.
 * Source: UEFI 2.10 section 5.3 (GPT) and the Discoverable Partitions Specification (types).
 */
#ifndef MSB_GUEST_PARTS_H
#define MSB_GUEST_PARTS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define GA_PARTS_BYTES 65536 /* of a disk, that are looked at */
#define GA_MAX_PARTS   128

enum ga_part_kind {
	GA_PART_OTHER,
	GA_PART_BOOT,  /* of firmware and boot loaders */
	GA_PART_LINUX, /* a Linux file system, no more is said */
	GA_PART_ROOT,  /* the root of x86-64 */
};

struct ga_part {
	unsigned int number; /* as the kernel counts: vdaN */
	enum ga_part_kind kind;
	char label[37]; /* what of it is printable ASCII; "" where the table has none */
};

/**
 * ga_parts_parse() - The partitions of a GPT, or the primary ones of an MBR
 * @p, @n: the disk's first bytes; @sector: 512 or 4096
 * Return: how many, 0 where there is no table; never more than @max.
 */
size_t ga_parts_parse(
	const uint8_t *p, size_t n, unsigned int sector, struct ga_part *ret, size_t max);

/**
 * ga_parts_root() - By type, then by label, then the only one of Linux, then the only one
 * Return: its number; -ENOENT with a sentence that lists them.
 */
int ga_parts_root(const struct ga_part *part, size_t n, struct msb_err *e);

#endif
