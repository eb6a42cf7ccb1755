// SPDX-License-Identifier: Apache-2.0
// volume: directories that outlive sandboxes.
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"
#include "tools/msb/spec.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static int value(const struct mnt *m, const char *name, const char *file, struct msb_str *s,
	struct msb_err *e)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "volumes/%s/%s", name, file);
	s->len = 0;
	return mnt_read(m, path, s, e);
}

static int name_ok(const char *name, struct msb_err *e)
{
	return msb_name_valid(name) ? 0
				    : msb_err_set(e, EINVAL,
					      "`%.64s` is not a volume's name: small "
					      "letters, digits and -, 63 at most",
					      name);
}

/* used_by as a JSON array. */
static void add_lines(struct msb_str *s, const char *text)
{
	msb_str_adds(s, "[");
	for (const char *p = text; *p;) {
		size_t n = strcspn(p, "\n");

		msb_str_adds(s, p > text ? "," : "");
		msb_str_add_json(s, p, n);
		p += n + (p[n] == '\n');
	}
	msb_str_adds(s, "]");
}

/* All of a volume as one JSON object. */
static int object(const struct mnt *m, const char *name, struct msb_str *s, struct msb_err *e)
{
	static const char *const files[] = {"kind", "quota_bytes", "used_bytes", "used_by"};
	_cleanup_str_ struct msb_str v = MSB_STR_INIT;
	char path[128], data[PATH_MAX];
	ssize_t n;
	int r = 0;

	msb_str_adds(s, "{\"name\":");
	msb_str_add_json(s, name, strlen(name));
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(files); i++) {
		r = value(m, name, files[i], &v, e);
		msb_str_addf(s, ",\"%s\":", files[i]);
		if (r == 0 && i == 3)
			add_lines(s, v.len ? v.buf : "");
		else if (r == 0 && i == 0)
			msb_str_add_json(s, v.buf, v.len);
		else if (r == 0)
			msb_str_adds(s, v.len ? v.buf : "null");
	}
	(void)snprintf(path, sizeof(path), "volumes/%s/data", name);
	n = r < 0 ? 0 : readlinkat(m->fd, path, data, sizeof(data));
	if (n > 0) {
		msb_str_adds(s, ",\"data\":");
		msb_str_add_json(s, data, (size_t)n);
	}
	msb_str_adds(s, "}");
	return r < 0 ? r : s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

static void row(const struct mnt *m, const char *name, struct msb_err *e)
{
	_cleanup_str_ struct msb_str kind = MSB_STR_INIT, used = MSB_STR_INIT, quota = MSB_STR_INIT,
				     by = MSB_STR_INIT;
	char a[16], b[16];

	if (value(m, name, "kind", &kind, e) < 0 || value(m, name, "used_bytes", &used, e) < 0 ||
		value(m, name, "quota_bytes", &quota, e) < 0 ||
		value(m, name, "used_by", &by, e) < 0)
		return; /* removed meanwhile */
	for (size_t i = 0; i < by.len; i++)
		by.buf[i] = (char)(by.buf[i] == '\n' ? ',' : by.buf[i]);
	printf("%-24s  %-5s  %9s  %9s  %s\n", name, kind.len ? kind.buf : "",
		used.len ? cli_bytes(strtoull(used.buf, NULL, 10), a) : "",
		quota.len ? cli_bytes(strtoull(quota.buf, NULL, 10), b) : "-",
		by.len ? by.buf : "");
}

static int ls(const struct cli_args *a, const struct mnt *m, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	bool json = cli_json(a);
	int r = mnt_list(m, "volumes", DT_DIR, &names, e);

	if (r < 0)
		return r;
	if (!json && !cli_get(a, "quiet"))
		printf("%-24s  %-5s  %9s  %9s  %s\n", "VOLUME", "KIND", "USED", "QUOTA", "USED BY");
	for (size_t at = 0; at < names.len; at += strlen(names.buf + at) + 1) {
		const char *name = names.buf + at;
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct msb_err gone;

		if (cli_get(a, "quiet"))
			printf("%s\n", name);
		else if (!json)
			row(m, name, &gone);
		else if (object(m, name, &s, &gone) == 0)
			printf("%s\n", s.buf);
	}
	return 0;
}

static int create_one(
	const struct cli_args *a, const struct mnt *m, const char *name, struct msb_err *e)
{
	/* A disk is of the size that is there when its kind is written. */
	static const char *const options[] = {"size", "kind"}, *const files[] = {
								       "quota_bytes", "kind"};
	_cleanup_str_ struct msb_str size = MSB_STR_INIT;
	char dir[80], path[128];
	int r = name_ok(name, e);

	(void)snprintf(dir, sizeof(dir), "volumes/%.63s", name);
	if (r == 0)
		r = mnt_mkdir(m, dir, e);
	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(options); i++) {
		const char *value = cli_get(a, options[i]);

		if (!value)
			continue;
		if (i == 0)
			spec_bytes(value, &size);
		(void)snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		r = mnt_set(m, path, i == 0 ? size.buf ?: "" : value, e);
	}
	if (r < 0) /* it is empty: as if it had not been made */
		(void)mnt_rmdir(m, dir, NULL);
	return r;
}

static int create(const struct cli_args *a, const struct mnt *m, struct msb_err *e)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < a->n; i++) {
		r = create_one(a, m, a->word[i], e);
		if (r == 0)
			printf("%s\n", a->word[i]);
	}
	return r;
}

static int rm(const struct cli_args *a, const struct mnt *m, struct msb_err *e)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < a->n; i++) {
		char path[128];

		r = name_ok(a->word[i], e);
		(void)snprintf(path, sizeof(path), "volumes/%.63s", a->word[i]);
		if (r == 0)
			r = mnt_rmdir(m, path, e);
		if (r == 0)
			printf("%s\n", a->word[i]);
	}
	return r;
}

static int inspect(const struct cli_args *a, const struct mnt *m, struct msb_err *e)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < a->n; i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		r = name_ok(a->word[i], e);
		if (r == 0)
			r = object(m, a->word[i], &s, e);
		if (r == 0)
			printf("%s\n", s.buf);
	}
	return r;
}

static int volume(const struct cli_args *a)
{
	static const struct {
		const char *name;
		size_t min;
		int (*run)(const struct cli_args *, const struct mnt *, struct msb_err *);
	} verbs[] = {{"ls", 0, ls}, {"create", 1, create}, {"rm", 1, rm}, {"inspect", 1, inspect}};
	struct msb_err e = {0};
	struct mnt m;
	int r;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (!strcmp(a->word[0], verbs[i].name)) {
			if (a->n - 1 < verbs[i].min)
				return cli_fail_usage(a->command, "%s wants a name", verbs[i].name);
			if (verbs[i].run == ls && a->n > 1)
				return cli_fail_usage(a->command, "ls takes no name");
			if (cli_json(a) < 0)
				return CLI_FAILED;
			r = mnt_open(&m, &e);
			return cli_status(r < 0 ? r : verbs[i].run(a, &m, &e), &e);
		}
	return cli_fail_usage(a->command, "`%s` is none of ls, create, rm and inspect", a->word[0]);
}

static const struct cli_option volume_options[] = {
	CLI_OPTION('s', "size", "SIZE", "create: what its files may take, 512m or 10g"),
	CLI_OPTION(0, "kind", "KIND", "create: dir, or disk, which is ext4 of that size",
		.complete = "dir disk"),
	{0},
};

const struct cli_command cli_volume_commands[] = {
	CLI_COMMAND("volume", NULL, "[OPTION]... ls|create|rm|inspect [NAME]...",
		"List, make, remove and show volumes", 1, SIZE_MAX, volume_options, volume,
		.complete = "ls create rm inspect",
		.about =
			"A volume is a directory that outlives sandboxes, and that several of them may have "
			"mounted at once (`-v NAME:PATH` of `msb run`). `ls` lists them, `create` makes "
			"those that are named, `rm` removes them with all that is in them, unless a sandbox "
			"has one in its mounts; `inspect` prints an object a line.\n"
			"One of kind disk is a device of its machine with ext4 on it: faster, and mounted by one machine at a time, or by several that only read it.",
		.examples =
			"msb volume create --size 10G work\n"
			"msb run --rm -v work:/work debian touch /work/x\n"
			"msb volume ls\n"
			"msb volume rm work\n# a disk, for a database\nmsb volume create --kind disk --size 1g db",
		.see = "run"),
	{0},
};
