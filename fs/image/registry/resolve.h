/* SPDX-License-Identifier: Apache-2.0 */
/* Names to addresses, in a process of their own: it has files (nsswitch, modules) and no secret. */
#ifndef MSB_FS_IMAGE_REGISTRY_RESOLVE_H
#define MSB_FS_IMAGE_REGISTRY_RESOLVE_H

#include "base/err.h"
#include "base/msg.h"

#define REG_MAX_ADDRESSES     16   /* of one name */
#define REG_MAX_ADDRESS_BYTES 1024 /* of their list */

/**
 * reg_resolver_start() - Fork a resolver
 * Call before there is any secret in memory. As root it becomes nobody; it reads no file but what
 * the system's name services need, and keeps only @ret_sock's other end. It ends with it.
 * @ret_sock: non-blocking, CLOEXEC
 * Wire: "resolve" {host=} -> "ok" {host= addresses=A,B,…} or "error" {host= again=0|1 msg=}, in
 * order.
 */
int reg_resolver_start(int *ret_sock, struct msb_err *e);

/* The resolver's half for one request, which it replaces by the answer. For the process and tests.
 */
void reg_resolve(struct msb_msg *m);

/* Are these literal addresses, comma separated? What the main process checks before it uses them.
 */
bool reg_addresses_valid(const char *list);

#endif
