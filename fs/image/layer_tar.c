// SPDX-License-Identifier: Apache-2.0
// The tar that a layer of the store was.
#include "fs/image/layer_tar.h"
#include "fs/image/sha.h"
#include "fs/image/store_int.h"
#include "base/cleanup.h"

#include <string.h>

struct sum {
	EVP_MD_CTX *sha;
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e);
	void *arg;
};

static int add(void *arg, const void *p, size_t n, struct msb_err *e)
{
	struct sum *s = arg;

	(void)EVP_DigestUpdate(s->sha, p, n);
	return s->fn(s->arg, p, n, e);
}

int img_layer_tar(const struct img_store *st, const char *diff_id,
	int (*fn)(void *arg, const void *p, size_t n, struct msb_err *e), void *arg,
	struct msb_err *e)
{
	_cleanup_(img_sha_free) EVP_MD_CTX *sha = img_sha_new();
	struct sum s = {.sha = sha, .fn = fn, .arg = arg};
	struct img_record *rec;
	char got[65];
	int r;

	if (!sha)
		return msb_err_set(e, ENOMEM, "out of memory");
	r = img_store_layer(st, diff_id, &rec, e);
	if (r < 0)
		return r;
	r = img_record_tar(rec, st->packs_fd, add, &s, e);
	img_record_close(rec);
	if (r < 0)
		return r;
	img_sha_hex(sha, got);
	return strcmp(got, diff_id) == 0
		       ? 0
		       : msb_err_set(e, EBADMSG,
				 "damaged: its contents are sha256:%.12s, not %.12s", got, diff_id);
}
