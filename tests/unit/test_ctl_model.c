// SPDX-License-Identifier: Apache-2.0
// ctl/model, conf, db: values, limits, and that a second msbd reads what the first wrote.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/auto_remove.h"
#include "ctl/conf.h"
#include "ctl/image_names.h"
#include "ctl/kept.h"
#include "ctl/model.h"
#include "ctl/mounts.h"
#include "ctl/op.h"
#include "ctl/policy.h"
#include "ctl/tree.h"
#include "ctl/volumes.h"
#include "tests/unit/ctl_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

static const char some_digest[] =
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static int set_mounts(struct ctl_sandbox *sb, const char *line, bool replace)
{
	const struct ctl_req q = {0};
	size_t used;

	return ctl_mounts_write(&q, sb, line, strlen(line), replace, &used, NULL);
}

static void names(void **state)
{
	static const struct {
		const char *name;
		int ret;
	} rows[] = {
		{"web", 0},
		{"web", -EEXIST},
		{"0", 0},
		{"a-b-0", 0},
		{"-a", -EINVAL},
		{"A", -EINVAL},
		{"a_b", -EINVAL},
		{"a.b", -EINVAL},
		{"", -EINVAL},
		{"volumes", -EPERM},
		{"snapshots", -EPERM},
		{"plugins", -EPERM},
		{"metrics", -EPERM},
		{"images", -EPERM},
		{"123456789012345678901234567890123456789012345678901234567890123", 0},
		{"1234567890123456789012345678901234567890123456789012345678901234", -EINVAL},
	};
	struct ctl *c = open_ctl();

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct msb_err e = {0};

		assert_int_equal(ctl_sandbox_create(c, rows[i].name, 1, 2, &e), rows[i].ret);
		assert_int_equal(e.code, -rows[i].ret);
	}
	assert_int_equal(c->nsb, 4);
	while (c->nsb)
		assert_int_equal(ctl_sandbox_remove(c->sb[0], NULL), 0);
	forget(c);
}

static void values(void **state)
{
	static const struct {
		enum ctl_conf_id id;
		int ret;
		const char *in, *out;
	} rows[] = {
		{CONF_CPUS, 0, "1", "1\n"},
		{CONF_CPUS, 0, "064", "64\n"},
		{CONF_CPUS, -ERANGE, "0", NULL},
		{CONF_CPUS, -ERANGE, "65", NULL},
		{CONF_CPUS, -EINVAL, "", NULL},
		{CONF_CPUS, -EINVAL, "many", NULL},
		{CONF_CPUS, -EINVAL, " 1", NULL},
		{CONF_MEMORY, 0, "64M", "67108864\n"},
		{CONF_MEMORY, 0, "1T", "1099511627776\n"},
		{CONF_MEMORY, -ERANGE, "63M", NULL},
		{CONF_ROOT_OPTIONS, 0, "", "\n"},
		{CONF_ROOT_OPTIONS, 0, "audit=all,ro", "ro,audit=all\n"},
		{CONF_ROOT_OPTIONS, -EINVAL, "map=root", NULL},
		{CONF_ROOT_OPTIONS, -EINVAL, "audit=some", NULL},
		{CONF_MEMORY, -ERANGE, "2T", NULL},
		{CONF_MEMORY, -EINVAL, "67108865", NULL},
		{CONF_HOSTNAME, 0, "box.example", "box.example\n"},
		{CONF_HOSTNAME, 0, "", "v\n"},
		{CONF_HOSTNAME, -EINVAL, "-x", NULL},
		{CONF_HOSTNAME, -EINVAL, "a b", NULL},
		{CONF_USER, 0, "nobody", "nobody\n"},
		{CONF_USER, 0, "1000:1000", "1000:1000\n"},
		{CONF_USER, -EINVAL, "a b", NULL},
		{CONF_USER, -EINVAL, "a\001", NULL},
		{CONF_WORKDIR, 0, "/srv/a b", "/srv/a b\n"},
		{CONF_WORKDIR, -EINVAL, "srv", NULL},
		{CONF_IMAGE, 0, "none", "none\n"}, /* pulled by start */
		{CONF_IMAGE, 0, "r.lan/a/b:c", "r.lan/a/b:c\n"},
		{CONF_IMAGE, -EINVAL, "No", NULL},
		{CONF_PULL, 0, "never", "never\n"},
		{CONF_PULL, -EINVAL, "", NULL},
		{CONF_PULL, -EINVAL, "often", NULL},
	};
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;

	assert_int_equal(ctl_sandbox_create(c, "v", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "v");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};

		assert_int_equal(ctl_conf_set(sb, rows[i].id, rows[i].in, strlen(rows[i].in), &e),
			rows[i].ret);
		if (rows[i].ret < 0) {
			assert_int_equal(e.code, -rows[i].ret);
			continue;
		}
		ctl_conf_get(sb, rows[i].id, &s);
		assert_string_equal(s.buf, rows[i].out);
	}
	/* What a machine is made of does not change under it; what a command sees does. */
	sb->state = ST_RUNNING;
	assert_int_equal(ctl_conf_set(sb, CONF_CPUS, "1", 1, NULL), -EBUSY);
	assert_int_equal(ctl_conf_set(sb, CONF_ROOT_OPTIONS, "audit", 5, NULL), -EBUSY);
	sb->state = ST_PAUSED;
	assert_int_equal(set_mounts(sb, "/a /b passthrough", true), -EBUSY);
	assert_int_equal(ctl_conf_set(sb, CONF_USER, "root", 4, NULL), 0);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), -EBUSY);
	sb->state = ST_STOPPED;
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void env(void **state)
{
	char name[CTL_MAX_ENV_NAME + 2], big[CTL_MAX_LINE];
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;

	assert_int_equal(ctl_sandbox_create(c, "e", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "e");
	assert_int_equal(ctl_env_set(sb, "A", "1", 1, NULL), 0);
	assert_int_equal(ctl_env_set(sb, "A", "two", 3, NULL), 0);
	assert_string_equal(ctl_env_find(sb, "A")->value, "two");
	assert_int_equal(sb->env_bytes, 6);
	assert_int_equal(ctl_env_set(sb, "1A", "", 0, NULL), -EINVAL);
	assert_int_equal(ctl_env_set(sb, "A=B", "", 0, NULL), -EINVAL);
	assert_int_equal(ctl_env_set(sb, "B", NULL, 0, NULL), -ENOENT);
	assert_int_equal(ctl_env_set(sb, "A", NULL, 0, NULL), 0);
	assert_int_equal(sb->env_bytes, 0);
	memset(name, 'x', sizeof(name));
	name[CTL_MAX_ENV_NAME + 1] = '\0';
	assert_int_equal(ctl_env_set(sb, name, "", 0, NULL), -E2BIG);
	for (int i = 0; i < CTL_MAX_ENV; i++) {
		(void)snprintf(name, sizeof(name), "V%d", i);
		assert_int_equal(ctl_env_set(sb, name, "", 0, NULL), 0);
	}
	assert_int_equal(ctl_env_set(sb, "MORE", "", 0, NULL), -EDQUOT);
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < CTL_MAX_ENV_BYTES / CTL_MAX_LINE - 1; i++) {
		(void)snprintf(name, sizeof(name), "V%d", i);
		assert_int_equal(ctl_env_set(sb, name, big, sizeof(big), NULL), 0);
	}
	assert_int_equal(ctl_env_set(sb, "V200", big, sizeof(big), NULL), -E2BIG);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

/* Several lines in one write: up to the first that is refused. */
static void mounts_of_one_write(void **state)
{
	static const char text[] = "/a /a passthrough\n# no mount\n\n/b /b passthrough ro\n"
				   "/c /a passthrough\n/d /d passthrough\n";
	const struct ctl_req q = {0};
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;
	struct msb_err e = {0};
	size_t used = 0;

	assert_int_equal(ctl_sandbox_create(c, "w", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "w");
	assert_int_equal(
		ctl_mounts_write(&q, sb, text, sizeof(text) - 1, true, &used, &e), -EEXIST);
	assert_string_equal(e.msg, "line 5: there is a mount at /a already");
	assert_int_equal(used, strstr(text, "/c") - text);
	assert_string_equal(
		ctl_conf_value(sb, CONF_MOUNTS), "/a /a passthrough rw\n/b /b passthrough ro\n");
	assert_int_equal(
		ctl_mounts_write(&q, sb, text + used, sizeof(text) - 1 - used, false, &used, &e),
		-EEXIST);
	assert_int_equal(used, 0);
	assert_int_equal(ctl_mounts_write(&q, sb, "a\0b\n", 4, true, &used, &e), -EINVAL);
	assert_string_equal(e.msg, "a line holds a NUL byte"); /* which one is plain */
	assert_string_equal(
		ctl_conf_value(sb, CONF_MOUNTS), "/a /a passthrough rw\n/b /b passthrough ro\n");
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void mount_images(void **state)
{
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;
	struct ctl_image *img;

	assert_int_equal(ctl_sandbox_create(c, "i", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "i");
	assert_int_equal(set_mounts(sb, "deb /a image", true), -ENOENT);
	assert_int_equal(ctl_image_set(c, "localhost/deb:latest", some_digest, 1, NULL, NULL), 0);
	assert_int_equal(set_mounts(sb, "deb /a image", true), 0);
	img = ctl_image_find(c, "localhost/deb:latest");
	assert_true(ctl_image_used(img, sb));
	assert_int_equal(set_mounts(sb, "/deb /a passthrough", true), 0);
	assert_false(ctl_image_used(img, sb));
	assert_int_equal(set_mounts(sb, "localhost/deb /a overlay", true), 0);
	assert_true(ctl_image_used(img, sb));
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	assert_int_equal(ctl_image_drop(img, NULL), 0);
	ctl_image_unref(img);
	forget(c);
}

/* Both tables of an exchange that was cut off are there for the next msbd. */
static void two_tables(void **state)
{
	const struct ctl_db_value v[] = {
		{"mounts", "/a /a passthrough rw\n"}, {".mounts", "/b /b passthrough rw\n"}, {0}};
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;

	assert_int_equal(ctl_sandbox_create(c, "t", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "t");
	assert_int_equal(ctl_db_values_set(c->db, sb->id, v, NULL), 0);
	forget(c);
	c = open_ctl();
	sb = ctl_sandbox_find(c, "t");
	assert_string_equal(ctl_conf_value(sb, CONF_MOUNTS), v[0].value);
	assert_string_equal(sb->other_mounts, v[1].value);
	ctl_shares_recover(sb);
	assert_int_equal(sb->files.nmounts, 2);
	ctl_mounts_settled(sb);
	assert_null(sb->other_mounts);
	forget(c);
	c = open_ctl();
	sb = ctl_sandbox_find(c, "t");
	assert_null(sb->other_mounts);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void mounts(void **state)
{
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;
	char line[64];

	assert_int_equal(ctl_sandbox_create(c, "m", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "m");
	for (int i = 0; i < CTL_MAX_MOUNTS; i++) {
		(void)snprintf(line, sizeof(line), "/src /m%d passthrough", i);
		assert_int_equal(set_mounts(sb, line, i == 0), 0);
	}
	assert_int_equal(set_mounts(sb, "/src /more passthrough", false), -EDQUOT);
	assert_int_equal(set_mounts(sb, "/src /a passthrough ro", true), 0);
	assert_string_equal(ctl_conf_value(sb, CONF_MOUNTS), "/src /a passthrough ro\n");
	assert_int_equal(set_mounts(sb, "/etc /a passthrough", false), -EEXIST);
	assert_int_equal(set_mounts(sb, "# none", true), 0);
	assert_string_equal(ctl_conf_value(sb, CONF_MOUNTS), "");
	/* Bytes run out before lines do. */
	for (int i = 0, r = 0; r == 0; i++) {
		char big[CTL_MAX_LINE + 1];
		int n = snprintf(big, sizeof(big), "/src/");

		memset(big + n, 'x', 3000);
		(void)snprintf(
			big + n + 3000, sizeof(big) - 3000 - (size_t)n, " /m%d passthrough", i);
		r = set_mounts(sb, big, false);
		assert_true(r == 0 || (r == -E2BIG && i > 15));
	}
	assert_true(strlen(ctl_conf_value(sb, CONF_MOUNTS)) <= CTL_MAX_MOUNTS_BYTES);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void limits(void **state)
{
	struct ctl *c = open_ctl();
	char name[40], digest[65];

	for (int i = 0; i < CTL_MAX_SANDBOXES; i++) {
		(void)snprintf(name, sizeof(name), "s%d", i);
		assert_int_equal(ctl_sandbox_create(c, name, 0, 0, NULL), 0);
	}
	assert_int_equal(ctl_sandbox_create(c, "more", 0, 0, NULL), -EDQUOT);
	memset(digest, 'b', 64);
	digest[64] = '\0';
	for (int i = 0; i < CTL_MAX_IMAGES; i++) {
		(void)snprintf(name, sizeof(name), "localhost/i%d:latest", i);
		assert_int_equal(ctl_image_set(c, name, digest, 1, NULL, NULL), 0);
	}
	assert_int_equal(ctl_image_set(c, "localhost/more:latest", digest, 1, NULL, NULL), -EDQUOT);
	while (c->nimg) {
		struct ctl_image *img = c->img[c->nimg - 1];

		assert_int_equal(ctl_image_drop(img, NULL), 0);
		ctl_image_unref(img);
	}
	while (c->nsb)
		assert_int_equal(ctl_sandbox_remove(c->sb[c->nsb - 1], NULL), 0);
	for (int i = 0; i < CTL_MAX_VOLUMES; i++) {
		(void)snprintf(name, sizeof(name), "v%d", i);
		assert_int_equal(ctl_volume_create(c, name, 0, 0, NULL), 0);
	}
	assert_int_equal(ctl_volume_create(c, "more", 0, 0, NULL), -EDQUOT);
	while (c->nvol)
		assert_int_equal(ctl_volume_remove(c->vol[c->nvol - 1], NULL), 0);
	forget(c);
}

/* scripts/ and patches/: names, bounds, and that they come back. */
static void kept_files(void **state)
{
	struct ctl *c = open_ctl();
	char path[CTL_KEPT_PATH], name[32];
	struct ctl_kept *f, *dir_of;
	struct ctl_sandbox *sb;
	static char data[65536];
	uint32_t deep = 0, gone;
	int fd;

	assert_int_equal(ctl_sandbox_create(c, "box", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "box");
	assert_int_equal(
		ctl_kept_make(sb, AREA_SCRIPTS, 0, "../x", S_IFREG, "", &f, NULL), -EINVAL);
	assert_int_equal(ctl_kept_make(sb, AREA_SCRIPTS, 0, "-x", S_IFREG, "", &f, NULL), -EINVAL);
	assert_int_equal(ctl_kept_make(sb, AREA_SCRIPTS, 0, "d", S_IFDIR, "", &f, NULL), -EPERM);
	assert_int_equal(
		ctl_kept_make(sb, AREA_PATCHES, 0, "a\nb", S_IFREG, "", &f, NULL), -EINVAL);
	for (int i = 0; i < CTL_MAX_SCRIPTS; i++) {
		(void)snprintf(name, sizeof(name), "s%d", i);
		assert_int_equal(
			ctl_kept_make(sb, AREA_SCRIPTS, 0, name, S_IFREG | 0600, "", &f, NULL), 0);
	}
	assert_int_equal(
		ctl_kept_make(sb, AREA_SCRIPTS, 0, "more", S_IFREG, "", &f, NULL), -EDQUOT);
	f = ctl_kept_find(sb, AREA_SCRIPTS, 0, "s7");
	fd = ctl_kept_open(sb, f);
	assert_true(fd >= 0);
	assert_int_equal(ctl_kept_write(sb, f->serial, fd, 0, false, "#!x", 3, NULL), 3);
	assert_int_equal(ctl_kept_write(sb, f->serial, fd, 0, true, "\n", 1, NULL), 1);
	assert_int_equal(f->bytes, 4);
	assert_int_equal(
		ctl_kept_write(sb, f->serial, fd, CTL_MAX_SCRIPT_BYTES, false, "x", 1, NULL),
		-EFBIG);
	assert_int_equal(ctl_kept_truncate(sb, f, CTL_MAX_SCRIPT_BYTES + 1, NULL), -EFBIG);
	gone = f->serial;
	assert_int_equal(ctl_kept_remove(sb, AREA_SCRIPTS, "s7", NULL), 0);
	assert_int_equal(ctl_kept_write(sb, gone, fd, 0, false, "x", 1, NULL), -ENODEV);
	assert_int_equal(ctl_kept_remove(sb, AREA_SCRIPTS, "s7", NULL), -ENOENT);
	close(fd);

	for (int i = 0; i < CTL_MAX_PATCH_DEPTH; i++) {
		assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, deep, "d", S_IFDIR | 0755, "",
					 &dir_of, NULL),
			0);
		deep = dir_of->serial;
	}
	assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, deep, "d", S_IFREG, "", &f, NULL), -ELOOP);
	assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, 0, "l", S_IFLNK, "/x/y", &f, NULL), 0);
	assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, 0, "f", S_IFREG | 0644, "", &f, NULL), 0);
	assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, 0, "f", S_IFREG, "", &f, NULL), -EEXIST);
	assert_int_equal(ctl_kept_chmod(sb, f, 04000, NULL), 0); /* msbd reads it all the same */
	fd = ctl_kept_open(sb, f);
	assert_true(fd >= 0);
	for (uint64_t off = 0; off < CTL_MAX_PATCH_BYTES; off += sizeof(data))
		assert_int_equal(
			ctl_kept_write(sb, f->serial, fd, off, false, data, sizeof(data), NULL),
			sizeof(data));
	close(fd);
	assert_int_equal(ctl_kept_make(sb, AREA_PATCHES, 0, "g", S_IFREG | 0644, "", &f, NULL), 0);
	assert_int_equal(ctl_kept_truncate(sb, f, 1, NULL), -EDQUOT);
	forget(c);

	c = open_ctl();
	sb = ctl_sandbox_find(c, "box");
	assert_int_equal(ctl_kept_count(sb, AREA_SCRIPTS), CTL_MAX_SCRIPTS - 1);
	assert_int_equal(ctl_kept_count(sb, AREA_PATCHES), CTL_MAX_PATCH_DEPTH + 3);
	f = ctl_kept_find(sb, AREA_PATCHES, 0, "f");
	assert_int_equal(f->bytes, CTL_MAX_PATCH_BYTES);
	assert_int_equal(f->mode, S_IFREG | 04000);
	f = ctl_kept_find(sb, AREA_PATCHES, 0, "l");
	assert_int_equal(ctl_kept_target(sb, f, path, sizeof(path)), 0);
	assert_string_equal(path, "/x/y");
	assert_int_equal(ctl_kept_remove(sb, AREA_PATCHES, "d/d/none", NULL), -ENOENT);
	assert_int_equal(ctl_kept_remove(sb, AREA_PATCHES, "f/x", NULL), -ENOENT);
	assert_int_equal(ctl_kept_remove(sb, AREA_PATCHES, "", NULL), -ENOENT);
	assert_int_equal(ctl_kept_remove(sb, AREA_PATCHES, "/d/d/", NULL), 0);
	assert_int_equal(ctl_kept_count(sb, AREA_PATCHES), 4);
	assert_int_equal(ctl_kept_remove(sb, AREA_PATCHES, "f", NULL), 0);
	for (int i = 3; i < CTL_MAX_PATCHES; i++) {
		(void)snprintf(name, sizeof(name), "p%d", i);
		assert_int_equal(
			ctl_kept_make(sb, AREA_PATCHES, 0, name, S_IFREG | 0600, "", &f, NULL), 0);
	}
	assert_int_equal(
		ctl_kept_make(sb, AREA_PATCHES, 0, "more", S_IFREG, "", &f, NULL), -EDQUOT);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void volumes(void **state)
{
	struct ctl *c = open_ctl();
	struct msb_str users = MSB_STR_INIT;
	struct msb_err e = {0};
	struct ctl_sandbox *sb;
	struct ctl_volume *v;
	char path[MSB_PATH_MAX + 64];
	struct ctl_share_fds fds;
	uint64_t limit = 0;

	assert_int_equal(ctl_sandbox_create(c, "box", geteuid() + 1, 77, NULL), 0);
	sb = ctl_sandbox_find(c, "box");
	assert_int_equal(set_mounts(sb, "volume:vol /v passthrough", true), -ENOENT);
	assert_int_equal(ctl_volume_create(c, "../x", geteuid(), getegid(), NULL), -EINVAL);
	assert_int_equal(ctl_volume_create(c, "vol", geteuid(), getegid(), NULL), 0);
	assert_int_equal(ctl_volume_create(c, "vol", geteuid(), getegid(), NULL), -EEXIST);
	v = ctl_volume_find(c, "vol");
	/* Others by its mode, the owner of the sandbox's group among them. */
	assert_int_equal(set_mounts(sb, "volume:vol /v passthrough", true), -EACCES);
	assert_int_equal(ctl_volume_own(v, v->uid, v->gid, 0704, NULL), 0);
	assert_int_equal(set_mounts(sb, "volume:vol /v passthrough", true), -EACCES);
	assert_int_equal(set_mounts(sb, "volume:vol /v passthrough ro", true), 0);
	assert_int_equal(ctl_volume_own(v, v->uid, v->gid, 0706, NULL), 0);
	assert_int_equal(set_mounts(sb, "volume:vol /v passthrough", true), 0);
	assert_int_equal(
		set_mounts(sb, "volume:vol /w passthrough quota_bytes=1M", false), -EINVAL);
	assert_int_equal(set_mounts(sb, "volume:VOL /w passthrough", false), -EINVAL);
	assert_int_equal(set_mounts(sb, "volume:vol /w memory", false), -EINVAL);
	assert_int_equal(ctl_volume_set_quota(v, "1", 1, NULL), -ERANGE);
	assert_int_equal(ctl_volume_set_quota(v, "x", 1, NULL), -EINVAL);
	assert_int_equal(ctl_volume_set_quota(v, "64K", 3, NULL), 0);
	ctl_volume_users(v, ", ", &users);
	assert_string_equal(users.buf, "box");
	msb_str_done(&users);
	assert_int_equal(ctl_volume_remove(v, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "box"));
	forget(c);

	c = open_ctl();
	v = ctl_volume_find(c, "vol");
	assert_non_null(v);
	assert_int_equal(v->mode, 0706);
	assert_int_equal(v->quota_bytes, 65536);
	sb = ctl_sandbox_find(c, "box");
	assert_int_equal(ctl_volume_open(sb, "vol", false, false, &fds, NULL), 0);
	assert_int_equal(msb_pread_full(fds.usage, &limit, sizeof(limit), 0), sizeof(limit));
	assert_int_equal(limit, 65536);
	assert_int_equal(ctl_volume_set_quota(v, "", 0, NULL), 0);
	assert_int_equal(msb_pread_full(fds.usage, &limit, sizeof(limit), 0), sizeof(limit));
	assert_int_equal(limit, 0);
	assert_int_equal(fds.ids.uid, v->uid);
	ctl_share_close(&fds);
	/* Its owner may put a link there: it leads nowhere. */
	ctl_volume_path(v, path);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(symlink("/etc", path), 0);
	assert_true(ctl_volume_open(sb, "vol", false, false, &fds, NULL) < 0);
	/* Kinds: what a line says of one, and what a disk takes to be made. */
	assert_int_equal(set_mounts(sb, "volume:vol /v disk", true), -EINVAL);
	assert_int_equal(set_mounts(sb, "/dir /v disk", true), -EINVAL);
	assert_int_equal(set_mounts(sb, "volume:vol /v disk noatime", true), -EINVAL);
	assert_int_equal(ctl_volume_set_kind(v, "tape", 4, NULL), -EINVAL);
	assert_int_equal(ctl_volume_set_kind(v, "dir", 3, NULL), 0);
	assert_int_equal(ctl_volume_set_kind(v, "disk", 4, NULL), -EBUSY);
	assert_int_equal(set_mounts(sb, "", true), 0);
	assert_int_equal(ctl_volume_remove(v, NULL), 0);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	/* What a crash leaves is removed, of both halves. */
	assert_int_equal(mkdirat(c->volumes_fd, "0123456789abcdef0123456789abcdef", 0700), 0);
	assert_int_equal(msb_write_file_atomic(c->volumes_fd,
				 "fedcba9876543210fedcba9876543210.usage", "", 0, 0600),
		0);
	ctl_volumes_recover(c);
	assert_int_equal(unlinkat(AT_FDCWD, path, 0), -1);
	(void)snprintf(path, sizeof(path), "%s/volumes", paths.state);
	assert_int_equal(rmdir(path), 0);
	forget(c);
}

static void comes_back(void **state)
{
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb;
	struct msb_err e = {0};
	char id[33], digest[65];

	memset(digest, 'a', 64);
	digest[64] = '\0';
	assert_int_equal(ctl_image_set(c, "localhost/img:latest", digest, 77, NULL, &e), 0);
	assert_int_equal(
		ctl_image_set(c, "localhost/img:latest", some_digest, 77, NULL, &e), -EEXIST);
	assert_int_equal(ctl_sandbox_create(c, "keep", 11, 22, NULL), 0);
	sb = ctl_sandbox_find(c, "keep");
	memcpy(id, sb->id, sizeof(id));
	assert_int_equal(ctl_conf_set(sb, CONF_IMAGE, "img", 3, NULL), 0);
	assert_int_equal(ctl_conf_set(sb, CONF_CPUS, "3", 1, NULL), 0);
	assert_int_equal(ctl_env_set(sb, "X", "y z", 3, NULL), 0);
	assert_int_equal(ctl_sandbox_own(sb, 33, 44, 0750, NULL), 0);
	pthread_mutex_lock(&c->lock);
	ctl_sandbox_state(sb, ST_FAILED, "it broke");
	pthread_mutex_unlock(&c->lock);
	forget(c);

	c = open_ctl();
	assert_int_equal(c->nsb, 1);
	assert_int_equal(c->nimg, 1);
	assert_int_equal(ctl_image_find(c, "localhost/img:latest")->size_bytes, 77);
	sb = ctl_sandbox_find(c, "keep");
	assert_non_null(sb);
	assert_string_equal(sb->id, id);
	assert_string_equal(sb->conf[CONF_IMAGE], "img");
	assert_string_equal(sb->conf[CONF_CPUS], "3");
	assert_string_equal(ctl_env_find(sb, "X")->value, "y z");
	assert_int_equal(sb->state, ST_FAILED);
	assert_string_equal(sb->reason, "it broke");
	assert_int_equal(sb->uid, 33);
	assert_int_equal(sb->gid, 44);
	assert_int_equal(sb->mode, 0750);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);

	c = open_ctl();
	assert_int_equal(c->nsb, 0);
	forget(c);
}

static void newer_is_refused(void **state)
{
	char path[600], dir2[600];
	struct msb_paths p = paths;
	struct msb_err e = {0};
	struct ctl_db *db = NULL;
	sqlite3 *sq;

	(void)snprintf(dir2, sizeof(dir2), "%s/newer", dir);
	(void)snprintf(path, sizeof(path), "%s/msb.db", dir2);
	(void)snprintf(p.state, sizeof(p.state), "%.500s", dir2);
	assert_int_equal(mkdir(dir2, 0700), 0);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, "PRAGMA user_version=99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sq);
	assert_int_equal(ctl_db_open(path, true, &db, &e), -EPROTO);
	assert_non_null(strstr(e.msg, "newer"));
	assert_int_equal(
		msb_write_file_atomic(AT_FDCWD, path, "no database at all, but text", 28, 0600), 0);
	assert_int_equal(ctl_db_open(path, true, &db, &e), -EBADMSG);
}

static void node_ids(void **state)
{
	struct ctl_at root, dir_at, file, again;
	struct ctl *c = open_ctl();
	struct stat st, st2;
	uint64_t id;

	assert_int_equal(ctl_sandbox_create(c, "n", 5, 6, NULL), 0);
	assert_int_equal(ctl_at_id(c, 1, &root), 0);
	assert_int_equal(ctl_at_child(&root, "n", &dir_at), 0);
	assert_int_equal(ctl_at_child(&root, "*", &again), -ENOENT);
	assert_int_equal(ctl_at_child(&dir_at, "state", &file), 0);
	id = ctl_at_make_id(&file);
	assert_int_equal(ctl_at_make_id(&file), id);
	assert_int_equal(ctl_at_id(c, id, &again), 0);
	assert_ptr_equal(again.node, file.node);
	assert_ptr_equal(again.sb, file.sb);
	/* ctl: another id for every lookup, but the same file to whoever asks. */
	assert_int_equal(ctl_at_child(&dir_at, "ctl", &file), 0);
	assert_int_not_equal(ctl_at_make_id(&file), ctl_at_make_id(&file));
	ctl_at_stat(&file, &st);
	ctl_at_stat(&file, &st2);
	assert_int_equal(st.st_ino, st2.st_ino);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_uid, 5);
	/* The directory's mode is spread over its files. */
	assert_int_equal(ctl_sandbox_own(file.sb, 5, 6, 0750, NULL), 0);
	ctl_at_stat(&file, &st);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(ctl_sandbox_own(file.sb, 5, 6, 0770, NULL), 0);
	ctl_at_stat(&file, &st);
	assert_int_equal(st.st_mode & 0777, 0660);
	assert_int_equal(ctl_sandbox_remove(file.sb, NULL), 0);
	assert_int_equal(ctl_at_id(c, id, &again), -ENOENT);
	assert_int_equal(ctl_at_id(c, 0, &again), -ENOENT);
	assert_int_equal(ctl_at_id(c, 255, &again), -ENOENT);
	forget(c);
}

/* A sandbox that has run and whose state is @s. */
static struct ctl_sandbox *ended(struct ctl *c, const char *name, enum ctl_state s, bool wanted)
{
	struct ctl_sandbox *sb;

	assert_int_equal(ctl_sandbox_create(c, name, 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, name);
	if (wanted)
		assert_int_equal(ctl_conf_set(sb, CONF_AUTO_REMOVE, "1", 1, NULL), 0);
	ctl_auto_remove_ran(sb);
	ctl_sandbox_state(sb, s, NULL);
	return sb;
}

/* What a machine takes to stop, once its command has ended, is not a time in which it ran well. */
static void tries_of_a_command(void **state)
{
	static const struct {
		bool main_over;
		uint64_t command_ms, machine_ms; /* that they ran */
		unsigned int tries;
	} t[] = {
		{false, 0, CTL_RESTART_GOOD_MS - 1000, 4},
		{false, 0, CTL_RESTART_GOOD_MS, 1},
		{true, 0, CTL_RESTART_GOOD_MS * 3, 4},
		{true, CTL_RESTART_GOOD_MS - 1, CTL_RESTART_GOOD_MS * 3, 4},
		{true, CTL_RESTART_GOOD_MS, CTL_RESTART_GOOD_MS * 3, 1},
	};
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb = ended(c, "tries", ST_FAILED, false);

	assert_int_equal(ctl_conf_set(sb, CONF_RESTART, "on-failure:9", 12, NULL), 0);
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		sb->restart_tries = 3;
		sb->ran_since_ms = msb_now_ms() - t[i].machine_ms;
		sb->main_job = t[i].main_over;
		sb->main_over = t[i].main_over;
		sb->main_ended_ms = sb->ran_since_ms + t[i].command_ms;
		ctl_policy_settled(sb, VERB_FINISH, 0, true);
		assert_int_equal(sb->restart_tries, t[i].tries);
	}
	/* One that ended before the start of its machine was settled. */
	sb->main_ended_ms = sb->ran_since_ms - 1;
	ctl_policy_settled(sb, VERB_FINISH, 0, true);
	assert_int_equal(sb->restart_tries, 2);
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(ctl_sandbox_remove(sb, NULL), 0);
	forget(c);
}

static void auto_remove(void **state)
{
	struct ctl *c = open_ctl();
	struct ctl_sandbox *sb, *kept;
	char path[MSB_PATH_MAX];

	sb = ended(c, "a", ST_RUNNING, true);
	kept = ended(c, "kept", ST_FAILED, false);
	assert_int_equal(ctl_sandbox_create(c, "never", 0, 0, NULL), 0);
	assert_int_equal(
		ctl_conf_set(ctl_sandbox_find(c, "never"), CONF_AUTO_REMOVE, "1", 1, NULL), 0);
	/* Not while it runs, waits for another start, or is being restarted. */
	pthread_mutex_lock(&c->lock);
	assert_false(ctl_auto_remove(ctl_sandbox_find(c, "never")));
	assert_false(ctl_auto_remove(sb));
	ctl_sandbox_state(sb, ST_STOPPED, NULL);
	sb->restart_at_ms = 1;
	assert_false(ctl_auto_remove(sb));
	sb->restart_at_ms = 0;
	sb->restarting = 1;
	assert_false(ctl_auto_remove(sb));
	sb->restarting = 0;
	/* Every machine is stopped, and the next msbd would start it again. */
	c->stopping_all = true;
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(ctl_conf_set(sb, CONF_RESTART, "unless-stopped", 14, NULL), 0);
	pthread_mutex_lock(&c->lock);
	sb->started_once = sb->wanted = true;
	assert_false(ctl_auto_remove(sb));
	c->stopping_all = false;
	(void)snprintf(path, sizeof(path), "%s/sandboxes/%s", paths.state, sb->id);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(ctl_auto_remove(sb));
	assert_null(ctl_sandbox_find(c, "a"));
	/* An end that was settled is over: what is written then is for the next machine's. */
	assert_false(ctl_auto_remove(kept));
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(ctl_conf_set(kept, CONF_AUTO_REMOVE, "1", 1, NULL), 0);
	pthread_mutex_lock(&c->lock);
	assert_false(ctl_auto_remove(kept));
	while (c->nops)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(access(path, F_OK), -1);
	forget(c);
}

/* msbd was killed between a machine's end and what follows from it. */
static void auto_remove_later(void **state)
{
	struct ctl *c = open_ctl();

	(void)ended(c, "b", ST_STOPPED, true);
	forget(c);
	c = open_ctl();
	pthread_mutex_lock(&c->lock);
	assert_true(ctl_sandbox_find(c, "b")->ran);
	ctl_policy_recovered(c);
	assert_null(ctl_sandbox_find(c, "b"));
	assert_false(ctl_sandbox_find(c, "kept")->ran);
	assert_non_null(ctl_sandbox_find(c, "never"));
	while (c->nops)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	forget(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(values),
		cmocka_unit_test(env),
		cmocka_unit_test(mounts),
		cmocka_unit_test(mounts_of_one_write),
		cmocka_unit_test(mount_images),
		cmocka_unit_test(two_tables),
		cmocka_unit_test(limits),
		cmocka_unit_test(kept_files),
		cmocka_unit_test(volumes),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(newer_is_refused),
		cmocka_unit_test(node_ids),
		cmocka_unit_test(auto_remove),
		cmocka_unit_test(auto_remove_later),
		cmocka_unit_test(tries_of_a_command),
	};

	return cmocka_run_group_tests_name("ctl_model", tests, fixture_setup, fixture_teardown);
}
