// SPDX-License-Identifier: Apache-2.0
// `inspect` and `stats`: all that a sandbox's files say.
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/cli.h"
#include "tools/msb/sandbox.h"
#include "tools/msb/template.h"
#include "tools/msb/view.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATS_MS 1000 /* between two looks */

/* ---- inspect */

static int field(const void *arg, const char *name, struct msb_str *s)
{
	const json_t *v = view_find(arg, name);

	if (!v)
		return -ENOENT;
	view_print(v, s);
	return 0;
}

/* `state`, `status.reason`, `{{.State}}`. */
static int print_field(const json_t *o, const char *format, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r = 0;

	if (strstr(format, "{{"))
		r = template_expand(format, field, o, &s, e);
	else if (field(o, format, &s) < 0)
		r = msb_err_set(e, ENOENT, "there is no value `%.100s`; `msb inspect NAME` has all",
			format);
	if (r == 0)
		printf("%s\n", s.buf ?: "");
	return r;
}

static int inspect(const struct cli_args *a)
{
	const char *format = cli_get(a, "format");
	json_t *all = json_array();
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e), status = cli_status(r, &e);

	if (format && !strcmp(format, "json"))
		format = NULL;
	for (size_t i = 0; r == 0 && i < a->n; i++) {
		json_t *o = NULL;

		e = (struct msb_err){0};
		if (sandbox_name(a->word[i], &e) == 0)
			o = view_sandbox(&m, a->word[i], &e);
		if (!o || (format && print_field(o, format, &e) < 0))
			status = cli_fail(&e);
		if (o)
			(void)json_array_append_new(all, o);
	}
	if (r == 0 && !format) {
		_cleanup_free_ char *text = json_dumps(all, JSON_INDENT(2));

		printf("%s\n", text ?: "[]");
	}
	json_decref(all);
	return status;
}

/* ---- stats */

struct sample {
	char name[64];
	json_t *metrics;
	unsigned long long cpu_usec, at_ms;
	double cpu_percent;
};

struct samples {
	struct sample *s;
	size_t n;
};

static void samples_done(struct samples *all)
{
	for (size_t i = 0; i < all->n; i++)
		json_decref(all->s[i].metrics);
	free(all->s);
}

static unsigned long long number(const struct sample *s, const char *key)
{
	return (unsigned long long)json_integer_value(json_object_get(s->metrics, key));
}

static bool runs(const struct mnt *m, const char *name)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/state", name);
	return msb_name_valid(name) && faccessat(m->fd, path, R_OK, 0) == 0 &&
	       mnt_read(m, path, &s, NULL) == 0 &&
	       (!strcmp(s.buf, "running") || !strcmp(s.buf, "paused"));
}

/* What the table shows; JSON has all that there is. */
static const char *const shown[] = {"cpu_usec", "memory_bytes", "memory_limit_bytes",
	"guest_memory_total_bytes", "guest_memory_available_bytes", "fs_read_bytes",
	"fs_written_bytes", "jobs_running"};

static json_t *some_metrics(const struct mnt *m, const char *name)
{
	json_t *all = json_object();

	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		char path[160];

		(void)snprintf(path, sizeof(path), "%s/metrics/%s", name, shown[i]);
		/* A guest that stands still does not say what it has. */
		if (mnt_read(m, path, &s, NULL) == 0)
			(void)json_object_set_new(all, shown[i], json_integer(atoll(s.buf)));
	}
	return all;
}

static int sample(const struct mnt *m, const char *name, bool whole, struct samples *all)
{
	struct sample *more = realloc(all->s, (all->n + 1) * sizeof(*more)), *s;

	if (!more)
		return -ENOMEM;
	all->s = more;
	s = &more[all->n];
	*s = (struct sample){.metrics = whole ? view_metrics(m, name) : some_metrics(m, name),
		.at_ms = msb_now_ms()};
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	s->cpu_usec = number(s, "cpu_usec");
	all->n++;
	return 0;
}

/* Those that are named, or all that run; with what each used since @before. */
static int take(const struct mnt *m, const struct cli_args *a, const struct samples *before,
	struct samples *all, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	const bool whole = cli_json(a) > 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < a->n; i++) {
		_cleanup_str_ struct msb_str state = MSB_STR_INIT;

		r = sandbox_read(m, a->word[i], "state", &state, e);
		if (r == 0)
			r = sample(m, a->word[i], whole, all);
	}
	if (!a->n)
		r = mnt_list(m, "", DT_DIR, &names, e);
	for (const char *p = names.buf; r == 0 && p && *p; p += strlen(p) + 1)
		if (runs(m, p))
			r = sample(m, p, whole, all);
	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < before->n; k++) {
			struct sample *s = &all->s[i];
			const struct sample *old = &before->s[k];

			if (!strcmp(s->name, old->name) && s->at_ms > old->at_ms &&
				s->cpu_usec >= old->cpu_usec)
				s->cpu_percent = (double)(s->cpu_usec - old->cpu_usec) / 10.0 /
						 (double)(s->at_ms - old->at_ms);
		}
	return r == -ENOMEM ? msb_err_set(e, ENOMEM, "no memory") : r;
}

static void show(const struct samples *all, bool json, bool again)
{
	if (json) {
		for (size_t i = 0; i < all->n; i++) {
			json_t *o = json_pack("{s:s, s:f, s:O}", "name", all->s[i].name,
				"cpu_percent", all->s[i].cpu_percent, "metrics", all->s[i].metrics);
			_cleanup_free_ char *text =
				o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(4)) : NULL;

			json_decref(o);
			printf("%s\n", text ?: "");
		}
		return;
	}
	if (again)
		printf("\033[H\033[J");
	printf("%-24s  %8s  %19s  %19s  %8s  %4s\n", "NAME", "CPU %", "GUEST USES / OF",
		"READ / WRITTEN", "HOST MEM", "JOBS");
	for (size_t i = 0; i < all->n; i++) {
		const struct sample *s = &all->s[i];
		unsigned long long of = number(s, "guest_memory_total_bytes"),
				   left = number(s, "guest_memory_available_bytes");
		char used[16], limit[16], in[16], out[16], host[16], mem[48], files[48];

		(void)snprintf(mem, sizeof(mem), "%s / %s",
			of ? cli_bytes(of > left ? of - left : 0, used) : "-",
			cli_bytes(number(s, "memory_limit_bytes"), limit));
		(void)snprintf(files, sizeof(files), "%s / %s",
			cli_bytes(number(s, "fs_read_bytes"), in),
			cli_bytes(number(s, "fs_written_bytes"), out));
		printf("%-24s  %7.2f%%  %19s  %19s  %8s  %4llu\n", s->name, s->cpu_percent, mem,
			files, cli_bytes(number(s, "memory_bytes"), host),
			number(s, "jobs_running"));
	}
}

static int stats(const struct cli_args *a)
{
	_cleanup_(samples_done) struct samples before = {0};
	const bool once = cli_get(a, "no-stream") || mnt_dry();
	const int json = cli_json(a);
	struct msb_err e = {0};
	struct mnt m;
	int r;

	if (json < 0)
		return CLI_FAILED;
	r = mnt_open(&m, &e);
	if (r == 0)
		r = take(&m, a, &(struct samples){0}, &before, &e);
	while (r == 0) {
		struct samples now = {0};

		/* What is used is the difference of two looks. */
		if (!mnt_dry())
			(void)usleep(STATS_MS * 1000);
		r = take(&m, a, &before, &now, &e);
		if (r == 0)
			show(&now, json, !once && isatty(STDOUT_FILENO));
		samples_done(&before);
		before = now;
		if (once || fflush(stdout) != 0)
			break;
	}
	return cli_status(r, &e);
}

/* ---- the table */

static const struct cli_option inspect_options[] = {
	CLI_OPTION('f', "format", "FIELD", "one value: state, status.reason, '{{.State}}'",
		.complete = "state image status.reason status.digest id cpus memory_bytes"),
	{0},
};
static const struct cli_option stats_options[] = {
	CLI_OPTION(0, "no-stream", NULL, "once, and no more"),
	CLI_OPTION(0, "format", "FORMAT", "table, or json: an object a line",
		.complete = "table json"),
	{0},
};

const struct cli_command cli_look_commands[] = {
	CLI_COMMAND("inspect", NULL, "[OPTION]... NAME...", "Print all that sandboxes are, as JSON",
		1, SIZE_MAX, inspect_options, inspect, .complete = CLI_SANDBOXES,
		.about =
			"An array with an object for each: its configuration, status, mounts and the rest of "
			"its files. FIELD is one value of it, with dots between the names.",
		.examples = "msb inspect web\n"
			    "msb inspect -f status.start_ms web\n"
			    "msb inspect -f '{{.Image}} {{.State}}' web",
		.see = "ps stats"),
	CLI_COMMAND("stats", "metrics", "[OPTION]... [NAME]...",
		"Show what sandboxes use, again each second", 0, SIZE_MAX, stats_options, stats,
		.complete = CLI_SANDBOXES,
		.about =
			"Without a NAME of all that run. CPU is of one processor of this host, so two busy "
			"ones are 200 %. What the guest uses is as its kernel counts it; HOST MEM is what "
			"the machine takes here.",
		.examples = "msb stats\n"
			    "# once, for programs\n"
			    "msb stats --no-stream --format json web",
		.see = "ps"),
	{0},
};
