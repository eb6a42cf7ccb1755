// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs through the FUSE server: the same as on a local disk, over every backend that keeps
// them; refused where the kernel does not mind them.
#include "tests/unit/acl_text.h"
#include "tests/unit/stack_fixture.h"

#include "fs/fuse_priv.h"
#include "fs/fuse_state.h"
#include "fs/mux.h"

#include <sys/mman.h>
#include <sys/xattr.h>

#define NAMED "u::rwx,u:1000:r-x,g::r-x,g:50:rw-,m::rwx,o::r--"
#define PLAIN "u::rw-,g::r--,o::---"

static const struct fsb_start none = FSB_START_NONE;

/* INIT as by a kernel that offers all but @not. */
static void init_without(uint32_t not )
{
	const struct fuse_init_in in = {
		.major = 7, .minor = 38, .max_readahead = 1u << 20, .flags = ~not };

	req_start(&q, FUSE_INIT, 0);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
}

static int set_bytes(uint64_t node, const char *name, const void *p, size_t n, uint32_t kill)
{
	const struct fuse_setxattr_in in = {.size = (uint32_t)n, .setxattr_flags = kill};

	if (!(q.s->init_flags & FUSE_SETXATTR_EXT))
		return req_setxattr(&q, node, name, p, n);
	req_start(&q, FUSE_SETXATTR, node);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	req_add(&q, p, n);
	return req_run(&q);
}

static int set(uint64_t node, const char *name, const char *acl)
{
	struct acl_bytes b;

	acl_from_text(acl, &b);
	return set_bytes(node, name, b.p, b.n, 0);
}

/* As a kernel asks. The text, or "" where there is none. */
static const char *get(uint64_t node, const char *name)
{
	static char text[2][4096];
	static int turn;
	const struct fuse_getxattr_in in = {.size = 4096};
	int r;

	turn = !turn;
	req_start(&q, FUSE_GETXATTR, node);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	r = req_run(&q);
	if (r == -ENODATA)
		return "";
	assert_int_equal(r, 0);
	return acl_to_text(q.out + 16, q.out_bytes, text[turn]);
}

static int drop(uint64_t node, const char *name)
{
	return req_name(&q, FUSE_REMOVEXATTR, node, name);
}

static bool lists(uint64_t node, const char *name)
{
	const struct fuse_getxattr_in in = {.size = 4096};

	req_start(&q, FUSE_LISTXATTR, node);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	return memmem(q.out + 16, q.out_bytes, name, strlen(name) + 1);
}

static uint32_t mode(uint64_t node)
{
	assert_int_equal(req_getattr(&q, node), 0);
	return REQ_REPLY(&q, struct fuse_attr_out)->attr.mode & 07777;
}

static int chmod_to(uint64_t node, uint32_t m)
{
	const struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = m};

	return req_setattr(&q, node, &in);
}

static int chown_to(uint64_t node, uint32_t uid, uint32_t gid)
{
	const struct fuse_setattr_in in = {.valid = FATTR_UID | FATTR_GID, .uid = uid, .gid = gid};

	return req_setattr(&q, node, &in);
}

/* All made with umask 022 (fusereq.h), and nobody's but root's. */
static uint64_t file(uint64_t dir, const char *name, uint32_t m)
{
	assert_int_equal(req_create(&q, dir, name, O_RDWR, S_IFREG | m), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t subdir(uint64_t dir, const char *name, uint32_t m)
{
	assert_int_equal(req_mkdir(&q, dir, name, m), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t nod(uint64_t dir, const char *name, uint32_t m)
{
	const struct fuse_mknod_in in = {.mode = m, .rdev = 0x103, .umask = 022};

	req_start(&q, FUSE_MKNOD, dir);
	req_add(&q, &in, sizeof(in));
	req_str(&q, name);
	assert_int_equal(req_run(&q), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t nameless(uint64_t dir, uint32_t m)
{
	const struct fuse_create_in in = {.flags = O_RDWR, .mode = S_IFREG | m, .umask = 022};

	req_start(&q, FUSE_TMPFILE, dir);
	req_add(&q, &in, sizeof(in));
	req_str(&q, "");
	assert_int_equal(req_run(&q), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static uint64_t link_to(uint64_t dir, const char *name)
{
	req_start(&q, FUSE_SYMLINK, dir);
	req_str(&q, name);
	req_str(&q, "nowhere");
	assert_int_equal(req_run(&q), 0);
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

/* ---- on any backend */

static void access_acls(uint64_t top_dir)
{
	uint64_t f = file(top_dir, "f", 0666), d = subdir(top_dir, "d", 0755);
	uint64_t l = link_to(top_dir, "l");

	assert_string_equal(get(f, ACL_ACCESS), "");
	assert_false(lists(f, ACL_ACCESS));
	assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
	assert_string_equal(get(f, ACL_ACCESS), NAMED);
	assert_int_equal(mode(f), 0774);
	assert_true(lists(f, ACL_ACCESS));
	/* chmod(2) changes it, and it changes the mode. */
	assert_int_equal(chmod_to(f, 0651), 0);
	assert_string_equal(get(f, ACL_ACCESS), "u::rw-,u:1000:r-x,g::r-x,g:50:rw-,m::r-x,o::--x");
	assert_int_equal(set(f, ACL_ACCESS, "u::r--,g::rwx,m::r--,o::---"), 0);
	assert_int_equal(mode(f), 0440);
	/* What is no more than a mode is one. */
	assert_int_equal(set(f, ACL_ACCESS, PLAIN), 0);
	assert_int_equal(mode(f), 0640);
	assert_string_equal(get(f, ACL_ACCESS), "");
	assert_int_equal(drop(f, ACL_ACCESS), 0);
	/* Taken away, it leaves its mode. */
	assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
	assert_int_equal(drop(f, ACL_ACCESS), 0);
	assert_int_equal(mode(f), 0774);
	assert_string_equal(get(f, ACL_ACCESS), "");
	/* Refused, nothing changes. */
	assert_int_equal(set(f, ACL_ACCESS, "u::rwx,u:1000:r-x,g::r-x,o::r--"), -EINVAL);
	assert_int_equal(set_bytes(f, ACL_ACCESS, "", 0, 0), -EINVAL);
	assert_int_equal(set(f, ACL_DEFAULT, NAMED), -EACCES);
	assert_int_equal(set(l, ACL_ACCESS, NAMED), -EOPNOTSUPP);
	assert_int_equal(mode(f), 0774);
	/* A directory has both, each for itself. */
	assert_int_equal(set(d, ACL_DEFAULT, NAMED), 0);
	assert_int_equal(mode(d), 0755);
	assert_int_equal(set(d, ACL_ACCESS, "u::rwx,u:7:rwx,g::---,m::rwx,o::---"), 0);
	assert_string_equal(get(d, ACL_DEFAULT), NAMED);
	assert_int_equal(mode(d), 0770);
	assert_true(lists(d, ACL_ACCESS) && lists(d, ACL_DEFAULT));
	assert_int_equal(set(d, ACL_DEFAULT, PLAIN), 0);
	assert_string_equal(get(d, ACL_DEFAULT), PLAIN);
	assert_int_equal(drop(d, ACL_DEFAULT), 0);
	assert_int_equal(drop(d, ACL_DEFAULT), 0);
	assert_string_equal(get(d, ACL_ACCESS), "u::rwx,u:7:rwx,g::---,m::rwx,o::---");
}

/* Set-gid stays for who may have it, and goes for others. */
static void set_gid(uint64_t top_dir)
{
	uint64_t f = file(top_dir, "sf", 0755), d = subdir(top_dir, "sd", 0755);
	const uint64_t both[] = {f, d};

	for (int i = 0; i < 2; i++) {
		struct acl_bytes b;

		assert_int_equal(chown_to(both[i], 1000, 1000), 0);
		assert_int_equal(chmod_to(both[i], 02755), 0);
		acl_from_text(NAMED, &b);
		if (both[i] == d) { /* which leaves the mode alone, whatever the kernel asks for */
			assert_int_equal(
				set_bytes(d, ACL_DEFAULT, b.p, b.n, FUSE_SETXATTR_ACL_KILL_SGID),
				0);
			assert_int_equal(mode(d), 02755);
		}
		assert_int_equal(set_bytes(both[i], ACL_ACCESS, b.p, b.n, 0), 0);
		assert_int_equal(mode(both[i]), 02774);
		assert_int_equal(
			set_bytes(both[i], ACL_ACCESS, b.p, b.n, FUSE_SETXATTR_ACL_KILL_SGID), 0);
		assert_int_equal(mode(both[i]), 0774);
		assert_string_equal(get(both[i], ACL_ACCESS), NAMED);
	}
}

static void inheritance(uint64_t top_dir)
{
	static const char born[] = "u::rw-,u:1000:r-x,g::r-x,g:50:rw-,m::rw-,o::r--";
	uint64_t d = subdir(top_dir, "heirs", 0755), sub, x;

	/* The umask counts where there is no default ACL, and nowhere else. */
	x = file(d, "before", 0666);
	assert_int_equal(mode(x), 0644);
	assert_int_equal(set(d, ACL_DEFAULT, NAMED), 0);
	x = file(d, "f", 0666);
	assert_int_equal(mode(x), 0664);
	assert_string_equal(get(x, ACL_ACCESS), born);
	assert_false(lists(x, ACL_DEFAULT));
	x = nameless(d, 0666);
	assert_int_equal(mode(x), 0664);
	assert_string_equal(get(x, ACL_ACCESS), born);
	x = nod(d, "reg", S_IFREG | 0600);
	assert_int_equal(mode(x), 0600);
	assert_string_equal(get(x, ACL_ACCESS), "u::rw-,u:1000:r-x,g::r-x,g:50:rw-,m::---,o::---");
	x = nod(d, "fifo", S_IFIFO | 0666);
	assert_int_equal(mode(x), 0664);
	assert_string_equal(get(x, ACL_ACCESS), born);
	x = nod(d, "dev", S_IFCHR | 0666);
	assert_int_equal(mode(x), 0664);
	assert_string_equal(get(x, ACL_ACCESS), born);
	assert_int_equal(set(x, ACL_ACCESS, "u::rw-,u:3:---,g::rw-,m::r--,o::---"), 0);
	assert_int_equal(mode(x), 0640);
	x = link_to(d, "l");
	assert_int_equal(mode(x), 0777);
	assert_string_equal(get(x, ACL_ACCESS), "");
	sub = subdir(d, "sub", 0777);
	assert_int_equal(mode(sub), 0774);
	assert_string_equal(get(sub, ACL_ACCESS), NAMED);
	assert_string_equal(get(sub, ACL_DEFAULT), NAMED);
	x = file(sub, "f", 0666);
	assert_string_equal(get(x, ACL_ACCESS), born);
	/* One that a mode could say is inherited as a mode. */
	assert_int_equal(set(d, ACL_DEFAULT, PLAIN), 0);
	x = file(d, "plain", 0666);
	assert_int_equal(mode(x), 0640);
	assert_string_equal(get(x, ACL_ACCESS), "");
	assert_int_equal(drop(d, ACL_DEFAULT), 0);
	x = file(d, "after", 0666);
	assert_int_equal(mode(x), 0644);
	/* A set-gid directory hands on its group all the same. */
	assert_int_equal(set(d, ACL_DEFAULT, NAMED), 0);
	assert_int_equal(chmod_to(d, 02755), 0);
	sub = subdir(d, "sgid", 0777);
	assert_int_equal(mode(sub), 02774);
	assert_string_equal(get(sub, ACL_DEFAULT), NAMED);
}

/* Nothing of it depends on what is remembered of a file. */
static void as_ever(uint64_t top_dir)
{
	uint64_t f = req_lookup(&q, top_dir, "kept");

	if (!f) {
		f = file(top_dir, "kept", 0644);
		assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
		f = subdir(top_dir, "kept-dir", 0755);
		assert_int_equal(set(f, ACL_DEFAULT, NAMED), 0);
		return;
	}
	assert_string_equal(get(f, ACL_ACCESS), NAMED);
	assert_int_equal(mode(f), 0774);
	f = req_lookup(&q, top_dir, "kept-dir");
	assert_string_equal(get(f, ACL_DEFAULT), NAMED);
	f = file(f, "new", 0666);
	assert_int_equal(mode(f), 0664);
}

/* The same mount without the option: what is kept stays, and means nothing. */
static void without_it(const char *backend, const char *options)
{
	uint64_t d, f;

	mount_as(backend, options, &none);
	d = req_lookup(&q, FSB_ROOT, "kept-dir");
	assert_int_not_equal(d, 0);
	f = file(d, "without", 0666);
	assert_int_equal(mode(f), 0644);
	unmount();
}

static void all_of_it(const char *backend, const char *options)
{
	(void)umask(0);
	mount_as(backend, options, &none);
	assert_true(q.s->init_flags & FUSE_POSIX_ACL);
	access_acls(FSB_ROOT);
	set_gid(FSB_ROOT);
	inheritance(FSB_ROOT);
	as_ever(FSB_ROOT);
	if (!strcmp(backend, "memory")) {
		fs.b->acls = false;
		assert_int_equal(mode(file(req_lookup(&q, FSB_ROOT, "kept-dir"), "w", 0666)), 0644);
	} else {
		unmount();
		mount_as(backend, options, &none);
		as_ever(FSB_ROOT);
	}
	unmount();
}

static void memory(void **state)
{
	all_of_it("memory", "acl");
}

static void overlay(void **state)
{
	all_of_it("overlay", "acl");
	without_it("overlay", "");
}

static void maproot(void **state)
{
	all_of_it("passthrough", "map=root,acl");
	without_it("passthrough", "map=root");
}

static void passthrough(void **state)
{
	if (geteuid() != 0) /* cannot give files away */
		skip();
	all_of_it("passthrough", "map=none,acl");
}

static void through_wrappers(void **state)
{
	all_of_it("overlay", "acl,quota_bytes=1G,error=read:EIO:0.5,delay=fsync:1ms,deny=/x");
}

/* The host's own ACL is the guest's, both ways, and within a second. */
static void the_hosts(void **state)
{
	struct acl_bytes b;
	char text[4096];
	uint64_t f, d;
	ssize_t n;

	if (geteuid() != 0)
		skip();
	(void)umask(0);
	mount_as("passthrough", "map=none,acl", &none);
	acl_from_text(NAMED, &b);
	f = file(FSB_ROOT, "f", 0644);
	d = subdir(FSB_ROOT, "d", 0755);
	(void)snprintf(text, sizeof(text), "%s/f", top);
	assert_int_equal(setxattr(text, ACL_ACCESS, b.p, b.n, 0), 0);
	assert_string_equal(get(f, ACL_ACCESS), NAMED);
	assert_int_equal(mode(f), 0774);
	assert_int_equal(set(f, ACL_ACCESS, "u::rwx,u:3:r--,g::---,m::r--,o::---"), 0);
	n = getxattr(text, ACL_ACCESS, b.p, sizeof(b.p));
	assert_true(n > 0);
	assert_string_equal(
		acl_to_text(b.p, (size_t)n, text), "u::rwx,u:3:r--,g::---,m::r--,o::---");
	f = file(d, "before", 0666);
	assert_int_equal(mode(f), 0644);
	acl_from_text(NAMED, &b);
	(void)snprintf(text, sizeof(text), "%s/d", top);
	assert_int_equal(setxattr(text, ACL_DEFAULT, b.p, b.n, 0), 0);
	for (int i = 0; i < 100; i++) { /* at most so long is it believed that there is none */
		(void)snprintf(text, sizeof(text), "f%d", i);
		f = file(d, text, 0666);
		if (mode(f) == 0664)
			break;
		usleep(50000);
	}
	assert_int_equal(mode(f), 0664);
	assert_string_equal(get(f, ACL_ACCESS), "u::rw-,u:1000:r-x,g::r-x,g:50:rw-,m::rw-,o::r--");
	unmount();
}

/* With map=root the host's are its own business, and the guest's its. */
static void not_the_hosts(void **state)
{
	struct acl_bytes b;
	char path[4096];
	uint64_t f;

	(void)umask(0);
	mount_as("passthrough", "map=root,acl", &none);
	f = file(FSB_ROOT, "f", 0644);
	acl_from_text("u::rw-,u:1:r--,g::r--,m::r--,o::r--", &b);
	(void)snprintf(path, sizeof(path), "%s/f", top);
	assert_int_equal(setxattr(path, ACL_ACCESS, b.p, b.n, 0), 0);
	assert_string_equal(get(f, ACL_ACCESS), "");
	assert_false(lists(f, ACL_ACCESS));
	assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
	assert_string_equal(get(f, ACL_ACCESS), NAMED);
	unmount();
}

/* Of several mounts in one session only those that ask for ACLs have them; to a kernel that minds
 * them, the others' files have none. */
static void of_several_mounts(void **state)
{
	struct fsb_start from = FSB_START_NONE;
	uint64_t with, without, f;
	struct fsb *mux, *child;

	assert_int_equal(mux_new(&mux), 0);
	assert_false(mux->acls);
	for (int i = 0; i < 2; i++) {
		const char *options = i ? "acl" : "";

		assert_int_equal(
			fsb_options_parse("memory", options, strlen(options), &o, NULL), 0);
		from.options = &o;
		assert_int_equal(fsb_stack_start("memory", &from, &child, NULL), 0);
		assert_int_equal(mux_add(mux, i ? "with" : "without", child), 0);
		assert_int_equal(mux->acls, i);
	}
	fsd_fs_init(&fs, mux);
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	assert_int_equal(req_init(&q), 0);
	assert_false(fsd_session_acls_off(q.s));
	with = req_lookup(&q, FSB_ROOT, "with");
	without = req_lookup(&q, FSB_ROOT, "without");
	access_acls(with);
	inheritance(with);
	f = file(without, "f", 0640);
	child = mux_find(mux, "without");
	{
		struct acl_bytes b;

		acl_from_text(NAMED, &b);
		assert_int_equal(child->ops->setxattr(child, &(struct fsb_req){0},
					 f & (FSB_MAX_ID - 1), ACL_ACCESS, b.p, b.n, 0),
			0);
	}
	assert_int_equal(mode(f), 0774);
	assert_string_equal(get(f, ACL_ACCESS), "");
	assert_false(lists(f, ACL_ACCESS));
	assert_int_equal(set(f, ACL_ACCESS, PLAIN), -EOPNOTSUPP);
	assert_int_equal(drop(f, ACL_ACCESS), -EOPNOTSUPP);
	assert_string_equal(get(FSB_ROOT, ACL_ACCESS), "");
	q.s = fsd_session_free(q.s);
	assert_int_equal(mux_remove(mux, "with"), 0);
	assert_false(mux->acls);
	fsd_fs_done(&fs);
}

/* What INIT agreed on goes with a saved state, and to who takes over from a killed server. */
static void agreed_on_once(void **state)
{
	_cleanup_close_ int saved = memfd_create("state", MFD_CLOEXEC);
	_cleanup_close_ int kept = memfd_create("kept", MFD_CLOEXEC);
	struct acl_bytes b;
	uint64_t f;

	mount_as("memory", "acl", &none);
	f = file(FSB_ROOT, "f", 0644);
	assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
	assert_int_equal(fsd_session_save(q.s, saved), 0);
	unmount();
	mount_as("memory", "acl", &none);
	fsd_session_reset(q.s);
	assert_int_equal(lseek(saved, 0, SEEK_SET), 0);
	assert_int_equal(fsd_session_load(q.s, saved), 0);
	assert_string_equal(get(f, ACL_ACCESS), NAMED);
	acl_from_text("u::rw-,u:1:rwx,g::r--,m::rwx,o::---", &b);
	assert_int_equal(set_bytes(f, ACL_ACCESS, b.p, b.n, FUSE_SETXATTR_ACL_KILL_SGID), 0);
	assert_int_equal(mode(f), 0670);
	unmount();

	mount_as("overlay", "acl", &none);
	fsd_session_reset(q.s);
	assert_int_equal(fsd_session_keep(q.s, kept), 0);
	assert_int_equal(req_init(&q), 0);
	f = file(FSB_ROOT, "f", 0644);
	fsd_session_commit(q.s);
	assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
	{
		/* The next server, as if this one had been killed. */
		struct fsd_session *old = q.s;

		q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
		assert_int_equal(fsd_session_keep(q.s, kept), 0);
		assert_true(q.s->init_flags & FUSE_POSIX_ACL);
		assert_string_equal(get(f, ACL_ACCESS), NAMED);
		assert_int_equal(set(f, ACL_ACCESS, PLAIN), 0);
		assert_int_equal(mode(f), 0640);
		q.s = fsd_session_free(q.s);
		q.s = old;
	}
	unmount();
}

static void limits(void **state)
{
	static uint8_t more[ACL_MAX_BYTES + ACL_ENTRY_BYTES];
	struct acl_bytes b;
	uint64_t f;

	mount_as("memory", "acl", &none);
	f = file(FSB_ROOT, "f", 0644);
	acl_from_text("u::rwx,u:1000:r-x,g::r-x,m::rwx,o::r--", &b);
	memcpy(more, b.p, 12);
	for (size_t at = 12; at < sizeof(more); at += ACL_ENTRY_BYTES)
		memcpy(more + at, b.p + 12, ACL_ENTRY_BYTES);
	memcpy(more + sizeof(more) - 24, b.p + 20, 24);
	assert_int_equal(set_bytes(f, ACL_ACCESS, more, sizeof(more), 0), -E2BIG);
	memcpy(more + ACL_MAX_BYTES - 24, b.p + 20, 24);
	assert_int_equal(set_bytes(f, ACL_ACCESS, more, ACL_MAX_BYTES, 0), 0);
	assert_true(strlen(get(f, ACL_ACCESS)) > 3000);
	unmount();
}

/* What is kept and no ACL, as an image or a host's user may bring it, is none. */
static void unsound_ones_are_none(void **state)
{
	char path[128], kept[8];
	uint64_t f;

	(void)umask(0);
	mount_as("passthrough", "map=root,acl", &none);
	f = file(FSB_ROOT, "f", 0664);
	(void)snprintf(path, sizeof(path), "%s/f", top);
	assert_int_equal(setxattr(path, "user.msb.x." ACL_ACCESS, "acl", 3, 0), 0);
	assert_int_equal(fs.b->ops->getxattr(fs.b, f, ACL_ACCESS, kept, sizeof(kept)), 3);
	assert_string_equal(get(f, ACL_ACCESS), "");
	assert_int_equal(mode(f), 0644);
	unmount();
}

/* A kernel that does not offer both, a view that is its user's own, a mount that asks for none. */
static void refused_unless_agreed(void **state)
{
	static const uint32_t not [] = {FUSE_POSIX_ACL, FUSE_SETXATTR_EXT};
	struct acl_bytes b;
	uint64_t f;

	acl_from_text(NAMED, &b);
	for (int i = 0; i < 4; i++) {
		mount_as("memory", "acl", &none);
		f = file(FSB_ROOT, "f", 0644);
		assert_int_equal(set(f, ACL_ACCESS, NAMED), 0);
		if (i < 2) {
			init_without(not [i]);
		} else {
			q.s = fsd_session_free(q.s);
			q.s = fsd_session_new(&fs, &fuse_profile_view_owner, false);
			assert_int_equal(req_init(&q), 0);
		}
		assert_false(q.s->init_flags & (FUSE_POSIX_ACL | FUSE_SETXATTR_EXT));
		f = req_lookup(&q, FSB_ROOT, "f");
		assert_int_equal(set_bytes(f, ACL_ACCESS, b.p, b.n, 0), -EOPNOTSUPP);
		assert_int_equal(set_bytes(f, ACL_DEFAULT, b.p, b.n, 0), -EOPNOTSUPP);
		assert_int_equal(drop(f, ACL_ACCESS), -EOPNOTSUPP);
		req_start(&q, FUSE_GETXATTR, f);
		req_add(&q, &(struct fuse_getxattr_in){.size = 4096}, 8);
		req_str(&q, ACL_ACCESS);
		assert_int_equal(req_run(&q), -EOPNOTSUPP);
		assert_int_equal(set_bytes(f, "user.a", "1", 1, 0), 0);
		assert_false(lists(f, ACL_ACCESS));
		assert_true(lists(f, "user.a"));
		/* It counts all the same: chmod(2) changes it. */
		assert_int_equal(chmod_to(f, 0700), 0);
		unmount();
	}
}

/* The longer SETXATTR and its name's end. */
static void requests_are_checked(void **state)
{
	const struct fuse_setxattr_in in = {.size = 1};
	uint64_t f;

	mount_as("memory", "acl", &none);
	f = file(FSB_ROOT, "f", 0644);
	for (size_t n = 0; n <= sizeof(in) + 6; n++) {
		req_start(&q, FUSE_SETXATTR, f);
		req_add(&q, &in, n < sizeof(in) ? n : sizeof(in));
		if (n > sizeof(in))
			req_add(&q, "user.a", n - sizeof(in));
		assert_int_equal(req_run(&q), -EINVAL);
	}
	assert_int_equal(set_bytes(f, "user.a", "1", 1, 0), 0);
	/* That flag is of ACLs, and only in its own place. */
	assert_int_equal(set_bytes(f, "user.a", "1", 1, FUSE_SETXATTR_ACL_KILL_SGID), 0);
	req_start(&q, FUSE_SETXATTR, f);
	req_add(&q, &(struct fuse_setxattr_in){.size = 1, .flags = FSB_XATTR_KILL_SGID}, 16);
	req_str(&q, "user.a");
	req_add(&q, "1", 1);
	assert_int_equal(req_run(&q), -EINVAL);
	unmount();
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static int setup(void **state)
{
	return setup_dir();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(memory),
		T(overlay),
		T(maproot),
		T(passthrough),
		T(through_wrappers),
		T(the_hosts),
		T(not_the_hosts),
		T(of_several_mounts),
		T(agreed_on_once),
		T(limits),
		T(unsound_ones_are_none),
		T(refused_unless_agreed),
		T(requests_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
