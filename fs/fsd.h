/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-fsd: the file server of one sandbox (or the view of one image). Client side, used by msbd.
 *
 * msb-fsd is started with fd 3 = a listening SEQPACKET socket, its only way in: it accepts control
 *connections one after another for as long as it lives, so a new msbd finds it again. It has no
 *path access: every directory, index and socket arrives as a descriptor. Its first control
 *connection sends "tree".
 *
 *	tree   {readonly=0|1} fds: index|none.. see below	 the root backend (overlay), once
 *		keys index=FDINDEX packs=FDINDEX upper=FDINDEX, absent where there is none
 *	view   fd: an open /dev/fuse that was just mounted	 serve the tree there too; "unview"
 *ends it export {tag= backend=tree|passthrough readonly=0|1} fds: listening vhost-user socket[,
 *directory] serve the backend on that socket to one QEMU at a time; reconnects are accepted
 *	unexport {tag=}
 *	status -> ok {exports= views= nodes= fds= requests=}
 *	sync   flush everything of the tree to disk
 *	quit   sync, then exit 0
 */
#ifndef MSB_FS_FSD_H
#define MSB_FS_FSD_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define FSD_MAX_EXPORTS	    32
#define FSD_MAX_VIEWS	    4
#define FSD_MAX_NODES	    (1u << 20) /* inodes a server keeps in memory; ENFILE past it */
#define FSD_MAX_BACKEND_FDS 4096       /* open host descriptors, least recently used closed first */
#define FSD_QUEUE_SIZE	    1024

/**
 * fsd_spawn() - Start a file server
 * @control_path: control socket to be made
 * Return: pid; connect with msb_unix_connect(control_path, SOCK_SEQPACKET) then.
 */
pid_t fsd_spawn(const char *bin_dir, const char *sandbox, const char *control_path, int log_fd,
	int *ret_pidfd, struct msb_err *e);

/* Each of these is one call on a connected control socket; descriptors stay the caller's. */
int fsd_tree(int sock, int index_fd, int packs_fd, int upper_fd, struct msb_err *e);
int fsd_view(int sock, int fuse_fd, struct msb_err *e);
int fsd_export_tree(int sock, const char *tag, int listen_fd, bool readonly, struct msb_err *e);
int fsd_export_dir(
	int sock, const char *tag, int listen_fd, int dir_fd, bool readonly, struct msb_err *e);
int fsd_unexport(int sock, const char *tag, struct msb_err *e);
int fsd_sync(int sock, struct msb_err *e);
int fsd_quit(int sock, struct msb_err *e);

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
