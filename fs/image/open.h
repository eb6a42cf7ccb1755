/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-open: a short-lived process that opens what a sandbox is made of, its root and what is
 * mounted in it, with the rights of the sandbox's owner and no others. Started by root it is that
 * user (base/user.h) before it looks at the path; what is in the file or the directory it looks at
 * only once it is jailed.
 *
 * fd 3 is a SEQPACKET socket, on which it reads one message and answers it:
 *	"dir" {path= uid= gid= max_inodes=} fds index and files: the directory is walked into them
 *		(fs/image/dir.h); none: it is only opened -> "ok" {inodes=} fd: the directory
 *	"disk" {path= uid= gid= format=raw|qcow2} fd, or none: the sandbox's own qcow2 over it
 *		-> "ok" {bytes= ino= size= mtime_sec= mtime_nsec= own_bytes=} fd: the file
 *	"user" {uid= gid=} -> "ok" {user=}: who that is, as msb_user_print() has it
 *	-> "error" {code= msg=}
 */
#ifndef MSB_FS_IMAGE_OPEN_H
#define MSB_FS_IMAGE_OPEN_H

#include "base/err.h"
#include "base/user.h"

#include <stdint.h>
#include <sys/types.h>

struct img_open {
	const char *bin_dir; /* where msb-open is */
	int log_fd;
	uid_t uid;     /* whose rights count */
	gid_t gid;     /* of one that the host's user database does not know */
	int cancel_fd; /* once it is readable it is given up, -EINTR; 0: never */
};

/*
 * That user can stop or hold up a process that is hers: it is waited for no longer than so, and
 * killed then, -ETIMEDOUT. IMG_WALK_MS is for what reads as many files as there are.
 */
#define IMG_OPEN_MS 30000
#define IMG_WALK_MS 600000

/* Who o->uid is, by the host's user database. -EIO where it cannot be asked. Blocks. */
int img_open_user(const struct img_open *o, struct msb_user *ret, struct msb_err *e);

/**
 * img_open_dir() - Open the directory @path, and walk it where @index_fd >= 0
 * @index_fd, @files_fd: empty, to be written; both or none. They are synced when this returns 0.
 * @ret: the directory, O_RDONLY; the caller's
 * Errors: -ENOENT, -EACCES, -ENOTDIR with the path; img_dir_walk()'s. Threads: any; blocks.
 */
int img_open_dir(const struct img_open *o, const char *path, int index_fd, int files_fd, int *ret,
	struct msb_err *e);

struct img_disk {
	uint64_t bytes;				   /* what a guest sees */
	uint64_t ino, size, mtime_sec, mtime_nsec; /* of the file: to tell it from a later one */
	uint64_t own_bytes;			   /* of the qcow2 over it; 0: none */
	int fd;					   /* O_RDONLY, the caller's */
};

/**
 * img_open_disk() - Open the disk @path and check that it leads to no other file
 * @format: raw or qcow2; never guessed
 * @own_fd: the sandbox's qcow2 over it, which a guest's QEMU wrote; checked likewise. -1: none
 * Errors: -ENOENT, -EACCES with the path; img_qcow2_check()'s; -EINVAL no regular file; -ERANGE no
 * whole sectors, or too many of them. Threads: any; blocks.
 */
int img_open_disk(const struct img_open *o, const char *path, const char *format, int own_fd,
	struct img_disk *ret, struct msb_err *e);

#endif
