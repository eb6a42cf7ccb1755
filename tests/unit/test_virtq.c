// SPDX-License-Identifier: Apache-2.0
// fs/virtq: chains arrive whole, malformed rings break the queue and nothing else.
#include "tests/unit/front.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static struct front f;
static struct gmem mem;
static struct vq q;
static struct vq_elem e;

static int start_ring(void)
{
	struct vq_layout l = front_layout(0);

	return vq_start(&q, &mem, &l, front_avail(&f, 0)->idx);
}

static int setup(void **state)
{
	assert_int_equal(front_init(&f), 0);
	front_gmem(&f, &mem);
	return start_ring();
}

static int teardown(void **state)
{
	front_done(&f);
	return 0;
}

#define DATA (FRONT_GPA + FRONT_DATA)

static void chain_arrives(void **state)
{
	struct vring_desc *d = front_desc(&f, 0);

	assert_int_equal(vq_pop(&q, &e), 0);
	d[5] = (struct vring_desc){DATA, 40, VRING_DESC_F_NEXT, 9};
	d[9] = (struct vring_desc){DATA + 100, 0, VRING_DESC_F_NEXT, 2}; /* empty: adds nothing */
	d[2] = (struct vring_desc){DATA + 200, 60, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3};
	d[3] = (struct vring_desc){DATA + 300, 4, VRING_DESC_F_WRITE, 0};
	front_offer(&f, 0, 5);
	assert_true(vq_pending(&q));
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.head, 5);
	assert_int_equal(e.n_out, 1);
	assert_int_equal(e.n_in, 2);
	assert_int_equal(e.out_bytes, 40);
	assert_int_equal(e.in_bytes, 64);
	assert_ptr_equal(e.iov[0].iov_base, f.mem + FRONT_DATA);
	assert_ptr_equal(e.iov[2].iov_base, f.mem + FRONT_DATA + 300);
	assert_int_equal(vq_pop(&q, &e), 0);

	vq_push(&q, &e, 64);
	assert_int_equal(front_used(&f, 0)->idx, 1);
	assert_int_equal(front_used(&f, 0)->ring[0].id, 5);
	assert_int_equal(front_used(&f, 0)->ring[0].len, 64);
}

static void indirect_table(void **state)
{
	struct vring_desc *d = front_desc(&f, 0);
	struct vring_desc *t = (struct vring_desc *)(void *)(f.mem + FRONT_DATA);

	/* A direct descriptor may come before the table (2.7.5.3.2). */
	d[0] = (struct vring_desc){DATA + 8192, 1, VRING_DESC_F_NEXT, 1};
	d[1] = (struct vring_desc){DATA, 3 * sizeof(*t), VRING_DESC_F_INDIRECT, 0};
	t[0] = (struct vring_desc){DATA + 4096, 10, VRING_DESC_F_NEXT, 2};
	t[2] = (struct vring_desc){DATA + 4200, 20, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1};
	t[1] = (struct vring_desc){DATA + 4300, 30, VRING_DESC_F_WRITE, 0};
	front_offer(&f, 0, 0);
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.n_out, 2);
	assert_int_equal(e.n_in, 2);
	assert_int_equal(e.out_bytes, 11);
	assert_int_equal(e.in_bytes, 50);
}

static void buffer_across_regions(void **state)
{
	static uint8_t second[4096];

	assert_int_equal(gmem_add(&mem, &(struct gmem_region){FRONT_GPA + FRONT_BYTES, 0x1000,
						sizeof(second), second}),
		0);
	front_desc(&f, 0)[0] =
		(struct vring_desc){FRONT_GPA + FRONT_BYTES - 10, 30, VRING_DESC_F_WRITE, 0};
	front_offer(&f, 0, 0);
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.n_in, 2);
	assert_ptr_equal(e.iov[1].iov_base, second);
	assert_int_equal(e.iov[1].iov_len, 20);
}

/* Each row: up to three descriptors in the ring, three in a table at DATA, and the head. */
static const struct bad {
	const char *what;
	uint16_t head, extra_avail;
	struct vring_desc ring[3], table[3];
} bad[] = {
	{"head outside", FRONT_NUM, 0, {{0}}, {{0}}},
	{"more available than the ring has", 0, FRONT_NUM, {{DATA, 1, 0, 0}}, {{0}}},
	{"address outside", 0, 0, {{FRONT_GPA - 1, 1, 0, 0}}, {{0}}},
	{"end outside", 0, 0, {{FRONT_GPA + FRONT_BYTES - 1, 2, 0, 0}}, {{0}}},
	{"address wraps", 0, 0, {{UINT64_MAX - 1, 16, 0, 0}}, {{0}}},
	{"loop of one", 0, 0, {{DATA, 1, VRING_DESC_F_NEXT, 0}}, {{0}}},
	{"loop of two", 0, 0, {{DATA, 1, VRING_DESC_F_NEXT, 1}, {DATA, 1, VRING_DESC_F_NEXT, 0}},
		{{0}}},
	{"next outside", 0, 0, {{DATA, 1, VRING_DESC_F_NEXT, FRONT_NUM}}, {{0}}},
	{"read after write", 0, 0,
		{{DATA, 1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1}, {DATA, 1, 0, 0}}, {{0}}},
	{"empty table", 0, 0, {{DATA, 0, VRING_DESC_F_INDIRECT, 0}}, {{0}}},
	{"ragged table", 0, 0, {{DATA, 17, VRING_DESC_F_INDIRECT, 0}}, {{DATA, 1, 0, 0}}},
	{"unaligned table", 0, 0, {{DATA + 1, 16, VRING_DESC_F_INDIRECT, 0}}, {{DATA, 1, 0, 0}}},
	{"table too long", 0, 0, {{DATA, 16 * (VQ_MAX_SEGS + 1), VRING_DESC_F_INDIRECT, 0}},
		{{DATA, 1, 0, 0}}},
	{"table outside", 0, 0, {{FRONT_GPA + FRONT_BYTES - 16, 32, VRING_DESC_F_INDIRECT, 0}},
		{{0}}},
	{"table and next", 0, 0,
		{{DATA, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1}, {DATA, 1, 0, 0}},
		{{DATA, 1, 0, 0}}},
	{"table in table", 0, 0, {{DATA, 16, VRING_DESC_F_INDIRECT, 0}},
		{{DATA, 16, VRING_DESC_F_INDIRECT, 0}}},
	{"next outside of table", 0, 0, {{DATA, 32, VRING_DESC_F_INDIRECT, 0}},
		{{DATA, 1, VRING_DESC_F_NEXT, 2}}},
	{"loop in table", 0, 0, {{DATA, 32, VRING_DESC_F_INDIRECT, 0}},
		{{DATA, 1, VRING_DESC_F_NEXT, 1}, {DATA, 1, VRING_DESC_F_NEXT, 0}}},
};

static void malformed_breaks_the_queue(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vq_layout l = front_layout(0);

		memset(f.mem, 0, FRONT_DATA + 4096);
		assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
		memcpy(front_desc(&f, 0), bad[i].ring, sizeof(bad[i].ring));
		memcpy(f.mem + FRONT_DATA, bad[i].table, sizeof(bad[i].table));
		front_offer(&f, 0, bad[i].head);
		front_avail(&f, 0)->idx = (uint16_t)(front_avail(&f, 0)->idx + bad[i].extra_avail);
		if (vq_pop(&q, &e) != -EPROTO)
			fail_msg("accepted: %s", bad[i].what);
		/* For good, whatever the guest writes now. */
		front_desc(&f, 0)[0] = (struct vring_desc){DATA, 1, 0, 0};
		assert_int_equal(vq_pop(&q, &e), -EPROTO);
		assert_true(q.broken);
	}
}

static void too_many_pieces(void **state)
{
	struct vring_desc *t = (struct vring_desc *)(void *)(f.mem + FRONT_DATA);

	/* A table of the greatest length, and one more in front of it. */
	for (unsigned int i = 0; i < VQ_MAX_SEGS; i++)
		t[i] = (struct vring_desc){
			DATA, 1, i + 1 < VQ_MAX_SEGS ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1)};
	front_desc(&f, 0)[0] =
		(struct vring_desc){DATA, VQ_MAX_SEGS * sizeof(*t), VRING_DESC_F_INDIRECT, 0};
	front_offer(&f, 0, 0);
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.n_out, VQ_MAX_SEGS);
	front_desc(&f, 0)[1] = (struct vring_desc){DATA, 1, VRING_DESC_F_NEXT, 0};
	front_offer(&f, 0, 1);
	assert_int_equal(vq_pop(&q, &e), -EPROTO);
}

static void bad_layouts(void **state)
{
	static const struct {
		uint16_t num;
		int want;
		int64_t desc, avail, used;
	} row[] = {
		{0, -EINVAL, 0, 0, 0},
		{48, -EINVAL, 0, 0, 0},
		{2 * VQ_MAX_SIZE, -EINVAL, 0, 0, 0},
		{FRONT_NUM, -EINVAL, 8, 0, 0},
		{FRONT_NUM, -EINVAL, 0, 1, 0},
		{FRONT_NUM, -EINVAL, 0, 0, 2},
		{FRONT_NUM, -EFAULT, -FRONT_BYTES, 0, 0},
		{FRONT_NUM, -EFAULT, 0, FRONT_BYTES, 0},
		{FRONT_NUM, -EFAULT, 0, 0, FRONT_BYTES - 32768 - 16},
		{FRONT_NUM, 0, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct vq_layout l = front_layout(0);

		l.num = row[i].num;
		l.desc_uaddr += (uint64_t)row[i].desc;
		l.avail_uaddr += (uint64_t)row[i].avail;
		l.used_uaddr += (uint64_t)row[i].used;
		assert_int_equal(vq_start(&q, &mem, &l, 0), row[i].want);
	}
}

static void regions(void **state)
{
	static uint8_t host[4096];
	struct gmem m = {0};
	struct gmem_region r = {0x1000, 0x9000, 4096, host}, gone;
	uint64_t n;

	assert_int_equal(gmem_add(&m, &r), 0);
	assert_int_equal(gmem_add(&m, &r), -EINVAL);
	r = (struct gmem_region){0x1fff, 0x20000, 1, host};
	assert_int_equal(gmem_add(&m, &r), -EINVAL);
	r = (struct gmem_region){UINT64_MAX, 0x20000, 2, host};
	assert_int_equal(gmem_add(&m, &r), -EINVAL);
	r = (struct gmem_region){0x2000, 0x20000, 0, host};
	assert_int_equal(gmem_add(&m, &r), -EINVAL);
	assert_ptr_equal(gmem_at(&m, 0x1ff0, &n), host + 0xff0);
	assert_int_equal(n, 16);
	assert_null(gmem_at(&m, 0x2000, &n));
	assert_null(gmem_at(&m, 0xfff, &n));
	assert_ptr_equal(gmem_at_uaddr(&m, 0x9000, 4096), host);
	assert_null(gmem_at_uaddr(&m, 0x9001, 4096));
	assert_null(gmem_at_uaddr(&m, 0x9001, UINT64_MAX));
	for (unsigned int i = 1; i < GMEM_MAX_REGIONS; i++) {
		r = (struct gmem_region){0x100000ULL * i, 0x100000ULL * i, 16, host};
		assert_int_equal(gmem_add(&m, &r), 0);
	}
	r = (struct gmem_region){1, 1, 1, host};
	assert_int_equal(gmem_add(&m, &r), -ENOSPC);
	assert_int_equal(gmem_del(&m, 0x1000, 0x9000, 4095, &gone), -ENOENT);
	assert_int_equal(gmem_del(&m, 0x1000, 0x9000, 4096, &gone), 0);
	assert_null(gmem_at(&m, 0x1000, &n));
}

/* What is put is the guest's once it is published, or pushed after. */
static void held_back(void **state)
{
	e = (struct vq_elem){.head = 3};
	vq_put(&q, &e, 10);
	e.head = 4;
	vq_put(&q, &e, 20);
	assert_int_equal(front_used(&f, 0)->idx, 0);
	vq_publish(&q);
	assert_int_equal(front_used(&f, 0)->idx, 2);
	assert_int_equal(front_used(&f, 0)->ring[0].id, 3);
	assert_int_equal(front_used(&f, 0)->ring[1].len, 20);
	front_avail(&f, 0)->ring[FRONT_NUM] = 1; /* used_event: the second */
	assert_true(vq_need_call(&q));
	vq_put(&q, &e, 0);
	assert_int_equal(front_used(&f, 0)->idx, 2);
	vq_push(&q, &e, 0);
	assert_int_equal(front_used(&f, 0)->idx, 4);
	vq_publish(&q);
	assert_int_equal(front_used(&f, 0)->idx, 4);
}

/* What is fetched ahead may lie anywhere, and says nothing of what is taken. */
static void far_ahead(void **state)
{
	struct vring_desc *d = front_desc(&f, 0);

	d[0] = (struct vring_desc){DATA, 1, 0, 0};
	d[1] = (struct vring_desc){DATA + 3, 16, VRING_DESC_F_INDIRECT, 0}; /* misaligned */
	d[2] = (struct vring_desc){UINT64_MAX, 16, VRING_DESC_F_INDIRECT, 0};
	d[3] = (struct vring_desc){FRONT_GPA + FRONT_BYTES - 16, 16, VRING_DESC_F_INDIRECT, 0};
	for (int first = 0; first < 4; first++) {
		assert_int_equal(start_ring(), 0); /* from where the last one left off */
		front_offer(&f, 0, 0);
		for (int i = 0; i < 3; i++)
			front_offer(&f, 0, (uint16_t)(i == 2 ? UINT16_MAX : (first + i) % 4));
		assert_int_equal(vq_pop(&q, &e), 1);
		assert_int_equal(e.out_bytes, 1);
	}
}

static void notifications(void **state)
{
	struct vring_avail *a = front_avail(&f, 0);

	e = (struct vq_elem){.head = 0};
	assert_false(vq_need_call(&q)); /* nothing new */
	a->ring[FRONT_NUM] = 1;		/* used_event: after the second */
	vq_push(&q, &e, 0);
	assert_false(vq_need_call(&q));
	vq_push(&q, &e, 0);
	assert_true(vq_need_call(&q));
	assert_false(vq_need_call(&q));

	assert_true(vq_want_kicks(&q));
	front_desc(&f, 0)[0] = (struct vring_desc){DATA, 1, 0, 0};
	front_offer(&f, 0, 0);
	assert_false(vq_want_kicks(&q));
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_true(vq_want_kicks(&q));
	assert_int_equal(*q.avail_event, 1);

	q.event_idx = false;
	a->flags = VRING_AVAIL_F_NO_INTERRUPT;
	vq_push(&q, &e, 0);
	assert_false(vq_need_call(&q));
	a->flags = 0;
	vq_push(&q, &e, 0);
	assert_true(vq_need_call(&q));
	vq_no_kicks(&q);
	assert_int_equal(front_used(&f, 0)->flags, VRING_USED_F_NO_NOTIFY);
	assert_true(vq_want_kicks(&q));
	assert_int_equal(front_used(&f, 0)->flags, 0);
}

static void indices_wrap(void **state)
{
	struct vq_layout l = front_layout(0);

	front_avail(&f, 0)->idx = UINT16_MAX;
	front_used(&f, 0)->idx = UINT16_MAX;
	assert_int_equal(vq_start(&q, &mem, &l, UINT16_MAX), 0);
	for (int i = 0; i < 3; i++) {
		front_desc(&f, 0)[i] = (struct vring_desc){DATA, 1, 0, 0};
		front_offer(&f, 0, (uint16_t)i);
		assert_int_equal(vq_pop(&q, &e), 1);
		assert_int_equal(e.head, i);
		vq_push(&q, &e, 0);
	}
	assert_int_equal(q.next_avail, 2);
	assert_int_equal(front_used(&f, 0)->idx, 2);
}

/* ---- the log */

#define FIRST_PAGE (FRONT_GPA / GMEM_LOG_PAGE)

static bool marked(const uint8_t *bits, uint64_t page)
{
	return bits[page / 8] >> page % 8 & 1;
}

static unsigned int marks(const uint8_t *bits, size_t n)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (unsigned int)__builtin_popcount(bits[i]);
	return sum;
}

static void writes_are_logged(void **state)
{
	static uint8_t bits[(FIRST_PAGE + FRONT_BYTES / GMEM_LOG_PAGE) / 8];
	const struct gmem_log log = {bits, sizeof(bits)};
	const uint64_t data = FIRST_PAGE + FRONT_DATA / GMEM_LOG_PAGE;
	struct vring_desc *d = front_desc(&f, 0);
	struct vq_layout l = front_layout(0);

	l.log = &log;
	memset(bits, 0, sizeof(bits));
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	d[0] = (struct vring_desc){DATA, 40, VRING_DESC_F_NEXT, 1};
	d[1] = (struct vring_desc){
		DATA + 3 * 4096 - 1, 4098, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2};
	d[2] = (struct vring_desc){DATA + 9 * 4096, 4096, VRING_DESC_F_WRITE, 0};
	front_offer(&f, 0, 0);
	assert_int_equal(vq_pop(&q, &e), 1);
	vq_push(&q, &e, 16); /* how much says nothing about how far a failed write got */
	for (uint64_t i = 2; i <= 4; i++)
		assert_true(marked(bits, data + i));
	assert_true(marked(bits, data + 9));
	assert_int_equal(marks(bits, sizeof(bits)), 4); /* the ring is not asked for */

	/* The ring, as if it lay at page 77. */
	l.log_ring = true;
	l.used_gpa = 77 * GMEM_LOG_PAGE;
	memset(bits, 0, sizeof(bits));
	assert_int_equal(vq_start(&q, &mem, &l, 1), 0);
	assert_int_equal(marks(bits, sizeof(bits)), 0);
	assert_true(vq_want_kicks(&q));
	assert_true(marked(bits, 77));
	bits[77 / 8] = 0;
	front_offer(&f, 0, 2);
	assert_int_equal(vq_pop(&q, &e), 1);
	vq_push(&q, &e, 0);
	assert_true(marked(bits, 77));
	assert_true(marked(bits, data + 9));
	assert_int_equal(marks(bits, sizeof(bits)), 2);
	/* The last entry lies on the ring's second page. */
	bits[77 / 8] = 0;
	l.used_gpa = 78 * GMEM_LOG_PAGE - 4 - FRONT_NUM * 8;
	assert_int_equal(vq_start(&q, &mem, &l, FRONT_NUM - 1), 0);
	q.next_used = FRONT_NUM - 1;
	front_avail(&f, 0)->idx = FRONT_NUM - 1;
	front_offer(&f, 0, 2);
	assert_int_equal(vq_pop(&q, &e), 1);
	vq_push(&q, &e, 0);
	assert_true(marked(bits, 77));
	assert_true(vq_want_kicks(&q)); /* avail_event is behind it */
	assert_true(marked(bits, 78));
}

static void log_too_short(void **state)
{
	static uint8_t bits[8];
	const struct gmem_log log = {bits, 4};

	gmem_log_mark(&log, 31 * GMEM_LOG_PAGE, 5 * GMEM_LOG_PAGE);
	gmem_log_mark(&log, UINT64_MAX - 10, 100);
	gmem_log_mark(&log, 0, 0);
	assert_int_equal(marks(bits, 8), 1);
	assert_true(marked(bits, 31));
}

/* ---- chains in flight */

static _Alignas(64) uint8_t region[VQ_INFLIGHT_BYTES(FRONT_NUM)];
#define REGION ((struct vq_inflight *)(void *)region)

static struct vq_layout tracked(void)
{
	struct vq_layout l = front_layout(0);

	l.inflight = REGION;
	l.inflight_num = FRONT_NUM;
	return l;
}

static void offer_n(uint16_t from, uint16_t to)
{
	for (uint16_t i = from; i < to; i++) {
		front_desc(&f, 0)[i] = (struct vring_desc){DATA, 1, 0, 0};
		front_offer(&f, 0, i);
	}
}

static void taken_chains_come_again(void **state)
{
	struct vq_layout l = tracked();
	struct vq_elem first[6];

	memset(region, 0, sizeof(region));
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	offer_n(0, 8);
	/* Head 5 is taken first, by a ring whose entries are not in the order of their heads. */
	front_avail(&f, 0)->ring[0] = 5;
	front_avail(&f, 0)->ring[5] = 0;
	for (int i = 0; i < 6; i++)
		assert_int_equal(vq_pop(&q, &first[i]), 1);
	vq_push(&q, &first[1], 0); /* heads 1 and 3 are done */
	vq_push(&q, &first[3], 0);

	/* Its successor is told a base that is no longer true. */
	for (int round = 0; round < 2; round++) {
		static const uint16_t want[] = {5, 2, 4, 0};

		assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
		for (size_t i = 0; i < 4; i++) {
			assert_int_equal(vq_pop(&q, &e), 1);
			assert_int_equal(e.head, want[i]);
		}
	}
	vq_push(&q, &e, 0); /* 0 */
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.head, 6); /* then what is new */
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	assert_int_equal(q.again, 4);
	for (int i = 0; i < 5; i++)
		assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.head, 7);
	assert_int_equal(vq_pop(&q, &e), 0);
	assert_int_equal(front_used(&f, 0)->idx, 3);
}

static void killed_while_giving_back(void **state)
{
	struct vq_layout l = tracked();

	memset(region, 0, sizeof(region));
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	offer_n(0, 2);
	assert_int_equal(vq_pop(&q, &e), 1);
	vq_push(&q, &e, 0);
	/* The guest knows, the region does not yet. */
	REGION->desc[0].inflight = 1;
	REGION->used_idx = 0;
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	assert_int_equal(REGION->used_idx, 1);
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.head, 1);
	/* The region was prepared, the guest does not know: that chain is still to be done. */
	REGION->desc[1].next = 0;
	REGION->last_batch_head = 1;
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	assert_int_equal(vq_pop(&q, &e), 1);
	assert_int_equal(e.head, 1);
}

static void bad_regions(void **state)
{
	static const struct {
		const char *what;
		uint16_t cap;
		struct vq_inflight head;
	} row[] = {
		{"another version", FRONT_NUM, {0, 2, FRONT_NUM, 0, 0}},
		{"another size", FRONT_NUM, {0, 1, FRONT_NUM * 2, 0, 0}},
		{"room for half", FRONT_NUM / 2, {0, 0, 0, 0, 0}},
		{"a batch larger than the ring", FRONT_NUM, {0, 1, FRONT_NUM, 0, 100}},
		{"a list that leaves the ring", FRONT_NUM,
			{0, 1, FRONT_NUM, FRONT_NUM, UINT16_MAX}},
	};
	struct vq_layout l = tracked();

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		memset(region, 0, sizeof(region));
		*REGION = row[i].head;
		l.inflight_num = row[i].cap;
		if (vq_start(&q, &mem, &l, 0) != -EINVAL)
			fail_msg("accepted: %s", row[i].what);
	}
	/* Every entry in flight, all with one counter; then none under our hands. */
	l = tracked();
	memset(region, 0xff, sizeof(region));
	*REGION = (struct vq_inflight){0, 1, FRONT_NUM, 0, 0};
	for (int i = 0; i < FRONT_NUM; i++)
		REGION->desc[i].inflight = 1;
	assert_int_equal(vq_start(&q, &mem, &l, 0), 0);
	assert_int_equal(q.again, FRONT_NUM);
	(void)vq_pop(&q, &e);
	assert_int_equal(q.again, 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(chain_arrives), T(indirect_table),
		T(buffer_across_regions), T(malformed_breaks_the_queue), T(too_many_pieces),
		T(bad_layouts), T(regions), T(held_back), T(far_ahead), T(notifications),
		T(indices_wrap), T(writes_are_logged), cmocka_unit_test(log_too_short),
		T(taken_chains_come_again), T(killed_while_giving_back), T(bad_regions)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
