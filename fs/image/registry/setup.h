/* SPDX-License-Identifier: Apache-2.0 */
/* What msb-registry knows once it is set up: read while there are files, before there is a network.
 */
#ifndef MSB_FS_IMAGE_REGISTRY_SETUP_H
#define MSB_FS_IMAGE_REGISTRY_SETUP_H

#include "base/msg.h"
#include "base/str.h"
#include "fs/image/registry/creds.h"
#include "fs/image/registry/registry.h"

/* A host that may be asked: a mirror, or the registry itself, which is the last. */
struct reg_site {
	char *base;   /* scheme://host[:port]; allocated, as all here */
	char *prefix; /* before the repository: "" or "path/" */
	char *host;   /* as a user names it */
	bool mirror;
	struct reg_cred cred;
	struct msb_str cert, key; /* PEM, of ours; empty: none */
};

struct reg_config {
	struct reg_site site[REG_MAX_MIRRORS + 1];
	size_t nsites;
	char *repo;
	bool push, plain_http, insecure;
	unsigned int retry_ms, stall_ms, helper_ms;
	struct msb_str ca; /* PEM, beside the system's */
	/* Only until reg_gather() has used them. */
	uid_t uid, started_as; /* whose request; what we were started as */
	gid_t gid;
	char *home, *docker_config, *auth_file, *xdg_runtime_dir, *ca_path;
};

/**
 * reg_config_read() - Take a "setup" message
 * @m: its payload is wiped
 * Return: 0; -EINVAL with @e. @c is the caller's to reg_config_done() either way.
 */
int reg_config_read(struct msb_msg *m, struct reg_config *c, struct msb_err *e);
void reg_config_done(struct reg_config *c); /* wipes what is secret */

/**
 * reg_gather() - Read credentials and certificates, as the user that asks
 * In a child that takes on @c->uid first: files that this user may not read are not read, and
 * credential helpers run with that user's rights. Blocks, at most for helper_ms for each host. A
 * file that is damaged is left out with a line in the log; a CA that was asked for is an error.
 * Return: 0; -errno with @e.
 */
int reg_gather(struct reg_config *c, struct msb_err *e);

/* The child's part: everything above, into @c of its own; each is passed on with @give. */
enum reg_item {
	REG_ITEM_USER,
	REG_ITEM_SECRET,
	REG_ITEM_CA,
	REG_ITEM_CERT,
	REG_ITEM_KEY,
	REG_ITEM_NOTE,
	REG_ITEM_ERROR,
	REG_ITEM_END
};
typedef void reg_give(void *arg, enum reg_item, size_t site, int value, const void *p, size_t n);
void reg_gather_creds(const struct reg_config *c, reg_give *give, void *arg);
void reg_gather_certs(const struct reg_config *c, reg_give *give, void *arg);

/**
 * reg_helper_run() - Ask docker-credential-@name for the credentials of @server
 * With the rights of the caller, whose descriptors above 2 must be CLOEXEC; what it prints goes
 * nowhere else, not even into a message.
 * @env: NULL: the caller's
 * Return: 1 with @ret; 0 it has none; -ENOENT not installed; -ETIMEDOUT; -EIO it failed; -EBADMSG.
 */
int reg_helper_run(const char *name, const char *server, char *const env[], unsigned int timeout_ms,
	struct reg_cred *ret);

#endif
