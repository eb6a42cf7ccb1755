// SPDX-License-Identifier: Apache-2.0
// A plugin that speaks FUSE: whatever it answers.
#include "tests/fuzz/plugin_feed.h"
#include "fs/backends/plugin/wire.h"
#include "tools/plugins/msb_plugin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum kind { OK, ERROR, RAW, HEADER, SHARE, SHARE_WITHOUT, KINDS };

static void offer(struct feed *f, bool with)
{
	struct msb_plugin p = {.fd = f->fd, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct {
		struct fuse_out_header h;
		struct msb_plugin_shm s;
	} m = {.h = {.len = sizeof(m), .error = MSB_PLUGIN_NOTIFY_SHM}};
	const struct iovec v = {&m, sizeof(m)};
	const uint8_t *bytes;
	int fd = with ? memfd_create("fuzz", MFD_CLOEXEC) : -1;

	(void)memcpy(&m.s, (struct msb_plugin_shm[]){{1, 1u << 20, 1u << 20}}, sizeof(m.s));
	if (feed_byte(f) & 1 && feed_take(f, sizeof(m.s), &bytes) == sizeof(m.s))
		memcpy(&m.s, bytes, sizeof(m.s));
	if (fd >= 0 && ftruncate(fd, (feed_byte(f) & 3) * 4096) < 0)
		abort();
	(void)msb_plugin_send(&p, &v, 1, fd);
	if (fd >= 0)
		close(fd);
}

/* @h: the request; pieces up to the one that answers it. */
static void answer(struct feed *f, const struct fuse_in_header *h)
{
	struct fuse_out_header o = {.unique = h->unique};
	const uint8_t *p;
	enum kind kind;
	size_t n;

	do {
		kind = feed_byte(f) % KINDS;
		if (kind == SHARE || kind == SHARE_WITHOUT)
			offer(f, kind == SHARE);
	} while (f->n && (kind == SHARE || kind == SHARE_WITHOUT));
	n = feed_byte(f);
	n = feed_take(f, n << 8 | feed_byte(f), &p);
	switch (kind) {
	case ERROR:
		o.error = -(int32_t)n;
		n = 0;
		break;
	case RAW: feed_send(f, p, n); return;
	case HEADER:
		if (n >= sizeof(o))
			memcpy(&o, p, sizeof(o));
		if (o.unique == 0x5a5a5a5a5a5a5a5a)
			o.unique = h->unique;
		feed_send(f, &o, sizeof(o));
		if (n > sizeof(o))
			feed_send(f, p + sizeof(o), n - sizeof(o));
		return;
	default: break;
	}
	o.len = (uint32_t)(sizeof(o) + n);
	feed_send(f, &o, sizeof(o));
	feed_send(f, p, n);
}

static void *plugin_main(void *arg)
{
	struct feed *f = arg;
	struct msb_plugin p = {.fd = f->fd};
	static _Alignas(8) uint8_t buf[16384];
	const struct fuse_in_header *h = (const void *)buf;
	const struct fuse_init_out init = {
		.major = 7, .minor = 38, .flags = ~0u, .max_write = 1u << 20, .max_pages = 256};
	struct {
		struct fuse_out_header h;
		struct fuse_init_out o;
	} ready = {{.len = sizeof(ready)}, init};

	/* The greeting of most runs is right, else they end there. */
	while (msb_plugin_receive(&p, buf, sizeof(buf)) > 0 && f->n) {
		ready.h.unique = h->unique;
		if (h->opcode == FUSE_INIT && !(feed_byte(f) & 128))
			feed_send(f, &ready, sizeof(ready));
		else if (h->opcode != FUSE_FORGET)
			answer(f, h);
	}
	close(f->fd);
	return NULL;
}

/* The parsers by themselves, with no thread between them and the input. */
static void parsers(const uint8_t *data, size_t size)
{
	struct fuse_out_header h;
	struct fuse_entry_out e;
	struct pw_dirent d;
	struct plugin_shm s;
	struct pw_init i;

	(void)pw_init(data, size, ~0u, &i);
	(void)pw_shm(data, size, &s);
	for (int plus = 0; plus < 2; plus++) {
		size_t at = 0;

		while (pw_dirent(data, size, plus, &at, &d) > 0)
			if (at > size || d.name_bytes > 255 || memchr(d.name, '/', d.name_bytes))
				abort();
	}
	if (size >= sizeof(h)) {
		memcpy(&h, data, sizeof(h));
		if (pw_head(&h) == 0 && (h.len < sizeof(h) || h.len > PLUGIN_MAX_REPLY))
			abort();
	}
	if (size >= sizeof(e)) {
		memcpy(&e, data, sizeof(e));
		if (pw_entry(&e, false) == 0 && e.nodeid <= 1)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fsb_options options = {.plugin_timeout_ms = 20};

	parsers(data, size);
	feed_run(&options, plugin_main, data, size);
	return 0;
}
