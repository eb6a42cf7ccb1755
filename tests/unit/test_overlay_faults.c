// SPDX-License-Identifier: Apache-2.0
// The overlay where memory or the disk runs out at any point: ops fail, nothing that was answered
// is lost, and what is on the disk opens again.
#include "base/log.h"
#include "tests/unit/overlay_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CAN_FAIL 0 /* the sanitizer's allocator is the one in use */
#else
#define CAN_FAIL 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static int until_failure; /* allocations; 0: never */

static int fails(void)
{
	return until_failure && --until_failure == 0;
}

void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}
#endif

static int exists(struct fsb *b, const char *path)
{
	struct fsb_entry e;
	int r = fx_walk(b, path, &e);

	if (r == 0)
		fx_forget(b, e.node);
	return r;
}

#if CAN_FAIL
static const char *const made[] = {"n1", "f/n2", "a/b/c/n3", "a/b/c/n4", "n5", "n6"};

/* Notes what was answered; a failure may come anywhere. */
static void work(struct fsb *b, int *done)
{
	char name[300];
	struct fsb_entry e;

	for (size_t i = 0; i < ARRAY_LEN(made); i++)
		done[i] = fx_mk(b, made[i], S_IFREG | 0600, NULL);
	memset(name, 's', sizeof(name));
	name[299] = '\0';
	(void)fx_mk(b, "l", S_IFLNK, name);
	(void)fx_write(b, "a/big", "x", 1, 0, 0);
	(void)fx_rename(b, "a", "f/moved", 0);
	if (fx_walk(b, "c", &e) == 0) {
		(void)b->ops->setxattr(b, &fx_req, e.node, "user.big", name, 299, 0);
		fx_forget(b, e.node);
	}
	(void)fx_rm(b, "many/007", false);
}

static void memory_runs_out(void **state)
{
	int done[ARRAY_LEN(made)];
	struct msb_err e = {0};
	bool ended = false;
	struct fx fx;

	for (int n = 1; !ended; n++) {
		assert_in_range(n, 1, 500);
		fx_init(&fx, true);
		until_failure = n;
		work(fx.b, done);
		ended = until_failure > 0;
		until_failure = 0;
		fx_restart(&fx);
		for (size_t i = 0; i < 2; i++) {
			int r = exists(fx.b, made[i]);

			/* Where it failed after the log was written it may be there. */
			if (done[i] == 0)
				assert_int_equal(r, 0);
		}
		fx_stop(&fx);
		until_failure = n;
		if (fx_start(&fx, "upper", &e) == 0)
			until_failure = 0;
		else
			fx.b = NULL;
		until_failure = 0;
		if (!fx.b)
			assert_int_equal(fx_start(&fx, "upper", &e), 0);
		fx_done(&fx);
	}
}
#endif

/* The log may not grow: each op is refused, or done, whole. */
static void disk_runs_out(void **state)
{
	struct rlimit old, cut;
	struct ovl *o;
	struct fx fx;
	uint64_t end;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "1", S_IFREG | 0600, NULL), 0);
	o = ovl_of(fx.b);
	end = o->log.end;
	cut = old;
	cut.rlim_cur = end + 20; /* a part of a frame */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &cut), 0);
	assert_int_equal(fx_rm(fx.b, "1", false), -EFBIG);
	assert_int_equal(fx_rename(fx.b, "1", "2", 0), -EFBIG);
	assert_int_equal(o->log.end, end);
	assert_int_equal(exists(fx.b, "1"), 0);
	/* A copy-up that cannot be written leaves the lower file to be read. */
	assert_int_equal(fx_write(fx.b, "a/big", "x", 1, 0, 0), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(fx_rename(fx.b, "1", "2", 0), 0);
	fx_restart(&fx);
	assert_int_equal(exists(fx.b, "1"), -ENOENT);
	assert_int_equal(exists(fx.b, "2"), 0);
	assert_int_equal(fx_write(fx.b, "a/big", "x", 1, 0, 0), 1);
	fx_done(&fx);
}

/* No room to make more: what frees some has room of its own. */
static void full_disk_is_emptied(void **state)
{
	struct rlimit old, cut;
	struct ovl *o;
	struct fx fx;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "1", S_IFREG | 0600, NULL), 0);
	o = ovl_of(fx.b);
	assert_true(o->log.reserved > o->log.end + OVL_LOG_RESERVE_LEAST);
	o->log.reserved = o->log.end + OVL_LOG_RESERVE_LEAST;
	cut = old;
	cut.rlim_cur = o->log.reserved;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &cut), 0);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG | 0600, NULL), -ENOSPC);
	assert_int_equal(fx_rm(fx.b, "1", false), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG | 0600, NULL), 0);
	fx_done(&fx);
}

static int no_room_for_big(void *arg, const char *name, size_t n, uint64_t ino, uint32_t type,
	uint64_t next_off, const struct fsb_entry *entry)
{
	return n == 3 && memcmp(name, "big", 3) == 0;
}

/* The file of a copy-up that failed, and the descriptor of it, go with the inode and not before:
 * also where a listing meets it after its last FORGET has counted and before that has freed it. */
static void half_copied_up(void **state)
{
	struct rlimit old, cut;
	struct ovl_inode *i;
	struct fsb_entry a, big;
	struct fx fx;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	fx_init(&fx, true);
	assert_int_equal(fx_walk(fx.b, "a", &a), 0);
	assert_int_equal(fx_walk(fx.b, "a/big", &big), 0);
	cut = old;
	cut.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &cut), 0);
	assert_int_equal(fx_write(fx.b, "a/big", "x", 1, 0, 0), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	i = ovl_find(ovl_of(fx.b), big.node);
	assert_non_null(i);
	assert_non_null(i->fd);
	atomic_store(&i->refs, 0);
	assert_int_equal(
		fx.b->ops->readdir(fx.b, &fx_req, a.node, 0, 2, true, no_room_for_big, NULL), 0);
	assert_ptr_equal(ovl_find(ovl_of(fx.b), big.node), i);
	assert_int_equal(ovl_of(fx.b)->fds, 1);
	ovl_forget(fx.b, big.node, 0);
	assert_null(ovl_find(ovl_of(fx.b), big.node));
	assert_int_equal(ovl_of(fx.b)->fds, 0);
	fx_forget(fx.b, a.node);
	fx_done(&fx);
}

/* What a copy left behind the file's end when it failed is in the file: it must not be a hole that
 * is not one. */
static void half_copied(void **state)
{
	struct rlimit old, cut;
	struct fsb_entry from, to;
	uint8_t byte;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_write(fx.b, "n", "short", 5, 0, 0), 5);
	assert_int_equal(fx_walk(fx.b, "a/big", &from), 0);
	assert_int_equal(fx_walk(fx.b, "n", &to), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	cut = (struct rlimit){40000, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &cut), 0);
	assert_int_equal(
		fx.b->ops->copy_file_range(fx.b, &fx_req, from.node, 0, 0, to.node, 0, 0, FX_BIG),
		-EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(fx_attr(fx.b, "n").size, 40000);
	assert_int_equal(fx_write(fx.b, "n", "far", 3, FX_BIG, 0), 3);
	assert_int_equal(fx_read(fx.b, "n", &byte, 1, 30000), 1);
	assert_int_equal(byte, fx_byte(30000));
	fx_forget(fx.b, from.node);
	fx_forget(fx.b, to.node);
	fx_done(&fx);
}

/* A log may speak of more files than may be in memory at once: all but those left are gone. */
static void more_removed_than_nodes(void **state)
{
	const struct fsb_setattr mode = {.valid = FATTR_MODE, .mode = 0600};
	struct msb_str log = MSB_STR_INIT;
	struct ovl *o = ovl_alloc();
	struct msb_err e = {0};
	struct ovl_inode *i;
	char path[128];
	uint64_t end;
	struct fx fx;
	int fd;

	fx_init(&fx, true);
	for (int n = 0; n < 10; n++) {
		assert_int_equal(fx_mk(fx.b, "t", S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_rm(fx.b, "t", false), 0);
	}
	assert_int_equal(fx_setattr(fx.b, "many/000", &mode), 0);
	(void)snprintf(path, sizeof(path), "%s/upper/log", fx.dir);
	assert_int_equal(msb_read_file(AT_FDCWD, path, 1 << 20, &log), 0);
	fd = fx_open(fx.dir, "index", O_RDONLY);
	assert_int_equal(img_index_open(fd, &o->lower, &e), 0);
	close(fd);
	o->lower_root = img_index_root(o->lower);
	o->lower_id = ovl_of(fx.b)->lower_id;
	assert_int_equal(ovl_from_lower(o, OVL_ROOT, &i), 0);
	o->max_nodes = 4;
	assert_int_equal(ovl_log_replay(o, (const uint8_t *)log.buf, log.len, &end), 0);
	assert_int_equal(end, log.len);
	assert_int_equal(o->nodes, 2);
	assert_int_equal(o->max_nodes, 4);
	o->fsb.ops->stop(&o->fsb);
	msb_str_done(&log);
	fx_done(&fx);
}

/* A rewrite that fails leaves the old log in use. */
static void compaction_fails(void **state)
{
	char path[128];
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "1", S_IFREG | 0600, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/upper/log.new", fx.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	{
		OVL_WRITE(ovl_of(fx.b));
		assert_int_equal(ovl_log_compact(ovl_of(fx.b)), -EISDIR);
	}
	assert_int_equal(fx_mk(fx.b, "2", S_IFREG | 0600, NULL), 0);
	assert_int_equal(rmdir(path), 0);
	fx_restart(&fx);
	assert_int_equal(exists(fx.b, "1"), 0);
	assert_int_equal(exists(fx.b, "2"), 0);
	fx_done(&fx);
}

static void spoil(struct fx *fx, uint64_t at, const void *p, size_t n)
{
	int fd = fx_open(fx->dir, "upper/log", O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(msb_pwrite_full(fd, p, n, at), 0);
	close(fd);
}

static void damaged_head(void **state)
{
	struct msb_err e = {0};
	struct fx fx;

	fx_init(&fx, false);
	fx_stop(&fx);
	spoil(&fx, 9, "\1", 1); /* another version, not sealed */
	assert_int_equal(fx_start(&fx, "upper", &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "damaged"));
	spoil(&fx, 0, "no log", 6);
	assert_int_equal(fx_start(&fx, "upper", NULL), -EBADMSG);
	fx.b = NULL;
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#if CAN_FAIL
		cmocka_unit_test(memory_runs_out),
#endif
		cmocka_unit_test(disk_runs_out),
		cmocka_unit_test(full_disk_is_emptied),
		cmocka_unit_test(half_copied_up),
		cmocka_unit_test(half_copied),
		cmocka_unit_test(more_removed_than_nodes),
		cmocka_unit_test(compaction_fails),
		cmocka_unit_test(damaged_head),
	};

	setenv("MSB_LOG", "err", 1);
	msb_log_init("test", NULL, -1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
