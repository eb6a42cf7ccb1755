// SPDX-License-Identifier: Apache-2.0
// Files that come and go leave nothing behind: after many creates, opens and unlinks through the
// FUSE server a backend has as many descriptors as before, and hardly more memory.
// Usage: test_churn [OPERATIONS [BACKEND]]; with them it prints what it measured.
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/options.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <cmocka.h>

#define DIRS	  7
#define WINDOW	  500	/* files that there are at a time */
#define WARM_UP	  30000 /* operations before the first count */
#define GROWTH	  (UINT64_C(3) << 20)
#define OPERATION 3 /* a file's create, open and unlink */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_HEAP 0 /* the sanitizer's heap keeps what is freed */
#else
#define OWN_HEAP 1
#endif

static uint64_t operations = 150000;
static const char *only;

struct churn {
	struct fsd_fs fs;
	struct fusereq q;
	struct fuse_worker w;
	uint64_t dir[DIRS], node[WINDOW], fh[WINDOW];
};

struct count {
	uint64_t resident, fds, nodes, handles;
};

static struct count count(struct churn *c)
{
	_cleanup_closedir_ DIR *d = opendir("/proc/self/fd");
	FILE *f = fopen("/proc/self/statm", "re");
	struct fuse_counts held = {0};
	struct count n = {0};
	uint64_t size;

	assert_non_null(d);
	assert_non_null(f);
	while (readdir(d))
		n.fds++;
	assert_int_equal(fscanf(f, "%" SCNu64 " %" SCNu64, &size, &n.resident), 2);
	fclose(f);
	n.resident *= 4096;
	fsd_session_counts(c->q.s, &held);
	n.nodes = held.nodes;
	n.handles = held.handles;
	return n;
}

static void name_of(uint64_t i, char name[32])
{
	(void)snprintf(name, 32, "file-%" PRIu64, i);
}

static void let_go(struct churn *c, uint64_t i)
{
	uint64_t at = i % WINDOW;

	if (c->fh[at])
		assert_int_equal(req_release(&c->q, FUSE_RELEASE, c->node[at], c->fh[at]), 0);
	req_forget(&c->q, c->node[at], 2);
	c->node[at] = c->fh[at] = 0;
}

static void arrive(struct churn *c, uint64_t i)
{
	struct fusereq *q = &c->q;
	uint64_t at = i % WINDOW, dir = c->dir[i % DIRS], fh = 0;
	char name[32];
	int r;

	name_of(i, name);
	assert_int_equal(req_create(q, dir, name, O_RDWR | O_EXCL, 0644), 0);
	c->node[at] = REQ_REPLY(q, struct fuse_entry_out)->nodeid;
	c->fh[at] = req_created_fh(q);
	if (i % 4 == 0)
		assert_int_equal(req_write(q, c->node[at], c->fh[at], 0, "contents", 8, 0), 0);
	/* A second kernel reference, and an open of its own where opens are more than nothing. */
	assert_int_equal(req_lookup(q, dir, name), c->node[at]);
	r = req_open(q, FUSE_OPEN, c->node[at], O_RDONLY);
	if (r == 0)
		fh = REQ_REPLY(q, struct fuse_open_out)->fh;
	assert_true(r == 0 || r == -ENOSYS);
	if (i % 8 == 0) {
		assert_int_equal(req_read(q, FUSE_READ, c->node[at], fh, 0, 100), 0);
		assert_int_equal(q->out_bytes, 8);
	}
	if (fh)
		assert_int_equal(req_release(q, FUSE_RELEASE, c->node[at], fh), 0);
}

/* Half of them are unlinked while the kernel knows them, the others when it does not. */
static void leave(struct churn *c, uint64_t i)
{
	char name[32];

	name_of(i, name);
	if (i % 2)
		let_go(c, i);
	assert_int_equal(req_name(&c->q, FUSE_UNLINK, c->dir[i % DIRS], name), 0);
	if (i % 2 == 0)
		let_go(c, i);
}

static uint64_t churn(struct churn *c, uint64_t from, uint64_t files)
{
	for (uint64_t i = from; i < from + files; i++) {
		if (i >= from + WINDOW)
			leave(c, i - WINDOW);
		arrive(c, i);
	}
	for (uint64_t i = from + files - WINDOW; i < from + files; i++)
		leave(c, i);
	return from + files;
}

static void run(const char *label, const char *backend, const struct fsb_start *from)
{
	struct churn *c = calloc(1, sizeof(*c));
	struct count before, after;
	struct msb_err e = {0};
	char name[32];
	struct fsb *b;
	uint64_t i;

	assert_non_null(c);
	if (fsb_kind_find(backend)->start(from, &b, &e) < 0)
		fail_msg("%s: %s", backend, e.msg);
	fsd_fs_init(&c->fs, b);
	c->q.s = fsd_session_new(&c->fs, &fuse_profile_guest, false);
	c->q.w = &c->w;
	assert_int_equal(req_init(&c->q), 0);
	for (int d = 0; d < DIRS; d++) {
		(void)snprintf(name, sizeof(name), "dir-%d", d);
		assert_int_equal(req_mkdir(&c->q, FUSE_ROOT_ID, name, 0755), 0);
		c->dir[d] = REQ_REPLY(&c->q, struct fuse_entry_out)->nodeid;
	}
	i = churn(c, 0, WARM_UP / OPERATION);
	before = count(c);
	(void)churn(c, i, operations / OPERATION);
	after = count(c);
	if (only)
		print_message("{\"backend\":\"%s\",\"operations\":%" PRIu64
			      ",\"rss_before\":%" PRIu64 ",\"rss_after\":%" PRIu64
			      ",\"fds_before\":%" PRIu64 ",\"fds_after\":%" PRIu64
			      ",\"nodes_before\":%" PRIu64 ",\"nodes_after\":%" PRIu64 "}\n",
			label, operations, before.resident, after.resident, before.fds, after.fds,
			before.nodes, after.nodes);
	assert_int_equal(after.fds, before.fds);
	assert_int_equal(after.nodes, before.nodes);
	assert_int_equal(after.handles, before.handles);
	assert_true(!OWN_HEAP || after.resident < before.resident + GROWTH);
	fsd_session_free(c->q.s);
	fsd_fs_done(&c->fs);
	free(c);
}

static char dir[64];
static const struct fsb_options none;

static int setup(void **state)
{
	(void)umask(0);
	(void)snprintf(dir, sizeof(dir), "%s/msb-churn-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, dir);
}

static void memory(void **state)
{
	struct fsb_start from = FSB_START_NONE;

	if (only && strcmp(only, "memory") != 0)
		skip();
	from.options = &none;
	run("memory", "memory", &from);
}

static void overlay(void **state)
{
	struct fsb_start from = FSB_START_NONE;

	if (only && strcmp(only, "overlay") != 0)
		skip();
	from.options = &none;
	from.upper_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	run("overlay", "overlay", &from);
}

static void passthrough_as(const char *label, enum fsb_map map)
{
	static struct fsb_options o;
	struct fsb_start from = FSB_START_NONE;

	if (only && strcmp(only, label) != 0)
		skip();
	o.map = map;
	o.map_set = true;
	from.options = &o;
	from.dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	run(label, "passthrough", &from);
}

static void passthrough(void **state)
{
	passthrough_as("passthrough", FSB_MAP_NONE);
}

static void passthrough_mapped(void **state)
{
	passthrough_as("passthrough-map", FSB_MAP_ROOT);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(memory, setup, teardown),
		cmocka_unit_test_setup_teardown(overlay, setup, teardown),
		cmocka_unit_test_setup_teardown(passthrough, setup, teardown),
		cmocka_unit_test_setup_teardown(passthrough_mapped, setup, teardown),
	};

	operations = argc > 1 ? strtoull(argv[1], NULL, 0) : operations;
	only = argc > 2 ? argv[2] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
