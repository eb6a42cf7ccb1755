/* SPDX-License-Identifier: Apache-2.0 */
/* Narrowing a process to what its role needs, once its descriptors are in hand. */
#ifndef MSB_BASE_JAIL_H
#define MSB_BASE_JAIL_H

#include "base/err.h"
#include "base/user.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum msb_jail_flags {
	MSB_JAIL_NET = 1,  /* an empty network namespace */
	MSB_JAIL_ROOT = 2, /* an empty, read-only root directory in a mount namespace of its own */
	MSB_JAIL_IPC = 4,  /* IPC and UTS namespaces */
	MSB_JAIL_NOBODY = 8, /* leave uid 0 for an unprivileged one; a no-op for an ordinary user */
};

/* A directory whose files stay reachable through descriptors of it. */
struct msb_jail_dir {
	int fd;
	bool write;
};

struct msb_jail {
	unsigned int flags;
	uint64_t keep_caps; /* bit n: capability n stays effective and permitted; all others go */
	uint64_t idle_caps; /* of those, only permitted: a thread takes one up when it needs it */
	const char *const *syscalls; /* names, NULL at the end; every other one kills the process */
	bool refuse;		     /* no: it fails with ENOSYS. For code that is not ours */
	/* Where there are any: what is beneath them is all that can be opened, made or removed,
	 * even through a descriptor of theirs and "..", which namespaces alone do not prevent
	 * (Landlock). */
	const struct msb_jail_dir *dirs;
	size_t ndirs;
	const struct msb_user *user; /* root becomes that one, once it has its namespaces; NULL:
					nobody else. A no-op for an ordinary user. */
};

/**
 * msb_jail_enter() - Give up everything that @j does not name
 * No new privileges, not dumpable, RLIMIT_CORE 0. Namespaces are taken where the kernel permits: an
 * ordinary user gets them through a user namespace; where that is forbidden the rest still applies
 * and the log says what is missing. The seccomp filter comes last and covers every thread. Threads:
 * call before any other thread starts. Return: 0, or -errno with @e where something that always
 * works failed: exit then.
 */
int msb_jail_enter(const struct msb_jail *j, struct msb_err *e);

#endif
