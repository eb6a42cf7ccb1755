// SPDX-License-Identifier: Apache-2.0
// Telling the service manager that started us how we are.
#include "base/notify.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static struct sockaddr_un addr; /* written before there are threads */
static socklen_t addr_len;
static atomic_bool complained;

bool msb_notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	addr_len = 0;
	complained = false;
	if ((n > 1 && (*path == '/' || *path == '@')) && n < sizeof(addr.sun_path)) {
		addr = (struct sockaddr_un){.sun_family = AF_UNIX};
		memcpy(addr.sun_path, path, n);
		if (*path == '@') /* an abstract name: all of its bytes count, and no other */
			addr.sun_path[0] = '\0';
		addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	} else if (n) {
		log_warn("NOTIFY_SOCKET is %s, no address of a Unix socket, ignoring", path);
	}
	(void)unsetenv("NOTIFY_SOCKET"); /* fails for no name that is this one */
	return addr_len != 0;
}

void msb_notify(const char *event, const char *status, ...)
{
	const struct timeval wait = {.tv_sec = MSB_NOTIFY_WAIT_SEC};
	_cleanup_close_ int fd = -1;
	char text[MSB_NOTIFY_MAX];
	size_t at, n;
	va_list ap;

	if (!addr_len)
		return;
	at = (size_t)snprintf(text, sizeof(text), "%s%sSTATUS=", event ?: "", event ? "\n" : "");
	va_start(ap, status);
	n = at + (size_t)vsnprintf(text + at, sizeof(text) - at, status, ap);
	va_end(ap);
	if (n >= sizeof(text))
		n = sizeof(text) - 1;
	/* A line break would begin an assignment of its own. */
	for (size_t i = at; i < n; i++)
		if (text[i] == '\n')
			text[i] = ' ';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	/* A manager that is busy hears the next status; an event it has to hear. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
		sendto(fd, text, n, MSG_NOSIGNAL | (event ? 0 : MSG_DONTWAIT),
			(struct sockaddr *)&addr, addr_len) < 0)
		if (!atomic_exchange(&complained, true))
			log_warn("cannot tell the service manager: %m, ignoring");
}
