/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of mounts: its text, and what becomes of its lines in the file server.
 *
 * Every line is a directory of the one file system `shares`, named by a hash of the line; the guest
 * binds it to its path. While a machine runs, an exchanged table is carried out at once
 * (mount_op.c) and stored once all of it worked.
 */
#ifndef MSB_CTL_MOUNTS_H
#define MSB_CTL_MOUNTS_H

#include "ctl/files.h"
#include "ctl/model.h"

/* A line of a checked table. */
struct ctl_share {
	char name[FSD_MAX_MOUNT_NAME + 1];
	char *source, *path, *backend, *options;
	char *over;	 /* a plugin's directory of the host below it; NULL: none */
	char volume[64]; /* that the source names; "": none */
	bool readonly;
};

struct ctl_table {
	size_t n;
	struct ctl_share s[CTL_MAX_MOUNTS + 1]; /* and that of scripts */
};

/* Takes a table apart that was checked when it was written. -ENOMEM. */
int ctl_table_parse(const char *text, struct ctl_table *ret);
void ctl_table_done(struct ctl_table *t);
const struct ctl_share *ctl_table_find(const struct ctl_table *t, const char *name); /* or NULL */
/* The source of the next line of @text from @pos on, as it was written; of the next that is made of
 * an image. */
bool ctl_table_next_source(const char *text, size_t *pos, char ret[CTL_MAX_LINE + 1]);
bool ctl_table_next_image(const char *text, size_t *pos, char ret[CTL_MAX_LINE + 1]);

/**
 * ctl_mounts_edit() - Make a new table from lines that are written; ctl.lock held
 * @replace: the lines are all there is to be; else they are added
 * @tmpfs: the table of those, whose paths are taken; NULL: the caller sees to that
 * @ret_used: bytes of @p whose lines are in @table, up to the first that is refused
 * Return: 0; why that line was refused: -EINVAL, -E2BIG, -ERANGE, -EOPNOTSUPP syntax, -EEXIST its
 * path is taken, -ENOENT no such image, -EDQUOT CTL_MAX_MOUNTS, -E2BIG CTL_MAX_MOUNTS_BYTES.
 */
int ctl_mounts_edit(struct ctl_sandbox *sb, const char *p, size_t n, bool replace,
	const char *tmpfs, struct msb_str *table, size_t *ret_used, struct msb_err *e);

/**
 * ctl_mounts_write() - Write to `mounts`: the lines of one write take effect together
 * Under a running machine they are mounted and unmounted; waits for that.
 * @ret_used: bytes that took effect; also where a later line was refused, which is returned
 * Errors: ctl_mounts_edit()'s; -EBUSY the state, or the guest uses what is to go; -EINTR (it goes
 * on); what the backend or the guest says. Then nothing took effect.
 */
int ctl_mounts_write(const struct ctl_req *q, struct ctl_sandbox *sb, const char *p, size_t n,
	bool replace, size_t *ret_used, struct msb_err *e);

/* Whether it is a volume of kind disk: the machine's own, and no share. */
bool ctl_share_is_disk(const struct ctl_share *s);

/* ---- in the file server (share.c) */

/* What a line is made of, opened. -1: not needed. */
struct ctl_share_fds {
	int dir, index, packs, upper, usage;
	bool host;	    /* dir is the host's, opened with the rights of ids.uid; */
	struct msb_ids ids; /* else it is msbd's own, with files of these */
};
#define CTL_SHARE_NO_FDS                                                                           \
	{                                                                                          \
		.dir = -1, .index = -1, .packs = -1, .upper = -1, .usage = -1                      \
	}
void ctl_share_close(struct ctl_share_fds *fds);
/* -ENOENT and others with the source named; nothing is begun. Takes ctl.lock. */
int ctl_share_open(struct ctl_sandbox *sb, const struct ctl_share *s, struct ctl_share_fds *ret,
	struct msb_err *e);
/* Has the server serve it; a plugin's process is started. files.lock held. 0 where it does. -EBUSY
 * the server runs as another than who opened it: the sandbox was given away under its machine. */
int ctl_share_up(struct ctl_files_of *of, const struct ctl_share *s, struct ctl_share_fds *fds,
	struct msb_err *e);
/* The opposite; fine where it is not served. files.lock held. */
void ctl_share_down(struct ctl_files_of *of, const char *name);
void ctl_shares_down(struct ctl_files_of *of); /* all of them */
/* Whether both would keep their changes in one directory, which only one can have. */
bool ctl_share_collides(const struct ctl_share *a, const struct ctl_share *b);
/* After a restart of msbd: notes down what a server that went on may serve, by the state file.
 * files.lock held. */
void ctl_shares_recover(struct ctl_sandbox *sb);

#endif
