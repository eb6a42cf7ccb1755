/* SPDX-License-Identifier: Apache-2.0 */
/* Commands in a sandbox: a job of the control tree that is made, started, and joined to our
 * streams. */
#ifndef MSB_TOOLS_JOB_H
#define MSB_TOOLS_JOB_H

#include "tools/msb/mnt.h"

#include <stdbool.h>

struct cli_job {
	const char *name;	/* of the sandbox */
	char *const *argv;	/* NULL at the end; NULL with entrypoint: the image's cmd */
	const char *const *env; /* KEY=VALUE, or KEY: as it is here. NULL at the end; may be NULL */
	const char *cwd, *user; /* NULL: the sandbox's */
	const char *timeout_sec; /* NULL: none */
	const char *detach_keys; /* NULL: TERM_KEYS_DEFAULT */
	bool entrypoint;	 /* argv goes behind the sandbox's */
	bool input;		 /* our stdin is its own; a pipe or a file is without it */
	bool tty;
	bool detach; /* it is started and left to itself */
	bool keep;   /* its directory stays when it has ended */
};

/* Whether a terminal is wanted for an input that is none; said, as a mistake in @c. */
struct cli_command;
bool cli_job_no_terminal(const struct cli_command *c, const struct cli_job *job);

struct cli_job_end {
	unsigned int number; /* of the job; 0: there is none */
	bool detached;	     /* it runs on: as was asked for, or by its keys */
};

/**
 * cli_job_run() - Run a command to its end
 * @m:   where msbd ends meanwhile, the tree of the one that comes after it (mnt_again())
 * @ret: may be NULL
 * Every sentence is said on stderr. Signals are passed on while it runs; a second one of a kind
 * ends the wait, and hangs the job up.
 * Return: the exit status, as docker has it: the command's; 125 it could not be begun, or followed;
 * 126 not executable; 127 not found; 128 and the number of the signal; 255 its machine ended.
 */
int cli_job_run(struct mnt *m, const struct cli_job *job, struct cli_job_end *ret);

/**
 * cli_job_attach() - Join a job that runs
 * @which: NAME, of which one job runs, or NAME/JOB
 * Its output comes from the oldest byte that is kept on. Ending the wait leaves it running.
 * Return: as above; 0 it was let go of by its keys.
 */
int cli_job_attach(struct mnt *m, const char *which, const char *detach_keys, bool no_input);

#endif
