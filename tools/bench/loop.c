// SPDX-License-Identifier: Apache-2.0
/*
 * loop: one pass of file operations in a directory that was just mounted.
 *
 *	loop fill DIRECTORY	makes the files that a pass looks at
 *	loop run DIRECTORY NAME	prints `OP NAME US`, microseconds of one operation, for each
 *
 * What is called cold meets a kernel that knows nothing of the file yet.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES 1000

static char buf[1u << 20];
static const char *at;

static void must(int ok)
{
	if (!ok) {
		(void)fprintf(stderr, "loop: %s: %m\n", at);
		exit(1);
	}
}

static const char *name_of(const char *prefix, int i)
{
	static char name[2][32];
	char *p = name[i & 1];

	(void)sprintf(p, "%s%04d", prefix, i);
	return at = p;
}

static void stats(const char *prefix)
{
	struct stat st;

	for (int i = 0; i < FILES; i++)
		must(lstat(name_of(prefix, i), &st) == 0);
}

static void stat_all(void)
{
	stats("a/f");
}

static void absent(void)
{
	struct stat st;

	for (int i = 0; i < FILES; i++)
		must(lstat(name_of("a/absent", i), &st) < 0);
}

static void read_files(void)
{
	for (int i = 0; i < FILES; i++) {
		int fd = open(name_of("b/f", i), O_RDONLY);

		must(fd >= 0 && read(fd, buf, 4096) == 4096 && close(fd) == 0);
	}
}

static void list(void)
{
	DIR *d = opendir(at = "a");
	struct stat st;
	int n = 0;

	must(d != NULL);
	for (struct dirent *e; (e = readdir(d));)
		n += fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	must(n == FILES + 2 && closedir(d) == 0);
}

static void create(void)
{
	for (int i = 0; i < FILES; i++) {
		int fd = open(name_of("c/f", i), O_RDWR | O_CREAT | O_EXCL, 0644);

		must(fd >= 0 && close(fd) == 0);
	}
}

static void write_files(void)
{
	for (int i = 0; i < FILES; i++) {
		int fd = open(name_of("c/f", i), O_WRONLY);

		must(fd >= 0 && write(fd, buf, 4096) == 4096 && close(fd) == 0);
	}
}

static void rename_files(void)
{
	for (int i = 0; i < FILES; i++) {
		char to[32];

		(void)snprintf(to, sizeof(to), "c/m%04d", i);
		must(rename(name_of("c/f", i), to) == 0);
	}
}

static void unlink_files(void)
{
	for (int i = 0; i < FILES; i++)
		must(unlink(name_of("c/m", i)) == 0);
}

static void make_dirs(void)
{
	for (int i = 0; i < FILES; i++)
		must(mkdir(name_of("c/d", i), 0755) == 0);
}

static void remove_dirs(void)
{
	for (int i = 0; i < FILES; i++)
		must(rmdir(name_of("c/d", i)) == 0);
}

/* 64 MiB, a MiB at a time. */
static void write_1m(void)
{
	int fd = open(at = "c/data", O_RDWR | O_CREAT, 0644);

	for (int i = 0; i < 64; i++)
		must(pwrite(fd, buf, sizeof(buf), (off_t)i << 20) == sizeof(buf));
	must(close(fd) == 0);
}

static void read_1m(void)
{
	int fd = open(at = "c/data", O_RDONLY);

	for (int i = 0; i < 64; i++)
		must(pread(fd, buf, sizeof(buf), (off_t)i << 20) == sizeof(buf));
	must(close(fd) == 0 && unlink(at) == 0);
}

static const struct {
	const char *name;
	void (*fn)(void);
	int count;
} ops[] = {
	{"stat_cold", stat_all, FILES},
	{"stat_again", stat_all, FILES},
	{"absent", absent, FILES},
	{"open_read_cold", read_files, FILES},
	{"open_read_again", read_files, FILES},
	{"list_and_stat", list, FILES},
	{"create", create, FILES},
	{"open_write", write_files, FILES},
	{"rename", rename_files, FILES},
	{"unlink", unlink_files, FILES},
	{"mkdir", make_dirs, FILES},
	{"rmdir", remove_dirs, FILES},
	{"write_1m", write_1m, 64},
	{"read_1m", read_1m, 64},
};

static void fill(void)
{
	static const char *const dirs[] = {"a", "b", "c"};

	for (int d = 0; d < 3; d++)
		must(mkdir(at = dirs[d], 0755) == 0);
	for (int i = 0; i < 2 * FILES; i++) {
		int fd = open(
			name_of(i < FILES ? "a/f" : "b/f", i % FILES), O_WRONLY | O_CREAT, 0644);

		must(fd >= 0 && write(fd, buf, 4096) == 4096 && close(fd) == 0);
	}
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[2]) < 0 || (argc == 3) != !strcmp(argv[1], "fill")) {
		(void)fprintf(stderr, "usage: loop fill DIRECTORY | loop run DIRECTORY NAME\n");
		return 2;
	}
	memset(buf, 'x', sizeof(buf));
	if (argc == 3)
		fill();
	for (size_t i = 0; argc == 4 && i < sizeof(ops) / sizeof(ops[0]); i++) {
		double us = now_us();

		ops[i].fn();
		printf("%s %s %.3f\n", ops[i].name, argv[3], (now_us() - us) / ops[i].count);
	}
	return 0;
}
