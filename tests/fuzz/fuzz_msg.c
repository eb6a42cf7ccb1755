// SPDX-License-Identifier: Apache-2.0
// The decoder of messages between our processes: any datagram, then every accessor.
#include "base/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct msb_msg m;
	size_t n = size < MSB_MSG_MAX ? size : MSB_MSG_MAX;
	uint64_t v;

	memcpy(m.data, data, n);
	if (msb_msg_decode(&m, n) < 0)
		return 0;
	if (strlen(msb_msg_verb(&m)) >= m.head_bytes || m.head_bytes + m.payload_bytes + 8 != n)
		abort();
	for (const char *p = NULL; (p = msb_msg_next(&m, "k", p));)
		if (p + strlen(p) >= m.data + m.head_bytes)
			abort();
	(void)msb_msg_get_u64(&m, "n", &v);
	return 0;
}
