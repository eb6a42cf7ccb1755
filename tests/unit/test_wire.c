// SPDX-License-Identifier: Apache-2.0
// guest/wire: frames survive any chunking, a session any cut, and nothing else passes.
#include "base/cleanup.h"
#include "guest/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct wire_tx tx, other;
static struct wire_rx rx;
static const struct wire_preamble sync1 = {
	.version = WIRE_VERSION, .kind = WIRE_SYNC, .nonce = "first session's"};
static const struct wire_preamble sync2 = {.version = WIRE_VERSION,
	.kind = WIRE_SYNC,
	.flags = WIRE_FLAG_BOOTED,
	.nonce = "the second one"};

struct seen {
	unsigned int preambles, frames, bad;
	struct wire_preamble last;
	struct wire_frame frame;
	uint8_t first, final; /* bytes of the last payload */
};

/* Gives @n bytes to the receiver in chunks, accepting every preamble. */
static void feed(const uint8_t *p, size_t n, size_t chunk, struct seen *s)
{
	while (n) {
		size_t room, k = n < chunk ? n : chunk;
		uint8_t *to = wire_rx_room(&rx, &room);
		bool more = true;

		assert_true(room > 0);
		if (k > room)
			k = room;
		memcpy(to, p, k);
		wire_rx_filled(&rx, k);
		p += k;
		n -= k;
		while (more) {
			struct wire_frame f;

			switch (wire_rx_next(&rx, &s->last, &f)) {
			case WIRE_MORE: more = false; break;
			case WIRE_GOT_PREAMBLE:
				s->preambles++;
				wire_rx_accept(&rx, &s->last);
				break;
			case WIRE_GOT_FRAME:
				s->frames++;
				s->frame = f;
				s->first = f.len ? f.payload[0] : 0;
				s->final = f.len ? f.payload[f.len - 1] : 0;
				break;
			default: s->bad++;
			}
		}
	}
}

static void start(const struct wire_preamble *p)
{
	wire_rx_init(&rx);
	wire_tx_init(&tx);
	wire_tx_start(&tx, p, true);
}

static void round_trip(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 4096, WIRE_STREAM_MAX, WIRE_MAX_PAYLOAD};
	static const size_t chunks[] = {1, 7, 4096, WIRE_FRAME_MAX, SIZE_MAX};
	static uint8_t data[WIRE_MAX_PAYLOAD];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
			struct seen s = {0};
			size_t n = sizes[i];

			start(&sync2);
			memset(data, 'x', sizeof(data));
			data[0] = 'a';
			if (n > 1)
				data[n - 1] = 'z';
			assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 77, data, n), 0);
			assert_int_equal(wire_tx_frame(&tx, WIRE_EXIT, 78, "\0\1\2", 3), 0);
			feed(tx.buf, tx.len - (WIRE_HEADER + 3 + WIRE_TRAILER), chunks[c], &s);
			assert_int_equal(s.preambles, 1);
			assert_int_equal(s.last.kind, WIRE_SYNC);
			assert_int_equal(s.last.version, WIRE_VERSION);
			assert_int_equal(s.last.flags, WIRE_FLAG_BOOTED);
			assert_memory_equal(s.last.nonce, sync2.nonce, WIRE_NONCE_BYTES);
			assert_int_equal(s.frames, 1);
			assert_int_equal(s.bad, 0);
			assert_int_equal(s.frame.type, WIRE_OUT);
			assert_int_equal(s.frame.id, 77);
			assert_int_equal(s.frame.len, n);
			if (n)
				assert_int_equal(s.first, 'a');
			if (n > 1)
				assert_int_equal(s.final, 'z');
			feed(tx.buf + tx.len - (WIRE_HEADER + 3 + WIRE_TRAILER),
				WIRE_HEADER + 3 + WIRE_TRAILER, chunks[c], &s);
			assert_int_equal(s.frames, 2);
			assert_int_equal(s.frame.type, WIRE_EXIT);
		}
	}
}

/* Whatever byte the old session was cut at, the next one starts, and nothing of the cut frame is
 * acted upon, though it carries what looks like a session of its own. */
static void resync_at_every_cut(void **state)
{
	static uint8_t evil[2048];
	struct wire_preamble fake = sync1;
	size_t start_bytes, frame_bytes, evil_bytes;

	memset(&fake.nonce, 'E', sizeof(fake.nonce));
	wire_tx_init(&other);
	wire_tx_start(&other, &fake, false);
	assert_int_equal(wire_tx_frame(&other, WIRE_EXEC, 1, "arg=evil", 9), 0);
	memcpy(evil, other.buf, other.len);
	evil_bytes = sizeof(evil);
	frame_bytes = WIRE_HEADER + evil_bytes + WIRE_TRAILER;
	for (size_t cut = 0; cut < frame_bytes; cut++) {
		struct seen s = {0};

		wire_rx_init(&rx);
		wire_tx_init(&tx);
		wire_tx_start(&tx, &sync1, false);
		start_bytes = tx.len;
		assert_int_equal(wire_tx_frame(&tx, WIRE_IN, 5, evil, evil_bytes), 0);
		feed(tx.buf, start_bytes + cut, SIZE_MAX, &s);
		assert_int_equal(s.preambles, 1);
		wire_tx_start(&other, &sync2, true);
		assert_int_equal(wire_tx_frame(&other, WIRE_STATUS, 9, NULL, 0), 0);
		feed(other.buf, other.len, 50000, &s);
		assert_int_equal(s.bad, 1);
		assert_int_equal(s.preambles, 2);
		assert_memory_equal(s.last.nonce, sync2.nonce, WIRE_NONCE_BYTES);
		assert_int_equal(s.frames, 1);
		assert_int_equal(s.frame.type, WIRE_STATUS);
	}
}

static void largest_frame_cut(void **state)
{
	static uint8_t data[WIRE_MAX_PAYLOAD];
	static const size_t cuts[] = {1, WIRE_HEADER - 1, WIRE_HEADER, WIRE_HEADER + 1,
		WIRE_FRAME_MAX - WIRE_TRAILER, WIRE_FRAME_MAX - 1};

	for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
		struct seen s = {0};

		start(&sync1);
		feed(tx.buf, tx.len, SIZE_MAX, &s);
		wire_tx_written(&tx, tx.len);
		memset(data, 0xff, sizeof(data));
		assert_int_equal(wire_tx_frame(&tx, WIRE_IN, 5, data, sizeof(data)), 0);
		feed(tx.buf, cuts[i], SIZE_MAX, &s);
		wire_tx_start(&tx, &sync2, true);
		feed(tx.buf, tx.len, SIZE_MAX, &s);
		assert_int_equal(s.frames, 0);
		assert_int_equal(s.preambles, 2);
	}
}

static void hunting(void **state)
{
	static const char *const noise[] = {"", "x", "\xd7", "\xd7msb",
		"\xd7msb agent\r\n\x1a\n\xfe\x01", "\xd7\xd7\xd7msb agent",
		"\xd7msb agent\r\n\x1a\n\xfe\x01 and a whole preamble with a bad sum"};

	for (size_t i = 0; i < ARRAY_LEN(noise); i++)
		for (size_t chunk = 1; chunk < 70; chunk += 11) {
			struct seen s = {0};

			wire_rx_init(&rx);
			wire_tx_init(&tx);
			wire_tx_start(&tx, &sync1, false);
			feed((const uint8_t *)noise[i], strlen(noise[i]), chunk, &s);
			feed(tx.buf, tx.len, chunk, &s);
			assert_int_equal(s.preambles, 1);
			assert_int_equal(s.bad, 0);
		}
}

static void damaged_preamble(void **state)
{
	for (size_t i = 0; i < WIRE_PREAMBLE_BYTES; i++) {
		struct seen s = {0};

		wire_rx_init(&rx);
		wire_tx_init(&tx);
		wire_tx_start(&tx, &sync1, false);
		tx.buf[i] ^= 0x10;
		feed(tx.buf, tx.len, SIZE_MAX, &s);
		assert_int_equal(s.preambles, 0);
	}
}

static void refused_headers(void **state)
{
	static const struct {
		uint8_t head[WIRE_HEADER];
	} bad[] = {
		{{0}},
		{{WIRE_CPUS + 1}},
		{{WIRE_OK - 1}},
		{{WIRE_EVENT + 1}},
		{{WIRE_CREDIT + 1}},
		{{255}},
		{{WIRE_OUT, 1}},
		{{WIRE_OUT, 0, 0, 1}},
		{{WIRE_OUT, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0}}, /* WIRE_MAX_PAYLOAD + 1 */
		{{WIRE_OUT, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct seen s = {0};

		start(&sync1);
		feed(tx.buf, tx.len, SIZE_MAX, &s);
		feed(bad[i].head, WIRE_HEADER, SIZE_MAX, &s);
		assert_int_equal(s.bad, 1);
		assert_int_equal(s.frames, 0);
		assert_false(rx.synced);
	}
}

static void wrong_tag(void **state)
{
	struct seen s = {0};

	start(&sync1);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, "abc", 3), 0);
	tx.buf[tx.len - 1] ^= 1;
	feed(tx.buf, tx.len, SIZE_MAX, &s);
	assert_int_equal(s.bad, 1);
	assert_int_equal(s.frames, 0);
}

static void full_buffer(void **state)
{
	static uint8_t data[WIRE_MAX_PAYLOAD + 1];
	unsigned int n = 0;

	wire_tx_init(&tx);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, data, sizeof(data)), -E2BIG);
	while (wire_tx_frame(&tx, WIRE_OUT, 1, data, WIRE_MAX_PAYLOAD) == 0)
		n++;
	assert_int_equal(n, 4);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, data, WIRE_MAX_PAYLOAD), -ENOBUFS);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, data, 0), -ENOBUFS);
	wire_tx_written(&tx, WIRE_FRAME_MAX + 1);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, data, WIRE_MAX_PAYLOAD), 0);
	assert_int_equal(wire_tx_frame(&tx, WIRE_OUT, 1, data, 0), -ENOBUFS);
	wire_tx_written(&tx, tx.len - tx.off);
	assert_int_equal(wire_tx_space(&tx), WIRE_MAX_PAYLOAD);
}

static void kv(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		int entries; /* or -EBADMSG */
	} t[] = {
		{"", 0, 0},
		{"a=b", 4, 1},
		{"a=", 3, 1},
		{"a=b\0cc=d=e", 11, 2},
		{"a=b", 3, -EBADMSG}, /* no NUL */
		{"ab", 3, -EBADMSG},
		{"=b", 3, -EBADMSG},
		{"\0", 1, -EBADMSG},
		{"a=b\0", 5, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		const char *k, *v;
		size_t pos = 0, len;
		int n = 0, r;

		while ((r = wire_kv_next((const uint8_t *)t[i].bytes, t[i].n, &pos, &k, &len, &v)) >
			0)
			n++;
		assert_int_equal(r < 0 ? r : n, t[i].entries);
	}
}

static void kv_room(void **state)
{
	const char *k, *v;
	uint8_t b[8];
	size_t n = 0, pos = 0, len;

	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "abc", "defg"), -E2BIG);
	assert_int_equal(n, 0);
	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "abc", "def"), 0);
	assert_int_equal(n, 8);
	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "", ""), -E2BIG);
	assert_int_equal(wire_kv_next(b, n, &pos, &k, &len, &v), 1);
	assert_true(wire_kv_is(k, len, "abc"));
	assert_false(wire_kv_is(k, len, "ab"));
	assert_false(wire_kv_is(k, len, "abcd"));
	assert_string_equal(v, "def");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(resync_at_every_cut),
		cmocka_unit_test(largest_frame_cut),
		cmocka_unit_test(hunting),
		cmocka_unit_test(damaged_preamble),
		cmocka_unit_test(refused_headers),
		cmocka_unit_test(wrong_tag),
		cmocka_unit_test(full_buffer),
		cmocka_unit_test(kv),
		cmocka_unit_test(kv_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
