// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: a plugin's file system, and a plugin over a directory.
#include "tests/unit/acl_text.h"
#include "tests/unit/plugin_fixture.h"
#include "fs/backends/plugin/wire.h"

#include <sys/xattr.h>

_Static_assert(MSB_PLUGIN_PASS == PLUGIN_PASS, "the header for plugins");
_Static_assert(MSB_PLUGIN_NOTIFY_SHM == PLUGIN_NOTIFY_SHM, "the header for plugins");
_Static_assert(MSB_PLUGIN_DATA_SHM == PLUGIN_DATA_SHM, "the header for plugins");
_Static_assert(MSB_PLUGIN_SHM_VERSION == PLUGIN_SHM_VERSION, "the header for plugins");
_Static_assert(sizeof(struct msb_plugin_shm) == sizeof(struct plugin_shm), "the same");
_Static_assert(sizeof(struct msb_plugin_slot) == sizeof(struct plugin_slot), "the same");
_Static_assert(MSB_PLUGIN_SLOT_BYTES * 64 == PLUGIN_MAX_SHM, "64 slots");

/* Names of a directory, joined by blanks, in order. */
static const char *list(uint64_t dir, bool plus)
{
	static char names[4096];
	uint64_t off = 0, fh;
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;

	names[0] = '\0';
	assert_int_equal(req_open(&q, FUSE_OPENDIR, dir, 0), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	for (;;) {
		assert_int_equal(
			req_read(&q, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, fh, off, 4096),
			0);
		if (q.out_bytes == 0)
			break;
		for (size_t at = 0; at < q.out_bytes;) {
			struct fuse_dirent d;

			memcpy(&d, q.out + 16 + at + head, FUSE_NAME_OFFSET);
			(void)snprintf(names + strlen(names), sizeof(names) - strlen(names),
				"%.*s ", (int)d.namelen,
				(char *)q.out + 16 + at + head + FUSE_NAME_OFFSET);
			off = d.off;
			at += FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + d.namelen);
		}
	}
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, dir, fh), 0);
	return names;
}

/* ---- a list's bytes */

static uint64_t listed_node(const char *name)
{
	const struct fuse_entry_out e = {.nodeid = 5, .attr.mode = S_IFDIR | 0755};
	const struct fuse_dirent d = {.ino = 5, .off = 1, .namelen = (uint32_t)strlen(name)};
	_Alignas(8) uint8_t list[512] = {0};
	struct pw_dirent got;
	size_t at = 0;

	memcpy(list, &e, sizeof(e));
	memcpy(list + sizeof(e), &d, FUSE_NAME_OFFSET);
	memcpy(list + sizeof(e) + FUSE_NAME_OFFSET, name, d.namelen);
	assert_int_equal(pw_dirent(list, sizeof(list), true, &at, &got), 1);
	return got.entry.nodeid;
}

/* As with the kernel: "." and ".." come without a reference, so that none is given back. */
static void dots_are_no_nodes(void **state)
{
	assert_int_equal(listed_node("."), 0);
	assert_int_equal(listed_node(".."), 0);
	assert_int_equal(listed_node("..."), 5);
	assert_int_equal(listed_node(".a"), 5);
	assert_int_equal(listed_node("a."), 5);
}

/* ---- a file system of the plugin's own */

static void own_fs(void **state)
{
	uint64_t dir, a, fh;
	int i;

	i = fake_add(&f, 1, "hello", S_IFREG | 0644);
	memcpy(f.file[i].data, "hello world", 11);
	f.file[i].size = 11;
	start_over(NULL);
	a = req_lookup(&q, 1, "hello");
	assert_int_not_equal(a, 0);
	assert_true(a < FSB_MAX_ID);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 11);
	assert_int_equal(req_lookup(&q, 1, "nothing"), 0);
	/* The same file is the same node. */
	assert_int_equal(req_lookup(&q, 1, "hello"), a);
	fh = open_of(a, O_RDWR);
	assert_int_equal(read_at(a, fh, 0, 100), 11);
	assert_memory_equal(back, "hello world", 11);
	assert_int_equal(read_at(a, fh, 6, 3), 3);
	assert_memory_equal(back, "wor", 3);
	assert_int_equal(write_at(a, fh, 0, "J", 1), 1);
	assert_int_equal(req_release(&q, FUSE_RELEASE, a, fh), 0);
	assert_int_equal(req_mkdir(&q, 1, "d", 0750), 0);
	dir = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	/* No CREATE there: MKNOD and OPEN. */
	assert_int_equal(req_create(&q, dir, "new", O_CREAT | O_RDWR, 0644), 0);
	assert_int_equal(f.asked[FUSE_MKNOD], 1);
	assert_int_equal(req_create(&q, dir, "new", O_CREAT | O_EXCL | O_RDWR, 0644), -EEXIST);
	assert_int_equal(req_create(&q, dir, "new", O_CREAT | O_RDWR, 0644), -ESTALE);
	assert_int_equal(f.asked[FUSE_CREATE], 1); /* asked once, ENOSYS */
	assert_string_equal(list(1, false), ". .. hello d ");
	assert_string_equal(list(dir, true), ". .. new ");
	assert_int_equal(req_rename(&q, dir, "new", 1, "newer", 0), 0);
	assert_string_equal(list(1, true), ". .. hello d newer ");
	assert_int_equal(req_rename(&q, 1, "newer", 1, "x", 1), -EINVAL); /* RENAME2: ENOSYS */
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "newer"), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "newer"), -ENOENT);
	/* What it does not do at all. */
	req_start(&q, FUSE_STATFS, 1);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_statfs_out)->st.namelen, 255);
	assert_true(status().ready);
}

static uint64_t synced[2]; /* the handles of FSYNC and FSYNCDIR */

static bool sees_syncs(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	const struct fuse_fsync_in *in = arg;

	if (h->opcode != FUSE_FSYNC && h->opcode != FUSE_FSYNCDIR)
		return false;
	synced[h->opcode == FUSE_FSYNCDIR] = in->fh;
	return msb_plugin_reply(&x->p, h->unique, 0, NULL, 0) == 0;
}

/* What a plugin keeps of an open directory it finds by the handle, as that of a file. */
static void syncs(void **state)
{
	struct fuse_fsync_in in = {0};
	uint64_t a;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = sees_syncs;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	in.fh = open_of(a, O_RDWR);
	req_start(&q, FUSE_FSYNC, a);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(synced[0], f.last_fh);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
	in.fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	req_start(&q, FUSE_FSYNCDIR, 1);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(synced[1], f.last_fh);
}

/* Data that takes several messages, in the stream and in shared memory. */
static void much_data(bool shm, uint32_t max_write)
{
	uint64_t a, fh;

	(void)fake_add(&f, 1, "big", S_IFREG | 0644);
	f.max_write = max_write;
	f.shm_slots = shm ? 2 : 0;
	start_over(NULL);
	a = req_lookup(&q, 1, "big");
	fh = open_of(a, O_RDWR);
	assert_int_equal(write_at(a, fh, 5, data, sizeof(data)), sizeof(data));
	assert_int_equal(read_at(a, fh, 5, sizeof(data)), sizeof(data));
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(read_at(a, fh, 5000, 4096), 4096);
	assert_memory_equal(back, data + 4995, 4096);
	/* The end of the file, in the middle of a piece. */
	assert_int_equal(read_at(a, fh, 1000005, sizeof(data)), (int)sizeof(data) - 1000000);
	assert_memory_equal(back, data + 1000000, sizeof(data) - 1000000);
	assert_int_equal(f.by_shm, shm ? f.asked[FUSE_READ] + f.asked[FUSE_WRITE] : 0);
	assert_int_equal(f.asked[FUSE_WRITE], sizeof(data) / max_write);
}

static void data_in_stream(void **state)
{
	much_data(false, 1u << 20);
}

static void data_in_pieces(void **state)
{
	much_data(false, 128u << 10);
}

static void data_in_shm(void **state)
{
	much_data(true, 1u << 20);
}

static void data_in_shm_pieces(void **state)
{
	much_data(true, 64u << 10);
}

/* A memfd that the plugin cuts short is its own loss. */
static bool cut_short(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	const struct fuse_write_out o = {.size = 4096};

	if (h->opcode == FUSE_READ)
		(void)msb_plugin_reply(&x->p, h->unique, 0, &o, sizeof(o));
	return h->opcode == FUSE_READ;
}

static bool truncated(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	struct msb_plugin_shm s = {.version = 1, .slot_bytes = 1u << 20, .bytes = 1u << 20};
	struct {
		struct fuse_out_header h;
		struct msb_plugin_shm s;
	} m = {{sizeof(m), MSB_PLUGIN_NOTIFY_SHM, 0}, s};
	struct iovec v = {&m, sizeof(m)};
	int fd;

	if (h->opcode != FUSE_OPEN)
		return cut_short(x, h, arg);
	fd = memfd_create("short", MFD_CLOEXEC); /* of no bytes */
	(void)msb_plugin_send(&x->p, &v, 1, fd);
	close(fd);
	return false;
}

static void shm_cut_short(void **state)
{
	uint64_t a, fh;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = truncated;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDWR);
	assert_int_equal(read_at(a, fh, 0, 4096), -EIO);
	assert_true(status().ready); /* nothing else has suffered */
	assert_int_equal(req_getattr(&q, a), 0);
}

static void references_balance(void **state)
{
	uint64_t a;
	int64_t refs = 0;

	for (int i = 0; i < 3; i++)
		(void)fake_add(&f, 1, (const char *[]){"a", "b", "c"}[i], S_IFREG | 0644);
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	assert_int_equal(req_lookup(&q, 1, "a"), a);
	assert_string_equal(list(1, true), ". .. a b c ");
	req_forget(&q, a, 1); /* one stays */
	q.s = fsd_session_free(q.s);
	/* Whatever was sent before the end is received before it. */
	fsd_fs_done(&fs);
	(void)pthread_join(f.thread, NULL);
	for (int i = 0; i < FAKE_FILES; i++)
		refs += (int64_t)f.file[i].refs;
	assert_true(refs >= 5);
	assert_int_equal(f.forgotten, refs);
	close(f.p.fd);
	f.p.fd = -1;
}

/* ---- over a directory */

static bool no_secret(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	const struct fuse_write_in *in = arg;

	if (h->opcode != FUSE_WRITE)
		return false;
	(void)msb_plugin_reply(&x->p, h->unique,
		memmem(msb_plugin_write_data(&x->p, in), in->size, "SECRET", 6) ? -EACCES
										: -PLUGIN_PASS,
		NULL, 0);
	return true;
}

/* All but WRITE is ENOSYS: the directory's, after one question each. */
static void veto_over_directory(void **state)
{
	uint64_t a, fh, node;
	char path[96], text[16] = {0};
	int fd;

	f.no = ~(UINT64_C(1) << FUSE_INIT | UINT64_C(1) << FUSE_WRITE | UINT64_C(1) << FUSE_FORGET);
	f.first = no_secret;
	start_over_dir();
	assert_int_equal(req_create(&q, 1, "a", O_CREAT | O_RDWR, 0644), 0);
	a = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(write_at(a, fh, 0, "harmless", 8), 8);
	assert_int_equal(write_at(a, fh, 8, "a SECRET", 8), -EACCES);
	assert_int_equal(read_at(a, fh, 0, 100), 8);
	assert_memory_equal(back, "harmless", 8);
	(void)snprintf(path, sizeof(path), "%s/a", top);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, text, sizeof(text)), 8);
	close(fd);
	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	node = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_create(&q, node, "b", O_CREAT | O_RDWR, 0644), 0);
	assert_int_equal(req_rename(&q, node, "b", 1, "c", 0), 0);
	assert_int_equal(req_lookup(&q, 1, "a"), a);
	assert_non_null(strstr(list(1, true), "a "));
	assert_non_null(strstr(list(1, false), "c "));
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "c"), 0);
	for (uint32_t op = 0; op < 64; op++)
		if (op != FUSE_WRITE)
			assert_true(f.asked[op] <= 1);
	assert_int_equal(f.asked[FUSE_WRITE], 2);
}

/* It is asked for attributes, but not for ACLs: those are the directory's. */
static void acls_are_below(void **state)
{
	const struct fsb_req root = {0};
	struct acl_bytes b;
	char text[4096], path[96];
	uint64_t node;

	f.no = UINT64_C(1) << FUSE_LOOKUP;
	start_over_dir();
	(void)snprintf(path, sizeof(path), "%s/a", top);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, "below", 5, 0644), 0);
	node = req_lookup(&q, 1, "a");
	assert_int_not_equal(node, 0);
	acl_from_text("u::rw-,u:7:rw-,g::r--,m::rw-,o::---", &b);
	assert_int_equal(fs.b->ops->setxattr(fs.b, &root, node, ACL_ACCESS, b.p, b.n, 0), 0);
	assert_int_equal(fs.b->ops->getxattr(fs.b, node, ACL_ACCESS, b.p, sizeof(b.p)), b.n);
	assert_string_equal(acl_to_text(b.p, b.n, text), "u::rw-,u:7:rw-,g::r--,m::rw-,o::---");
	assert_int_equal(getxattr(path, ACL_ACCESS, b.p, sizeof(b.p)), b.n);
	assert_int_equal(fs.b->ops->removexattr(fs.b, &root, node, ACL_ACCESS), 0);
	assert_int_equal(fs.b->ops->getxattr(fs.b, node, ACL_ACCESS, b.p, 9), -ENODATA);
	assert_int_equal(
		f.asked[FUSE_SETXATTR] + f.asked[FUSE_GETXATTR] + f.asked[FUSE_REMOVEXATTR], 0);
	(void)fs.b->ops->getxattr(fs.b, node, "user.a", b.p, 9);
	assert_int_equal(f.asked[FUSE_GETXATTR], 1);
}

/* Copying in the server would be a write that the plugin does not see. */
static void copy_is_not_hidden(void **state)
{
	struct fuse_copy_file_range_in in = {.len = 100};

	f.no = ~(UINT64_C(1) << FUSE_INIT | UINT64_C(1) << FUSE_WRITE);
	f.first = no_secret;
	start_over_dir();
	assert_int_equal(req_create(&q, 1, "a", O_CREAT | O_RDWR, 0644), 0);
	in.fh_in = in.fh_out = req_created_fh(&q);
	in.nodeid_out = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	req_start(&q, FUSE_COPY_FILE_RANGE, in.nodeid_out);
	req_add(&q, &in, sizeof(in));
	assert_int_equal(req_run(&q), -EOPNOTSUPP);
}

/* A plugin with LOOKUP shows files beside the directory's, by passing what it does not know. */
static bool beside(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	bool pass = h->opcode == FUSE_LOOKUP && !fake_find(x, h->nodeid, arg);

	if (pass || h->opcode == FUSE_READDIR || h->opcode == FUSE_READDIRPLUS ||
		h->opcode == FUSE_OPENDIR)
		return msb_plugin_reply(&x->p, h->unique, -PLUGIN_PASS, NULL, 0) == 0;
	return false;
}

static void beside_directory(void **state)
{
	uint64_t gen, real, fh;
	char path[96];
	int i = fake_add(&f, 1, "generated", S_IFREG | 0444);

	memcpy(f.file[i].data, "by the plugin", 13);
	f.file[i].size = 13;
	f.first = beside;
	start_over_dir();
	(void)snprintf(path, sizeof(path), "%s/real", top);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, "below", 5, 0644), 0);
	gen = req_lookup(&q, 1, "generated");
	real = req_lookup(&q, 1, "real");
	assert_true(gen && real && gen != real);
	fh = open_of(gen, O_RDONLY);
	assert_int_equal(read_at(gen, fh, 0, 100), 13);
	fh = open_of(real, O_RDONLY);
	assert_int_equal(read_at(real, fh, 0, 100), 5);
	assert_memory_equal(back, "below", 5);
	assert_non_null(strstr(list(1, true), "real "));
	assert_null(strstr(list(1, false), "generated "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dots_are_no_nodes),
		cmocka_unit_test_setup_teardown(own_fs, setup, teardown),
		cmocka_unit_test_setup_teardown(syncs, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_shm, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_shm_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(shm_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(references_balance, setup, teardown),
		cmocka_unit_test_setup_teardown(veto_over_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(acls_are_below, setup, teardown),
		cmocka_unit_test_setup_teardown(copy_is_not_hidden, setup, teardown),
		cmocka_unit_test_setup_teardown(beside_directory, setup, teardown),
	};

	return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
