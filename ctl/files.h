/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File servers. A sandbox's lives from the first need (a start, or the first look at `root`) until
 * rmdir; an image's from the first look at `rootfs`. One server gives a guest its exports and the
 * host its view, which is a FUSE mount of its own at run/views/ID/root: `root` is a symlink to it,
 * so nothing that walks the control tree descends into a guest's files.
 */
#ifndef MSB_CTL_FILES_H
#define MSB_CTL_FILES_H

#include "ctl/helper.h"
#include "ctl/model.h"
#include "ctl/root.h"

struct ctl_files_of {
	struct ctl *c;
	struct ctl_files *f;
	const char *id, *name;
	enum ctl_root_kind root;
	char digest[65];	       /* CTL_ROOT_IMAGE */
	char source[CTL_MAX_LINE + 1]; /* CTL_ROOT_DIR, CTL_ROOT_DISK: its path */
	struct ctl_sandbox *sb;	       /* NULL: an image, read-only */
};

/* Fills @ret for a sandbox; -ENOENT it has no image. Takes ctl.lock. */
int ctl_files_of_sandbox(struct ctl_sandbox *sb, struct ctl_files_of *ret, struct msb_err *e);
void ctl_files_of_image(struct ctl_image *img, struct ctl_files_of *ret);

/**
 * ctl_files_start() - Have a file server with its tree; files.lock held by the caller
 * It runs as the sandbox's owner. One that was another's before, which no machine uses, makes way;
 * under a machine it stays as it is until that ends.
 * Errors: -ENOENT the image's files are gone; -ENODEV its owner was removed; -EBUSY it was given
 * away meanwhile; -EOPNOTSUPP the state directory's file system. A sandbox's has a directory for
 * audit lines too.
 */
int ctl_files_start(struct ctl_files_of *of, struct msb_err *e);
/* Have the view mounted, and its path. Takes files.lock. -EOPNOTSUPP: the root is a disk. */
int ctl_files_view(struct ctl_files_of *of, char ret_path[MSB_PATH_MAX], struct msb_err *e);
/* Has the guest of @sb, where its root is viewed, ask again for what it believes to know:
 * see guest/refresh.h. For the verbs after which a guest runs. Waits for it; takes files.lock. */
void ctl_files_refresh(struct ctl_sandbox *sb);
/* Puts a sandbox's root back to never served, where it was served but nothing in it changed:
 * another image may be set then. Ends its server. Takes files.lock. */
void ctl_files_reset(struct ctl_sandbox *sb);
/* `root_options`: sets them, and ends a server that has others; the next use starts it with these.
 * Errors: as ctl_conf_set(). Takes files.lock. */
int ctl_files_set_options(struct ctl_sandbox *sb, const char *line, size_t n, struct msb_err *e);
/* Makes @fd, a directory of msbd's own, one that the server can use: see ctl_owner_give(). */
int ctl_files_give(const struct ctl_files_of *of, int *fd, bool readonly, struct msb_err *e);
/* An image's index and the directory of packs. */
int ctl_files_open_image(
	struct ctl *c, const char *digest, int *ret_index, int *ret_packs, struct msb_err *e);
/* The server has ended or is to end at once: reaps it and unmounts the view. Takes files.lock. */
struct ctl_exit ctl_files_lost(struct ctl_files_of *of);
/* Flushes and ends the server for good, unmounts the view. Takes files.lock; waits FSD_QUIT_MS and
 * a little at most, from the time on at which it was asked. */
void ctl_files_end(struct ctl_files_of *of);
/* Asks for that already, without waiting. Takes files.lock. */
void ctl_files_end_ask(struct ctl_files_of *of);
/* After a restart of msbd: takes a living server up again, or clears away what a dead one left.
 * 0 living; -ESRCH. */
int ctl_files_recover(struct ctl_files_of *of);

/* What a call to the server returned. One that gave no answer, or a senseless one, is killed: its
 * later answers could not be told from those to other calls. The supervisor does the rest. Returns
 * @r. */
int ctl_files_answer(struct ctl_files_of *of, int r);
/* Lets those pass to @sb's view who may use @sb, and nobody do anything else where it is mounted:
 * the directory is msbd's own, and names another owner in an access list. -ENOENT there is none;
 * -EOPNOTSUPP its file system has no such lists. ctl.lock held. */
int ctl_files_gate(const struct ctl_sandbox *sb);
/* Ends the view of @sb, also for descriptors that are open below it: the sandbox has another owner,
 * who has it mounted anew by the first look. Takes files.lock where there is a view. */
void ctl_files_hide(struct ctl_sandbox *sb);
/* Unmounts the view of @id and removes its directories. */
void ctl_files_unview(const struct ctl *c, const char *id);

#endif
