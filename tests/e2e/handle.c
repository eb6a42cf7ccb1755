// SPDX-License-Identifier: Apache-2.0
/*
 * File handles from a shell, on the host and in a guest, as root:
 *
 *	handle of FILE		prints it
 *	handle open DIR HANDLE	what is opened by it, on DIR's file system: `dir`, or `file` and its
 *				contents
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static union {
	struct file_handle h;
	char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
} u;

static int fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

static int print(const char *path)
{
	int mount;

	u.h.handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, path, &u.h, &mount, 0) < 0)
		return fail(path);
	for (size_t i = 0; i < sizeof(u.h) + u.h.handle_bytes; i++)
		printf("%02x", (unsigned char)u.bytes[i]);
	putchar('\n');
	return 0;
}

static int open_by(const char *dir, const char *hex)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY), fd;
	char buf[4096];
	struct stat st;
	ssize_t n;

	if (at < 0)
		return fail(dir);
	for (size_t i = 0; i < sizeof(u.bytes) && hex[2 * i] && hex[2 * i + 1]; i++) {
		const char byte[3] = {hex[2 * i], hex[2 * i + 1]};

		u.bytes[i] = (char)strtoul(byte, NULL, 16);
	}
	fd = open_by_handle_at(at, &u.h, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail("handle");
	puts(S_ISDIR(st.st_mode) ? "dir" : "file");
	(void)fflush(stdout);
	while (S_ISREG(st.st_mode) && (n = read(fd, buf, sizeof(buf))) > 0)
		if (write(1, buf, (size_t)n) != n)
			return fail("stdout");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "of"))
		return print(argv[2]);
	return argc == 4 ? open_by(argv[2], argv[3]) : 2;
}
