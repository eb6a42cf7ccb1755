// SPDX-License-Identifier: Apache-2.0
// msb's commands: parsing and help, both from the tables.
#include "tools/msb/cli.h"
#include "base/cleanup.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- parsing */

static const struct cli_option *by_key(const struct cli_command *c, char key)
{
	for (const struct cli_option *o = c->options; o && o->name; o++)
		if (o->key == key && (key < 'A' || key > 'Z'))
			return o;
	return NULL;
}

static const struct cli_option *by_name(const struct cli_command *c, const char *name, size_t n)
{
	for (const struct cli_option *o = c->options; o && o->name; o++)
		if (strlen(o->name) == n && !strncmp(o->name, name, n))
			return o;
	return NULL;
}

/* --name, --name=VALUE, --name VALUE. Return: how many words it took, or -EINVAL. */
static int long_option(struct cli_args *a, int argc, char **argv)
{
	const char *name = argv[0] + 2, *eq = strchrnul(name, '=');
	const struct cli_option *o = by_name(a->command, name, (size_t)(eq - name));

	if (!o)
		return -cli_fail_usage(
			a->command, "there is no option --%.*s", (int)(eq - name), name);
	if (!o->arg && *eq)
		return -cli_fail_usage(a->command, "--%s has no value", o->name);
	if (!o->arg || *eq) {
		a->value[(unsigned char)o->key] = *eq ? eq + 1 : "";
		return 1;
	}
	if (argc < 2)
		return -cli_fail_usage(a->command, "--%s wants a value: %s", o->name, o->arg);
	a->value[(unsigned char)o->key] = argv[1];
	return 2;
}

/* -xyz, -xVALUE, -x VALUE. */
static int short_options(struct cli_args *a, int argc, char **argv)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct cli_option *o = by_key(a->command, *p);

		if (!o)
			return -cli_fail_usage(a->command, "there is no option -%c", *p);
		a->value[(unsigned char)*p] = "";
		if (!o->arg)
			continue;
		if (!p[1] && argc < 2)
			return -cli_fail_usage(a->command, "-%c wants a value: %s", *p, o->arg);
		a->value[(unsigned char)*p] = p[1] ? p + 1 : argv[1];
		return p[1] ? 1 : 2;
	}
	return 1;
}

int cli_parse(const struct cli_command *c, int argc, char **argv, struct cli_args *ret)
{
	bool words = false;
	int r;

	*ret = (struct cli_args){.command = c, .word = argv};
	for (int i = 1; i < argc; i += r) {
		r = 1;
		if (words || argv[i][0] != '-' || !argv[i][1]) {
			argv[ret->n++] = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			words = true;
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			cli_help_of(c);
			return 1;
		} else {
			r = argv[i][1] == '-' ? long_option(ret, argc - i, argv + i)
					      : short_options(ret, argc - i, argv + i);
			if (r < 0)
				return -EINVAL;
		}
	}
	argv[ret->n] = NULL;
	if (ret->n >= c->min && ret->n <= c->max)
		return 0;
	(void)cli_fail_usage(c, ret->n < c->min ? "something is missing" : "that is too much");
	return -EINVAL;
}

const char *cli_get(const struct cli_args *a, char key)
{
	return a->value[(unsigned char)key];
}

const struct cli_command *cli_find(const struct cli_command *const *groups, const char *name)
{
	for (; *groups; groups++)
		for (const struct cli_command *c = *groups; c->name; c++)
			if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
				return c;
	return NULL;
}

/* ---- saying */

void cli_help(const struct cli_command *const *groups)
{
	printf("usage: msb COMMAND [OPTION]... [ARGUMENT]...\n\n");
	for (; *groups; groups++)
		for (const struct cli_command *c = *groups; c->name; c++)
			printf("  %-10s %s\n", c->name, c->summary);
	printf("\n`msb COMMAND --help` says more of one. The control tree is at /run/msb, or\n"
	       "$XDG_RUNTIME_DIR/msb for an ordinary user; MSB_MNT says otherwise.\n");
}

void cli_help_of(const struct cli_command *c)
{
	printf("usage: msb %s%s%s\n%s.\n", c->name, *c->usage ? " " : "", c->usage, c->summary);
	if (c->alias)
		printf("Also called `msb %s`.\n", c->alias);
	printf("\n");
	for (const struct cli_option *o = c->options; o && o->name; o++) {
		char left[64];
		int n = o->key >= 'A' && o->key <= 'Z'
				? snprintf(left, sizeof(left), "    ")
				: snprintf(left, sizeof(left), "-%c, ", o->key);

		(void)snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", o->name,
			o->arg ? " " : "", o->arg ?: "");
		printf("  %-24s %s\n", left, o->help);
	}
	printf("  %-24s %s\n", "-h, --help", "print this");
}

int cli_fail(const struct msb_err *e)
{
	(void)fprintf(stderr, "msb: %s\n", e->msg[0] ? e->msg : strerror(e->code ? e->code : EIO));
	return CLI_FAILED;
}

int cli_fail_usage(const struct cli_command *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)fprintf(stderr, "msb %s: ", c->name);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fprintf(stderr, "\nusage: msb %s%s%s\n", c->name, *c->usage ? " " : "", c->usage);
	return CLI_FAILED;
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
