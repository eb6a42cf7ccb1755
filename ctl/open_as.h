/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that a requester names: opened with that user's rights, whatever msbd's are.
 *
 * A thread of its own takes on the user's file-system uid and gid, and the groups that the host's
 * user database has for the user, and gives up all capabilities. Source: setfsuid(2);
 * credentials(7), capabilities(7): they are a thread's.
 */
#ifndef MSB_CTL_OPEN_AS_H
#define MSB_CTL_OPEN_AS_H

#include "ctl/model.h"

/**
 * ctl_open_source() - Open a file or directory to read
 * Return: a descriptor; -EINVAL neither absolute nor below the writer's directory
 * (ctl/whose_dir.h); -ENOENT, -EACCES and others with @path named.
 */
int ctl_open_source(const struct ctl_req *q, const char *path, struct msb_err *e);

/* A file that is being written. Zeroed but for fd -1 is none. */
struct ctl_target {
	int fd;	 /* to write to */
	int dir; /* of a regular file: where it gets its name. -1: it has one, a pipe's or device's
		  */
	char name[256];
};

/**
 * ctl_target_open() - Begin to write the file @path
 * A regular file has no name until ctl_target_done(): whoever opens @path sees the old one or all
 * of the new one. What is no regular file is written to.
 * Errors: as above; -EISDIR; -ENOSPC.
 */
int ctl_target_open(
	const struct ctl_req *q, const char *path, struct ctl_target *ret, struct msb_err *e);
/* Gives it its name, in place of what has it. */
int ctl_target_done(const struct ctl_req *q, struct ctl_target *t, struct msb_err *e);
/* Closes it; one without a name is gone. */
void ctl_target_close(struct ctl_target *t);

#endif
