// SPDX-License-Identifier: Apache-2.0
// PID 1 of the machine that migrate.py saves and restores: holds files in every way, works on them,
// and says on the console whether they are what it left. tests/e2e/migrate.bats
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK  16384u
#define BLOCKS 512u
#define NAMES  600

static const char *current = "";

__attribute__((noreturn, format(printf, 1, 2))) static void bad(const char *fmt, ...)
{
	va_list ap;

	printf("bad: %s: ", current);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	printf(" (%s)\n", strerror(errno));
	for (;;)
		pause();
}

/* What is held of one file system. */
struct held {
	char dir[32];
	int named, nameless, append;
	DIR *list;
	int listed;
	char *map;
	unsigned int round;
};

static const char *at(const struct held *h, const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", h->dir, name);
	return path;
}

static int open_at(const struct held *h, const char *name, int flags)
{
	int fd = open(at(h, name), flags, 0644);

	if (fd < 0)
		bad("open %s", name);
	return fd;
}

static void put(int fd, const char *text, off_t off)
{
	if (pwrite(fd, text, strlen(text), off) != (ssize_t)strlen(text))
		bad("write %s", text);
}

static void hold(struct held *h, const char *dir, bool nameless)
{
	char name[16];

	(void)snprintf(h->dir, sizeof(h->dir), "%s", dir);
	current = h->dir;
	if (mkdir(at(h, "list"), 0755) < 0)
		bad("mkdir");
	for (int i = 0; i < NAMES; i++) {
		(void)snprintf(name, sizeof(name), "list/%d", i);
		close(open_at(h, name, O_RDWR | O_CREAT | O_EXCL));
	}
	h->named = open_at(h, "named", O_RDWR | O_CREAT);
	put(h->named, "round 0000", 0);
	h->append = open_at(h, "append", O_WRONLY | O_CREAT | O_APPEND);
	put(h->append, "a", 0);
	h->nameless = -1;
	if (nameless) {
		h->nameless = open_at(h, "nameless", O_RDWR | O_CREAT);
		put(h->nameless, "round 0000", 0);
		if (unlink(at(h, "nameless")) < 0)
			bad("unlink");
	}
	h->list = opendir(at(h, "list"));
	if (!h->list)
		bad("opendir");
	for (h->listed = 0; h->listed < NAMES / 2; h->listed++)
		if (!readdir(h->list))
			bad("readdir");
	h->map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, h->named, 0);
	if (h->map == MAP_FAILED)
		bad("mmap");
}

static void expect(int fd, const char *what, unsigned int round)
{
	char want[16], got[16] = "";

	(void)snprintf(want, sizeof(want), "round %04u", round);
	if (pread(fd, got, 10, 0) != 10 || strcmp(got, want) != 0)
		bad("%s holds '%s', not '%s'", what, got, want);
	(void)snprintf(want, sizeof(want), "round %04u", round + 1);
	put(fd, want, 0);
}

/* All of it is as the last round left it; this one changes it. */
static void check(struct held *h)
{
	char name[16];
	struct stat st;
	int fd;

	current = h->dir;
	expect(h->named, "named", h->round);
	fd = open_at(h, "named", O_RDWR); /* the same file by its name, past what is cached */
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (h->map[9] != (char)('0' + (h->round + 1) % 10))
		bad("the mapping is another file's");
	close(fd);
	if (h->nameless >= 0) {
		expect(h->nameless, "nameless", h->round);
		if (fstat(h->nameless, &st) < 0 || st.st_nlink != 0 || st.st_size != 10)
			bad("fstat of the nameless");
	}
	put(h->append, "a", 0);
	if (stat(at(h, "append"), &st) < 0 || st.st_size != (off_t)h->round + 2)
		bad("append has %lld bytes", (long long)st.st_size);
	/* The listing goes on where it was: every name once. */
	for (; h->round == 0 && h->listed < NAMES + 2; h->listed++)
		if (!readdir(h->list))
			bad("the listing ends after %d", h->listed);
	if (readdir(h->list))
		bad("the listing goes on");
	(void)snprintf(name, sizeof(name), "new%u", h->round);
	if (mkdir(at(h, name), 0700) < 0 || rmdir(at(h, name)) < 0)
		bad("mkdir, rmdir");
	(void)snprintf(name, sizeof(name), "list/%u", h->round);
	if (unlink(at(h, name)) < 0)
		bad("unlink %s", name);
	h->round++;
}

/*
 * Work that a copy of memory must not lose. Each turn writes a block with its version and reads it
 * back past all caches into its place in memory, which only the device writes. So a page that the
 * device wrote and nobody copied shows an older version than the table, which the CPU wrote.
 */
static void work(const char *dir, int cpu, volatile uint64_t *turns)
{
	uint8_t *mem = mmap(NULL, (size_t)BLOCK * (BLOCKS + 1), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *out = mem + (size_t)BLOCK * BLOCKS;
	uint32_t version[BLOCKS] = {0}, random = 1;
	char path[64];
	int fd;

	current = "work";
	(void)snprintf(path, sizeof(path), "%s/work%d", dir, cpu);
	fd = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (fd < 0 || mem == MAP_FAILED)
		bad("open");
	for (;; ++*turns) {
		uint32_t i, stamp[2], j;

		random = random * 1664525 + 1013904223;
		i = random >> 16 & (BLOCKS - 1);
		j = random >> 7 & (BLOCKS - 1);
		stamp[0] = i;
		stamp[1] = ++version[i];
		for (size_t k = 0; k < BLOCK; k += 512)
			memcpy(out + k, stamp, sizeof(stamp));
		if (pwrite(fd, out, BLOCK, (off_t)i * BLOCK) != (ssize_t)BLOCK ||
			pread(fd, mem + (size_t)i * BLOCK, BLOCK, (off_t)i * BLOCK) !=
				(ssize_t)BLOCK)
			bad("block %u", i);
		for (size_t k = 0; version[j] && k < BLOCK; k += 512) {
			memcpy(stamp, mem + (size_t)j * BLOCK + k, sizeof(stamp));
			if (stamp[0] != j || stamp[1] != version[j])
				bad("block %u at %zu is of version %u, not %u", j, k, stamp[1],
					version[j]);
		}
	}
}

static void mount_or_die(const char *tag, const char *dir)
{
	current = dir;
	(void)mkdir(dir, 0755);
	if (mount(tag, dir, "virtiofs", 0, NULL) < 0)
		bad("mount");
}

int main(void)
{
	static struct held h[4];
	static const char *const shares[] = {"/shares/mem", "/shares/dir"};
	volatile uint64_t *turns =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char line[64];
	int n = 1;

	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	setlinebuf(stdout);
	if (getenv("nothing")) { /* the devices are there, nothing is mounted */
		printf("ready\n");
		while (fgets(line, sizeof(line), stdin))
			printf("ok 0\n");
	}
	mount_or_die("root", "/root");
	hold(&h[0], "/root", true);
	mount_or_die("shares", "/shares");
	for (size_t i = 0; i < 2; i++)
		if (access(shares[i], F_OK) == 0)
			hold(&h[n++], shares[i], i == 0);
	for (int cpu = 0; cpu < 2; cpu++) {
		if (fork() == 0) {
			cpu_set_t set;

			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			(void)sched_setaffinity(0, sizeof(set), &set);
			work(h[cpu % n].dir, cpu, turns + cpu);
		}
	}
	while (turns[0] < BLOCKS || turns[1] < BLOCKS)
		usleep(10000);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t before[2] = {turns[0], turns[1]};

		for (int i = 0; i < n; i++)
			check(&h[i]);
		while (turns[0] < before[0] + BLOCKS || turns[1] < before[1] + BLOCKS)
			usleep(10000); /* says so where it finds something */
		printf("ok %d\n", n);
	}
	bad("the console is gone");
}
