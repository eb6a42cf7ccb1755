// SPDX-License-Identifier: Apache-2.0
// fs/image/queue: every byte arrives once and in order; either side may be the slow one, or give
// up.
#include "fs/image/queue.h"
#include "base/cleanup.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <cmocka.h>

#define TOTAL (20u << 20)

struct writer {
	struct img_queue *q;
	size_t step;
	int result;
	bool slow;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	static uint8_t buf[3 * IMG_QUEUE_SLOT];

	for (size_t at = 0; at < TOTAL && w->result == 0; at += w->step) {
		size_t n = TOTAL - at < w->step ? TOTAL - at : w->step;

		for (size_t k = 0; k < n; k++)
			buf[k] = (uint8_t)((at + k) * 31 >> 7);
		w->result = img_queue_put(w->q, buf, n);
		if (w->slow)
			sched_yield();
	}
	img_queue_end(w->q);
	return NULL;
}

static void in_order(void **state)
{
	static const size_t steps[] = {3 * IMG_QUEUE_SLOT, IMG_QUEUE_SLOT, 100000, 4099};

	for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
		struct writer w = {.step = steps[k], .slow = k & 1};
		size_t at = 0, n;
		const void *p;
		pthread_t t;

		assert_int_equal(img_queue_new(&w.q), 0);
		assert_int_equal(pthread_create(&t, NULL, write_all, &w), 0);
		while ((n = img_queue_get(w.q, &p))) {
			for (size_t j = 0; j < n; j++)
				if (((const uint8_t *)p)[j] != (uint8_t)((at + j) * 31 >> 7))
					fail_msg("byte %zu", at + j);
			at += n;
			if (!w.slow)
				sched_yield();
		}
		assert_int_equal(at, TOTAL);
		assert_int_equal(img_queue_get(w.q, &p), 0);
		pthread_join(t, NULL);
		assert_int_equal(w.result, 0);
		img_queue_free(w.q);
	}
}

static void given_up(void **state)
{
	struct writer w = {.step = 100000};
	const void *p;
	pthread_t t;

	assert_int_equal(img_queue_new(&w.q), 0);
	assert_int_equal(pthread_create(&t, NULL, write_all, &w), 0);
	assert_true(img_queue_get(w.q, &p) > 0);
	img_queue_stop(w.q); /* also where the writer waits for room */
	pthread_join(t, NULL);
	assert_int_equal(w.result, -ECANCELED);
	img_queue_free(w.q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),
		cmocka_unit_test(given_up),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
