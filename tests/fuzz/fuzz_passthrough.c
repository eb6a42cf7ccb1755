// SPDX-License-Identifier: Apache-2.0
// The passthrough's own bytes: what it keeps in attributes, and nodes of a device's state.
#include "fs/backends/passthrough/pt.h"
#include "fs/options.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void meta(const uint8_t *data, size_t size)
{
	char buf[PT_MAX_META];
	struct pt_meta m;

	if (pt_meta_parse((const char *)data, size, &m) < 0) {
		if (m.there)
			abort();
		return;
	}
	/* There is one way to write it. */
	if (pt_meta_print(&m, buf) != size || memcmp(buf, data, size) != 0)
		abort();
}

/* Input: nodes, each as an id, a count, a length and its bytes. */
static void state(const uint8_t *data, size_t size)
{
	struct fsb_passthrough_opts o = {.map = FSB_MAP_NONE};
	uint64_t id[256];
	unsigned int ids = 0;
	struct fsb *b;

	o.root_fd = open("/proc/self/fdinfo", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fsb_passthrough_start(&o, &b, NULL) < 0)
		abort();
	while (size >= 3 && ids < 256) {
		size_t n = data[2];
		struct fsb_entry e;
		struct fuse_attr a;

		id[ids] = data[0];
		data += 3;
		size -= 3;
		n = n < size ? n : size;
		(void)b->ops->load(b, id[ids], 1, data, n);
		(void)b->ops->getattr(b, id[ids], 0, &a);
		if (b->ops->lookup(b, &(struct fsb_req){0}, id[ids], n & 1 ? "." : "..", &e) == 0)
			b->ops->forget(b, e.node, 1);
		ids++;
		data += n;
		size -= n;
	}
	while (ids)
		b->ops->forget(b, id[--ids], 1);
	/* Forgotten, only the root is left. */
	if (pt_of(b)->nodes.live != 1)
		abort();
	b->ops->stop(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	(data[0] & 1 ? meta : state)(data + 1, size - 1);
	return 0;
}
