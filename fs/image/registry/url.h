/* SPDX-License-Identifier: Apache-2.0 */
/* URLs that registries send, and where a request to one goes: bytes in, no network. */
#ifndef MSB_FS_IMAGE_REGISTRY_URL_H
#define MSB_FS_IMAGE_REGISTRY_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REG_MAX_URL_BYTES    4096 /* of one that somebody else sent; presigned ones are long */
#define REG_MAX_ORIGIN_BYTES 280  /* scheme://host:port */

struct reg_url {
	char origin[REG_MAX_ORIGIN_BYTES]; /* scheme://host:port, the port always there */
	char host[256];			   /* without brackets; lower case */
	uint16_t port;
	bool tls;
};

/**
 * reg_url_split() - Take apart an absolute http or https URL
 * Return: 0; -EINVAL not one, with a user in it, or with anything but visible ASCII; -E2BIG.
 */
int reg_url_split(const char *url, struct reg_url *ret);

/**
 * reg_url_follow() - What @location means in an answer from @base
 * @ret: REG_MAX_URL_BYTES, without a fragment
 * Return: as reg_url_split().
 */
int reg_url_follow(const char *base, const char *location, char *ret);

/* This machine: localhost and what is below it, 127.0.0.0/8, ::1. */
bool reg_host_is_loopback(const char *host);

/* An address rather than a name: nothing to look up. */
bool reg_host_is_address(const char *host);

/**
 * reg_no_proxy() - Does NO_PROXY except a host?
 * @list: comma or space separated: `*`; names, which stand for what is below them too (`.x`, `*.x`
 * and `x` are the same); addresses; networks (10.0.0.0/8); each may have a :port
 */
bool reg_no_proxy(const char *list, const char *host, uint16_t port);

/* The proxy to reach @u by from @get (getenv), NULL for none. This machine has none. */
const char *reg_proxy_for(const struct reg_url *u, char *(*get)(const char *));

/**
 * reg_retry_after() - Read Retry-After
 * @now: seconds since 1970, for one that is a date
 * Return: seconds to wait, 0 where it makes no sense or is past.
 */
uint64_t reg_retry_after(const char *value, int64_t now);

/* `bytes FIRST-LAST/TOTAL`; TOTAL may be `*` (then UINT64_MAX). 0 or -EBADMSG. */
int reg_content_range(
	const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total);

#endif
