// SPDX-License-Identifier: Apache-2.0
// What msb says of one command: --help, and a page of the manual, both from its row of the table.
#include "tools/msb/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 80

/* ---- --help */

/* One paragraph after the other, an empty line after each. */
static void paragraphs(const char *text)
{
	int column = 0;

	for (const char *p = text; *p;) {
		size_t n = strcspn(p, " \n");

		if (column && column + 1 + n > COLUMNS) {
			printf("\n");
			column = 0;
		}
		column += printf("%s%.*s", column ? " " : "", (int)n, p);
		p += n;
		if (*p == '\n') {
			printf("\n\n");
			column = 0;
		}
		p += *p != '\0';
	}
	printf("\n\n");
}

void cli_help_of(const struct cli_command *c)
{
	printf("usage: msb %s%s%s\n%s.\n", c->name, *c->usage ? " " : "", c->usage, c->summary);
	if (c->alias)
		printf("Also called `msb %s`.\n", c->alias);
	printf("\n");
	paragraphs(c->about);
	printf("Options:\n");
	for (const struct cli_option *o = c->options; o && o->name; o++)
		cli_help_option(o);
	printf("  %-26s %s\n\n", "-h, --help", "print this");
	if (c->status) {
		printf("Exit status:\n");
		paragraphs(c->status);
	}
	printf("Examples:\n");
	for (const char *p = c->examples; *p; p += *p == '\n') {
		size_t n = strcspn(p, "\n");

		printf("  %.*s\n", (int)n, p);
		p += n;
	}
}

/* ---- the page: scdoc(5) */

/* As it is, whatever of it would mean something; `..` is bold. */
static void escaped(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (text[i] == '`') {
			(void)putchar('*');
			continue;
		}
		if (strchr("*_\\", text[i]))
			(void)putchar('\\');
		(void)putchar(text[i]);
	}
}

/* A usage, or what an option's value is called: words in capitals stand for others. */
static void placeholders(const char *text)
{
	while (*text) {
		size_t n = 0;

		while (isupper((unsigned char)text[n]) ||
			(n && text[n] == '-' && isupper((unsigned char)text[n + 1])))
			n++;
		if (n)
			printf("_%.*s_", (int)n, text);
		else
			escaped(text, n = 1);
		text += n;
	}
}

static void page_option(char key, const char *name, const char *arg, const char *help)
{
	if (key)
		printf("*-%c*, ", key);
	printf("*--%s*", name);
	if (arg) {
		printf(" ");
		placeholders(arg);
	}
	printf("\n\t");
	escaped(help, strlen(help));
	printf("\n\n");
}

static void page_paragraphs(const char *text)
{
	for (const char *p = text; *p; p += *p == '\n') {
		size_t n = strcspn(p, "\n");

		escaped(p, n);
		printf("\n\n");
		p += n;
	}
}

static void page_examples(const char *text)
{
	bool literal = false;

	for (const char *p = text; *p; p += *p == '\n') {
		size_t n = strcspn(p, "\n");
		bool says = *p == '#';

		if (literal && says)
			printf("```\n\n");
		else if (!literal && !says)
			printf("```\n");
		literal = !says;
		if (says) {
			escaped(p + 2, n - 2);
			printf(":\n\n");
		} else {
			printf("%.*s\n", (int)n, p);
		}
		p += n;
	}
	printf("```\n\n");
}

void cli_page_of(const struct cli_command *c)
{
	printf("msb-%s(1)\n\n# NAME\n\nmsb-%s - %c%s\n\n# SYNOPSIS\n\n*msb %s*%s", c->name, c->name,
		tolower((unsigned char)*c->summary), c->summary + 1, c->name, *c->usage ? " " : "");
	placeholders(c->usage);
	printf("\n\n# DESCRIPTION\n\n");
	page_paragraphs(c->about);
	if (c->alias)
		printf("It is also called *msb %s*.\n\n", c->alias);
	printf("# OPTIONS\n\n");
	for (const struct cli_option *o = c->options; o && o->name; o++)
		page_option(o->key, o->name, o->arg, o->help);
	page_option('h', "help", NULL, "print this");
	printf("Those of *msb*(1) itself, as *--quiet* and *--trace*, may be among them.\n\n"
	       "# EXIT STATUS\n\n");
	printf("0; 125 where *msb* itself failed, with a sentence on standard error; 130 after "
	       "^C.\n\n");
	if (c->status)
		page_paragraphs(c->status);
	printf("# EXAMPLES\n\n");
	page_examples(c->examples);
	printf("# SEE ALSO\n\n*msb*(1)");
	for (const char *p = c->see ?: ""; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " "), name = strcspn(p, "( ");

		if (name < n)
			printf(", *%.*s*%.*s", (int)name, p, (int)(n - name), p + name);
		else
			printf(", *msb-%.*s*(1)", (int)n, p);
		p += n;
	}
	printf("\n");
}
