// SPDX-License-Identifier: Apache-2.0
/*
 * Mounts one backend by /dev/fuse, served by a real msb-fsd in its jail: for suites that test file
 * systems.
 *
 *	fsmount [-d] [-a DIRECTORY] [-n NAME] BACKEND SOURCE MOUNTPOINT [OPTIONS]
 *
 * SOURCE is a directory (passthrough), a program (plugin), `none` (memory), or a comma list of
 * index=FILE packs=DIR upper=DIR (overlay, image). Stays until it is unmounted, or until a signal,
 * which unmounts; -d: in the background, once mounted; -a: where audit lines go; -n: root's mount
 * under that name, with set-id bits and device nodes in force, as a guest has them. Prints the
 * server's process id.
 */
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "fs/fsd.h"
#include "fs/options.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	if (dir[0])
		(void)msb_rm_rf(AT_FDCWD, dir);
	exit(1);
}

static int open_or_die(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("fsmount: %s: %m", path);
	return fd;
}

static void parts(char *list, struct fsd_mount *m)
{
	for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
		if (!strncmp(p, "index=", 6))
			m->index_fd = open_or_die(p + 6, O_RDONLY);
		else if (!strncmp(p, "packs=", 6))
			m->packs_fd = open_or_die(p + 6, O_RDONLY | O_DIRECTORY);
		else if (!strncmp(p, "upper=", 6))
			m->upper_fd = open_or_die(p + 6, O_RDONLY | O_DIRECTORY);
		else
			die("fsmount: `%s` is not index=FILE, packs=DIR or upper=DIR", p);
	}
}

/* Starts a plugin's program with one end of a socket as descriptor 3; returns the other. */
static int plugin(char *program)
{
	char *argv[] = {program, NULL};
	struct msb_err e = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("fsmount: socketpair: %m");
	if (msb_spawn(program, argv, &pair[1], 1, -1, NULL, &e) < 0)
		die("fsmount: %s", e.msg);
	close(pair[1]);
	return pair[0];
}

static void source(struct fsd_mount *m, char *from)
{
	struct fsb_options *o = calloc(1, sizeof(*o));
	struct msb_err e = {0};

	if (!o || fsb_options_parse(m->backend, m->options, strlen(m->options), o, &e) < 0)
		die("fsmount: %s", e.msg);
	if (!strcmp(m->backend, "passthrough"))
		m->dir_fd = open_or_die(from, O_RDONLY | O_DIRECTORY);
	else if (!strcmp(m->backend, "plugin"))
		m->sock_fd = plugin(from);
	else if (strcmp(from, "none") != 0)
		parts(from, m);
	if (o->over[0])
		m->dir_fd = open_or_die(o->over, O_RDONLY | O_DIRECTORY);
	free(o);
}

static int mount_as(const char *name, const char *where)
{
	int fd = open_or_die("/dev/fuse", O_RDWR);
	char opts[96];

	(void)snprintf(opts, sizeof(opts),
		"fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fd);
	if (mount(name, where, "fuse", 0, opts) < 0)
		die("fsmount: cannot mount %s: %m", where);
	return fd;
}

/* The plain build's programs, beside the directory of this one. */
static void bin_dir(char ret[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 16);
	char *p;

	ret[n > 0 ? n : 0] = '\0';
	p = strstr(ret, "/build/");
	if (!p)
		die("fsmount: not below build/");
	for (char *next; (next = strstr(p + 1, "/build/"));)
		p = next;
	memcpy(p, "/build/bin", sizeof("/build/bin"));
}

static volatile sig_atomic_t ended;

static void on_signal(int sig)
{
	ended = 1;
}

static void wait_for_end(const char *where)
{
	struct pollfd p = {open_or_die("/proc/self/mounts", O_RDONLY), POLLPRI, 0};

	while (!ended && fsd_fuse_mounted(where))
		(void)poll(&p, 1, -1);
	if (fsd_fuse_mounted(where))
		(void)fsd_fuse_unmount(where);
}

int main(int argc, char **argv)
{
	bool background = false;
	const char *name = NULL;
	char bin[PATH_MAX], control[80];
	struct fsd_mount m = FSD_MOUNT_NONE;
	struct sigaction sa = {.sa_handler = on_signal};
	struct msb_err e = {0};
	pid_t pid;
	int sock, fuse, audit = -1, c;

	while ((c = getopt(argc, argv, "+da:n:")) != -1) {
		if (c == 'a')
			audit = open_or_die(optarg, O_RDONLY | O_DIRECTORY);
		if (c == 'n')
			name = optarg;
		background = background || c == 'd';
	}
	argv += optind - 1;
	argc -= optind - 1;
	if (argc < 4 || argc > 5)
		die("usage: fsmount [-d] [-a DIRECTORY] [-n NAME] BACKEND SOURCE MOUNTPOINT "
		    "[OPTIONS]");
	m.name = "m";
	m.backend = argv[1];
	m.options = argc == 5 ? argv[4] : "";
	source(&m, argv[2]);
	(void)snprintf(dir, sizeof(dir), "/tmp/fsmount-XXXXXX");
	if (!mkdtemp(dir))
		die("fsmount: %s: %m", dir);
	(void)snprintf(control, sizeof(control), "%s/control", dir);
	bin_dir(bin);
	pid = fsd_spawn(bin, "fsmount", NULL, control, -1, NULL, &e);
	sock = pid < 0 ? -1 : msb_unix_connect(control, SOCK_SEQPACKET);
	if (sock < 0 || (audit >= 0 && fsd_audit(sock, audit, &e) < 0) ||
		fsd_mount(sock, &m, &e) < 0)
		die("fsmount: %s", e.code ? e.msg : "no file server");
	fuse = name ? mount_as(name, argv[3]) : fsd_fuse_mount(argv[3], false, &e);
	if (fuse < 0 || fsd_view(sock, m.name, fuse, &e) < 0)
		die("fsmount: %s", e.msg);
	close(fuse);
	printf("%d\n", pid);
	(void)fflush(stdout);
	if (background && daemon(0, 0) < 0)
		die("fsmount: %m");
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGINT, &sa, NULL);
	wait_for_end(argv[3]);
	(void)fsd_quit(sock, &e);
	(void)msb_rm_rf(AT_FDCWD, dir);
	return 0;
}
