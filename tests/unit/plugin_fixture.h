/* SPDX-License-Identifier: Apache-2.0 */
/* A session over a plugin that speaks FUSE. */
#ifndef MSB_TESTS_PLUGIN_FIXTURE_H
#define MSB_TESTS_PLUGIN_FIXTURE_H

#include "tests/unit/plugin_fake.h"
#include "tests/unit/plugin_session.h"

static struct fake f;
static uint8_t back[FUSE_MAX_IO];

static inline void start_over(struct fsb *inner)
{
	session_start(fake_start(&f), inner);
}

static inline void start_over_dir(void)
{
	start_over(inner_dir());
}

static inline int setup(void **state)
{
	memset(&f, 0, sizeof(f));
	f.p.fd = -1;
	f.init_flags = ~0u;
	session_setup(false);
	return 0;
}

static inline int teardown(void **state)
{
	session_end();
	fake_done(&f);
	session_teardown();
	return 0;
}

static inline int read_at(uint64_t node, uint64_t fh, uint64_t off, uint32_t n)
{
	int r = req_read(&q, FUSE_READ, node, fh, off, n);

	if (r < 0)
		return r;
	memcpy(back, q.out + 16, q.out_bytes);
	return (int)q.out_bytes;
}

#endif
