// SPDX-License-Identifier: Apache-2.0
// A sandbox from a command line.
#include "tools/msb/create.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/image/ref.h"
#include "tools/msb/progress.h"
#include "tools/msb/sandbox.h"
#include "tools/msb/spec.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define NAME_TRIES   100
#define MAX_ENV_FILE (1u << 20)

struct making {
	const struct mnt *m;
	const struct cli_args *a;
	const char *name;
	struct msb_err *e;
};

/* ---- the image */

/* Whether it is in the store, by what msbd would find by this name. */
static bool is_here(const struct mnt *m, const char *image)
{
	static const char *const hosts[] = {IMG_REF_LOCAL_HOST, IMG_REF_DEFAULT_HOST};

	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		struct img_ref ref;

		if (img_ref_parse(image, hosts[i], &ref, NULL) < 0)
			return false;
		msb_str_adds(&s, "images/");
		img_ref_print(&ref, &s);
		if (!s.oom && faccessat(m->fd, s.buf, F_OK, 0) == 0)
			return true;
	}
	return false;
}

/* Before anything is made: a name that is wrong leaves nothing behind, and how far it is can be
 * shown. */
static int fetch(const struct making *k, const char *image)
{
	_cleanup_str_ struct msb_str name = MSB_STR_INIT, line = MSB_STR_INIT;
	const char *when = cli_get(k->a, "pull") ?: "missing";
	struct progress p;
	struct img_ref ref;
	int r;

	if (*image == '/' || *image == '.')
		return 0;
	if (strcmp(when, "always") != 0 && is_here(k->m, image))
		return 0;
	if (!strcmp(when, "never"))
		return msb_err_set(k->e, ENOENT, "there is no image %s, and --pull never", image);
	r = img_ref_parse(image, IMG_REF_DEFAULT_HOST, &ref, k->e);
	if (r < 0)
		return r;
	img_ref_print(&ref, &name);
	msb_str_adds(&line, "pull ");
	mnt_quote(&line, name.buf ?: "");
	if (name.oom || line.oom)
		return msb_err_set(k->e, ENOMEM, "no memory");
	return progress_do(k->m, "pull", name.buf, line.buf, cli_get(k->a, "quiet"), &p, k->e);
}

/* ---- its name */

static int make_up(const struct making *k, char *name)
{
	for (int i = 0; i < NAME_TRIES; i++) {
		uint32_t number;
		int r;

		if (getrandom(&number, sizeof(number), 0) != sizeof(number))
			return msb_err_set(k->e, errno, "no random numbers: %m");
		spec_name(number, name);
		r = mnt_mkdir(k->m, name, k->e);
		if (r != -EEXIST)
			return r;
	}
	return msb_err_set(k->e, EEXIST, "no name is left; say one with --name");
}

/* ---- values */

static int set(const struct making *k, const char *file, const char *value)
{
	return sandbox_set(k->m, k->name, file, value, k->e);
}

/* A line more of a table. */
static int add(const struct making *k, const char *file, const struct msb_str *line)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[160];

	msb_str_addf(&s, "%s\n", line->buf ?: "");
	(void)snprintf(path, sizeof(path), "%s/%s", k->name, file);
	return s.oom || line->oom ? msb_err_set(k->e, ENOMEM, "no memory")
				  : mnt_append(k->m, path, s.buf, s.len, k->e);
}

/* Options that are one file each. */
static int values(const struct making *k)
{
	static const struct {
		const char *option, *file;
		void (*as)(const char *text, struct msb_str *s);
	} table[] = {
		{"pull", "pull", NULL},
		{"cpus", "cpus", NULL},
		{"memory", "memory_bytes", spec_bytes},
		{"max-cpus", "max_cpus", NULL},
		{"max-memory", "max_memory_bytes", spec_bytes},
		{"disk", "disk_bytes", spec_bytes},
		{"hostname", "hostname", NULL},
		{"user", "user", NULL},
		{"workdir", "workdir", NULL},
		{"restart", "restart", NULL},
		{"stop-timeout", "stop_timeout_sec", spec_seconds},
		{"timeout", "max_duration_sec", spec_seconds},
		{"idle-timeout", "idle_timeout_sec", spec_seconds},
		{"health-interval", "healthcheck_interval_sec", spec_seconds},
		{"health-timeout", "healthcheck_timeout_sec", spec_seconds},
		{"health-retries", "healthcheck_retries", NULL},
		{"health-start-period", "healthcheck_start_period_sec", spec_seconds},
		{"health-start-interval", "healthcheck_start_interval_sec", spec_seconds},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(table); i++) {
		const char *value = cli_get(k->a, table[i].option);
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		if (!value)
			continue;
		if (table[i].as)
			table[i].as(value, &s);
		else
			msb_str_adds(&s, value);
		r = set(k, table[i].file, s.buf ?: "");
	}
	return r;
}

/* NAME=VALUE, or NAME: as it is here, and not at all where it is not. */
static int env_one(const struct making *k, const char *text)
{
	const char *eq = strchr(text, '='), *value = eq ? eq + 1 : getenv(text);
	char file[300];

	(void)snprintf(file, sizeof(file), "env/%.*s", eq ? (int)(eq - text) : 256, text);
	if (eq == text || !*text || (size_t)(strchrnul(text, '=') - text) > 255 ||
		strchr(file + 4, '/'))
		return msb_err_set(
			k->e, EINVAL, "a variable is NAME or NAME=VALUE, not `%.200s`", text);
	return value ? set(k, file, value) : 0;
}

static int env_file(const struct making *k, const char *path)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	int r = msb_read_file(AT_FDCWD, path, MAX_ENV_FILE, &s);
	char *save = NULL;

	if (r < 0)
		return msb_err_set(k->e, -r, "cannot read %s: %s", path, strerror(-r));
	msb_str_add(&s, "", 0);
	for (char *line = strtok_r(s.buf, "\r\n", &save); r == 0 && line;
		line = strtok_r(NULL, "\r\n", &save)) {
		line += strspn(line, " \t");
		if (*line && *line != '#')
			r = env_one(k, line);
	}
	return r < 0 ? (msb_err_wrap(k->e, "%s", path), r) : 0;
}

static int env(const struct making *k)
{
	const char *v;
	int r = 0;

	for (size_t i = 0; r == 0 && (v = cli_next(k->a, "env-file", &i));)
		r = env_file(k, v);
	for (size_t i = 0; r == 0 && (v = cli_next(k->a, "env", &i));)
		r = env_one(k, v);
	return r;
}

/* A volume that -v names is made where it is not there, as docker does. @ret: whether it is a disk:
 * its machine's kernel mounts it. */
static int volume(const struct mnt *m, const char *text, bool *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str kind = MSB_STR_INIT;
	_cleanup_free_ char *name = strndup(text, strcspn(text, ":"));
	char path[80];
	int r = 0;

	*ret = false;
	if (!name || !msb_name_valid(name) || strncmp(text + strlen(name), ":/", 2) != 0)
		return 0; /* a directory, or nothing: spec_volume() says so */
	(void)snprintf(path, sizeof(path), "volumes/%s", name);
	if (faccessat(m->fd, path, F_OK, 0) < 0 && errno == ENOENT)
		r = mnt_mkdir(m, path, e);
	(void)snprintf(path, sizeof(path), "volumes/%s/kind", name);
	*ret = mnt_peek(m, path, &kind) == 0 && !strcmp(kind.buf, "disk");
	return r == -EEXIST ? 0 : r; /* made meanwhile */
}

/* Options that are a line of a table each. */
static int tables(const struct making *k)
{
	static const char *const names[] = {"volume", "mount", "tmpfs", "ulimit", "label"};
	static const char *const files[] = {"mounts", "mounts", "tmpfs", "rlimits", "labels"};
	const char *v;
	int r = 0;

	for (size_t n = 0; r == 0 && n < ARRAY_LEN(names); n++)
		for (size_t i = 0; r == 0 && (v = cli_next(k->a, names[n], &i));) {
			_cleanup_str_ struct msb_str s = MSB_STR_INIT;
			bool tmpfs = false, disk;

			if (n == 0)
				r = volume(k->m, v, &disk, k->e) ?: spec_volume(v, disk, &s, k->e);
			else if (n == 1)
				r = spec_mount(v, &tmpfs, &s, k->e);
			else if (n == 2)
				spec_tmpfs(v, &s);
			else if (n == 3)
				r = spec_ulimit(v, &s, k->e);
			else
				msb_str_addf(&s, "%s%s", v, strchr(v, '=') ? "" : "=");
			r = r ?: add(k, tmpfs ? "tmpfs" : files[n], &s);
		}
	return r;
}

static int root(const struct making *k)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	const char *v;

	if (cli_get(k->a, "read-only"))
		msb_str_adds(&s, "ro");
	for (size_t i = 0; (v = cli_next(k->a, "root", &i));)
		msb_str_addf(&s, "%s%s", s.len ? "," : "", v);
	return s.len ? set(k, "root_options", s.buf) : 0;
}

static int command(const struct making *k, bool main)
{
	_cleanup_str_ struct msb_str argv = MSB_STR_INIT, entry = MSB_STR_INIT;
	const char *program = cli_get(k->a, "entrypoint");
	char *one[] = {(char *)(uintptr_t)(program && *program ? program : NULL), NULL};
	int r = 0;

	if (program)
		r = spec_argv(one, &entry, k->e) ?: set(k, "entrypoint", entry.buf);
	if (r == 0 && main && k->a->n > 1)
		r = spec_argv(k->a->word + 1, &argv, k->e) ?: set(k, "cmd", argv.buf);
	return r == 0 && main ? set(k, "init", "cmd") : r;
}

/* docker's: the two exclude each other. */
static int check_health(const struct making *k)
{
	static const char *const names[] = {"health-cmd", "health-interval", "health-timeout",
		"health-retries", "health-start-period", "health-start-interval"};

	for (size_t i = 0; cli_get(k->a, "no-healthcheck") && i < ARRAY_LEN(names); i++)
		if (cli_get(k->a, names[i]))
			return msb_err_set(k->e, EINVAL,
				"--no-healthcheck is without a check, and --%s is of one",
				names[i]);
	return 0;
}

static int health(const struct making *k)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	const char *line = cli_get(k->a, "health-cmd");
	bool none = cli_get(k->a, "no-healthcheck");
	char *words[] = {
		(char *)(uintptr_t)(none ? "NONE" : "CMD-SHELL"), (char *)(uintptr_t)line, NULL};
	int r;

	if (!line && !none)
		return 0;
	r = spec_argv(words, &s, k->e);
	return r < 0 ? r : set(k, "healthcheck", s.buf);
}

static int check_network(const struct cli_args *a, struct msb_err *e)
{
	const char *network = cli_get(a, "network");

	if (cli_get(a, "publish"))
		return msb_err_set(
			e, EOPNOTSUPP, "-p publishes a port, and sandboxes have no network yet");
	if (network && strcmp(network, "none") != 0)
		return msb_err_set(e, EOPNOTSUPP,
			"--network %.60s: sandboxes have no network yet, which is `none`", network);
	return 0;
}

int create_sandbox(
	const struct mnt *m, const struct cli_args *a, bool main, char *name, struct msb_err *e)
{
	const struct making k = {m, a, name, e};
	const char *given = cli_get(a, "name");
	int r;

	r = check_network(a, e);
	if (r < 0)
		return r;
	r = given ? sandbox_name(given, e) : 0;
	r = r ?: check_health(&k);
	if (r == 0)
		r = fetch(&k, a->word[0]);
	if (r < 0)
		return r;
	if (given)
		(void)snprintf(name, 64, "%s", given);
	r = given ? mnt_mkdir(m, name, e) : make_up(&k, name);
	if (r < 0)
		return r;
	r = set(&k, "image", a->word[0]);
	r = r ?: values(&k);
	r = r ?: root(&k);
	r = r ?: env(&k);
	r = r ?: tables(&k);
	r = r ?: command(&k, main);
	r = r ?: health(&k);
	if (r == 0 && cli_get(a, "rm"))
		r = set(&k, "auto_remove", "1");
	if (r < 0)
		(void)mnt_rmdir(m, name, NULL); /* the sentence is what went wrong before */
	return r;
}
