// SPDX-License-Identifier: Apache-2.0
// The quota wrapper: ENOSPC before the limit is passed, what is freed and when, what the host does
// behind it, statfs, and threads that race for the last block.
#include "fs/backends/quota_priv.h" /* has arguments of the fixture's names */

#include "tests/unit/stack_fixture.h"
#include "fs/du.h"
#include "fs/guard.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define K UINT64_C(1024)

static char data[1 << 20];

static int setup(void **state)
{
	memset(data, 'd', sizeof(data));
	return setup_dir();
}

static void mount(const char *backend, const char *options)
{
	const struct fsb_start none = FSB_START_NONE;

	mount_as(backend, options, &none);
}

static struct quota *wrapper(void)
{
	assert_string_equal(fs.b->ops->name, "quota");
	return (struct quota *)(void *)fs.b;
}

static uint64_t used(void)
{
	quota_settle_all(wrapper());
	return (uint64_t)atomic_load(&wrapper()->u->used);
}

struct file {
	uint64_t node, fh;
};

static struct file create(const char *name)
{
	struct file f;

	assert_int_equal(req_create(&q, 1, name, O_RDWR, 0644), 0);
	f.node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	f.fh = req_created_fh(&q);
	return f;
}

static void close_file(const struct file *f)
{
	if (f->fh)
		assert_int_equal(req_release(&q, FUSE_RELEASE, f->node, f->fh), 0);
	req_forget(&q, f->node, 1);
}

static int put(const struct file *f, uint64_t off, uint32_t n)
{
	return req_write(&q, f->node, f->fh, off, data, n, 0);
}

static int truncate_to(const struct file *f, uint64_t size)
{
	const struct fuse_setattr_in in = {
		.valid = FATTR_SIZE | (f->fh ? FATTR_FH : 0), .fh = f->fh, .size = size};

	return req_setattr(&q, f->node, &in);
}

static int allocate(const struct file *f, uint64_t off, uint64_t len, uint32_t mode)
{
	const struct fuse_fallocate_in in = {
		.fh = f->fh, .offset = off, .length = len, .mode = mode};

	req_start(&q, FUSE_FALLOCATE, f->node);
	req_add(&q, &in, sizeof(in));
	return req_run(&q);
}

static const struct fuse_kstatfs *statfs_now(void)
{
	req_start(&q, FUSE_STATFS, 1);
	assert_int_equal(req_run(&q), 0);
	return &REQ_REPLY(&q, struct fuse_statfs_out)->st;
}

/* What every backend is to do: /dev/shm counts blocks of 4 KiB and nothing beside. */
static void life(const char *backend)
{
	struct file a, b;
	uint64_t base;

	mount(backend, "quota_bytes=256K");
	base = used();
	a = create("a");
	assert_int_equal(put(&a, 0, 100), 0);
	assert_int_equal(used(), base + 4 * K);
	/* Over what is there costs nothing, however often. */
	for (int i = 0; i < 100; i++)
		assert_int_equal(put(&a, 0, 4096), 0);
	assert_int_equal(used(), base + 4 * K);
	/* Holes are none. */
	assert_int_equal(put(&a, 100 * K, 4096), 0);
	assert_int_equal(used(), base + 8 * K);
	assert_int_equal(truncate_to(&a, 1 << 30), 0);
	assert_int_equal(used(), base + 8 * K);
	/* More than there is room for: refused, and nothing of it done. */
	assert_int_equal(put(&a, 200 * K, 300 * K), -ENOSPC);
	assert_int_equal(used(), base + 8 * K);
	assert_int_equal(allocate(&a, 0, 300 * K, 0), -ENOSPC);
	/* Up to the last block. */
	assert_int_equal(truncate_to(&a, 4096), 0);
	assert_int_equal(used(), base + 4 * K);
	for (uint64_t at = base + 4 * K; at + 4 * K <= 256 * K; at += 4 * K)
		assert_int_equal(put(&a, at - base, 4096), 0);
	assert_true(used() + 4 * K > 256 * K);
	assert_int_equal(put(&a, 512 * K, 1), -ENOSPC);
	/* It can still be written over, and emptied. */
	assert_int_equal(put(&a, 0, 8192), 0);
	assert_int_equal(put(&a, 0, 8192), 0);
	b = create("b");
	assert_int_equal(put(&b, 0, 1), -ENOSPC);
	assert_int_equal(truncate_to(&a, 0), 0);
	assert_int_equal(used(), base);
	assert_int_equal(put(&b, 0, 128 * K), 0);
	/* Without a name, but open: it is there. */
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "b"), 0);
	assert_int_equal(used(), base + 128 * K);
	assert_int_equal(put(&b, 128 * K, 64 * K), 0);
	assert_int_equal(put(&a, 0, 128 * K), -ENOSPC);
	close_file(&b);
	assert_int_equal(used(), base);
	assert_int_equal(put(&a, 0, 128 * K), 0);
	/* Replaced by a rename. */
	b = create("b");
	assert_int_equal(put(&b, 0, 64 * K), 0);
	close_file(&b);
	assert_int_equal(req_rename(&q, 1, "b", 1, "a", 0), 0);
	assert_int_equal(used(), base + (128 + 64) * K); /* a is open */
	close_file(&a);
	assert_int_equal(used(), base + 64 * K);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	assert_int_equal(used(), base);
	/* Preallocated, and given back. */
	a = create("a");
	assert_int_equal(allocate(&a, 0, 64 * K, 0), 0);
	assert_int_equal(used(), base + 64 * K);
	assert_int_equal(allocate(&a, 0, 32 * K, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), 0);
	assert_int_equal(used(), base + 32 * K);
	close_file(&a);
	unmount();
}

static void passthrough(void **state)
{
	life("passthrough");
}

static void memory(void **state)
{
	life("memory");
}

static void overlay(void **state)
{
	life("overlay");
}

/* A removed file that was open over a migration counts until it is let go there. */
static void loaded(void **state)
{
	_cleanup_close_ int all = memfd_create("state", MFD_CLOEXEC);
	uint8_t one[FSB_MAX_STATE];
	uint64_t base, node;
	struct file a;
	int64_t n;

	mount("memory", "quota_bytes=256K");
	a = create("a");
	node = a.node;
	assert_int_equal(put(&a, 0, 128 * K), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	n = fs.b->ops->save(fs.b, node, one, sizeof(one));
	assert_true(n >= 0);
	assert_int_equal(fs.b->ops->save_all(fs.b, all), 0);
	unmount();

	assert_int_equal(lseek(all, 0, SEEK_SET), 0);
	mount("memory", "quota_bytes=256K");
	base = used();
	assert_int_equal(fs.b->ops->load_all(fs.b, all), 0);
	assert_int_equal(fs.b->ops->load(fs.b, node, 1, one, (size_t)n), 0);
	assert_in_range(used(), base + 128 * K, base + 140 * K); /* and the file's own entry */
	a = create("b");
	assert_int_equal(put(&a, 0, 128 * K), -ENOSPC);
	fs.b->ops->forget(fs.b, node, 1);
	assert_in_range(used(), base, base + 12 * K);
	assert_int_equal(put(&a, 0, 128 * K), 0);
	unmount();
}

static void hard_links(void **state)
{
	struct fuse_link_in in;
	struct file a;

	mount("passthrough", "quota_bytes=256K");
	a = create("a");
	in.oldnodeid = a.node;
	assert_int_equal(put(&a, 0, 64 * K), 0);
	req_start(&q, FUSE_LINK, 1);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "b");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	req_forget(&q, a.node, 1);
	close_file(&a);
	assert_int_equal(used(), 64 * K); /* still has a name */
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "b"), 0);
	assert_int_equal(used(), 0);
	unmount();
}

static void temporary(void **state)
{
	const struct fuse_create_in in = {.flags = O_RDWR | O_TMPFILE, .mode = 0600};
	struct fuse_link_in link;
	struct file f;
	int r;

	mount("passthrough", "quota_bytes=256K");
	for (int named = 0; named < 2; named++) {
		req_start(&q, FUSE_TMPFILE, 1);
		req_add(&q, &in, sizeof(in));
		req_str(&q, "");
		r = req_run(&q);
		if (r == -EOPNOTSUPP)
			break; /* by what /dev/shm is on */
		assert_int_equal(r, 0);
		f.node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
		f.fh = req_created_fh(&q);
		assert_int_equal(put(&f, 0, 64 * K), 0);
		assert_int_equal(used(), 64 * K);
		link.oldnodeid = f.node;
		req_start(&q, FUSE_LINK, 1);
		req_add(&q, &link, sizeof(link));
		req_str(&q, "named");
		if (named) {
			assert_int_equal(req_run(&q), 0);
			req_forget(&q, f.node, 1);
		}
		close_file(&f);
		assert_int_equal(used(), named ? 64 * K : 0);
	}
	unmount();
}

/* What the root's own attributes take is asked for, and not added up. */
static void root_attributes(void **state)
{
	mount("memory", "quota_bytes=64K");
	for (int i = 0; i < 100; i++) {
		assert_int_equal(req_setxattr(&q, 1, "user.x", "hello", 5), 0);
		assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
		assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "d"), 0);
	}
	assert_true(used() < 64 * K);
	unmount();
}

/* What was there before counts, files with two names once, and nothing outside. */
static void what_was_there(void **state)
{
	assert_int_equal(mkdirat(host, "d", 0755), 0);
	assert_int_equal(msb_write_file_atomic(host, "d/f", data, 100 * K, 0644), 0);
	assert_int_equal(linkat(host, "d/f", host, "g", 0), 0);
	assert_int_equal(symlinkat("/etc", host, "l"), 0);
	mount("passthrough", "quota_bytes=104K");
	assert_int_equal(used(), 100 * K);
	struct file a = create("a");

	assert_int_equal(put(&a, 0, 4096), 0);
	assert_int_equal(put(&a, 4096, 1), -ENOSPC);
	assert_int_equal(statfs_now()->bavail, 0);
	/* More is there than may be. */
	unmount();
	mount("passthrough", "quota_bytes=64K");
	assert_int_equal(statfs_now()->bavail, 0);
	assert_int_equal(statfs_now()->blocks * statfs_now()->frsize, 104 * K);
	assert_int_equal(req_mkdir(&q, 1, "e", 0755), -ENOSPC);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	unmount();
}

static void free_space(void **state)
{
	struct file a;

	mount("passthrough", "quota_bytes=1M");
	a = create("a");
	assert_int_equal(put(&a, 0, 256 * K), 0);
	assert_int_equal(statfs_now()->blocks * statfs_now()->frsize, 1024 * K);
	assert_int_equal(statfs_now()->bfree * statfs_now()->frsize, 768 * K);
	assert_int_equal(statfs_now()->bavail * statfs_now()->frsize, 768 * K);
	unmount();
	/* The disk may have less. */
	mount("passthrough", "quota_bytes=1048576T");
	assert_true(statfs_now()->bavail * statfs_now()->frsize < UINT64_C(1) << 59);
	unmount();
}

/* Asks for a walk until one has ended since, and it shows. */
static void wait_for(uint64_t bytes)
{
	while (used() != bytes) {
		quota_walk_ask(wrapper(), 0);
		assert_int_equal(usleep(10000), 0);
	}
}

static void host_edits(void **state)
{
	struct file a;

	mount("passthrough", "quota_bytes=256K");
	a = create("a");
	assert_int_equal(put(&a, 0, 64 * K), 0);
	assert_int_equal(msb_write_file_atomic(host, "h", data, 128 * K, 0644), 0);
	wait_for((64 + 128) * K);
	assert_int_equal(put(&a, 64 * K, 128 * K), -ENOSPC);
	assert_int_equal(unlinkat(host, "h", 0), 0);
	wait_for(64 * K); /* a refused write asks for a walk too */
	assert_int_equal(put(&a, 64 * K, 128 * K), 0);
	unmount();
}

/* One that began after now has ended. */
static void walk_once(void)
{
	struct quota *w = wrapper();
	bool ended = false;

	pthread_mutex_lock(&w->lock);
	w->took_ms = 0;
	w->ended_ms = 1; /* long ago */
	pthread_mutex_unlock(&w->lock);
	quota_walk_ask(w, 0);
	while (!ended) {
		assert_int_equal(usleep(100), 0);
		LOCK_SCOPE(&w->lock);
		ended = w->ended_ms != 1;
	}
}

/* What is deleted and open is met by no walk, and is there. */
static void walks_and_deleted_files(void **state)
{
	struct file a, b;

	mount("passthrough", "quota_bytes=256K");
	a = create("a");
	b = create("b");
	assert_int_equal(put(&a, 0, 128 * K), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	walk_once();
	assert_int_equal(used(), 128 * K);
	assert_int_equal(put(&b, 0, 192 * K), -ENOSPC);
	assert_int_equal(put(&a, 128 * K, 64 * K), 0);
	walk_once();
	assert_int_equal(used(), 192 * K);
	/* What the host takes away beside it is given back. */
	assert_int_equal(put(&b, 0, 64 * K), 0);
	walk_once();
	assert_int_equal(unlinkat(host, "b", 0), 0);
	walk_once();
	assert_int_equal(used(), 192 * K);
	close_file(&a);
	assert_int_equal(used(), 0);
	close_file(&b);
	unmount();
}

static uint64_t dirs[2];

static void *mover(void *arg)
{
	struct fusereq *mine = calloc(1, sizeof(*mine));

	mine->s = q.s;
	mine->w = calloc(1, sizeof(*mine->w));
	for (bool back = false; !atomic_load((_Atomic bool *)arg); back = !back)
		if (req_rename(mine, dirs[back], "f", dirs[!back], "f", 0))
			abort();
	free(mine->w);
	free(mine);
	return NULL;
}

/* A file that is moved from where the walk has still to come to where it has been. */
static void walks_and_moved_files(void **state)
{
	static _Atomic bool ended;
	int64_t least = INT64_MAX;
	struct file f;
	char name[16];
	pthread_t t;

	mount("passthrough", "quota_bytes=256K");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(req_mkdir(&q, 1, i ? "b" : "a", 0755), 0);
		dirs[i] = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
		/* Between the two, as they are listed, and for a while. */
		for (int k = 0; i == 0 && k < 500; k++) {
			(void)snprintf(name, sizeof(name), "%d", k);
			assert_int_equal(mkdirat(host, name, 0755), 0);
		}
	}
	assert_int_equal(req_create(&q, dirs[0], "f", O_RDWR, 0644), 0);
	f = (struct file){REQ_REPLY(&q, struct fuse_entry_out)->nodeid, req_created_fh(&q)};
	assert_int_equal(put(&f, 0, 128 * K), 0);
	assert_int_equal(pthread_create(&t, NULL, mover, (void *)&ended), 0);
	for (int i = 0; i < 100; i++) {
		int64_t now;

		walk_once();
		now = atomic_load(&wrapper()->u->used);
		least = now < least ? now : least;
	}
	atomic_store(&ended, true);
	pthread_join(t, NULL);
	assert_true(least >= (int64_t)(128 * K));
	close_file(&f);
	walk_once();
	assert_int_equal(used(), 128 * K); /* met twice or not, in the end */
	unmount();
}

static void sums(void **state)
{
	const _Atomic bool go_on = false, stop = true;
	bool partial;
	int at = dup(host);

	assert_int_equal(fs_du(host, &go_on, &partial), 0);
	assert_false(partial);
	assert_int_equal(msb_write_file_atomic(host, "f", data, 8 * K, 0644), 0);
	for (int i = 0; i < FS_DU_MAX_DEPTH + 5; i++) {
		int next;

		assert_int_equal(mkdirat(at, "d", 0755), 0);
		next = openat(at, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	assert_int_equal(msb_write_file_atomic(at, "deep", data, 4 * K, 0644), 0);
	close(at);
	/* Too deep to be looked at: said. */
	assert_int_equal(fs_du(host, &go_on, &partial), 8 * K);
	assert_true(partial);
	assert_int_equal(fs_du(host, &stop, &partial), 0);
	assert_true(partial);
}

static void many_linked(void **state)
{
	const _Atomic bool go_on = false;
	bool partial;
	char a[32], b[32];

	for (int i = 0; i < 3000; i++) {
		(void)snprintf(a, sizeof(a), "a%d", i);
		(void)snprintf(b, sizeof(b), "b%d", i);
		close(openat(host, a, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
		assert_int_equal(linkat(host, a, host, b, 0), 0);
	}
	assert_int_equal(msb_write_file_atomic(host, "f", data, 8 * K, 0644), 0);
	assert_int_equal(linkat(host, "f", host, "g", 0), 0);
	assert_int_equal(fs_du(host, &go_on, &partial), 8 * K);
	assert_false(partial);
}

/* More changed files than are kept unsettled. */
static void many_dirty(void **state)
{
	char name[32];

	mount("passthrough", "quota_bytes=1G");
	for (unsigned int i = 0; i < QUOTA_MAX_DIRTY + 200; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		struct file f = create(name);

		assert_int_equal(put(&f, 0, 1), 0);
		assert_true(atomic_load(&wrapper()->ndirty) <= QUOTA_MAX_DIRTY + 1);
	}
	assert_int_equal(used(), (QUOTA_MAX_DIRTY + 200) * 4 * K);
	assert_int_equal(atomic_load(&wrapper()->ndirty), 0);
	unmount();
}

/* ---- several servers of one directory */

static char page[80];

static void share_page(uint64_t limit)
{
	const struct fsd_usage u = {.limit_bytes = limit};

	(void)snprintf(page, sizeof(page), "%s.usage", top);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, page, &u, sizeof(u), 0600), 0);
}

static uint64_t mount_one_more(struct fsd_fs *f, struct fusereq *r)
{
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse("passthrough", "map=root", 8, &o, &e), 0);
	from.options = &o;
	from.dir_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	from.usage_fd = open(page, O_RDWR | O_CLOEXEC);
	if (fsb_stack_start("passthrough", &from, &b, &e) < 0)
		fail_msg("%s", e.msg);
	fsd_fs_init(f, b);
	*r = (struct fusereq){.s = fsd_session_new(f, &fuse_profile_guest, false)};
	r->w = calloc(1, sizeof(*r->w));
	assert_int_equal(req_init(r), 0);
	return 0;
}

static void end_one(struct fsd_fs *f, struct fusereq *r)
{
	r->s = fsd_session_free(r->s);
	free(r->w);
	fsd_fs_done(f);
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void count_that_cannot_be_shared(void **state)
{
	struct fsb_start from = FSB_START_NONE;
	int before = open_fds();
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse("passthrough", "", 0, &o, &e), 0);
	assert_int_equal(msb_write_file_atomic(host, "short", "", 0, 0600), 0);
	from.options = &o;
	from.dir_fd = openat(host, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	from.usage_fd = openat(host, "short", O_RDWR | O_CLOEXEC);
	assert_int_equal(fsb_stack_start("passthrough", &from, &b, &e), -EBADMSG);
	assert_int_equal(open_fds(), before);
}

/* As another server may have written it. */
static void count_at_its_end(void **state)
{
	mount("passthrough", "quota_bytes=1M");
	atomic_store(&wrapper()->u->limit_bytes, 0);
	atomic_store(&wrapper()->u->used, INT64_MAX - 4096);
	assert_false(quota_reserve(wrapper(), 8192));
	assert_true(quota_reserve(wrapper(), 4096));
	unmount();
}

static void one_count_for_all(void **state)
{
	struct fusereq a, b;
	struct fsd_fs fa, fb;
	struct fsd_usage *u;
	uint64_t node, fh, off;
	int fd;

	share_page(1024 * K);
	mount_one_more(&fa, &a);
	mount_one_more(&fb, &b);
	assert_int_equal(req_create(&a, 1, "a", O_RDWR, 0644), 0);
	node = REQ_REPLY(&a, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&a);
	assert_int_equal(req_write(&a, node, fh, 0, data, 600 * K, 0), 0);
	/* The other has what is left, and not a block more. */
	assert_int_equal(req_create(&b, 1, "b", O_RDWR, 0644), 0);
	node = REQ_REPLY(&b, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&b);
	for (off = 0; req_write(&b, node, fh, off, data, 4 * K, 0) == 0;)
		off += 4 * K;
	assert_int_equal(off, 424 * K);
	assert_int_equal(req_write(&b, node, fh, off, data, 4 * K, 0), -ENOSPC);
	/* The limit is looked at each time. */
	fd = open(page, O_RDWR | O_CLOEXEC);
	u = mmap(NULL, sizeof(*u), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(u, MAP_FAILED);
	atomic_store(&u->limit_bytes, 1032 * K);
	assert_int_equal(req_write(&b, node, fh, off, data, 8 * K, 0), 0);
	assert_int_equal(req_write(&b, node, fh, off + 8 * K, data, 4 * K, 0), -ENOSPC);
	/* What a server that was killed had taken is found by the next that finds no room. */
	atomic_fetch_add(&u->used, (int64_t)(512 * K));
	atomic_store(&u->limit_bytes, 1100 * K);
	off += 8 * K;
	for (int i = 0; i < 600 && req_write(&b, node, fh, off, data, 4 * K, 0) != 0; i++)
		(void)usleep(100000);
	assert_int_equal(req_write(&b, node, fh, off, data, 4 * K, 0), 0);
	assert_int_equal(atomic_load(&u->used), 1036 * K);
	(void)munmap(u, sizeof(*u));
	close(fd);
	end_one(&fa, &a);
	end_one(&fb, &b);
	unlink(page);
}

/* One of them was taken over, and cuts the file short: the other goes on, with a count of its own.
 */
static void count_is_cut_short(void **state)
{
	struct fsd_fs fa;
	struct fusereq a;
	uint64_t node, fh;

	assert_int_equal(guard_init(), 0);
	share_page(1024 * K);
	mount_one_more(&fa, &a);
	assert_int_equal(truncate(page, 0), 0);
	assert_int_equal(req_create(&a, 1, "a", O_RDWR, 0644), 0);
	node = REQ_REPLY(&a, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&a);
	(void)req_write(&a, node, fh, 0, data, 4 * K, 0);
	end_one(&fa, &a);
	unlink(page);
}

/* ---- threads: each writes a file of its own until there is no room; then all stand still and one
 * counts; each removes its file, before or after it closes it. */

#define THREADS 4
#define ROUNDS	100

static pthread_barrier_t all_full, counted;
static _Atomic uint64_t most;

static void count_all(void)
{
	const _Atomic bool go_on = false;
	bool partial;
	uint64_t n = fs_du(host, &go_on, &partial);

	if (n > atomic_load(&most))
		atomic_store(&most, n);
}

static void *racer(void *arg)
{
	struct fusereq *mine = calloc(1, sizeof(*mine));
	unsigned int id = (unsigned int)(uintptr_t)arg;
	char name[16];
	uint64_t node, fh;

	mine->s = q.s;
	mine->w = calloc(1, sizeof(*mine->w));
	(void)snprintf(name, sizeof(name), "f%u", id);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t off = 0;

		if (req_create(mine, 1, name, O_RDWR, 0644))
			abort();
		node = REQ_REPLY(mine, struct fuse_entry_out)->nodeid;
		fh = req_created_fh(mine);
		while (req_write(mine, node, fh, off, data, 4096 * (1 + id), 0) == 0)
			off += 4096 * (1 + id);
		(void)pthread_barrier_wait(&all_full);
		if (id == 0)
			count_all();
		(void)pthread_barrier_wait(&counted);
		if (round % 2 && req_name(mine, FUSE_UNLINK, 1, name))
			abort();
		if (fh && req_release(mine, FUSE_RELEASE, node, fh))
			abort();
		req_forget(mine, node, 1);
		if (!(round % 2) && req_name(mine, FUSE_UNLINK, 1, name))
			abort();
		(void)pthread_barrier_wait(&counted);
	}
	free(mine->w);
	free(mine);
	return NULL;
}

/* Settles and walks at any moment. */
static void *meddler(void *arg)
{
	while (!atomic_load((_Atomic bool *)arg)) {
		quota_settle_all(wrapper());
		quota_walk_ask(wrapper(), 0);
		(void)sched_yield();
	}
	return NULL;
}

static void threads(void **state)
{
	static _Atomic bool ended;
	pthread_t t[THREADS], m;

	mount("passthrough", "quota_bytes=256K");
	pthread_barrier_init(&all_full, NULL, THREADS);
	pthread_barrier_init(&counted, NULL, THREADS);
	assert_int_equal(pthread_create(&m, NULL, meddler, (void *)&ended), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, racer, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	atomic_store(&ended, true);
	pthread_join(m, NULL);
	assert_in_range(atomic_load(&most), 1, 256 * K); /* never more than there may be */
	assert_int_equal(used(), 0);
	assert_int_equal(atomic_load(&wrapper()->nodes.used), 0);
	unmount();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(passthrough), T(memory), T(overlay), T(loaded),
		T(hard_links), T(temporary), T(root_attributes), T(what_was_there), T(free_space),
		T(host_edits), T(walks_and_deleted_files), T(walks_and_moved_files), T(sums),
		T(many_linked), T(count_that_cannot_be_shared), T(count_at_its_end),
		T(one_count_for_all), T(count_is_cut_short), T(many_dirty), T(threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
