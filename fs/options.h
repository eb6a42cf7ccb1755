/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount: `key`, `key=value`, comma-separated, as in the fourth column of `mounts`.
 * Pure functions over bytes, used by msbd to check what a user writes and by msb-fsd to carry it
 * out. One table (options.c) says for every key its syntax, its bounds and the backends that take
 * it; the man pages of fs/backends/ list the same keys, and a test compares.
 */
#ifndef MSB_FS_OPTIONS_H
#define MSB_FS_OPTIONS_H

#include "base/err.h"
#include "base/str.h"
#include "fs/glob.h"

#include <stdbool.h>
#include <stdint.h>

#define FSB_MAX_OPTIONS		  2048 /* bytes of all options of a mount */
#define FSB_MAX_GLOBS		  32   /* patterns of one mount, all keys together */
#define FSB_MAX_FAULTS		  16   /* error= and delay= of one mount, each */
#define FSB_MAX_DELAY_USEC	  60000000u
#define FSB_MAX_PLUGIN_TIMEOUT_MS 600000u
#define FSB_PLUGIN_TIMEOUT_MS	  5000u /* unless timeout= says otherwise */
#define FSB_MIN_BYTES		  4096u /* of quota_bytes and size_bytes */
#define FSB_MAX_BYTES		  (UINT64_C(1) << 60)
#define FSB_MAX_OVER		  1023 /* bytes of a path */

/* Operations as options and audit name them; bits of a mask. options.c has the names in this order:
 * lookup getattr setattr readlink mknod mkdir symlink unlink rmdir rename link open create tmpfile
 * release read write fsync opendir readdir statfs setxattr getxattr listxattr removexattr fallocate
 * lseek copy_file_range syncfs. (forget is none: it can neither fail nor wait.) */
enum fsb_op {
	FSB_LOOKUP,
	FSB_GETATTR,
	FSB_SETATTR,
	FSB_READLINK,
	FSB_MKNOD,
	FSB_MKDIR,
	FSB_SYMLINK,
	FSB_UNLINK,
	FSB_RMDIR,
	FSB_RENAME,
	FSB_LINK,
	FSB_OPEN,
	FSB_CREATE,
	FSB_TMPFILE,
	FSB_RELEASE,
	FSB_READ,
	FSB_WRITE,
	FSB_FSYNC,
	FSB_OPENDIR,
	FSB_READDIR,
	FSB_STATFS,
	FSB_SETXATTR,
	FSB_GETXATTR,
	FSB_LISTXATTR,
	FSB_REMOVEXATTR,
	FSB_FALLOCATE,
	FSB_LSEEK,
	FSB_COPY_FILE_RANGE,
	FSB_SYNCFS,
	FSB_OPS,
};
#define FSB_OP_BIT(op) (1u << (op))
#define FSB_OPS_ALL    (FSB_OP_BIT(FSB_OPS) - 1)
/* What changes a tree. */
#define FSB_OPS_WRITING                                                                            \
	(FSB_OP_BIT(FSB_SETATTR) | FSB_OP_BIT(FSB_MKNOD) | FSB_OP_BIT(FSB_MKDIR) |                 \
		FSB_OP_BIT(FSB_SYMLINK) | FSB_OP_BIT(FSB_UNLINK) | FSB_OP_BIT(FSB_RMDIR) |         \
		FSB_OP_BIT(FSB_RENAME) | FSB_OP_BIT(FSB_LINK) | FSB_OP_BIT(FSB_CREATE) |           \
		FSB_OP_BIT(FSB_TMPFILE) | FSB_OP_BIT(FSB_WRITE) | FSB_OP_BIT(FSB_SETXATTR) |       \
		FSB_OP_BIT(FSB_REMOVEXATTR) | FSB_OP_BIT(FSB_FALLOCATE) |                          \
		FSB_OP_BIT(FSB_COPY_FILE_RANGE))

const char *fsb_op_name(enum fsb_op op);

enum fsb_audit { FSB_AUDIT_NONE, FSB_AUDIT_CHANGES, FSB_AUDIT_OPENS, FSB_AUDIT_ALL };
/* The operations that a level sees: what changes a tree; OPEN and OPENDIR too; all of them. */
uint32_t fsb_audit_ops(enum fsb_audit level);
enum fsb_map {
	FSB_MAP_NONE, /* owners are the host's */
	FSB_MAP_ROOT, /* owners, modes, devices and attributes are the guest's, kept beside the file
		       */
};
/* Which reads move an access time: the first after a change and one a day, none, or all. */
enum fsb_atime { FSB_RELATIME, FSB_NOATIME, FSB_STRICTATIME };
enum fsb_rule { FSB_ALLOW, FSB_DENY, FSB_REDACT };

struct fsb_options {
	bool readonly;	      /* ro */
	enum fsb_atime atime; /* noatime, strictatime; relatime, the default */
	bool acl;	      /* acl; noacl, the default */
	uint64_t quota_bytes; /* quota_bytes=10G; 0: none */
	uint64_t size_bytes;  /* memory: size_bytes=256M; 0: the default */
	enum fsb_map map;     /* passthrough: map=none|root */
	bool map_set;	      /* said by the user */
	bool submounts; /* passthrough: other file systems mounted below are entered, which is the
			   default; nosubmounts */

	enum fsb_audit audit;	   /* audit, audit=changes|opens|all; noaudit */
	uint32_t audit_ops;	   /* audit_ops=write+unlink: a mask; 0: what the level says */
	unsigned int naudit_globs; /* audit_path=GLOB, may repeat: only paths that match one */
	char audit_glob[FSB_MAX_GLOBS][FSB_MAX_GLOB_BYTES + 1];

	unsigned int nerrors, ndelays;
	struct fsb_fault { /* error=OP:ERRNO[:PROBABILITY], delay=OP:TIME[:PROBABILITY]; OP may be
			      `all` */
		uint32_t ops;
		int error;	      /* positive errno */
		uint32_t usec;	      /* of a delay */
		uint32_t per_million; /* of calls */
	} error[FSB_MAX_FAULTS], delay[FSB_MAX_FAULTS];

	/* allow=GLOB deny=GLOB redact=GLOB: the last that matches a path decides; none: allowed. */
	unsigned int nrules;
	struct fsb_glob_rule {
		enum fsb_rule what;
		char glob[FSB_MAX_GLOB_BYTES + 1];
	} rule[FSB_MAX_GLOBS];

	bool plugin_json;	    /* plugin: protocol=json|fuse */
	uint32_t plugin_timeout_ms; /* plugin: timeout=5s */
	char over[FSB_MAX_OVER +
		  1]; /* plugin: over=PATH: a directory of the host below it; "" none */
};

/**
 * fsb_options_parse() - Check and read the options of a mount
 * @backend: passthrough, overlay, image, memory, plugin: each start() of the table of kinds
 * @text, @n: the options; empty: defaults. A comma within a value has a backslash before it: in a
 *	pattern that stands for the comma itself, in a path it is taken away
 * @ret: undefined on failure
 * Keys that may repeat: audit_path, error, delay, allow, deny, redact. Any other said twice, in any
 * of its forms (ro, rw), is refused: which one was meant is a guess.
 * Return: 0; -EINVAL an unknown key (the sentence names the nearest, and lists what there is), a
 * bad value, a key that this backend does not take; -E2BIG a limit above; -ERANGE; -EOPNOTSUPP no
 * such backend.
 */
int fsb_options_parse(const char *backend, const char *text, size_t n, struct fsb_options *ret,
	struct msb_err *e);

const char *fsb_backend_name(size_t i); /* from 0 on; NULL past the last */

/* Appends the options in their shortest form, in the order of the table: what reads back. */
void fsb_options_print(struct msb_str *s, const struct fsb_options *o);

/* What reads of a mount move; @o may be NULL. Where nothing is written they move nothing. */
static inline enum fsb_atime fsb_options_atime(const struct fsb_options *o)
{
	return !o ? FSB_RELATIME : o->readonly ? FSB_NOATIME : o->atime;
}

#endif
