// SPDX-License-Identifier: Apache-2.0
// Resource limits by name.
#include "base/rlimits.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

int msb_rlimit_find(const char *name, size_t n)
{
	static const struct {
		const char *name;
		int resource;
	} known[] = {{"as", RLIMIT_AS}, {"core", RLIMIT_CORE}, {"cpu", RLIMIT_CPU},
		{"data", RLIMIT_DATA}, {"fsize", RLIMIT_FSIZE}, {"locks", RLIMIT_LOCKS},
		{"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
		{"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"rss", RLIMIT_RSS},
		{"rtprio", RLIMIT_RTPRIO}, {"rttime", RLIMIT_RTTIME},
		{"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strlen(known[i].name) == n && !memcmp(known[i].name, name, n))
			return known[i].resource;
	return -ENOENT;
}

int msb_rlimit_number(const char *text, uint64_t *ret)
{
	*ret = UINT64_MAX;
	return strcmp(text, "unlimited") == 0 ? 0 : msb_parse_u64(text, 0, UINT64_MAX - 1, ret);
}
