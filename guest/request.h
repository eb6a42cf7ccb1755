/* SPDX-License-Identifier: Apache-2.0 */
/* What BOOT and EXEC ask for, out of their kv payloads. */
#ifndef MSB_GUEST_REQUEST_H
#define MSB_GUEST_REQUEST_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GA_MAX_MOUNTS	  49  /* the root, 32 shares and 16 tmpfs */
#define GA_MAX_MOUNT_DATA 128 /* bytes of what a tmpfs is told */
#define GA_MAX_SHARE_NAME 16
#define GA_MAX_RLIMITS	  16 /* one of each kind that Linux has */
#define GA_MAX_HOSTNAME	  64 /* bytes, what Linux takes */

struct ga_rlimit {
	int resource;	     /* RLIMIT_... */
	uint64_t soft, hard; /* UINT64_MAX: unlimited */
};

/* Strings point into @raw, which the request owns. */
struct ga_exec {
	uint8_t *raw;
	const char **argv, **env; /* NULL at the end */
	size_t nenv;
	const char *user, *cwd; /* NULL: the sandbox's */
	bool tty, want_stdin;
	uint16_t rows, cols;
	uint32_t window; /* credit of OUT and of ERR to begin with */
	struct ga_rlimit rlimits[GA_MAX_RLIMITS];
	size_t nrlimits;
};

struct ga_mount {
	const char *source, *path, *type;
	unsigned long flags;	      /* of mount(2) */
	char data[GA_MAX_MOUNT_DATA]; /* likewise; "" but of type tmpfs */
	bool share;		      /* source is a directory of the file system of shares */
	bool disk;		      /* source is a disk, the root on it is to be found */
	bool volume;		      /* source is the serial of a disk with ext4 on it */
};

struct ga_umount {
	uint8_t *raw;
	const char *name, *path;
	bool lazy; /* also where something in the guest uses it */
};

struct ga_boot {
	uint8_t *raw;
	const char *hostname, *user, *workdir; /* "" where not said; workdir "/" */
	const char *init; /* what PID 1 becomes, a path; "": it stays the agent */
	const char **env;
	size_t nenv;
	uint64_t clock_usec; /* 0: leave it */
	struct ga_mount mounts[GA_MAX_MOUNTS];
	size_t nmounts;
};

/**
 * ga_exec_parse() - Check and take apart the payload of EXEC
 * Return: 0; -EINVAL with a sentence (no argument, a bad number, an unknown key, an entry of the
 * environment without a name); -ENOMEM. @ret is to be given to ga_exec_done() in any case.
 */
int ga_exec_parse(const uint8_t *p, size_t n, struct ga_exec *ret, struct msb_err *e);
void ga_exec_done(struct ga_exec *x);

/**
 * ga_boot_parse() - The same for BOOT
 * mount=SOURCE\tPATH\tOPTIONS: the first is for "/", and only that one. PATH is absolute, without
 * empty, "." and ".." components. OPTIONS: ro rw nosuid nodev noexec noatime type=FSTYPE, with
 * commas; the type is virtiofs by default. Of type `share`, SOURCE is [a-z0-9]{1,16}: a directory
 * of the machine's one file system of shares. Of type `disk`, for "/" alone, it is a disk likewise.
 * Of type `tmpfs`, but not for "/", there may be size= nr_inodes= mode= uid= gid= with digits.
 */
int ga_boot_parse(const uint8_t *p, size_t n, struct ga_boot *ret, struct msb_err *e);
void ga_boot_done(struct ga_boot *b);

/* The same for MOUNT: exactly one mount=, of type share. @raw is the caller's to free. */
int ga_mount_parse(
	const uint8_t *p, size_t n, struct ga_mount *ret, uint8_t **raw, struct msb_err *e);
/* The same for UMOUNT; free @ret->raw in any case. */
int ga_umount_parse(const uint8_t *p, size_t n, struct ga_umount *ret, struct msb_err *e);

/* The variable NAME=VALUE of a NULL-terminated environment, or NULL. */
const char *ga_env_get(const char *const *env, const char *name);

#endif
