// SPDX-License-Identifier: Apache-2.0
// WWW-Authenticate: whatever a server sends, every text that comes out is within it.
#include "fs/image/registry/challenge.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void printable(const char *text, size_t cap)
{
	if (strnlen(text, cap) == cap)
		abort();
	for (; *text; text++)
		if ((unsigned char)*text < 0x20)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct reg_challenge c[REG_MAX_CHALLENGES];
	int n = reg_challenge_parse((const char *)data, size, c);

	if (n > REG_MAX_CHALLENGES)
		abort();
	for (int i = 0; i < n; i++) {
		if (c[i].scheme == REG_AUTH_NONE)
			abort();
		printable(c[i].realm, sizeof(c[i].realm));
		printable(c[i].service, sizeof(c[i].service));
		printable(c[i].scope, sizeof(c[i].scope));
		printable(c[i].error, sizeof(c[i].error));
	}
	return 0;
}
