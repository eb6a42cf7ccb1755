// SPDX-License-Identifier: Apache-2.0
// The FUSE core over a stack of wrappers over the memory backend: any sequence of requests. What a
// rule denies or redacts stays as it is and is in no reply; the wrappers hold nothing at the end.
#include "base/io.h"
#include "fs/audit_sink.h"
#include "fs/fuse_core.h"
#include "fs/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64];
static struct audit_sink *sink;
static uint64_t marker, mask; /* the marker is only ever compared under the mask */

static void remove_top(void)
{
	sink = audit_sink_free(sink);
	(void)msb_rm_rf(AT_FDCWD, top);
}

static void start(void)
{
	if (getrandom(&marker, sizeof(marker), 0) < 0 || getrandom(&mask, sizeof(mask), 0) < 0)
		abort();
	(void)snprintf(top, sizeof(top), "%s/msb-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(top) || audit_sink_new(open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), 1 << 20,
				     &sink, NULL) < 0)
		abort();
	(void)atexit(remove_top);
}

static const char *const options[] = {
	"audit=all,quota_bytes=64K,deny=/d/no,redact=*.key",
	"audit,audit_path=/d,quota_bytes=1M,deny=**/no,redact=/k.*",
	"audit=opens,deny=no,redact=k[.]key,error=all:EIO:0.1,quota_bytes=64K",
	"ro,audit=all,deny=**,allow=/d,deny=/d/no,redact=/k.key,allow=/a",
};

/* Nodes of what is hidden: each has the marker as its contents, and is held by us. */
static uint64_t no, key;

static uint64_t make(struct fsb *b, uint64_t dir, const char *name)
{
	static const struct fsb_req req = {0};
	struct iovec iov = {&marker, sizeof(marker)};
	struct fsb_entry e;
	uint64_t fh = 0;

	if (b->ops->create(b, &req, dir, name, 0644, O_RDWR, &e, &fh) < 0 ||
		b->ops->writev(b, &req, e.node, fh, &iov, 1, 0, 0) != sizeof(marker))
		abort();
	if (fh && b->ops->release)
		b->ops->release(b, e.node, fh);
	return e.node;
}

static void check(struct fsb *b, uint64_t node)
{
	uint64_t now = 0;
	struct iovec iov = {&now, sizeof(now)};
	struct fuse_attr a;

	if (b->ops->getattr(b, node, 0, &a) < 0 || a.size != sizeof(marker) || a.nlink != 1 ||
		(a.mode & 07777) != 0644 ||
		b->ops->readv(b, node, 0, &iov, 1, 0) != sizeof(marker) ||
		(now ^ mask) != (marker ^ mask))
		abort();
}

static struct fsb *wrap(const struct fsb_start *from, struct fsb *b)
{
	for (const struct fsb_kind *const *k = fsb_kinds; *k; k++)
		if ((*k)->wrap && (*k)->wrap(from, b, &b, NULL) < 0)
			abort();
	return b;
}

/* Input: which options; then requests, each after two bytes of its length, as for fuzz_fuse. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuse_worker *w;
	static struct fsb_options o;
	static uint8_t reply[1 << 17], request[1 << 16];
	const struct fuse_init_in init = {
		.major = 7, .minor = 38, .flags = ~0u, .max_readahead = 4096};
	struct fuse_in_header h = {.opcode = FUSE_INIT, .len = sizeof(h) + sizeof(init)};
	struct iovec in[2], out = {reply, sizeof(reply)};
	struct fsb_start from = FSB_START_NONE;
	static const struct fsb_req req = {0};
	struct fsd_session *s;
	struct fsb *inner, *b;
	struct fsb_entry d;
	struct fsd_fs fs;
	const char *text;

	if (!size)
		return 0;
	if (!w) {
		start();
		w = calloc(1, sizeof(*w));
	}
	text = options[*data++ % (sizeof(options) / sizeof(options[0]))];
	size--;
	if (fsb_options_parse("memory", text, strlen(text), &o, NULL) < 0)
		abort();
	from.options = &o;
	from.sink = sink;
	if (fsb_kind_find("memory")->start(&from, &inner, NULL) < 0 ||
		inner->ops->mkdir(inner, &req, 1, "d", 0755, &d) < 0)
		abort();
	no = make(inner, d.node, "no");
	key = make(inner, 1, "k.key");
	inner->ops->forget(inner, d.node, 1);
	b = wrap(&from, inner);
	fsd_fs_init(&fs, b);
	s = fsd_session_new(&fs, &fuse_profile_guest, false);
	in[0] = (struct iovec){&h, sizeof(h)};
	in[1] = (struct iovec){(void *)(uintptr_t)&init, sizeof(init)};
	if (!s || !w || fuse_handle(s, w, in, 2, &out, 1) <= 0)
		abort();
	while (size > 2) {
		size_t n = data[0] | (size_t)(data[1] & 0x7f) << 8;
		bool fix = !(data[1] & 0x80);
		int64_t r;

		data += 2;
		size -= 2;
		if (n > size)
			n = size;
		memcpy(request, data, n);
		data += n;
		size -= n;
		if (fix && n >= sizeof(h)) {
			uint32_t len = (uint32_t)n;

			memcpy(request, &len, sizeof(len));
		}
		in[0] = (struct iovec){request, n / 2};
		in[1] = (struct iovec){request + n / 2, n - n / 2};
		out.iov_len = fix ? sizeof(reply) : n;
		memset(reply, 0, 4096); /* what an earlier reply left is none of this one's */
		r = fuse_handle(s, w, in, 2, &out, 1);
		if (r > (int64_t)out.iov_len)
			abort();
		/* Nor past the reply's end: it is the guest's memory. */
		for (size_t i = 16; i + 8 <= 4096; i++) {
			uint64_t at;

			memcpy(&at, reply + i, sizeof(at));
			if ((at ^ mask) == (marker ^ mask))
				abort();
		}
	}
	(void)fsd_session_free(s);
	check(inner, no);
	check(inner, key);
	inner->ops->forget(inner, no, 1);
	inner->ops->forget(inner, key, 1);
	fsd_fs_done(&fs);
	return 0;
}
