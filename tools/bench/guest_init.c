// SPDX-License-Identifier: Apache-2.0
/*
 * PID 1 of the machine of tools/bench/guest and tools/bench/find: what a guest feels of the file
 * systems it has mounted.
 *
 * From the kernel's command line: bench=TAG[/DIR],... rounds=N untars=N find=1 only=OP,... Each tag
 * is mounted (vdX: a disk with ext4; tmpfs: a tmpfs of the guest's own); for every operation each
 * has its turn, a round after another. find=1: nothing is written, and the one operation is to find
 * every name. Lines on the console:
 *	@ OP TAG US REQUESTS	microseconds of one operation, and requests sent (-1: not counted)
 *	@ OP TAG OPCODE=N,...	the same requests by kind, of all of the turn
 *	@ end
 * Requests are counted by the kernel's own trace point, in a turn of its own that is not timed.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_MOUNTS	8
#define FILES		200
#define DATA_BYTES	(16u << 20)
#define FIO_SMALL_BYTES (4u << 20)
#define EVENT		"/sys/kernel/tracing/events/fuse/fuse_request_send"
#define HIST		"hist:keys=connection,opcode"

static struct {
	char tag[40], dir[200];
	unsigned int minor; /* of its device: FUSE's name of the connection */
} mounts[MAX_MOUNTS];
static int nmounts;
static bool counting; /* the trace point is there */

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd >= 0) {
		(void)!write(fd, text, strlen(text));
		close(fd);
	}
}

static void drop_caches(void)
{
	put("/proc/sys/vm/drop_caches", "3");
}

/* ---- requests */

static void count_start(void)
{
	if (counting) {
		put(EVENT "/trigger", "!" HIST);
		put(EVENT "/trigger", HIST);
	}
}

/* How many were sent on the connection, or -1; by kind in @kinds. */
static long count_of(unsigned int minor, char *kinds, size_t cap)
{
	FILE *f = counting ? fopen(EVENT "/hist", "re") : NULL;
	unsigned long key, opcode, hits;
	char line[256];
	long n = f ? 0 : -1;
	size_t at = 0;

	*kinds = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "{ connection: %lu, opcode: %lu } hitcount: %lu", &key, &opcode,
			    &hits) == 3 &&
			key == minor) {
			n += (long)hits;
			if (at + 32 < cap)
				at += (size_t)sprintf(
					kinds + at, "%s%lu=%lu", at ? "," : "", opcode, hits);
		}
	if (f)
		(void)fclose(f);
	return n;
}

/* ---- operations: each works in the current directory */

__attribute__((noreturn)) static void failed(const char *what)
{
	printf("@ failed %s: %m\n", what);
	(void)fflush(stdout);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void must(bool ok, const char *what)
{
	if (!ok)
		failed(what);
}

static void name_of(char *p, const char *prefix, int i)
{
	(void)sprintf(p, "%s%04d", prefix, i);
}

static void read_all(void)
{
	char name[32], buf[4096];

	for (int i = 0; i < FILES; i++) {
		int fd;

		name_of(name, "w/f", i);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		must(fd >= 0 && read(fd, buf, sizeof(buf)) == sizeof(buf), name);
		close(fd);
	}
}

static void create_all(void)
{
	char name[32];

	for (int i = 0; i < FILES; i++) {
		int fd;

		name_of(name, "w/n", i);
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		must(fd >= 0, name);
		close(fd);
	}
}

static void rename_all(void)
{
	char from[32], to[32];

	for (int i = 0; i < FILES; i++) {
		name_of(from, "w/n", i);
		name_of(to, "w/m", i);
		must(rename(from, to) == 0, from);
	}
}

static void unlink_all(void)
{
	char name[32];

	for (int i = 0; i < FILES; i++) {
		name_of(name, "w/m", i);
		must(unlink(name) == 0, name);
	}
}

static void stat_all(void)
{
	struct stat st;
	char name[32];

	for (int i = 0; i < FILES; i++) {
		name_of(name, "w/f", i);
		must(stat(name, &st) == 0, name);
	}
}

static void run(char *const argv[])
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		execv(argv[0], argv);
		_exit(127);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, argv[0]);
}

static void find(void)
{
	run((char *[]){"/bin/busybox", "find", "tree", "-size", "+100k", NULL});
}

static void find_all(void)
{
	run((char *[]){"/bin/busybox", "find", ".", "-xdev", NULL});
}

static void git_status(void)
{
	must(chdir("tree") == 0, "tree");
	run((char *[]){"/usr/bin/git", "status", "--short", NULL});
	must(chdir("..") == 0, "..");
}

static void untar(void)
{
	run((char *[]){"/bin/busybox", "tar", "xf", "/files.tar", NULL});
}

static void remove_untarred(void)
{
	run((char *[]){"/bin/busybox", "rm", "-r", "files", NULL});
}

/* Data: like fio's sequential jobs, buffered; writes end on the server. */
static void data(bool writes, size_t block)
{
	static char buf[1u << 20];
	int fd = open("w/data", writes ? O_RDWR | O_CREAT : O_RDONLY, 0644);

	must(fd >= 0, "w/data");
	for (size_t at = 0; at < DATA_BYTES; at += block) {
		ssize_t n = writes ? pwrite(fd, buf, block, (off_t)at)
				   : pread(fd, buf, block, (off_t)at);

		must(n == (ssize_t)block, "w/data");
	}
	must(!writes || fsync(fd) == 0, "fsync");
	close(fd);
}

/* The same at random places, past the guest's cache of what it reads. */
static void random_4k(bool writes)
{
	static _Alignas(4096) char buf[4096];
	int fd = open("w/data", O_RDWR | O_DIRECT);
	unsigned int seed = 1;

	if (fd < 0) /* some servers do not allow it */
		fd = open("w/data", O_RDWR);
	must(fd >= 0, "w/data");
	for (int i = 0; i < FILES; i++) {
		off_t at = rand_r(&seed) % (DATA_BYTES / 4096) * 4096;
		ssize_t n =
			writes ? pwrite(fd, buf, sizeof(buf), at) : pread(fd, buf, sizeof(buf), at);

		must(n == sizeof(buf), "w/data");
	}
	close(fd);
}

/* fio's own jobs, past the guest's cache; what it says of one operation is in fio_us. It counts
 * milliseconds, so that those of few operations are done a number of times. */
#define FIO_LOOPS 8
static double fio_us;

static void fio(bool writes, const char *rw, const char *block, size_t bytes, int loops)
{
	char arg_rw[32], arg_bs[32], arg_size[32], arg_loops[32], line[4096] = "", *p = line;
	int iops_field = writes ? 49 : 8; /* of the terse format, from 1 */
	int fd;

	(void)snprintf(arg_rw, sizeof(arg_rw), "--rw=%s", rw);
	(void)snprintf(arg_bs, sizeof(arg_bs), "--bs=%s", block);
	(void)snprintf(arg_size, sizeof(arg_size), "--size=%zu", bytes);
	(void)snprintf(arg_loops, sizeof(arg_loops), "--loops=%d", loops);
	run((char *[]){"/usr/bin/fio", "--name=job", "--filename=w/fio", arg_rw, arg_bs, arg_size,
		"--direct=1", "--ioengine=psync", arg_loops, "--thread", "--minimal",
		"--output=/fio.out", NULL});
	fd = open("/fio.out", O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && read(fd, line, sizeof(line) - 1) > 0, "/fio.out");
	close(fd);
	for (int i = 1; p && i < iops_field; i++)
		p = strchr(p + 1, ';');
	must(p && atof(p + 1) > 0, line);
	fio_us = 1e6 / atof(p + 1);
}

static void fio_write_4k(void)
{
	fio(true, "randwrite", "4k", FIO_SMALL_BYTES, 1);
}
static void fio_read_4k(void)
{
	fio(false, "randread", "4k", FIO_SMALL_BYTES, 1);
}
static void fio_write_1m(void)
{
	fio(true, "write", "1m", DATA_BYTES, FIO_LOOPS);
}
static void fio_read_1m(void)
{
	fio(false, "read", "1m", DATA_BYTES, FIO_LOOPS);
}

static void write_4k(void)
{
	data(true, 4096);
}
static void write_1m(void)
{
	data(true, 1u << 20);
}
static void read_4k(void)
{
	data(false, 4096);
}
static void read_1m(void)
{
	data(false, 1u << 20);
}
static void random_read_4k(void)
{
	random_4k(false);
}
static void random_write_4k(void)
{
	random_4k(true);
}

enum {
	COLD = 1,  /* the guest has forgotten what it knew */
	WARM = 2,  /* ... knows all of it: the same was done just before */
	HEAVY = 4, /* in the first rounds alone: untars= */
	GIT = 8,   /* needs git in the guest */
	FIO = 16,  /* needs fio there, and takes the time from it */
	TREE = 32, /* works on what is unpacked of tree.tar */
};

struct op {
	const char *name;
	void (*fn)(void);
	int count; /* operations of one run */
	int flags;
};

/* In the order of one round: later ones use what earlier ones made. */
static const struct op all_ops[] = {
	{"reopen", read_all, FILES, WARM},
	{"first_open", read_all, FILES, COLD},
	{"stat_cold", stat_all, FILES, COLD},
	{"create", create_all, FILES, 0},
	{"rename", rename_all, FILES, 0},
	{"unlink", unlink_all, FILES, 0},
	{"find_cold", find, 1, COLD | TREE},
	{"find_warm", find, 1, WARM | TREE},
	{"git_status_cold", git_status, 1, COLD | GIT | TREE},
	{"git_status_warm", git_status, 1, WARM | GIT | TREE},
	{"write_4k", write_4k, DATA_BYTES / 4096, 0},
	{"write_1m", write_1m, DATA_BYTES >> 20, 0},
	{"read_4k", read_4k, DATA_BYTES / 4096, COLD},
	{"read_1m", read_1m, DATA_BYTES >> 20, COLD},
	{"random_read_4k", random_read_4k, FILES, COLD},
	{"random_write_4k", random_write_4k, FILES, 0},
	{"fio_write_4k", fio_write_4k, FIO_SMALL_BYTES / 4096, FIO},
	{"fio_read_4k", fio_read_4k, FIO_SMALL_BYTES / 4096, FIO | COLD},
	{"fio_write_1m", fio_write_1m, (DATA_BYTES >> 20) * FIO_LOOPS, FIO},
	{"fio_read_1m", fio_read_1m, (DATA_BYTES >> 20) * FIO_LOOPS, FIO | COLD},
	{"untar", untar, 1, HEAVY},
	{"rm_untarred", remove_untarred, 1, HEAVY},
};
static const struct op find_ops[] = {
	{"find_xdev_cold", find_all, 1, COLD},
	{"find_xdev_warm", find_all, 1, WARM},
};
static const struct op *ops = all_ops;
static int nops = sizeof(all_ops) / sizeof(all_ops[0]);

static void turn(int op, int m, bool count)
{
	double us;

	fio_us = 0;
	must(chdir(mounts[m].dir) == 0, mounts[m].dir);
	sync();
	if (ops[op].flags & COLD)
		drop_caches();
	if (ops[op].flags & WARM) /* other turns made the guest forget */
		ops[op].fn();
	if (count)
		count_start();
	us = now_us();
	ops[op].fn();
	us = ops[op].flags & FIO ? fio_us * ops[op].count : now_us() - us;
	if (count) {
		char kinds[512];
		long n = count_of(mounts[m].minor, kinds, sizeof(kinds));

		printf("@ %s %s -1 %.3f\n", ops[op].name, mounts[m].tag, (double)n / ops[op].count);
		printf("@ %s %s %s\n", ops[op].name, mounts[m].tag, kinds);
	} else {
		printf("@ %s %s %.2f -1\n", ops[op].name, mounts[m].tag, us / ops[op].count);
	}
	(void)fflush(stdout);
}

/* ---- before and after */

static void prepare(int m, bool tree, bool git)
{
	char name[32], buf[4096];

	must(chdir(mounts[m].dir) == 0, mounts[m].dir);
	must(mkdir("w", 0755) == 0, "w");
	memset(buf, 'x', sizeof(buf));
	for (int i = 0; i < FILES; i++) {
		int fd;

		name_of(name, "w/f", i);
		fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
		must(fd >= 0 && write(fd, buf, sizeof(buf)) == sizeof(buf), name);
		close(fd);
	}
	write_1m();
	read_1m(); /* some servers learn at the first open that none is needed */
	if (tree)
		run((char *[]){"/bin/busybox", "tar", "xf", "/tree.tar", NULL});
	if (tree && git)
		git_status(); /* learns what the files' inodes are */
}

/* As our PID 1 does it for what it mounts (guest/init_share.c). */
static void read_ahead(unsigned int minor)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/read_ahead_kb", minor);
	put(path, "512");
}

static void mount_all(char *list)
{
	for (char *p = strtok(list, ","); p && nmounts < MAX_MOUNTS; p = strtok(NULL, ",")) {
		char at[64], disk[64], *dir = strchr(p, '/');
		struct stat st;

		if (dir)
			*dir++ = '\0';
		(void)snprintf(mounts[nmounts].tag, sizeof(mounts[0].tag), "%s", p);
		(void)snprintf(at, sizeof(at), "/m%d", nmounts);
		(void)mkdir(at, 0755);
		(void)snprintf(disk, sizeof(disk), "/dev/%s", p);
		must((!strcmp(p, "tmpfs")	   ? mount(p, at, "tmpfs", 0, NULL)
			     : strncmp(p, "vd", 2) ? mount(p, at, "virtiofs", 0, NULL)
						   : mount(disk, at, "ext4", MS_RDONLY, NULL)) == 0,
			p);
		must(stat(at, &st) == 0, at);
		if (dir) { /* as our PID 1 does it: what is above is not walked through */
			(void)snprintf(
				mounts[nmounts].dir, sizeof(mounts[0].dir), "%s/%s", at, dir);
			must(mount(mounts[nmounts].dir, at, NULL, MS_BIND, NULL) == 0, dir);
		}
		(void)snprintf(mounts[nmounts].dir, sizeof(mounts[0].dir), "%s", at);
		mounts[nmounts].minor = minor(st.st_dev);
		if (!strncmp(p, "msb-", 4))
			read_ahead(mounts[nmounts].minor);
		nmounts++;
	}
}

/* Whether this round has this operation: what is asked for by name has all rounds. */
static bool has(const struct op *op, const char *only, int round, int untars)
{
	size_t n = strlen(op->name);

	if (op->flags & GIT && access("/usr/bin/git", X_OK) < 0)
		return false;
	if (op->flags & FIO && access("/usr/bin/fio", X_OK) < 0)
		return false;
	if (!*only)
		return !(op->flags & HEAVY) || (round > 0 && round <= untars);
	for (const char *p = only; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, op->name, n) && (p[n] == ',' || !p[n]))
			return true;
	return false;
}

int main(void)
{
	const char *only = getenv("only") ?: "";
	int rounds = atoi(getenv("rounds") ?: "3"), untars = atoi(getenv("untars") ?: "1");
	char *list = strdup(getenv("bench") ?: "");
	int needs = 0;

	(void)mkdir("/proc", 0755);
	(void)mkdir("/sys", 0755);
	(void)mkdir("/dev", 0755);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sys", "/sys", "sysfs", 0, NULL);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("trace", "/sys/kernel/tracing", "tracefs", 0, NULL);
	(void)setenv("HOME", "/", 1);
	put("/.gitconfig", "");
	counting = access(EVENT "/hist", R_OK) == 0;
	if (access("/virtio_blk.ko", R_OK) == 0)
		run((char *[]){"/bin/busybox", "insmod", "/virtio_blk.ko", NULL});
	mount_all(list);
	if (getenv("find")) {
		ops = find_ops;
		nops = sizeof(find_ops) / sizeof(find_ops[0]);
	} else {
		for (int op = 0; op < nops; op++)
			needs |= has(&ops[op], only, 1, 1) ? ops[op].flags : 0;
		for (int m = 0; m < nmounts; m++)
			prepare(m, needs & TREE, needs & GIT);
	}
	/* The first round is not timed: it warms up, and counts. */
	for (int r = 0; r <= rounds; r++)
		for (int op = 0; op < nops; op++)
			for (int m = 0; m < nmounts; m++)
				if (has(&ops[op], only, r, untars))
					turn(op, (m + r) % nmounts, r == 0);
	printf("@ end\n");
	(void)fflush(stdout);
	reboot(RB_POWER_OFF);
	return 0;
}
