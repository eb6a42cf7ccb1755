/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References: the names of images, as docker writes them, in one canonical form.
 * Source: OCI distribution-spec 1.1, "Pulling manifests"; docker's reference grammar for what may
 * be left out.
 *
 *   [HOST[:PORT]/]REPO[:TAG][@sha256:HEX]
 *
 * The first component is a host where it has a dot or a colon, or is `localhost`. What is left out
 * is filled in: the host (IMG_REF_DEFAULT_HOST, with `library/`
 * before a repository of one component; IMG_REF_LOCAL_HOST for what is imported), the tag (latest).
 * A digest makes the tag meaningless, so it is dropped, as docker does.
 */
#ifndef MSB_FS_IMAGE_REF_H
#define MSB_FS_IMAGE_REF_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

#define IMG_REF_DEFAULT_HOST "docker.io"
#define IMG_REF_LOCAL_HOST   "localhost" /* nothing is pulled from it without a port */
#define IMG_REF_MAX_NAME     255	 /* bytes of HOST/REPO */
#define IMG_REF_MAX_TAG	     128
#define IMG_REF_MAX	     (IMG_REF_MAX_NAME + 1 + IMG_REF_MAX_TAG) /* of the canonical text */

struct img_ref {
	char host[IMG_REF_MAX_NAME + 1]; /* lower case; with its port */
	char repo[IMG_REF_MAX_NAME + 1];
	char tag[IMG_REF_MAX_TAG + 1]; /* "" where there is a digest */
	char digest[65];	       /* sha256, hex; "" where there is a tag */
	bool bare;		       /* its text had no host */
};

/**
 * img_ref_parse() - Read a reference
 * @default_host: IMG_REF_DEFAULT_HOST or IMG_REF_LOCAL_HOST: of one that is written without
 * Return: 0; -EINVAL with @e, a sentence that names what is wrong. Threads: any.
 */
int img_ref_parse(
	const char *text, const char *default_host, struct img_ref *ret, struct msb_err *e);

/* Appends the canonical text: HOST/REPO:TAG or HOST/REPO@sha256:HEX. It parses to the same again.
 */
void img_ref_print(const struct img_ref *, struct msb_str *s);

/* What names it below HOST/REPO in a registry: TAG, or `sha256:HEX` into @buf. */
const char *img_ref_version(const struct img_ref *, char buf[72]);

/* Where the registry of @host listens: the same, but for the default host. */
const char *img_ref_endpoint(const char *host);

/* The key under which docker's config.json has the credentials of @host. */
const char *img_ref_auth_key(const char *host);

#endif
