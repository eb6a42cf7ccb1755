/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb's commands: one table of them, and of their options, from which come parsing, --help and what
 * a mistake is answered with.
 *
 * The command does nothing that the control tree cannot: it writes and reads the mount's files.
 * Exit status: 0; 125 where msb itself failed, with a sentence on stderr; 130 after ^C; others are
 * a command's own.
 */
#ifndef MSB_TOOLS_CLI_H
#define MSB_TOOLS_CLI_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define CLI_FAILED	125
#define CLI_INTERRUPTED 130
#define CLI_MAX_OPTIONS 32 /* of a command */

struct cli_option {
	char key;	  /* its short form, and what cli_get() knows it by; upper case: none */
	const char *name; /* its long form */
	const char *arg;  /* what its value is called; NULL: it has none */
	const char *help;
};

struct cli_args {
	const struct cli_command *command;
	const char *value[128]; /* by key; "" where an option without a value was given */
	size_t n;
	char **word; /* what is no option; NULL at the end */
};

struct cli_command {
	const char *name, *alias, *usage, *summary; /* alias may be NULL */
	size_t min, max;			    /* words; SIZE_MAX: any number */
	const struct cli_option *options;	    /* name NULL ends them; may be NULL */
	int (*run)(const struct cli_args *);	    /* the exit status */
};

extern const struct cli_command cli_image_commands[]; /* name NULL ends them */

/**
 * cli_parse() - Options may stand anywhere before `--`; -xyz, -x VALUE, --name VALUE, --name=VALUE
 * @argv: of the command, argv[0] its name; is reordered
 * Return: 0; 1 help was asked for, and printed; -EINVAL, said on stderr.
 */
int cli_parse(const struct cli_command *c, int argc, char **argv, struct cli_args *ret);
/* An option's value, or NULL where it was not given. */
const char *cli_get(const struct cli_args *a, char key);
const struct cli_command *cli_find(const struct cli_command *const *groups, const char *name);
void cli_help(const struct cli_command *const *groups);
void cli_help_of(const struct cli_command *c);

/* Says `msb: SENTENCE`; returns CLI_FAILED. */
int cli_fail(const struct msb_err *e);
int cli_fail_usage(const struct cli_command *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Words as sizes and times for people. @buf is what they return. */
const char *cli_bytes(unsigned long long n, char buf[16]);
const char *cli_ago(long long seconds, char buf[32]);

#endif
