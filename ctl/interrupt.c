// SPDX-License-Identifier: Apache-2.0
// Which signals mean that a caller no longer waits.
#include "ctl/interrupt.h"
#include "base/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define BIT(sig)	 (UINT64_C(1) << ((sig)-1))
#define HARMLESS	 (BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH))
#define MAX_STATUS_BYTES 16384

static bool mask(const char *status, const char *key, uint64_t *ret)
{
	const char *at = strstr(status, key);

	return at && sscanf(at + strlen(key), "%" SCNx64, ret) == 1;
}

bool ctl_signals_harmless(const char *status)
{
	uint64_t thread, process, blocked, ignored;

	if (!mask(status, "\nSigPnd:", &thread) || !mask(status, "\nShdPnd:", &process) ||
		!mask(status, "\nSigBlk:", &blocked) || !mask(status, "\nSigIgn:", &ignored))
		return false;
	/* SIGKILL and SIGSTOP are in neither mask, whatever a program asked for. */
	return ((thread | process) & ~blocked & ~ignored & ~HARMLESS) == 0;
}

bool ctl_caller_waits_on(pid_t tid)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	return msb_read_file(AT_FDCWD, path, MAX_STATUS_BYTES, &s) == 0 && s.buf &&
	       ctl_signals_harmless(s.buf);
}
