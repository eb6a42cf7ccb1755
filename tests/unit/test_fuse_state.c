// SPDX-License-Identifier: Apache-2.0
// fs/fuse_state: what a kernel holds goes from one server to the next, and no bytes do any harm.
#include "tests/unit/fusereq.h"
#include "tests/unit/overlay_fixture.h"
#include "base/cleanup.h"
#include "fs/fuse_priv.h"
#include "fs/fuse_state.h"

#include <endian.h>
#include <sys/mman.h>
#include <xxhash.h>

/* A backend that counts. A node's state is its id; nodes past 200 cannot be saved, node 150 is gone
 * when it is loaded. Handles are the node's id + 1000; that of node 120 cannot be had again. */
struct counting {
	struct fsb b; /* first */
	struct fsb_ops ops;
	int64_t lookups, handles, dirs, ops_run;
	uint32_t flags;
	int refuse; /* load() of any node */
};

static struct counting *of(struct fsb *b)
{
	return (struct counting *)(void *)b;
}

static int b_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	*ret = (struct fsb_entry){.node = (uint64_t)atoi(name)};
	of(b)->lookups++;
	of(b)->ops_run++;
	return 0;
}

static void b_forget(struct fsb *b, uint64_t node, uint64_t count)
{
	of(b)->lookups -= (int64_t)count;
}

static int b_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	of(b)->ops_run++;
	*ret = (struct fuse_attr){.ino = node};
	return 0;
}

static int b_open(
	struct fsb *b, const struct fsb_req *r, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	of(b)->handles++;
	*ret_fh = node + 1000;
	return 0;
}

static int b_opendir(struct fsb *b, uint64_t node, uint64_t *ret_fh)
{
	of(b)->dirs++;
	*ret_fh = node + 1000;
	return 0;
}

static void b_release(struct fsb *b, uint64_t node, uint64_t fh)
{
	of(b)->handles--;
	assert_int_equal(fh, node + 1000);
}

static void b_releasedir(struct fsb *b, uint64_t node, uint64_t fh)
{
	of(b)->dirs--;
	assert_int_equal(fh, node + 1000);
}

static int64_t b_readv(struct fsb *b, uint64_t node, uint64_t fh, const struct iovec *iov,
	int iovcnt, uint64_t off)
{
	return 0;
}

static int64_t b_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	assert_true(cap >= FSB_MAX_STATE);
	memcpy(buf, &node, sizeof(node));
	return node > 200 ? -EOPNOTSUPP : (int64_t)sizeof(node);
}

static int b_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	assert_int_equal(of(b)->ops_run, 0);
	if (of(b)->refuse)
		return of(b)->refuse;
	if (n != sizeof(node) || memcmp(buf, &node, n) != 0)
		return -EBADMSG;
	of(b)->lookups += (int64_t)lookups;
	return node == 150 ? -ESTALE : 0;
}

static int b_reopen(struct fsb *b, uint64_t node, uint64_t fh, bool dir, uint32_t flags)
{
	assert_int_equal(of(b)->ops_run, 0);
	if (node == 120 || fh != node + 1000)
		return -ESTALE;
	of(b)->flags = flags;
	*(dir ? &of(b)->dirs : &of(b)->handles) += 1;
	return 0;
}

static void b_stop(struct fsb *b)
{
}

static const struct fsb_ops counting_ops = {.name = "counting",
	.caps = FSB_CAP_WRITE,
	.stop = b_stop,
	.lookup = b_lookup,
	.forget = b_forget,
	.getattr = b_getattr,
	.open = b_open,
	.opendir = b_opendir,
	.release = b_release,
	.releasedir = b_releasedir,
	.readv = b_readv,
	.save = b_save,
	.load = b_load,
	.reopen = b_reopen};

static struct counting one, two;
static struct fsd_fs fs_one, fs_two;
static struct fusereq q;

static void session_of(struct fsd_fs *fs, struct counting *c)
{
	if (c) {
		*c = (struct counting){.ops = counting_ops};
		c->b.ops = &c->ops;
		fsd_fs_init(fs, &c->b);
	}
	q.s = fsd_session_new(fs, &fuse_profile_guest, false);
	assert_non_null(q.s);
}

static int setup(void **state)
{
	q.w = calloc(1, sizeof(*q.w));
	session_of(&fs_one, &one);
	return 0;
}

static int teardown(void **state)
{
	q.s = fsd_session_free(q.s);
	free(q.w);
	assert_int_equal(one.lookups, 0);
	assert_int_equal(one.handles, 0);
	assert_int_equal(one.dirs, 0);
	assert_int_equal(two.lookups, 0);
	assert_int_equal(two.handles, 0);
	assert_int_equal(two.dirs, 0);
	return 0;
}

static int save(struct fsd_session *s)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_int_equal(fsd_session_save(s, fd), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int from_bytes(const void *p, size_t n)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_int_equal(msb_write_full(fd, p, n), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Opens node @n. */
static uint64_t open_node(uint32_t op, uint64_t n, uint32_t flags)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "%u", (unsigned int)n);
	assert_int_equal(req_lookup(&q, 1, name), n);
	assert_int_equal(req_open(&q, op, n, flags), 0);
	return REQ_REPLY(&q, struct fuse_open_out)->fh;
}

static void moves(void **state)
{
	_cleanup_close_ int fd = -1, again = -1;

	assert_int_equal(req_init(&q), 0);
	(void)open_node(FUSE_OPEN, 110, O_RDWR | O_APPEND);
	(void)open_node(FUSE_OPENDIR, 111, 0);
	(void)open_node(FUSE_OPEN, 120, O_RDONLY);
	(void)open_node(FUSE_OPEN, 210, O_RDONLY);
	assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0); /* the root's count is nobody's */
	assert_int_equal(req_lookup(&q, 1, "110"), 110);
	assert_int_equal(req_lookup(&q, 1, "150"), 150);
	fd = save(q.s);
	/* It goes on as before. */
	assert_int_equal(req_getattr(&q, 110), 0);
	assert_int_equal(one.lookups, 6);
	(void)fsd_session_free(q.s);
	assert_int_equal(one.lookups, 0);

	session_of(&fs_two, &two);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	assert_int_equal(two.lookups, 5); /* all but 210 */
	assert_int_equal(two.handles, 1);
	assert_int_equal(two.dirs, 2);
	assert_int_equal(two.flags, 0); /* of the directory, which comes last */
	again = save(q.s);
	assert_int_equal(req_getattr(&q, 110), 0); /* no INIT */
	assert_int_equal(req_read(&q, FUSE_READ, 110, 1110, 0, 10), 0);
	assert_int_equal(req_read(&q, FUSE_READ, 111, 1110, 0, 10), -EBADF);
	/* What is gone, is gone alone: its node, its handle. */
	assert_int_equal(req_getattr(&q, 120), 0);
	assert_int_equal(req_read(&q, FUSE_READ, 120, 1120, 0, 10), -ESTALE);
	assert_int_equal(req_getattr(&q, 210), -ESTALE);
	assert_int_equal(req_read(&q, FUSE_READ, 210, 1210, 0, 10), -ESTALE);
	/* An id that the kernel has for another file is not given to a new one. */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "210"), -ESTALE);
	assert_int_equal(two.lookups, 5);
	/* The number of a handle that is gone may come again: who has it opens nothing else's. */
	assert_int_equal(req_open(&q, FUSE_OPEN, 120, O_RDWR), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_open_out)->fh, 1120);
	assert_int_equal(two.handles, 2);
	assert_int_equal(req_read(&q, FUSE_READ, 120, 1120, 0, 10), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 120, 1120), 0);
	assert_int_equal(req_read(&q, FUSE_READ, 120, 1120, 0, 10), 0); /* of one of the two */
	assert_int_equal(req_release(&q, FUSE_RELEASE, 120, 1120), 0);
	assert_int_equal(req_read(&q, FUSE_READ, 120, 1120, 0, 10), -EBADF);
	assert_int_equal(two.handles, 1);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 210, 1210), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 110, 1110), 0);
	assert_int_equal(two.handles, 0);
	req_forget(&q, 210, 1);
	assert_int_equal(req_lookup(&q, 1, "210"), 210);	     /* now it may */
	assert_int_equal(req_open(&q, FUSE_OPEN, 210, O_RDONLY), 0); /* so may its handle */
	assert_int_equal(req_release(&q, FUSE_RELEASE, 210, 1210), 0);
	req_forget(&q, 210, 1);
	req_forget(&q, 110, 2);
	assert_int_equal(req_getattr(&q, 110), -ESTALE);
	(void)fsd_session_free(q.s);

	/* A state of a state is the same. */
	session_of(&fs_one, &one);
	assert_int_equal(fsd_session_load(q.s, again), 0);
	assert_int_equal(one.lookups, 5);
	assert_int_equal(req_getattr(&q, 210), -ESTALE);
}

static void never_mounted(void **state)
{
	_cleanup_close_ int fd = save(q.s);

	(void)fsd_session_free(q.s);
	session_of(&fs_two, &two);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	assert_int_equal(req_getattr(&q, 1), -EIO); /* still before INIT */
	assert_int_equal(req_init(&q), 0);
	assert_int_equal(req_getattr(&q, 1), 0);
}

/* ---- bytes */

struct blob {
	size_t n;
	uint8_t *p;
};

static void put(struct blob *b, const void *p, size_t n)
{
	b->p = realloc(b->p, b->n + n + 1); /* never none at all, which may be NULL */
	assert_non_null(b->p);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void put_head(struct blob *b, uint32_t version, uint32_t flags)
{
	const uint32_t v[2] = {version, flags};

	put(b, "msbfuse", 8);
	put(b, v, sizeof(v));
}

static void put_record(struct blob *b, uint16_t kind, const void *p, uint16_t n)
{
	const uint16_t h[2] = {kind, n};

	put(b, h, sizeof(h));
	put(b, p, n);
}

static void put_session(struct blob *b)
{
	put_record(b, 1, (uint64_t[]){0, 38 | 1ULL << 32}, 16);
}

static void put_node(struct blob *b, uint64_t node, uint64_t lookups)
{
	uint8_t body[28] = {0};

	memcpy(body, &node, 8);
	memcpy(body + 8, &lookups, 8);
	memcpy(body + 20, &node, 8);
	put_record(b, 2, body, 28);
}

static void put_handle(struct blob *b, uint64_t node, uint32_t flags)
{
	put_record(b, 3, (uint64_t[]){node + 1000, node, (uint64_t)flags << 32}, 24);
}

static void put_end(struct blob *b, uint64_t nodes, uint64_t handles)
{
	const uint64_t v[3] = {
		nodes, handles, XXH3_64bits(b->p + FUSE_STATE_HEAD, b->n - FUSE_STATE_HEAD)};

	put_record(b, 4, v, sizeof(v));
}

static int load_blob(struct blob *b)
{
	_cleanup_close_ int fd = from_bytes(b->p, b->n);
	int r = fsd_session_load(q.s, fd);

	free(b->p);
	*b = (struct blob){0};
	if (r < 0) { /* nothing of it is left */
		assert_int_equal(one.lookups, 0);
		assert_int_equal(one.handles, 0);
		assert_int_equal(req_getattr(&q, 1), -EIO);
	}
	return r;
}

static void good(struct blob *b)
{
	put_head(b, 1, 0);
	put_session(b);
	put_node(b, 110, 3);
	put_node(b, 111, 1);
	put_handle(b, 110, 0);
	put_handle(b, 111, FUSE_STATE_DIR);
	put_end(b, 2, 2);
}

static void damaged(void **state)
{
	struct blob b = {0}, whole = {0};

	good(&whole);
	for (size_t n = 0; n < whole.n; n++) {
		put(&b, whole.p, n);
		assert_int_equal(load_blob(&b), -EBADMSG);
		put(&b, whole.p, whole.n);
		b.p[n] ^= 0x41;
		assert_true(load_blob(&b) < 0);
	}
	put(&b, whole.p, whole.n);
	put(&b, "x", 1); /* more behind the end */
	assert_int_equal(load_blob(&b), -EBADMSG);
	put(&b, whole.p, whole.n);
	assert_int_equal(load_blob(&b), 0);
	assert_int_equal(one.lookups, 4);
	/* The next one replaces it. */
	put_head(&b, 1, 0);
	put_session(&b);
	put_end(&b, 0, 0);
	assert_int_equal(load_blob(&b), 0);
	assert_int_equal(one.lookups, 0);
	free(whole.p);
}

/* Sound sums over what no server writes. */
static void refused(void **state)
{
	static const uint64_t zero[4] = {0};
	struct blob b = {0};

	put_head(&b, 2, 0);
	assert_int_equal(load_blob(&b), -EPROTONOSUPPORT);
	put_head(&b, 1, 2);
	assert_int_equal(load_blob(&b), -EBADMSG);
	put_head(&b, 1, 1); /* contents, for a backend without */
	assert_int_equal(load_blob(&b), -EPROTONOSUPPORT);

#define ROW(what, nodes, handles, ...)                                                             \
	do {                                                                                       \
		put_head(&b, 1, 0);                                                                \
		__VA_ARGS__;                                                                       \
		put_end(&b, nodes, handles);                                                       \
		if (load_blob(&b) >= 0)                                                            \
			fail_msg("accepted: %s", what);                                            \
	} while (0)
	ROW("no session", 0, 0, (void)0);
	ROW("node first", 1, 0, put_node(&b, 110, 1));
	ROW("two sessions", 0, 0, put_session(&b); put_session(&b));
	ROW("promises of another server", 0, 0,
		put_record(&b, 1, (uint64_t[]){1ULL << 63, 38 | 1ULL << 32}, 16));
	ROW("a session of ones", 0, 0, put_record(&b, 1, (uint64_t[]){0, UINT64_MAX}, 16));
	ROW("a short session", 0, 0, put_record(&b, 1, zero, 15));
	ROW("node 0", 1, 0, put_session(&b); put_node(&b, 0, 1));
	ROW("the root", 1, 0, put_session(&b); put_node(&b, 1, 1));
	ROW("a node that nobody has", 1, 0, put_session(&b); put_node(&b, 110, 0));
	ROW("lookups without end", 1, 0, put_session(&b); put_node(&b, 110, UINT64_MAX));
	ROW("a node twice", 2, 0, put_session(&b); put_node(&b, 110, 1); put_node(&b, 110, 1));
	ROW("a node behind a handle", 2, 1, put_session(&b); put_node(&b, 110, 1);
		put_handle(&b, 110, 0); put_node(&b, 111, 1));
	ROW("a handle of no node", 0, 1, put_session(&b); put_handle(&b, 110, 0));
	ROW("a handle twice", 1, 2, put_session(&b); put_node(&b, 110, 1); put_handle(&b, 110, 0);
		put_handle(&b, 110, 0));
	ROW("handle 0", 1, 1, put_session(&b); put_node(&b, 110, 1);
		put_record(&b, 3, (uint64_t[]){0, 110, 0}, 24));
	ROW("handle of a third kind", 1, 1, put_session(&b); put_node(&b, 110, 1);
		put_handle(&b, 110, 4));
	ROW("more nodes than it says", 0, 0, put_session(&b); put_node(&b, 110, 1));
	ROW("fewer handles than it says", 1, 1, put_session(&b); put_node(&b, 110, 1));
	ROW("another record", 0, 0, put_session(&b); put_record(&b, 9, zero, 8));
	ROW("a state too long", 1, 0, put_session(&b); put_record(
		&b, 2, (uint8_t[FUSE_STATE_MAX_BODY + 1]){2, 0}, FUSE_STATE_MAX_BODY + 1));
	ROW("a node's state that its backend refuses", 1, 0, put_session(&b);
		put_record(&b, 2, (uint64_t[]){110, 1, 0}, 24));
	one.refuse = -ENOMEM;
	ROW("no memory", 1, 0, put_session(&b); put_node(&b, 110, 1));
}

static void limits(void **state)
{
	struct blob b = {0};
	uint8_t body[20] = {0};

	put_head(&b, 1, 0);
	put_session(&b);
	b.p = realloc(b.p, (FSD_MAX_NODES + 2) * 24 + 1000);
	assert_non_null(b.p);
	body[16] = FUSE_STATE_STALE;
	body[8] = 1;
	for (uint32_t i = 0; i <= FSD_MAX_NODES; i++) {
		const uint16_t h[2] = {2, 20};
		uint64_t node = i + 2;

		memcpy(body, &node, 8);
		memcpy(b.p + b.n, h, 4);
		memcpy(b.p + b.n + 4, body, 20);
		b.n += 24;
	}
	assert_int_equal(load_blob(&b), -ENFILE);
	put_head(&b, 1, 0);
	put_session(&b);
	put_node(&b, 110, 1);
	b.p = realloc(b.p, (FUSE_MAX_HANDLES + 2) * 28 + 1000);
	assert_non_null(b.p);
	for (uint32_t i = 0; i <= FUSE_MAX_HANDLES; i++) {
		const uint16_t h[2] = {3, 24};
		const uint64_t v[3] = {i + 5000, 110, (uint64_t)FUSE_STATE_STALE << 32};

		memcpy(b.p + b.n, h, 4);
		memcpy(b.p + b.n + 4, v, 24);
		b.n += 28;
	}
	assert_int_equal(load_blob(&b), -ENFILE);
}

/* ---- kept in memory */

/* What a kill leaves of a session: nothing is given back. */
static void session_killed(struct fsd_session *s)
{
	fuse_refs_done(&s->nodes);
	fuse_refs_done(&s->files);
	fuse_refs_done(&s->dirs);
	(void)fuse_keep_free(s->keep);
	free(s);
}

static void kept_over_a_kill(void **state)
{
	_cleanup_close_ int fd = memfd_create("keep", MFD_CLOEXEC);

	assert_int_equal(fsd_session_keep(q.s, fd), 0);
	assert_int_equal(req_getattr(&q, 1), -EIO); /* it says nothing yet */
	assert_int_equal(req_init(&q), 0);
	(void)open_node(FUSE_OPEN, 110, O_RDWR | O_APPEND);
	(void)open_node(FUSE_OPENDIR, 111, 0);
	(void)open_node(FUSE_OPEN, 120, O_RDONLY);
	(void)open_node(FUSE_OPEN, 130, O_RDONLY);
	(void)open_node(FUSE_OPEN, 210, O_RDONLY); /* cannot be saved */
	assert_int_equal(req_lookup(&q, 1, "110"), 110);
	assert_int_equal(req_lookup(&q, 1, "110"), 110);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 130, 1130), 0);
	req_forget(&q, 130, 1);
	assert_int_equal(req_lookup(&q, 1, "140"), 140);
	fsd_session_commit(q.s); /* all of that was given back to the kernel */
	assert_int_equal(req_lookup(&q, 1, "150"), 150);
	req_forget(&q, 110, 1);
	req_forget(&q, 140, 1); /* these were not */
	for (int round = 0; round < 3; round++) {
		session_killed(q.s);
		session_of(&fs_two, &two);
		assert_int_equal(fsd_session_keep(q.s, fd), 0);
		assert_int_equal(two.handles, 1); /* 1110; that of 120 is gone */
		assert_int_equal(two.dirs, 1);
		assert_int_equal(two.lookups, 3 + 1 + 1 + 1 + 1); /* 110 111 120 140 150 */
	}
	one.lookups = one.handles = one.dirs = 0;  /* gone with their server */
	assert_int_equal(req_getattr(&q, 110), 0); /* no INIT */
	assert_int_equal(req_read(&q, FUSE_READ, 110, 1110, 0, 10), 0);
	assert_int_equal(req_read(&q, FUSE_READ, 120, 1120, 0, 10), -ESTALE);
	assert_int_equal(req_getattr(&q, 210), -ESTALE);
	assert_int_equal(req_getattr(&q, 130), -ESTALE); /* the kernel has none of it */
	req_forget(&q, 110, 2);
	assert_int_equal(req_getattr(&q, 110), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, 110, 1110), 0);
	req_forget(&q, 110, 1);
	assert_int_equal(req_getattr(&q, 110), -ESTALE);
	fsd_session_commit(q.s);
	/* A place that was given back is used again. */
	assert_int_equal(req_lookup(&q, 1, "160"), 160);
	fsd_session_commit(q.s);
	assert_in_range(fuse_keep_last(q.s->keep), 9, 14);
	/* The kernel says good-bye: the next one starts empty. */
	fsd_session_reset(q.s);
	assert_int_equal(two.lookups, 0);
	session_killed(q.s);
	session_of(&fs_two, &two);
	assert_int_equal(fsd_session_keep(q.s, fd), 0);
	assert_int_equal(two.lookups, 0);
	assert_int_equal(req_getattr(&q, 1), -EIO);
}

/* A second guest's, in the places of the first: each is given once, also by a server that found the
 * memory used. */
static void places_are_given_once(void **state)
{
	_cleanup_close_ int fd = memfd_create("keep", MFD_CLOEXEC);
	char name[16];

	for (int server = 0; server < 3; server++) {
		assert_int_equal(fsd_session_keep(q.s, fd), 0);
		if (server == 2)
			break;
		assert_int_equal(req_init(&q), 0);
		for (unsigned int i = 0; i < 20 + 20 * (unsigned int)server; i++) {
			(void)snprintf(name, sizeof(name), "%u", 151 + i);
			assert_int_equal(req_lookup(&q, 1, name), 151 + i);
		}
		if (server == 0)
			fsd_session_reset(q.s); /* the first guest has unmounted */
		fsd_session_commit(q.s);
		session_killed(q.s);
		one.lookups = 0;
		session_of(&fs_two, &two);
	}
	assert_int_equal(two.lookups, 40);
	for (unsigned int i = 0; i < 40; i++)
		assert_int_equal(req_getattr(&q, 151 + i), 0);
}

/* Whatever the memory holds: what is taken over is counted right, and all of it given back. */
static void kept_memory_is_hostile(void **state)
{
	_cleanup_close_ int fd = memfd_create("keep", MFD_CLOEXEC),
			    null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct fuse_keep_slot *slot;
	uint32_t random = 1;
	uint8_t *p;

	assert_int_equal(fsd_session_keep(q.s, null), -EINVAL);
	assert_int_equal(fsd_session_keep(q.s, fd), 0);
	assert_int_equal(req_init(&q), 0);
	for (unsigned int i = 0; i < 40; i++)
		(void)open_node(i % 3 ? FUSE_OPEN : FUSE_OPENDIR, 110 + i, i);
	p = mmap(NULL, 4096 * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	slot = (void *)(p + 4096);
	session_killed(q.s);
	one.lookups = one.handles = one.dirs = 0;
	for (int round = 0; round < 2000; round++) {
		session_of(&fs_two, &two);
		random = random * 1664525 + 1013904223;
		((uint8_t *)slot)[(random >> 8) % (82 * sizeof(*slot))] ^= (uint8_t)(random >> 24);
		if (round % 50 == 0) /* the same twice */
			slot[(random >> 9) % 80] = slot[(random >> 16) % 80];
		assert_int_equal(fsd_session_keep(q.s, fd), 0);
		assert_true(two.lookups >= 0 && two.handles <= 80 && two.dirs <= 80);
		if (round % 10) {
			session_killed(q.s);
			continue;
		}
		(void)fsd_session_free(q.s);
		assert_int_equal(two.lookups, 0);
		assert_int_equal(two.handles, 0);
		assert_int_equal(two.dirs, 0);
		/* That emptied it: fill it anew. */
		session_of(&fs_one, &one);
		assert_int_equal(fsd_session_keep(q.s, fd), 0);
		assert_int_equal(req_init(&q), 0);
		for (unsigned int i = 0; i < 40; i++)
			(void)open_node(i % 3 ? FUSE_OPEN : FUSE_OPENDIR, 110 + i, i);
		session_killed(q.s);
		one.lookups = one.handles = one.dirs = 0;
	}
	two = (struct counting){.ops = counting_ops};
	session_of(&fs_one, &one);
	munmap(p, 4096 * 4);
}

/* ---- the overlay's */

static uint64_t NODE(void)
{
	return REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
}

static void assert_reads(uint64_t node, const char *text)
{
	assert_int_equal(req_read(&q, FUSE_READ, node, 0, 0, 100), 0);
	assert_int_equal(q.out_bytes, strlen(text));
	assert_memory_equal(q.out + 16, text, q.out_bytes);
}

static void overlay_moves(void **state)
{
	const struct fuse_create_in tmp = {.flags = O_RDWR, .mode = 0640};
	uint64_t named, nameless, lower, linkable, dir, empty, sym;
	struct fsd_session *first = q.s, *killed;
	struct fuse_link_in link;
	_cleanup_close_ int fd = -1;
	char path[128];
	struct fx fx;

	fx_init(&fx, true);
	fsd_fs_init(&fs_two, fx.b);
	session_of(&fs_two, NULL);
	assert_int_equal(req_init(&q), 0);
	assert_int_equal(req_create(&q, 1, "named", O_RDWR, 0644), 0);
	named = NODE();
	assert_int_equal(req_write(&q, named, 0, 0, "has a name", 10, 0), 0);
	assert_int_equal(req_create(&q, 1, "nameless", O_RDWR, 0600), 0);
	nameless = NODE();
	assert_int_equal(req_write(&q, nameless, 0, 0, "had a name", 10, 0), 0);
	assert_int_equal(fx.b->ops->setxattr(fx.b, &fx_req, nameless, "user.k", "v", 1, 0), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "nameless"), 0);
	lower = req_lookup(&q, 1, "c");
	assert_true(lower);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "c"), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, req_lookup(&q, 1, "a"), "d"), 0);
	req_start(&q, FUSE_TMPFILE, 1);
	req_add(&q, &tmp, sizeof(tmp));
	req_str(&q, "");
	assert_int_equal(req_run(&q), 0);
	linkable = NODE();
	assert_int_equal(req_write(&q, linkable, 0, 0, "gets one", 8, 0), 0);
	assert_int_equal(req_mkdir(&q, 1, "gone", 0755), 0);
	dir = NODE();
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "gone"), 0);
	assert_int_equal(req_create(&q, 1, "empty", O_RDWR, 0600), 0);
	empty = NODE();
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "empty"), 0);
	req_start(&q, FUSE_SYMLINK, 1);
	req_str(&q, "sym");
	req_str(&q, "somewhere");
	assert_int_equal(req_run(&q), 0);
	sym = NODE();
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "sym"), 0);
	fd = save(q.s);

	/* As after a kill: nobody has forgotten anything. */
	killed = q.s;
	fx_restart(&fx);
	fs_two.b = fx.b;
	q.s = fsd_session_new(&fs_two, &fuse_profile_guest, false);
	assert_int_equal(fsd_session_load(q.s, fd), 0);
	assert_reads(named, "has a name");
	assert_reads(nameless, "had a name");
	assert_int_equal(fx.b->ops->getxattr(fx.b, nameless, "user.k", path, 10), 1);
	assert_int_equal(req_write(&q, nameless, 0, 10, "!", 1, 0), 0);
	assert_reads(nameless, "had a name!");
	assert_reads(lower, FX_SMALL);
	assert_reads(linkable, "gets one");
	assert_int_equal(req_getattr(&q, dir), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.nlink, 0);
	assert_int_equal(req_create(&q, dir, "x", O_RDWR, 0600), -ENOENT);
	assert_reads(empty, "");
	assert_int_equal(req_write(&q, empty, 0, 0, "full", 4, 0), 0);
	assert_reads(empty, "full");
	req_start(&q, FUSE_READLINK, sym);
	assert_int_equal(req_run(&q), 0);
	assert_memory_equal(q.out + 16, "somewhere", 9);
	link.oldnodeid = linkable;
	req_start(&q, FUSE_LINK, 1);
	req_add(&q, &link, sizeof(link));
	req_str(&q, "name");
	assert_int_equal(req_run(&q), 0);
	link.oldnodeid = nameless;
	req_start(&q, FUSE_LINK, 1);
	req_add(&q, &link, sizeof(link));
	req_str(&q, "no-name");
	assert_int_equal(req_run(&q), -ENOENT);

	/* Let go, it is gone, with its file. */
	(void)snprintf(path, sizeof(path), "%s/upper/data/%02x/%llx", fx.dir,
		(unsigned int)(nameless & 0xff), (unsigned long long)nameless);
	assert_int_equal(access(path, F_OK), 0);
	req_forget(&q, nameless, 1);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(
		fx.b->ops->getattr(fx.b, nameless, 0, &(struct fuse_attr){.ino = 0}), -ESTALE);
	q.s = fsd_session_free(q.s);
	fx_restart(&fx);
	/* It has nothing of this backend's. */
	fuse_refs_done(&killed->nodes);
	free(killed);
	fx_done(&fx);
	q.s = first;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(moves), T(never_mounted), T(damaged), T(refused),
		T(limits), T(kept_over_a_kill), T(places_are_given_once), T(kept_memory_is_hostile),
		T(overlay_moves)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
