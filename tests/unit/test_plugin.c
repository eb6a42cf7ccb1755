// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=fuse: a plugin's file system, a plugin over a directory, and plugins that crash,
// hang, lie and come again.
#include "tests/unit/fusereq.h"
#include "tests/unit/plugin_fake.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/backends/plugin/plugin_priv.h"
#include "fs/options.h"

#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

_Static_assert(MSB_PLUGIN_PASS == PLUGIN_PASS, "the header for plugins");
_Static_assert(MSB_PLUGIN_NOTIFY_SHM == PLUGIN_NOTIFY_SHM, "the header for plugins");
_Static_assert(MSB_PLUGIN_DATA_SHM == PLUGIN_DATA_SHM, "the header for plugins");
_Static_assert(MSB_PLUGIN_SHM_VERSION == PLUGIN_SHM_VERSION, "the header for plugins");
_Static_assert(sizeof(struct msb_plugin_shm) == sizeof(struct plugin_shm), "the same");
_Static_assert(sizeof(struct msb_plugin_slot) == sizeof(struct plugin_slot), "the same");
_Static_assert(MSB_PLUGIN_SLOT_BYTES * 64 == PLUGIN_MAX_SHM, "64 slots");

static struct fake f;
static struct fsb_options options;
static struct fsd_fs fs;
static struct fusereq q;
static char top[64]; /* of what is below; "": nothing */
static uint8_t data[FUSE_MAX_IO], back[FUSE_MAX_IO];

static void start_over(struct fsb *inner)
{
	struct fsb_start s = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	s.options = &options;
	s.inner = inner;
	s.sock_fd = fake_start(&f);
	assert_int_equal(fsb_plugin_kind.start(&s, &b, &e), 0);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_view, false);
	assert_int_equal(req_init(&q), 0);
}

static void start_over_dir(void)
{
	struct fsb_passthrough_opts o = {0};
	struct msb_err e = {0};
	struct fsb *inner;

	(void)snprintf(top, sizeof(top), "/tmp/msb-plug-XXXXXX");
	assert_non_null(mkdtemp(top));
	o.root_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsb_passthrough_start(&o, &inner, &e), 0);
	start_over(inner);
}

static int setup(void **state)
{
	memset(&f, 0, sizeof(f));
	f.p.fd = -1;
	f.init_flags = ~0u;
	options = (struct fsb_options){.plugin_timeout_ms = 20000};
	top[0] = '\0';
	q.w = calloc(1, sizeof(*q.w));
	(void)umask(0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 2654435761u >> 24);
	return 0;
}

static int teardown(void **state)
{
	if (q.s) {
		q.s = fsd_session_free(q.s);
		fsd_fs_done(&fs);
	}
	fake_done(&f);
	free(q.w);
	if (top[0])
		(void)msb_rm_rf(AT_FDCWD, top);
	return 0;
}

static struct fsb_plugin_status status(void)
{
	struct fsb_plugin_status s;

	assert_int_equal(fsb_plugin_status(fs.b, &s), 0);
	return s;
}

static uint64_t open_of(uint64_t node, uint32_t flags)
{
	assert_int_equal(req_open(&q, FUSE_OPEN, node, flags), 0);
	return REQ_REPLY(&q, struct fuse_open_out)->fh;
}

static int write_at(uint64_t node, uint64_t fh, uint64_t off, const void *p, uint32_t n)
{
	int r = req_write(&q, node, fh, off, p, n, 0);

	return r < 0 ? r : (int)REQ_REPLY(&q, struct fuse_write_out)->size;
}

static int read_at(uint64_t node, uint64_t fh, uint64_t off, uint32_t n)
{
	int r = req_read(&q, FUSE_READ, node, fh, off, n);

	if (r < 0)
		return r;
	memcpy(back, q.out + 16, q.out_bytes);
	return (int)q.out_bytes;
}

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
	assert_int_equal(req_create(&q, dir, "new", O_CREAT | O_RDWR, 0644), 0);
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

/* ---- ends and beginnings */

static void crash_and_restart(void **state)
{
	uint64_t dir, a, gone, fh;
	int i, r;

	i = fake_add(&f, 1, "d", S_IFDIR | 0755);
	i = fake_add(&f, f.id_base + (uint64_t)i, "a", S_IFREG | 0644);
	f.id_base = 1000;
	f.file[i].parent = 1000;
	memcpy(f.file[i].data, "text", 4);
	f.file[i].size = 4;
	(void)fake_add(&f, 1, "gone", S_IFREG | 0644);
	start_over(NULL);
	dir = req_lookup(&q, 1, "d");
	a = req_lookup(&q, dir, "a");
	gone = req_lookup(&q, 1, "gone");
	fh = open_of(a, O_RDONLY);
	assert_int_equal(read_at(a, fh, 0, 100), 4);

	fake_kill(&f);
	assert_int_equal(read_at(a, fh, 0, 100), -EIO);
	assert_int_equal(req_getattr(&q, dir), -EIO);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "d"), -EIO);
	assert_true(status().broken);
	assert_string_equal(status().why, "it has ended");

	/* The new one has other ids, and one file less. */
	f.id_base = 5000;
	f.file[i].parent = 5000;
	fake_find(&f, 1, "gone")->name[0] = '\0';
	assert_int_equal(fsb_plugin_attach(fs.b, fake_start(&f)), 0);
	assert_int_equal(read_at(a, fh, 0, 100), 4);
	assert_memory_equal(back, "text", 4);
	assert_int_equal(req_getattr(&q, dir), 0);
	r = req_getattr(&q, gone);
	assert_int_equal(r, -ESTALE);
	assert_int_equal(req_lookup(&q, dir, "a"), a); /* still the same file to the kernel */
	assert_int_equal(req_release(&q, FUSE_RELEASE, a, fh), 0);
	assert_true(status().ready);
	assert_int_equal(status().starts, 2);
}

static bool hang(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	return h->opcode == FUSE_GETATTR;
}

static void hang_ends_the_mount(void **state)
{
	uint64_t a;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = hang;
	options.plugin_timeout_ms = 200;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	assert_int_equal(req_getattr(&q, a), -EIO);
	assert_true(status().broken);
	assert_string_equal(status().why, "no answer within 200 ms");
	/* Nothing is asked any more, so nothing is waited for. */
	for (int i = 0; i < 1000; i++)
		assert_int_equal(req_getattr(&q, a), -EIO);
	assert_int_equal(f.asked[FUSE_GETATTR], 1);
	fake_kill(&f);
	f.first = NULL;
	assert_int_equal(fsb_plugin_attach(fs.b, fake_start(&f)), 0);
	assert_int_equal(req_getattr(&q, a), 0);
}

static bool mute(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	return true;
}

static void no_greeting(void **state)
{
	f.first = mute;
	options.plugin_timeout_ms = 200;
	start_over(NULL);
	assert_int_equal(req_getattr(&q, 1), -EIO);
	assert_false(status().ready || status().broken); /* it may still come */
	(void)pthread_mutex_lock(&plug_of(fs.b)->conn.lock);
	plug_of(fs.b)->conn.ready_by = 0; /* PLUGIN_START_MS later */
	(void)pthread_mutex_unlock(&plug_of(fs.b)->conn.lock);
	assert_int_equal(req_getattr(&q, 1), -EIO);
	assert_string_equal(status().why, "it did not answer the greeting in time");
}

/* A plugin that takes nothing any more while a large WRITE is under way. */
static sem_t go;

static bool stall_after_open(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode != FUSE_OPEN)
		return false;
	fake_serve(x, h);
	(void)sem_wait(&go);
	return true;
}

static void not_reading(void **state)
{
	uint64_t a, fh;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = stall_after_open;
	options.plugin_timeout_ms = 200;
	(void)sem_init(&go, 0, 0);
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDWR);
	assert_int_equal(write_at(a, fh, 0, data, sizeof(data)), -EIO);
	assert_string_equal(status().why, "it does not take requests in time");
	(void)sem_post(&go);
}

/* ---- many at once */

#define MANY 8

static struct {
	uint64_t unique;
	struct fuse_read_in in;
	struct msb_plugin_slot slot; /* where there is one */
} held[MANY];
static int nheld;

/* Answers READs only once there are as many as there are readers, the last first. */
static bool backwards(struct fake *x, const struct fuse_in_header *h, const void *arg)
{
	if (h->opcode != FUSE_READ)
		return false;
	held[nheld].unique = h->unique;
	memcpy(&held[nheld++].in, arg, h->len - sizeof(*h));
	if (nheld == MANY) {
		for (int i = MANY - 1; i >= 0; i--)
			(void)msb_plugin_reply_read(&x->p, held[i].unique, &held[i].in,
				data + held[i].in.offset, held[i].in.size);
		nheld = 0;
	}
	return true;
}

struct reader {
	uint64_t node, fh, off;
	pthread_t thread;
	bool right;
};

static void *reader_main(void *arg)
{
	struct reader *r = arg;
	uint8_t *buf = malloc(50000);
	const struct iovec v = {buf, 50000};

	r->right = true;
	for (int i = 0; i < 20 && r->right; i++)
		r->right = fs.b->ops->readv(fs.b, r->node, r->fh, &v, 1, r->off) == 50000 &&
			   !memcmp(buf, data + r->off, 50000);
	free(buf);
	return NULL;
}

static void many_at_once(bool shm)
{
	struct reader r[MANY];
	uint64_t a, fh;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = backwards;
	f.shm_slots = shm ? 3 : 0; /* fewer than readers */
	nheld = 0;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDONLY);
	for (uint64_t i = 0; i < MANY; i++) {
		r[i] = (struct reader){.node = a, .fh = fh, .off = i * 60001};
		assert_int_equal(pthread_create(&r[i].thread, NULL, reader_main, &r[i]), 0);
	}
	for (int i = 0; i < MANY; i++) {
		(void)pthread_join(r[i].thread, NULL);
		assert_true(r[i].right);
	}
}

static void answers_backwards(void **state)
{
	many_at_once(false);
}

static void answers_backwards_in_shm(void **state)
{
	many_at_once(true);
}

/* More than PLUGIN_MAX_INFLIGHT: the others wait their turn, then all are told at once. */
static _Atomic int waiting, failed;

static void *getattr_main(void *arg)
{
	struct fuse_attr a;

	waiting++;
	if (fs.b->ops->getattr(fs.b, *(uint64_t *)arg, 0, &a) == -EIO)
		failed++;
	return NULL;
}

static void more_than_fit(void **state)
{
	pthread_t t[PLUGIN_MAX_INFLIGHT + 8];
	uint64_t a;

	(void)fake_add(&f, 1, "a", S_IFREG | 0644);
	f.first = hang;
	waiting = failed = 0;
	start_over(NULL);
	a = req_lookup(&q, 1, "a");
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, getattr_main, &a), 0);
	while (f.asked[FUSE_GETATTR] < PLUGIN_MAX_INFLIGHT || waiting < (int)ARRAY_LEN(t))
		(void)usleep(1000);
	assert_int_equal(f.asked[FUSE_GETATTR], PLUGIN_MAX_INFLIGHT);
	(void)shutdown(f.p.fd, SHUT_RDWR);
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(failed, ARRAY_LEN(t));
}

/* ---- lies */

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
		cmocka_unit_test_setup_teardown(own_fs, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_shm, setup, teardown),
		cmocka_unit_test_setup_teardown(data_in_shm_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(shm_cut_short, setup, teardown),
		cmocka_unit_test_setup_teardown(references_balance, setup, teardown),
		cmocka_unit_test_setup_teardown(veto_over_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(copy_is_not_hidden, setup, teardown),
		cmocka_unit_test_setup_teardown(beside_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(crash_and_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(hang_ends_the_mount, setup, teardown),
		cmocka_unit_test_setup_teardown(no_greeting, setup, teardown),
		cmocka_unit_test_setup_teardown(not_reading, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_backwards, setup, teardown),
		cmocka_unit_test_setup_teardown(answers_backwards_in_shm, setup, teardown),
		cmocka_unit_test_setup_teardown(more_than_fit, setup, teardown),
		cmocka_unit_test_setup_teardown(unasked_answers, setup, teardown),
		cmocka_unit_test(lies),
		cmocka_unit_test(limits),
		cmocka_unit_test_setup_teardown(handles_are_limited, setup, teardown),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
