/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What msb must know of qcow2: that a user's file leads to no other file, and how to make one that
 * holds nothing yet. Pure: bytes in, bytes out. Source: docs/interop/qcow2.rst of QEMU.
 */
#ifndef MSB_IMG_QCOW2_H
#define MSB_IMG_QCOW2_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define IMG_QCOW2_HEAD_BYTES 65536 /* of a user's file, that img_qcow2_check() wants to see */
#define IMG_DISK_MIN_BYTES   (UINT64_C(1) << 20)
#define IMG_DISK_MAX_BYTES   (UINT64_C(4) << 40)
#define IMG_DISK_ALIGN	     512 /* bytes of a sector: a disk has whole ones */

/**
 * img_qcow2_check() - May QEMU open this file, read-only and without any other?
 * @p, @n: its first IMG_QCOW2_HEAD_BYTES, or all of them
 * @ret_bytes: what the guest sees, a whole number of sectors
 * Errors: -EBADMSG not a qcow2 file, or a damaged one; -EOPNOTSUPP a backing file, an external data
 * file, encryption, a feature that is not known here; -ERANGE the size. @e is a sentence.
 */
int img_qcow2_check(const uint8_t *p, size_t n, uint64_t *ret_bytes, struct msb_err *e);

/* The bytes of a file that holds nothing yet: each a cluster of 64 KiB. */
#define IMG_QCOW2_EMPTY_BYTES (4u * 65536u)

/**
 * img_qcow2_make() - A file of which nothing is written yet; it names no backing file
 * @bytes: what the guest sees; at most IMG_DISK_MAX_BYTES, for which its first table has room:
 * img_qcow2_resize() is all that growing takes
 */
void img_qcow2_make(uint64_t bytes, uint8_t ret[IMG_QCOW2_EMPTY_BYTES]);

/* Of a file that img_qcow2_make() made: the eight bytes that say its size, and where they are. */
#define IMG_QCOW2_SIZE_OFF 24
void img_qcow2_resize(uint64_t bytes, uint8_t ret[8]);

#endif
