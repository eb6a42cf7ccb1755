/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msb's commands: one table of them, and of their options, from which come parsing, --help, the
 * manual, completions and what a mistake is answered with.
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
#define CLI_MAX_GIVEN	1024 /* options on one command line */

/* What completes a value or a word: one of these, or the words themselves, with spaces between. */
#define CLI_FILES     "@file"
#define CLI_DIRS      "@dir"
#define CLI_SANDBOXES "@sandbox"
#define CLI_IMAGES    "@image"
#define CLI_VOLUMES   "@volume"
#define CLI_COMMANDS  "@command"

struct cli_option {
	char key;	  /* its short form; 0: none */
	const char *name; /* its long form, and what cli_get() knows it by */
	const char *arg;  /* what its value is called; NULL: it has none */
	const char *help;
	bool many; /* may be given again, and all of its values count; else the last does */
	const char *complete; /* its value; NULL: nothing does */
};

/* A row of each table; what is not usual comes after, as .FIELD = VALUE. */
/* clang-format off */
#define CLI_OPTION(k, n, a, h, ...) {.key = (k), .name = (n), .arg = (a), .help = (h), __VA_ARGS__}
#define CLI_COMMAND(n, a, u, s, lo, hi, o, r, ...) \
	{.name = (n), .alias = (a), .usage = (u), .summary = (s), .min = (lo), .max = (hi), .options = (o), .run = (r), __VA_ARGS__}
/* clang-format on */

struct cli_given {
	const struct cli_option *option;
	const char *value; /* "" where it has none */
};

struct cli_args {
	const struct cli_command *command;
	const struct cli_args *global; /* those before the command; may be NULL */
	struct cli_given given[CLI_MAX_GIVEN];
	size_t n_given;
	size_t n;
	char **word; /* what is no option; NULL at the end */
};

struct cli_command {
	const char *name, *alias, *usage, *summary; /* alias may be NULL */
	size_t min, max;			    /* words; SIZE_MAX: any number */
	const struct cli_option *options;	    /* name NULL ends them; may be NULL */
	int (*run)(const struct cli_args *);	    /* the exit status */
	const char *complete;			    /* its words; may be NULL */
	bool word_ends; /* the first word ends the options: what follows is another program's */
	/* What a person has to write of it, for --help and the manual: text in which a newline ends
	 * a paragraph and `..` is what is typed. */
	const char *about;    /* never NULL, as examples; see cli_help_of() */
	const char *status;   /* its exit status, past what all have; may be NULL */
	const char *examples; /* lines of sh; those that begin with # say what the next ones do */
	const char *see;      /* other commands, and pages as msbd(8); words, may be NULL */
};

struct cli_group {
	const char *title;		    /* what they are for; NULL: as those before */
	const struct cli_command *commands; /* name NULL ends them */
};

/* All of them; commands NULL ends. */
extern const struct cli_group cli_groups[];
extern const struct cli_command cli_ps_commands[];
extern const struct cli_command cli_look_commands[];
extern const struct cli_command cli_events_commands[];
extern const struct cli_command cli_doctor_commands[];
extern const struct cli_command cli_completion_commands[];
extern const struct cli_command cli_run_commands[];
extern const struct cli_command cli_sandbox_commands[];
extern const struct cli_command cli_exec_commands[];
extern const struct cli_command cli_cp_commands[];
extern const struct cli_command cli_logs_commands[];
extern const struct cli_command cli_volume_commands[];
extern const struct cli_command cli_install_commands[];
extern const struct cli_command cli_image_commands[];

/* Options of msb itself: before the command, and all but --host among a command's own, too, where
 * it has none that is called so. */
extern const struct cli_option cli_globals[];

/**
 * cli_parse() - Options may stand anywhere before `--`; -xyz, -x VALUE, --name VALUE, --name=VALUE
 * @global: what stood before the command; may be NULL
 * @argv:   of the command, argv[0] its name; is reordered
 * Return: 0; 1 help was asked for, and printed; -EINVAL, said on stderr.
 */
int cli_parse(const struct cli_command *c, const struct cli_args *global, int argc, char **argv,
	struct cli_args *ret);
/* The same for what is before the command: the first word ends it. @ret's words begin with the
 * command. */
int cli_parse_global(int argc, char **argv, struct cli_args *ret);
/* An option's last value, or NULL where it was not given. Its name must be in a table. */
const char *cli_get(const struct cli_args *a, const char *name);
/* Each value of an option in turn, NULL at the end; @at begins at 0. */
const char *cli_next(const struct cli_args *a, const char *name, size_t *at);
const struct cli_command *cli_find(const struct cli_group *groups, const char *name);
/* The command, or with @c its option (without dashes), that is spelt nearly so; NULL: none is near.
 */
const char *cli_nearest(const struct cli_command *c, const char *name);
/* A command's option, or else msb's; NULL: there is none. */
const struct cli_option *cli_option(const struct cli_command *c, const char *name, size_t len);

void cli_help(const struct cli_group *groups);
/* What --help says of a command. */
void cli_help_of(const struct cli_command *c);
/* Its page of the manual, the same in other words, for scdoc. */
void cli_page_of(const struct cli_command *c);
/* An option, as a help has it. */
void cli_help_option(const struct cli_option *o);

/* Says `msb: SENTENCE`; returns CLI_FAILED. */
int cli_fail(const struct msb_err *e);
int cli_fail_usage(const struct cli_command *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The exit status for a 0 or -errno: 0, CLI_INTERRUPTED, or CLI_FAILED, said. */
int cli_status(int r, const struct msb_err *e);
/* Whether --format is `json`; anything else but `table` is said: -EINVAL. 0 or 1. */
int cli_json(const struct cli_args *a);
/* Whether @fd is a terminal that takes colours: NO_COLOR is not set. */
bool cli_colours(int fd);

/* Words as sizes and times for people. @buf is what they return. */
const char *cli_bytes(unsigned long long n, char buf[16]);
const char *cli_ago(long long seconds, char buf[32]);

#endif
