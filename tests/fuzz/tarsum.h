/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the checksums of a tar right, so that a fuzzer sees what is behind them. */
#ifndef MSB_TESTS_TARSUM_H
#define MSB_TESTS_TARSUM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline void fix_sums(uint8_t *p, size_t n)
{
	for (size_t off = 0; off + 512 <= n; off += 512) {
		unsigned int sum = 0;

		if (memcmp(p + off + 257, "ustar", 5) != 0)
			continue;
		memset(p + off + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += p[off + (size_t)i];
		(void)snprintf((char *)p + off + 148, 8, "%06o", sum);
	}
}

#endif
