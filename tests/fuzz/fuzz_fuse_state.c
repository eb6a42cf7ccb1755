// SPDX-License-Identifier: Apache-2.0
// Device state: any bytes as what a server saved, for an overlay with an image's place empty. What
// was taken over, works; all of it is given back.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fuse_state.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64];
static struct fsb *overlay;
static struct fsd_fs fs;
static struct fuse_worker w;

static void remove_top(void)
{
	(void)msb_rm_rf(AT_FDCWD, top);
}

/* A file with a name and contents, node 0x40000000, and numbers used up to 0x40000003. */
static void start(void)
{
	const struct fsb_req req = {.pid = 1};
	struct fsb_overlay_opts o = {.index_fd = -1, .packs_fd = -1, .dir_fd = -1, .files_fd = -1};
	struct iovec iov = {(char[]){"text"}, 4};
	struct fsb_entry e;
	uint64_t fh;

	(void)snprintf(top, sizeof(top), "%s/msb-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(top))
		abort();
	(void)atexit(remove_top);
	o.upper_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_overlay_start(&o, &overlay, NULL) < 0)
		abort();
	for (int i = 0; i < 4; i++) {
		const char name[2] = {(char)('a' + i), 0};

		if (overlay->ops->create(overlay, &req, FSB_ROOT, name, 0644, O_RDWR, &e, &fh) <
				0 ||
			overlay->ops->writev(overlay, &req, e.node, 0, &iov, 1, 0, 0) != 4)
			abort();
		if (i && overlay->ops->unlink(overlay, &req, FSB_ROOT, name) < 0)
			abort();
		overlay->ops->forget(overlay, e.node, 1);
	}
	fsd_fs_init(&fs, overlay);
}

/* Sums that fit would not be found: they are mended where the record is one of END's size. */
static void mend(uint8_t *p, size_t n)
{
	size_t at = FUSE_STATE_HEAD;
	struct fuse_state_rec rec;
	int r;

	while (at < n && (r = fuse_state_record(p + at, n - at, &rec)) > 0) {
		if (rec.kind == FUSE_STATE_END) {
			uint64_t sum = XXH3_64bits(p + FUSE_STATE_HEAD, at - FUSE_STATE_HEAD);

			memcpy(p + at + 4 + 16, &sum, sizeof(sum));
			return;
		}
		at += (size_t)r;
	}
}

/* Every opcode that takes a node alone, on every node that the bytes name. */
static void use(struct fsd_session *s, const uint8_t *p, size_t n)
{
	static const uint32_t ops[] = {FUSE_GETATTR, FUSE_READLINK, FUSE_READ, FUSE_STATFS};
	static uint8_t in[200], out[4096 + 16];
	struct fuse_state_rec rec;
	int r;

	for (size_t at = FUSE_STATE_HEAD; at < n; at += (size_t)r) {
		r = fuse_state_record(p + at, n - at, &rec);
		if (r <= 0)
			return;
		for (size_t k = 0; rec.kind == FUSE_STATE_NODE && k < ARRAY_LEN(ops); k++) {
			struct fuse_in_header h = {.len = sizeof(in),
				.opcode = ops[k],
				.nodeid = rec.node.node,
				.unique = k + 1};
			struct iovec iv = {in, sizeof(in)}, ov = {out, sizeof(out)};

			memset(in, 0, sizeof(in));
			memcpy(in, &h, sizeof(h));
			if (ops[k] == FUSE_READ)
				in[sizeof(h) + 16] = 200; /* size */
			(void)fuse_handle(s, &w, &iv, 1, &ov, 1);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct fsd_session *s;
	struct fuse_counts c = {0};
	uint8_t *p = malloc(size + 1);

	if (!overlay)
		start();
	if (fd < 0)
		fd = memfd_create("state", MFD_CLOEXEC);
	memcpy(p, data, size);
	mend(p, size);
	s = fsd_session_new(&fs, &fuse_profile_guest, false);
	if (!s || ftruncate(fd, 0) < 0 || msb_pwrite_full(fd, p, size, 0) < 0 ||
		lseek(fd, 0, SEEK_SET) < 0)
		abort();
	if (fsd_session_load(s, fd) < 0) {
		fsd_session_counts(s, &c);
		if (c.nodes || c.handles)
			abort();
	} else {
		use(s, p, size);
		/* What was loaded is saved. */
		if (lseek(fd, 0, SEEK_SET) < 0 || fsd_session_save(s, fd) < 0)
			abort();
	}
	(void)fsd_session_free(s);
	free(p);
	return 0;
}
