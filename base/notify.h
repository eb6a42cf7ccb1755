/* SPDX-License-Identifier: Apache-2.0 */
/* Telling the service manager that started us how we are. */
#ifndef MSB_BASE_NOTIFY_H
#define MSB_BASE_NOTIFY_H

#include "base/err.h"

#include <stdbool.h>

#define MSB_NOTIFY_WAIT_SEC 5
#define MSB_NOTIFY_MAX	    600 /* bytes of a message; what is longer is cut */

/**
 * msb_notify_init() - Take $NOTIFY_SOCKET from the environment
 * Programs started later do not see it: what they are is not the unit's state. Call before any
 * other thread starts.
 * Return: true where somebody listens; false, and msb_notify() does nothing, where nobody does.
 */
bool msb_notify_init(void);

/**
 * msb_notify() - Send one message
 * @event:  "READY=1" or "STOPPING=1"; NULL: the status alone
 * @status: printf's format of a line for people, which becomes one line whatever it holds
 * A manager whose queue is full is waited for with an event, MSB_NOTIFY_WAIT_SEC at most, never
 * with a status alone. It never fails: one that cannot be told is logged, once.
 * Threads: any. Source: sd_notify(3), "Standard Message Types".
 */
void msb_notify(const char *event, const char *status, ...) __attribute__((format(printf, 2, 3)));

#endif
