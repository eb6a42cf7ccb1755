// SPDX-License-Identifier: Apache-2.0
// `ps`: sandboxes, and what they do.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"
#include "tools/msb/template.h"
#include "tools/msb/view.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct row {
	const char *name;
	struct msb_str status, labels;
	unsigned long long created_usec;
};

struct rows {
	struct row *row;
	size_t n;
	struct msb_str names;
};

static void rows_done(struct rows *all)
{
	for (size_t i = 0; i < all->n; i++) {
		msb_str_done(&all->row[i].status);
		msb_str_done(&all->row[i].labels);
	}
	free(all->row);
	msb_str_done(&all->names);
}

/* ---- what a row says */

static void of_status(const struct row *r, const char *key, struct msb_str *s)
{
	(void)view_line(r->status.buf ?: "", key, s); /* empty where it is not said */
}

static void when(unsigned long long usec, struct msb_str *s)
{
	time_t t = (time_t)(usec / 1000000);
	struct tm tm;
	char buf[40];

	if (usec && gmtime_r(&t, &tm) && strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%SZ", &tm))
		msb_str_adds(s, buf);
}

static void ago(unsigned long long usec, struct msb_str *s)
{
	char buf[32];

	if (usec)
		msb_str_adds(s, cli_ago((long long)time(NULL) - (long long)(usec / 1000000), buf));
}

/* `Up 5 minutes`, `Stopped`, `Failed: the guest …`. */
static void words(const struct row *r, struct msb_str *s)
{
	_cleanup_str_ struct msb_str state = MSB_STR_INIT, reason = MSB_STR_INIT,
				     time_text = MSB_STR_INIT, health = MSB_STR_INIT,
				     code = MSB_STR_INIT;
	unsigned long long started = view_number(r->status.buf ?: "", "started_usec");

	of_status(r, "state", &state);
	of_status(r, "reason", &reason);
	of_status(r, "health", &health);
	of_status(r, "exit_code", &code);
	if (!state.len)
		return;
	if (!strcmp(state.buf, "running") || !strcmp(state.buf, "paused")) {
		ago(started, &time_text);
		msb_str_adds(s, "Up ");
		if (time_text.len > 4 && !strcmp(time_text.buf + time_text.len - 4, " ago"))
			msb_str_add(s, time_text.buf, time_text.len - 4);
		else
			msb_str_adds(s, "less than a second");
		msb_str_adds(s, *state.buf == 'p' ? " (paused)" : "");
	} else if (code.len && (!strcmp(state.buf, "stopped") || !strcmp(state.buf, "failed"))) {
		msb_str_addf(s, "Exited (%s)", code.buf);
	} else {
		msb_str_addf(s, "%c%s", *state.buf - 32, state.buf + 1);
	}
	if (health.len && strcmp(health.buf, "none") != 0)
		msb_str_addf(s, " (%s%s)", !strcmp(health.buf, "starting") ? "health: " : "",
			health.buf);
	if (reason.len)
		msb_str_addf(s, ": %s", reason.buf);
}

static int field(const void *arg, const char *name, struct msb_str *s)
{
	static const struct {
		const char *name, *key;
	} table[] = {{"names", "name"}, {"name", "name"}, {"id", "id"}, {"image", "image"},
		{"digest", "digest"}, {"state", "state"}, {"status", ""}, {"reason", "reason"},
		{"createdat", "created"}, {"created", "created"}, {"startedat", "started"},
		{"started", "started"}, {"runningfor", "ago"}, {"restarts", "restarts"},
		{"labels", "labels"}, {"health", "health"}, {"exitcode", "exit_code"},
		{"exit_code", "exit_code"}};
	const struct row *r = arg;
	const char *key = NULL;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcasecmp(table[i].name, name))
			key = table[i].key;
	if (!key)
		return -ENOENT;
	if (!*key)
		words(r, s);
	else if (!strcmp(key, "name"))
		msb_str_adds(s, r->name);
	else if (!strcmp(key, "ago"))
		ago(r->created_usec, s);
	else if (!strcmp(key, "created"))
		when(r->created_usec, s);
	else if (!strcmp(key, "started"))
		when(view_number(r->status.buf ?: "", "started_usec"), s);
	else if (!strcmp(key, "labels"))
		for (const char *p = r->labels.buf ?: ""; *p; p++)
			msb_str_add(s, *p == '\n' ? "," : p, 1);
	else
		of_status(r, key, s);
	return 0;
}

/* ---- which rows */

static bool has_label(const struct row *r, const char *want)
{
	size_t n = strlen(want);
	bool whole = strchr(want, '=');

	for (const char *p = r->labels.buf ?: ""; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (!strncmp(p, want, n) && (p[n] == '\n' || !p[n] || (!whole && p[n] == '=')))
			return true;
	return false;
}

/* Whether one --filter KEY=VALUE takes it; -EINVAL there is no such key. */
static int takes(const struct row *r, const char *filter, struct msb_err *e)
{
	static const struct {
		const char *name, *key;
		bool part; /* it may be a part */
	} table[] = {{"name=", "name", true}, {"id=", "id", true}, {"status=", "state", false},
		{"state=", "state", false}, {"ancestor=", "image", false},
		{"image=", "image", false}, {"health=", "health", false}};

	if (!strncmp(filter, "label=", 6))
		return has_label(r, filter + 6);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		const char *want = filter + strlen(table[i].name);

		if (strncmp(filter, table[i].name, strlen(table[i].name)) != 0)
			continue;
		(void)field(r, table[i].key, &s); /* it is one */
		return table[i].part ? strstr(s.buf ?: "", want) != NULL
				     : !strcmp(s.buf ?: "", want);
	}
	return msb_err_set(e, EINVAL,
		"a filter is name=, id=, state=, image=, health= or label=, and a value; not `%.100s`",
		filter);
}

/* Filters of one key are any of them, those of different keys all of them. */
static int wanted(const struct row *r, const struct cli_args *a, struct msb_err *e)
{
	const char *f, *other;

	for (size_t i = 0; (f = cli_next(a, "filter", &i));) {
		size_t n = strcspn(f, "=");
		int any = 0;

		for (size_t k = 0; (other = cli_next(a, "filter", &k)) && any == 0;)
			if (strcspn(other, "=") == n && !strncmp(f, other, n))
				any = takes(r, other, e);
		if (any <= 0)
			return any;
	}
	return 1;
}

static bool is_up(const struct row *r)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	of_status(r, "state", &s);
	return s.len && strcmp(s.buf, "created") != 0 && strcmp(s.buf, "stopped") != 0 &&
	       strcmp(s.buf, "failed") != 0;
}

static int newer(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	return x->created_usec != y->created_usec ? (x->created_usec < y->created_usec ? 1 : -1)
						  : strcmp(x->name, y->name);
}

static int look(const struct mnt *m, const char *name, struct row *r)
{
	char path[80];

	*r = (struct row){.name = name};
	if (!msb_name_valid(name))
		return -ENOENT;
	(void)snprintf(path, sizeof(path), "%s/status", name);
	/* What is no sandbox has none; one may go meanwhile; another user's is not ours to see. */
	if (faccessat(m->fd, path, R_OK, 0) < 0 || mnt_read(m, path, &r->status, NULL) < 0)
		return -ENOENT;
	(void)snprintf(path, sizeof(path), "%s/labels", name);
	(void)mnt_peek(m, path, &r->labels); /* the same */
	r->created_usec = view_number(r->status.buf ?: "", "created_usec");
	return 0;
}

static int gather(
	const struct mnt *m, const struct cli_args *a, struct rows *all, struct msb_err *e)
{
	/* A filter on a state is asked of all. */
	bool every = cli_get(a, "all");
	const char *f;
	size_t size = 0;
	int r = mnt_list(m, "", DT_DIR, &all->names, e);

	for (size_t i = 0; (f = cli_next(a, "filter", &i));)
		every |= !strncmp(f, "status=", 7) || !strncmp(f, "state=", 6);
	for (const char *p = all->names.buf; r == 0 && p && *p; p += strlen(p) + 1) {
		struct row one;

		if (all->n == size) {
			struct row *more =
				realloc(all->row, (size = size ? 2 * size : 16) * sizeof(*more));

			if (!more)
				return msb_err_set(e, ENOMEM, "no memory");
			all->row = more;
		}
		if (look(m, p, &one) == 0) {
			r = every || is_up(&one) ? wanted(&one, a, e) : 0;
			if (r > 0)
				all->row[all->n++] = one;
		}
		if (r <= 0) {
			msb_str_done(&one.status);
			msb_str_done(&one.labels);
		}
		r = r < 0 ? r : 0;
	}
	if (r == 0 && all->n)
		qsort(all->row, all->n, sizeof(*all->row), newer);
	return r;
}

/* ---- how */

static const char *const columns[] = {"name", "image", "status", "runningfor"};
static const char *const titles[] = {"NAME", "IMAGE", "STATUS", "CREATED"};
#define COLUMNS 4

static void table(const struct rows *all, bool whole)
{
	int width[COLUMNS];

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i <= all->n; i++)
			for (int c = 0; c < COLUMNS; c++) {
				_cleanup_str_ struct msb_str s = MSB_STR_INIT, text = MSB_STR_INIT;
				int n;

				if (i == 0)
					msb_str_adds(&text, titles[c]);
				else
					(void)field(
						&all->row[i - 1], columns[c], &text); /* there is */
				/* Another user's sandbox says what that user wants. */
				msb_str_add_printable(&s, text.buf ?: "", text.len);
				n = (int)(s.len > 40 && !whole ? 40 : s.len);
				if (pass == 0)
					width[c] = i == 0 || n > width[c] ? n : width[c];
				else
					printf("%-*.*s%s", c == COLUMNS - 1 ? 0 : width[c], n,
						s.buf ?: "", c == COLUMNS - 1 ? "\n" : "  ");
			}
}

static int json(const struct rows *all)
{
	static const char *const keys[] = {"name", "id", "image", "digest", "state", "status",
		"reason", "created", "started", "restarts", "labels", "health", "exit_code"};

	for (size_t i = 0; i < all->n; i++) {
		json_t *o = json_object();
		_cleanup_free_ char *text = NULL;

		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			_cleanup_str_ struct msb_str s = MSB_STR_INIT;

			(void)field(&all->row[i], keys[k], &s); /* there is */
			(void)json_object_set_new(o, keys[k], json_string(s.buf ?: ""));
		}
		text = json_dumps(o, JSON_COMPACT);
		json_decref(o);
		printf("%s\n", text ?: "");
	}
	return 0;
}

static int templated(const struct rows *all, const char *format, struct msb_err *e)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < all->n; i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		r = template_expand(format, field, &all->row[i], &s, e);
		if (r == 0)
			printf("%s\n", s.buf ?: "");
	}
	return r;
}

static int ps(const struct cli_args *a)
{
	const char *format = cli_get(a, "format") ?: "table";
	_cleanup_(rows_done) struct rows all = {0};
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e);

	if (r == 0)
		r = gather(&m, a, &all, &e);
	if (r < 0)
		return cli_status(r, &e);
	if (cli_get(a, "quiet"))
		r = templated(&all, "{{.Name}}", &e);
	else if (!strcmp(format, "table"))
		table(&all, cli_get(a, "no-trunc"));
	else if (!strcmp(format, "json"))
		r = json(&all);
	else if (strstr(format, "{{"))
		r = templated(&all, format + (!strncmp(format, "table ", 6) ? 6 : 0), &e);
	else
		return cli_fail_usage(
			a->command, "a format is `table`, `json`, or a text with {{.Name}} in it");
	return cli_status(r, &e);
}

static const struct cli_option ps_options[] = {
	CLI_OPTION('a', "all", NULL, "those that do not run, too"),
	CLI_OPTION('q', "quiet", NULL, "names alone"),
	CLI_OPTION('f', "filter", "KEY=VALUE", "name, id, state, image, health or label",
		.many = true, .complete = "name= id= state= image= health= label="),
	CLI_OPTION(0, "format", "FORMAT", "table, json, or a text as '{{.Name}} {{.State}}'",
		.complete = "table json"),
	CLI_OPTION(0, "no-trunc", NULL, "whole reasons and names"),
	{0},
};

const struct cli_command cli_ps_commands[] = {
	CLI_COMMAND("ps", "ls", "[OPTION]...", "List sandboxes", 0, 0, ps_options, ps,
		.about =
			"Those that run; with `-a` all. Filters of one key are any of them, those of "
			"different keys must all be true; `name` and `id` may be a part. A filter on a state "
			"shows those that do not run, too.\n"
			"Fields of a text as FORMAT: Name ID Image Digest State Status Reason CreatedAt "
			"StartedAt RunningFor Restarts Labels Health ExitCode; \\t and \\n are a tab and a "
			"new line.",
		.examples = "msb ps -a\n"
			    "# the machines that failed, and why\n"
			    "msb ps -a -f state=failed --format '{{.Name}}\\t{{.Reason}}'\n"
			    "# for programs\n"
			    "msb ps -a --format json | jq -r .name\n"
			    "msb ps -q -f label=tier=web",
		.see = "inspect stats"),
	{0},
};
