// SPDX-License-Identifier: Apache-2.0
// passthrough with map=root: what a guest does as root, kept where the host does not act on it.
#include "tests/unit/passthrough_fixture.h"
#include "fs/acl.h"
#include "fs/reopen.h"

#include <linux/fs.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ENTRY (REQ_REPLY(&q, struct fuse_entry_out))
#define ATTR  (REQ_REPLY(&q, struct fuse_attr_out)->attr)

static struct stat on(const char *name)
{
	struct stat st = {0};

	assert_int_equal(fstatat(host, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static int64_t host_xattr(const char *name, const char *xattr, char *buf, size_t cap)
{
	_cleanup_close_ int fd = openat(host, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : fgetxattr(fd, xattr, buf, cap - 1);

	buf[n < 0 ? 0 : n] = '\0';
	return n < 0 ? -errno : n;
}

static int chown_node(uint64_t node, uint32_t uid, uint32_t gid)
{
	return req_setattr(&q, node,
		&(struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID, .uid = uid, .gid = gid});
}

static int chmod_node(uint64_t node, uint32_t mode)
{
	return req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = mode});
}

static int make_as(uint32_t uid, uint32_t op, const char *name, uint32_t mode, uint32_t rdev)
{
	const struct fuse_mknod_in node = {.mode = mode, .rdev = rdev, .umask = 022};
	const struct fuse_mkdir_in dir = {.mode = mode, .umask = 022};
	const struct fuse_create_in file = {.flags = O_RDWR, .mode = mode, .umask = 022};

	req_start(&q, op, 1);
	req_head(&q)->uid = req_head(&q)->gid = uid;
	if (op == FUSE_MKNOD)
		req_add(&q, &node, sizeof(node));
	else if (op == FUSE_MKDIR)
		req_add(&q, &dir, sizeof(dir));
	else if (op == FUSE_CREATE)
		req_add(&q, &file, sizeof(file));
	req_str(&q, name);
	if (op == FUSE_SYMLINK)
		req_str(&q, "some/where");
	return req_run(&q);
}

/* Nothing remembered: what is there now is in the files. */
static void again(void)
{
	stop();
	start(false);
}

static void tree_looks_like_roots(void **state)
{
	struct timespec before, now;
	uint64_t node;

	assert_int_equal(msb_write_file_atomic(host, "f", "x", 1, 0640), 0);
	assert_int_equal(mkdirat(host, "d", 0750), 0);
	assert_int_equal(symlinkat("f", host, "l"), 0);
	assert_true(req_lookup(&q, 1, "f"));
	assert_int_equal(ENTRY->attr.uid, 0);
	assert_int_equal(ENTRY->attr.gid, 0);
	assert_int_equal(ENTRY->attr.mode, S_IFREG | 0640);
	assert_true(req_lookup(&q, 1, "d"));
	assert_int_equal(ENTRY->attr.uid, 0);
	assert_true(req_lookup(&q, 1, "l"));
	assert_int_equal(ENTRY->attr.uid, 0);
	assert_int_equal(req_getattr(&q, 1), 0);
	assert_int_equal(ATTR.uid, 0);
	/* What root makes needs no attribute. */
	assert_int_equal(make_as(0, FUSE_CREATE, "g", 0644, 0), 0);
	node = ENTRY->nodeid;
	assert_int_equal(ENTRY->attr.uid, 0);
	assert_int_equal(on("g").st_uid, geteuid());
	assert_int_equal(on("g").st_mode, S_IFREG | 0644);
	assert_int_equal(host_xattr("g", PT_XATTR_META, (char[8]){0}, 8), -ENODATA);
	/* Changing nothing writes nothing, but is a change. */
	assert_int_equal(utimensat(host, "g", (struct timespec[2]){{1, 0}, {1, 0}}, 0), 0);
	before = on("g").st_ctim;
	do {
		assert_int_equal(chown_node(node, 0, 0), 0);
		now = on("g").st_ctim;
	} while (now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec);
	assert_int_equal(host_xattr("g", PT_XATTR_META, (char[8]){0}, 8), -ENODATA);
}

static void owners_are_kept(void **state)
{
	char buf[PT_MAX_META + 1];
	uint64_t node;

	assert_int_equal(make_as(1000, FUSE_CREATE, "f", 0644, 0), 0);
	assert_int_equal(ENTRY->attr.uid, 1000);
	assert_int_equal(ENTRY->attr.gid, 1000);
	assert_int_equal(on("f").st_uid, geteuid());
	assert_true(host_xattr("f", PT_XATTR_META, buf, sizeof(buf)) > 0);
	assert_string_equal(buf, "1000 1000 0 0 -");
	assert_int_equal(make_as(1000, FUSE_MKDIR, "d", 0755, 0), 0);
	assert_int_equal(ENTRY->attr.uid, 1000);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 1000);
	assert_int_equal(chown_node(node, 7, UINT32_MAX - 1), 0);
	assert_int_equal(ATTR.uid, 7);
	assert_int_equal(ATTR.gid, UINT32_MAX - 1);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 7);
	assert_true(req_lookup(&q, 1, "d"));
	assert_int_equal(ENTRY->attr.uid, 1000);
	assert_true(S_ISDIR(ENTRY->attr.mode));
	/* Given back, there is nothing to remember. */
	assert_int_equal(chown_node(node, 0, 0), 0);
	assert_int_equal(host_xattr("f", PT_XATTR_META, buf, sizeof(buf)), -ENODATA);
	/* A set-gid directory gives its group, and directories the bit. */
	node = req_lookup(&q, 1, "d");
	assert_int_equal(chmod_node(node, 02777), 0);
	assert_int_equal(ATTR.mode & 07777, 02777);
	assert_int_equal(on("d").st_mode & 07777, 0755);
	req_start(&q, FUSE_MKDIR, node);
	req_head(&q)->uid = req_head(&q)->gid = 55;
	req_add(&q, &(struct fuse_mkdir_in){.mode = 0755}, 8);
	req_str(&q, "in");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(ENTRY->attr.uid, 55);
	assert_int_equal(ENTRY->attr.gid, 1000);
	assert_int_equal(ENTRY->attr.mode & 07777, 02755);
	assert_int_equal(on("d/in").st_mode & 07777, 0755);
}

static void modes_are_kept(void **state)
{
	uint64_t node, dir;

	assert_int_equal(make_as(0, FUSE_CREATE, "f", 04755, 0), 0);
	node = ENTRY->nodeid;
	assert_int_equal(ENTRY->attr.mode, S_IFREG | 04755);
	assert_false(on("f").st_mode & 06000);
	for (uint32_t mode = 0; mode <= 07777; mode += 0111) {
		assert_int_equal(chmod_node(node, mode), 0);
		assert_int_equal(ATTR.mode, S_IFREG | mode);
		assert_int_equal(on("f").st_mode & 06600, 0600); /* ours to open, set-id nobody's */
		/* Nor are its users the host's. */
		assert_int_equal(on("f").st_mode & 0177, mode & 0155);
	}
	assert_int_equal(chmod_node(node, 0), 0);
	/* The host's own change shows, but for what it cannot know. */
	assert_int_equal(fchmodat(host, "f", 0755, 0), 0);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.mode & 07777, 0155);
	assert_int_equal(req_write(&q, node, 0, 0, "data", 4, 0), 0); /* who asks is root */
	assert_int_equal(make_as(0, FUSE_MKDIR, "d", 0, 0), 0);
	dir = ENTRY->nodeid;
	assert_int_equal(ENTRY->attr.mode, S_IFDIR);
	assert_int_equal(on("d").st_mode & 07777, 0700);
	assert_int_equal(chmod_node(dir, 01777), 0);
	assert_int_equal(ATTR.mode, S_IFDIR | 01777);
	assert_int_equal(on("d").st_mode & 07777, 0755);
}

/* Files that the host's user has closed to himself are open to the guest's root. */
static void closed_files_are_claimed(void **state)
{
	struct pt_ref late;
	uint64_t f, d;

	assert_int_equal(msb_write_file_atomic(host, "f", "secret", 6, 0), 0);
	assert_int_equal(mkdirat(host, "d", 0700), 0);
	assert_int_equal(msb_write_file_atomic(host, "d/in", "in", 2, 0444), 0);
	assert_int_equal(fchmodat(host, "d", 0555, 0), 0);
	f = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.mode, S_IFREG);
	assert_int_equal(req_read(&q, FUSE_READ, f, 0, 0, 10), 0);
	assert_memory_equal(q.out + 16, "secret", 6);
	assert_int_equal(req_getattr(&q, f), 0);
	assert_int_equal(ATTR.mode, S_IFREG); /* what the guest saw, it sees */
	d = req_lookup(&q, 1, "d");
	assert_int_equal(ENTRY->attr.mode, S_IFDIR | 0555);
	assert_int_equal(req_create(&q, d, "new", O_RDWR, 0644), 0);
	assert_int_equal(req_getattr(&q, d), 0);
	assert_int_equal(ATTR.mode, S_IFDIR | 0555);
	assert_int_equal(req_write(&q, req_lookup(&q, d, "in"), 0, 0, "IN", 2, 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, d, "in"), 0);
	/* A directory that cannot even be searched. */
	assert_int_equal(mkdirat(host, "e", 0700), 0);
	assert_int_equal(msb_write_file_atomic(host, "e/in", "in", 2, 0444), 0);
	assert_int_equal(fchmodat(host, "e", 0, 0), 0);
	d = req_lookup(&q, 1, "e");
	assert_true(req_lookup(&q, d, "in"));
	assert_int_equal(req_read(&q, FUSE_READDIR, d, 0, 0, 4096), 0);
	/* Two at once: the one that comes late has what it wants. */
	assert_int_equal(msb_write_file_atomic(host, "g", "secret", 6, 0), 0);
	f = req_lookup(&q, 1, "g");
	assert_int_equal(pt_get(&pt_of(fs.b)->nodes, f, PT_PATH, &late), 0);
	assert_int_equal(req_read(&q, FUSE_READ, f, 0, 0, 10), 0);
	assert_int_equal(pt_claim(pt_of(fs.b), &late), 0);
	pt_put(&pt_of(fs.b)->nodes, &late);
}

static uint32_t type_in_listing(const char *name, uint32_t op)
{
	size_t at = 0;

	assert_int_equal(req_read(&q, op, 1, 0, 0, 4096), 0);
	while (at < q.out_bytes) {
		const uint8_t *p = q.out + 16 + at;
		const struct fuse_dirent *d =
			(const void *)(p + (op == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out)
								   : 0));

		at += (size_t)((const uint8_t *)d - p) + FUSE_DIRENT_SIZE(d);
		if (d->namelen == strlen(name) && !memcmp(d->name, name, d->namelen))
			return d->type;
	}
	return UINT32_MAX;
}

static void special_files(void **state)
{
	static const uint32_t row[] = {
		S_IFCHR | 0600, S_IFBLK | 04755, S_IFIFO | 0644, S_IFSOCK | 0777};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		uint32_t rdev = i < 2 ? 0x12345678 : 0;
		char name[8] = {'n', (char)('0' + i)};

		assert_int_equal(make_as(i % 2 ? 9 : 0, FUSE_MKNOD, name, row[i], 0x12345678), 0);
		assert_int_equal(ENTRY->attr.mode, row[i] & ~022u);
		assert_int_equal(ENTRY->attr.rdev, rdev);
		assert_int_equal(on(name).st_mode & S_IFMT, S_IFREG);
		assert_int_equal(on(name).st_size, 0);
	}
	again();
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		char name[8] = {'n', (char)('0' + i)};

		assert_true(req_lookup(&q, 1, name));
		assert_int_equal(ENTRY->attr.mode, row[i] & ~022u);
		assert_int_equal(ENTRY->attr.uid, i % 2 ? 9 : 0);
		assert_int_equal(type_in_listing(name, FUSE_READDIR), row[i] >> 12);
		assert_int_equal(type_in_listing(name, FUSE_READDIRPLUS), row[i] >> 12);
	}
	/* Moved to where readdir had no reason to look. */
	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	assert_int_equal(req_rename(&q, 1, "n0", ENTRY->nodeid, "n0", 0), 0);
	again();
	assert_int_equal(req_read(&q, FUSE_READDIR, req_lookup(&q, 1, "d"), 0, 0, 4096), 0);
	{
		bool found = false;

		for (size_t at = 0; at < q.out_bytes;) {
			const struct fuse_dirent *d = (const void *)(q.out + 16 + at);

			at += FUSE_DIRENT_SIZE(d);
			found |= d->type == DT_CHR;
		}
		assert_true(found);
	}
	assert_int_equal(make_as(0, FUSE_MKNOD, "dir", S_IFDIR | 0755, 0), -EPERM);
}

static int read_link(uint64_t node)
{
	req_start(&q, FUSE_READLINK, node);
	return req_run(&q);
}

static void symlinks(void **state)
{
	uint64_t node;

	assert_int_equal(make_as(0, FUSE_SYMLINK, "native", 0, 0), 0);
	assert_true(S_ISLNK(on("native").st_mode));
	assert_int_equal(make_as(8, FUSE_SYMLINK, "theirs", 0, 0), 0);
	assert_true(S_ISREG(on("theirs").st_mode));
	assert_int_equal(ENTRY->attr.mode, S_IFLNK | 0777);
	assert_int_equal(ENTRY->attr.uid, 8);
	assert_int_equal(ENTRY->attr.size, 10);
	again();
	node = req_lookup(&q, 1, "theirs");
	assert_int_equal(ENTRY->attr.mode, S_IFLNK | 0777);
	assert_int_equal(read_link(node), 0);
	assert_memory_equal(q.out + 16, "some/where", 10);
	assert_int_equal(q.out_bytes, 10);
	/* A link that root gives away. */
	node = req_lookup(&q, 1, "native");
	assert_int_equal(chown_node(node, 5, 6), 0);
	assert_int_equal(ATTR.mode, S_IFLNK | 0777);
	assert_int_equal(ATTR.uid, 5);
	assert_int_equal(ATTR.gid, 6);
	assert_int_equal(read_link(node), 0);
	assert_memory_equal(q.out + 16, "some/where", 10);
	assert_int_equal(req_lookup(&q, 1, "native"), node);
	assert_int_equal(ENTRY->attr.uid, 5);
	assert_true(S_ISREG(on("native").st_mode));
	/* One with two names is left alone. */
	assert_int_equal(symlinkat("x", host, "a"), 0);
	assert_int_equal(linkat(host, "a", host, "b", 0), 0);
	node = req_lookup(&q, 1, "a");
	assert_int_equal(chown_node(node, 5, 6), -EPERM);
	assert_int_equal(chown_node(node, 0, 0), 0);
	assert_true(S_ISLNK(on("a").st_mode));
	assert_int_equal(read_link(req_lookup(&q, 1, "nothing") ?: 1), -EINVAL);
}

static int get_xattr(uint64_t node, const char *name)
{
	req_start(&q, FUSE_GETXATTR, node);
	req_add(&q, &(struct fuse_getxattr_in){.size = 100}, sizeof(struct fuse_getxattr_in));
	req_str(&q, name);
	return req_run(&q);
}

static void every_namespace(void **state)
{
	static const char *const name[] = {"user.k", "trusted.k", "security.k",
		"security.capability", "user.msb.meta", "user.msb.x.user.k"};
	uint64_t node;
	size_t all = 0;

	assert_int_equal(make_as(3, FUSE_CREATE, "f", 0600, 0), 0);
	node = ENTRY->nodeid;
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		assert_int_equal(get_xattr(node, name[i]), -ENODATA); /* ours does not show */
		assert_int_equal(set_xattr(node, name[i], name[i]), 0);
		all += strlen(name[i]) + 1;
	}
	assert_int_equal(set_xattr(node, "system.nfs4_acl", "v"), -EOPNOTSUPP);
	assert_int_equal(set_xattr(node, "other.x", "v"), -EOPNOTSUPP);
	assert_int_equal(get_xattr(node, "other.x"), -EOPNOTSUPP);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 3); /* the guest's user.msb.meta is not ours */
	req_start(&q, FUSE_LISTXATTR, node);
	req_add(&q, &(struct fuse_getxattr_in){.size = 4096}, sizeof(struct fuse_getxattr_in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, all);
	for (size_t i = 0; i < ARRAY_LEN(name); i++) {
		assert_int_equal(get_xattr(node, name[i]), 0);
		assert_int_equal(q.out_bytes, strlen(name[i]));
		assert_memory_equal(q.out + 16, name[i], strlen(name[i]));
		assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, node, name[i]), 0);
		assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, node, name[i]), -ENODATA);
	}
	assert_true(req_lookup(&q, 1, "f"));
	assert_int_equal(ENTRY->attr.uid, 3);
	{
		char longest[256];

		memset(longest, 'x', sizeof(longest) - 1);
		longest[255] = '\0';
		memcpy(longest, "trusted.", 8);
		assert_int_equal(set_xattr(node, longest, "v"), -ERANGE); /* no room for ours */
		assert_int_equal(get_xattr(node, longest), -ENODATA);
		longest[255 - strlen(PT_XATTR_GUEST)] = '\0';
		assert_int_equal(set_xattr(node, longest, "v"), 0);
	}
}

static void writing_takes_what_it_must(void **state)
{
	uint64_t node;

	assert_int_equal(make_as(0, FUSE_CREATE, "f", 06755, 0), 0);
	node = ENTRY->nodeid;
	assert_int_equal(set_xattr(node, "security.capability", "cap"), 0);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, 0), 0); /* who may keep them asked not */
	assert_int_equal(get_xattr(node, "security.capability"), -ENODATA);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(ATTR.mode & 07777, 06755);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(ATTR.mode & 07777, 0755);
	assert_int_equal(chmod_node(node, 06644), 0);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(ATTR.mode & 07777, 02644); /* mandatory locking's old mark */
	req_start(&q, FUSE_WRITE, node);
	req_head(&q)->gid = 5; /* not of its group */
	req_add(&q, &(struct fuse_write_in){.size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID},
		sizeof(struct fuse_write_in));
	req_add(&q, "b", 1);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(ATTR.mode & 07777, 0644);
	assert_int_equal(chmod_node(node, 06755), 0);
	assert_int_equal(set_xattr(node, "security.capability", "cap"), 0);
	assert_int_equal(chown_node(node, 1, 1), 0);
	assert_int_equal(ATTR.mode & 07777, 0755);
	assert_int_equal(get_xattr(node, "security.capability"), -ENODATA);
	assert_int_equal(chmod_node(node, 02644), 0);
	assert_int_equal(req_setattr(&q, node,
				 &(struct fuse_setattr_in){
					 .valid = FATTR_UID | FATTR_KILL_SUIDGID, .uid = 2}),
		0); /* as every chown is sent */
	assert_int_equal(ATTR.mode & 07777, 02644);
	assert_int_equal(chmod_node(node, 02642), 0);
	req_start(&q, FUSE_SETATTR, node);
	req_head(&q)->uid = req_head(&q)->gid = UINT32_MAX; /* not said: the owner, or root */
	req_add(&q, &(struct fuse_setattr_in){.valid = FATTR_UID | FATTR_KILL_SUIDGID, .uid = 2},
		sizeof(struct fuse_setattr_in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(ATTR.mode & 07777, 02642);
	assert_int_equal(chown_node(node, 1, 0), 0);
	assert_int_equal(chmod_node(node, 04755), 0);
	assert_int_equal(req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_SIZE}), 0);
	assert_int_equal(ATTR.mode & 07777, 04755);
	assert_int_equal(
		req_setattr(&q, node,
			&(struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_KILL_SUIDGID}),
		0);
	assert_int_equal(ATTR.mode & 07777, 0755);
}

static void *gives_capabilities(void *arg)
{
	assert_int_equal(set_xattr(*(uint64_t *)arg, "security.capability", "new"), 0);
	return NULL;
}

/* Who writes takes capabilities and then remembers that there are none: none come between. */
static void capabilities_wait_for_who_takes_them(void **state)
{
	struct pt *p = pt_of(fs.b);
	struct pt_ref ref;
	char buf[16];
	uint64_t node;
	pthread_t t;

	assert_int_equal(make_as(0, FUSE_CREATE, "f", 0755, 0), 0);
	node = ENTRY->nodeid;
	assert_int_equal(pt_get(&p->nodes, node, PT_NODE, &ref), 0);
	pthread_mutex_lock(pt_change_lock(p, ref.node)); /* as pt_kill() */
	assert_int_equal(pthread_create(&t, NULL, gives_capabilities, &node), 0);
	usleep(100000);
	assert_int_equal(
		host_xattr("f", PT_XATTR_GUEST "security.capability", buf, sizeof(buf)), -ENODATA);
	pthread_mutex_unlock(pt_change_lock(p, ref.node));
	pthread_join(t, NULL);
	pt_put(&p->nodes, &ref);
	assert_int_equal(get_xattr(node, "security.capability"), 0);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, 0), 0);
	assert_int_equal(get_xattr(node, "security.capability"), -ENODATA);
}

static void hostile_meta_is_no_meta(void **state)
{
	static const char *const value[] = {"", "1", "0 0 0 0", "0 0 0 0 - ", "1 2 10000 0 -",
		"4294967295 0 0 0 -", "0 0 0 0 q", "0 0 0 0 b", "0 0 0 0 b 5000 0"};
	_cleanup_close_ int fd = openat(host, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);

	for (size_t i = 0; i < ARRAY_LEN(value); i++) {
		assert_int_equal(fsetxattr(fd, PT_XATTR_META, value[i], strlen(value[i]), 0), 0);
		again();
		assert_true(req_lookup(&q, 1, "f"));
		assert_int_equal(ENTRY->attr.mode, S_IFREG | 0644);
		assert_int_equal(ENTRY->attr.uid, 0);
	}
	/* Not a directory that the guest takes for a device. */
	assert_int_equal(mkdirat(host, "d", 0755), 0);
	{
		_cleanup_close_ int d = openat(host, "d", O_RDONLY | O_CLOEXEC);

		assert_int_equal(fsetxattr(d, PT_XATTR_META, "5 5 0 0 b 1 1", 13, 0), 0);
	}
	assert_true(req_lookup(&q, 1, "d"));
	assert_int_equal(ENTRY->attr.mode, S_IFDIR | 0755);
	assert_int_equal(ENTRY->attr.uid, 5);
}

/* Another server of the same directory. */
static void others_changes_are_seen(void **state)
{
	uint64_t node;

	assert_int_equal(make_as(0, FUSE_CREATE, "f", 0644, 0), 0);
	node = ENTRY->nodeid;
	for (int i = 1; i < 50; i++) {
		_cleanup_close_ int fd = openat(host, "f", O_RDONLY | O_CLOEXEC);
		char meta[32];

		(void)snprintf(meta, sizeof(meta), "%d %d 0 0 -", i, i);
		assert_int_equal(fsetxattr(fd, PT_XATTR_META, meta, strlen(meta), 0), 0);
		assert_int_equal(req_getattr(&q, node), 0);
		assert_int_equal(ATTR.uid, i);
	}
}

static void readonly_shows_and_keeps(void **state)
{
	uint64_t node;

	assert_int_equal(make_as(4, FUSE_CREATE, "f", 04755, 0), 0);
	stop();
	start(true);
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 4);
	assert_int_equal(ENTRY->attr.mode & 07777, 04755);
	assert_int_equal(chown_node(node, 1, 1), -EROFS);
	assert_int_equal(set_xattr(node, "trusted.k", "v"), -EROFS);
	assert_int_equal(make_as(4, FUSE_SYMLINK, "l", 0, 0), -EROFS);
	assert_int_equal(make_as(4, FUSE_MKNOD, "n", S_IFCHR, 1), -EROFS);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, 0), -EROFS);
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 10), 0);
}

static void what_others_own_stays_theirs(void **state)
{
	uint64_t node;

	if (getuid() != 0)
		skip(); /* nobody else's files can be made */
	assert_int_equal(msb_write_file_atomic(host, "f", "x", 1, 0644), 0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(fchownat(host, "f", 4242, 4343, 0), 0);
	assert_int_equal(seteuid(as_uid), 0);
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 4242);
	assert_int_equal(ENTRY->attr.gid, 4343);
	assert_int_equal(chown_node(node, 0, 0), -EPERM);
	assert_int_equal(chmod_node(node, 0600), -EPERM);
	assert_int_equal(req_write(&q, node, 0, 0, "a", 1, 0), -EACCES);
}

/* Root serves somebody's directory: it stays theirs on the host. */
static void new_files_are_the_directorys_owners(void **state)
{
	assert_int_equal(fchown(host, 1234, 1235), 0);
	again();
	assert_int_equal(make_as(0, FUSE_CREATE, "f", 0644, 0), 0);
	assert_int_equal(ENTRY->attr.uid, 0);
	assert_int_equal(make_as(77, FUSE_MKDIR, "d", 0755, 0), 0);
	assert_int_equal(ENTRY->attr.uid, 77);
	assert_int_equal(on("f").st_uid, 1234);
	assert_int_equal(on("f").st_gid, 1235);
	assert_int_equal(on("d").st_uid, 1234);
	assert_int_equal(make_as(0, FUSE_MKDIR, "e", 0755, 0), 0);
	assert_int_equal(on("e").st_uid, 1234);
	assert_int_equal(make_as(0, FUSE_SYMLINK, "l", 0, 0), 0);
	assert_int_equal(ENTRY->attr.uid, 0);
}

/* What could not be read for want of a descriptor is read the next time: it is not learned that
 * there is nothing. */
static void want_is_not_absence(void **state)
{
	struct rlimit old, no;
	uint64_t node;

	assert_int_equal(make_as(3, FUSE_CREATE, "f", 0600, 0), 0);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(ENTRY->attr.uid, 3);
	assert_int_equal(fchmodat(host, "f", 0644, 0), 0); /* it has to be looked at again */
	usleep(100000);					   /* until what is read is sure */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	no = (struct rlimit){0, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &no), 0);
	(void)req_getattr(&q, node);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.uid, 3);
}

/* An ACL in which user 1000 has all, of a mask @mask. */
static size_t acl_of(uint8_t mask, uint8_t buf[44])
{
	const uint8_t e[] = {2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 7, 0, 232, 3, 0, 0,
		4, 0, 4, 0, 255, 255, 255, 255, 16, 0, mask, 0, 255, 255, 255, 255, 32, 0, 0, 0,
		255, 255, 255, 255};

	memcpy(buf, e, sizeof(e));
	return sizeof(e);
}

/* Sets the ACL in a process that is killed in its first system call @nr. */
static void set_acl_killed_at(uint64_t node, uint32_t nr, uint8_t mask)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {ARRAY_LEN(f), f};
	uint8_t acl[44];
	size_t n = acl_of(mask, acl);
	int status;
	pid_t pid;

	/* Not while another thread has the lock, which the child would wait for. */
	pthread_mutex_lock(&pt_of(fs.b)->nodes.lock);
	pid = fork();
	pthread_mutex_unlock(&pt_of(fs.b)->nodes.lock);
	if (pid == 0) {
		int fds = open("/proc/self/fd", O_PATH | O_DIRECTORY); /* not the parent's */

		if (dup2(fds, fs_reopen_dir()) >= 0 &&
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0)
			(void)pt_acl_set(pt_of(fs.b), node, ACL_ACCESS, acl, n, 0);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* A mode and an ACL are two calls of the host's: one that ends between them leaves nothing open. */
static void killed_between_acl_and_mode(void **state)
{
	char buf[64];
	uint8_t acl[44];
	uint64_t node;

	assert_int_equal(make_as(0, FUSE_CREATE, "f", 0650, 0), 0);
	node = ENTRY->nodeid;
	/* The mask is less than the group was: no user 1000 under the old mode. */
	set_acl_killed_at(node, SYS_fchmodat, 4);
	assert_int_equal(host_xattr("f", PT_XATTR_GUEST ACL_ACCESS, buf, sizeof(buf)), -ENODATA);
	assert_int_equal(on("f").st_mode & 07777, 0650);
	set_acl_killed_at(node, SYS_fsetxattr, 4);
	assert_int_equal(host_xattr("f", PT_XATTR_GUEST ACL_ACCESS, buf, sizeof(buf)), -ENODATA);
	assert_int_equal(on("f").st_mode & 07777, 0640);
	/* It is more: the ACL comes under the lesser. */
	set_acl_killed_at(node, SYS_fchmodat, 5);
	assert_int_equal(host_xattr("f", PT_XATTR_GUEST ACL_ACCESS, buf, sizeof(buf)), 44);
	assert_int_equal(on("f").st_mode & 07777, 0640);
	again();
	node = req_lookup(&q, 1, "f");
	assert_int_equal(pt_acl_set(pt_of(fs.b), node, ACL_ACCESS, acl, acl_of(5, acl), 0), 0);
	assert_int_equal(on("f").st_mode & 07777, 0650);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#define EVERYBODY                                                                                  \
	T(tree_looks_like_roots), T(owners_are_kept), T(modes_are_kept), T(special_files),         \
		T(symlinks), T(every_namespace), T(writing_takes_what_it_must),                    \
		T(capabilities_wait_for_who_takes_them), T(hostile_meta_is_no_meta),               \
		T(others_changes_are_seen), T(readonly_shows_and_keeps), T(want_is_not_absence),   \
		T(killed_between_acl_and_mode)

int main(void)
{
	const struct CMUnitTest root[] = {EVERYBODY, T(new_files_are_the_directorys_owners)};
	const struct CMUnitTest user[] = {
		EVERYBODY, T(closed_files_are_claimed), T(what_others_own_stays_theirs)};
	int r = 0;

	map = FSB_MAP_ROOT;
	if (geteuid() == 0)
		r = cmocka_run_group_tests(root, NULL, NULL);
	as_uid = 4321; /* where root runs this, an ordinary user serves too */
	return cmocka_run_group_tests(user, NULL, NULL) + r;
}
