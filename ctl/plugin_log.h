/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin prints, into the log of the instance: line by line, and not without end. */
#ifndef MSB_CTL_PLUGIN_LOG_H
#define MSB_CTL_PLUGIN_LOG_H

#include "ctl/limits.h"

#include <stddef.h>
#include <stdint.h>

struct ctl_plugin_log {
	int fd; /* read end of a pipe, -1: none */
	size_t n;
	char buf[CTL_MAX_PLUGIN_LINE];
	uint64_t since_ms; /* the span that is counted */
	unsigned int lines, dropped;
};
#define CTL_PLUGIN_LOG_INIT                                                                        \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/**
 * ctl_plugin_log_open() - Make a pipe, in place of the one before
 * @ret_write: the end for the process, the caller's. It can be read from too, so that whoever holds
 * it is never told that nobody reads: a plugin outlives an msbd.
 * Return: 0 or -errno.
 */
int ctl_plugin_log_open(struct ctl_plugin_log *l, int *ret_write);
void ctl_plugin_log_close(struct ctl_plugin_log *l);
int ctl_plugin_log_fd(const struct ctl_plugin_log *l);
/* Logs lines that are there, as `SANDBOX: plugin of PATH: LINE`; waits for none. Bytes read. */
size_t ctl_plugin_log_read(struct ctl_plugin_log *l, const char *sandbox, const char *path);
/* The same, and what is left of a last line. */
void ctl_plugin_log_drain(struct ctl_plugin_log *l, const char *sandbox, const char *path);

#endif
