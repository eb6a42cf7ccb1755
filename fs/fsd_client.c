// SPDX-License-Identifier: Apache-2.0
// msb-fsd from the side of msbd.
#include "fs/fsd.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "base/spawn.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* A file server answers at once, but for quit, which waits for a disk. */
#define CALL_MS 10000
#define SYNC_MS 60000

pid_t fsd_spawn(const char *bin_dir, const char *sandbox, const struct msb_user *user,
	const char *control_path, int log_fd, int *ret_pidfd, struct msb_err *e)
{
	_cleanup_close_ int sock = msb_unix_listen(control_path, SOCK_SEQPACKET, 0600, e);
	char name[64], path[4096];
	char *argv[] = {name, NULL, NULL, NULL};
	char arg[64], who[MSB_USER_TEXT];

	if (sock < 0)
		return sock;
	(void)snprintf(name, sizeof(name), "msb-fsd");
	(void)snprintf(arg, sizeof(arg), "%s", sandbox);
	argv[1] = arg;
	if (user) {
		msb_user_print(user, who);
		argv[2] = who;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/msb-fsd", bin_dir) >= sizeof(path))
		return msb_err_set(e, ENAMETOOLONG, "%s: the path is too long", bin_dir);
	return msb_spawn_alone(path, argv, &sock, 1, log_fd, ret_pidfd, e);
}

/*
 * The directory as the root of a mount of its own: there "..", whoever follows it, stays. A server
 * that a guest has taken over has then what it serves and nothing above that. Mounts below come
 * along where @below, so that they are recognised. -1 where that is not permitted: for an ordinary
 * user.
 */
static int own_mount(int dir_fd, bool below, bool readonly)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
	int fd = dir_fd < 0 ? -1
			    : (int)syscall(SYS_open_tree, dir_fd, "",
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
					      (below ? AT_RECURSIVE : 0));

	if (fd >= 0 && readonly) /* since Linux 5.12 */
		(void)syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr));
	return fd;
}

/*
 * The file to read, on a mount of its own where nobody writes: a descriptor that only reads keeps
 * who has it from that, but not a server of root's from opening it once more by its /proc/self/fd.
 */
static int own_file(int file_fd)
{
	_cleanup_close_ int on = own_mount(file_fd, false, true);
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", on);
	return on < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
}

struct part {
	const char *key;
	int fd;
	enum {
		FD,	   /* as it is */
		TREE,	   /* a directory, with what is mounted below: see own_mount() */
		DIR_ALONE, /* a directory without that */
		READ_ONLY, /* the same, where nobody writes */
		FILE_ALONE /* a file, to read: see own_file() */
	} how;
};

/* Adds the descriptors that there are, and calls. */
static int call_within(
	int sock, struct msb_msg *m, const struct part *part, size_t n, int ms, struct msb_err *e)
{
	int own[8], r;

	for (size_t i = 0; i < n; i++) {
		own[i] = part[i].how == FD	     ? -1
			 : part[i].how == FILE_ALONE ? own_file(part[i].fd)
						     : own_mount(part[i].fd, part[i].how == TREE,
							       part[i].how == READ_ONLY);
		if (part[i].fd < 0)
			continue;
		msb_msg_set(m, part[i].key, "%u", m->nfds);
		msb_msg_add_fd(m, own[i] >= 0 ? own[i] : part[i].fd);
	}
	r = msb_msg_call(sock, m, ms, e);
	for (size_t i = 0; i < n; i++)
		cleanup_close_(&own[i]);
	return r;
}

static int call_with(
	int sock, struct msb_msg *m, const struct part *part, size_t n, struct msb_err *e)
{
	return call_within(sock, m, part, n, CALL_MS, e);
}

int fsd_patch(int sock, int dir_fd, int changes_fd, struct msb_err *e)
{
	const struct part part[] = {{"dir", dir_fd, READ_ONLY}, {"changes", changes_fd, TREE}};
	struct msb_msg m;

	msb_msg_init(&m, "patch");
	return call_within(sock, &m, part, ARRAY_LEN(part), SYNC_MS, e);
}

int fsd_audit(int sock, int dir_fd, struct msb_err *e)
{
	const struct part part[] = {{"dir", dir_fd, TREE}};
	struct msb_msg m;

	msb_msg_init(&m, "audit");
	return call_with(sock, &m, part, ARRAY_LEN(part), e);
}

int fsd_tree(
	int sock, int index_fd, int packs_fd, int upper_fd, const char *options, struct msb_err *e)
{
	const struct part part[] = {{"index", index_fd, FILE_ALONE}, {"packs", packs_fd, READ_ONLY},
		{"upper", upper_fd, TREE}};
	struct msb_msg m;

	msb_msg_init(&m, "tree");
	msb_msg_set(&m, "options", "%s", options);
	return call_with(sock, &m, part, ARRAY_LEN(part), e);
}

int fsd_tree_dir(int sock, int dir_fd, int index_fd, int files_fd, int upper_fd,
	const char *options, struct msb_err *e)
{
	const struct part part[] = {{"dir", dir_fd, DIR_ALONE}, {"index", index_fd, FILE_ALONE},
		{"files", files_fd, FILE_ALONE}, {"upper", upper_fd, TREE}};
	struct msb_msg m;

	msb_msg_init(&m, "tree");
	msb_msg_set(&m, "options", "%s", options);
	return call_with(sock, &m, part, ARRAY_LEN(part), e);
}

int fsd_mount(int sock, const struct fsd_mount *mount, struct msb_err *e)
{
	const struct part part[] = {{"dir", mount->dir_fd, TREE},
		{"index", mount->index_fd, FILE_ALONE}, {"packs", mount->packs_fd, READ_ONLY},
		{"upper", mount->upper_fd, TREE}, {"sock", mount->sock_fd, FD},
		{"usage", mount->usage_fd, FD}};
	struct msb_msg m;

	msb_msg_init(&m, "mount");
	msb_msg_set(&m, "name", "%s", mount->name);
	if (mount->label)
		msb_msg_set(&m, "label", "%s", mount->label);
	msb_msg_set(&m, "backend", "%s", mount->backend);
	msb_msg_set(&m, "options", "%s", mount->options);
	return call_with(sock, &m, part, ARRAY_LEN(part), e);
}

/* A verb about one mount. */
static int about(int sock, const char *verb, const char *name, int fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, verb);
	if (name)
		msb_msg_set(&m, "name", "%s", name);
	if (fd >= 0)
		msb_msg_add_fd(&m, fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_plugin(int sock, const char *name, int sock_fd, struct msb_err *e)
{
	return about(sock, "plugin", name, sock_fd, e);
}

int fsd_unmount(int sock, const char *name, struct msb_err *e)
{
	return about(sock, "unmount", name, -1, e);
}

int fsd_view(int sock, const char *mount, int fuse_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "view");
	if (mount)
		msb_msg_set(&m, "name", "%s", mount);
	msb_msg_set(&m, "private", "%d", geteuid() != 0); /* as fsd_fuse_mount() has mounted it */
	msb_msg_add_fd(&m, fuse_fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_unview(int sock, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "unview");
	return msb_msg_call(sock, &m, CALL_MS, e);
}

static int export_call(int sock, const char *tag, const char *what, int listen_fd, bool readonly,
	struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "export");
	msb_msg_set(&m, "tag", "%s", tag);
	msb_msg_set(&m, "what", "%s", what);
	msb_msg_set(&m, "readonly", "%d", readonly);
	msb_msg_add_fd(&m, listen_fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_export_tree(int sock, const char *tag, int listen_fd, bool readonly, struct msb_err *e)
{
	return export_call(sock, tag, "tree", listen_fd, readonly, e);
}

int fsd_export_kept(
	int sock, const char *tag, const char *what, int listen_fd, int keep_fd, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "export");
	msb_msg_set(&m, "tag", "%s", tag);
	msb_msg_set(&m, "what", "%s", what);
	msb_msg_set(&m, "readonly", "0");
	msb_msg_set(&m, "keep", "1");
	msb_msg_add_fd(&m, listen_fd);
	msb_msg_add_fd(&m, keep_fd);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

int fsd_export_shares(int sock, const char *tag, int listen_fd, struct msb_err *e)
{
	return export_call(sock, tag, "shares", listen_fd, false, e);
}

int fsd_unexport(int sock, const char *tag, struct msb_err *e)
{
	struct msb_msg m;

	msb_msg_init(&m, "unexport");
	msb_msg_set(&m, "tag", "%s", tag);
	return msb_msg_call(sock, &m, CALL_MS, e);
}

static int ask(const char *control_path, const char *verb, struct msb_err *e)
{
	_cleanup_close_ int fd = msb_unix_connect(control_path, SOCK_SEQPACKET | SOCK_NONBLOCK);
	struct msb_msg m;
	int r;

	if (fd < 0)
		return msb_err_set(e, -fd, "the file server is not running: %s", strerror(-fd));
	msb_msg_init(&m, verb);
	r = msb_msg_send(fd, &m);
	return r < 0 ? msb_err_set(e, -r, "the file server: %s", strerror(-r)) : steal_fd(&fd);
}

int fsd_watch(const char *control_path, struct msb_err *e)
{
	return ask(control_path, "watch", e);
}

static int number(const struct msb_msg *m, const char *key, uint64_t max, uint64_t *ret)
{
	return msb_msg_get_u64(m, key, ret) < 0 || *ret > max ? -EBADMSG : 0;
}

/* The peer parses a guest's bytes. */
static int parse_denied(const struct msb_msg *m, struct fsd_denied *ret)
{
	const char *mount = msb_msg_get(m, "mount"), *path = msb_msg_get(m, "path"),
		   *op = msb_msg_get(m, "op");
	uint64_t error, uid, pid, more;

	if (!mount || !path || !op || strlen(mount) >= sizeof(ret->mount) ||
		strlen(path) >= sizeof(ret->path) || !*op || strlen(op) >= sizeof(ret->op) ||
		op[strspn(op, "abcdefghijklmnopqrstuvwxyz_")] ||
		number(m, "errno", INT32_MAX, &error) < 0 || (error != EACCES && error != EPERM) ||
		number(m, "uid", UINT32_MAX, &uid) < 0 || number(m, "pid", UINT32_MAX, &pid) < 0 ||
		number(m, "more", UINT64_MAX, &more) < 0)
		return -EBADMSG;
	*ret = (struct fsd_denied){
		.error = (int)error, .uid = (uint32_t)uid, .pid = (uint32_t)pid, .more = more};
	memcpy(ret->mount, mount, strlen(mount));
	memcpy(ret->path, path, strlen(path));
	memcpy(ret->op, op, strlen(op));
	return 1;
}

int fsd_watch_next(int fd, struct fsd_denied *ret)
{
	struct msb_msg m;
	int r = msb_msg_recv(fd, &m);

	if (r < 0)
		return r;
	msb_msg_close_fds(&m);
	return strcmp(msb_msg_verb(&m), "denied") != 0 ? 0 : parse_denied(&m, ret);
}

int fsd_stats_ask(const char *control_path, struct msb_err *e)
{
	return ask(control_path, "stats", e);
}

/* USEC,N,N..: exactly as many numbers as there are. The peer parses a guest's bytes. */
static int parse_class(const char *text, uint64_t *ret_usec, uint64_t hist[FSD_BUCKETS])
{
	for (int i = -1; i < FSD_BUCKETS; i++) {
		size_t n = strcspn(text, ",");
		char number[24];

		if (n >= sizeof(number) || (text[n] == ',') != (i + 1 < FSD_BUCKETS))
			return -EBADMSG;
		memcpy(number, text, n);
		number[n] = '\0';
		if (msb_parse_u64(number, 0, INT64_MAX, i < 0 ? ret_usec : &hist[i]) < 0)
			return -EBADMSG;
		text += n + 1;
	}
	return 0;
}

int fsd_stats_answer(int fd, struct fsd_stats *ret, struct msb_err *e)
{
	struct msb_msg m;
	int r = msb_msg_answer(fd, &m, e);

	if (r < 0)
		return r;
	*ret = (struct fsd_stats){0};
	for (int i = 0; i < FSD_OPS && r == 0; i++) {
		const char *text = msb_msg_get(&m, fsd_op_name((enum fsd_op)i));

		r = text ? parse_class(text, &ret->usec[i], ret->hist[i]) : -EBADMSG;
	}
	if (r < 0 || msb_msg_get_u64(&m, "errors", &ret->errors) < 0 ||
		msb_msg_get_u64(&m, "read_bytes", &ret->read_bytes) < 0 ||
		msb_msg_get_u64(&m, "written_bytes", &ret->written_bytes) < 0)
		return msb_err_set(e, EBADMSG, "the file server's figures make no sense");
	return 0;
}

int fsd_quit_ask(int sock, struct msb_err *e)
{
	struct msb_msg m;
	int r;

	msb_msg_init(&m, "quit");
	r = msb_msg_send(sock, &m);
	return r < 0 ? msb_err_set(e, -r, "the file server: %s", strerror(-r)) : 0;
}

int fsd_quit_answer(int sock, int ms, struct msb_err *e)
{
	struct msb_msg m;
	int r = msb_wait_fd(sock, POLLIN, ms);

	return r < 0 ? msb_err_set(e, -r, "the file server: %s", strerror(-r))
		     : msb_msg_answer(sock, &m, e);
}

int fsd_quit(int sock, struct msb_err *e)
{
	int r = fsd_quit_ask(sock, e);

	return r < 0 ? r : fsd_quit_answer(sock, FSD_QUIT_MS, e);
}
