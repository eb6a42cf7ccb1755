// SPDX-License-Identifier: Apache-2.0
// passthrough without OPEN: descriptors by node, file systems below, nodes as bytes, races.
#include "tests/unit/passthrough_fixture.h"

#include <linux/capability.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ENTRY (REQ_REPLY(&q, struct fuse_entry_out))
#define ATTR  (REQ_REPLY(&q, struct fuse_attr_out)->attr)

static struct pt_nodes *table(void)
{
	return &pt_of(fs.b)->nodes;
}

static uint64_t make_file(const char *name, uint32_t mode)
{
	assert_int_equal(req_create(&q, 1, name, O_RDWR, mode), 0);
	assert_int_equal(req_created_fh(&q), 0);
	return ENTRY->nodeid;
}

/* ---- no OPEN */

static void no_open_is_needed(void **state)
{
	uint64_t node = make_file("f", 0644);

	assert_true(fs.b->ops->caps & FSB_CAP_NO_OPEN);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDWR), -ENOSYS);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), -ENOSYS);
	assert_int_equal(req_write(&q, node, 0, 0, "hello", 5, 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 1, 10), 0);
	assert_int_equal(q.out_bytes, 4);
	assert_memory_equal(q.out + 16, "ello", 4);
	assert_int_equal(req_read(&q, FUSE_READDIR, 1, 0, 0, 4096), 0);
	assert_true(q.out_bytes > 0);
	assert_int_equal(req_read(&q, FUSE_READDIR, node, 0, 0, 4096), -ENOTDIR);
	assert_int_equal(req_read(&q, FUSE_READ, 1, 0, 0, 10), -EISDIR);
	assert_int_equal(req_write(&q, 1, 0, 0, "x", 1, 0), -EISDIR);
	/* A file that this server may not write is read all the same. */
	assert_int_equal(msb_write_file_atomic(host, "r", "readable", 8, 0444), 0);
	assert_int_equal(req_read(&q, FUSE_READ, req_lookup(&q, 1, "r"), 0, 0, 10), 0);
	assert_int_equal(q.out_bytes, 8);
	/* What is no file is not opened. */
	assert_int_equal(mkfifoat(host, "p", 0644), 0);
	assert_int_equal(req_read(&q, FUSE_READ, req_lookup(&q, 1, "p"), 0, 0, 10), -ENXIO);
	assert_int_equal(symlinkat("f", host, "l"), 0);
	assert_int_equal(req_write(&q, req_lookup(&q, 1, "l"), 0, 0, "x", 1, 0), -ENXIO);
}

static void unlinked_files_live_on(void **state)
{
	uint64_t node = make_file("f", 0644), other;

	assert_int_equal(req_write(&q, node, 0, 0, "abc", 3, 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), 0);
	pt_evict(table(), 100);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 10), 0);
	assert_memory_equal(q.out + 16, "abc", 3);
	assert_int_equal(req_write(&q, node, 0, 3, "d", 1, 0), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(ATTR.size, 4);
	assert_int_equal(ATTR.nlink, 0);
	/* One that had no descriptor, and one that only looks like it. */
	assert_int_equal(msb_write_file_atomic(host, "g", "gg", 2, 0644), 0);
	node = req_lookup(&q, 1, "g");
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "g"), 0);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 10), 0);
	assert_memory_equal(q.out + 16, "gg", 2);
	assert_int_equal(msb_write_file_atomic(host, "h", "old", 3, 0644), 0);
	node = req_lookup(&q, 1, "h");
	assert_int_equal(msb_write_file_atomic(host, "h", "new", 3, 0644), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "h"), 0);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 10), -ESTALE);
	assert_int_equal(req_getattr(&q, node), -ESTALE);
	req_forget(&q, node, 1);
	/* A name that nobody looked up costs nothing. */
	assert_int_equal(msb_write_file_atomic(host, "i", "i", 1, 0644), 0);
	other = table()->orphans;
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "i"), 0);
	assert_int_equal(table()->orphans, other);
}

static void orphans_are_bounded(void **state)
{
	char name[16];
	uint64_t last = 0;

	for (int i = 0; i < PT_MAX_ORPHANS + 10; i++) {
		(void)snprintf(name, sizeof(name), "o%d", i);
		last = make_file(name, 0600);
		assert_int_equal(req_name(&q, FUSE_UNLINK, 1, name), 0);
	}
	assert_int_equal(table()->orphans, PT_MAX_ORPHANS);
	pt_evict(table(), 100);
	assert_int_equal(req_getattr(&q, last), -ESTALE);
}

/* A file that lost one of its names, or had none, and is found by another: its descriptor may be
 * closed again, and so may all the others. */
static void orphans_with_a_name_are_idle_again(void **state)
{
	uint64_t node = make_file("a", 0644), other = make_file("c", 0644);
	const struct pt_node *n = pt_find_id(table(), node), *c = pt_find_id(table(), other);

	assert_int_equal(linkat(host, "a", host, "b", 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	assert_true(n->orphan);
	assert_int_equal(req_lookup(&q, 1, "b"), node);
	assert_false(n->orphan);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(req_read(&q, FUSE_READ, other, 0, 0, 10), 0);
	pt_evict(table(), 100);
	assert_null(table()->newest);
	assert_null(table()->oldest);
	for (enum pt_fd k = 0; k < PT_FDS; k++) {
		assert_int_equal(n->fd[k], -1);
		assert_int_equal(c->fd[k], -1);
	}
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(req_read(&q, FUSE_READ, other, 0, 0, 10), 0);
}

static void few_descriptors_are_enough(void **state)
{
	struct rlimit old, few;
	uint64_t node;
	int top_fd = dup(host);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){(rlim_t)top_fd + 40, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 300; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		node = make_file(name, 0644);
		assert_int_equal(req_write(&q, node, 0, 0, "x", 1, 0), 0);
		(void)snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(req_mkdir(&q, 1, name, 0755), 0);
		assert_int_equal(req_read(&q, FUSE_READDIR, ENTRY->nodeid, 0, 0, 4096), 0);
	}
	assert_int_equal(req_read(&q, FUSE_READ, req_lookup(&q, 1, "n0"), 0, 0, 10), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	close(top_fd);
}

static void existing_file_is_not_handed_to_anybody(void **state)
{
	const struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};

	assert_int_equal(msb_write_file_atomic(host, "f", "x", 1, 0600), 0);
	req_start(&q, FUSE_CREATE, 1);
	req_head(&q)->uid = 1000;
	req_add(&q, &in, sizeof(in));
	req_str(&q, "f");
	assert_int_equal(req_run(&q), -ESTALE); /* its kernel looks again whether it may */
	assert_int_equal(req_create(&q, 1, "f", O_RDWR | O_TRUNC, 0644), -ESTALE);
	assert_int_equal(req_getattr(&q, req_lookup(&q, 1, "f")), 0);
	assert_int_equal(ATTR.size, 1);
}

/* Sixteen who read one directory, a page each in turn, by the one descriptor of its node. */
static void readers_of_a_directory_share(void **state)
{
	enum { READERS = 16, ENTRIES = 500 };
	static uint8_t seen[READERS][ENTRIES];
	uint64_t off[READERS] = {0}, node[ENTRIES] = {0}, refs = 0;
	bool done[READERS] = {0};
	int left = READERS;

	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < ENTRIES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "f%04d", i);
		close(openat(host, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	for (int turn = 0; left; turn++) {
		int k = turn % READERS;

		if (done[k])
			continue;
		assert_int_equal(req_read(&q, FUSE_READDIRPLUS, 1, 0, off[k], 4096), 0);
		for (size_t at = 0; at < q.out_bytes;) {
			const struct fuse_direntplus *d = (const void *)(q.out + 16 + at);
			int i;

			at += FUSE_DIRENTPLUS_SIZE(d);
			off[k] = d->dirent.off;
			if (d->dirent.name[0] == '.')
				continue;
			assert_int_equal(sscanf(d->dirent.name, "f%4d", &i), 1);
			seen[k][i]++;
			assert_true(!node[i] || node[i] == d->entry_out.nodeid);
			node[i] = d->entry_out.nodeid;
			refs++;
		}
		if (!q.out_bytes) {
			done[k] = true;
			left--;
		}
	}
	for (int k = 0; k < READERS; k++)
		for (int i = 0; i < ENTRIES; i++)
			assert_int_equal(seen[k][i], 1);
	assert_int_equal(refs, READERS * ENTRIES);
	for (int i = 0; i < ENTRIES; i++)
		req_forget(&q, node[i], READERS);
	assert_int_equal(table()->live, 1);
}

/* ---- descriptors for writing */

static int run_on_host(const char *name)
{
	char path[96], *const argv[] = {path, NULL}, *const env[] = {NULL};
	int status = 0;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	pid = fork();
	if (pid == 0) {
		(void)execve(path, argv, env);
		_exit(errno == ETXTBSY ? 99 : 98);
	}
	assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void host_runs_what_the_guest_wrote(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	uint64_t node;

	assert_int_equal(msb_read_file(AT_FDCWD, "/bin/true", 1 << 20, &s), 0);
	node = make_file("a", 0755);
	assert_int_equal(req_write(&q, node, 0, 0, s.buf, (uint32_t)s.len, 0), 0);
	assert_int_equal(run_on_host("a"), 0);
	/* Or made executable at the end, as linkers do. */
	node = make_file("b", 0644);
	assert_int_equal(req_write(&q, node, 0, 0, s.buf, (uint32_t)s.len, 0), 0);
	assert_int_equal(
		req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0755}),
		0);
	assert_int_equal(run_on_host("b"), 0);
	assert_int_equal(req_write(&q, node, 0, 0, s.buf, 100, 0), 0);
	assert_int_equal(run_on_host("b"), 0);
	msb_str_done(&s);
}

static void idle_writers_are_closed(void **state)
{
	uint64_t node = make_file("f", 0644), gone = make_file("g", 0644);
	bool open = true;

	assert_int_equal(req_write(&q, node, 0, 0, "x", 1, 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "g"), 0);
	for (int i = 0; open && i < 1000; i++) { /* ends long before */
		(void)usleep(10000);
		pthread_mutex_lock(&table()->lock);
		open = table()->wrote_first != NULL;
		pthread_mutex_unlock(&table()->lock);
	}
	assert_false(open);
	assert_int_equal(req_write(&q, node, 0, 1, "y", 1, 0), 0);
	assert_int_equal(req_write(&q, gone, 0, 0, "z", 1, 0), 0); /* nothing else leads to it */
	assert_int_equal(req_read(&q, FUSE_READ, gone, 0, 0, 10), 0);
	assert_memory_equal(q.out + 16, "z", 1);
}

/* Without CAP_FSETID, as the jail has it, the kernel takes the host's set-id bits from what is
 * written, however late they came; and a set-gid directory can be made all the same. */
static void kernel_takes_setid_bits(void **state)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2], less[2];
	uint64_t node, dir;
	struct stat st;

	if (geteuid() != 0)
		skip();
	node = make_file("f", 0644);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, 0), 0);
	assert_int_equal(syscall(SYS_capget, &h, d), 0);
	memcpy(less, d, sizeof(d));
	less[0].effective &= ~(1u << CAP_FSETID);
	assert_int_equal(fchmodat(host, "f", 06755, 0), 0);
	assert_int_equal(syscall(SYS_capset, &h, less), 0);
	assert_int_equal(req_write(&q, node, 0, 0, "b", 1, 0), 0);
	assert_int_equal(syscall(SYS_capset, &h, d), 0);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	dir = ENTRY->nodeid;
	assert_int_equal(fchownat(host, "d", 0, 12345, 0), 0);
	assert_int_equal(syscall(SYS_capset, &h, less), 0);
	assert_int_equal(
		req_setattr(&q, dir, &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 02775}),
		0);
	assert_int_equal(ATTR.mode & 07777, 02775);
	assert_int_equal(syscall(SYS_capget, &h, less), 0);
	assert_false(less[0].effective & 1u << CAP_FSETID); /* for that call alone */
	assert_int_equal(syscall(SYS_capset, &h, d), 0);
}

/* ---- other file systems below */

static int setup_mounts(void **state)
{
	int r;

	submounts = true;
	r = setup(state);
	if (r == 0 && mkdirat(host, "sub", 0755) == 0 && mkdirat(host, "bind", 0755) == 0) {
		char path[96];

		(void)snprintf(path, sizeof(path), "%s/sub", top);
		if (mount("t", path, "tmpfs", 0, "size=1m") < 0)
			return 0;
		(void)snprintf(path, sizeof(path), "%s/bind", top);
		if (mount(top, path, NULL, MS_BIND, NULL) < 0)
			return -1;
	}
	return r;
}

static int teardown_mounts(void **state)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s/sub", top);
	(void)umount2(path, MNT_DETACH);
	(void)snprintf(path, sizeof(path), "%s/bind", top);
	(void)umount2(path, MNT_DETACH);
	submounts = false;
	return teardown(state);
}

static bool mounted(void)
{
	struct stat a, b;

	return fstatat(host, "sub", &a, 0) == 0 && fstat(host, &b) == 0 && a.st_dev != b.st_dev;
}

static void file_systems_below_are_entered(void **state)
{
	uint64_t sub, f, bind, ino;

	if (!mounted())
		skip();
	f = make_file("f", 0644);
	sub = req_lookup(&q, 1, "sub");
	assert_true(sub > 1);
	assert_int_equal(req_create(&q, sub, "in", O_RDWR, 0644), 0);
	ino = ENTRY->attr.ino;
	assert_true(ino >> 40 && ino < FSB_MAX_ID);
	assert_int_equal(req_write(&q, ENTRY->nodeid, 0, 0, "x", 1, 0), 0);
	assert_true(on_host("sub/in"));
	assert_int_equal(req_read(&q, FUSE_READDIR, sub, 0, 0, 4096), 0);
	{
		bool found = false;

		for (size_t at = 0; at < q.out_bytes;) {
			const struct fuse_dirent *d = (const void *)(q.out + 16 + at);

			at += FUSE_DIRENT_SIZE(d);
			found |= d->ino == ino;
		}
		assert_true(found);
	}
	assert_int_equal(req_rename(&q, 1, "f", sub, "f", 0), -EXDEV);
	req_start(&q, FUSE_LINK, sub);
	req_add(&q, &(struct fuse_link_in){f}, 8);
	req_str(&q, "f");
	assert_int_equal(req_run(&q), -EXDEV);
	/* The same directory once more is another one, or it would lie in itself. */
	bind = req_lookup(&q, 1, "bind");
	assert_true(bind > 1);
	assert_true(ENTRY->attr.ino >> 40);
	assert_int_not_equal(req_lookup(&q, bind, "f"), f);
	assert_int_equal(req_getattr(&q, f), 0);
	req_start(&q, FUSE_SYNCFS, 1);
	req_add(&q, &(uint64_t){0}, 8);
	assert_int_equal(req_run(&q), 0);
	req_start(&q, FUSE_STATFS, sub);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_statfs_out)->st.blocks *
				 REQ_REPLY(&q, struct fuse_statfs_out)->st.frsize,
		1 << 20);
	pt_evict(table(), 100); /* found again across the mount */
	assert_int_equal(req_read(&q, FUSE_READ, req_lookup(&q, sub, "in"), 0, 0, 10), 0);
}

static void file_systems_below_can_be_left_out(void **state)
{
	if (!mounted())
		skip();
	stop();
	submounts = false;
	start(false);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "sub"), -EXDEV);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "bind"), -EXDEV);
	assert_int_equal(req_read(&q, FUSE_READDIRPLUS, 1, 0, 0, 4096), 0);
}

/* ---- device state */

struct kept {
	uint64_t node, lookups;
	uint8_t buf[FSB_MAX_STATE];
	int64_t n;
};

static void keep(struct kept *k, uint64_t node)
{
	k->node = node;
	k->lookups = 1;
	k->n = fs.b->ops->save(fs.b, node, k->buf, sizeof(k->buf));
}

static int bring(const struct kept *k)
{
	return fs.b->ops->load(fs.b, k->node, k->lookups, k->buf, k->n < 0 ? 0 : (size_t)k->n);
}

static void nodes_come_back(void **state)
{
	static struct kept k[6];
	struct fuse_attr a;
	struct iovec iov = {(char[8]){0}, 8};
	uint64_t d, next;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	d = ENTRY->nodeid;
	assert_int_equal(req_mkdir(&q, d, "e", 0755), 0);
	keep(&k[1], ENTRY->nodeid);
	assert_int_equal(req_create(&q, k[1].node, "f", O_RDWR, 0644), 0);
	keep(&k[0], ENTRY->nodeid);
	assert_int_equal(req_write(&q, ENTRY->nodeid, 0, 0, "kept", 4, 0), 0);
	keep(&k[2], d);
	keep(&k[3], make_file("changed", 0644));
	keep(&k[4], make_file("gone", 0644));
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "gone"), 0);
	next = make_file("open", 0644);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "open"), 0);
	keep(&k[5], next);
	assert_int_equal(k[5].n, -ESTALE); /* no name leads to it */
	assert_int_equal(fs.b->ops->save(fs.b, k[0].node, k[0].buf, 10), -ERANGE);
	assert_int_equal(msb_write_file_atomic(host, "changed", "x", 1, 0644), 0);
	stop();
	start(false);
	for (size_t i = 0; i < ARRAY_LEN(k); i++) /* children before their parents too */
		assert_int_equal(bring(&k[i]), k[i].n < 0 ? -ESTALE : 0);
	assert_int_equal(table()->live, 7);
	assert_int_equal(fs.b->ops->readv(fs.b, k[0].node, 0, &iov, 1, 0), 4);
	assert_memory_equal(iov.iov_base, "kept", 4);
	assert_int_equal(fs.b->ops->getattr(fs.b, k[2].node, 0, &a), 0);
	assert_true(S_ISDIR(a.mode));
	assert_int_equal(fs.b->ops->getattr(fs.b, k[3].node, 0, &a), -ESTALE);
	assert_int_equal(fs.b->ops->getattr(fs.b, k[4].node, 0, &a), -ESTALE);
	assert_int_equal(fs.b->ops->getattr(fs.b, k[5].node, 0, &a), -ESTALE);
	/* Looked up, they are what they were, and no id is used again. */
	assert_int_equal(req_lookup(&q, 1, "d"), d);
	next = make_file("new", 0644);
	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		assert_int_not_equal(next, k[i].node);
	assert_int_equal(bring(&k[0]), -ESTALE); /* it is there already */
	for (size_t i = 0; i < ARRAY_LEN(k); i++)
		fs.b->ops->forget(fs.b, k[i].node, 2);
	req_forget(&q, d, 1);
	req_forget(&q, next, 1);
	assert_int_equal(table()->live, 1);
}

static void hostile_state_is_refused(void **state)
{
	static struct kept k, bad;
	uint64_t parent;

	keep(&k, make_file("f", 0644));
	stop();
	start(false);
	for (int64_t n = 1; n < k.n; n++) { /* its name has one byte */
		bad = k;
		bad.n = n;
		bad.node = (uint64_t)n + 100;
		assert_int_equal(bring(&bad), -EINVAL);
	}
	for (int64_t i = 0; i < k.n; i++) /* any byte; none may crash */
		for (int bit = 0; bit < 8; bit++) {
			bad = k;
			bad.node = (uint64_t)(i * 8 + bit) + 1000;
			bad.buf[i] ^= (uint8_t)(1 << bit);
			(void)bring(&bad);
		}
	bad = k;
	memcpy(bad.buf + k.n - 1, "/", 1);
	bad.node = 90000;
	assert_int_equal(bring(&bad), -EINVAL);
	bad.node = FSB_MAX_ID;
	assert_int_equal(bring(&bad), -EINVAL);
	/* Directories in each other. */
	for (uint64_t i = 0; i < 2; i++) {
		bad = k;
		bad.node = 50000 + i;
		parent = 50001 - i;
		memcpy(bad.buf + 8, &parent, 8);
		assert_int_equal(bring(&bad), i ? -ESTALE : 0);
	}
	assert_int_equal(fs.b->ops->getattr(fs.b, 50000, 0, &(struct fuse_attr){0}), -ESTALE);
}

static void handles_come_back(void **state)
{
	static struct kept k;
	struct iovec iov = {(char[8]){"x"}, 1};
	uint64_t fh;

	stop();
	stateful = true;
	start(false);
	keep(&k, make("f", &fh));
	stop();
	start(false);
	assert_int_equal(bring(&k), 0);
	assert_int_equal(fs.b->ops->reopen(fs.b, k.node, 300, false, O_RDWR), 0);
	assert_int_equal(fs.b->ops->reopen(fs.b, k.node, 300, false, O_RDWR), -EEXIST);
	assert_int_equal(fs.b->ops->reopen(fs.b, k.node, 0, false, O_RDWR), -EINVAL);
	assert_int_equal(fs.b->ops->reopen(fs.b, k.node, PT_MAX_HANDLES, false, 0), -EINVAL);
	assert_int_equal(fs.b->ops->reopen(fs.b, 1, 5, true, 0), 0);
	assert_int_equal(fs.b->ops->reopen(fs.b, k.node, 6, true, 0), -ENOTDIR);
	assert_int_equal(
		fs.b->ops->writev(fs.b, &(struct fsb_req){0}, k.node, 300, &iov, 1, 0, 0), 1);
	fs.b->ops->release(fs.b, k.node, 300);
	fs.b->ops->releasedir(fs.b, 1, 5);
	fs.b->ops->forget(fs.b, k.node, 1);
	stateful = false;
}

/* ---- races */

static _Atomic bool done;

static void *renamer(void *arg)
{
	struct fusereq *r = arg;

	for (int i = 0; i < 2000; i++) {
		assert_int_equal(req_rename(r, 1, "a", 1, "b", 0), 0);
		assert_int_equal(req_rename(r, 1, "b", 1, "a", 0), 0);
	}
	atomic_store(&done, true);
	return NULL;
}

/* A node that is found by its name is found while the name changes. */
static void renames_hide_nothing(void **state)
{
	struct fusereq *r = calloc(1, sizeof(*r));
	uint64_t node, reads = 0;
	pthread_t t;

	assert_int_equal(msb_write_file_atomic(host, "a", "x", 1, 0644), 0);
	node = req_lookup(&q, 1, "a");
	r->s = q.s;
	r->w = calloc(1, sizeof(*r->w));
	atomic_store(&done, false);
	assert_int_equal(pthread_create(&t, NULL, renamer, r), 0);
	while (!atomic_load(&done)) {
		assert_int_equal(req_getattr(&q, node), 0);
		if (++reads % 16 == 0)
			assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 1), 0);
		pt_evict(table(), 10);
	}
	pthread_join(t, NULL);
	free(r->w);
	free(r);
}

static void birth_times(void **state)
{
	uint64_t node = make_file("f", 0644);
	struct timespec b = {0};
	struct statx sx;

	assert_int_equal(statx(host, "f", 0, STATX_BTIME, &sx), 0);
	if (!(sx.stx_mask & STATX_BTIME))
		skip();
	assert_int_equal(fs.b->ops->btime(fs.b, node, &b), 0);
	assert_int_equal(b.tv_sec, sx.stx_btime.tv_sec);
	assert_int_equal(b.tv_nsec, sx.stx_btime.tv_nsec);
}

/* ---- meta */

static void meta_lines(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} row[] = {{"0 0 0 0 -", true}, {"1000 1000 4000 0 -", true},
		{"4294967294 4294967294 7777 777 l", true}, {"0 0 0 0 b 8 1", true},
		{"0 0 0 0 c 4095 1048575", true}, {"0 0 20 200 p", true}, {"0 0 0 0 s", true},
		{"", false}, {" ", false}, {"0", false}, {"0 0 0 0", false}, {"0 0 0 0 ", false},
		{"0 0 0 0 - ", false}, {"0 0 0 0 -x", false}, {"0  0 0 0 -", false},
		{" 0 0 0 0 -", false}, {"00 0 0 0 -", false}, {"4294967295 0 0 0 -", false},
		{"99999999999999999999 0 0 0 -", false}, {"-1 0 0 0 -", false},
		{"0 0 8 0 -", false}, {"0 0 10000 0 -", false}, {"0 0 0 1000 -", false},
		{"0 0 0 0 d", false}, {"0 0 0 0 b", false}, {"0 0 0 0 b 1", false},
		{"0 0 0 0 b 4096 0", false}, {"0 0 0 0 b 0 1048576", false},
		{"0 0 0 0 b 1 2 3", false}, {"0 0 0 0 b 1 2 ", false}, {"0 0 0 0 l 1 2", false},
		{"0 0 0 0 - i", true}, {"1 2 0 0 - SDiadA", true}, {"0 0 0 0 - aA", true},
		{"0 0 0 0 - ", false}, {"0 0 0 0 -i", false}, {"0 0 0 0 - ai", false},
		{"0 0 0 0 - ii", false}, {"0 0 0 0 - x", false}, {"0 0 0 0 - i ", false},
		{"0 0 0 0 - i a", false}, {"0 0 0 0 p i", false}, {"0 0 0 0 l i", false},
		{"0 0 0 0 b 8 1 i", false}};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char buf[PT_MAX_META];
		struct pt_meta m;
		int r = pt_meta_parse(row[i].text, strlen(row[i].text), &m);

		if (r != (row[i].good ? 0 : -EBADMSG))
			fail_msg("`%s`: %d", row[i].text, r);
		assert_int_equal(m.there, row[i].good);
		if (!row[i].good)
			continue;
		assert_int_equal(pt_meta_print(&m, buf), strlen(row[i].text));
		assert_memory_equal(buf, row[i].text, strlen(row[i].text));
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define M(fn) cmocka_unit_test_setup_teardown(fn, setup_mounts, teardown_mounts)

int main(void)
{
	const struct CMUnitTest tests[] = {T(no_open_is_needed), T(unlinked_files_live_on),
		T(orphans_are_bounded), T(orphans_with_a_name_are_idle_again),
		T(few_descriptors_are_enough), T(readers_of_a_directory_share),
		T(existing_file_is_not_handed_to_anybody), T(host_runs_what_the_guest_wrote),
		T(idle_writers_are_closed), T(kernel_takes_setid_bits),
		M(file_systems_below_are_entered), M(file_systems_below_can_be_left_out),
		T(nodes_come_back), T(hostile_state_is_refused), T(handles_come_back),
		T(renames_hide_nothing), T(birth_times), cmocka_unit_test(meta_lines)};

	if (geteuid() != 0)
		map = FSB_MAP_ROOT; /* what an ordinary user has no OPEN with */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
