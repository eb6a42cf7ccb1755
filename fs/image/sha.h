/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 as images use it: of a stream, in lower-case hex. */
#ifndef MSB_FS_IMAGE_SHA_H
#define MSB_FS_IMAGE_SHA_H

#include "base/str.h"

#include <openssl/evp.h>

/* A started digest, or NULL. */
static inline EVP_MD_CTX *img_sha_new(void)
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();

	if (c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(c);
		return NULL;
	}
	return c;
}

static inline void img_sha_free(EVP_MD_CTX **c)
{
	EVP_MD_CTX_free(*c);
}

static inline void img_sha_hex(EVP_MD_CTX *c, char out[65])
{
	unsigned char raw[EVP_MAX_MD_SIZE] = {0};

	(void)EVP_DigestFinal_ex(c, raw, NULL); /* cannot fail after a good init */
	msb_hex(raw, 32, out);
}

/* Of bytes that are all there. */
static inline void img_sha_of(const void *p, size_t n, char out[65])
{
	unsigned char raw[EVP_MAX_MD_SIZE] = {0};

	(void)EVP_Digest(p, n, raw, NULL, EVP_sha256(), NULL); /* all zeros match nothing */
	msb_hex(raw, 32, out);
}

#endif
