// SPDX-License-Identifier: Apache-2.0
// The FUSE core over the passthrough backend: any sequence of requests on a directory of its own.
// Beside it lies a file that no request may reach.
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fuse_core.h"
#include "fs/fuse_ioctl.h"
#include "fs/options.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <linux/limits.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_FILE (16u << 20)

static char top[64];
static int share = -1;
static struct stat before;

static void remove_top(void)
{
	(void)msb_rm_rf(AT_FDCWD, top);
}

static void look_outside(struct stat *st)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/outside", top);
	if (stat(path, st) < 0)
		abort();
}

static void start(void)
{
	char path[PATH_MAX];

	/* In memory where there is such a place: ten times the speed. */
	(void)snprintf(top, sizeof(top), "%s/msb-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(top))
		abort();
	(void)atexit(remove_top);
	(void)snprintf(path, sizeof(path), "%s/outside", top);
	if (msb_write_file_atomic(AT_FDCWD, path, "secret", 6, 0640) < 0)
		abort();
	look_outside(&before);
	(void)snprintf(path, sizeof(path), "%s/share", top);
	if (mkdir(path, 0755) < 0)
		abort();
	share = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)umask(0);
	/* FALLOCATE of all memory is no finding. */
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){MAX_FILE, MAX_FILE});
}

/* What each run starts from: a file, a directory with a file, links out of the share. */
static void fill(void)
{
	(void)msb_write_file_atomic(share, "a", "text", 4, 0644);
	(void)mkdirat(share, "d", 0755);
	(void)symlinkat("../outside", share, "l");
	(void)symlinkat("..", share, "d/up");
}

static void empty(void)
{
	static const char *const names[] = {"a", "b", "c", "d", "l"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)msb_rm_rf(share, names[i]);
}

/* The same bytes as an IOCTL of flags: what comes out of it is what a file may have. */
static void ioctl_bytes(const uint8_t *data, size_t size)
{
	struct fuse_flags_ask ask;

	if (fuse_ioctl_parse(data, size, &ask) == 0 &&
		(ask.flags & ~ask.said || ask.said & ~(uint32_t)FSB_FL_ALL ||
			(!ask.set && ask.said)))
		abort();
}

/* Input: requests, each after two bytes of its length; the header's length is set to fit where its
 * top bit is clear. Node and handle numbers of the input are small, as the backend's are. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuse_worker *w;
	static uint8_t reply[1 << 17], request[1 << 16];
	const struct fuse_init_in init = {
		.major = 7, .minor = 38, .flags = ~0u, .max_readahead = 4096};
	struct fuse_in_header h = {.opcode = FUSE_INIT, .len = sizeof(h) + sizeof(init)};
	struct fsb_passthrough_opts o = {
		.map = size & 1 ? FSB_MAP_ROOT : FSB_MAP_NONE, .submounts = true};
	struct iovec in[2], out = {reply, sizeof(reply)};
	struct fsd_session *s;
	struct fsd_fs fs;
	struct stat after;
	struct fsb *b;

	ioctl_bytes(data, size);
	if (share < 0) {
		start();
		w = calloc(1, sizeof(*w));
	}
	fill();
	o.root_fd = openat(share, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fsb_passthrough_start(&o, &b, NULL) < 0)
		abort();
	b->acls = size & 2;
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
		/* In two pieces, so that structures cross them. */
		in[0] = (struct iovec){request, n / 2};
		in[1] = (struct iovec){request + n / 2, n - n / 2};
		out.iov_len = fix ? sizeof(reply) : n;
		r = fuse_handle(s, w, in, 2, &out, 1);
		if (r > (int64_t)out.iov_len)
			abort();
	}
	(void)fsd_session_free(s);
	fsd_fs_done(&fs);
	look_outside(&after);
	if (after.st_ino != before.st_ino || after.st_size != before.st_size ||
		after.st_mode != before.st_mode || after.st_nlink != before.st_nlink ||
		after.st_mtim.tv_nsec != before.st_mtim.tv_nsec)
		abort();
	empty();
	return 0;
}
