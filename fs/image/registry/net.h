/* SPDX-License-Identifier: Apache-2.0 */
/* What http*.c share: the network of the process. */
#ifndef MSB_FS_IMAGE_REGISTRY_NET_H
#define MSB_FS_IMAGE_REGISTRY_NET_H

#include "fs/image/registry/http.h"
#include "fs/image/registry/resolve.h"

TAILQ_HEAD(reg_https, reg_http);

/* A scheme, host and port that has been asked. */
struct reg_origin {
	char name[REG_MAX_ORIGIN_BYTES];
	const struct reg_site *site;  /* whose credentials it gets; NULL: we were led there, none */
	enum reg_auth auth;	      /* what it wanted last */
	struct reg_challenge *bearer; /* allocated, with REG_AUTH_BEARER */
};

struct reg_token {
	const struct reg_origin *origin;
	char *scopes, *value;	/* allocated; value NULL: not there yet */
	uint64_t stale_ms;	/* msb_now_ms() */
	struct reg_http *fetch; /* under way */
	struct msb_str answer;
	char *form;
};

struct reg_trust;

struct reg_name {
	char host[256];
	char addresses[REG_MAX_ADDRESS_BYTES]; /* "": asked, no answer yet */
	uint64_t due_ms;
};

struct reg_net {
	const struct reg_config *cfg;
	CURLM *multi;
	struct reg_trust *trust;
	int resolver;
	struct reg_https all; /* in the order of their start */
	unsigned int running; /* hold a slot */
	struct reg_origin origins[REG_MAX_ORIGINS];
	size_t norigins;
	struct reg_token tokens[REG_MAX_TOKENS];
	struct reg_name names[REG_MAX_ORIGINS];
	size_t nnames;
	struct msb_msg msg; /* of the resolver */
};

/* http.c */
void reg_http_ask(struct reg_http *h);	   /* the next step of what is to be asked at h->now */
void reg_http_restart(struct reg_http *h); /* the same from its first URL */
void reg_http_end(struct reg_http *h, int r, const struct msb_err *e); /* tells the owner, frees */
void reg_http_detach(struct reg_http *h); /* takes it off the network */

/* http_easy.c: one try, as libcurl sees it */
int reg_http_begin(struct reg_http *h, struct msb_err *e);

/* http_auth.c */
struct reg_origin *reg_origin_of(struct reg_net *n, const char *name); /* NULL: too many */
/* What is to be shown: 0 @ret_header set, allocated, NULL for none; 1 wait; -errno with @e. */
int reg_auth_header(struct reg_http *h, char **ret_header, struct msb_err *e);
/* After a 401: 0 ask again; -errno with @e. */
int reg_auth_challenged(struct reg_http *h, struct msb_err *e);
void reg_auth_done(struct reg_net *n);
void reg_auth_forget(struct reg_net *n, const struct reg_http *h); /* @h waits for none any more */

/* http_name.c */
/* 0 h->connect_host has addresses (or needs none); 1 wait; -errno with @e. */
int reg_name_lookup(struct reg_http *h, const char **ret_addresses, struct msb_err *e);
void reg_name_forget(struct reg_net *n, const char *host); /* looked up anew the next time */
void reg_name_answers(struct reg_net *n);
void reg_name_overdue(struct reg_net *n, uint64_t now);

/* http_answer.c */
void reg_http_finished(struct reg_http *h, CURLcode code); /* a try has ended */
/* Failed in passing: waits and tries again, or ends with @r and @e. */
void reg_http_failed(struct reg_http *h, int r, const struct msb_err *e);

#endif
