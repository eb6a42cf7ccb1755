// SPDX-License-Identifier: Apache-2.0
// What PID 1 parses beyond frames: EXEC, BOOT, passwd(5) and group(5). The first byte chooses.
#include "guest/request.h"
#include "guest/users.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void users(const char *text, size_t n)
{
	char spec[17] = "";
	size_t head = n < 16 ? n : 16;
	struct ga_user u;

	memcpy(spec, text, head);
	text += head;
	n -= head;
	if (ga_user_resolve(spec, text, n, text, n, &u, NULL) < 0)
		return;
	if (u.ngroups > GA_MAX_GROUPS || u.home[0] != '/' || strlen(u.name) >= sizeof(u.name))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msb_err e = {0};
	struct ga_exec x;
	struct ga_boot b;

	if (!size)
		return 0;
	switch (data[0] % 3) {
	case 0:
		if ((ga_exec_parse(data + 1, size - 1, &x, &e) < 0) != (e.code != 0))
			abort();
		ga_exec_done(&x);
		break;
	case 1:
		if ((ga_boot_parse(data + 1, size - 1, &b, &e) < 0) != (e.code != 0))
			abort();
		if (!e.code && strcmp(b.mounts[0].path, "/") != 0)
			abort();
		ga_boot_done(&b);
		break;
	default: users((const char *)data + 1, size - 1);
	}
	return 0;
}
