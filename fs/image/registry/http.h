/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One question to a registry: its answer, whatever stands between. Names are looked up, tokens
 * fetched, redirects followed, and what failed in passing is tried again, before the owner hears.
 *
 * One thread. reg_net is the process's network; the owner's callbacks run inside reg_net_turn() and
 * may start other questions there. Authorization is made from the origin (scheme, host, port) that
 * is asked at the moment, so that none ever goes elsewhere.
 */
#ifndef MSB_FS_IMAGE_REGISTRY_HTTP_H
#define MSB_FS_IMAGE_REGISTRY_HTTP_H

#include "fs/image/registry/challenge.h"
#include "fs/image/registry/setup.h"
#include "fs/image/registry/url.h"

#include <curl/curl.h>
#include <sys/queue.h>

#define REG_MAX_ORIGINS	    32 /* that one pull is led to */
#define REG_MAX_SCOPE_BYTES 4096
#define REG_UNKNOWN	    UINT64_MAX

struct reg_http;

struct reg_http_ops {
	/* Before each try: what is still wanted (ranges), from the start. May be NULL. */
	void (*again)(struct reg_http *);
	/* A 2xx answer begins. 0, or -errno with @e: no more is read, and the question has failed.
	 */
	int (*head)(struct reg_http *, struct msb_err *e);
	/* Of a 2xx answer's body. As head. NULL: it is thrown away. */
	int (*data)(struct reg_http *, const void *p, size_t n, struct msb_err *e);
	/* A 2xx answer is whole: 0, -EAGAIN (it is not: ask again), or -errno with @e. May be NULL.
	 */
	int (*check)(struct reg_http *, struct msb_err *e);
	/* Has all of it come, though the connection broke? NULL: never. */
	bool (*whole)(const struct reg_http *);
	/* The last call: @r is 0 or -errno with @e; @h is gone afterwards. Not after
	 * reg_http_cancel(). */
	void (*done)(struct reg_http *h, int r, const struct msb_err *e);
};

enum reg_http_state {
	REG_HTTP_QUEUED,
	REG_HTTP_NAME,	/* waits for an address */
	REG_HTTP_TOKEN, /* waits for a token */
	REG_HTTP_RUNNING,
	REG_HTTP_PAUSE, /* waits before the next try */
};

struct reg_origin;
struct reg_token;

struct reg_http {
	/* The owner's, before reg_http_start(). Texts are borrowed unless it says more. */
	const struct reg_http_ops *ops;
	void *owner;
	const struct reg_site *site;
	const char *method;
	char *url;	    /* allocated; goes over */
	char **direct;	    /* where redirects led the one before, or NULL; kept up to date */
	const char *scopes; /* of the token that it takes, separated by spaces */
	const char *accept, *content_type, *form; /* form: a body, wiped by its owner */
	const char *what;			  /* in sentences: "manifest latest" */
	uint64_t range_first, range_last;	  /* asked for where last is not 0 */
	int body_fd;				  /* -1: none */
	uint64_t body_first, body_bytes;
	bool body_range; /* says which bytes of a whole these are (PATCH) */
	bool once;	 /* not tried again */
	bool probe;	 /* a 401 is an answer like another */
	bool next;	 /* goes before those that wait already */
	uint64_t due_ms; /* not before (msb_now_ms()); 0: now */

	/* Its answer's head. "" or REG_UNKNOWN where it does not say. */
	long status;
	uint64_t bytes, chunk_min;
	char media_type[256], digest[160], content_range[128], location[REG_MAX_URL_BYTES];
	char final_url[REG_MAX_URL_BYTES]; /* where the answer came from */

	/* http.c's own */
	TAILQ_ENTRY(reg_http) link;
	enum reg_http_state state;
	CURL *easy;
	struct curl_slist *headers, *resolve;
	char *now; /* the URL of this try, after redirects */
	struct reg_url at;
	struct reg_origin *origin;
	struct reg_token *token; /* waited for, or shown */
	char *token_shown;
	struct reg_net *net;
	unsigned int redirects, retries, auth_tries;
	bool basic_shown, is_token, headed, direct_used, over_limit;
	uint64_t since_retry, body_sent, header_bytes, thrown;
	uint64_t retry_after_sec;
	char authenticate[REG_MAX_VALUE_BYTES], connect_host[256];
	int stop; /* -errno of an owner's callback */
	struct msb_err err;
	struct msb_str body; /* of an answer that is no 2xx */
};

struct reg_net;

/**
 * reg_net_new() - Everything that needs files is loaded here: certificates, the TLS library
 * @cfg: outlives it; @resolver: reg_resolver_start()'s, taken over
 * Return: 0 or -errno with @e.
 */
int reg_net_new(
	const struct reg_config *cfg, int resolver, struct reg_net **ret, struct msb_err *e);
void reg_net_free(struct reg_net *);

/* Does what has become due, and waits for the network, @client (NULL: none) or @timeout_ms. */
int reg_net_turn(struct reg_net *, struct curl_waitfd *client, int timeout_ms);
unsigned int reg_net_free_slots(const struct reg_net *); /* transfers that could start now */

/* A question with everything at rest, to be filled in; NULL: no memory. */
struct reg_http *reg_http_new(struct reg_net *, const struct reg_site *, const char *method);
void reg_http_start(struct reg_http *h); /* it is asked in its turn */
void reg_http_cancel(
	struct reg_http *h); /* frees it, started or not, without a callback; NULL: nothing */

#endif
