/* SPDX-License-Identifier: Apache-2.0 */
/* ^C, TERM and HUP while a command makes something that it has to take away again. */
#ifndef MSB_TOOLS_INTERRUPT_H
#define MSB_TOOLS_INTERRUPT_H

#include <stdbool.h>

/* From now on what waits in the kernel ends with EINTR when one comes, within a second also where
 * it came just before the wait. For one thread. */
void interrupt_catch(void);
/* They stay pending from now on. Return: whether one has come since interrupt_catch(). */
bool interrupt_hold(void);
/* They are caught again. */
void interrupt_release(void);

#endif
