/* SPDX-License-Identifier: Apache-2.0 */
/* What a bench asks a file server for: FUSE operations, prepared, run a number of times, undone. */
#ifndef MSB_BENCH_OPS_H
#define MSB_BENCH_OPS_H

#include "tools/bench/ring.h"

#define FILES	   2000	       /* in the directory that most operations work in */
#define DATA_BYTES (16u << 20) /* of the file that is read and written */

/* A guest kernel that has a file system mounted. */
struct client {
	struct front f;
	uint32_t uid;			      /* who asks */
	bool no_open, no_opendir, no_flush;   /* ENOSYS came back: not sent any more */
	uint64_t dir;			      /* node */
	uint64_t node[FILES], lookups[FILES]; /* of the files; references to give back */
	uint64_t made[FILES];		      /* of files that the operation makes */
	uint64_t fh[FILES];
	uint64_t data, data_fh;
	uint64_t dir_fh[SLOTS], dir_off[SLOTS]; /* one reader a slot */
	uint64_t unique, requests;		/* sent */
	int error;				/* the first unexpected one */
};

/* Mounts, and makes the files, in directory @subdir of what is mounted; NULL: in its root. */
int client_start(struct client *c, const char *socket, const char *subdir, struct msb_err *e);
void client_done(struct client *c);

/* What an operation is made of: the header and @n bytes of arguments, in a slot. */
void client_request(struct client *c, struct slot *s, uint32_t opcode, uint64_t node,
	const void *args, size_t n);
int client_make_files(struct client *c); /* `f0000` and so on, a page each; looked up once */
/* The data file has its pages for one turn only: every server's come from where the last one's
 * went. */
int client_fill_data(struct client *c);
int client_empty_data(struct client *c);
int client_open_dirs(struct client *c); /* one handle a slot */
int client_close_dirs(struct client *c);

struct op {
	const char *name;
	unsigned int count; /* operations of one round */
	unsigned int ring;
	int (*prepare)(struct client *); /* 1: a guest sends nothing for this here */
	/* Writes step s->step of operation s->i, and says what it consists of. */
	void (*build)(struct client *, struct slot *, struct shape *);
	/* Looks at the reply. 1: there is a further step; 0; -errno: not what was expected. */
	int (*done)(struct client *, struct slot *);
	int (*finish)(struct client *); /* brings back what prepare() found */
	/* What is to be reached against the better peer; 0: nothing. */
	double cpu, p50, rate;
};

extern const struct op ops[];
extern const unsigned int nops;

/* Runs @count operations with @depth of them in flight; @lat_ns: how long each took, or NULL. */
int op_run(struct client *c, const struct op *op, unsigned int count, unsigned int depth,
	uint32_t *lat_ns);

#endif
