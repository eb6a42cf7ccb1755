// SPDX-License-Identifier: Apache-2.0
// msb-fsd as msbd and QEMU meet it: the real program in its jail, with every operation that its
// system call filter has to let through, on each kind of thread.
#include "tests/unit/beside.h"
#include "tests/unit/front.h"
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <cmocka.h>

static char top[PATH_MAX], bin_dir[PATH_MAX];
static int control;
static pid_t pid;
static struct front f;
static struct fusereq q;
static uint64_t base; /* the directory that a test works in */

static const char *in_top(const char *name)
{
	static char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static int setup(void **state)
{
	struct msb_err e = {0};

	(void)snprintf(top, sizeof(top), "/tmp/msb-fsd-XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(mkdir(in_top("share"), 0755), 0);
	assert_int_equal(mkdir(in_top("upper"), 0755), 0);
	assert_int_equal(mkdir(in_top("view"), 0755), 0);
	if (!plain_fsd_dir(bin_dir, sizeof(bin_dir))) {
		pid = 0;
		return 0;
	}
	pid = fsd_spawn(bin_dir, "test", NULL, in_top("control"), -1, NULL, &e);
	if (pid < 0)
		fail_msg("%s", e.msg);
	control = msb_unix_connect(in_top("control"), SOCK_SEQPACKET);
	assert_true(control >= 0);
	assert_int_equal(front_init(&f), 0);
	return 0;
}

/* How the server ended: its exit status, or 1000 + the signal. */
static int ended(void)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int teardown(void **state)
{
	struct msb_err e = {0};
	int r = 0;

	(void)fsd_fuse_unmount(in_top("view"));
	if (pid > 0) {
		r = fsd_quit(control, &e);
		if (r < 0)
			kill(pid, SIGKILL);
		if (ended() != 0)
			r = -1;
		close(control);
		front_done(&f);
	}
	(void)msb_rm_rf(AT_FDCWD, top);
	return r;
}

static int listener(const char *name)
{
	struct msb_err e = {0};
	int fd = msb_unix_listen(in_top(name), SOCK_STREAM, 0600, &e);

	assert_true(fd >= 0);
	return fd;
}

static int mount_dir(const char *name, const char *options, struct msb_err *e)
{
	_cleanup_close_ int dir = open(in_top("share"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct fsd_mount m = FSD_MOUNT_NONE;

	m.name = name;
	m.backend = "passthrough";
	m.options = options;
	m.dir_fd = dir;
	return fsd_mount(control, &m, e);
}

/* The share is mount `m` of the export. */
static void export_share(const char *tag, const char *options)
{
	struct msb_err e = {0};
	_cleanup_close_ int l = listener(tag);

	if (fsd_export_shares(control, tag, l, &e) < 0 || mount_dir("m", options, &e) < 0)
		fail_msg("%s", e.msg);
}

static void export_tree(const char *tag)
{
	struct msb_err e = {0};
	_cleanup_close_ int l = listener(tag);
	_cleanup_close_ int dir = open(in_top("upper"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fsd_tree(control, -1, -1, dir, "", &e) < 0)
		fail_msg("%s", e.msg);
	if (fsd_export_tree(control, tag, l, false, &e) < 0)
		fail_msg("%s", e.msg);
}

static ino_t upper_ino(void)
{
	struct stat st;

	assert_int_equal(stat(in_top("upper"), &st), 0);
	return st.st_ino;
}

static bool clone_is_refused(void)
{
	_cleanup_close_ int fd =
		(int)syscall(SYS_open_tree, AT_FDCWD, top, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	return fd < 0;
}

/* Carries a request over ring @arg. */
static int64_t by_ring(struct fusereq *r)
{
	unsigned int ring = (unsigned int)(uintptr_t)r->arg;
	int64_t n;

	assert_true(r->n <= 512u << 10);
	memcpy(front_in(&f, ring), r->in, r->n);
	front_request(&f, ring, (uint32_t)r->n, 512u << 10);
	n = front_wait(&f, ring, WAIT_MS);
	if (n > 0)
		memcpy(r->out, front_out(&f, ring), (size_t)n);
	return n;
}

static void attach(const char *tag)
{
	if (f.sock >= 0)
		close(f.sock);
	f.sock = msb_unix_connect(in_top(tag), SOCK_STREAM);
	assert_true(f.sock >= 0);
	assert_int_equal(front_connect(&f, 3), 0);
	q.carry = by_ring;
	q.arg = (void *)(uintptr_t)1;
	assert_int_equal(req_init(&q), 0);
	base = strcmp(tag, "root") ? req_lookup(&q, 1, "m") : 1;
	assert_true(base != 0);
}

/* Fixed arguments, then up to two strings. */
static int run(uint32_t op, uint64_t node, const void *args, size_t n, const char *a, const char *b)
{
	req_start(&q, op, node);
	req_add(&q, args, n);
	if (a)
		req_str(&q, a);
	if (b)
		req_str(&q, b);
	return req_run(&q);
}

#define NODE			  (REQ_REPLY(&q, struct fuse_entry_out)->nodeid)
#define RUN(op, node, args, a, b) run(op, node, &(args), sizeof(args), a, b)

/* Every operation at least once. @stateless: no OPEN, handles are 0. */
static void every_operation(bool stateless, bool flags)
{
	static char big[256 << 10];
	const struct fuse_mknod_in fifo = {.mode = S_IFIFO | 0600};
	const struct fuse_create_in tmp = {.flags = O_RDWR, .mode = 0600};
	struct fuse_setattr_in set = {.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE |
					       FATTR_ATIME_NOW | FATTR_MTIME,
		.mode = 0640,
		.uid = geteuid(),
		.gid = getegid(),
		.size = 1000};
	const uint32_t xget[2] = {100, 0};
	const uint64_t zero = 0;
	const struct {
		struct fuse_ioctl_in in;
		uint32_t flags;
	} nodump = {{.cmd = FS_IOC_SETFLAGS, .in_size = 4}, FS_NODUMP_FL};
	struct fuse_fsync_in fsync = {0};
	struct fuse_fallocate_in fallocate = {.length = 8192};
	struct fuse_lseek_in lseek = {.whence = SEEK_DATA};
	struct fuse_copy_file_range_in copy = {.len = 10};
	struct fuse_link_in link;
	uint64_t dir, file, fh, dh;

	assert_int_equal(req_mkdir(&q, base, "dir", 0755), 0);
	dir = NODE;
	assert_int_equal(req_create(&q, dir, "file", O_RDWR, 0644), 0);
	file = NODE;
	fh = req_created_fh(&q);
	assert_int_equal(fh == 0, stateless);
	memset(big, 'b', sizeof(big));
	assert_int_equal(req_write(&q, file, fh, 0, big, sizeof(big), FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(req_read(&q, FUSE_READ, file, fh, 0, sizeof(big)), 0);
	assert_int_equal(q.out_bytes, sizeof(big));
	assert_memory_equal(q.out + 16, big, sizeof(big));
	assert_int_equal(req_setattr(&q, file, &set), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 1000);
	assert_int_equal(req_getattr(&q, file), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.mode & 0777, 0640);
	fallocate.fh = lseek.fh = fsync.fh = fh;
	assert_int_equal(RUN(FUSE_FALLOCATE, file, fallocate, NULL, NULL), 0);
	assert_int_equal(RUN(FUSE_LSEEK, file, lseek, NULL, NULL), 0);
	lseek.offset = UINT64_MAX; /* a negative one: xfstests generic/448 */
	assert_int_equal(RUN(FUSE_LSEEK, file, lseek, NULL, NULL), -ENXIO);
	copy.fh_in = copy.fh_out = fh;
	copy.nodeid_out = file;
	copy.off_out = 5000;
	assert_in_range(-RUN(FUSE_COPY_FILE_RANGE, file, copy, NULL, NULL), 0, ENOSYS);
	assert_int_equal(RUN(FUSE_FSYNC, file, fsync, NULL, NULL), 0);
	fsync.fsync_flags = FUSE_FSYNC_FDATASYNC;
	assert_int_equal(RUN(FUSE_FSYNC, file, fsync, NULL, NULL), 0);
	assert_int_equal(req_release(&q, FUSE_RELEASE, file, fh), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, file, O_RDONLY), stateless ? -ENOSYS : 0);

	assert_int_equal(req_setxattr(&q, file, "user.k", "val", 3), 0);
	assert_int_equal(RUN(FUSE_GETXATTR, file, xget, "user.k", NULL), 0);
	assert_memory_equal(q.out + 16, "val", 3);
	assert_int_equal(RUN(FUSE_LISTXATTR, file, xget, NULL, NULL), 0);
	assert_int_equal(q.out_bytes, 7);
	assert_int_equal(req_name(&q, FUSE_REMOVEXATTR, file, "user.k"), 0);

	link.oldnodeid = file;
	assert_int_equal(RUN(FUSE_LINK, dir, link, "link", NULL), 0);
	assert_int_equal(run(FUSE_SYMLINK, dir, NULL, 0, "sym", "target"), 0);
	assert_int_equal(run(FUSE_READLINK, NODE, NULL, 0, NULL, NULL), 0);
	assert_int_equal(q.out_bytes, 6);
	assert_int_equal(RUN(FUSE_MKNOD, dir, fifo, "fifo", NULL), 0);
	if (RUN(FUSE_TMPFILE, dir, tmp, "", NULL) != -ENOSYS) {
		link.oldnodeid = NODE;
		assert_int_equal(RUN(FUSE_LINK, dir, link, "tmp", NULL), 0);
		assert_int_equal(req_name(&q, FUSE_UNLINK, dir, "tmp"), 0);
	}
	assert_int_equal(req_rename(&q, dir, "link", base, "moved", 0), 0);
	assert_int_equal(req_rename(&q, base, "moved", dir, "sym", 0), 0);
	assert_int_equal(req_lookup(&q, dir, "sym"), file);

	assert_int_equal(req_open(&q, FUSE_OPENDIR, dir, 0), stateless ? -ENOSYS : 0);
	dh = stateless ? 0 : REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_int_equal(req_read(&q, FUSE_READDIR, dir, dh, 0, 4096), 0);
	assert_true(q.out_bytes > 5 * 24);
	assert_int_equal(req_read(&q, FUSE_READDIRPLUS, dir, dh, 0, 4096), 0);
	assert_true(q.out_bytes > 5 * 128);
	fsync = (struct fuse_fsync_in){.fh = dh};
	assert_int_equal(RUN(FUSE_FSYNCDIR, dir, fsync, NULL, NULL), 0);
	if (!stateless)
		assert_int_equal(req_release(&q, FUSE_RELEASEDIR, dir, dh), 0);
	assert_int_equal(run(FUSE_STATFS, base, NULL, 0, NULL, NULL), 0);
	assert_true(REQ_REPLY(&q, struct fuse_statfs_out)->st.blocks > 0);
	assert_int_equal(RUN(FUSE_SYNCFS, 1, zero, NULL, NULL), 0);
	assert_int_equal(run(FUSE_IOCTL, file, &nodump, sizeof(nodump.in) + 4, NULL, NULL),
		flags ? 0 : -ENOTTY);
	assert_int_equal(run(FUSE_BMAP, file, &zero, 8, NULL, NULL), -ENOSYS);

	assert_int_equal(req_name(&q, FUSE_UNLINK, dir, "sym"), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, dir, "fifo"), 0);
	assert_int_equal(req_name(&q, FUSE_RMDIR, base, "dir"), -ENOTEMPTY);
	assert_int_equal(req_name(&q, FUSE_UNLINK, dir, "file"), 0);
	assert_int_equal(req_name(&q, FUSE_RMDIR, base, "dir"), 0);
	req_forget(&q, dir, 1);
}

static void share_serves_a_guest(void **state)
{
	if (!pid)
		skip();
	export_share("share.sock", "");
	attach("share.sock");
	every_operation(true, geteuid() != 0); /* map=root */
	q.arg = (void *)(uintptr_t)2;	       /* another ring, another thread */
	every_operation(true, geteuid() != 0); /* map=root */
	attach("share.sock");		       /* the next QEMU */
	every_operation(true, geteuid() != 0); /* map=root */
}

static void tree_serves_a_guest(void **state)
{
	if (!pid)
		skip();
	export_tree("root");
	attach("root");
	every_operation(true, true);
	every_operation(true, true);
}

static void readonly_share(void **state)
{
	if (!pid)
		skip();
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, in_top("share/f"), "x", 1, 0644), 0);
	export_share("ro", "ro");
	attach("ro");
	assert_true(req_lookup(&q, base, "f") > 1);
	assert_int_equal(req_create(&q, base, "g", O_RDWR, 0644), -EROFS);
	assert_int_equal(req_name(&q, FUSE_UNLINK, base, "f"), -EROFS);
	assert_int_equal(access(in_top("share/f"), F_OK), 0);
}

/* A step of xorshift64*. */
static uint64_t dice(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dULL;
}

/* Sends FORGET of one reference of @node from descriptor @i, as a guest's kernel does: with a kick
 * only where one is asked for. Whether it was. */
static bool forget_one(uint64_t node, uint16_t i)
{
	const struct fuse_forget_in in = {.nlookup = 1};
	const size_t at = FRONT_DATA + i * 64u;
	uint16_t asked;

	req_start(&q, FUSE_FORGET, node);
	req_add(&q, &in, sizeof(in));
	req_head(&q)->len = (uint32_t)q.n;
	memcpy(f.mem + at, q.in, q.n);
	front_desc(&f, 0)[i] = (struct vring_desc){FRONT_GPA + at, (uint32_t)q.n, 0, 0};
	front_offer(&f, 0, i);
	asked = __atomic_load_n((const uint16_t *)(const void *)&front_used(&f, 0)->ring[FRONT_NUM],
		__ATOMIC_SEQ_CST);
	if (!vring_need_event(
		    asked, front_avail(&f, 0)->idx, (uint16_t)(front_avail(&f, 0)->idx - 1)))
		return false;
	(void)eventfd_write(f.kick[0], 1);
	return true;
}

/* Sends @n FORGETs of @node and waits for them. How many kicks that took. */
static unsigned int forget(uint64_t node, uint16_t n)
{
	unsigned int kicks = 0;

	for (uint16_t i = 0; i < n; i++)
		kicks += forget_one(node, i);
	for (uint16_t i = 0; i < n; i++)
		assert_int_equal(front_wait(&f, 0, WAIT_MS), 0);
	return kicks;
}

/* Burst after burst comes while the server naps: most need no kick at all. */
static void forgetting_needs_few_kicks_and_loses_none(void **state)
{
	const unsigned int bursts = 100, most = 40; /* of one burst */
	unsigned int kicks = 0, held = 0;
	uint64_t seed = 1, node = 0;

	if (!pid)
		skip();
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, in_top("share/f"), "x", 1, 0644), 0);
	export_share("share.sock", "");
	attach("share.sock");
	for (; held < bursts * most; held++)
		node = req_lookup(&q, base, "f");
	assert_int_equal(req_getattr(&q, node), 0);
	for (unsigned int burst = 0; burst < bursts; burst++) {
		unsigned int n = 1 + (unsigned int)(dice(&seed) % most);

		kicks += forget(node, n);
		held -= n;
	}
	assert_in_range(kicks, 1, bursts / 2);
	for (; held > 1; held -= held > most ? most : held - 1)
		(void)forget(node, held > most ? most : held - 1);
	assert_int_equal(req_getattr(&q, node), 0);
	(void)forget(node, 1);
	assert_int_equal(req_getattr(&q, node), -ESTALE);
}

static void broken_queue_ends_nothing_else(void **state)
{
	if (!pid)
		skip();
	export_share("share.sock", "");
	attach("share.sock");
	front_offer(&f, 1, FRONT_NUM + 5);
	(void)eventfd_write(f.kick[1], 1);
	assert_int_equal(front_wait(&f, 1, 100), -ETIMEDOUT);
	q.arg = (void *)(uintptr_t)2;
	assert_int_equal(req_getattr(&q, base), 0);
	/* Too short to be a request: the same. */
	front_request(&f, 2, 10, 100);
	assert_int_equal(front_wait(&f, 2, 100), -ETIMEDOUT);
	attach("share.sock");
	assert_int_equal(req_getattr(&q, base), 0);
}

/* Fills @n bytes, half of them with what makes sense somewhere. */
static void scribble(uint8_t *p, size_t n, uint64_t *seed)
{
	static const uint64_t likely[] = {0, 1, 2, 3, 4, 5, 16, 40, 64, 255, 1024, 4096, 65535,
		FRONT_GPA, FRONT_GPA + FRONT_DATA, FRONT_GPA + FRONT_BYTES - 16, UINT64_MAX};

	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t v = dice(seed);

		if (v & 1)
			v = likely[(v >> 8) % ARRAY_LEN(likely)] | (v >> 60 & 3) << 32;
		memcpy(p + i, &v, sizeof(v));
	}
}

/* One guest that has been taken over, on every ring at once. */
static void attack(struct front *bad, uint64_t *seed)
{
	for (unsigned int k = 0; k < FRONT_QUEUES; k++) {
		struct vring_desc *d = front_desc(bad, k);
		uint64_t how = dice(seed);

		scribble(front_in(bad, k), 4096, seed);
		/* Sometimes a request that is one but for a few words, else anything. */
		front_request(bad, k, (uint32_t)(how % 300), how & 1 ? 4096 : 0);
		if (how & 2)
			scribble((uint8_t *)d, sizeof(*d) * (how >> 8 & 3), seed);
		if (how & 4)
			scribble((uint8_t *)(void *)d, sizeof(*d) * FRONT_NUM, seed);
		if (how & 8)
			scribble((uint8_t *)(void *)front_avail(bad, k), 2 * FRONT_NUM + 8, seed);
		if (how & 16)
			scribble((uint8_t *)(void *)front_used(bad, k), 8 * FRONT_NUM, seed);
		if (how & 32)
			front_avail(bad, k)->idx = (uint16_t)(how >> 16);
		for (int i = 0; i < 3; i++)
			front_offer(bad, k, (uint16_t)(dice(seed) % (FRONT_NUM + 2)));
		(void)eventfd_write(bad->kick[k], 1);
	}
}

/* Front ends of one share throw rings at the server that no guest would make; whoever uses the
 * other export notices nothing. */
static void hostile_rings_hurt_nobody(void **state)
{
	uint64_t seed = (uint64_t)getpid() << 32 | (uint64_t)time(NULL);
	struct front bad;

	if (!pid)
		skip();
	print_message("seed %llu\n", (unsigned long long)seed);
	export_tree("root");
	attach("root");
	export_share("share.sock", "");
	assert_int_equal(req_create(&q, base, "file", O_RDWR, 0644), 0);
	assert_int_equal(front_init(&bad), 0);
	for (int round = 0; round < 300; round++) {
		bad.sock = msb_unix_connect(in_top("share.sock"), SOCK_STREAM);
		assert_true(bad.sock >= 0);
		assert_int_equal(front_connect(&bad, FRONT_QUEUES), 0);
		attack(&bad, &seed);
		assert_true(req_lookup(&q, base, "file") != 0);
		assert_int_equal(req_getattr(&q, base), 0);
		close(steal_fd(&bad.sock)); /* while it works on that, as often as not */
		assert_int_equal(kill(pid, 0), 0);
	}
	front_done(&bad);
	attach("share.sock"); /* and it serves there too */
	assert_int_equal(req_create(&q, base, "file", O_RDWR, 0644), 0);
}

/* Descriptors on which a read or a write waits though they are ready: kicks of less than is read,
 * a full counter for calls. */
static void descriptors_that_block(void **state)
{
	const struct timeval patience = {.tv_sec = 10};
	const int call = eventfd(0, EFD_CLOEXEC), all = 8;
	struct front bad;
	int kick[2];

	if (!pid)
		skip();
	export_share("share.sock", "");
	assert_int_equal(front_init(&bad), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, kick), 0);
	assert_int_equal(setsockopt(kick[1], SOL_SOCKET, SO_RCVLOWAT, &all, sizeof(all)), 0);
	assert_true(dup3(kick[1], bad.kick[0], O_CLOEXEC) >= 0);
	assert_true(dup3(call, bad.call[0], O_CLOEXEC) >= 0);
	assert_int_equal(eventfd_write(call, UINT64_MAX - 1), 0);
	bad.sock = msb_unix_connect(in_top("share.sock"), SOCK_STREAM);
	assert_true(bad.sock >= 0);
	assert_int_equal(
		setsockopt(bad.sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	assert_int_equal(front_reconnect(&bad, 1), 0);
	assert_int_equal(write(kick[0], "k", 1), 1);
	while (msb_wait_fd(kick[1], POLLIN, 0) == 0) /* until it is taken */
		usleep(1000);
	close(steal_fd(&bad.sock));
	attach("share.sock");
	assert_int_equal(req_getattr(&q, base), 0);
	front_done(&bad);
	close(call);
	close(kick[0]);
	close(kick[1]);
}

static void control_comes_and_goes(void **state)
{
	struct msb_err e = {0};
	struct msb_msg *m = malloc(sizeof(*m));
	uint64_t n;

	if (!pid)
		skip();
	export_share("share.sock", "");
	attach("share.sock");
	close(control); /* msbd dies */
	assert_int_equal(req_getattr(&q, base), 0);
	control = msb_unix_connect(in_top("control"), SOCK_SEQPACKET);
	assert_true(control >= 0);
	(void)req_mkdir(&q, base, "d", 0755);
	msb_msg_init(m, "status");
	assert_int_equal(msb_msg_call(control, m, 5000, &e), 0);
	assert_int_equal(msb_msg_get_u64(m, "exports", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(msb_msg_get_u64(m, "mounts", &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(msb_msg_get_u64(m, "nodes", &n), 0);
	assert_int_equal(n, 2); /* m and m/d */
	/* Requests are counted when a queue has no more of them. */
	do {
		msb_msg_init(m, "status");
		assert_int_equal(msb_msg_call(control, m, 5000, &e), 0);
		assert_int_equal(msb_msg_get_u64(m, "requests", &n), 0);
	} while (n < 4);
	assert_int_equal(n, 4);

	assert_int_equal(fsd_unexport(control, "share.sock", &e), 0);
	assert_int_equal(fsd_unexport(control, "share.sock", &e), -ENOENT);
	assert_int_equal(msb_wait_fd(f.sock, POLLHUP, WAIT_MS), 0);
	msb_msg_init(m, "nonsense");
	assert_int_equal(msb_msg_call(control, m, 5000, &e), -ENOSYS);
	free(m);
}

static void bad_control_messages(void **state)
{
	struct msb_err e = {0};
	struct msb_msg *m = malloc(sizeof(*m));

	if (!pid)
		skip();
	{
		_cleanup_close_ int l = listener("a");
		_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		struct fsd_mount bad = FSD_MOUNT_NONE;

		assert_int_equal(fsd_export_tree(control, "a", l, false, &e), -ENOENT);
		assert_int_equal(fsd_view(control, NULL, null, &e), -ENOENT);
		assert_int_equal(fsd_view(control, "m", null, &e), -ENOENT);
		assert_int_equal(fsd_export_shares(control, "", l, &e), -EINVAL);
		assert_int_equal(
			fsd_export_shares(control, "a-tag-longer-than-thirty-six-bytes-xx", l, &e),
			-EINVAL);
		assert_int_equal(fsd_export_shares(control, "a", l, &e), 0);
		assert_int_equal(fsd_export_shares(control, "a", l, &e), -EEXIST);
		for (int i = 1; i < FSD_MAX_EXPORTS; i++) {
			char tag[8];

			(void)snprintf(tag, sizeof(tag), "t%d", i);
			assert_int_equal(fsd_export_shares(control, tag, l, &e), 0);
		}
		assert_int_equal(fsd_export_shares(control, "more", l, &e), -ENOSPC);

		bad.name = "m";
		bad.backend = "nonsense";
		bad.options = "";
		assert_int_equal(fsd_mount(control, &bad, &e), -EOPNOTSUPP);
		bad.backend = "passthrough";
		assert_true(fsd_mount(control, &bad, &e) < 0); /* no directory */
		bad.dir_fd = null;
		assert_int_equal(fsd_mount(control, &bad, &e), -ENOTDIR);
		assert_int_equal(mount_dir("m", "quota=x", &e), -EINVAL);
		assert_int_equal(mount_dir("M/..", "", &e), -EINVAL);
		assert_int_equal(mount_dir("m", "", &e), 0);
		assert_int_equal(mount_dir("m", "", &e), -EEXIST);
		assert_int_equal(fsd_unmount(control, "n", &e), -ENOENT);
		assert_int_equal(fsd_unmount(control, "m", &e), 0);
		assert_int_equal(fsd_unmount(control, "m", &e), -ENOENT);
	}
	msb_msg_init(m, "export");
	assert_int_equal(msb_msg_call(control, m, 5000, &e), -EINVAL);
	/* Garbage costs its sender the connection, and no more. */
	assert_int_equal(send(control, "garbage", 7, MSG_NOSIGNAL), 7);
	assert_int_equal(recv(control, m, 7, 0), 0);
	close(control);
	control = msb_unix_connect(in_top("control"), SOCK_SEQPACKET);
	assert_int_equal(fsd_unmount(control, "none", &e), -ENOENT); /* it answers */
	free(m);
}

static void tree_is_seen_from_the_host(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	int fd;

	if (!pid)
		skip();
	export_tree("root");
	fd = fsd_fuse_mount(in_top("view"), false, &e);
	if (fd < 0) /* no /dev/fuse here, or not for us */
		skip();
	assert_int_equal(fsd_view(control, NULL, fd, &e), 0);
	close(fd);
	attach("root");
	assert_int_equal(req_create(&q, 1, "guest", O_RDWR, 0644), 0);
	{
		uint64_t node = NODE;

		assert_int_equal(req_write(&q, node, req_created_fh(&q), 0, "one", 3, 0), 0);
		assert_int_equal(msb_read_file(AT_FDCWD, in_top("view/guest"), 100, &s), 0);
		assert_string_equal(s.buf, "one");
		/* Same length, at once: what the host reads is never the old. */
		assert_int_equal(req_write(&q, node, 0, 0, "two", 3, 0), 0);
		msb_str_done(&s);
		assert_int_equal(msb_read_file(AT_FDCWD, in_top("view/guest"), 100, &s), 0);
		assert_string_equal(s.buf, "two");
		msb_str_done(&s);
	}
	assert_int_equal(
		msb_write_file_atomic(AT_FDCWD, in_top("view/host"), "from here", 9, 0640), 0);
	assert_true(req_lookup(&q, 1, "host") > 1);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 9);
	assert_int_equal(mkdir(in_top("view/d"), 0700), 0);
	assert_int_equal(rename(in_top("view/d"), "/nonexistent/d"), -1);
	assert_int_equal(rmdir(in_top("view/d")), 0);
	assert_int_equal(fsd_fuse_unmount(in_top("view")), 0);
	assert_int_equal(fsd_fuse_unmount(in_top("view")), 0);
	assert_int_equal(access(in_top("view/host"), F_OK), -1);
	assert_int_equal(req_getattr(&q, 1), 0);
}

/* Mounts come and go under a guest that has their file system mounted, and are seen from the host.
 */
static void mounts_come_and_go(void **state)
{
	struct msb_str s = MSB_STR_INIT;
	struct msb_err e = {0};
	uint64_t file;
	int fd;

	if (!pid)
		skip();
	export_share("share.sock", "");
	attach("share.sock");
	assert_int_equal(req_create(&q, base, "file", O_RDWR, 0644), 0);
	file = NODE;
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "n"), -ENOENT);
	assert_int_equal(mount_dir("n", "ro", &e), 0);
	base = req_lookup(&q, 1, "n");
	assert_true(base != 0);
	assert_true(req_lookup(&q, base, "file") != 0);
	assert_int_equal(req_create(&q, base, "other", O_RDWR, 0644), -EROFS);
	fd = fsd_fuse_mount(in_top("view"), false, &e);
	if (fd >= 0) { /* else there is no /dev/fuse here, or not for us */
		assert_int_equal(fsd_view(control, "m", fd, &e), 0);
		close(fd);
		assert_int_equal(
			msb_write_file_atomic(AT_FDCWD, in_top("view/host"), "x", 1, 0644), 0);
		assert_int_equal(msb_read_file(AT_FDCWD, in_top("share/host"), 10, &s), 0);
		msb_str_done(&s);
	}
	assert_int_equal(fsd_unmount(control, "m", &e), 0);
	assert_int_equal(req_getattr(&q, file), -ESTALE);
	assert_true(req_lookup(&q, base, "file") != 0); /* n goes on */
	if (fd >= 0)
		assert_int_equal(access(in_top("view/host"), F_OK), -1);
	assert_int_equal(fsd_fuse_unmount(in_top("view")), 0);
}

/* What a guest does in a mount that is audited is in a file of the directory that was given. */
static void audit_is_written(void **state)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	_cleanup_close_ int dir = open(in_top("upper"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct msb_err e = {0};

	if (!pid)
		skip();
	assert_int_equal(fsd_audit(control, dir, &e), 0);
	assert_int_equal(fsd_audit(control, dir, &e), -EEXIST);
	export_share("share.sock", "audit");
	attach("share.sock");
	assert_int_equal(req_mkdir(&q, base, "made", 0755), 0);
	for (int i = 0; i < WAIT_MS / 10 && !strstr(s.buf ?: "", "made"); i++) {
		usleep(10000);
		msb_str_done(&s);
		(void)msb_read_file(AT_FDCWD, in_top("upper/audit"), 4096, &s);
	}
	assert_non_null(strstr(s.buf, "\"mount\":\"m\""));
	assert_non_null(strstr(s.buf, "\"op\":\"mkdir\""));
	assert_non_null(strstr(s.buf, "\"path\":\"/made\""));
}

static void denials_are_told(void **state)
{
	struct fsd_denied x = {0};
	struct msb_err e = {0};
	int watch[2], r = 0;

	if (!pid)
		skip();
	export_share("share.sock", "deny=/no*");
	attach("share.sock");
	/* What was refused before anybody watched is told then. */
	assert_int_equal(req_mkdir(&q, base, "no", 0755), -EACCES);
	for (int i = 0; i < 2; i++) {
		watch[i] = fsd_watch(in_top("control"), &e);
		assert_true(watch[i] >= 0);
	}
	for (int i = 0; i < 2; i++) {
		do {
			if (r == -EAGAIN)
				assert_int_equal(msb_wait_fd(watch[i], POLLIN, WAIT_MS), 0);
			r = fsd_watch_next(watch[i], &x);
			assert_true(r >= 0 || r == -EAGAIN);
		} while (r != 1 && i == 0);
		if (i == 0) {
			assert_string_equal(x.mount, "m");
			assert_string_equal(x.path, "/no");
			assert_string_equal(x.op, "mkdir");
			assert_int_equal(x.error, EACCES);
		}
	}
	close(watch[0]); /* the others go on */
	assert_int_equal(req_mkdir(&q, base, "none", 0755), -EACCES);
	for (int i = 0; i < 3 && strcmp(x.path, "/none") != 0; i++) {
		assert_int_equal(msb_wait_fd(watch[1], POLLIN, WAIT_MS), 0);
		assert_true(fsd_watch_next(watch[1], &x) >= 0);
	}
	assert_string_equal(x.path, "/none");
	close(watch[1]);
	assert_int_equal(fsd_unmount(control, "none", &e), -ENOENT); /* it answers */
}

/* A server that was taken over has no descriptor that leads above what it serves. */
static void descriptors_lead_nowhere(void **state)
{
	unsigned int dirs = 0;
	struct dirent *de;
	char path[128];
	DIR *d;

	if (!pid || geteuid() != 0 || clone_is_refused())
		skip();
	export_tree("root");
	export_share("share.sock", "");
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	assert_non_null(d);
	while ((de = readdir(d))) {
		struct stat st, up;
		int n;

		if (de->d_name[0] == '.' || fstatat(dirfd(d), de->d_name, &st, 0) < 0 ||
			!S_ISDIR(st.st_mode))
			continue;
		n = snprintf(path, sizeof(path), "%.20s/..", de->d_name);
		assert_in_range(n, 4, sizeof(path) - 1);
		assert_int_equal(fstatat(dirfd(d), path, &up, 0), 0);
		/* data/ of the tree lies one below */
		assert_true(up.st_ino == st.st_ino || up.st_ino == upper_ino());
		dirs++;
	}
	closedir(d);
	assert_in_range(dirs, 4, 20); /* /proc/self/fd, upper, data, share */
}

/* Nor one of an image's index that it could open to write, whatever its rights: that is many
 * sandboxes'. */
static void an_index_is_to_read(void **state)
{
	_cleanup_close_ int file = -1, got = -1, again = -1;
	char path[64], text[4] = "";
	struct msb_msg m;
	int sv[2], status;
	pid_t client;

	if (geteuid() != 0 || clone_is_refused())
		skip();
	file = openat(AT_FDCWD, in_top("index"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(msb_write_full(file, "abc", 3), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	client = fork();
	if (client == 0)
		_exit(fsd_tree(sv[1], file, -1, -1, "", NULL) < 0);
	assert_int_equal(msb_msg_recv(sv[0], &m), 0);
	assert_string_equal(msb_msg_get(&m, "index"), "0");
	got = msb_msg_take_fd(&m, 0);
	assert_int_equal(msb_pread_full(got, text, 3, 0), 3);
	assert_string_equal(text, "abc");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", got);
	again = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(again >= 0);
	assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(msb_msg_reply_ok(sv[0]), 0);
	assert_int_equal(waitpid(client, &status, 0), client);
	assert_int_equal(status, 0);
	close(sv[0]);
	close(sv[1]);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(share_serves_a_guest), T(tree_serves_a_guest),
		T(readonly_share), T(forgetting_needs_few_kicks_and_loses_none),
		T(broken_queue_ends_nothing_else), T(hostile_rings_hurt_nobody),
		T(descriptors_that_block), T(control_comes_and_goes), T(bad_control_messages),
		T(tree_is_seen_from_the_host), T(mounts_come_and_go), T(audit_is_written),
		T(denials_are_told), T(descriptors_lead_nowhere), T(an_index_is_to_read)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
