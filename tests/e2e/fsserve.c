// SPDX-License-Identifier: Apache-2.0
/*
 * A file server for a machine started by hand, without msbd.
 *
 *	fsserve DIR [NAME=BACKEND:SOURCE ...]
 *
 * Serves DIR/upper (made where it is missing) as `root` on the socket DIR/root, the mounts as
 * `shares` on DIR/shares. SOURCE is a directory, or empty. Prints the server's process id, stays
 * until its input ends, and kills the server then.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/fsd.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static pid_t pid = -1; /* of the server */

/* Its files are free when this returns. */
static void end_server(void)
{
	if (pid > 0) {
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	end_server();
	exit(1);
}

static const char *below(const char *dir, const char *name)
{
	static char path[PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		die("fsserve: %s is too long", dir);
	return path;
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die("fsserve: %s: %m", path);
	return fd;
}

/* "." beside this program, where msb-fsd is too: build/e2e and build/bin. */
static const char *bin_dir(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 8);
	char *end;

	path[n > 0 ? n : 0] = '\0';
	end = strstr(path, "/e2e/");
	if (!end)
		die("fsserve: no programs beside %s", path);
	memcpy(end, "/bin", 5);
	return path;
}

static void mount_one(int sock, char *arg)
{
	struct fsd_mount m = FSD_MOUNT_NONE;
	char *backend = strchr(arg, '='), *source = backend ? strchr(backend, ':') : NULL;
	struct msb_err e = {0};

	if (!source)
		die("fsserve: `%s` is not NAME=BACKEND:SOURCE", arg);
	*backend++ = '\0';
	*source++ = '\0';
	m.name = arg;
	m.backend = backend;
	m.options = "rw";
	if (*source)
		m.dir_fd = open_dir(source);
	if (fsd_mount(sock, &m, &e) < 0)
		die("fsserve: %s", e.msg);
	cleanup_close_(&m.dir_fd);
}

int main(int argc, char **argv)
{
	struct msb_err e = {0};
	int sock, upper, root, shares;
	char c;

	if (argc < 2)
		die("fsserve: usage: fsserve DIR [NAME=BACKEND:SOURCE ...]");
	if (mkdir(below(argv[1], "upper"), 0700) < 0 && errno != EEXIST)
		die("fsserve: %s: %m", argv[1]);
	upper = open_dir(below(argv[1], "upper"));
	pid = fsd_spawn(bin_dir(), "by-hand", NULL, below(argv[1], "control"), -1, NULL, &e);
	sock = pid < 0 ? -1 : msb_unix_connect(below(argv[1], "control"), SOCK_SEQPACKET);
	root = msb_unix_listen(below(argv[1], "root"), SOCK_STREAM, 0600, &e);
	shares = msb_unix_listen(below(argv[1], "shares"), SOCK_STREAM, 0600, &e);
	if (sock < 0 || root < 0 || shares < 0 || fsd_tree(sock, -1, -1, upper, "", &e) < 0 ||
		fsd_export_tree(sock, "root", root, false, &e) < 0)
		die("fsserve: %s", e.msg);
	for (int i = 2; i < argc; i++)
		mount_one(sock, argv[i]);
	if (fsd_export_shares(sock, "shares", shares, &e) < 0)
		die("fsserve: %s", e.msg);
	printf("%d\n", (int)pid);
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	end_server();
	return 0;
}
