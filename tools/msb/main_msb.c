// SPDX-License-Identifier: Apache-2.0
// msb: the control tree for those who type docker's commands.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/complete.h"
#include "tools/msb/mnt.h"
#include "tools/msb/remote.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int remote(const char *url, char **words)
{
	struct msb_err e = {0};
	struct remote r;

	if (remote_parse(url, &r, &e) == 0) {
		remote_command(&r, words);
		(void)remote_run(&r, &e);
	}
	return cli_fail(&e);
}

/* -x and --dry-run. What a dry run shows is all of its output: what the command would print is made
 * of nothing. */
static int showing(const struct cli_args *a)
{
	_cleanup_close_ int null_fd = -1;
	FILE *out;
	int fd;

	if (!cli_get(a, "dry-run")) {
		if (cli_get(a, "trace"))
			mnt_show(stderr, false);
		return 0;
	}
	fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	out = fd >= 0 ? fdopen(fd, "w") : NULL;
	null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (!out || null_fd < 0 || dup2(null_fd, STDOUT_FILENO) < 0) {
		struct msb_err e = {0};

		(void)msb_err_set(&e, errno, "cannot show a dry run: %m");
		return -cli_fail(&e);
	}
	mnt_show(out, true);
	return 0;
}

static void complete(char **words)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	complete_words(words, &s);
	printf("%s", s.buf ?: "");
}

static int no_command(const char *name)
{
	const char *near = cli_nearest(NULL, name);

	(void)fprintf(stderr, "msb: `%s` is not a command; %s%s%s`msb --help` lists them\n", name,
		near ? "the nearest is `" : "", near ?: "", near ? "`, and " : "");
	return CLI_FAILED;
}

/* `msb help COMMAND`, and what the options before a command may be instead. Return: whether that
 * was all. */
static bool helped(int argc, char **argv, int *status)
{
	const char *word = argc > 1 ? argv[1] : "--help";
	const struct cli_command *c = argc > 2 ? cli_find(cli_groups, argv[2]) : NULL;

	*status = argc < 2 ? CLI_FAILED : 0;
	if (!strcmp(word, "--version") || !strcmp(word, "-V"))
		printf("msb " MSB_VERSION "\n");
	else if (!strcmp(word, "__complete"))
		complete(argv + 2);
	else if (!strcmp(word, "__page") && c)
		cli_page_of(c);
	else if (!strcmp(word, "help") && c)
		cli_help_of(c);
	else if (!strcmp(word, "help") && argc > 2)
		*status = no_command(argv[2]);
	else if (!strcmp(word, "--help") || !strcmp(word, "-h") ||
		 (!strcmp(word, "help") && argc == 2))
		cli_help(cli_groups);
	else
		return false;
	return true;
}

int main(int argc, char **argv)
{
	static struct cli_args global, args;
	const struct cli_command *c;
	const char *host;
	int r;

	(void)signal(SIGPIPE, SIG_IGN); /* a valid signal */
	if (helped(argc, argv, &r))
		return r;
	if (cli_parse_global(argc, argv, &global) < 0)
		return CLI_FAILED;
	host = cli_get(&global, "host");
	if (host) {
		/* The options before the command go there, too. */
		_cleanup_free_ char **words = calloc((size_t)argc * 2 + 1, sizeof(*words));
		size_t n = 0;

		if (!words)
			return CLI_FAILED;
		for (size_t i = 0; i < global.n_given; i++) {
			const struct cli_given *g = &global.given[i];
			static char name[CLI_MAX_GIVEN][24];

			if (!strcmp(g->option->name, "host"))
				continue;
			(void)snprintf(name[i], sizeof(name[i]), "--%s", g->option->name);
			words[n++] = name[i];
			if (g->option->arg)
				words[n++] = (char *)(uintptr_t)g->value;
		}
		memcpy(words + n, global.word, (global.n + 1) * sizeof(*words));
		return remote(host, words);
	}
	c = global.n ? cli_find(cli_groups, global.word[0]) : NULL;
	if (!c)
		return no_command(global.n ? global.word[0] : "");
	r = cli_parse(c, &global, (int)global.n, global.word, &args);
	if (r == 0)
		r = showing(&args) < 0 ? CLI_FAILED : c->run(&args);
	else
		r = r < 0 ? CLI_FAILED : 0;
	/* What was said may not have arrived: a full disk, a closed pipe. */
	return fflush(stdout) == 0 && !ferror(stdout) ? r : r ?: CLI_FAILED;
}
