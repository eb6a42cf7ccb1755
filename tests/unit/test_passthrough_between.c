// SPDX-License-Identifier: Apache-2.0
// passthrough: what takes two calls of the host, looked at between them.
#include "tests/unit/passthrough_fixture.h"

#include <sys/syscall.h>

/* In place of libc's. What runs first of all in the next one; and an error of its own. */
static void (*before_chmod)(void), (*before_chown)(void), (*before_removal)(void);
static int chown_error;
static uint64_t node;

static void once(void (**fn)(void))
{
	void (*run)(void) = *fn;

	*fn = NULL;
	if (run)
		run();
}

int fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
	once(&before_chmod);
	return (int)syscall(SYS_fchmodat, dirfd, path, mode);
}

int fchownat(int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
	bool asked = before_chown != NULL;

	once(&before_chown);
	if (asked && chown_error) {
		errno = chown_error;
		return -1;
	}
	return (int)syscall(SYS_fchownat, dirfd, path, uid, gid, flags);
}

int fremovexattr(int fd, const char *name)
{
	once(&before_removal);
	return (int)syscall(SYS_fremovexattr, fd, name);
}

/* ---- the guest's changes of the file while it is claimed */

static struct fusereq other; /* another thread's */
static bool tried, done;

static void chmod_now(void)
{
	assert_int_equal(req_setattr(&other, node,
				 &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0640}),
		0);
	done = true;
}

/* Another thread's chmod() gets this far only where nobody holds the lock. */
static void chmod_if_free(void)
{
	pthread_mutex_t *lock;
	struct pt_ref r;

	tried = true;
	assert_int_equal(pt_get(&pt_of(fs.b)->nodes, node, PT_NODE, &r), 0);
	lock = pt_change_lock(pt_of(fs.b), r.node);
	pt_put(&pt_of(fs.b)->nodes, &r);
	if (pthread_mutex_trylock(lock) != 0)
		return;
	pthread_mutex_unlock(lock);
	chmod_now();
}

static void claimed_beside_chmod(void **state)
{
	assert_int_equal(msb_write_file_atomic(host, "f", "secret", 6, 0), 0);
	node = req_lookup(&q, 1, "f");
	other = (struct fusereq){.s = q.s, .w = calloc(1, sizeof(*other.w))};
	tried = done = false;
	before_chmod = chmod_if_free;
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 10), 0);
	assert_true(tried);
	if (!done)
		chmod_now();
	free(other.w);
	assert_int_equal(req_getattr(&q, node), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.mode, S_IFREG | 0640);
	/* By who cuts it off as well, who holds the lock already. */
	assert_int_equal(msb_write_file_atomic(host, "g", "secret", 6, 0), 0);
	node = req_lookup(&q, 1, "g");
	assert_int_equal(
		req_setattr(&q, node, &(struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 3}),
		0);
}

/* ---- a default ACL that goes */

static void look_at_lock(void)
{
	struct pt_ref r;

	tried = true;
	assert_int_equal(pt_get(&pt_of(fs.b)->nodes, node, PT_NODE, &r), 0);
	assert_int_equal(pthread_mutex_trylock(pt_change_lock(pt_of(fs.b), r.node)), EBUSY);
	pt_put(&pt_of(fs.b)->nodes, &r);
}

static void an_acl_goes_alone(void **state)
{
	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	tried = false;
	before_removal = look_at_lock;
	assert_int_equal(pt_acl_remove(pt_of(fs.b), node, ACL_DEFAULT), -ENODATA);
	assert_true(tried);
}

/* ---- set-id bits and their owner */

static char meta[PT_MAX_META];

static void look_at_meta(void)
{
	ssize_t n;
	int fd = openat(host, "f", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	n = fgetxattr(fd, PT_XATTR_META, meta, sizeof(meta) - 1);
	close(fd);
	meta[n < 0 ? 0 : n] = '\0';
}

static uint32_t mode_now(void)
{
	assert_int_equal(req_getattr(&q, node), 0);
	return REQ_REPLY(&q, struct fuse_attr_out)->attr.mode & 07777;
}

static void no_owner_gets_anothers_setid(void **state)
{
	struct fuse_setattr_in give = {
		.valid = FATTR_UID | FATTR_GID, .uid = getuid(), .gid = getgid()};
	uint64_t fh;

	node = make("f", &fh);
	assert_int_equal(req_setattr(&q, node,
				 &(struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 06755}),
		0);
	look_at_meta();
	assert_string_not_equal(meta, "");

	/* It is refused, and nothing has changed. */
	before_chown = look_at_meta;
	chown_error = EPERM;
	assert_int_equal(req_setattr(&q, node, &give), -EPERM);
	assert_string_equal(meta, "");
	assert_int_equal(mode_now(), 06755);

	memset(meta, 'x', 1);
	before_chown = look_at_meta;
	chown_error = 0;
	assert_int_equal(req_setattr(&q, node, &give), 0);
	assert_string_equal(meta, "");
	assert_int_equal(mode_now(), 0755);

	/* Said in one breath, they are the new owner's. */
	give.valid |= FATTR_MODE;
	give.mode = 04711;
	assert_int_equal(req_setattr(&q, node, &give), 0);
	assert_int_equal(mode_now(), 04711);
}

int main(void)
{
	const struct CMUnitTest mapped[] = {
		cmocka_unit_test_setup_teardown(claimed_beside_chmod, setup, teardown),
		cmocka_unit_test_setup_teardown(an_acl_goes_alone, setup, teardown),
	};
	const struct CMUnitTest plain[] = {
		cmocka_unit_test_setup_teardown(no_owner_gets_anothers_setid, setup, teardown),
	};
	int failed = cmocka_run_group_tests_name("passthrough_between", plain, NULL, NULL);

	map = FSB_MAP_ROOT;
	as_uid = 4321; /* where root runs this, an ordinary user serves too */
	return failed + cmocka_run_group_tests_name("passthrough_between_map", mapped, NULL, NULL);
}
