/* SPDX-License-Identifier: Apache-2.0 */
/* A user's name and secret, from options, stdin or a terminal. */
#ifndef MSB_TOOLS_SECRET_H
#define MSB_TOOLS_SECRET_H

#include "tools/msb/mnt.h"

#define SECRET_MAX 4096 /* bytes */

int secret_user(const char *given, struct msb_str *s, struct msb_err *e);
/* Its newline is cut. @from_stdin: NULL asks at the terminal, without echo. */
int secret_read(const char *from_stdin, char ret[SECRET_MAX + 2], struct msb_err *e);
/* Writes it to a file of the tree. */
int secret_write(const struct mnt *m, const char *file, const char *secret, struct msb_err *e);

#endif
