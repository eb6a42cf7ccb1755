/* SPDX-License-Identifier: Apache-2.0 */
/* The client's requests: taken off its socket, under way, answered. */
#ifndef MSB_FS_IMAGE_REGISTRY_REQUEST_H
#define MSB_FS_IMAGE_REGISTRY_REQUEST_H

#include "fs/image/registry/http.h"

#define REG_MAX_NAME_BYTES 160 /* of a tag or digest */
#define REG_MAX_REPO_BYTES 256
#define REG_PATCH_BYTES	   (64u << 20) /* of one piece, where a registry wants pieces */

struct reg_serve;
struct reg_request;

/* What each kind does. The first may end the request at once. */
struct reg_request_ops {
	const char *verb;
	bool needs_fd;
	int (*start)(struct reg_request *, const struct msb_msg *, struct msb_err *e);
	int (*elsewhere)(struct reg_request *); /* again at r->site, another one; NULL: never */
	void (*stop)(struct reg_request *);	/* whatever is under way; NULL: r->h alone */
	void (*turn)(struct reg_request *);	/* after each turn of the network; may be NULL */
};

struct reg_chunk { /* a range that is being fetched */
	struct reg_http *h;
	uint64_t at, end, skip;
};

struct reg_request {
	TAILQ_ENTRY(reg_request) link;
	struct reg_serve *serve;
	const struct reg_request_ops *ops;
	uint64_t id;
	int fd;		      /* -1: none; owned */
	bool manifest, local; /* local: it failed here, another site would not help */
	char name[REG_MAX_NAME_BYTES], what[REG_MAX_NAME_BYTES + 16];
	char scopes[2 * REG_MAX_REPO_BYTES + 64];
	char media_type[256], digest[160];
	uint64_t size, ready, told;
	size_t site;	    /* which one is asked */
	struct reg_http *h; /* of those with one question at a time */

	/* get */
	struct reg_chunk chunk[REG_MAX_RANGES];
	uint64_t next;
	bool ranges, no_ranges; /* it has answered with one; it does not */
	char *direct;

	/* put */
	bool pieces;
	unsigned int tries;
	uint64_t sent, piece_bytes;
	char *location;
};

TAILQ_HEAD(reg_requests, reg_request);

struct reg_serve {
	const struct reg_config *cfg;
	struct reg_net *net;
	int sock; /* non-blocking */
	struct reg_requests all;
	unsigned int count;
	bool dead[REG_MAX_MIRRORS + 1];		  /* sites that are not there */
	struct msb_str out[2 * REG_MAX_REQUESTS]; /* answers that its socket had no room for */
	size_t out_first, out_count;
	struct msb_err failed; /* of the setup: the answer to all */
	struct msb_msg msg;
};

/**
 * reg_serve_take() - Take what the client has sent
 * Return: 0; -EPIPE it has closed; -EBADMSG it breaks the protocol.
 */
int reg_serve_take(struct reg_serve *s);
int reg_serve_flush(struct reg_serve *s); /* 0; -EPIPE */
void reg_serve_turn(struct reg_serve *s); /* after each turn of the network */
void reg_serve_done(struct reg_serve *s); /* ends all requests without an answer */

/* For the kinds. All end @r but the first three. */
void reg_request_progress(struct reg_request *r); /* r->ready, where it is worth a message */
char *reg_request_url(
	const struct reg_request *r, const char *kind, const char *name); /* or NULL */
const struct reg_site *reg_request_site(const struct reg_request *r);
void reg_request_ok(struct reg_request *r, const char *const keys[][2]); /* {NULL} at the end */
void reg_request_error(struct reg_request *r, int err, const struct msb_err *e);
/* Failed at r->site: at the next one, where there is one and it can help; else the error. */
void reg_request_failed(struct reg_request *r, int err, const struct msb_err *e);

extern const struct reg_request_ops reg_get_ops, reg_exists_ops, reg_mount_ops, reg_put_blob_ops,
	reg_put_manifest_ops;

/* Which manifests we can do something with. */
extern const char reg_manifest_types[];

#endif
