/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb-registry, the short-lived process that speaks to one registry for one pull or push.
 * Source: OCI distribution-spec 1.1; docker's token authentication and config.json.
 *
 * It has the network and no files; msb-image has the store and no network. It verifies nothing for
 * its client: whoever takes bytes from it hashes them.
 *
 * fd 3: SEQPACKET to the client (msb-image); fd 4: SEQPACKET on which "setup" lies ready. Once it
 * has read that it narrows itself, then serves the client until that closes its end. Messages are
 * those of base/msg.h. A setup that failed is the answer to each request.
 *
 *   setup {host= repo= verb=pull|push uid= gid= home= docker_config= registry_auth_file=
 *          xdg_runtime_dir= user= plain_http=0|1 insecure=0|1 ca=PATH mirror=URL, several
 *          retry_ms= stall_ms= helper_ms=}     payload: the login's secret, or nothing
 *
 * Requests carry an id (u64) of the client's choice, not in use; any number may be under way, up to
 * REG_MAX_REQUESTS. Each is answered once, by "ok" or "error", in any order; both carry its id.
 * NAME is a tag or `sha256:HEX`; digests are `sha256:HEX`; numbers are decimal.
 *
 *   get {id= what=manifest|blob name=NAME offset=N size=N} + a descriptor to write to
 *     offset: bytes that are there already (0); size: of the whole, which a blob must have (a
 *     manifest: 0, unknown). Written with pwrite() at their place, in any order.
 *     -> "progress" {id= ready_bytes=N}, from time to time: bytes from the start that are there
 *        without a gap. Never less than before, nor than offset.
 *     -> "ok" {id= bytes=N media_type= digest=}  both as the registry says, "" where it does not
 *   exists {id= what=blob|manifest name=NAME}    what: blob where left out
 *     -> "ok" {id= exists=0|1 size=N media_type= digest=}  size 0 where it was not said
 *   mount {id= digest= from=REPO}                from another repository of the same registry
 *     -> "ok" {id= mounted=0|1}
 *   put_blob {id= digest= size=N} + a descriptor, read with pread() from 0
 *     -> "progress" {id= ready_bytes=N} -> "ok" {id=}
 *   put_manifest {id= name=NAME media_type=} + a descriptor
 *     -> "ok" {id= digest=}
 *   cancel {id=}                                 a request under way; its answer is -ECANCELED
 *
 *   error {id= code=ERRNO msg=SENTENCE}
 *     ENOENT not there; EACCES it wants a login, another login, or refuses; EBADMSG what it says is
 *     not true or not understood; E2BIG a limit; EAGAIN it asks for more patience than is had;
 *     EHOSTUNREACH, ECONNREFUSED, ETIMEDOUT, EPROTO (TLS); EIO others; EINVAL the request itself.
 */
#ifndef MSB_FS_IMAGE_REGISTRY_REGISTRY_H
#define MSB_FS_IMAGE_REGISTRY_REGISTRY_H

#include "base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define REG_CLIENT_FD 3
#define REG_SETUP_FD  4

/* What a registry or a user can grow. */
#define REG_MAX_REQUESTS	256	    /* of a client, at once */
#define REG_MAX_TRANSFERS	8	    /* HTTP requests at once */
#define REG_MAX_RANGES		4	    /* of them for one blob */
#define REG_RANGE_BYTES		(16u << 20) /* of one range request */
#define REG_MAX_MANIFEST_BYTES	(4u << 20)  /* of a manifest */
#define REG_MAX_TOKEN_BYTES	(64u << 10) /* of the answer of a token server */
#define REG_MAX_SECRET_BYTES	(16u << 10) /* of a password or token, ours or a registry's */
#define REG_MAX_HEADER_BYTES	(64u << 10) /* of the headers of one answer */
#define REG_MAX_VALUE_BYTES	(8u << 10)  /* of one header that matters to us */
#define REG_MAX_CHALLENGES	8	    /* ways to authenticate that one answer offers */
#define REG_MAX_PARAMS		16	    /* parameters of one of them */
#define REG_MAX_SCOPES		8	    /* of one token */
#define REG_MAX_TOKENS		32	    /* kept */
#define REG_MAX_ERROR_BYTES	(16u << 10) /* of the body that says what is wrong */
#define REG_MAX_REDIRECTS	8	    /* of one request */
#define REG_MAX_RETRIES		5	    /* of one request, without REG_RETRY_BYTES between */
#define REG_MAX_RETRY_AFTER_SEC 60	    /* waiting that a registry may ask for */
#define REG_MAX_MIRRORS		8
#define REG_MAX_CONFIG_BYTES	(1u << 20)   /* of a file with credentials */
#define REG_MAX_CA_BYTES	(4u << 20)   /* of all certificates */
#define REG_MAX_HELPER_BYTES	(64u << 10)  /* that a credential helper prints */
#define REG_RETRY_BYTES		(64u << 10)  /* progress that makes up for a retry */
#define REG_PROGRESS_BYTES	(256u << 10) /* between two messages about it */

#define REG_RETRY_MS	250   /* before the first retry; doubles; settable */
#define REG_STALL_MS	30000 /* at less than REG_STALL_BYTES a second; settable */
#define REG_STALL_BYTES 1024
#define REG_CONNECT_MS	15000
#define REG_RESOLVE_MS	20000
#define REG_HELPER_MS	60000 /* of a credential helper; settable */

/* Strings may be NULL where the comment does not say more. */
struct reg_setup {
	const char *host; /* of the canonical reference, not NULL */
	const char *repo; /* not NULL */
	bool push;	  /* or pull */
	uid_t uid;	  /* whose credentials count; files are read and helpers run as that user */
	gid_t gid;
	const char *home, *docker_config, *registry_auth_file, *xdg_runtime_dir; /* of that user */
	const char *user, *secret;  /* the login that msb was given: goes before all others */
	bool plain_http;	    /* without TLS, though the host is not this one */
	bool insecure;		    /* no verification of the registry's certificate */
	const char *ca;		    /* path of certificates to trust beside the system's */
	const char *const *mirrors; /* URLs, NULL at the end: asked before the host, for pulls */
	unsigned int retry_ms, stall_ms, helper_ms; /* 0: as above */
};

/**
 * reg_spawn() - Start an msb-registry and hand it @s
 * @bin_dir: where msb-registry is; @log_fd: what it logs (-1: the caller's stderr)
 * @ret_client: set on success: the client's end of the socket, CLOEXEC, the caller's. The process
 * ends once the last descriptor of it is closed.
 * @ret_pidfd: may be NULL
 * Proxies (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) are those of the caller's environment.
 * Return: pid, the caller's to reap; -errno with @e. Threads: any.
 */
pid_t reg_spawn(const char *bin_dir, const struct reg_setup *s, int log_fd, int *ret_client,
	int *ret_pidfd, struct msb_err *e);

#endif
