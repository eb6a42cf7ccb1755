// SPDX-License-Identifier: Apache-2.0
// qcow2 headers: any bytes; what is accepted leads to no other file.
#include "fs/image/qcow2.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t none[8];
	uint64_t bytes = 0;

	if (size > IMG_QCOW2_HEAD_BYTES)
		size = IMG_QCOW2_HEAD_BYTES;
	if (img_qcow2_check(data, size, &bytes, NULL) == 0 &&
		(memcmp(data + 8, none, 8) != 0 || bytes < IMG_DISK_MIN_BYTES ||
			bytes > IMG_DISK_MAX_BYTES || bytes % IMG_DISK_ALIGN ||
			(data[7] == 3 && data[79] & 4)))
		abort();
	return 0;
}
