/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-fsd: the file server of one sandbox (or the view of one image). Client side, used by msbd.
 *
 * msb-fsd is started with fd 3 = a listening SEQPACKET socket, its only way in: it accepts control
 * connections one after another for as long as it lives, so a new msbd finds it again. It has no
 * path access: every directory, index and socket arrives as a descriptor. "fds by key" are named by
 * keys that hold the position of their descriptor, and are absent where there is none.
 *
 * audit    fd: a directory
 *          Where audit lines go: `audit`, rotated to `audit.1`; once, before what is audited.
 * tree     {options=} fds by key: index= packs= upper= dir= files=
 *          The root backend (overlay), once. The first control connection sends it.
 *
 * export   {tag= what=tree|shares readonly=0|1 keep=FDINDEX} fd: a listening vhost-user socket
 *          Serves it to one QEMU at a time, reconnects are accepted. `shares` is one file
 *          system with a directory for each mount, named like it.
 * unexport {tag=}
 *
 * mount    {name= backend= options=} fds by key: dir= index= packs= upper= sock= usage=
 *          A backend below `shares`, at once also in a machine that has it mounted.
 * plugin   {name=} fd: a connected socket. Of a plugin that was started anew.
 * unmount  {name=}. Its files answer ESTALE from then on.
 *
 * patch    fds by key: dir= changes=. Puts files into the tree: fs/patch.h.
 *
 * view     {name= private=0|1} fd: an open /dev/fuse that was just mounted
 *          Serves the mount of that name there too; without one the tree. private: an ordinary user
 *          has mounted it.
 * unview   {}. Ends every view.
 *
 * status   -> ok {exports= views= mounts= audit_lost= nodes= fds= requests=}
 * stats    -> ok {errors= read_bytes= written_bytes= CLASS=USEC,N,N..}: see struct fsd_stats
 * watch    -> ok, then "denied" {mount= path= op= errno= uid= pid= more=} as they come: see struct
 *          fsd_denied
 * quit     flushes everything to disk, then exit 0
 */
#ifndef MSB_FS_FSD_H
#define MSB_FS_FSD_H

#include "base/err.h"
#include "base/user.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FSD_MAX_EXPORTS	    4
#define FSD_MAX_MOUNTS	    63 /* at once */
#define FSD_MAX_MOUNT_NAME  16
#define FSD_MAX_VIEWS	    4
#define FSD_MAX_NODES	    (1u << 20) /* inodes a server keeps in memory; ENFILE past it */
#define FSD_MAX_BACKEND_FDS 4096       /* open host descriptors, least recently used closed first */
#define FSD_QUEUE_SIZE	    1024
#define FSD_MAX_DENIED_PATH 1024      /* bytes of a path in a refusal; cut there */
#define FSD_PATCH_RECORD    "patched" /* in a directory of changes: which patches were done */

/* What servers that share a directory count together: a file of this, mapped by each of them. Made
 * of zeros but for the limit, which may be changed in it at any time. */
struct fsd_usage {
	_Atomic uint64_t limit_bytes; /* of what all files take; 0: none */
	_Atomic int64_t used;	      /* see fs/backends/quota_priv.h */
	_Atomic uint64_t grown, shrunk;
	_Atomic uint32_t counted;
	_Atomic uint32_t moved; /* counts what gives files other names, as it begins and ends */
};

/**
 * fsd_spawn() - Start a file server
 * @user: with whose rights it is to serve, where the caller is root; NULL: the caller's. What it is
 * given has to be that user's to use: a directory that is not is given by msb_idmap_dir().
 * @control_path: control socket to be made
 * Return: pid; connect with msb_unix_connect(control_path, SOCK_SEQPACKET) then.
 */
pid_t fsd_spawn(const char *bin_dir, const char *sandbox, const struct msb_user *user,
	const char *control_path, int log_fd, int *ret_pidfd, struct msb_err *e);

/* Each of these is one call on a connected control socket; descriptors stay the caller's. */
int fsd_audit(int sock, int dir_fd, struct msb_err *e);
int fsd_tree(
	int sock, int index_fd, int packs_fd, int upper_fd, const char *options, struct msb_err *e);
/* The same over a directory of the host: @index_fd and @files_fd are of it (fs/image/dir.h). */
int fsd_tree_dir(int sock, int dir_fd, int index_fd, int files_fd, int upper_fd,
	const char *options, struct msb_err *e);
/* @mount NULL: the tree. At most FSD_MAX_VIEWS at once. */
int fsd_view(int sock, const char *mount, int fuse_fd, struct msb_err *e);
/* Ends all of them: whoever still has a file there open reads ENOTCONN. */
int fsd_unview(int sock, struct msb_err *e);
int fsd_export_tree(int sock, const char *tag, int listen_fd, bool readonly, struct msb_err *e);
/* @what: "tree" or "shares". @keep_fd: a memfd, empty at first, in which the server keeps what the
 * guest's kernel holds. Given to the next server where this one was killed, it goes on for a guest
 * whose front end connects again (QEMU's vhost-user-fs does not, up to 10.0). */
int fsd_export_kept(
	int sock, const char *tag, const char *what, int listen_fd, int keep_fd, struct msb_err *e);
int fsd_export_shares(int sock, const char *tag, int listen_fd, struct msb_err *e);

struct fsd_mount {
	const char *name;    /* of its directory in the shares: [a-z0-9]{1,16} */
	const char *label;   /* in audit lines; NULL: the name */
	const char *backend; /* of the table in fs/backends/backends.def */
	const char *options; /* as fsb_options_parse() takes them; checked again by the server */
	int dir_fd, index_fd, packs_fd, upper_fd, sock_fd,
		usage_fd; /* see struct fsb_start; -1: none */
};
#define FSD_MOUNT_NONE                                                                             \
	{                                                                                          \
		.dir_fd = -1, .index_fd = -1, .packs_fd = -1, .upper_fd = -1, .sock_fd = -1,       \
		.usage_fd = -1                                                                     \
	}
/* -EEXIST; -ENOSPC FSD_MAX_MOUNTS; -EBUSY the guest has the shares mounted in a way that this
 * backend or these options cannot join (no OPEN is sent any more); what the backend says. */
int fsd_mount(int sock, const struct fsd_mount *m, struct msb_err *e);
/* The plugin of that mount was started anew: this socket leads to it. -EOPNOTSUPP: it is none. */
int fsd_plugin(int sock, const char *name, int sock_fd, struct msb_err *e);
int fsd_unmount(int sock, const char *name, struct msb_err *e); /* -ENOENT */
/* @dir_fd -1: no patches any more. What fs_patch() says. */
int fsd_patch(int sock, int dir_fd, int changes_fd, struct msb_err *e);
int fsd_unexport(int sock, const char *tag, struct msb_err *e);

/* Classes of requests. Names in fsd_op_name(). */
enum fsd_op {
	FSD_OP_OTHER,
	FSD_OP_LOOKUP,
	FSD_OP_ATTR, /* attributes, link targets, statfs */
	FSD_OP_OPEN, /* and release */
	FSD_OP_READ,
	FSD_OP_WRITE, /* also fallocate, copy_file_range */
	FSD_OP_READDIR,
	FSD_OP_CHANGE, /* of names: create, unlink, rename and so on */
	FSD_OP_SYNC,
	FSD_OPS
};
static inline const char *fsd_op_name(enum fsd_op o)
{
	static const char *const names[FSD_OPS] = {
		"other", "lookup", "attr", "open", "read", "write", "readdir", "change", "sync"};

	return names[o];
}

#define FSD_BUCKETS                                                                                \
	22 /* the i-th: at most 2^i microseconds, not in one before; the last: the rest */

/* What the guest's requests were, since the exports were made. */
struct fsd_stats {
	uint64_t hist[FSD_OPS][FSD_BUCKETS]; /* requests by the time they took */
	uint64_t usec[FSD_OPS];		     /* time they took together */
	uint64_t errors;		     /* of them, answered with an errno */
	uint64_t read_bytes, written_bytes;  /* of READ and WRITE */
};
/* In two steps, on a connection of its own, so that many servers can be asked at once: as
 * agent_stats_ask() and agent_stats_answer() of vmm/agent.h. */
int fsd_stats_ask(const char *control_path, struct msb_err *e);
int fsd_stats_answer(int fd, struct fsd_stats *ret, struct msb_err *e);

/* What rules of a mount, or its plugin, have refused. Texts are untrusted bytes. */
#define FSD_UNKNOWN_ID UINT32_MAX /* a uid that the guest does not say */
struct fsd_denied {
	char mount[FSD_MAX_DENIED_PATH + 1]; /* its path in the guest; `root` */
	char path[FSD_MAX_DENIED_PATH + 1];  /* in the mount; begins with ? where it is not known */
	char op[24];			     /* of fs/options.h: [a-z_]+ */
	int error;			     /* EACCES or EPERM */
	uint32_t uid, pid;		     /* of the guest */
	uint64_t more;			     /* before it that were not told */
};
/* A connected socket, non-blocking, on which they come. Does not wait. */
int fsd_watch(const char *control_path, struct msb_err *e);
/* The next of them: 1; 0 it was something else; -EAGAIN none now; -EBADMSG; what recvmsg(2) says.
 */
int fsd_watch_next(int fd, struct fsd_denied *ret);
/* It flushes, and ends; waits FSD_QUIT_MS at most. In two steps, so that many servers flush at
 * once. */
#define FSD_QUIT_MS 60000
int fsd_quit(int sock, struct msb_err *e);
int fsd_quit_ask(int sock, struct msb_err *e);
int fsd_quit_answer(int sock, int ms, struct msb_err *e);

/**
 * fsd_fuse_mount() - Mount a FUSE file system and return its device, to be given to fsd_view()
 * As root by mount(2), for everybody, with default_permissions. As an ordinary user through
 * fusermount3, for that user alone, who is root in the tree: no permissions are checked. @readonly
 * sets MS_RDONLY. Not blocked by INIT. Options: nosuid, nodev, fsname=msb, subtype=msb.
 */
int fsd_fuse_mount(const char *mountpoint, bool readonly, struct msb_err *e);
int fsd_fuse_unmount(const char *mountpoint); /* lazy; 0 where nothing is mounted */
/* Whether something is mounted there. Asks the kernel alone: the server may not answer. */
bool fsd_fuse_mounted(const char *mountpoint);

#endif
