// SPDX-License-Identifier: Apache-2.0
// passthrough: what is done through it is done on the host, and nothing leads out of the directory.
#include "tests/unit/passthrough_fixture.h"

#include <linux/fs.h>
#include <pthread.h>

static void data_goes_through(void **state)
{
	static char big[FUSE_MAX_IO];
	struct msb_str s = MSB_STR_INIT;
	uint64_t fh, node = make("f", &fh);
	struct stat st;

	assert_int_equal(req_write(&q, node, fh, 0, "hello", 5, 0), 0);
	assert_int_equal(req_write(&q, node, fh, 5, " world", 6, 0), 0);
	assert_int_equal(msb_read_file(host, "f", 100, &s), 0);
	assert_string_equal(s.buf, "hello world");
	msb_str_done(&s);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 6, 100), 0);
	assert_int_equal(q.out_bytes, 5);
	assert_memory_equal(q.out + 16, "world", 5);
	memset(big, 'b', sizeof(big));
	assert_int_equal(req_write(&q, node, fh, 0, big, sizeof(big), 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 0, sizeof(big)), 0);
	assert_int_equal(q.out_bytes, sizeof(big));
	assert_memory_equal(q.out + 16, big, sizeof(big));
	/* What the host writes is read. */
	assert_int_equal(msb_write_file_atomic(host, "g", "host", 4, 0600), 0);
	assert_int_equal(req_lookup(&q, 1, "g") > 1, 1);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 4);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0644);
	assert_int_equal(req_create(&q, 1, "f", O_RDWR | O_EXCL, 0644), -EEXIST);
	assert_int_equal(
		req_create(&q, 1, "f", O_RDWR, 0644), -ESTALE); /* the kernel looks again */
}

/* Where others write the file's end as well: wherever the guest believes that to be. */
static void appends_go_to_the_end(void **state)
{
	struct fuse_write_in in = {.offset = 3, .size = 4, .flags = O_APPEND};
	struct msb_str s = MSB_STR_INIT;
	uint64_t fh, node = make("log", &fh);
	int fd;

	assert_int_equal(req_write(&q, node, fh, 0, "one", 3, 0), 0);
	fd = openat(host, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_int_equal(write(fd, "host", 4), 4);
	close(fd);
	in.fh = fh;
	req_start(&q, FUSE_WRITE, node);
	req_add(&q, &in, sizeof(in));
	req_add(&q, "four", 4);
	assert_int_equal(req_run(&q), 0);
	/* A page that is written back is not appended, nor is what says so in the wrong place. */
	in.offset = 0;
	in.size = 1;
	in.write_flags = FUSE_WRITE_CACHE;
	req_start(&q, FUSE_WRITE, node);
	req_add(&q, &in, sizeof(in));
	req_add(&q, "O", 1);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(req_write(&q, node, fh, 1, "N", 1, FSB_WRITE_APPEND), 0);
	assert_int_equal(msb_read_file(host, "log", 100, &s), 0);
	assert_string_equal(s.buf, "ONehostfour");
	msb_str_done(&s);
}

static void nothing_leads_out(void **state)
{
	static const char *const target[] = {"..", "../secret", "/etc/passwd", "/"};
	uint64_t node;

	for (size_t i = 0; i < ARRAY_LEN(target); i++) {
		char name[8] = {'l', (char)('0' + i)};

		assert_int_equal(symlinkat(target[i], host, name), 0);
		node = req_lookup(&q, 1, name);
		assert_true(node > 1);
		assert_true(S_ISLNK(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode));
		assert_true(req_open(&q, FUSE_OPEN, node, O_RDONLY) < 0);
		assert_true(req_open(&q, FUSE_OPENDIR, node, O_RDONLY) < 0);
		assert_true(req_name(&q, FUSE_LOOKUP, node, "passwd") < 0);
		assert_true(req_create(&q, node, "new", O_RDWR, 0644) < 0);
		assert_true(
			req_setattr(&q, node,
				&(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0777}) < 0);
		assert_true(
			req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_SIZE}) < 0);
	}
	/* A file that turns into a link between lookup and open. */
	assert_int_equal(msb_write_file_atomic(host, "f", "x", 1, 0644), 0);
	node = req_lookup(&q, 1, "f");
	assert_int_equal(unlinkat(host, "f", 0), 0);
	assert_int_equal(symlinkat("../secret", host, "f"), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), -ESTALE);
	/* And a directory. */
	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(unlinkat(host, "d", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("..", host, "d"), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, node, "secret"), -ESTALE);
}

static void replaced_file_is_never_the_wrong_one(void **state)
{
	uint64_t node, again;

	assert_int_equal(msb_write_file_atomic(host, "f", "old", 3, 0644), 0);
	node = req_lookup(&q, 1, "f");
	assert_int_equal(unlinkat(host, "f", 0), 0);
	assert_int_equal(msb_write_file_atomic(host, "f", "new", 3, 0644), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), -ESTALE);
	again = req_lookup(&q, 1, "f");
	assert_int_not_equal(again, node);
	assert_int_equal(req_open(&q, FUSE_OPEN, again, O_RDONLY), 0);
}

static void moved_on_the_host(void **state)
{
	uint64_t dir, fh;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	dir = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_open(&q, FUSE_OPENDIR, dir, 0), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(renameat(host, "d", host, "e"), 0);
	/* Held by a descriptor, it is where it went. */
	assert_int_equal(req_create(&q, dir, "in", O_RDWR, 0644), 0);
	assert_true(on_host("e/in"));
	assert_int_equal(req_lookup(&q, 1, "e"), dir);
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, dir, fh), 0);
}

static void unlinked_files_live_on(void **state)
{
	uint64_t fh, node = make("f", &fh);

	assert_int_equal(req_write(&q, node, fh, 0, "abc", 3, 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), 0);
	assert_false(on_host("f"));
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.nlink, 0);
	assert_int_equal(
		req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0600}),
		0);
	assert_int_equal(
		req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 2}),
		0);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDWR), 0); /* /proc/self/fd in the guest */
	assert_int_equal(
		req_read(&q, FUSE_READ, node, REQ_REPLY(&q, struct fuse_open_out)->fh, 0, 10), 0);
	assert_memory_equal(q.out + 16, "ab", 2);
	/* Renamed over counts too. */
	node = make("a", &fh);
	(void)make("b", &fh);
	assert_int_equal(req_rename(&q, 1, "b", 1, "a", 0), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.nlink, 0);
}

/* A removal that failed takes none of the descriptors that are kept for files without a name. */
static void failed_removals_hold_nothing(void **state)
{
	struct pt_nodes *t = &pt_of(fs.b)->nodes;
	uint64_t fh, node, d;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_create(&q, d, "f", O_RDWR, 0644), 0);
	assert_int_equal(req_mkdir(&q, 1, "e", 0755), 0);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "d"), -ENOTEMPTY);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "d"), -EISDIR);
	assert_int_equal(req_rename(&q, 1, "e", 1, "d", 0), -ENOTEMPTY);
	assert_int_equal(t->orphans, 0);
	node = make("g", &fh);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "g"), 0);
	assert_int_equal(t->orphans, 1);
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
	req_forget(&q, node, 1);
	assert_int_equal(t->orphans, 0);
}

/* What is refused holds no node either. */
static void refused_renames_hold_nothing(void **state)
{
	struct pt_nodes *t = &pt_of(fs.b)->nodes;
	uint32_t live = t->live;
	uint64_t d;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_rename(&q, d, "a", d, "b", RENAME_EXCHANGE), -ENOENT);
	req_forget(&q, d, 1);
	assert_int_equal(t->live, live);
}

static void renames(void **state)
{
	uint64_t fh, a = make("a", &fh), b = make("b", &fh), d;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_rename(&q, 1, "a", 1, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(req_rename(&q, 1, "a", 1, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(req_lookup(&q, 1, "a"), b);
	assert_int_equal(req_lookup(&q, 1, "b"), a);
	assert_int_equal(req_rename(&q, 1, "a", d, "c", 0), 0);
	assert_true(on_host("d/c"));
	assert_int_equal(req_rename(&q, 1, "d", d, "x", 0), -EINVAL); /* into itself */
	assert_int_equal(req_rename(&q, 1, "b", 12345, "x", 0), -ESTALE);
	assert_int_equal(req_rename(&q, 1, "d", 1, "e", 0), 0);
	assert_int_equal(req_getattr(&q, b), 0);
	/* With a hole of overlayfs in the old place; not where the rename fails. */
	(void)make("w", &fh);
	assert_int_equal(
		req_rename(&q, 1, "w", 1, "b", RENAME_WHITEOUT | RENAME_NOREPLACE), -EEXIST);
	assert_true(req_lookup(&q, 1, "w") > 1);
	assert_true(S_ISREG(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode));
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_rename(&q, 1, "w", 1, "b", RENAME_WHITEOUT), 0);
	assert_int_equal(req_lookup(&q, 1, "b"), d);
	assert_true(req_lookup(&q, 1, "w") > 1);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, S_IFCHR);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.rdev, 0);
	assert_int_equal(req_rename(&q, 1, "absent", 1, "x", RENAME_WHITEOUT), -ENOENT);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "e"), -ENOTEMPTY);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "e"), -EISDIR);
}

static void links(void **state)
{
	uint64_t fh, a = make("a", &fh);
	const struct fuse_link_in in = {a};

	req_start(&q, FUSE_LINK, 1);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "b");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->nodeid, a);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.nlink, 2);
	/* Either name can go; the node is found by the other. */
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "b"), 0);
	assert_int_equal(req_lookup(&q, 1, "a"), a);
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "l");
	req_str(&q, "some/where");
	assert_int_equal(req_run(&q), 0);
	req_start(&q, FUSE_READLINK, REQ_REPLY(&q, struct fuse_entry_out)->nodeid);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, 10);
	assert_memory_equal(q.out + 16, "some/where", 10);
	req_start(&q, FUSE_READLINK, a);
	assert_int_equal(req_run(&q), -EINVAL);
}

static void attributes(void **state)
{
	uint64_t fh, node = make("f", &fh);
	struct fuse_setattr_in in = {.valid = FATTR_MODE | FATTR_MTIME | FATTR_SIZE,
		.mode = S_IFREG | 06751,
		.size = 100,
		.mtime = 1000000000,
		.mtimensec = 5};
	struct stat st;

	assert_int_equal(req_setattr(&q, node, &in), 0);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	/* Set-id files are not made on the host; the guest has them. */
	assert_int_equal(st.st_mode, S_IFREG | S_ISVTX | 0751);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.mode, S_IFREG | 06751);
	assert_int_equal(st.st_size, 100);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 5);
	in.mtimensec = 1000000000;
	assert_int_equal(req_setattr(&q, node, &in), -EINVAL);
	in = (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX};
	assert_int_equal(req_setattr(&q, node, &in), -EINVAL);
	assert_int_equal(req_create(&q, 1, "s", O_RDWR, 06755), 0);
	assert_int_equal(fstatat(host, "s", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFREG | S_ISVTX | 0755);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, S_IFREG | 06755);
	/* On a directory the bit only says whose group its files get. mkdir() drops it, chmod()
	 * not. */
	assert_int_equal(req_mkdir(&q, 1, "d", 02775), 0);
	in = (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 02755};
	assert_int_equal(req_setattr(&q, REQ_REPLY(&q, struct fuse_entry_out)->nodeid, &in), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.mode & 07777, 02755);
}

/* chown(2) with neither owner nor group: a request that sets nothing. */
static void setting_nothing_is_a_change(void **state)
{
	uint64_t fh, node = make("f", &fh);
	struct stat was, is;

	assert_int_equal(fstatat(host, "f", &was, 0), 0);
	(void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL); /* the host's clock ticks */
	assert_int_equal(req_setattr(&q, node, &(struct fuse_setattr_in){.valid = 0}), 0);
	assert_int_equal(fstatat(host, "f", &is, 0), 0);
	assert_true(
		is.st_ctim.tv_sec > was.st_ctim.tv_sec || is.st_ctim.tv_nsec > was.st_ctim.tv_nsec);
	assert_int_equal(is.st_mtim.tv_nsec, was.st_mtim.tv_nsec);
}

static void ownership(void **state)
{
	struct stat st;

	if (geteuid() != 0)
		skip();
	req_start(&q, FUSE_CREATE, 1);
	req_head(&q)->uid = 1234;
	req_head(&q)->gid = 4321;
	req_add(&q, &(struct fuse_create_in){.flags = O_RDWR, .mode = 0600}, 16);
	req_str(&q, "f");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.uid, 1234);
	assert_int_equal(fchmodat(host, ".", 02755, 0), 0);
	assert_int_equal(fchown(host, 0, 77), 0);
	assert_int_equal(fchmodat(host, ".", 02755, 0), 0);
	assert_int_equal(req_getattr(&q, 1), 0); /* as a guest does once a second */
	req_start(&q, FUSE_MKDIR, 1);
	req_head(&q)->uid = 1234;
	req_head(&q)->gid = 4321;
	req_add(&q, &(struct fuse_mkdir_in){.mode = 0755}, 8);
	req_str(&q, "d");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(fstatat(host, "d", &st, 0), 0);
	assert_int_equal(st.st_uid, 1234);
	assert_int_equal(st.st_gid, 77); /* of the set-gid directory above */
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_gid, 4321);
}

static void special_files(void **state)
{
	static const struct {
		uint32_t mode;
		int want;
	} row[] = {{S_IFIFO | 0644, 0}, {S_IFSOCK | 0644, 0}, {S_IFREG | 0644, 0},
		{S_IFCHR | 0644, 0}, {S_IFBLK | 04644, 0}, {S_IFDIR | 0755, -EPERM}};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		const struct fuse_mknod_in in = {.mode = row[i].mode, .rdev = 0x103};
		char name[8] = {'n', (char)('0' + i)};
		struct stat st;

		req_start(&q, FUSE_MKNOD, 1);
		req_add(&q, &in, sizeof(in));
		req_str(&q, name);
		assert_int_equal(req_run(&q), row[i].want);
		assert_int_equal(on_host(name), row[i].want == 0);
		if (row[i].want)
			continue;
		assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, row[i].mode);
		assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.rdev,
			S_ISCHR(row[i].mode) || S_ISBLK(row[i].mode) ? 0x103 : 0);
		assert_int_equal(fstatat(host, name, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_mode & (S_IFMT | 06000), S_IFREG);
		if (!S_ISREG(row[i].mode))
			assert_int_equal(
				req_open(&q, FUSE_OPEN,
					REQ_REPLY(&q, struct fuse_entry_out)->nodeid, O_RDONLY),
				-ENXIO);
	}
}

static void xattrs(void **state)
{
	struct fuse_getxattr_in in = {.size = 0};
	uint64_t fh, node = make("f", &fh);
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/f", top);
	assert_int_equal(set_xattr(node, "user.k", "value"), 0);
	assert_int_equal(set_xattr(node, "system.nfs4_acl", "value"), -EOPNOTSUPP);
	if (geteuid() == 0)
		assert_int_equal(setxattr(path, "trusted.hidden", "x", 1, 0), 0);
	req_start(&q, FUSE_LISTXATTR, node);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_getxattr_out)->size, 7);
	in.size = 6;
	req_start(&q, FUSE_LISTXATTR, node);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), -ERANGE);
	in.size = 100;
	req_start(&q, FUSE_GETXATTR, node);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "user.k");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, 5);
	assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, node, "user.k"), 0);
	assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, node, "user.k"), -ENODATA);
	assert_int_equal(set_xattr(node, "", "v"), -ERANGE);
}

/* A link that is to carry an attribute becomes a file that can, and is the same link. */
static void xattrs_of_links(void **state)
{
	const struct fuse_getxattr_in in = {.size = 100};
	uint64_t node;
	struct stat st;

	assert_int_equal(symlinkat("some/where", host, "l"), 0);
	node = req_lookup(&q, 1, "l");
	assert_int_equal(set_xattr(node, "user.k", "v"), -EPERM);
	assert_int_equal(fstatat(host, "l", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(set_xattr(node, "trusted.k", "value"), 0);
	req_start(&q, FUSE_GETXATTR, node);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "trusted.k");
	assert_int_equal(req_run(&q), 0);
	assert_memory_equal(q.out + 16, "value", 5);
	assert_int_equal(req_lookup(&q, 1, "l"), node);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, S_IFLNK | 0777);
	req_start(&q, FUSE_READLINK, node);
	assert_int_equal(req_run(&q), 0);
	assert_memory_equal(q.out + 16, "some/where", 10);
	/* What the host has of other kinds is left as it is. */
	assert_int_equal(mkfifoat(host, "p", 0644), 0);
	assert_int_equal(set_xattr(req_lookup(&q, 1, "p"), "trusted.k", "value"), -EPERM);
	assert_int_equal(req_open(&q, FUSE_OPEN, req_lookup(&q, 1, "p"), O_RDONLY), -ENXIO);
}

static void setid_bits_go_with_a_write(void **state)
{
	uint64_t fh, node = make("f", &fh);
	struct stat st;

	assert_int_equal(fchmodat(host, "f", 06755, 0), 0); /* the host may */
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(req_write(&q, node, fh, 0, "a", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	/* A guest's kernel may lie about who writes. */
	assert_int_equal(fchmodat(host, "f", 06755, 0), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(req_write(&q, node, fh, 0, "b", 1, 0), 0);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(fchmodat(host, "f", 04755, 0), 0);
	assert_int_equal(req_lookup(&q, 1, "f"), node);
	assert_int_equal(
		req_setattr(&q, node,
			&(struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_KILL_SUIDGID}),
		0);
	assert_int_equal(fstatat(host, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
}

static void readonly_is_the_backends_too(void **state)
{
	const struct fuse_fallocate_in fa = {.length = 10};
	uint64_t fh, node;

	(void)make("f", &fh);
	stop();
	start(true);
	node = req_lookup(&q, 1, "f");
	assert_int_equal(req_create(&q, 1, "g", O_RDWR, 0644), -EROFS);
	assert_int_equal(req_mkdir(&q, 1, "g", 0755), -EROFS);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "f"), -EROFS);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "f"), -EROFS);
	assert_int_equal(req_rename(&q, 1, "f", 1, "g", 0), -EROFS);
	assert_int_equal(
		req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_MODE}), -EROFS);
	assert_int_equal(set_xattr(node, "user.k", "v"), -EROFS);
	assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, node, "user.k"), -EROFS);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDWR), -EROFS);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_TRUNC), -EROFS);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(req_write(&q, node, fh, 0, "a", 1, 0), -EROFS);
	req_start(&q, FUSE_FALLOCATE, node);
	req_add(&q, &fa, sizeof(fa));
	((struct fuse_fallocate_in *)(void *)(q.in + 40))->fh = fh;
	assert_int_equal(req_run(&q), -EROFS);
}

/* Whether reading the file and the directory moved the access times that the host has of them. */
static bool reading_moves(void)
{
	static const struct timespec old[2] = {{1000, 0}, {2000, 0}};
	uint64_t node = req_lookup(&q, 1, "f"), dir = req_lookup(&q, 1, "d"), fh = 0;
	struct stat f, d;

	assert_int_equal(utimensat(host, "f", old, 0), 0);
	assert_int_equal(utimensat(host, "d", old, 0), 0);
	if (stateful) {
		assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), 0);
		fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	}
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, 0, 10), 0);
	assert_int_equal(q.out_bytes, 4);
	if (stateful) {
		assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
		assert_int_equal(req_open(&q, FUSE_OPENDIR, dir, O_RDONLY), 0);
		fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	}
	assert_int_equal(req_read(&q, FUSE_READDIR, dir, fh, 0, 1000), 0);
	assert_true(q.out_bytes > 0);
	if (stateful)
		assert_int_equal(req_release(&q, FUSE_RELEASEDIR, dir, fh), 0);
	assert_int_equal(fstatat(host, "f", &f, 0), 0);
	assert_int_equal(fstatat(host, "d", &d, 0), 0);
	assert_int_equal(f.st_atime == 1000, d.st_atime == 1000);
	return f.st_atime != 1000;
}

static void no_access_time_is_moved(void **state)
{
	struct statvfs fs_of;

	assert_int_equal(msb_write_file_atomic(host, "f", "text", 4, 0644), 0);
	assert_int_equal(mkdirat(host, "d", 0755), 0);
	assert_int_equal(fstatvfs(host, &fs_of), 0);
	assert_int_equal(reading_moves(), !(fs_of.f_flag & (ST_NOATIME | ST_NODIRATIME)));
	for (int i = 0; i < 2; i++) {
		stop();
		noatime = i;
		start(!i);
		noatime = false;
		assert_false(reading_moves());
	}
}

static void sparse_and_copied(void **state)
{
	uint64_t fa, fb, a = make("a", &fa), b = make("b", &fb);
	struct fuse_lseek_in ls = {.fh = fa, .offset = 0, .whence = SEEK_DATA};
	struct fuse_copy_file_range_in cp = {
		.fh_in = fa, .off_in = 1 << 20, .nodeid_out = b, .fh_out = fb, .len = 4};
	struct fuse_fallocate_in al = {.fh = fa, .length = 1 << 21};

	assert_int_equal(req_write(&q, a, fa, 1 << 20, "data", 4, 0), 0);
	req_start(&q, FUSE_LSEEK, a);
	req_add(&q, &ls, sizeof(ls));
	assert_int_equal(req_run(&q), 0);
	assert_true(REQ_REPLY(&q, struct fuse_lseek_out)->offset <= 1 << 20);
	ls.whence = SEEK_END;
	req_start(&q, FUSE_LSEEK, a);
	req_add(&q, &ls, sizeof(ls));
	assert_int_equal(req_run(&q), -EINVAL);
	req_start(&q, FUSE_COPY_FILE_RANGE, a);
	req_add(&q, &cp, sizeof(cp));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_write_out)->size, 4);
	assert_int_equal(req_read(&q, FUSE_READ, b, fb, 0, 10), 0);
	assert_memory_equal(q.out + 16, "data", 4);
	cp.fh_out = fa; /* of another node */
	req_start(&q, FUSE_COPY_FILE_RANGE, a);
	req_add(&q, &cp, sizeof(cp));
	assert_int_equal(req_run(&q), -EBADF);
	req_start(&q, FUSE_FALLOCATE, a);
	req_add(&q, &al, sizeof(al));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(req_getattr(&q, a), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 1 << 21);
}

static void temporary_files(void **state)
{
	const struct fuse_create_in in = {.flags = O_RDWR, .mode = 0600};
	uint64_t node, fh;

	req_start(&q, FUSE_TMPFILE, 1);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "");
	assert_int_equal(req_run(&q), 0);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(req_write(&q, node, fh, 0, "t", 1, 0), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	req_start(&q, FUSE_LINK, 1);
	req_add(&q, &(struct fuse_link_in){node}, 8);
	req_str(&q, "linked");
	assert_int_equal(req_run(&q), 0);
	assert_true(on_host("linked"));
}

static void many_entries(void **state)
{
	uint64_t off = 0, fh, seen = 0, half = 0;

	for (int i = 0; i < 3000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		close(openat(host, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	}
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	for (int pass = 0; pass < 2; pass++) {
		for (off = pass ? half : 0, seen = pass ? 1000 : 0;;) {
			assert_int_equal(req_read(&q, FUSE_READDIRPLUS, 1, fh, off, 4096), 0);
			if (!q.out_bytes)
				break;
			for (size_t at = 0; at < q.out_bytes; seen++) {
				const struct fuse_direntplus *d = (const void *)(q.out + 16 + at);

				at += FUSE_DIRENTPLUS_SIZE(d);
				off = d->dirent.off;
				if (!pass && seen == 999)
					half = off;
				/* "." and ".." have no node here */
				assert_int_equal(
					d->entry_out.nodeid == 0, d->dirent.name[0] == '.');
			}
		}
		assert_int_equal(seen, 3002); /* the second pass starts in the middle */
	}
	{
		struct fuse_counts n = {0};

		fsd_session_counts(q.s, &n);
		assert_int_equal(n.nodes, 3000);
	}
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, 1, fh), 0);
}

static void descriptors_are_bounded(void **state)
{
	int before = open_fds(), most;

	/* Every node gets a descriptor when its attributes are read: the oldest must go. */
	for (int i = 0; i < 6000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		close(openat(host, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
		assert_int_equal(req_getattr(&q, req_lookup(&q, 1, name)), 0);
	}
	assert_int_equal(open_fds() - before, 0); /* looking alone takes none */
	for (int i = 0; i < 6000; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "n%d", i);
		req_start(&q, FUSE_LISTXATTR, req_lookup(&q, 1, name));
		req_add(&q, &(struct fuse_getxattr_in){0}, sizeof(struct fuse_getxattr_in));
		if (req_run(&q) == -EMFILE)
			skip(); /* a limit of this machine, below ours */
	}
	most = open_fds() - before;
	assert_in_range(most, 1, FSD_MAX_BACKEND_FDS);
	/* One whose descriptor is long gone. */
	assert_int_equal(req_getattr(&q, req_lookup(&q, 1, "n0")), 0);
}

static void handles_are_bounded(void **state)
{
	uint64_t fh, node = make("f", &fh);
	int n = 1, r;

	while ((r = req_open(&q, FUSE_OPEN, node, O_RDONLY)) == 0)
		n++;
	if (r == -EMFILE)
		skip(); /* a limit of this machine, below ours */
	assert_int_equal(r, -ENFILE);
	assert_int_equal(n, PT_MAX_HANDLES - 1);
	assert_int_equal(req_release(&q, FUSE_RELEASE, node, fh), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, node, O_RDONLY), 0);
	stop();
	start(false);
	for (n = 0; (r = req_open(&q, FUSE_OPENDIR, 1, 0)) == 0; n++)
		fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(r, -ENFILE);
	assert_int_equal(n, PT_MAX_DIRS);
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, 1, fh), 0);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
}

static void deep_trees(void **state)
{
	uint64_t node = 1, path[600];
	int i, max = 600;

	for (i = 0; i < max; i++) {
		assert_int_equal(req_mkdir(&q, node, "d", 0755), 0);
		path[i] = node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	}
	assert_int_equal(req_getattr(&q, path[max - 1]), 0);
	/* From the leaf up, as rm -r does. */
	for (i = max - 2; i >= 0; i--)
		assert_int_equal(req_name(&q, FUSE_RMDIR, path[i], "d"), 0);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "d"), 0);
}

static void *churn(void *arg)
{
	struct fusereq *r = arg;

	for (int i = 0; i < 300; i++) {
		uint64_t d, fh, node;

		/* All threads meet in the same names: any answer will do, none may crash. */
		(void)req_mkdir(r, 1, "shared", 0755);
		d = req_lookup(r, 1, "shared");
		if (d && req_create(r, d, "f", O_RDWR, 0644) == 0) {
			node = REQ_REPLY(r, struct fuse_entry_out)->nodeid;
			fh = req_created_fh(r);
			(void)req_write(r, node, fh, 0, "x", 1, 0);
			(void)req_rename(r, d, "f", 1, "g", 0);
			(void)req_getattr(r, node);
			(void)req_release(r, FUSE_RELEASE, node, fh);
			req_forget(r, node, 1);
		}
		(void)req_rename(r, 1, "shared", 1, "other", 0);
		(void)req_name(r, FUSE_RMDIR, 1, "other");
		(void)req_name(r, FUSE_UNLINK, 1, "g");
		req_forget(r, d, 2);
	}
	return NULL;
}

static void threads_meet(void **state)
{
	struct fusereq *r[4];
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		r[i] = calloc(1, sizeof(*r[i]));
		r[i]->s = q.s;
		r[i]->w = calloc(1, sizeof(*r[i]->w));
		assert_int_equal(pthread_create(&t[i], NULL, churn, r[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		free(r[i]->w);
		free(r[i]);
	}
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(data_goes_through), T(appends_go_to_the_end),
		T(nothing_leads_out), T(replaced_file_is_never_the_wrong_one), T(moved_on_the_host),
		T(unlinked_files_live_on), T(failed_removals_hold_nothing),
		T(refused_renames_hold_nothing), T(renames), T(links), T(attributes), T(ownership),
		T(setting_nothing_is_a_change), T(special_files), T(xattrs), T(xattrs_of_links),
		T(setid_bits_go_with_a_write), T(readonly_is_the_backends_too),
		T(no_access_time_is_moved), T(sparse_and_copied), T(temporary_files),
		T(many_entries), T(descriptors_are_bounded), T(handles_are_bounded), T(deep_trees),
		T(threads_meet)};
	const struct CMUnitTest stateless[] = {T(failed_removals_hold_nothing), T(renames),
		T(links), T(no_access_time_is_moved), T(deep_trees), T(threads_meet)};
	int r;

	stateful = true;
	r = cmocka_run_group_tests(tests, NULL, NULL);
	stateful = false;
	map = geteuid() == 0 ? FSB_MAP_NONE : FSB_MAP_ROOT;
	return cmocka_run_group_tests(stateless, NULL, NULL) + r;
}
