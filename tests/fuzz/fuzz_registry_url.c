// SPDX-License-Identifier: Apache-2.0
// Location, Content-Range, Retry-After, NO_PROXY and lists of addresses.
#include "fs/image/registry/resolve.h"
#include "fs/image/registry/url.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Wherever it leads: an address of http or https that means itself. */
static void location(const char *text)
{
	char whole[REG_MAX_URL_BYTES], again[REG_MAX_URL_BYTES];
	struct reg_url u, v;

	if (reg_url_follow("https://registry.test:5000/v2/x?y=z", text, whole) < 0)
		return;
	if (reg_url_split(whole, &u) < 0 || !*u.host || !u.port)
		abort();
	if (strncmp(u.origin, u.tls ? "https://" : "http://", u.tls ? 8 : 7) != 0)
		abort();
	if (reg_url_follow(whole, whole, again) < 0 || reg_url_split(again, &v) < 0 ||
		strcmp(u.origin, v.origin) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t first, last, total;
	char text[5000];

	if (!size || size > sizeof(text))
		return 0;
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	switch (data[0] % 4) {
	case 0: location(text); break;
	case 1:
		if (reg_content_range(text, &first, &last, &total) == 0 &&
			(last < first || (total != UINT64_MAX && last >= total)))
			abort();
		break;
	case 2:
		(void)reg_retry_after(text, 1000);
		(void)reg_addresses_valid(text);
		break;
	default:
		(void)reg_no_proxy(text, "10.1.2.3", 443);
		(void)reg_no_proxy(text, "fe80::1", 443);
		(void)reg_no_proxy(text, "registry.test", 443);
		break;
	}
	return 0;
}
