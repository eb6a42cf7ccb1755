/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which signals mean that a caller no longer waits.
 *
 * The kernel sends INTERRUPT once for a request, at the first signal that its caller does not
 * ignore: a shell's SIGCHLD, when a background job ends, as well as ^C. A verb or a command must
 * not fail over the former, and must hear of the latter even when it comes second. Source:
 * fs/fuse/dev.c, request_wait_answer(); Linux 6.1.
 */
#ifndef MSB_CTL_INTERRUPT_H
#define MSB_CTL_INTERRUPT_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * ctl_signals_harmless() - Whether nothing but CHLD, CONT, URG and WINCH is to be delivered
 * @status: text of /proc/TID/status
 * Return: true only where the text says so: pending, not blocked, not ignored.
 */
bool ctl_signals_harmless(const char *status);

/* The same of a thread that waits for us. A thread that is gone, or that we may not see: false. */
bool ctl_caller_waits_on(pid_t tid);

#endif
