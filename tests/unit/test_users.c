// SPDX-License-Identifier: Apache-2.0
// base: users of the host, and directories that are shown to them as theirs.
#include "base/cleanup.h"
#include "base/idmap.h"
#include "base/io.h"
#include "base/user.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

static char dir[64];
static int dir_fd = -1;

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/msb-users-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0;
}

static int drop_dir(void **state)
{
	close(dir_fd);
	return msb_rm_rf(AT_FDCWD, dir);
}

static void texts(void **state)
{
	static const char *const bad[] = {"", "1", "1 ", " 1 2", "1 2 ", "1  2", "-1 2", "1 x",
		"4294967295 1", "1 4294967295", "1 2 4294967295", "1 2\n"};
	struct msb_user u = {.uid = 7}, all = {.uid = 4294967294, .gid = 4294967294};
	char text[MSB_USER_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(msb_user_parse(bad[i], &u), -EINVAL);
		assert_int_equal(u.uid, 7);
	}
	assert_int_equal(msb_user_parse("1 2", &u), 0);
	assert_true(u.uid == 1 && u.gid == 2 && u.ngroups == 0);
	assert_int_equal(msb_user_parse("1 2 3 0", &u), 0);
	assert_true(u.ngroups == 2 && u.groups[0] == 3 && u.groups[1] == 0);
	/* The longest there can be, and one more. */
	for (size_t i = 0; i < MSB_USER_GROUPS; i++)
		all.groups[all.ngroups++] = 4294967294;
	msb_user_print(&all, text);
	assert_int_equal(msb_user_parse(text, &u), 0);
	assert_memory_equal(&u, &all, sizeof(u));
	strcat(text, " 1");
	assert_int_equal(msb_user_parse(text, &u), -EINVAL);
}

static void by_the_database(void **state)
{
	struct msb_user u;

	msb_user_find(0, 99, &u);
	assert_true(u.uid == 0 && u.gid == 0);
	msb_user_find(65534, 0, &u); /* nobody is in it */
	assert_int_equal(u.gid, 65534);
	assert_true(u.ngroups >= 1 && u.groups[0] == 65534);
	msb_user_find(54321, 54322, &u);
	assert_true(u.uid == 54321 && u.gid == 54322 && u.ngroups == 0);
	/* `chown USER` leaves root's group, which is no right to what root's group may. */
	msb_user_find(54321, 0, &u);
	assert_int_equal(u.gid, MSB_USER_NOBODY);
}

/* ---- mapped directories */

static void make(const char *name, uid_t uid, gid_t gid)
{
	_cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_int_equal(fchown(fd, uid, gid), 0);
}

/* Bit 0: read and written, bit 1: removed. */
static int may(int fd, const char *name)
{
	int own = openat(fd, name, O_RDWR | O_CLOEXEC), r = own >= 0;

	if (own >= 0)
		close(own);
	return r | (unlinkat(fd, name, 0) == 0 ? 2 : 0);
}

static bool is(int fd, const char *name, uid_t uid, gid_t gid)
{
	struct stat st;

	return fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_uid == uid &&
	       st.st_gid == gid;
}

/* What user 200:300 sees and may of files of 100:101 (or root's), its own, somebody's and root's.
 */
static int look(int fd, struct msb_ids from)
{
	static const struct msb_user user = {.uid = 200, .gid = 300};

	if (msb_user_become(&user) < 0 || geteuid() != 200 || getgroups(0, NULL) != 0)
		return 1;
	if (!is(fd, "from", 200, 300) || !is(fd, "else", 555, 556))
		return 2;
	if (from.uid ? !is(fd, "to", from.uid, from.gid) : is(fd, "to", 0, 0))
		return 3;
	if (openat(fd, "else", O_RDONLY) >= 0 || openat(fd, "to", O_RDONLY) >= 0)
		return 4;
	if (from.uid && openat(fd, "root", O_RDONLY) >= 0)
		return 5;
	if (may(fd, "from") != 3 || may(fd, "else") != 2) /* the directory is its own */
		return 6;
	if (from.uid && may(fd, "root") != 2)
		return 7;
	if (openat(fd, "new", O_WRONLY | O_CREAT | O_EXCL, 0640) < 0 ||
		symlinkat("x", fd, "link") < 0 || mkdirat(fd, "d", 0700) < 0 ||
		fchownat(fd, "new", 555, 556, 0) == 0)
		return 8;
	return is(fd, "new", 200, 300) ? 0 : 9;
}

static void mapped(void **state)
{
	static const struct msb_ids froms[] = {{100, 101}, {0, 0}, {100, 300}, {100, 0}},
				    to = {200, 300};

	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(froms); i++) {
		const struct msb_ids from = froms[i];
		struct msb_err e = {0};
		int fd, status;
		pid_t pid;

		make("from", from.uid, from.gid);
		make("to", 200, 300);
		make("else", 555, 556);
		make("root", 0, 0);
		assert_int_equal(fchown(dir_fd, from.uid, from.gid), 0);
		assert_int_equal(fchmod(dir_fd, 0700), 0);
		fd = msb_idmap_dir(dir_fd, from, to, false, &e);
		if (fd == -EOPNOTSUPP)
			skip(); /* what /tmp is on */
		assert_true(fd >= 0);
		pid = fork();
		if (pid == 0)
			_exit(look(fd, from));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		close(fd);
		/* The disk has who it was given by. */
		assert_true(is(dir_fd, "new", from.uid, from.gid));
		assert_true(is(dir_fd, "link", from.uid, from.gid));
		assert_true(is(dir_fd, "d", from.uid, from.gid));
		assert_int_equal(unlinkat(dir_fd, "new", 0), 0);
		assert_int_equal(unlinkat(dir_fd, "link", 0), 0);
		assert_int_equal(unlinkat(dir_fd, "d", AT_REMOVEDIR), 0);
		assert_int_equal(unlinkat(dir_fd, "to", 0), 0);
		(void)unlinkat(dir_fd, "root", 0);
	}
}

/* Somebody who has groups; the host's own users cannot be counted on for that. */
static int find_member(void)
{
	struct msb_user u;
	int fd;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return 77;
	for (int i = 0; i < 2; i++) {
		static const char
			*const file[] = {"/etc/passwd", "/etc/group"},
			       *const text[] = {"ann:x:54321:600::/:/bin/sh\n",
				       "anns:x:600:\nteam:x:601:bob,ann\nbobs:x:602:bob\n"};
		char path[80];

		(void)snprintf(path, sizeof(path), "%s/%d", dir, i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (msb_write_full(fd, text[i], strlen(text[i])) < 0 ||
			mount(path, file[i], NULL, MS_BIND, NULL) < 0)
			return 77;
	}
	msb_user_find(54321, 0, &u);
	if (u.gid != 600 || u.ngroups != 2 || u.groups[0] + u.groups[1] != 600 + 601)
		return 1;
	if (msb_user_become(&u) < 0 || getegid() != 600 || getgroups(0, NULL) != 2)
		return 2;
	return setuid(0) == 0 ? 3 : 0;
}

static void groups(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
#ifdef __SANITIZE_THREAD__
	skip(); /* glibc ends the process where the sanitizer's own thread lags */
#endif
	pid = fork();
	if (pid == 0)
		_exit(find_member());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void read_only_is(void **state)
{
	_cleanup_close_ int fd = -1, file = -1;
	const struct msb_ids from = {0, 0}, to = {200, 300};

	if (geteuid() != 0)
		skip();
	make("kept", 0, 0);
	fd = msb_idmap_dir(dir_fd, from, to, true, NULL);
	if (fd == -EOPNOTSUPP)
		skip();
	file = openat(fd, "kept", O_RDONLY | O_CLOEXEC);
	assert_true(file >= 0);
	assert_true(openat(fd, "kept", O_RDWR | O_CLOEXEC) < 0 && errno == EROFS);
	assert_true(unlinkat(fd, "kept", 0) < 0 && errno == EROFS);
	assert_int_equal(unlinkat(dir_fd, "kept", 0), 0);
}

static void what_cannot_be_mapped(void **state)
{
	_cleanup_close_ int proc = open("/proc/self", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct msb_ids from = {0, 0}, to = {200, 300};
	struct msb_err e = {0};

	if (geteuid() != 0)
		skip();
	assert_int_equal(msb_idmap_dir(proc, from, to, false, &e), -EOPNOTSUPP);
	assert_non_null(strstr(e.msg, "file system"));
	assert_true(msb_idmap_dir(-1, from, to, false, &e) < 0);
	/* Nobody is left that was made for it. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts),
		cmocka_unit_test(by_the_database),
		cmocka_unit_test(groups),
		cmocka_unit_test(mapped),
		cmocka_unit_test(read_only_is),
		cmocka_unit_test(what_cannot_be_mapped),
	};

	return cmocka_run_group_tests_name("users", tests, make_dir, drop_dir);
}
