/* SPDX-License-Identifier: Apache-2.0 */
/* Archives by way of stdin and stdout: msbd opens paths, so they get some. */
#ifndef MSB_TOOLS_FILES_H
#define MSB_TOOLS_FILES_H

#include "base/err.h"
#include "base/str.h"

#include <pthread.h>

/* Copies stdin to a file without a name, and says by which path another process of this user opens
 * it as long as the descriptor that is returned is open. */
int files_from_stdin(struct msb_str *path, struct msb_err *e);

/* A pipe whose other end a thread copies to stdout. */
struct files_pipe {
	int in, out; /* -1: none */
	pthread_t thread;
	int result;
};
#define FILES_NO_PIPE                                                                              \
	{                                                                                          \
		.in = -1, .out = -1                                                                \
	}
int files_to_stdout(struct files_pipe *p, struct msb_str *path, struct msb_err *e);
/* Waits until all is written. 0, also where there is none; -errno. */
int files_pipe_end(struct files_pipe *p, struct msb_err *e);

/* The name of an image after its file: `python-3.12.tar.gz` is python-3.12. -EINVAL it is none. */
int files_name_of(const char *path, struct msb_str *name, struct msb_err *e);

#endif
