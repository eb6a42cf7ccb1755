// SPDX-License-Identifier: Apache-2.0
// What a sandbox's files say of it.
#include "tools/msb/view.h"
#include "base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

int view_line(const char *text, const char *key, struct msb_str *s)
{
	size_t n = strlen(key);

	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
		if (!strncmp(p, key, n) && (p[n] == ' ' || p[n] == '\n' || !p[n])) {
			if (p[n] == ' ')
				msb_str_add(s, p + n + 1, strcspn(p + n + 1, "\n"));
			return 0;
		}
	return -ENOENT;
}

unsigned long long view_number(const char *text, const char *key)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	return view_line(text, key, &s) == 0 && s.buf ? strtoull(s.buf, NULL, 10) : 0;
}

/* A text; bytes that are no UTF-8 become U+FFFD, as everywhere in JSON. */
static json_t *text_of(const char *p, size_t n)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	if (msb_utf8_valid(p, n))
		return json_stringn(p, n);
	msb_str_add_json(&s, p, n);
	return s.oom ? NULL : json_loadb(s.buf, s.len, JSON_DECODE_ANY, NULL);
}

/* What a value file holds. Numbers are those of files that can hold nothing else. */
static json_t *value_of(const char *file, const char *p, size_t n)
{
	static const char *const ends[] = {"_bytes", "_sec", "_usec", "_ms", "cpus", "_pid",
		"restarts", "_retries", "exit_code", "main_job"};
	size_t len = strlen(file);
	bool number = n > 0 && n < 19;

	for (size_t i = 0; i < n; i++)
		number &= isdigit((unsigned char)p[i]) != 0;
	for (size_t i = 0; number && i < ARRAY_LEN(ends); i++)
		if (len >= strlen(ends[i]) && !strcmp(file + len - strlen(ends[i]), ends[i]))
			return json_integer(strtoll(p, NULL, 10));
	return text_of(p, n);
}

/* Lines: `KEY SEP VALUE` as a mapping, or as they are in an array. */
static json_t *lines_of(const char *text, const char *sep)
{
	json_t *all = sep ? json_object() : json_array();

	while (all && *text) {
		size_t n = strcspn(text, "\n"), k = sep ? strcspn(text, sep) : n;
		_cleanup_free_ char *key = strndup(text, k < n ? k : n);

		if (sep && key)
			(void)json_object_set_new(all, key,
				value_of(key, text + (k < n ? k + 1 : n), k < n ? n - k - 1 : 0));
		else if (n)
			(void)json_array_append_new(all, text_of(text, n));
		text += n + (text[n] == '\n');
	}
	return all;
}

/* JSON Lines. */
static json_t *records_of(const char *text)
{
	json_t *all = json_array();

	while (all && *text) {
		size_t n = strcspn(text, "\n");
		json_t *one = json_loadb(text, n, 0, NULL);

		if (one)
			(void)json_array_append_new(all, one);
		text += n + (text[n] == '\n');
	}
	return all;
}

static json_t *directory(const struct mnt *m, const char *dir, bool numbers)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	json_t *all = json_object();

	if (mnt_list(m, dir, DT_UNKNOWN, &names, NULL) < 0)
		return all;
	for (const char *p = names.buf; p && *p; p += strlen(p) + 1) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		char path[512];

		(void)snprintf(path, sizeof(path), "%s/%s", dir, p);
		if (mnt_read(m, path, &s, NULL) < 0)
			continue; /* it went meanwhile */
		(void)json_object_set_new(all, p,
			numbers ? (strchr(s.buf, ' ') ? lines_of(s.buf, " ")
						      : value_of("_bytes", s.buf, s.len))
				: text_of(s.buf, s.len));
	}
	return all;
}

json_t *view_metrics(const struct mnt *m, const char *name)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "%s/metrics", name);
	return directory(m, path, true);
}

/* Files that are no values: streams, what does something, and what is the same as others. */
static bool skipped(const char *file)
{
	static const char *const names[] = {"ctl", "exec", "wait", "events", "log", "console",
		"audit", "config", "jobs", "root", "patches", "scripts", "metrics", "env", "net",
		"snapshots"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(file, names[i]))
			return true;
	return false;
}

static json_t *file_of(const char *file, const struct msb_str *s)
{
	static const struct {
		const char *file, *sep;
	} tables[] = {{"status", " "}, {"labels", "="}, {"mounts", NULL}, {"tmpfs", NULL},
		{"rlimits", NULL}, {"config.pending", NULL}};

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		if (!strcmp(file, tables[i].file))
			return lines_of(s->buf, tables[i].sep);
	/* A command is written as JSON, and is one. */
	if (!strcmp(file, "cmd") || !strcmp(file, "entrypoint") || !strcmp(file, "healthcheck")) {
		json_t *argv = json_loadb(s->buf, s->len, 0, NULL);

		return argv ?: json_null();
	}
	if (!strcmp(file, "health_output"))
		return records_of(s->buf);
	return value_of(file, s->buf, s->len);
}

json_t *view_sandbox(const struct mnt *m, const char *name, struct msb_err *e)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	json_t *all = json_object();
	char path[512];
	int r = mnt_list(m, name, DT_UNKNOWN, &names, e);

	if (r < 0 || !all) {
		json_decref(all);
		return NULL;
	}
	(void)json_object_set_new(all, "name", json_string(name));
	for (const char *p = names.buf; p && *p; p += strlen(p) + 1) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		if (skipped(p))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", name, p);
		if (mnt_read(m, path, &s, NULL) == 0)
			(void)json_object_set_new(all, p, file_of(p, &s));
	}
	(void)snprintf(path, sizeof(path), "%s/env", name);
	(void)json_object_set_new(all, "env", directory(m, path, false));
	(void)json_object_set_new(all, "metrics", view_metrics(m, name));
	return all;
}

static bool same(const char *key, const char *want, size_t n)
{
	for (; *key && n; key++) {
		if (*key == '_' && *want != '_')
			continue;
		if (tolower((unsigned char)*key) != tolower((unsigned char)*want))
			return false;
		want++;
		n--;
	}
	return !*key && !n;
}

const json_t *view_find(const json_t *o, const char *path)
{
	path += *path == '.';
	while (*path && o) {
		size_t n = strcspn(path, ".");
		const json_t *next = NULL, *v;
		const char *key;

		json_object_foreach((json_t *)(uintptr_t)o, key, v) if (same(key, path, n)) next =
			v;
		/* A key may have a dot itself: `config.pending`. */
		json_object_foreach((json_t *)(uintptr_t)o, key,
			v) if (!next && path[n] && same(key, path, strlen(path))) return v;
		o = next;
		path += n + (path[n] == '.');
	}
	return o;
}

void view_print(const json_t *v, struct msb_str *s)
{
	_cleanup_free_ char *text = NULL;

	if (json_is_string(v)) {
		msb_str_add(s, json_string_value(v), json_string_length(v));
		return;
	}
	text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	if (text)
		msb_str_adds(s, text);
	else
		s->oom = true;
}
