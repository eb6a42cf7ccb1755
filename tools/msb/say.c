// SPDX-License-Identifier: Apache-2.0
// What msb says of all its commands, of what failed, and of sizes and times.
#include "tools/msb/cli.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cli_help_option(const struct cli_option *o)
{
	char left[80], key[5] = "    ";

	if (o->key)
		(void)snprintf(key, sizeof(key), "-%c, ", o->key);
	(void)snprintf(
		left, sizeof(left), "%s--%s%s%s", key, o->name, o->arg ? " " : "", o->arg ?: "");
	if (strlen(left) > 26)
		printf("  %s\n  %-26s %s\n", left, "", o->help);
	else
		printf("  %-26s %s\n", left, o->help);
}

void cli_help(const struct cli_group *groups)
{
	printf("usage: msb [OPTION]... COMMAND [OPTION]... [ARGUMENT]...\n");
	for (; groups->commands; groups++) {
		if (groups->title)
			printf("\n%s:\n", groups->title);
		for (const struct cli_command *c = groups->commands; c->name; c++)
			printf("  %-10s %s\n", c->name, c->summary);
	}
	printf("\nOptions:\n");
	for (const struct cli_option *o = cli_globals; o->name; o++)
		cli_help_option(o);
	printf("  %-26s %s\n", "-h, --help", "print this");
	printf("  %-26s %s\n", "-V, --version", "print the version of msb");
	printf("\n`msb COMMAND --help` says more of one. The control tree is at /run/msb, or\n"
	       "$XDG_RUNTIME_DIR/msb for an ordinary user; MSB_MNT says otherwise.\n");
}

int cli_fail(const struct msb_err *e)
{
	const char *why = e->msg[0] ? e->msg : strerror(e->code ? e->code : EIO);
	_cleanup_str_ struct msb_str shown = MSB_STR_INIT;

	msb_str_add_printable(&shown, why, strlen(why)); /* it may name a guest's files */
	(void)fprintf(stderr, "msb: %s\n", shown.buf ?: why);
	return CLI_FAILED;
}

int cli_fail_usage(const struct cli_command *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "msb%s%s: ", *c->name ? " " : "", c->name);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\nusage: msb %s%s%s\n", c->name, *c->name && *c->usage ? " " : "",
		c->usage);
	return CLI_FAILED;
}

int cli_status(int r, const struct msb_err *e)
{
	if (r == -EINTR) {
		(void)fprintf(stderr, "msb: interrupted\n");
		return CLI_INTERRUPTED;
	}
	return r < 0 ? cli_fail(e) : 0;
}

int cli_json(const struct cli_args *a)
{
	const char *format = cli_get(a, "format");

	if (!format || !strcmp(format, "table"))
		return 0;
	if (!strcmp(format, "json"))
		return 1;
	(void)cli_fail_usage(a->command, "a format is `table` or `json`");
	return -EINVAL;
}

bool cli_colours(int fd)
{
	const char *no = getenv("NO_COLOR");

	return (!no || !*no) && isatty(fd);
}

const char *cli_bytes(unsigned long long n, char buf[16])
{
	static const char unit[] = "kMGTPE";
	double v = (double)n;
	int i = -1;

	for (; v >= 999.5; i++)
		v /= 1000;
	if (i < 0)
		(void)snprintf(buf, 16, "%lluB", n);
	else
		(void)snprintf(buf, 16, v < 99.95 ? "%.1f%cB" : "%.0f%cB", v, unit[i]);
	return buf;
}

const char *cli_ago(long long seconds, char buf[32])
{
	static const struct {
		long long s;
		const char *name;
	} units[] = {{31536000, "year"}, {2592000, "month"}, {604800, "week"}, {86400, "day"},
		{3600, "hour"}, {60, "minute"}, {1, "second"}};

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (seconds >= 2 * units[i].s || (seconds >= units[i].s && i > 3)) {
			long long n = seconds / units[i].s;

			(void)snprintf(
				buf, 32, "%lld %s%s ago", n, units[i].name, n == 1 ? "" : "s");
			return buf;
		}
	(void)snprintf(buf, 32, "just now");
	return buf;
}
