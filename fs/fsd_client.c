// SPDX-License-Identifier: Apache-2.0
// msb-fsd from the side of msbd.
#include "fs/fsd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* A file server answers at once, but for sync, which waits for a disk. */
#define CALL_MS 10000
#define SYNC_MS 60000

pid_t fsd_spawn(const char *bin_dir, const char *sandbox, const char *control_path, int log_fd,
	int *ret_pidfd, struct msb_err *e)
{
	_cleanup_close_ int sock = msb_unix_listen(control_path, SOCK_SEQPACKET, 0600, e);
	char name[64], path[4096];
	char *argv[] = {name, NULL, NULL};
	char arg[64];

	if (sock < 0)
		return sock;
	(void)snprintf(name, sizeof(name), "msb-fsd");
	(void)snprintf(arg, sizeof(arg), "%s", sandbox);
	argv[1] = arg;
	if ((size_t)snprintf(path, sizeof(path), "%s/msb-fsd", bin_dir) >= sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "%s: the path is too long", bin_dir);
	return msb_spawn(path, argv, &sock, 1, log_fd, ret_pidfd, e);
}

/*
 * The directory as the root of a mount of its own: there "..", whoever follows it, stays. A server
 * that a guest has taken over has then what it serves and nothing above that. Mounts below come
 * along, so that they are recognised. -1 where that is not permitted: for an ordinary user.
 */
static int own_mount(int dir_fd)
{
	return dir_fd < 0 ? -1
			  : (int)syscall(SYS_open_tree, dir_fd, "",
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
					    AT_RECURSIVE);
}

int fsd_tree(int sock, int index_fd, int packs_fd, int upper_fd, struct msb_err *e)
{
	const struct {
		const char *key;
		int fd;
	} part[] = {{"index", index_fd}, {"packs", packs_fd}, {"upper", upper_fd}};
	_cleanup_close_ int packs = own_mount(packs_fd), upper = own_mount(upper_fd);
	const int own[ARRAY_LEN(part)] = {-1, packs, upper};
	struct msb_msg m;

	msb_msg_init(&m, "tree");
	for (size_t i = 0; i < ARRAY_LEN(part); i++)
		if (part[i].fd >= 0) {
			msb_msg_set(&m, part[i].key, "%u", m.nfds);
			msb_msg_add_fd(&m, own[i] >= 0 ? own[i] : part[i].fd);
		}
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_view(int sock, int fuse_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "view");
	msb_msg_add_fd(&m, fuse_fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

static int export_call(int sock, const char *tag, const char *backend, int listen_fd, int dir_fd,
	bool readonly, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "export");
	msb_msg_set(&m, "tag", "%s", tag);
	msb_msg_set(&m, "backend", "%s", backend);
	msb_msg_set(&m, "readonly", "%d", readonly);
	msb_msg_add_fd(&m, listen_fd);
	if (dir_fd >= 0)
		msb_msg_add_fd(&m, dir_fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_export_tree(int sock, const char *tag, int listen_fd, bool readonly, struct msb_err *e)
{
	return export_call(sock, tag, "tree", listen_fd, -1, readonly, e);
}

int fsd_export_dir(
	int sock, const char *tag, int listen_fd, int dir_fd, bool readonly, struct msb_err *e)
{
	_cleanup_close_ int own = own_mount(dir_fd);

	return export_call(
		sock, tag, "passthrough", listen_fd, own >= 0 ? own : dir_fd, readonly, e);
}

int fsd_unexport(int sock, const char *tag, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "unexport");
	msb_msg_set(&m, "tag", "%s", tag);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_sync(int sock, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "sync");
	return msb_msg_call(sock, &m, SYNC_MS, e);
}

int fsd_quit(int sock, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "quit");
	return msb_msg_call(sock, &m, SYNC_MS, e);
}
