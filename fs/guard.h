/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared memory that its other owner may cut short: a file that is mapped here and made smaller
 * there faults with SIGBUS at a touch, which would end the process. Here such a page becomes one of
 * zeros instead; what lay there is gone for both.
 */
#ifndef MSB_FS_GUARD_H
#define MSB_FS_GUARD_H

#include <stddef.h>

#define GUARD_MAX 4096 /* mappings at once; those past it are not guarded */

/* Installs the handler, once for the process: before threads and the jail. 0 or -errno. */
int guard_init(void);

/* From any thread. A mapping is added before its first touch and removed before it is unmapped. */
void guard_add(const void *p, size_t bytes);
void guard_del(const void *p);

#endif
