// SPDX-License-Identifier: Apache-2.0
// The image backend: names, attributes and listings need no system call but for memory. A child
// that would be killed by any other one looks up, stats and lists ten thousand files.
#include "tests/unit/fusereq.h"
#include "tests/unit/overlay_fixture.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define DIRS  100
#define FILES 100 /* in each */

struct image {
	char dir[64];
	struct fsb *b;
	struct fsd_fs fs;
	struct fsd_session *s;
	struct fusereq q;
	struct fuse_worker w;
};

static void write_index(const char *path)
{
	static const struct img_pack packs[] = {{1, 100}};
	struct img_inode *d, *i;
	struct msb_err e = {0};
	struct img_tree *t;
	char name[16];
	FILE *f;

	assert_int_equal(img_tree_new(DIRS * FILES * 2, &t), 0);
	img_tree_root(t)->mode = S_IFDIR | 0755;
	for (int n = 0; n < DIRS; n++) {
		(void)snprintf(name, sizeof(name), "d%d", n);
		d = fx_add(t, img_tree_root(t), name, S_IFDIR | 0755);
		for (int k = 0; k < FILES; k++) {
			(void)snprintf(name, sizeof(name), "f%d", k);
			i = fx_add(t, d, name, k % 10 ? S_IFREG | 0644 : S_IFLNK | 0777);
			fx_text(i, k % 10 ? "contents" : "target");
			if (k % 10 == 1)
				assert_int_equal(img_inode_set_xattr(i, "user.x", 6, "1", 1), 0);
		}
	}
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(
		img_index_write(t, packs, 1, (const uint8_t *)"image-backend-te", f, &e), 0);
	fclose(f);
	img_tree_free(t);
}

static int start(void **state, const struct fsb_kind *kind, bool upper)
{
	struct image *m = calloc(1, sizeof(*m));
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	char path[128];

	assert_non_null(m);
	fx_tmp(m->dir);
	(void)snprintf(path, sizeof(path), "%s/packs", m->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/index", m->dir);
	write_index(path);
	from.index_fd = fx_open(m->dir, "index", O_RDONLY);
	from.packs_fd = fx_open(m->dir, "packs", O_RDONLY | O_DIRECTORY);
	if (upper) {
		(void)snprintf(path, sizeof(path), "%s/upper", m->dir);
		assert_int_equal(mkdir(path, 0700), 0);
		from.upper_fd = fx_open(m->dir, "upper", O_RDONLY | O_DIRECTORY);
	}
	if (kind->start(&from, &m->b, &e) < 0)
		fail_msg("start: %s", e.msg);
	fsd_fs_init(&m->fs, m->b);
	m->s = fsd_session_new(&m->fs, &fuse_profile_guest, false);
	assert_non_null(m->s);
	m->q.s = m->s;
	m->q.w = &m->w;
	assert_int_equal(req_init(&m->q), 0);
	*state = m;
	return 0;
}

static int setup(void **state)
{
	return start(state, &fsb_image_kind, false);
}

static int setup_overlay(void **state)
{
	return start(state, &fsb_overlay_kind, true);
}

static int teardown(void **state)
{
	struct image *m = *state;

	fsd_session_free(m->s);
	fsd_fs_done(&m->fs);
	assert_int_equal(msb_rm_rf(AT_FDCWD, m->dir), 0);
	free(m);
	return 0;
}

/* From here on only memory can be had, and the process can end. */
static void seal(void)
{
	/* No futex: one thread meets no lock that is taken. prctl and sigaltstack are a
	 * sanitizer's. */
	static const int memory[] = {SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap),
		SCMP_SYS(madvise), SCMP_SYS(mprotect), SCMP_SYS(prctl), SCMP_SYS(sigaltstack),
		SCMP_SYS(exit_group)};
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_KILL_PROCESS);

	if (!c)
		_exit(2);
	for (size_t i = 0; i < ARRAY_LEN(memory); i++)
		if (seccomp_rule_add(c, SCMP_ACT_ALLOW, memory[i], 0) < 0)
			_exit(2);
	if (seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
		    SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS)) < 0 ||
		seccomp_load(c) < 0)
		_exit(2);
}

/* How a child ends that does @work with no system call. */
static int sealed(struct image *m, bool (*work)(struct image *))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		seal();
		_exit(work(m) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static bool one_file(struct image *m, uint64_t dir, int k)
{
	const struct fuse_getxattr_in in = {.size = 100};
	char name[16];
	uint64_t node;
	struct fusereq *q = &m->q;

	(void)snprintf(name, sizeof(name), "f%d", k);
	node = req_lookup(q, dir, name);
	if (!node || req_getattr(q, node) < 0)
		return false;
	if (k % 10 == 0) {
		req_start(q, FUSE_READLINK, node);
		if (req_run(q) < 0 || q->out_bytes != 6)
			return false;
	} else {
		req_start(q, FUSE_GETXATTR, node);
		req_add(q, &in, sizeof(in));
		req_str(q, "user.x");
		if (req_run(q) != (k % 10 == 1 ? 0 : -ENODATA))
			return false;
		if (req_read(q, FUSE_READ, node, 0, 0, 100) < 0 || q->out_bytes != 8)
			return false; /* small contents are in the index */
	}
	if (req_name(q, FUSE_LOOKUP, dir, "absent") < 0 ||
		REQ_REPLY(q, struct fuse_entry_out)->nodeid != 0)
		return false;
	if (k % 2)
		req_forget(q, node, 1);
	return true;
}

/* Bytes of a listing of all of @dir, or -1. */
static int64_t list(struct fusereq *q, uint32_t opcode, uint64_t dir)
{
	uint64_t off = 0, n = 0;

	for (;;) {
		size_t head = opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;

		if (req_read(q, opcode, dir, 0, off, 4096) < 0)
			return -1;
		if (q->out_bytes == 0)
			return (int64_t)n;
		for (size_t at = 0; at < q->out_bytes;) {
			const struct fuse_dirent *d = (const void *)(q->out + 16 + at + head);

			off = d->off;
			at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d->namelen);
			n++;
		}
	}
}

static bool everything(struct image *m)
{
	char name[16];

	for (int n = 0; n < DIRS; n++) {
		uint64_t dir;

		(void)snprintf(name, sizeof(name), "d%d", n);
		dir = req_lookup(&m->q, FUSE_ROOT_ID, name);
		for (int k = 0; dir && k < FILES; k++)
			if (!one_file(m, dir, k))
				return false;
		if (!dir || list(&m->q, FUSE_READDIR, dir) != FILES + 2 ||
			list(&m->q, FUSE_READDIRPLUS, dir) != FILES + 2)
			return false;
	}
	return list(&m->q, FUSE_READDIR, FUSE_ROOT_ID) == DIRS + 2;
}

static bool one_call(struct image *m)
{
	struct stat st;

	return stat("/", &st) == 0;
}

static void no_system_call(void **state)
{
	int status = sealed(*state, everything);

	if (WIFSIGNALED(status))
		fail_msg("killed by signal %d: a system call", WTERMSIG(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void the_seal_holds(void **state)
{
	int status = sealed(*state, one_call);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void is_cached_for_a_day(void **state)
{
	struct image *m = *state;
	const struct fuse_entry_out *o = REQ_REPLY(&m->q, struct fuse_entry_out);

	assert_true(req_lookup(&m->q, FUSE_ROOT_ID, "d0") > 0);
	assert_int_equal(o->entry_valid, 86400);
	assert_int_equal(o->attr_valid, 86400);
	assert_int_equal(req_name(&m->q, FUSE_LOOKUP, FUSE_ROOT_ID, "absent"), 0);
	assert_int_equal(o->nodeid, 0);
	assert_int_equal(o->entry_valid, 86400);
}

static void is_read_only(void **state)
{
	struct image *m = *state;
	uint64_t dir = req_lookup(&m->q, FUSE_ROOT_ID, "d0"), f = req_lookup(&m->q, dir, "f1");
	const struct fuse_setattr_in mode = {.valid = FATTR_MODE, .mode = 0777};

	assert_true(f > 0);
	assert_int_equal(req_create(&m->q, dir, "new", O_RDWR, 0644), -EROFS);
	assert_int_equal(req_mkdir(&m->q, dir, "new", 0755), -EROFS);
	assert_int_equal(req_name(&m->q, FUSE_UNLINK, dir, "f1"), -EROFS);
	assert_int_equal(req_name(&m->q, FUSE_RMDIR, FUSE_ROOT_ID, "d0"), -EROFS);
	assert_int_equal(req_rename(&m->q, dir, "f1", dir, "x", 0), -EROFS);
	assert_int_equal(req_write(&m->q, f, 0, 0, "x", 1, 0), -EROFS);
	assert_int_equal(req_setattr(&m->q, f, &mode), -EROFS);
	assert_int_equal(req_read(&m->q, FUSE_READ, f, 0, 0, 100), 0);
	assert_memory_equal(m->q.out + 16, "contents", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_system_call, setup, teardown),
		cmocka_unit_test_setup_teardown(no_system_call, setup_overlay, teardown),
		cmocka_unit_test_setup_teardown(the_seal_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(is_cached_for_a_day, setup, teardown),
		cmocka_unit_test_setup_teardown(is_read_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
