// SPDX-License-Identifier: Apache-2.0
// JSON of credential files, helpers, token servers and errors.
#include "fs/image/registry/creds.h"
#include "fs/image/registry/registry.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct reg_cred *c)
{
	if ((c->kind == REG_CRED_NONE) != !c->secret)
		abort();
	if (c->secret && (strlen(c->secret) > REG_MAX_SECRET_BYTES || strpbrk(c->secret, "\r\n")))
		abort();
}

/* Input: a byte that says whose, then the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct reg_authfile file = {0};
	struct reg_cred cred = {0};
	struct msb_err e = {0};
	char *token = NULL, said[64];
	uint64_t sec;

	if (!size)
		return 0;
	size--;
	switch (data[0] % 4) {
	case 0:
		if (reg_authfile_parse(text, size, "h:5", "https://h:5/v1/", "x/y", &file, &e) == 0)
			check(&file.cred);
		reg_cred_done(&file.cred);
		break;
	case 1:
		(void)reg_helper_parse(text, size, &cred);
		check(&cred);
		reg_cred_done(&cred);
		break;
	case 2:
		if (reg_token_parse(text, size, &token, &sec) == 0 && (!*token || !sec))
			abort();
		free(token);
		break;
	default:
		reg_error_parse(text, size, said, sizeof(said));
		for (const char *p = said; *p; p++)
			if ((unsigned char)*p < 0x20)
				abort();
		break;
	}
	return 0;
}
