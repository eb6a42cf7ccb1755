// SPDX-License-Identifier: Apache-2.0
// The virtqueue walker: any bytes as rings, tables and buffers of a guest with two memory regions.
#include "fs/virtq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REGION 4096u
#define NUM    16

/* Input: base index; bits: event-idx, log, inflight; then, where there is one, the inflight
 * region's bytes; then those of both regions, zero beyond. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(16) uint8_t mem[2 * REGION], inflight[VQ_INFLIGHT_BYTES(NUM)];
	static uint8_t bits[1]; /* of the first region and what lies between */
	const struct gmem_log log = {bits, sizeof(bits)};
	static struct vq_elem e;
	struct gmem m = {0};
	struct vq_layout l = {.num = NUM, .desc_uaddr = 0, .avail_uaddr = 256, .used_uaddr = 512};
	uint16_t base;
	struct vq q;
	int r = 0;

	if (size < 3)
		return 0;
	memcpy(&base, data, 2);
	l.event_idx = data[2] & 1;
	l.log = data[2] & 2 ? &log : NULL;
	l.log_ring = true;
	l.used_gpa = base;
	if (data[2] & 4) {
		if (size < 3 + sizeof(inflight))
			return 0;
		memcpy(inflight, data + 3, sizeof(inflight));
		l.inflight = (void *)inflight;
		l.inflight_num = NUM;
		data += sizeof(inflight);
		size -= sizeof(inflight);
	}
	memset(mem, 0, sizeof(mem));
	memcpy(mem, data + 3, size - 3 < sizeof(mem) ? size - 3 : sizeof(mem));
	if (gmem_add(&m, &(struct gmem_region){0, 0, REGION, mem}) < 0 ||
		gmem_add(&m, &(struct gmem_region){2 * REGION, 2 * REGION, REGION, mem + REGION}) <
			0)
		abort();
	if (vq_start(&q, &m, &l, base) < 0) {
		if (!l.inflight)
			abort();
		return 0;
	}
	/* Pushing writes into the rings, so that a chain may change under the walker as it would.
	 */
	for (int i = 0; i < 2 * NUM && (r = vq_pop(&q, &e)) == 1; i++) {
		size_t sum[2] = {0};

		for (unsigned int k = 0; k < e.n_out + e.n_in; k++) {
			const uint8_t *p = e.iov[k].iov_base;

			if (p < mem || p + e.iov[k].iov_len > mem + sizeof(mem) ||
				e.iov[k].iov_len == 0)
				abort();
			sum[k >= e.n_out] += e.iov[k].iov_len;
		}
		if (e.n_out + e.n_in > VQ_MAX_SEGS || sum[0] != e.out_bytes ||
			sum[1] != e.in_bytes || e.head >= NUM)
			abort();
		vq_push(&q, &e, (uint32_t)e.in_bytes);
		(void)vq_need_call(&q);
		(void)vq_want_kicks(&q);
		vq_no_kicks(&q);
	}
	if (r < 0 && (!q.broken || vq_pop(&q, &e) != -EPROTO))
		abort();
	return 0;
}
