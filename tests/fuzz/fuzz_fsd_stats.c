// SPDX-License-Identifier: Apache-2.0
// What msbd takes of a file server's figures and refusals: any message, and what is said of it is
// within bounds.
#include "base/msg.h"
#include "fs/fsd.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each line is KEY=VALUE of an answer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct msb_msg m;
	static int sv[2] = {-1, -1};
	struct fsd_denied x;
	struct fsd_stats t;
	char text[4096], *line, *rest = text;

	if (sv[0] < 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	size = size < sizeof(text) ? size : sizeof(text) - 1;
	memcpy(text, data, size);
	text[size] = '\0';
	msb_msg_init(&m, size && text[0] == 'd' ? "denied" : "ok");
	while ((line = strsep(&rest, "\n"))) {
		char *value = strchr(line, '=');

		if (value) {
			*value++ = '\0';
			msb_msg_set(&m, line, "%s", value);
		}
	}
	if (msb_msg_send(sv[0], &m) < 0)
		return 0;
	if (!strcmp(msb_msg_verb(&m), "denied")) {
		if (fsd_watch_next(sv[1], &x) > 0 &&
			(strlen(x.path) > FSD_MAX_DENIED_PATH ||
				strlen(x.mount) > FSD_MAX_DENIED_PATH || !*x.op ||
				!strerrorname_np(x.error)))
			abort();
		return 0;
	}
	if (fsd_stats_answer(sv[1], &t, NULL) < 0)
		return 0;
	for (int i = 0; i < FSD_OPS; i++)
		for (int k = 0; k < FSD_BUCKETS; k++)
			if (t.hist[i][k] > INT64_MAX || t.usec[i] > INT64_MAX)
				abort();
	return 0;
}
