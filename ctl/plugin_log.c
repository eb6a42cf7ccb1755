// SPDX-License-Identifier: Apache-2.0
// What a plugin prints.
#include "ctl/plugin_log.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <string.h>

int ctl_plugin_log_open(struct ctl_plugin_log *l, int *ret_write)
{
	char path[32];
	int fds[2], both;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[1]);
	both = open(path, O_RDWR | O_CLOEXEC);
	if (both >= 0)
		close(fds[1]);
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
		close(fds[0]);
		close(both >= 0 ? both : fds[1]);
		return -EIO;
	}
	ctl_plugin_log_close(l);
	l->fd = fds[0];
	l->n = 0;
	*ret_write = both >= 0 ? both : fds[1];
	return 0;
}

void ctl_plugin_log_close(struct ctl_plugin_log *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

int ctl_plugin_log_fd(const struct ctl_plugin_log *l)
{
	return l->fd;
}

static void line(struct ctl_plugin_log *l, const char *sandbox, const char *path, size_t n)
{
	uint64_t now = msb_now_ms();

	if (now - l->since_ms >= CTL_PLUGIN_LINES_MS) {
		if (l->dropped)
			log_info("%s: plugin of %s: %u lines more", sandbox, path, l->dropped);
		l->since_ms = now;
		l->lines = l->dropped = 0;
	}
	if (l->lines == CTL_MAX_PLUGIN_LINES) {
		l->dropped++;
		return;
	}
	l->lines++;
	log_info("%s: plugin of %s: %.*s", sandbox, path, (int)n, l->buf);
}

static void take_lines(struct ctl_plugin_log *l, const char *sandbox, const char *path)
{
	char *nl;

	while ((nl = memchr(l->buf, '\n', l->n)) || l->n == sizeof(l->buf)) {
		size_t n = nl ? (size_t)(nl - l->buf) : l->n, used = n + (nl != NULL);

		line(l, sandbox, path, n);
		memmove(l->buf, l->buf + used, l->n - used);
		l->n -= used;
	}
}

size_t ctl_plugin_log_read(struct ctl_plugin_log *l, const char *sandbox, const char *path)
{
	/* Once a call: one that prints without end must not keep its keeper from looking after it.
	 */
	ssize_t n = read(l->fd, l->buf + l->n, sizeof(l->buf) - l->n);

	if (n > 0) {
		l->n += (size_t)n;
		take_lines(l, sandbox, path);
	} else if (n == 0) {
		ctl_plugin_log_close(l);
	}
	return n > 0 ? (size_t)n : 0;
}

void ctl_plugin_log_drain(struct ctl_plugin_log *l, const char *sandbox, const char *path)
{
	for (int i = 0; l->fd >= 0 && i < CTL_MAX_PLUGIN_LINES; i++)
		if (ctl_plugin_log_read(l, sandbox, path) == 0)
			break;
	if (l->n)
		line(l, sandbox, path, l->n);
	l->n = 0;
	ctl_plugin_log_close(l);
}
