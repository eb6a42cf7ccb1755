// SPDX-License-Identifier: Apache-2.0
// The overlay backend: what a file has beside its contents, over restarts and crashes too.
#include "tests/unit/acl_text.h"
#include "tests/unit/overlay_fixture.h"

static void inheritance(void **state)
{
	const struct fsb_setattr setgid = {
		.valid = FATTR_MODE | FATTR_GID, .mode = 02775, .gid = 50};
	const struct fsb_req req = {.uid = 7, .gid = 8, .umask = 027};
	struct fsb_entry e, d;
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &req, FSB_ROOT, "d", 0777, &d), 0);
	assert_int_equal(d.attr.mode, S_IFDIR | 0750);
	assert_int_equal(d.attr.uid, 7);
	assert_int_equal(d.attr.gid, 8);
	assert_int_equal(fx_setattr(fx.b, "d", &setgid), 0);
	assert_int_equal(fx.b->ops->mkdir(fx.b, &req, d.node, "sub", 0777, &e), 0);
	assert_int_equal(e.attr.mode, S_IFDIR | 02750);
	assert_int_equal(e.attr.gid, 50);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx.b->ops->mknod(fx.b, &req, d.node, "f", 0666, 0, &e), 0);
	assert_int_equal(e.attr.mode, S_IFREG | 0640);
	assert_int_equal(e.attr.gid, 50);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx.b->ops->symlink(fx.b, &req, d.node, "l", "x", &e), 0);
	assert_int_equal(e.attr.mode, S_IFLNK | 0777);
	fx_forget(fx.b, e.node);
	fx_forget(fx.b, d.node);
	fx_done(&fx);
}

static void xattrs(void **state)
{
	char big[OVL_MAX_XATTR_VALUE + 1] = {0}, buf[256], name[32], long_name[258];
	struct fsb_entry e;
	struct fx fx;
	int r = 0;

	fx_init(&fx, true);
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", NULL, 0), 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", buf, 1), -ERANGE);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.no", buf, 9), -ENODATA);
	assert_int_equal(fx.b->ops->listxattr(fx.b, e.node, NULL, 0), 18);
	assert_int_equal(fx.b->ops->listxattr(fx.b, e.node, buf, 17), -ERANGE);
	assert_int_equal(fx.b->ops->removexattr(fx.b, &fx_req, e.node, "user.one"), 0);
	assert_int_equal(fx.b->ops->removexattr(fx.b, &fx_req, e.node, "user.one"), -ENODATA);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "trusted.t", "tt", 2, XATTR_CREATE), 0);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "trusted.t", "tt", 2, XATTR_CREATE),
		-EEXIST);
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.z", "", 0, XATTR_REPLACE),
		-ENODATA);
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.z", "", 0, 0), 0);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "user.big", big, sizeof(big), 0),
		-E2BIG);
	assert_int_equal(
		fx.b->ops->setxattr(fx.b, &fx_req, e.node, "other.x", "", 0, 0), -EOPNOTSUPP);
	memset(long_name, 'u', 257);
	long_name[257] = 0;
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, e.node, long_name, "", 0, 0), -ERANGE);
	fx_forget(fx.b, e.node);
	fx_restart(&fx);
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", buf, 9), 2);
	assert_memory_equal(buf, "22", 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.one", buf, 9), -ENODATA);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "trusted.t", buf, 9), 2);
	assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.z", buf, 9), 0);
	fx_check_text(fx.b, "a/x", "#!\n");
	for (int i = 0; r == 0; i++) {
		assert_in_range(i, 0, 5);
		(void)snprintf(name, sizeof(name), "user.%d", i);
		r = fx.b->ops->setxattr(fx.b, &fx_req, e.node, name, big, OVL_MAX_XATTR_VALUE, 0);
	}
	assert_int_equal(r, -ENOSPC);
	fx_forget(fx.b, e.node);
	fx_done(&fx);
}

static void privileges(void **state)
{
	struct fsb_setattr suid = {.valid = FATTR_MODE, .mode = 06755},
			   chown = {.valid = FATTR_UID, .uid = 5, .kill_suidgid = true},
			   trunc = {.valid = FATTR_SIZE, .kill_suidgid = true};
	const struct fsb_req member = {.uid = 7}, other = {.uid = 7, .gid = 7},
			     unknown = {.uid = FSB_UNKNOWN_ID, .gid = FSB_UNKNOWN_ID};
	const uint32_t kill = FUSE_WRITE_KILL_SUIDGID;
	struct iovec iov = {(char[]){'x'}, 1};
	struct fuse_attr a;
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, 0), 1);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 06755);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, FUSE_WRITE_KILL_SUIDGID), 1);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 0755);
	suid.mode = 06745;
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_setattr(fx.b, "c", &chown), 0);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 02745); /* no group execution */
	assert_int_equal(fx_walk(fx.b, "c", &e), 0);
	assert_int_equal(fx.b->ops->writev(fx.b, &member, e.node, 0, &iov, 1, 0, kill), 1);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 02745);
	assert_int_equal(fx.b->ops->writev(fx.b, &other, e.node, 0, &iov, 1, 0, kill), 1);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 0745);
	suid.mode = 06742; /* others may write, but who changes an owner is no other */
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx.b->ops->setattr(fx.b, &unknown, e.node, 0, &chown, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 02742);
	fx_forget(fx.b, e.node);
	suid.mode = 06755;
	assert_int_equal(fx_setattr(fx.b, "c", &suid), 0);
	assert_int_equal(fx_setattr(fx.b, "c", &trunc), 0);
	assert_int_equal(fx_attr(fx.b, "c").mode, S_IFREG | 0755);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
		assert_int_equal(fx.b->ops->setxattr(
					 fx.b, &fx_req, e.node, "security.capability", "cap", 3, 0),
			0);
		trunc.kill_suidgid = false;
		if (i == 0)
			assert_int_equal(fx_write(fx.b, "a/x", "x", 1, 0, 0), 1);
		else
			assert_int_equal(fx_setattr(fx.b, "a/x", i == 1 ? &chown : &trunc), 0);
		assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "security.capability", NULL, 0),
			-ENODATA);
		assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.two", NULL, 0), 2);
		fx_forget(fx.b, e.node);
	}
	fx_done(&fx);
}

static void links(void **state)
{
	struct fsb_entry e, l;
	char name[16];
	struct fx fx;

	fx_init(&fx, false);
	assert_int_equal(fx_mk(fx.b, "f", S_IFREG | 0600, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "d", S_IFDIR | 0700, NULL), 0);
	assert_int_equal(fx_link(fx.b, "d", "d2"), -EPERM);
	assert_int_equal(fx_link(fx.b, "f", "d"), -EEXIST);
	assert_int_equal(fx_link(fx.b, "no", "x"), -ENOENT);
	assert_int_equal(fx_walk(fx.b, "f", &e), 0);
	for (int i = 1; i < OVL_MAX_LINKS; i++) {
		(void)snprintf(name, sizeof(name), "l%d", i);
		assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, name, &l), 0);
		fx_forget(fx.b, l.node);
	}
	assert_int_equal(l.attr.nlink, OVL_MAX_LINKS);
	assert_int_equal(fx.b->ops->link(fx.b, &fx_req, e.node, FSB_ROOT, "more", &l), -EMLINK);
	fx_forget(fx.b, e.node);
	assert_int_equal(fx_rename(fx.b, "l1", "l2", 0), 0); /* the same file: both stay */
	assert_int_equal(fx_attr(fx.b, "l1").nlink, OVL_MAX_LINKS);
	fx_done(&fx);
}

static void fx_copy(const char *from, const char *to)
{
	_cleanup_close_ int in = open(from, O_RDONLY | O_CLOEXEC),
			    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(in >= 0 && out >= 0);
	assert_true(copy_file_range(in, NULL, out, NULL, 1 << 30, 0) > 0);
}

/* Reads move the access time of what is above, and the next server knows it; an image's own files
 * keep theirs. */
static void accessed(void **state)
{
	static const char *const above[] = {"own", "dir", "link", "a/big"}, *const below[] = {
										    "c", "a", "e"};
	const struct fsb_setattr mode = {.valid = FATTR_MODE, .mode = 0700};
	struct fsb_overlay_opts ro = {
		.index_fd = -1, .packs_fd = -1, .dir_fd = -1, .files_fd = -1, .atime = FSB_NOATIME};
	struct msb_err e = {0};
	struct fuse_attr a;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "own", S_IFREG | 0644, NULL), 0);
	assert_int_equal(fx_write(fx.b, "own", "x", 1, 0, 0), 1);
	assert_int_equal(fx_mk(fx.b, "dir", S_IFDIR | 0755, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "link", S_IFLNK, "target"), 0);
	assert_int_equal(
		fx_setattr(fx.b, "a/big", &mode), 0); /* the image's, with contents below still */
	for (size_t i = 0; i < ARRAY_LEN(above); i++) {
		assert_int_equal(fx_read_moves(fx.b, above[i]), 1);
		assert_int_equal(fx_read_moves(fx.b, above[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(below); i++)
		assert_int_equal(fx_read_moves(fx.b, below[i]), 0);
	a = fx_attr(fx.b, "own");
	fx_restart(&fx);
	assert_int_equal(fx_attr(fx.b, "own").atime, a.atime);
	assert_int_equal(fx_attr(fx.b, "own").atimensec, a.atimensec);
	for (size_t i = 0; i < ARRAY_LEN(above); i++)
		assert_int_equal(fx_read_moves(fx.b, above[i]), 0);
	assert_int_equal(fx_write(fx.b, "own", "y", 1, 0, 0), 1);
	fx.b->ops->stop(fx.b);
	ro.upper_fd = fx_open(fx.dir, "upper", O_RDONLY | O_DIRECTORY);
	ro.index_fd = fx_open(fx.dir, "index", O_RDONLY);
	ro.packs_fd = fx_open(fx.dir, "packs", O_RDONLY | O_DIRECTORY);
	assert_int_equal(fsb_overlay_start(&ro, &fx.b, &e), 0);
	assert_int_equal(fx_read_moves(fx.b, "own"), 0);
	fx_done(&fx);
}

static void times(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_ATIME | FATTR_MTIME,
		.atime = 11,
		.atimensec = 1,
		.mtime = (uint64_t)-22,
		.mtimensec = 2};
	struct fuse_attr a;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_write(fx.b, "c", "x", 1, 0, 0), 1);
	assert_int_equal(fx_setattr(fx.b, "c", &set), 0);
	for (int pass = 0; pass < 2; pass++) {
		a = fx_attr(fx.b, "c");
		assert_int_equal(a.atime, 11);
		assert_int_equal(a.mtime, -22);
		assert_int_equal(a.mtimensec, 2);
		assert_true(a.ctime > FX_MTIME);
		fx_restart(&fx);
	}
	assert_int_equal(fx_rename(fx.b, "c", "z", 0), 0);
	assert_true(fx_attr(fx.b, "").mtime > FX_MTIME);
	assert_int_equal(fx_attr(fx.b, "z").mtime, -22);
	assert_int_equal(fx_attr(fx.b, "a").mtime, FX_MTIME);
	fx_done(&fx);
}

/* A write, then a new name, then a crash: the log must not have the time before the write (found by
 * test_overlay_model 1795721748297). */
static void times_after_a_crash(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_MTIME, .mtime = 5};
	char log[128], kept[128];
	struct fx fx;

	for (int i = 0; i < 3; i++) {
		fx_init(&fx, true);
		(void)snprintf(log, sizeof(log), "%s/upper/log", fx.dir);
		(void)snprintf(kept, sizeof(kept), "%s/kept", fx.dir);
		assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_mk(fx.b, "over", S_IFREG | 0600, NULL), 0);
		assert_int_equal(fx_link(fx.b, "n", "n2"), 0);
		assert_int_equal(fx_setattr(fx.b, "n", &set), 0);
		usleep(OVL_TICK_NS / 1000 * 2); /* past the time in which a write logs itself */
		assert_int_equal(fx_write(fx.b, "n", "x", 1, 0, 0), 1);
		usleep(OVL_TICK_NS / 1000 * 2);
		if (i == 0)
			assert_int_equal(fx_rename(fx.b, "n", "over", 0), 0);
		else if (i == 1)
			assert_int_equal(fx_link(fx.b, "n", "n3"), 0);
		else
			assert_int_equal(fx_rm(fx.b, "n", false), 0);
		fx_copy(log, kept);
		fx_stop(&fx);
		fx_copy(kept, log);
		fx_start(&fx, "upper", NULL);
		assert_true(fx_attr(fx.b, "n2").mtime > FX_MTIME);
		fx_done(&fx);
	}
}

/* When it was made, whatever has happened to it or to the log since; an image does not say. */
static void birth_times(void **state)
{
	const struct fsb_setattr set = {.valid = FATTR_MTIME, .mtime = 5};
	struct timespec born, now;
	struct fuse_attr a;
	struct fsb_entry e;
	struct fx fx;

	fx_init(&fx, true);
	assert_int_equal(fx_mk(fx.b, "n", S_IFREG | 0600, NULL), 0);
	a = fx_attr(fx.b, "n");
	assert_int_equal(fx_setattr(fx.b, "n", &set), 0);
	assert_int_equal(fx_rename(fx.b, "n", "m", 0), 0);
	for (int pass = 0; pass < 3; pass++) {
		assert_int_equal(fx_walk(fx.b, "m", &e), 0);
		assert_int_equal(fx.b->ops->btime(fx.b, e.node, &born), 0);
		assert_int_equal(born.tv_sec, a.ctime);
		assert_int_equal(born.tv_nsec, a.ctimensec);
		fx_forget(fx.b, e.node);
		if (pass == 1)
			assert_int_equal(ovl_log_compact(ovl_of(fx.b)), 0);
		fx_restart(&fx);
	}
	assert_int_equal(fx_walk(fx.b, "a/x", &e), 0);
	assert_int_equal(fx.b->ops->btime(fx.b, e.node, &now), -EOPNOTSUPP);
	assert_int_equal(fx.b->ops->btime(fx.b, 12345, &now), -ESTALE);
	fx_done(&fx);
}

/* ---- ACLs that an image brings */

#define OF_IMAGE  "u::rw-,u:7:r--,g::r--,m::rw-,o::---"
#define TO_HEIRS  "u::rwx,g::r-x,g:9:rwx,m::rwx,o::---"
#define OF_HEIR	  "u::rw-,g::r-x,g:9:rwx,m::rw-,o::---"
#define ROOT_ONLY "u::rw-,g::---,o::---"

static void set_in_image(struct img_inode *i, const char *name, const char *acl)
{
	struct acl_bytes b;

	acl_from_text(acl, &b);
	assert_int_equal(img_inode_set_xattr(i, name, strlen(name), b.p, b.n), 0);
}

static void acls_below(struct img_tree *t, struct img_inode *root)
{
	struct img_inode *dir = fx_add(t, root, "acls", S_IFDIR | 0755), *i;

	set_in_image(dir, ACL_DEFAULT, TO_HEIRS);
	i = fx_add(t, dir, "big", S_IFREG | 0660);
	i->size = FX_BIG;
	i->pack_id = 1;
	i->pack_off = 4096;
	set_in_image(i, ACL_ACCESS, OF_IMAGE);
	assert_int_equal(img_inode_set_xattr(i, "user.k", 6, "v", 1), 0);
}

/* As the file server shows it; "" none. */
static const char *acl_of(struct fsb *b, const char *path, const char *name)
{
	static char text[4096];
	struct acl_bytes kept, seen;
	struct fsb_entry e;
	int64_t n;

	assert_int_equal(fx_walk(b, path, &e), 0);
	n = b->ops->getxattr(b, e.node, name, kept.p, sizeof(kept.p));
	fx_forget(b, e.node);
	if (n == -ENODATA)
		return "";
	assert_true(n > 0);
	assert_int_equal(acl_seen(name, kept.p, (size_t)n, e.attr.mode, &seen), 0);
	return acl_to_text(seen.p, seen.n, text);
}

static int set_acl(struct fsb *b, const char *path, const char *name, const char *acl)
{
	struct acl_bytes v;
	struct fsb_entry e;
	int r;

	acl_from_text(acl, &v);
	assert_int_equal(fx_walk(b, path, &e), 0);
	r = b->ops->setxattr(b, &fx_req, e.node, name, v.p, v.n, 0);
	fx_forget(b, e.node);
	return r;
}

/* They are there from the start, and stay through a copy of the contents, chmod(2) and a restart.
 */
static void acls_of_an_image(void **state)
{
	const struct fsb_setattr chmod_to = {.valid = FATTR_MODE, .mode = 0604};
	struct fsb_entry e;
	struct fx fx;

	fx_more = acls_below;
	fx_init(&fx, true);
	fx_more = NULL;
	assert_int_equal(
		fx_mk(fx.b, "acls/none", S_IFREG | 0666, NULL), 0); /* without the option */
	assert_int_equal(fx_attr(fx.b, "acls/none").mode, S_IFREG | 0666);
	assert_string_equal(acl_of(fx.b, "acls/none", ACL_ACCESS), "");
	fx.b->acls = true;
	assert_string_equal(acl_of(fx.b, "acls/big", ACL_ACCESS), OF_IMAGE);
	assert_int_equal(fx_write(fx.b, "acls/big", "x", 1, 100, 0), 1);
	assert_string_equal(acl_of(fx.b, "acls/big", ACL_ACCESS), OF_IMAGE);
	assert_int_equal(fx_attr(fx.b, "acls/big").mode, S_IFREG | 0660);
	assert_int_equal(fx_setattr(fx.b, "acls/big", &chmod_to), 0);
	fx_restart(&fx);
	fx.b->acls = true;
	assert_string_equal(
		acl_of(fx.b, "acls/big", ACL_ACCESS), "u::rw-,u:7:r--,g::r--,m::---,o::r--");
	assert_int_equal(set_acl(fx.b, "acls/big", ACL_ACCESS, ROOT_ONLY), 0);
	assert_string_equal(acl_of(fx.b, "acls/big", ACL_ACCESS), "");
	assert_int_equal(fx_mk(fx.b, "acls/f", S_IFREG | 0666, NULL), 0);
	assert_int_equal(fx_mk(fx.b, "acls/d", S_IFDIR | 0777, NULL), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(fx_attr(fx.b, "acls/big").mode, S_IFREG | 0600);
		assert_int_equal(fx_walk(fx.b, "acls/big", &e), 0);
		assert_int_equal(fx.b->ops->getxattr(fx.b, e.node, "user.k", NULL, 0), 1);
		fx_forget(fx.b, e.node);
		assert_string_equal(acl_of(fx.b, "acls", ACL_DEFAULT), TO_HEIRS);
		assert_string_equal(acl_of(fx.b, "acls/f", ACL_ACCESS), OF_HEIR);
		assert_int_equal(fx_attr(fx.b, "acls/f").mode, S_IFREG | 0660);
		assert_string_equal(acl_of(fx.b, "acls/d", ACL_ACCESS), TO_HEIRS);
		assert_string_equal(acl_of(fx.b, "acls/d", ACL_DEFAULT), TO_HEIRS);
		fx_restart(&fx);
	}
	assert_int_equal(fx_walk(fx.b, "acls", &e), 0);
	assert_int_equal(fx.b->ops->removexattr(fx.b, &fx_req, e.node, ACL_DEFAULT), 0);
	fx_forget(fx.b, e.node);
	fx_restart(&fx);
	fx.b->acls = true;
	assert_int_equal(fx_mk(fx.b, "acls/g", S_IFREG | 0666, NULL), 0);
	assert_int_equal(fx_attr(fx.b, "acls/g").mode, S_IFREG | 0666);
	assert_string_equal(acl_of(fx.b, "acls/g", ACL_ACCESS), "");
	fx_done(&fx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inheritance),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(acls_of_an_image),
		cmocka_unit_test(privileges),
		cmocka_unit_test(links),
		cmocka_unit_test(times),
		cmocka_unit_test(accessed),
		cmocka_unit_test(times_after_a_crash),
		cmocka_unit_test(birth_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
