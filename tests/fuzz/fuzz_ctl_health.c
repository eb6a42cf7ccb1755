// SPDX-License-Identifier: Apache-2.0
// An image's health check, and a sandbox's: a form only where the words are that form.
#include "base/err.h"
#include "ctl/health.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *words = malloc(size ? size : 1); /* so that a byte too far is seen */
	struct msb_err e = {0};
	size_t n = 0;
	int r;

	if (!words)
		return 0;
	memcpy(words, data, size);
	r = ctl_health_form(words, size, &e);
	for (size_t i = 0; i < size; i++)
		n += !words[i];
	if (r < 0 ? r != -EINVAL || !e.msg[0] : !size || words[size - 1] != '\0' || e.code)
		abort();
	if ((r == HEALTH_FORM_NONE && (n != 1 || strcmp(words, "NONE") != 0)) ||
		(r == HEALTH_FORM_CMD && (n < 2 || strcmp(words, "CMD") != 0 || !words[4])) ||
		(r == HEALTH_FORM_SHELL && (n != 2 || strcmp(words, "CMD-SHELL") != 0)))
		abort();
	free(words);
	return 0;
}
