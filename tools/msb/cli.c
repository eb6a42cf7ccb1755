// SPDX-License-Identifier: Apache-2.0
// msb's commands: parsing and help, both from the tables.
#include "tools/msb/cli.h"
#include "base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const struct cli_option cli_globals[] = {
	CLI_OPTION('H', "host", "ssh://[USER@]HOST[:PORT]",
		"run the same msb there; comes before COMMAND"),
	CLI_OPTION('x', "trace", NULL, "show each file operation on stderr, as a line of sh"),
	CLI_OPTION(0, "dry-run", NULL, "show them on stdout, and do nothing"),
	CLI_OPTION('q', "quiet", NULL, "say less"),
	CLI_OPTION(0, "format", "FORMAT", "of what is listed: table, or json",
		.complete = "table json"),
	{0},
};
/* What the options before a command belong to. */
static const struct cli_command msb_itself = {.name = "",
	.usage = "[OPTION]... COMMAND [OPTION]... [ARGUMENT]...",
	.max = (size_t)-1,
	.options = cli_globals,
	.word_ends = true};

/* ---- parsing */

static const struct cli_option *in_table(
	const struct cli_option *o, char key, const char *name, size_t len)
{
	for (; o && o->name; o++)
		if (name ? strlen(o->name) == len && !strncmp(o->name, name, len) : o->key == key)
			return o;
	return NULL;
}

const struct cli_option *cli_option(const struct cli_command *c, const char *name, size_t len)
{
	return in_table(c->options, 0, name, len) ?: in_table(cli_globals, 0, name, len);
}

static int give(struct cli_args *a, const struct cli_option *o, const char *value)
{
	if (a->command != &msb_itself && o == cli_globals)
		return -cli_fail_usage(a->command, "--host comes before the command");
	if (a->n_given == CLI_MAX_GIVEN)
		return -cli_fail_usage(a->command, "more than %d options", CLI_MAX_GIVEN);
	a->given[a->n_given++] = (struct cli_given){o, value};
	return 0;
}

/* --name, --name=VALUE, --name VALUE. Return: how many words it took, or negative. */
static int long_option(struct cli_args *a, int argc, char **argv)
{
	const char *name = argv[0] + 2, *eq = strchrnul(name, '=');
	const struct cli_option *o = cli_option(a->command, name, (size_t)(eq - name));

	if (!o) {
		char word[64];
		const char *near;

		(void)snprintf(word, sizeof(word), "%.*s", (int)(eq - name), name);
		near = cli_nearest(a->command, word);
		return -cli_fail_usage(a->command, "there is no option --%.*s%s%s",
			(int)(eq - name), name, near ? "; the nearest is --" : "", near ?: "");
	}
	if (!o->arg && *eq)
		return -cli_fail_usage(a->command, "--%s has no value", o->name);
	if (!o->arg || *eq)
		return give(a, o, *eq ? eq + 1 : "") ?: 1;
	if (argc < 2)
		return -cli_fail_usage(a->command, "--%s wants a value: %s", o->name, o->arg);
	return give(a, o, argv[1]) ?: 2;
}

/* -xyz, -xVALUE, -x VALUE. */
static int short_options(struct cli_args *a, int argc, char **argv)
{
	for (const char *p = argv[0] + 1; *p; p++) {
		const struct cli_option *o = in_table(a->command->options, *p, NULL, 0)
						     ?: in_table(cli_globals, *p, NULL, 0);
		int r;

		if (!o)
			return -cli_fail_usage(a->command, "there is no option -%c", *p);
		if (o->arg && !p[1] && argc < 2)
			return -cli_fail_usage(a->command, "-%c wants a value: %s", *p, o->arg);
		r = give(a, o, !o->arg ? "" : p[1] ? p + 1 : argv[1]);
		if (r < 0)
			return r;
		if (o->arg)
			return p[1] ? 1 : 2;
	}
	return 1;
}

/* The @n-th word that a command wants, out of its usage: what is not in brackets. */
static int wanted(const char *usage, size_t n, const char **ret)
{
	int depth = 0;

	for (const char *p = usage; *p; p++) {
		size_t len = strcspn(p, " .[");

		depth += (*p == '[') - (*p == ']');
		if (depth || !len || *p == ']')
			continue;
		if (n-- == 0) {
			*ret = p;
			return (int)len;
		}
		p += len - 1;
	}
	*ret = "a word";
	return (int)strlen(*ret);
}

static void refuse_words(const struct cli_args *a)
{
	const struct cli_command *c = a->command;
	const char *word;
	int len = wanted(c->usage, a->n, &word);

	if (a->n > c->max)
		(void)cli_fail_usage(c, "`%s` is one word too many", a->word[c->max]);
	else
		(void)cli_fail_usage(c, "%s%.*s is missing",
			memchr(word, '|', (size_t)len) ? "one of " : "", len, word);
}

int cli_parse(const struct cli_command *c, const struct cli_args *global, int argc, char **argv,
	struct cli_args *ret)
{
	bool words = false;
	int r;

	ret->command = c;
	ret->global = global;
	ret->n_given = ret->n = 0;
	ret->word = argv;
	for (int i = 1; i < argc; i += r) {
		r = 1;
		if (words || argv[i][0] != '-' || !argv[i][1]) {
			words |= c->word_ends;
			argv[ret->n++] = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			words = true;
		} else if (c != &msb_itself &&
			   (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
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
	refuse_words(ret);
	return -EINVAL;
}

int cli_parse_global(int argc, char **argv, struct cli_args *ret)
{
	return cli_parse(&msb_itself, NULL, argc, argv, ret);
}

const char *cli_next(const struct cli_args *a, const char *name, size_t *at)
{
	const struct cli_option *o = cli_option(a->command, name, strlen(name));

	assert(o);
	while (*at < a->n_given) {
		const struct cli_given *g = &a->given[(*at)++];

		if (g->option == o)
			return g->value;
	}
	return NULL;
}

const char *cli_get(const struct cli_args *a, const char *name)
{
	const char *value = NULL, *v;

	for (size_t i = 0; (v = cli_next(a, name, &i));)
		value = v;
	return value || !a->global			      ? value
	       : in_table(cli_globals, 0, name, strlen(name)) ? cli_get(a->global, name)
							      : NULL;
}

/* How many letters are to be put in, taken out or changed: Levenshtein's distance, past NEAR
 * letters not exact. */
#define NEAR	 2
#define MAX_NEAR 32 /* letters of what is compared */

static size_t distance(const char *a, const char *b)
{
	size_t row[MAX_NEAR + 1], n = strlen(a), k = strlen(b);

	if (n > MAX_NEAR || k > MAX_NEAR)
		return NEAR + 1;
	for (size_t j = 0; j <= k; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= k; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
			row[j] = change < row[j] ? change : row[j];
		}
	}
	return row[k];
}

const char *cli_nearest(const struct cli_command *c, const char *name)
{
	const struct cli_option *tables[] = {c ? c->options : NULL, c ? cli_globals : NULL};
	/* Of a short word any other would be near. */
	size_t best = strlen(name) <= 3 ? 1 : NEAR, d;
	const char *found = NULL;

#define TRY(word)                                                                                  \
	do {                                                                                       \
		d = distance(name, word);                                                          \
		if (d < best || (d == best && !found)) {                                           \
			best = d;                                                                  \
			found = word;                                                              \
		}                                                                                  \
	} while (0)
	for (size_t t = 0; t < ARRAY_LEN(tables); t++)
		for (const struct cli_option *o = tables[t]; o && o->name; o++)
			TRY(o->name);
	for (const struct cli_group *g = c ? NULL : cli_groups; g && g->commands; g++)
		for (const struct cli_command *k = g->commands; k->name; k++) {
			TRY(k->name);
			if (k->alias)
				TRY(k->alias);
		}
#undef TRY
	return found;
}

const struct cli_command *cli_find(const struct cli_group *groups, const char *name)
{
	for (; groups->commands; groups++)
		for (const struct cli_command *c = groups->commands; c->name; c++)
			if (!strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name)))
				return c;
	return NULL;
}
