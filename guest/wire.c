// SPDX-License-Identifier: Apache-2.0
// The wire protocol: framing, resynchronisation, key-value payloads. Pure over bytes.
#include "guest/wire.h"

#include <errno.h>
#include <string.h>

/* The first byte appears nowhere else in it, so a failed match restarts at that byte alone. */
static const uint8_t magic[16] = {
	0xd7, 'm', 's', 'b', ' ', 'a', 'g', 'e', 'n', 't', 0x0d, 0x0a, 0x1a, 0x0a, 0xfe, 0x01};

_Static_assert(WIRE_PREAMBLE_BYTES == sizeof(magic) + 2 + 2 + 4 + WIRE_NONCE_BYTES + 4, "layout");
_Static_assert(WIRE_MIN_WINDOW >= WIRE_COST(WIRE_STREAM_MAX), "a whole frame fits any window");
_Static_assert(WIRE_IN_WINDOW >= WIRE_COST(WIRE_STREAM_MAX), "a whole frame fits any window");

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
	uint32_t c = ~0u;

	while (n--) {
		c ^= *p++;
		for (int k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
	}
	return ~c;
}

static void preamble_put(uint8_t *b, const struct wire_preamble *p)
{
	memcpy(b, magic, sizeof(magic));
	wire_put32(b + 16, (uint32_t)p->version | (uint32_t)p->kind << 16);
	wire_put32(b + 20, p->flags);
	memcpy(b + 24, p->nonce, WIRE_NONCE_BYTES);
	wire_put32(b + 40, crc32_of(b, 40));
}

static bool preamble_get(const uint8_t *b, struct wire_preamble *p)
{
	uint32_t vk = wire_get32(b + 16);

	if (memcmp(b, magic, sizeof(magic)) != 0 || wire_get32(b + 40) != crc32_of(b, 40))
		return false;
	p->version = (uint16_t)vk;
	p->kind = (uint16_t)(vk >> 16);
	p->flags = wire_get32(b + 20);
	memcpy(p->nonce, b + 24, WIRE_NONCE_BYTES);
	return true;
}

/* ---- receiving */

void wire_rx_init(struct wire_rx *rx)
{
	rx->off = rx->len = 0;
	rx->tag = 0;
	rx->synced = false;
}

uint8_t *wire_rx_room(struct wire_rx *rx, size_t *ret_n)
{
	if (rx->off == rx->len) {
		rx->off = rx->len = 0;
	} else if (rx->off && sizeof(rx->buf) - rx->len < WIRE_FRAME_MAX) {
		memmove(rx->buf, rx->buf + rx->off, rx->len - rx->off);
		rx->len -= rx->off;
		rx->off = 0;
	}
	*ret_n = sizeof(rx->buf) - rx->len;
	return rx->buf + rx->len;
}

void wire_rx_filled(struct wire_rx *rx, size_t n)
{
	rx->len += n;
}

static int hunt(struct wire_rx *rx, struct wire_preamble *p)
{
	while (rx->off < rx->len) {
		const uint8_t *b = memchr(rx->buf + rx->off, magic[0], rx->len - rx->off);
		size_t have, head;

		if (!b) {
			rx->off = rx->len;
			break;
		}
		rx->off = (size_t)(b - rx->buf);
		have = rx->len - rx->off;
		head = have < sizeof(magic) ? have : sizeof(magic);
		if (memcmp(b, magic, head) == 0) {
			if (have < WIRE_PREAMBLE_BYTES)
				break;
			if (preamble_get(b, p)) {
				rx->off += WIRE_PREAMBLE_BYTES;
				return WIRE_GOT_PREAMBLE;
			}
		}
		rx->off++;
	}
	return WIRE_MORE;
}

static bool type_known(uint8_t t)
{
	return (t >= WIRE_BOOT && t <= WIRE_CPUS) || (t >= WIRE_OK && t <= WIRE_EVENT) ||
	       t == WIRE_CREDIT;
}

int wire_rx_next(struct wire_rx *rx, struct wire_preamble *p, struct wire_frame *f)
{
	const uint8_t *b = rx->buf + rx->off;
	size_t have = rx->len - rx->off;
	uint32_t n;

	if (!rx->synced)
		return hunt(rx, p);
	if (have < WIRE_HEADER)
		return WIRE_MORE;
	n = wire_get32(b + 8);
	if (!type_known(b[0]) || b[1] || b[2] || b[3] || n > WIRE_MAX_PAYLOAD) {
		rx->synced = false;
		return -EBADMSG;
	}
	if (have < WIRE_HEADER + (size_t)n + WIRE_TRAILER)
		return WIRE_MORE;
	if (wire_get32(b + WIRE_HEADER + n) != rx->tag) {
		/* A frame that was cut. All of it is skipped: what it carries is somebody's data
		 * and may imitate a preamble, and the zeros before a real one are longer. */
		rx->off += WIRE_HEADER + (size_t)n + WIRE_TRAILER;
		rx->synced = false;
		return -EBADMSG;
	}
	*f = (struct wire_frame){
		.type = b[0], .id = wire_get32(b + 4), .len = n, .payload = b + WIRE_HEADER};
	rx->off += WIRE_HEADER + (size_t)n + WIRE_TRAILER;
	return WIRE_GOT_FRAME;
}

void wire_rx_accept(struct wire_rx *rx, const struct wire_preamble *p)
{
	rx->tag = wire_get32(p->nonce);
	rx->synced = true;
}

void wire_rx_lost(struct wire_rx *rx)
{
	rx->synced = false;
}

/* ---- sending */

void wire_tx_init(struct wire_tx *tx)
{
	tx->off = tx->len = 0;
	tx->tag = 0;
}

void wire_tx_start(struct wire_tx *tx, const struct wire_preamble *p, bool zeros)
{
	tx->off = tx->len = 0;
	tx->tag = wire_get32(p->nonce);
	if (zeros) {
		memset(tx->buf, 0, WIRE_FRAME_MAX);
		tx->len = WIRE_FRAME_MAX;
	}
	preamble_put(tx->buf + tx->len, p);
	tx->len += WIRE_PREAMBLE_BYTES;
}

size_t wire_tx_space(struct wire_tx *tx)
{
	size_t free_bytes;

	if (tx->off && sizeof(tx->buf) - tx->len < WIRE_FRAME_MAX) {
		memmove(tx->buf, tx->buf + tx->off, tx->len - tx->off);
		tx->len -= tx->off;
		tx->off = 0;
	}
	free_bytes = sizeof(tx->buf) - tx->len;
	if (free_bytes <= WIRE_HEADER + WIRE_TRAILER)
		return 0;
	free_bytes -= WIRE_HEADER + WIRE_TRAILER;
	return free_bytes < WIRE_MAX_PAYLOAD ? free_bytes : WIRE_MAX_PAYLOAD;
}

int wire_tx_frame(struct wire_tx *tx, enum wire_type type, uint32_t id, const void *p, size_t n)
{
	if (n > WIRE_MAX_PAYLOAD)
		return -E2BIG;
	if (sizeof(tx->buf) - (tx->len - tx->off) < WIRE_HEADER + n + WIRE_TRAILER ||
		wire_tx_space(tx) < n)
		return -ENOBUFS;
	if (n)
		memcpy(wire_tx_place(tx), p, n);
	wire_tx_commit(tx, type, id, n);
	return 0;
}

uint8_t *wire_tx_place(struct wire_tx *tx)
{
	return tx->buf + tx->len + WIRE_HEADER;
}

void wire_tx_commit(struct wire_tx *tx, enum wire_type type, uint32_t id, size_t n)
{
	uint8_t *b = tx->buf + tx->len;

	wire_put32(b, (uint32_t)type);
	wire_put32(b + 4, id);
	wire_put32(b + 8, (uint32_t)n);
	wire_put32(b + WIRE_HEADER + n, tx->tag);
	tx->len += WIRE_HEADER + n + WIRE_TRAILER;
}

void wire_tx_written(struct wire_tx *tx, size_t n)
{
	tx->off += n;
	if (tx->off == tx->len)
		tx->off = tx->len = 0;
}

/* ---- kv payloads */

int wire_kv_next(const uint8_t *p, size_t n, size_t *pos, const char **key, size_t *key_len,
	const char **value)
{
	const char *start = (const char *)p + *pos, *eq, *end;

	if (*pos >= n)
		return 0;
	end = memchr(start, '\0', n - *pos);
	eq = end ? memchr(start, '=', (size_t)(end - start)) : NULL;
	if (!eq || eq == start)
		return -EBADMSG;
	*key = start;
	*key_len = (size_t)(eq - start);
	*value = eq + 1;
	*pos += (size_t)(end - start) + 1;
	return 1;
}

bool wire_kv_is(const char *key, size_t key_len, const char *name)
{
	return strlen(name) == key_len && memcmp(key, name, key_len) == 0;
}

int wire_kv_add(uint8_t *buf, size_t cap, size_t *pos, const char *key, const char *value)
{
	size_t k = strlen(key), v = strlen(value);

	if (k + v + 2 > cap - *pos)
		return -E2BIG;
	memcpy(buf + *pos, key, k);
	buf[*pos + k] = '=';
	memcpy(buf + *pos + k + 1, value, v + 1);
	*pos += k + v + 2;
	return 0;
}
