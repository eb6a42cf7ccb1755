// SPDX-License-Identifier: Apache-2.0
// What PID 1 parses beyond frames: EXEC, BOOT, MOUNT, UMOUNT, passwd(5), group(5), mountinfo(5).
// The first byte chooses.
#include "guest/init_root.h"
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

static void mount_request(const uint8_t *p, size_t n)
{
	struct msb_err e = {0};
	struct ga_mount m;
	uint8_t *raw = NULL;

	if ((ga_mount_parse(p, n, &m, &raw, &e) < 0) != (e.code != 0))
		abort();
	if (!e.code && (!m.share || *m.path != '/' || strchr(m.source, '/') ||
			       strlen(m.source) > GA_MAX_SHARE_NAME))
		abort();
	free(raw);
}

static void umount_request(const uint8_t *p, size_t n)
{
	struct msb_err e = {0};
	struct ga_umount u;

	if ((ga_umount_parse(p, n, &u, &e) < 0) != (e.code != 0))
		abort();
	if (!e.code && (*u.path != '/' || strlen(u.name) > GA_MAX_SHARE_NAME))
		abort();
	free(u.raw);
}

static void mountinfo(const uint8_t *p, size_t n)
{
	char *points[8], *text = malloc(n + 1), *again = malloc(n + 1);

	if (text && again) {
		memcpy(text, p, n);
		text[n] = '\0';
		memcpy(again, text, n + 1);
		for (size_t i = ga_mount_points(text, points, 8); i > 0; i--)
			if (points[i - 1] < text || points[i - 1] > text + n)
				abort();
		(void)ga_share_find(again, "m1", "/data");
	}
	free(text);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct msb_err e = {0};
	struct ga_exec x;
	struct ga_boot b;

	if (!size)
		return 0;
	switch (data[0] % 6) {
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
	case 3: mount_request(data + 1, size - 1); break;
	case 4: umount_request(data + 1, size - 1); break;
	case 5: mountinfo(data + 1, size - 1); break;
	default: users((const char *)data + 1, size - 1);
	}
	return 0;
}
