// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: plugins that lie, and what they can make grow.
#include "tests/unit/plugin_fixture.h"
#include "fs/backends/passthrough/pt.h"

#include <sys/socket.h>

/* Answers that nobody asked for, and each answer twice. */
static bool twice(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode == FUSE_INIT || h->opcode == FUSE_FORGET)
		return false;
	(void)msb_plugin_reply(&x->p, h->unique + 1000, 0, data, 5000);
	fake_serve(x, h);
	fake_serve(x, h);
	return true;
}

static void unasked_answers(void **state)
{
	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = twice;
	start_over(NULL);
	for (int i = 0; i < 50; i++)
		assert_int_not_equal(req_lookup(&q, 1, "a"), 0);
	assert_true(status().ready);
}

static uint8_t lie[8192];
static size_t lie_bytes;
static uint32_t lie_to;

static bool tell(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	struct fuse_out_header *o = (struct fuse_out_header *)(void *)lie;
	const struct iovec v = {lie, lie_bytes};

	if (h->opcode != lie_to)
		return false;
	if (o->unique == 1)
		o->unique = h->unique;
	(void)msb_plugin_send(&x->p, &v, 1, -1);
	return true;
}

/* @broken: whether it costs the connection. */
static void lied(uint32_t opcode, uint32_t len, int32_t error, uint64_t unique, const void *p,
	size_t n, int expect, bool broken)
{
	const struct fuse_out_header o = {
		.len = len ?: (uint32_t)(sizeof(o) + n), .error = error, .unique = unique};
	int r;

	setup(NULL);
	memcpy(lie, &o, sizeof(o));
	if (n)
		memcpy(lie + sizeof(o), p, n);
	lie_bytes = sizeof(o) + n;
	lie_to = opcode;
	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = tell;
	start_over(NULL);
	if (opcode == FUSE_LOOKUP)
		r = req_name(&q, FUSE_LOOKUP, 1, "a");
	else if (opcode == FUSE_GETATTR || opcode == FUSE_INIT)
		r = req_getattr(&q, 1);
	else if (opcode == FUSE_READDIR) {
		assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
		r = req_read(&q, opcode, 1, REQ_REPLY(&q, struct fuse_open_out)->fh, 0, 4096);
	} else {
		uint64_t a = req_lookup(&q, 1, "a"), fh = open_of(a, O_RDWR);

		r = opcode == FUSE_READ ? read_at(a, fh, 0, 100) : write_at(a, fh, 0, "x", 1);
	}
	assert_int_equal(r, expect);
	assert_int_equal(status().broken, broken);
	teardown(NULL);
}

static struct fuse_entry_out entry(uint64_t node, uint32_t mode, uint64_t size, uint32_t nsec)
{
	return (struct fuse_entry_out){
		.nodeid = node, .attr = {.mode = mode, .size = size, .mtimensec = nsec}};
}

static void lies(void **state)
{
	const struct fuse_entry_out root = entry(1, S_IFDIR | 0755, 0, 0),
				    no_type = entry(5, 0644, 0, 0),
				    huge = entry(5, S_IFREG | 0644, UINT64_MAX, 0),
				    nsec = entry(5, S_IFREG | 0644, 0, 1000000000);
	const struct fuse_init_out old = {.major = 7, .minor = 8, .max_write = 4096},
				   other = {.major = 8, .minor = 1, .max_write = 4096};
	const struct fuse_write_out more = {.size = 2};
	struct fuse_dirent slash = {.ino = 2, .off = 1, .namelen = 3, .type = 8},
			   zero = {.ino = 2, .off = 0, .namelen = 3, .type = 8},
			   empty = {.ino = 2, .off = 1, .namelen = 0, .type = 8};
	uint8_t d[32] = {0};

	lied(FUSE_LOOKUP, 0, 0, 1, &root, sizeof(root), -EIO, false);
	lied(FUSE_LOOKUP, 0, 0, 1, &no_type, sizeof(no_type), -EIO, false);
	lied(FUSE_LOOKUP, 0, 0, 1, &huge, sizeof(huge), -EIO, false);
	lied(FUSE_LOOKUP, 0, 0, 1, &nsec, sizeof(nsec), -EIO, false);
	lied(FUSE_LOOKUP, 0, -600, 1, NULL, 0, -EIO, false);
	lied(FUSE_LOOKUP, 0, -PLUGIN_PASS, 1, NULL, 0, -ENOENT, false); /* nothing is below */
	lied(FUSE_LOOKUP, 0, 0, 1, &root, 8, -EIO, true);		/* too short */
	lied(FUSE_LOOKUP, 0, 0, 1, data, 4000, -EIO, true);		/* too long */
	lied(FUSE_LOOKUP, 5, 0, 1, NULL, 0, -EIO, true);
	lied(FUSE_LOOKUP, UINT32_MAX, 0, 1, NULL, 0, -EIO, true);
	lied(FUSE_LOOKUP, 0, 5, 1, NULL, 0, -EIO, true);
	lied(FUSE_LOOKUP, 0, -1000, 1, NULL, 0, -EIO, true);
	lied(FUSE_LOOKUP, 0, -2, 1, &root, sizeof(root), -EIO, true); /* an error and a payload */
	lied(FUSE_LOOKUP, 0, 0, 0, &root, sizeof(root), -EIO, true);
	lied(FUSE_GETATTR, 0, 0, 1, &no_type, sizeof(struct fuse_attr_out), -EIO, false);
	lied(FUSE_INIT, 0, 0, 1, &old, sizeof(old), -EIO, true);
	lied(FUSE_INIT, 0, 0, 1, &other, sizeof(other), -EIO, true);
	lied(FUSE_INIT, 0, 0, 1, &old, 8, -EIO, true);
	lied(FUSE_INIT, 0, -ENOSYS, 1, NULL, 0, -EIO, true);
	lied(FUSE_INIT, 0, 0, 1, data, 1000, -EIO, true);
	lied(FUSE_WRITE, 0, 0, 1, &more, sizeof(more), -EIO, false);
	lied(FUSE_READ, 0, 0, 1, data, 101, -EIO, true);
	memcpy(d, &slash, FUSE_NAME_OFFSET);
	memcpy(d + FUSE_NAME_OFFSET, "a/b", 3);
	lied(FUSE_READDIR, 0, 0, 1, d, 32, -EIO, false);
	memcpy(d + FUSE_NAME_OFFSET, "a\0b", 3);
	lied(FUSE_READDIR, 0, 0, 1, d, 32, -EIO, false);
	memcpy(d, &zero, FUSE_NAME_OFFSET);
	memcpy(d + FUSE_NAME_OFFSET, "abc", 3);
	lied(FUSE_READDIR, 0, 0, 1, d, 32, -EIO, false);
	memcpy(d, &empty, FUSE_NAME_OFFSET);
	lied(FUSE_READDIR, 0, 0, 1, d, 32, -EIO, false);
	lied(FUSE_READDIR, 0, 0, 1, data, 5000, -EIO, true);
	/* A notification of the kernel's kind is none of ours; what follows is garbage. */
	lied(FUSE_LOOKUP, 0, 1, 0, &root, sizeof(root), -EIO, true);
}

/* What is offered as shared memory and is none: a file of its own making may never be read. */
static bool offer_a_pipe(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	struct {
		struct fuse_out_header h;
		struct msb_plugin_shm s;
	} m = {{sizeof(m), MSB_PLUGIN_NOTIFY_SHM, 0}, {1, 4096, 4096}};
	struct iovec v = {&m, sizeof(m)};
	int fd[2];

	if (h->opcode != FUSE_LOOKUP)
		return false;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	(void)msb_plugin_send(&x->p, &v, 1, fd[0]);
	close(fd[0]);
	close(fd[1]);
	return false;
}

static void shared_memory_is_memory(void **state)
{
	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = offer_a_pipe;
	start_over(NULL);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), -EIO);
	assert_true(status().broken);
}

/* It leaves a new file to what is below, and ends before it is asked about it. */
static bool end_behind_create(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode == FUSE_CREATE)
		(void)msb_plugin_reply(&x->p, h->unique, -PLUGIN_PASS, NULL, 0);
	else if (h->opcode == FUSE_LOOKUP)
		(void)shutdown(x->p.fd, SHUT_RDWR);
	return h->opcode == FUSE_CREATE || h->opcode == FUSE_LOOKUP;
}

static void ends_while_creating(void **state)
{
	struct fsb *inner = inner_dir();
	struct pt *below = pt_of(inner);

	below->stateless = false; /* as for an ordinary user: files are opened */
	f.first = end_behind_create;
	start_over(inner);
	assert_true(req_create(&q, 1, "new", O_RDWR, 0644) < 0);
	assert_true(status().broken);
	assert_true(below->handles > 0);
	for (uint64_t fh = 1; fh < below->handles; fh++)
		assert_null(pt_handle_get(below, fh));
}

/* ---- limits */

static void fake_gone(void *arg, const struct pn *n)
{
}

static struct pn_table *limited(uint32_t max)
{
	static struct pn_table t;

	assert_int_equal(pn_init(&t, max, 0, fake_gone, NULL), 0);
	return &t;
}

static void limits(void **state)
{
	struct pn_table *t = limited(PLUGIN_MAX_DEPTH + 2);
	struct pn_new k = {.pid = 100, .epoch = 1, .mode = S_IFDIR};
	struct pn *up = pn_get(t, FSB_ROOT), *n;
	char path[PLUGIN_MAX_PATH], name[256];
	uint64_t id = 0, deepest = 0;

	for (int i = 0; i < PLUGIN_MAX_DEPTH + 1; i++, k.pid++) {
		assert_int_equal(pn_enter(t, up, "d", &k, &id), 0);
		n = pn_get(t, id);
		assert_int_equal(pn_path(t, n, path), i < PLUGIN_MAX_DEPTH ? 0 : -ESTALE);
		pn_put(t, up);
		up = n;
		deepest = id;
	}
	assert_int_equal(pn_enter(t, up, "last", &k, &id), 0);
	k.pid++;
	assert_int_equal(pn_enter(t, up, "more", &k, &id), -ENFILE);
	pn_put(t, up);
	for (id = 2; id <= deepest; id++) /* the upper ones stay while something is in them */
		pn_forget(t, id, 1);
	assert_int_equal(t->live, PLUGIN_MAX_DEPTH + 2);
	pn_forget(t, deepest + 1, 1);
	assert_int_equal(t->live, 0);
	pn_done(t);

	memset(name, 'n', 255);
	name[255] = '\0';
	t = limited(100);
	up = pn_get(t, FSB_ROOT);
	for (int i = 1; i <= 16; i++, k.pid++) {
		assert_int_equal(pn_enter(t, up, name, &k, &id), 0);
		pn_put(t, up);
		up = pn_get(t, id);
		assert_int_equal(pn_path(t, up, path), i < 16 ? 0 : -ENAMETOOLONG);
	}
	pn_put(t, up);
	pn_done(t);
}

static void handles_are_limited(void **state)
{
	uint64_t fh, first = 0;
	struct plug *p;
	int r;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	start_over(NULL);
	p = plug_of(fs.b);
	for (uint32_t i = 0; i < PLUGIN_MAX_HANDLES; i++) {
		r = plug_handle_add(p, &(struct plug_handle){.node = 1}, &fh);
		assert_int_equal(r, 0);
		first = first ?: fh;
	}
	assert_int_equal(plug_handle_add(p, &(struct plug_handle){.node = 1}, &fh), -ENFILE);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), -ENFILE);
	assert_int_equal(plug_handle_take(p, first, &(struct plug_handle){0}), 0);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
}

/* Places follow renames, also those that a plugin should not have allowed. */
static void places(void **state)
{
	struct pn_table *t = limited(100);
	struct pn *root = pn_get(t, FSB_ROOT), *a, *b;
	char path[PLUGIN_MAX_PATH];
	struct pn_new k = {.pid = 10, .epoch = 1};
	uint64_t ia, ib;

	assert_int_equal(pn_enter(t, root, "a", &k, &ia), 0);
	a = pn_get(t, ia);
	k.pid++;
	assert_int_equal(pn_enter(t, a, "b", &k, &ib), 0);
	b = pn_get(t, ib);
	assert_int_equal(pn_path(t, b, path), 0);
	assert_string_equal(path, "/a/b");
	pn_renamed(t, root, "a", root, "c", false);
	assert_int_equal(pn_path(t, b, path), 0);
	assert_string_equal(path, "/c/b");
	pn_renamed(t, root, "c", b, "in itself", false);
	assert_int_equal(pn_path(t, b, path), 0);
	pn_renamed(t, a, "b", root, "c", false); /* over its own directory */
	assert_int_equal(pn_path(t, b, path), 0);
	assert_string_equal(path, "/c");
	assert_int_equal(pn_path(t, a, path), -ESTALE);
	pn_unlinked(t, root, "c");
	assert_int_equal(pn_path(t, b, path), -ESTALE);
	assert_int_equal(pn_path(t, root, path), 0);
	assert_string_equal(path, "/");
	pn_put(t, b);
	pn_put(t, a);
	pn_put(t, root);
	pn_forget(t, ib, 1);
	pn_forget(t, ia, 1);
	assert_int_equal(t->live, 0);
	pn_done(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(unasked_answers, setup, teardown),
		cmocka_unit_test(lies),
		cmocka_unit_test_setup_teardown(shared_memory_is_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(ends_while_creating, setup, teardown),
		cmocka_unit_test(limits),
		cmocka_unit_test_setup_teardown(handles_are_limited, setup, teardown),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests_name("plugin_hostile", tests, NULL, NULL);
}
