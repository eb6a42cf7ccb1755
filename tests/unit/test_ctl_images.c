// SPDX-License-Identifier: Apache-2.0
// Names of images, their directories, pins, logins, registries; the state file of an older msb.
#include "tests/unit/ctl_fixture.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/images.h"
#include "ctl/open_as.h"
#include "ctl/tree.h"
#include "fs/image/open.h"
#include "tests/unit/beside.h"

#include <sqlite3.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define HEX_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HEX_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

/* An instance whose state is in directory @name. */
static struct ctl *open_in(const char *name)
{
	(void)snprintf(paths.state, sizeof(paths.state), "%s/%s", dir, name);
	return open_ctl();
}

static void set(struct ctl *c, const char *name)
{
	assert_int_equal(ctl_image_set(c, name, HEX_A, 1, NULL, NULL), 0);
}

static void drop(struct ctl *c, const char *name)
{
	struct ctl_image *img = ctl_image_find(c, name);

	assert_non_null(img);
	assert_int_equal(ctl_image_drop(img, NULL), 0);
	ctl_image_unref(img);
}

static const char *shorter(struct ctl *c, const char *name)
{
	return ctl_image_find(c, name)->shorter;
}

static const char *resolved(struct ctl *c, const char *text, int want)
{
	struct ctl_image *img = NULL;

	assert_int_equal(ctl_image_resolve(c, text, NULL, &img, NULL), want);
	return img ? img->name : "";
}

/* A name without a host is an imported one's, or the default registry's, never a guess. */
static void meanings(void **state)
{
	struct ctl *c = open_in("meanings");

	resolved(c, "py", -ENOENT);
	resolved(c, "P", -EINVAL);
	set(c, "docker.io/library/py:latest");
	set(c, "docker.io/library/py:3");
	assert_string_equal(resolved(c, "py", 0), "docker.io/library/py:latest");
	assert_string_equal(resolved(c, "py:3", 0), "docker.io/library/py:3");
	assert_string_equal(resolved(c, "library/py", 0), "docker.io/library/py:latest");
	assert_string_equal(resolved(c, "py@sha256:" HEX_A, 0), "docker.io/library/py:3");
	resolved(c, "py@sha256:" HEX_B, -ENOENT);
	resolved(c, "localhost/py", -ENOENT);
	assert_string_equal(shorter(c, "docker.io/library/py:latest"), "py");
	assert_string_equal(shorter(c, "docker.io/library/py:3"), "py:3");
	/* Both: neither. */
	set(c, "localhost/py:latest");
	resolved(c, "py", -ENOTUNIQ);
	assert_string_equal(resolved(c, "localhost/py", 0), "localhost/py:latest");
	assert_string_equal(resolved(c, "docker.io/py", 0), "docker.io/library/py:latest");
	assert_string_equal(shorter(c, "docker.io/library/py:latest"), "");
	assert_string_equal(shorter(c, "localhost/py:latest"), "");
	assert_string_equal(shorter(c, "docker.io/library/py:3"), "py:3");
	drop(c, "docker.io/library/py:latest");
	assert_string_equal(shorter(c, "localhost/py:latest"), "py");
	assert_string_equal(resolved(c, "py", 0), "localhost/py:latest");
	/* Others have no short name; nor has one that a host is called by. */
	set(c, "docker.io/some/one:latest");
	set(c, "r.lan/py:latest");
	assert_string_equal(shorter(c, "docker.io/some/one:latest"), "");
	assert_string_equal(shorter(c, "r.lan/py:latest"), "");
	set(c, "localhost/localhost:latest");
	assert_string_equal(shorter(c, "localhost/localhost:latest"), "");
	set(c, "localhost/x.lan:latest");
	assert_string_equal(shorter(c, "localhost/x.lan:latest"), "x.lan");
	set(c, "x.lan/y:latest");
	assert_string_equal(shorter(c, "localhost/x.lan:latest"), "");
	drop(c, "x.lan/y:latest");
	assert_string_equal(shorter(c, "localhost/x.lan:latest"), "x.lan");
	forget(c);
}

/* Directories are there as long as images are below them, and keep their node ids. */
static void directories(void **state)
{
	struct ctl_at root, images, host, repo, img, again;
	struct ctl *c = open_in("directories");
	uint64_t id;

	set(c, "r.lan:5000/a/b/c:1");
	set(c, "r.lan:5000/a:1");
	assert_int_equal(c->ndirs, 3); /* r.lan:5000, /a, /a/b */
	assert_int_equal(ctl_at_id(c, 1, &root), 0);
	assert_int_equal(ctl_at_child(&root, "images", &images), 0);
	assert_int_equal(ctl_at_child(&images, "r.lan:5000", &host), 0);
	assert_int_equal(ctl_at_child(&host, "a", &repo), 0);
	assert_int_equal(ctl_at_child(&host, "a:1", &img), 0);
	assert_non_null(img.img);
	assert_int_equal(ctl_at_child(&repo, "b:1", &again), -ENOENT);
	id = ctl_at_make_id(&repo);
	set(c, "r.lan:5000/a/z:1");
	assert_int_equal(ctl_at_child(&host, "a", &again), 0);
	assert_int_equal(ctl_at_make_id(&again), id);
	drop(c, "r.lan:5000/a/b/c:1");
	assert_int_equal(c->ndirs, 2);
	assert_int_equal(ctl_at_id(c, id, &again), 0);
	drop(c, "r.lan:5000/a/z:1");
	assert_int_equal(ctl_at_id(c, id, &again), -ENOENT);
	drop(c, "r.lan:5000/a:1");
	assert_int_equal(c->ndirs, 0);
	forget(c);
}

static void directories_have_a_limit(void **state)
{
	struct ctl *c = open_in("dirlimit");
	char name[IMG_REF_MAX + 1];
	struct msb_err e = {0};
	int r = 0;

	for (int i = 0; r == 0 && i < CTL_MAX_IMAGES; i++) {
		int n = snprintf(name, sizeof(name), "h%d.lan", i);

		while (n < 200)
			n += snprintf(name + n, sizeof(name) - (size_t)n, "/a");
		(void)snprintf(name + n, sizeof(name) - (size_t)n, ":1");
		r = ctl_image_set(c, name, HEX_A, 1, NULL, &e);
	}
	assert_int_equal(r, -EDQUOT);
	assert_non_null(strstr(e.msg, "directories"));
	assert_true(c->ndirs <= CTL_MAX_IMAGE_DIRS);
	/* What could not be named left no directory. */
	for (size_t i = 0; i < c->ndirs; i++)
		assert_null(strstr(name, c->dir[i].path) == name ? c->dir[i].path : NULL);
	forget(c);
}

/* A name that is given to another image keeps its node ids; the struct is another. */
static void moved(void **state)
{
	struct ctl *c = open_in("moved");
	struct ctl_image *old, *was;
	uint32_t serial;

	set(c, "r.lan/a:1");
	was = ctl_image_find(c, "r.lan/a:1");
	serial = was->serial;
	assert_int_equal(ctl_image_set(c, "r.lan/a:1", HEX_A, 1, &old, NULL), 0);
	assert_null(old);
	assert_int_equal(ctl_image_set(c, "r.lan/a:1", HEX_B, 1, NULL, NULL), -EEXIST);
	assert_int_equal(ctl_image_set(c, "r.lan/a:1", HEX_B, 1, &old, NULL), 0);
	assert_ptr_equal(old, was);
	assert_true(old->gone);
	assert_int_equal(ctl_image_by_serial(c, serial)->digest[0], 'b');
	ctl_image_unref(old);
	forget(c);
	c = open_in("moved");
	assert_int_equal(c->nimg, 1);
	assert_string_equal(c->img[0]->digest, HEX_B);
	forget(c);
}

static void pins(void **state)
{
	struct ctl *c = open_in("pins");
	struct ctl_sandbox *sb;
	char ref[32];

	assert_int_equal(ctl_sandbox_create(c, "p", 0, 0, NULL), 0);
	sb = ctl_sandbox_find(c, "p");
	assert_null(ctl_pin_find(sb, ""));
	assert_int_equal(ctl_pin_set(sb, "", HEX_A, true, NULL), 0);
	assert_int_equal(ctl_pin_set(sb, "r.lan/a:1", HEX_A, false, NULL), 0);
	assert_int_equal(ctl_pin_set(sb, "r.lan/a:1", HEX_B, true, NULL), 0);
	forget(c);
	c = open_in("pins");
	sb = ctl_sandbox_find(c, "p");
	assert_string_equal(ctl_pin_find(sb, "")->digest, HEX_A);
	assert_true(ctl_pin_find(sb, "")->kept);
	assert_string_equal(ctl_pin_find(sb, "r.lan/a:1")->digest, HEX_B);
	ctl_pin_drop(sb, "");
	assert_null(ctl_pin_find(sb, ""));
	for (int i = 1; i < CTL_MAX_PINS; i++) {
		(void)snprintf(ref, sizeof(ref), "r.lan/p%d:1", i);
		assert_int_equal(ctl_pin_set(sb, ref, HEX_A, true, NULL), 0);
	}
	assert_int_equal(ctl_pin_set(sb, "r.lan/more:1", HEX_A, true, NULL), -EDQUOT);
	forget(c);
	c = open_in("pins");
	assert_null(ctl_pin_find(ctl_sandbox_find(c, "p"), ""));
	assert_int_equal(ctl_sandbox_find(c, "p")->npins, CTL_MAX_PINS);
	forget(c);
}

/* The state file of an earlier msb: names become references, roots keep to their images. */
static void migrates(void **state)
{
	static const char old[] =
		"CREATE TABLE sandboxes (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, uid INTEGER NOT NULL,"
		" gid INTEGER NOT NULL, mode INTEGER NOT NULL, created_usec INTEGER NOT NULL) STRICT;"
		"CREATE TABLE vals (id TEXT NOT NULL REFERENCES sandboxes(id) ON DELETE CASCADE,"
		" key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (id, key)) STRICT, WITHOUT ROWID;"
		"CREATE TABLE images (name TEXT PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
		" created_usec INTEGER NOT NULL) STRICT;"
		"INSERT INTO images VALUES ('deb','11111111111111111111111111111111','" HEX_A
		"',7,8);"
		"INSERT INTO images VALUES ('other','22222222222222222222222222222222','" HEX_B
		"',9,8);"
		"INSERT INTO sandboxes VALUES ('33333333333333333333333333333333','used',0,0,448,1);"
		"INSERT INTO vals VALUES ('33333333333333333333333333333333','image','deb');"
		"INSERT INTO vals VALUES ('33333333333333333333333333333333','.used','12');"
		"INSERT INTO sandboxes VALUES ('44444444444444444444444444444444','new',0,0,448,1);"
		"INSERT INTO vals VALUES ('44444444444444444444444444444444','image','other');"
		"PRAGMA user_version=1;";
	char path[600];
	sqlite3 *sq;
	struct ctl *c;

	(void)snprintf(path, sizeof(path), "%s/old", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/old/msb.db", dir);
	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq, old, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(sq);
	for (int i = 0; i < 2; i++) { /* the second time there is nothing to do */
		c = open_in("old");
		assert_int_equal(c->nimg, 2);
		assert_int_equal(ctl_image_find(c, "localhost/deb:latest")->size_bytes, 7);
		assert_string_equal(resolved(c, "deb", 0), "localhost/deb:latest");
		assert_string_equal(shorter(c, "localhost/other:latest"), "other");
		assert_string_equal(ctl_sandbox_find(c, "used")->conf[CONF_IMAGE], "deb");
		assert_string_equal(ctl_pin_find(ctl_sandbox_find(c, "used"), "")->digest, HEX_A);
		assert_int_equal(ctl_sandbox_find(c, "new")->npins, 0);
		forget(c);
	}
}

static void registries(void **state)
{
	static const struct {
		const char *in, *out;
		int ret;
	} rows[] = {
		{"r.lan plain_http", "r.lan plain_http\n", 0},
		{"# none\n\n", "", 0},
		{"", "", 0},
		{"R.Lan:5000 insecure,ca=/etc/ca\\040x.pem,mirror=http://m.lan:80/v2x,mirror=https://n.lan\n",
			"r.lan:5000 "
			"mirror=http://m.lan:80/v2x,mirror=https://n.lan,ca=/etc/ca\\040x.pem,insecure\n",
			0},
		{"r.lan", NULL, -EINVAL},
		{"r.lan a b", NULL, -EINVAL},
		{"r.lan ,", NULL, -EINVAL},
		{"r.lan plain_http,what", NULL, -EINVAL},
		{"r.lan ca=x", NULL, -EINVAL},
		{"r.lan mirror=m.lan", NULL, -EINVAL},
		{"r.lan mirror=ftp://m.lan", NULL, -EINVAL},
		{"r.lan mirror=https://me@m.lan", NULL, -EINVAL},
		{"r.lan mirror=https://m.lan/?q", NULL, -EINVAL},
		{"host plain_http", NULL, -EINVAL},
		{"localhost plain_http", NULL, -EINVAL},
		{"r.lan/x plain_http", NULL, -EINVAL},
		{"r.lan plain_http\nr.lan insecure", NULL, -EEXIST},
		{"r.lan mirror=http://a.b,mirror=http://a.b,mirror=http://a.b,mirror=http://a.b,"
		 "mirror=http://a.b,mirror=http://a.b,mirror=http://a.b,mirror=http://a.b,"
		 "mirror=http://a.b",
			NULL, -EDQUOT},
	};
	struct ctl_registry *reg = calloc(1, sizeof(*reg));
	struct ctl *c = open_in("registries");
	char line[64];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err e = {0};

		assert_int_equal(
			ctl_registries_parse(rows[i].in, strlen(rows[i].in), &s, &e), rows[i].ret);
		if (rows[i].ret == 0)
			assert_string_equal(s.buf ?: "", rows[i].out);
		else
			assert_true(e.code == -rows[i].ret && *e.msg);
	}
	/* All of a write or nothing of it; others add; the next msbd has it. */
	assert_int_equal(ctl_registries_set(c, rows[3].in, strlen(rows[3].in), true, NULL), 0);
	assert_int_equal(ctl_registries_set(c, "a.b insecure\na b", 16, false, NULL), -EINVAL);
	assert_int_equal(ctl_registries_set(c, "a.b plain_http", 14, false, NULL), 0);
	forget(c);
	c = open_in("registries");
	ctl_registries_find(c->registries, "a.b", reg);
	assert_true(reg->reg.plain_http && !reg->reg.insecure && !reg->reg.mirrors);
	memset(reg, 0, sizeof(*reg));
	ctl_registries_find(c->registries, "r.lan:5000", reg);
	assert_true(reg->reg.insecure && !reg->reg.plain_http);
	assert_string_equal(reg->reg.ca, "/etc/ca x.pem");
	assert_string_equal(reg->reg.mirrors[1], "https://n.lan");
	assert_null(reg->reg.mirrors[2]);
	memset(reg, 0, sizeof(*reg));
	ctl_registries_find(c->registries, "r.lan", reg);
	assert_false(reg->reg.insecure);
	assert_int_equal(ctl_registries_set(c, "\n", 1, true, NULL), 0);
	assert_string_equal(c->registries, "");
	for (int i = 0; i <= CTL_MAX_REGISTRIES; i++) {
		int n = snprintf(line, sizeof(line), "h%d.lan plain_http", i);

		assert_int_equal(ctl_registries_set(c, line, (size_t)n, false, NULL),
			i < CTL_MAX_REGISTRIES ? 0 : -EDQUOT);
	}
	free(reg);
	forget(c);
}

/* A login is its user's; its secret is in a file of mode 0600 and nowhere else. */
static void logins(void **state)
{
	struct ctl *c = open_in("logins");
	const struct ctl_req me = {.c = c, .uid = 77}, other = {.c = c, .uid = 78};
	struct ctl_registry *reg = calloc(1, sizeof(*reg));
	char path[700], host[32], big[CTL_MAX_LOGIN_USER + 2];
	struct msb_err e = {0};
	uint32_t serial;
	struct stat st;

	assert_int_equal(ctl_login_set(&me, "nohost", "u", NULL), -EINVAL);
	assert_int_equal(ctl_login_set(&me, "r.lan/x", "u", NULL), -EINVAL);
	assert_int_equal(ctl_login_set(&me, "r.lan", "", NULL), -EINVAL);
	assert_int_equal(ctl_login_set(&me, "r.lan", "a:b", NULL), -EINVAL);
	memset(big, 'u', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(ctl_login_set(&me, "r.lan", big, NULL), -EINVAL);
	assert_int_equal(ctl_login_set(&me, "R.lan:5000", "ann", NULL), 0);
	serial = ctl_login_find(c, 77, "r.lan:5000")->serial;
	assert_null(ctl_login_find(c, 78, "r.lan:5000"));
	assert_int_equal(ctl_registry_of(&me, "r.lan:5000", reg, &e), -EACCES);
	assert_non_null(strstr(e.msg, "no secret yet"));
	assert_int_equal(ctl_login_secret(c, serial, "a\tb", 3, &e), -EINVAL);
	assert_null(strchr(e.msg, '\t'));
	assert_int_equal(ctl_login_secret(c, serial, "hunter 2", 8, NULL), 0);
	(void)snprintf(path, sizeof(path), "%s/logins/77@r.lan:5000", paths.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	(void)snprintf(path, sizeof(path), "%s/logins", paths.state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	forget(c);
	c = open_in("logins");
	{
		const struct ctl_req again = {.c = c, .uid = 77};

		memset(reg, 0, sizeof(*reg));
		assert_int_equal(ctl_registry_of(&again, "r.lan:5000", reg, NULL), 0);
		assert_string_equal(reg->reg.user, "ann");
		assert_string_equal(reg->reg.secret, "hunter 2");
		assert_int_equal(reg->reg.uid, 77);
		ctl_registry_wipe(reg);
		assert_null(memmem(reg, sizeof(*reg), "hunter", 6));
		assert_int_equal(ctl_registry_of(&again, "r.lan", reg, NULL), 0);
		assert_null(reg->reg.user);
		for (int i = 1; i <= CTL_MAX_LOGINS; i++) {
			(void)snprintf(host, sizeof(host), "h%d.lan", i);
			assert_int_equal(ctl_login_set(&again, host, "u", NULL),
				i < CTL_MAX_LOGINS ? 0 : -EDQUOT);
		}
		assert_int_equal(ctl_login_drop(&again, "r.lan:5000", NULL), 0);
		assert_int_equal(ctl_login_drop(&again, "r.lan:5000", NULL), -ENOENT);
	}
	(void)snprintf(path, sizeof(path), "%s/logins/77@r.lan:5000", paths.state);
	assert_int_equal(access(path, F_OK), -1);
	(void)other;
	free(reg);
	forget(c);
}

static int count(void *arg, const char *name, const struct ctl_at *child)
{
	++*(size_t *)arg;
	return 0;
}

/* Streams: a first line, lines as they come, an end; and the last of them stay. */
static void pulls(void **state)
{
	struct ctl *c = open_in("pulls");
	const struct ctl_req q = {.c = c, .uid = 5, .pid = 6};
	struct img_progress g = {.stage = "layers", .digest = HEX_A, .layer = 1, .layers = 2};
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct ctl_ring_reader rd = {.seq = 1};
	struct ctl_pull *p, *first, *running;
	const struct msb_err why = {EIO, "it \"broke\""};
	struct ctl_at root, images, dir_at;
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	assert_int_equal(ctl_pull_new(&q, "pull", "r.lan/a:1", &first, NULL), 0);
	assert_int_equal(c->adding, 1);
	pthread_mutex_unlock(&c->lock);
	g.state = "download";
	ctl_pull_progress(first, &g);
	g.done_bytes = 5; /* too soon to be worth a line */
	ctl_pull_progress(first, &g);
	g.state = "done";
	ctl_pull_progress(first, &g);
	g.layer = IMG_MAX_LAYERS + 5; /* no image has so many */
	ctl_pull_progress(first, &g);
	pthread_mutex_lock(&c->lock);
	ctl_ring_read(&first->ring, &rd, 0, 4096, &s);
	first->refs++;
	ctl_pull_end(first, -EIO, NULL, &why);
	assert_int_equal(c->adding, 0);
	assert_non_null(
		strstr(s.buf, "\"verb\":\"pull\",\"ref\":\"r.lan/a:1\",\"uid\":5,\"pid\":6}\n"
			      "{\"layer\":1,\"layers\":2,\"digest\":\"sha256:" HEX_A
			      "\",\"state\":\"download\",\"done_bytes\":0,"
			      "\"total_bytes\":0}\n{\"layer\":1,"));
	assert_non_null(strstr(s.buf, "\"done\",\"done_bytes\":5"));
	msb_str_done(&s);
	ctl_ring_read(&first->ring, &rd, 0, 4096, &s);
	assert_non_null(strstr(
		s.buf, "{\"end\":\"error\",\"errno\":\"EIO\",\"msg\":\"it \\\"broke\\\"\"}\n"));
	/* Many: those under way stay, and the last that have ended. */
	assert_int_equal(ctl_pull_new(&q, "push", "r.lan/a:1", &running, NULL), 0);
	for (int i = 0; i < CTL_MAX_PULLS + 3; i++) {
		assert_int_equal(ctl_pull_new(&q, "import", "r.lan/a:1", &p, NULL), 0);
		ctl_pull_end(p, 0, HEX_A, NULL);
	}
	assert_null(ctl_pull_find(c, 1));
	assert_ptr_equal(ctl_pull_find(c, 2), running);
	assert_int_equal(c->npulls, CTL_MAX_PULLS + 1);
	assert_int_equal(ctl_at_id(c, 1, &root), 0);
	assert_int_equal(ctl_at_child(&root, "images", &images), 0);
	assert_int_equal(ctl_at_child(&images, "pulls", &dir_at), 0);
	ctl_at_list(&dir_at, count, &n);
	assert_int_equal(n, CTL_MAX_PULLS + 1);
	assert_int_equal(ctl_at_child(&dir_at, "02", &images), -ENOENT);
	assert_int_equal(ctl_at_child(&dir_at, "2", &images), 0);
	ctl_pull_end(running, 0, HEX_A, NULL);
	ctl_pull_unref(first);
	pthread_mutex_unlock(&c->lock);
	forget(c);
}

/* Beside a call that adds, nothing is collected, and nobody waits for that. */
static void gc_is_put_off(void **state)
{
	struct ctl *c = open_in("gc");
	const struct ctl_req q = {.c = c};
	struct ctl_pull *p;

	pthread_mutex_lock(&c->lock);
	assert_int_equal(ctl_pull_new(&q, "import", "r.lan/a:1", &p, NULL), 0);
	pthread_mutex_unlock(&c->lock);
	assert_int_equal(ctl_gc(&q, false, NULL), 0); /* there is no msb-image to start */
	assert_true(c->gc_due && !c->prune_due);
	assert_int_equal(ctl_gc(&q, true, NULL), 0);
	assert_true(c->prune_due);
	pthread_mutex_lock(&c->lock);
	ctl_pull_end(p, 0, HEX_A, NULL);
	while (c->collecting)
		pthread_cond_wait(&c->changed, &c->lock);
	assert_false(c->gc_due || c->prune_due);
	pthread_mutex_unlock(&c->lock);
	assert_true(ctl_gc(&q, false, NULL) < 0);
	forget(c);
}

/* PATHs are the requester's: what that user may not read or write, msbd does not. */
static void opened_as(void **state)
{
	struct ctl *c = open_in("as");
	const struct ctl_req me = {.c = c, .uid = c->uid, .gid = c->gid},
			     other = {.c = c, .uid = 65534, .gid = 65534};
	char path[700], text[8] = "";
	struct ctl_target t;
	struct stat st;
	int fd;

	assert_int_equal(bin_beside("msb-open", c->paths.bin, sizeof(c->paths.bin)), 0);
	(void)snprintf(path, sizeof(path), "%s/as/file", dir);
	assert_int_equal(ctl_open_source(&me, "file", NULL), -EINVAL);
	assert_int_equal(ctl_open_source(&me, path, NULL), -ENOENT);
	/* No name until it is whole; and in place of what has it. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ctl_target_open(&me, path, &t, NULL), 0);
		assert_int_equal(msb_write_full(t.fd, i ? "two" : "one", 3), 0);
		assert_int_equal(access(path, F_OK), i ? 0 : -1);
		assert_int_equal(ctl_target_done(&me, &t, NULL), 0);
		ctl_target_close(&t);
		fd = ctl_open_source(&me, path, NULL);
		assert_true(fd >= 0);
		assert_int_equal(msb_pread_full(fd, text, 7, 0), 3);
		close(fd);
		assert_string_equal(text, i ? "two" : "one");
	}
	assert_int_equal(ctl_target_open(&me, path, &t, NULL), 0);
	ctl_target_close(&t); /* given up: the old one stays */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(ctl_target_open(&me, dir, &t, NULL), -EISDIR);
	if (c->uid == 0) {
		assert_int_equal(chmod(path, 0600), 0);
		assert_int_equal(ctl_open_source(&other, path, NULL), -EACCES);
		assert_int_equal(ctl_target_open(&other, path, &t, NULL), -EACCES);
		(void)snprintf(path, sizeof(path), "%s/open", dir);
		assert_int_equal(mkdir(path, 0777), 0);
		assert_int_equal(chmod(path, 0777), 0);
		assert_int_equal(chmod(dir, 0711), 0);
		(void)snprintf(path, sizeof(path), "%s/open/theirs", dir);
		assert_int_equal(ctl_target_open(&other, path, &t, NULL), 0);
		assert_int_equal(ctl_target_done(&other, &t, NULL), 0);
		ctl_target_close(&t);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_uid, 65534);
	}
	/* msbd's own threads are who they were. */
	assert_int_equal(ctl_target_open(&me, path, &t, NULL), 0);
	ctl_target_close(&t);
	forget(c);
}

/* A user's msb-open that this user holds up: it is waited for until msbd ends, and gone then. */
static void held_up(void **state)
{
	struct ctl *c = open_in("held");
	struct img_open o = {.log_fd = -1, .uid = c->uid, .gid = c->gid, .cancel_fd = c->stop_fd};
	static const char script[] = "#!/bin/sh\nkill -STOP $$\n";
	struct msb_err e = {0};
	struct msb_user user;
	char path[700], bin[600];

	(void)snprintf(bin, sizeof(bin), "%s/held", dir);
	o.bin_dir = bin;
	(void)snprintf(path, sizeof(path), "%s/msb-open", bin);
	assert_int_equal(
		msb_write_file_atomic(AT_FDCWD, path, script, sizeof(script) - 1, 0700), 0);
	assert_int_equal(eventfd_write(c->stop_fd, 1), 0);
	assert_int_equal(img_open_user(&o, &user, &e), -EINTR);
	assert_string_equal(e.msg, "msbd is ending");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* killed, and reaped */
	forget(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meanings),
		cmocka_unit_test(directories),
		cmocka_unit_test(directories_have_a_limit),
		cmocka_unit_test(moved),
		cmocka_unit_test(pins),
		cmocka_unit_test(migrates),
		cmocka_unit_test(registries),
		cmocka_unit_test(logins),
		cmocka_unit_test(pulls),
		cmocka_unit_test(gc_is_put_off),
		cmocka_unit_test(opened_as),
		cmocka_unit_test(held_up),
	};

	return cmocka_run_group_tests_name("ctl_images", tests, fixture_setup, fixture_teardown);
}
