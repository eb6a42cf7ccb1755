/* SPDX-License-Identifier: Apache-2.0 */
/* One structured log: JSON Lines on a descriptor, or `level message` on a terminal. Thread-safe. */
#ifndef MSB_BASE_LOG_H
#define MSB_BASE_LOG_H

#include <stdbool.h>

enum msb_log_level { MSB_ERR, MSB_WARN, MSB_INFO, MSB_DEBUG };

/**
 * msb_log_init() - Name this process and say where its lines go
 * @proc:    program name, static
 * @sandbox: sandbox the process serves, or NULL; copied, cut at 63 bytes
 * @fd:      descriptor to append to, not owned; -1 for stderr. JSON unless it is a terminal.
 * Level comes from $MSB_LOG (err warn info debug), default info. Lines that go to systemd's journal
 * carry the `<N>` priority prefix of sd-daemon(3).
 */
void msb_log_init(const char *proc, const char *sandbox, int fd);

/* Whether @fd is the journal's: $JOURNAL_STREAM names it by device and inode, since who inherits
 * the variable may write elsewhere. */
bool msb_log_is_journal(int fd);

/* Text may hold untrusted bytes: it is JSON-escaped, and control bytes never reach a terminal. */
void msb_log(enum msb_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)   msb_log(MSB_ERR, __VA_ARGS__)
#define log_warn(...)  msb_log(MSB_WARN, __VA_ARGS__)
#define log_info(...)  msb_log(MSB_INFO, __VA_ARGS__)
#define log_debug(...) msb_log(MSB_DEBUG, __VA_ARGS__)

#endif
