// SPDX-License-Identifier: Apache-2.0
// Starting file servers for a bench, and reading what CPU they take.
#include "tools/bench/server.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/spawn.h"
#include "fs/fsd.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

/* Audit lines go beside what is served. */
static int give_audit(const struct server *s, struct msb_err *e)
{
	_cleanup_close_ int dir = open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? msb_err_set(e, errno, "%s: %m", s->dir) : fsd_audit(s->control, dir, e);
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, flags | O_RDONLY | O_CLOEXEC);
}

static int start_ours(struct server *s, const char *backend, const char *options,
	const char *bin_dir, const char *work, const char *share, struct msb_err *e)
{
	struct fsd_mount mount = FSD_MOUNT_NONE;
	char control[160];
	_cleanup_close_ int index =
		open_in(work, "index", 0); /* of the image, where there is one */
	_cleanup_close_ int packs = open_in(work, "packs", O_DIRECTORY);
	int r;
	_cleanup_close_ int listener = msb_unix_listen(s->socket, SOCK_STREAM, 0600, e);
	_cleanup_close_ int dir = open(share, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (listener < 0)
		return listener;
	if (dir < 0)
		return msb_err_set(e, errno, "%s: %m", share);
	mount.name = s->subdir = "share";
	(void)snprintf(control, sizeof(control), "%s/control", s->dir);
	s->pid = fsd_spawn(bin_dir, "bench", NULL, control, -1, NULL, e);
	if (s->pid < 0)
		return s->pid;
	s->control = msb_unix_connect(control, SOCK_SEQPACKET);
	if (s->control < 0)
		return msb_err_set(e, -s->control, "%s: %s", control, strerror(-s->control));
	r = *options ? give_audit(s, e) : 0;
	if (r < 0)
		return r;
	if (!strcmp(backend, "overlay")) {
		s->subdir = NULL;
		r = fsd_tree(s->control, index, packs, dir, options, e);
		return r < 0 ? r : fsd_export_tree(s->control, "bench", listener, false, e);
	}
	mount.backend = backend;
	mount.dir_fd = strcmp(backend, "passthrough") == 0 ? dir : -1;
	if (!strcmp(backend, "image")) {
		mount.index_fd = index;
		mount.packs_fd = packs;
	}
	mount.options = options;
	r = fsd_mount(s->control, &mount, e);
	return r < 0 ? r : fsd_export_shares(s->control, "bench", listener, e);
}

static int start_peer(struct server *s, char *command, const char *share, struct msb_err *e)
{
	char socket_arg[192], source_arg[192];
	char *argv[16] = {command, socket_arg, "-o", source_arg};
	_cleanup_close_ int log = -1;
	char path[160];
	size_t n = 4;

	for (char *p = strchr(command, ' '); p && n < ARRAY_LEN(argv) - 1; p = strchr(p, ' ')) {
		*p++ = '\0';
		argv[n++] = p;
	}
	(void)snprintf(socket_arg, sizeof(socket_arg), "--socket-path=%s", s->socket);
	(void)snprintf(source_arg, sizeof(source_arg), "source=%s", share);
	(void)snprintf(path, sizeof(path), "%s/log", s->dir);
	log = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	s->pid = msb_spawn(command, argv, NULL, 0, log, NULL, e);
	return s->pid < 0 ? s->pid : 0;
}

int server_start(struct server *s, const char *spec, const char *bin_dir, const char *work,
	struct msb_err *e)
{
	bool ours = !strncmp(spec, "msb:", 4);
	const char *eq = ours ? NULL : strchr(spec, '='), *at;
	char share[160], command[4096], backend[32], options[128];
	size_t part;
	int n;

	*s = (struct server){.control = -1, .ours = !eq};
	n = eq ? (int)(eq - spec) : (int)strlen(spec);
	(void)snprintf(s->name, sizeof(s->name), "%.*s", n, spec);
	for (char *p = s->name; *p; p++)
		if (strchr(":/,=@", *p))
			*p = '-';
	(void)snprintf(s->dir, sizeof(s->dir), "%s/%s", work, s->name);
	(void)snprintf(s->socket, sizeof(s->socket), "%s/socket", s->dir);
	(void)snprintf(share, sizeof(share), "%s/share", s->dir);
	if (mkdir(s->dir, 0755) < 0 || mkdir(share, 0755) < 0)
		return msb_err_set(e, errno, "%s: %m", share);
	if (eq) {
		(void)snprintf(command, sizeof(command), "%s", eq + 1);
		return start_peer(s, command, share, e);
	}
	if (!ours)
		return msb_err_set(e, EINVAL, "%s is neither msb:BACKEND nor NAME=COMMAND", spec);
	spec += 4;
	at = strchr(spec, '@');
	part = strcspn(spec, ",@");
	(void)snprintf(backend, sizeof(backend), "%.*s", (int)part, spec);
	spec += part + (spec[part] == ',');
	(void)snprintf(options, sizeof(options), "%.*s", (int)strcspn(spec, "@"), spec);
	return start_ours(s, backend, options, at ? at + 1 : bin_dir, work, share, e);
}

void server_stop(struct server *s)
{
	cleanup_close_(&s->control);
	if (s->pid <= 0)
		return;
	server_find_pids(s);
	for (unsigned int i = s->npids; i-- > 0;)
		(void)kill(s->pids[i], SIGKILL);
	(void)waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

static void add_children(struct server *s, pid_t pid)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[64];
	int child;

	/* They fork before they start threads. */
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	while (f && s->npids < SERVER_MAX_PIDS && fscanf(f, "%d", &child) == 1)
		s->pids[s->npids++] = child;
}

void server_find_pids(struct server *s)
{
	s->pids[0] = s->pid;
	s->npids = 1;
	for (unsigned int i = 0; i < s->npids; i++)
		add_children(s, s->pids[i]);
}

uint64_t server_cpu_ns(const struct server *s)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < s->npids; i++) {
		struct timespec t;
		clockid_t clock;

		if (clock_getcpuclockid(s->pids[i], &clock) == 0 && clock_gettime(clock, &t) == 0)
			sum += (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	}
	return sum;
}
