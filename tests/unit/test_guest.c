// SPDX-License-Identifier: Apache-2.0
// What PID 1 parses: users, and the requests to boot and to execute.
#include "base/cleanup.h"
#include "guest/ga_stats.h"
#include "guest/refresh.h"
#include "guest/init_root.h"
#include "guest/request.h"
#include "guest/users.h"
#include "guest/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <cmocka.h>

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
			     "bad line\n"
			     "joe:x:1000:1000:Joe,,,:/home/joe:/bin/sh\n"
			     "six:x:1:1:x:/\n"
			     "eight:x:1:1:x:/:/bin/sh:more\n"
			     "minus:x:-1:1:x:/:/bin/sh\n"
			     "max:x:4294967295:1:x:/:/bin/sh\n"
			     "big:x:4294967296:1:x:/:/bin/sh\n"
			     "nogid:x:7::x:/:/bin/sh\n"
			     ":x:8:8:x:/nameless:/bin/sh\n"
			     "rel:x:9:9:x:home:/bin/sh\n"
			     "1001:x:5:5::/five:/bin/sh\n"
			     "last:x:12:13:x:/last:/bin/false"; /* no newline */
static const char group[] = "root:x:0:\n"
			    "wheel:x:10:joe,root\n"
			    "notjoe:x:11:joey,xjoe\n"
			    "five:x:12:joe:extra\n"
			    "dup:x:10:joe\n"
			    "audio:x:29:a,b,joe\n"
			    "last:x:13:last";

static void users(void **state)
{
	static const struct {
		const char *spec;
		int code;
		uint32_t uid, gid;
		const char *home;
		size_t ngroups;
	} t[] = {
		{"", 0, 0, 0, "/root", 2}, /* root and wheel */
		{"root", 0, 0, 0, "/root", 2},
		{"0", 0, 0, 0, "/root", 2},
		{"joe", 0, 1000, 1000, "/home/joe", 3},
		{"1000", 0, 1000, 1000, "/home/joe", 3},
		{"joe:audio", 0, 1000, 29, "/home/joe", 1},
		{"joe:7", 0, 1000, 7, "/home/joe", 1},
		{"joe:7:audio,8", 0, 1000, 7, "/home/joe", 3},
		{"joe:7:7", 0, 1000, 7, "/home/joe", 1},
		{"1:2:3", 0, 1, 2, "/", 2},
		{"1234", 0, 1234, 0, "/", 1},
		{"1234:5678", 0, 1234, 5678, "/", 1},
		{"1001", 0, 1001, 0, "/", 1}, /* a number is a number */
		{"rel", 0, 9, 9, "/", 1},
		{"last", 0, 12, 13, "/last", 1},
		{"nobody", ENOENT, 0, 0, NULL, 0},
		{"joe:nogroup", ENOENT, 0, 0, NULL, 0},
		{"bad line", ENOENT, 0, 0, NULL, 0},
		{"six", ENOENT, 0, 0, NULL, 0},
		{"eight", ENOENT, 0, 0, NULL, 0},
		{"minus", ENOENT, 0, 0, NULL, 0},
		{"max", ENOENT, 0, 0, NULL, 0},
		{"big", ENOENT, 0, 0, NULL, 0},
		{"nogid", ENOENT, 0, 0, NULL, 0},
		{"4294967295", ENOENT, 0, 0, NULL, 0},
		{"-1", ENOENT, 0, 0, NULL, 0},
		{":0", EINVAL, 0, 0, NULL, 0},
		{"joe:", EINVAL, 0, 0, NULL, 0},
		{":", EINVAL, 0, 0, NULL, 0},
		{"joe::7", EINVAL, 0, 0, NULL, 0},
		{"joe:7:", EINVAL, 0, 0, NULL, 0},
		{"joe:7:8,", EINVAL, 0, 0, NULL, 0},
		{"joe:7:,8", EINVAL, 0, 0, NULL, 0},
		{"joe:7:8,nogroup", ENOENT, 0, 0, NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};
		struct ga_user u;
		int r = ga_user_resolve(
			t[i].spec, passwd, sizeof(passwd) - 1, group, sizeof(group) - 1, &u, &e);

		assert_int_equal(r, -t[i].code);
		assert_int_equal(e.code, t[i].code);
		if (r < 0)
			continue;
		assert_int_equal(u.uid, t[i].uid);
		assert_int_equal(u.gid, t[i].gid);
		assert_string_equal(u.home, t[i].home);
		assert_int_equal(u.ngroups, t[i].ngroups);
	}
}

static void no_files(void **state)
{
	struct ga_user u;

	assert_int_equal(ga_user_resolve("", NULL, 0, NULL, 0, &u, NULL), 0);
	assert_int_equal(u.uid, 0);
	assert_string_equal(u.home, "/");
	assert_int_equal(ga_user_resolve("joe", NULL, 0, NULL, 0, &u, NULL), -ENOENT);
	assert_int_equal(ga_user_resolve("5:6", NULL, 0, NULL, 0, &u, NULL), 0);
}

static void too_many_groups(void **state)
{
	static char text[GA_MAX_GROUPS * 32];
	struct ga_user u;
	size_t n = 0;

	for (int i = 0; i < GA_MAX_GROUPS + 10; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "g%d:x:%d:joe\n", i, 5000 + i);
	assert_int_equal(ga_user_resolve("joe", passwd, sizeof(passwd) - 1, text, n, &u, NULL), 0);
	assert_int_equal(u.ngroups, GA_MAX_GROUPS);
	assert_int_equal(u.groups[0], 1000); /* the user's own is never the one left out */
}

static void exec_requests(void **state)
{
	static const struct {
		const char *text; /* entries, each with a newline in the place of its NUL */
		int code;
	} t[] = {
		{"arg=sh\n", 0},
		{"arg=sh\narg=\nenv=A=b\nenv=B=\nuser=joe\ncwd=/tmp\ntty=1\nrows=24\ncols=80\nstdin=0\n"
		 "window=65536\n",
			0},
		{"", EINVAL},
		{"user=joe\n", EINVAL},
		{"arg=\n", EINVAL},
		{"arg=sh", EINVAL},
		{"arg=sh\nenv=A\n", EINVAL},
		{"arg=sh\nenv==b\n", EINVAL},
		{"arg=sh\ntty=2\n", EINVAL},
		{"arg=sh\nrows=65536\n", EINVAL},
		{"arg=sh\nrows=-1\n", EINVAL},
		{"arg=sh\nwindow=1\n", EINVAL},
		{"arg=sh\nwindow=262145\n", EINVAL},
		{"arg=sh\nother=1\n", EINVAL},
		{"arg=sh\nx\n", EINVAL},
		{"arg=sh\nrlimit=nofile:1:2\nrlimit=core:0:unlimited\n", 0},
		{"arg=sh\nrlimit=nofile:2:1\n", EINVAL},
		{"arg=sh\nrlimit=nofile:unlimited:1\n", EINVAL},
		{"arg=sh\nrlimit=nofile:1\n", EINVAL},
		{"arg=sh\nrlimit=nofile\n", EINVAL},
		{"arg=sh\nrlimit=files:1:1\n", EINVAL},
		{"arg=sh\nrlimit=:1:1\n", EINVAL},
		{"arg=sh\nrlimit=nofile:1:18446744073709551615\n", EINVAL},
		{"arg=sh\nrlimit=nofile:1111111111111111111111111:1\n", EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};
		struct ga_exec x;
		char b[256];
		size_t n = strlen(t[i].text);

		memcpy(b, t[i].text, n);
		for (size_t k = 0; k < n; k++)
			if (b[k] == '\n')
				b[k] = '\0';
		assert_int_equal(ga_exec_parse((uint8_t *)b, n, &x, &e), -t[i].code);
		assert_int_equal(e.code, t[i].code);
		ga_exec_done(&x);
	}
}

static void exec_limits(void **state)
{
	char b[1024] = "arg=sh", *p = b + sizeof("arg=sh");
	struct ga_exec x;

	for (int i = 0; i < GA_MAX_RLIMITS; i++)
		p += sprintf(p, "rlimit=nofile:%d:unlimited", i) + 1;
	assert_int_equal(ga_exec_parse((uint8_t *)b, (size_t)(p - b), &x, NULL), 0);
	assert_int_equal(x.nrlimits, GA_MAX_RLIMITS);
	assert_int_equal(x.rlimits[3].resource, RLIMIT_NOFILE);
	assert_int_equal(x.rlimits[3].soft, 3);
	assert_true(x.rlimits[3].hard == UINT64_MAX);
	ga_exec_done(&x);
	p += sprintf(p, "rlimit=core:0:0") + 1;
	assert_int_equal(ga_exec_parse((uint8_t *)b, (size_t)(p - b), &x, NULL), -EINVAL);
	ga_exec_done(&x);
}

static void exec_fields(void **state)
{
	static const char b[] = "arg=sh\0arg=-c\0env=A=b=c\0env=AB=d\0tty=1\0cols=99\0cwd=/x";
	struct ga_exec x;

	assert_int_equal(ga_exec_parse((const uint8_t *)b, sizeof(b), &x, NULL), 0);
	assert_string_equal(x.argv[0], "sh");
	assert_string_equal(x.argv[1], "-c");
	assert_null(x.argv[2]);
	assert_int_equal(x.nenv, 2);
	assert_null(x.env[2]);
	assert_string_equal(ga_env_get(x.env, "A"), "b=c");
	assert_string_equal(ga_env_get(x.env, "AB"), "d");
	assert_null(ga_env_get(x.env, "ABC"));
	assert_true(x.tty);
	assert_false(x.want_stdin);
	assert_int_equal(x.cols, 99);
	assert_string_equal(x.cwd, "/x");
	assert_null(x.user);
	assert_int_equal(x.window, WIRE_MIN_WINDOW);
	ga_exec_done(&x);
}

static void boot_requests(void **state)
{
	static const struct {
		const char *text;
		int code;
	} t[] = {
		{"mount=root\t/\trw\n", 0},
		{"hostname=h\nuser=joe\nworkdir=/w\nclock_usec=5\nenv=A=b\nmount=root\t/\t\n"
		 "mount=data\t/data\tro,nosuid,nodev,noexec,noatime\nmount=/dev/vdb\t/x/y\ttype=ext4\n",
			0},
		{"", EINVAL},
		{"hostname=h\n", EINVAL},
		{"mount=root\t/data\t\n", EINVAL},
		{"mount=root\t/\t\nmount=two\t/\t\n", EINVAL},
		{"mount=vda\t/\ttype=disk,ro\n", 0},
		{"mount=../vda\t/\ttype=disk\n", EINVAL},
		{"mount=root\t/\t\nmount=vda\t/x\ttype=disk\n", EINVAL},
		{"mount=root\t/\t\nmount=0123abcd\t/x\ttype=volume,ro\n", 0},
		{"mount=root\t/\t\nmount=../0123\t/x\ttype=volume\n", EINVAL},
		{"mount=0123abcd\t/\ttype=volume\n", EINVAL},
		{"mount=root\t/\n", EINVAL},
		{"mount=root\n", EINVAL},
		{"mount=\t/\t\n", EINVAL},
		{"mount=root\t/\twhat\n", EINVAL},
		{"mount=root\t/\ttype=\n", EINVAL},
		{"mount=root\t/\t\nmount=a\tdata\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/a/../b\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/..\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/./b\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/a//b\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/a/\t\n", EINVAL},
		{"mount=root\t/\t\nmount=a\t/...\t\n", 0},
		{"mount=root\t/\t\nworkdir=rel\n", EINVAL},
		{"mount=root\t/\t\nclock_usec=-1\n", EINVAL},
		{"mount=root\t/\t\nenv=A\n", EINVAL},
		{"mount=root\t/\t\nhostname="
		 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
			EINVAL},
		{"mount=root\t/\t\nelse=1\n", EINVAL},
		{"mount=root\t/\t\nmount=a9\t/a\ttype=share,ro\n", 0},
		{"mount=root\t/\t\nmount=a/b\t/a\ttype=share\n", EINVAL},
		{"mount=root\t/\t\nmount=..\t/a\ttype=share\n", EINVAL},
		{"mount=root\t/\ttype=share\n", EINVAL},
		{"mount=root\t/\t\nmount=t\t/a\ttype=tmpfs,rw,size=4096,nr_inodes=9,mode=1777,uid=1,gid=2,"
		 "noexec\n",
			0},
		{"mount=t\t/\ttype=tmpfs\n", EINVAL},
		{"init=\nmount=root\t/\t\n", 0},
		{"init=/sbin/init\nmount=root\t/\t\n", 0},
		{"init=/\nmount=root\t/\t\n", EINVAL},
		{"init=sbin/init\nmount=root\t/\t\n", EINVAL},
		{"init=/sbin/../init\nmount=root\t/\t\n", EINVAL},
		{"mount=root\t/\tsize=1\n", EINVAL},
		{"mount=root\t/\t\nmount=t\t/a\ttype=tmpfs,size=\n", EINVAL},
		{"mount=root\t/\t\nmount=t\t/a\ttype=tmpfs,size=1k\n", EINVAL},
		{"mount=root\t/\t\nmount=t\t/a\ttype=tmpfs,huge=1\n", EINVAL},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};
		struct ga_boot x;
		char b[512];
		size_t n = strlen(t[i].text);

		memcpy(b, t[i].text, n);
		for (size_t k = 0; k < n; k++)
			if (b[k] == '\n')
				b[k] = '\0';
		assert_int_equal(ga_boot_parse((uint8_t *)b, n, &x, &e), -t[i].code);
		assert_int_equal(e.code, t[i].code);
		ga_boot_done(&x);
	}
}

static void boot_fields(void **state)
{
	static const char b[] = "workdir=\0mount=root\t/\trw\0mount=d\t/data\tro,nodev\0"
				"mount=/dev/vdb\t/e\ttype=erofs,ro";
	struct ga_boot x;

	assert_int_equal(ga_boot_parse((const uint8_t *)b, sizeof(b), &x, NULL), 0);
	assert_string_equal(x.workdir, "/");
	assert_string_equal(x.user, "");
	assert_int_equal(x.nmounts, 3);
	assert_string_equal(x.mounts[0].source, "root");
	assert_string_equal(x.mounts[0].type, "virtiofs");
	assert_int_equal(x.mounts[0].flags, 0);
	assert_string_equal(x.mounts[1].path, "/data");
	assert_int_equal(x.mounts[1].flags, MS_RDONLY | MS_NODEV);
	assert_string_equal(x.mounts[2].type, "erofs");
	ga_boot_done(&x);
}

/* @text with every newline made the NUL that ends an entry. */
static size_t payload(const char *text, char b[512])
{
	size_t n = strlen(text);

	memcpy(b, text, n);
	for (size_t k = 0; k < n; k++)
		if (b[k] == '\n')
			b[k] = '\0';
	return n;
}

static void mount_requests(void **state)
{
	static const struct {
		const char *text;
		int code;
	} t[] = {
		{"mount=abcdef0123456789\t/a/b\ttype=share\n", 0},
		{"mount=abcdef01234567890\t/a/b\ttype=share\n", EINVAL},
		{"mount=A\t/a\ttype=share\n", EINVAL},
		{"mount=\t/a\ttype=share\n", EINVAL},
		{"mount=a\t/\ttype=share\n", EINVAL},
		{"mount=a\ta\ttype=share\n", EINVAL},
		{"mount=a\t/a/../b\ttype=share\n", EINVAL},
		{"mount=a\t/a\tro\n", EINVAL},
		{"mount=a\t/a\ttype=ext4\n", EINVAL},
		{"mount=a\t/a\ttype=share,nothing\n", EINVAL},
		{"mount=a\t/a\ttype=share\nmount=b\t/b\ttype=share\n", EINVAL},
		{"name=a\n", EINVAL},
		{"mount=a\t/a\ttype=share", EINVAL}, /* no NUL at its end */
		{"", EINVAL},
	};
	static const char fields[] = "mount=a\t/d\ttype=share,ro,nodev";
	struct ga_mount m;
	uint8_t *raw = NULL;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};
		char b[512];
		size_t n = payload(t[i].text, b);

		raw = NULL;
		assert_int_equal(ga_mount_parse((uint8_t *)b, n, &m, &raw, &e), -t[i].code);
		assert_int_equal(e.code, t[i].code);
		free(raw);
	}
	assert_int_equal(
		ga_mount_parse((const uint8_t *)fields, sizeof(fields), &m, &raw, NULL), 0);
	assert_string_equal(m.source, "a");
	assert_string_equal(m.path, "/d");
	assert_int_equal(m.flags, MS_RDONLY | MS_NODEV);
	assert_true(m.share);
	free(raw);
}

static void umount_requests(void **state)
{
	static const struct {
		const char *text;
		int code;
		bool lazy;
	} t[] = {
		{"name=a\npath=/a\nlazy=1\n", 0, true},
		{"name=a\npath=/a\nlazy=0\n", 0, false},
		{"path=/a/b\nname=a\n", 0, false},
		{"name=a\n", EINVAL, false},
		{"path=/a\n", EINVAL, false},
		{"name=a\npath=/\n", EINVAL, false},
		{"name=a\npath=a\n", EINVAL, false},
		{"name=a\npath=/a/.\n", EINVAL, false},
		{"name=a/b\npath=/a\n", EINVAL, false},
		{"name=a\npath=/a\nlazy=2\n", EINVAL, false},
		{"name=a\npath=/a\nmore=2\n", EINVAL, false},
		{"name=a\npath=/a", EINVAL, false},
		{"", EINVAL, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct msb_err e = {0};
		struct ga_umount u;
		char b[512];
		size_t n = payload(t[i].text, b);

		assert_int_equal(ga_umount_parse((uint8_t *)b, n, &u, &e), -t[i].code);
		assert_int_equal(e.code, t[i].code);
		if (!t[i].code)
			assert_int_equal(u.lazy, t[i].lazy);
		free(u.raw);
	}
}

static void shares(void **state)
{
	static const struct {
		const char *text;
		enum ga_share_at at;
	} t[] = {
		{"30 1 0:9 /m1 /data rw - virtiofs shares rw\n", GA_SHARE_TOP},
		{"30 1 0:9 /m1 /data rw,relatime shared:3 master:1 - virtiofs shares rw\n",
			GA_SHARE_TOP},
		{"30 1 0:9 /m1 /data rw - virtiofs shares rw\n31 30 0:5 / /data rw - tmpfs t rw\n",
			GA_SHARE_COVERED},
		{"31 30 0:5 / /data rw - tmpfs t rw\n32 1 0:9 /m1 /data rw - virtiofs shares rw\n",
			GA_SHARE_TOP},
		{"30 1 0:9 /m2 /data rw - virtiofs shares rw\n", GA_SHARE_NONE},
		{"30 1 0:9 /m1 /data2 rw - virtiofs shares rw\n", GA_SHARE_NONE},
		{"30 1 0:9 /m1 /data rw - virtiofs root rw\n", GA_SHARE_NONE},
		{"30 1 0:9 /m1 /data rw - ext4 shares rw\n", GA_SHARE_NONE},
		{"30 1 0:9 /m1/sub /data rw - virtiofs shares rw\n", GA_SHARE_NONE},
		{"30 1 0:9 /m1 /data", GA_SHARE_NONE},
		{"30 1 0:9 /m1", GA_SHARE_NONE},
		{"\n\n", GA_SHARE_NONE},
		{"", GA_SHARE_NONE},
	};
	char text[256];

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		(void)snprintf(text, sizeof(text), "%s", t[i].text);
		assert_int_equal(ga_share_find(text, "m1", "/data"), t[i].at);
	}
	(void)snprintf(text, sizeof(text), "30 1 0:9 /m1 /a\\040b rw - virtiofs shares rw\n");
	assert_int_equal(ga_share_find(text, "m1", "/a b"), GA_SHARE_TOP);
}

/* What its file system is told has a bound, however often it is said. */
static void tmpfs_options(void **state)
{
	uint8_t b[1024];
	struct msb_err e = {0};
	struct ga_boot x;
	char text[512] = "t\t/a\ttype=tmpfs";
	size_t n = 0;

	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "mount", "root\t/\t"), 0);
	assert_int_equal(
		wire_kv_add(b, sizeof(b), &n, "mount", "t\t/a\tmode=0700,type=tmpfs,ro,size=1"), 0);
	assert_int_equal(ga_boot_parse(b, n, &x, &e), 0);
	assert_string_equal(x.mounts[1].data, "mode=0700,size=1");
	assert_int_equal(x.mounts[1].flags, MS_RDONLY);
	ga_boot_done(&x);
	for (int i = 0; i < GA_MAX_MOUNT_DATA / 6 + 1; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ",uid=1");
	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "mount", text), 0);
	assert_int_equal(ga_boot_parse(b, n, &x, &e), -EINVAL);
	ga_boot_done(&x);
}

static void too_many_mounts(void **state)
{
	uint8_t b[4096];
	struct msb_err e = {0};
	struct ga_boot x;
	char text[64];
	size_t n = 0;

	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "mount", "root\t/\t"), 0);
	for (int i = 1; i < GA_MAX_MOUNTS; i++) {
		(void)snprintf(text, sizeof(text), "t%d\t/m%d\trw", i, i);
		assert_int_equal(wire_kv_add(b, sizeof(b), &n, "mount", text), 0);
	}
	assert_int_equal(ga_boot_parse(b, n, &x, &e), 0);
	ga_boot_done(&x);
	assert_int_equal(wire_kv_add(b, sizeof(b), &n, "mount", "one\t/more\trw"), 0);
	assert_int_equal(ga_boot_parse(b, n, &x, &e), -E2BIG);
	ga_boot_done(&x);
}

static void mount_points(void **state)
{
	char text[] = "22 1 0:20 / / rw - virtiofs root rw\n"
		      "short line\n"
		      "\n"
		      "23 22 0:21 / /with\\040space\\134 rw,nosuid shared:1 - tmpfs t rw\n"
		      "24 22 0:22 / /cut\\04";
	char *p[8];

	assert_int_equal(ga_mount_points(text, p, 8), 3);
	assert_string_equal(p[0], "/");
	assert_string_equal(p[1], "/with space\\");
	assert_string_equal(p[2], "/cut\\04");
	assert_int_equal(ga_mount_points((char[]){"1 1 1 1 /a\n2 1 1 1 /b\n"}, p, 1), 1);
	assert_int_equal(ga_mount_points((char[]){""}, p, 8), 0);
}

static void what_is_asked_for_again(void **state)
{
	static const struct {
		const char *path;
		bool wanted;
	} t[] = {{"/etc/passwd", true}, {"/a", true}, {"/devices/x", true}, {"/", false},
		{"", false}, {"/dev/null", false}, {"/proc/1/fd", false}, {"/sys/x", false},
		{"pipe:[12]", false}, {"anon_inode:[eventpoll]", false}, {"/gone (deleted)", false},
		{"/ (deleted)", false}};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(ga_refresh_wanted(t[i].path, strlen(t[i].path)), t[i].wanted);
}

static void figures_of_the_kernel(void **state)
{
	struct wire_stats w = {0};

	ga_stats_cpu("cpu  100 20 30 4000 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n", 100, &w);
	ga_stats_memory(
		"MemTotal:         131072 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n", &w);
	ga_stats_vm("nr_free 1\noom_kill_x 4\nxoom_kill 5\noom_kill 12\nnuma 1\n", &w);
	assert_int_equal(w.have, (1u << WIRE_NSTATS) - 1);
	assert_int_equal(w.v[WIRE_CPU_USER_USEC], 1200000);
	assert_int_equal(w.v[WIRE_CPU_SYSTEM_USEC], 430000);
	assert_int_equal(w.v[WIRE_CPU_IDLE_USEC], 40000000);
	assert_int_equal(w.v[WIRE_CPU_IOWAIT_USEC], 50000);
	assert_int_equal(w.v[WIRE_CPU_STEAL_USEC], 80000);
	assert_int_equal(w.v[WIRE_MEMORY_TOTAL_BYTES], 134217728);
	assert_int_equal(w.v[WIRE_MEMORY_AVAILABLE_BYTES], 1048576);
	assert_int_equal(w.v[WIRE_OOM_KILLS], 12);
	/* What is not there is not there. */
	w = (struct wire_stats){0};
	ga_stats_cpu("", 100, &w);
	ga_stats_cpu("cpu 1 2 3", 100, &w);
	ga_stats_memory("MemTotal: x kB\n", &w);
	ga_stats_vm("oom_kill\n", &w);
	assert_int_equal(w.have, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_for_again),
		cmocka_unit_test(users),
		cmocka_unit_test(no_files),
		cmocka_unit_test(too_many_groups),
		cmocka_unit_test(exec_requests),
		cmocka_unit_test(exec_fields),
		cmocka_unit_test(exec_limits),
		cmocka_unit_test(boot_requests),
		cmocka_unit_test(boot_fields),
		cmocka_unit_test(tmpfs_options),
		cmocka_unit_test(too_many_mounts),
		cmocka_unit_test(mount_points),
		cmocka_unit_test(mount_requests),
		cmocka_unit_test(umount_requests),
		cmocka_unit_test(shares),
		cmocka_unit_test(figures_of_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
