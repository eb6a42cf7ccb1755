// SPDX-License-Identifier: Apache-2.0
// Partition tables: any bytes, both sizes of a sector.
#include "guest/parts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ga_part part[GA_MAX_PARTS];
	struct msb_err e;

	for (unsigned int sector = 512; sector <= 4096; sector *= 8) {
		size_t n = ga_parts_parse(data, size, sector, part, GA_MAX_PARTS);
		int r;

		if (n > GA_MAX_PARTS)
			abort();
		for (size_t k = 0; k < n; k++)
			if (!part[k].number || strlen(part[k].label) > 36)
				abort();
		r = n ? ga_parts_root(part, n, &e) : 0;
		if (r < 0 && strlen(e.msg) >= sizeof(e.msg))
			abort();
	}
	return 0;
}
