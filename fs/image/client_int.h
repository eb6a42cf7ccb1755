/* SPDX-License-Identifier: Apache-2.0 */
/* Starting msb-image and msb-registry and hearing what they say: what the calls of image.h share.
 */
#ifndef MSB_FS_IMAGE_CLIENT_INT_H
#define MSB_FS_IMAGE_CLIENT_INT_H

#include "fs/image/image.h"
#include "base/msg.h"

#include <sys/types.h>

typedef void (*client_line_fn)(void *arg, const char *line);

/* `PROGRAM VERB` with 3 @fd3, 4 @fd4 (borrowed) and 5 a socket whose other end is @ret_sock. */
pid_t client_start(const struct img_call *, const char *program, const char *verb, int fd3, int fd4,
	int *ret_sock, struct msb_err *e);
int client_reap(pid_t pid); /* its wait status */

/* Sends @m to a new msb-image and waits for "ok", which replaces it. @line: told of each "damaged".
 */
int client_run(const struct img_call *, const char *verb, int fd4, client_line_fn line, void *arg,
	struct msb_msg *m, struct msb_err *e);

int client_take_digest(const struct msb_msg *, char ret[65], struct msb_err *e);
int client_take_image(const struct msb_msg *, struct img_imported *ret, struct msb_err *e);
void client_set_limits(const struct img_call *call, struct msb_msg *m);

#endif
