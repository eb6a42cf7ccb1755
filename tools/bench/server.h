/* SPDX-License-Identifier: Apache-2.0 */
/* The file servers that a bench runs beside each other, each a process on a directory of its own.
 */
#ifndef MSB_BENCH_SERVER_H
#define MSB_BENCH_SERVER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVER_MAX_PIDS 16

struct server {
	char name[64];
	bool ours;
	char dir[128];	    /* what belongs to it, below the work directory */
	char socket[160];   /* vhost-user */
	const char *subdir; /* of what is mounted; NULL: the root itself */
	pid_t pid;
	int control;		     /* ours: connection to msb-fsd */
	pid_t pids[SERVER_MAX_PIDS]; /* the process and what it has forked */
	unsigned int npids;
};

/**
 * server_start() - Start one server, as its users start it: with its sandbox on
 * @spec: `msb:BACKEND[,OPTIONS]`, from @bin_dir, or from another build where `@BINDIR` follows; or
 * `NAME=COMMAND`, a virtiofsd of that path, with further arguments where there are spaces
 * @work: directory on the file system to be served; an image's `index` and `packs` there are what
 * our image backend serves, and lie below our overlay
 */
int server_start(struct server *s, const char *spec, const char *bin_dir, const char *work,
	struct msb_err *e);
void server_stop(struct server *s);

void server_find_pids(struct server *s);	/* once it serves: peers fork on the way there */
uint64_t server_cpu_ns(const struct server *s); /* CPU time of all of it */

#endif
