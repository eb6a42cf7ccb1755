/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a user is to a registry. What is kept in memory is the name; the secret is in
 * STATE/logins/UID@HOST (0600: USER, newline, SECRET, newline), read when a registry is asked and
 * wiped after. A login is the user's who made it: nobody else's calls use it.
 */
#ifndef MSB_CTL_LOGINS_H
#define MSB_CTL_LOGINS_H

#include "ctl/line.h"
#include "ctl/model.h"
#include "fs/image/image.h"

#define CTL_MAX_LOGIN_USER 255
#define CTL_MAX_SECRET	   CTL_MAX_LINE

struct ctl_login {
	uint32_t serial; /* in node ids */
	uid_t uid;
	char *host, *user;
};

/* ctl.lock held; borrowed. */
struct ctl_login *ctl_login_find(struct ctl *c, uid_t uid, const char *host);
struct ctl_login *ctl_login_by_serial(struct ctl *c, uint32_t serial);

int ctl_logins_load(struct ctl *c, struct msb_err *e); /* at the start */

/* `login REGISTRY USER`: without a secret until one is written. -EINVAL; -EDQUOT CTL_MAX_LOGINS. */
int ctl_login_set(const struct ctl_req *q, const char *host, const char *user, struct msb_err *e);
/* `logout REGISTRY`: -ENOENT. */
int ctl_login_drop(const struct ctl_req *q, const char *host, struct msb_err *e);
/* Keeps the secret of login @serial. -ENODEV it was dropped; -EINVAL control bytes; -ENOSPC. The
 * sentences never show it. Takes ctl.lock. */
int ctl_login_secret(
	struct ctl *c, uint32_t serial, const char *secret, size_t n, struct msb_err *e);

/* How a user reaches a registry: login, table and environment, put together. */
struct ctl_registry {
	struct img_registry reg; /* points into what follows */
	char user[CTL_MAX_LOGIN_USER + 1], secret[CTL_MAX_SECRET + 1];
	struct ctl_words words; /* of its line in images/registries */
	const char *mirrors[CTL_MAX_MIRRORS + 1];
	char home[256], xdg[40];
};
/* Takes ctl.lock. */
int ctl_registry_of(
	const struct ctl_req *q, const char *host, struct ctl_registry *ret, struct msb_err *e);
void ctl_registry_wipe(struct ctl_registry *r);

/**
 * ctl_registries_set() - Write to images/registries
 * @replace: the lines are all there is to be; else they are added. All or none.
 * Errors: -EINVAL syntax; -EEXIST two lines of a host; -E2BIG, -EDQUOT limits. Takes ctl.lock.
 */
int ctl_registries_set(struct ctl *c, const char *p, size_t n, bool replace, struct msb_err *e);
/* Checks lines and appends them to @table in their one form. A pure function. */
int ctl_registries_parse(const char *p, size_t n, struct msb_str *table, struct msb_err *e);

/* Fills what the table @text says of @host. A pure function. */
void ctl_registries_find(const char *text, const char *host, struct ctl_registry *ret);

/* The host of a registry as references have it: -EINVAL. */
int ctl_registry_host(const char *text, char ret[IMG_REF_MAX_NAME + 1], struct msb_err *e);

#endif
