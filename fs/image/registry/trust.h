/* SPDX-License-Identifier: Apache-2.0 */
/* Whose certificates count. Needs the OpenSSL build of libcurl. */
#ifndef MSB_FS_IMAGE_REGISTRY_TRUST_H
#define MSB_FS_IMAGE_REGISTRY_TRUST_H

#include "fs/image/registry/setup.h"

#include <curl/curl.h>

struct reg_trust;

/**
 * reg_trust_load() - The system's certificates ($SSL_CERT_FILE, else where this system has them)
 * and @cfg's own
 * Also makes the TLS library load what it would load from files later.
 * Return: 0; -EBADMSG @cfg's own are none; -EOPNOTSUPP another TLS library; with @e.
 */
int reg_trust_load(const struct reg_config *cfg, struct reg_trust **ret, struct msb_err *e);
struct reg_trust *reg_trust_free(struct reg_trust *);

/* CURLOPT_SSL_CTX_FUNCTION: @trust is the struct reg_trust. The first one parses what the system
 * has.
 */
CURLcode reg_trust_use(CURL *easy, void *ssl_ctx, void *trust);

#endif
