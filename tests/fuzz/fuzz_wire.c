// SPDX-License-Identifier: Apache-2.0
// The agent's wire protocol: any bytes in any chunks, with and without a session; kv payloads.
#include "guest/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct wire_frame *f)
{
	const char *key, *value;
	size_t pos = 0, len;

	while (wire_kv_next(f->payload, f->len, &pos, &key, &len, &value) > 0)
		if (pos > f->len || value + strlen(value) >= (const char *)f->payload + f->len)
			abort();
}

/* The first byte: whether a session (of tag 0) exists already, and the size of the chunks. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct wire_rx rx;
	struct wire_preamble p;
	struct wire_frame f;
	size_t chunk;
	int r;

	if (!size)
		return 0;
	chunk = (size_t)1 << (data[0] >> 4);
	wire_rx_init(&rx);
	rx.synced = data[0] & 1;
	for (data++, size--; size;) {
		size_t room, n = size < chunk ? size : chunk;
		uint8_t *to = wire_rx_room(&rx, &room);

		if (room < WIRE_FRAME_MAX)
			abort();
		n = n < room ? n : room;
		memcpy(to, data, n);
		wire_rx_filled(&rx, n);
		data += n;
		size -= n;
		while ((r = wire_rx_next(&rx, &p, &f)) != WIRE_MORE) {
			if (r == WIRE_GOT_PREAMBLE)
				wire_rx_accept(&rx, &p);
			else if (r == WIRE_GOT_FRAME && f.len > WIRE_MAX_PAYLOAD)
				abort();
			else if (r == WIRE_GOT_FRAME)
				walk(&f);
			else if (rx.synced)
				abort();
		}
		if (rx.off > rx.len || rx.len > sizeof(rx.buf))
			abort();
	}
	return 0;
}
