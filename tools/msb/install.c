// SPDX-License-Identifier: Apache-2.0
// install, uninstall: an image as a command of its own.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"
#include "tools/msb/shell.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MARK "#!/bin/sh\n# made by `msb install`" /* what a command of ours begins with */

/* Where commands go: --dir, /usr/local/bin for root, ~/.local/bin. */
static int dir_of(const struct cli_args *a, struct msb_str *s, struct msb_err *e)
{
	const char *dir = cli_get(a, "dir"), *home = getenv("HOME");

	if (dir)
		msb_str_adds(s, dir);
	else if (geteuid() == 0)
		msb_str_adds(s, "/usr/local/bin");
	else if (home && *home == '/')
		msb_str_addf(s, "%s/.local/bin", home);
	else
		return msb_err_set(e, ENOENT, "HOME says no directory; say one by --dir");
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

static int command_name(const char *name, struct msb_err *e)
{
	return msb_name_valid(name)
		       ? 0
		       : msb_err_set(e, EINVAL,
				 "`%.64s` is no name for it: small letters, digits and -, 63 at most; "
				 "--name says another",
				 name);
}

/* Whether a file is one of ours: 1, 0; -ENOENT there is none. */
static int is_ours(int dir, const char *name)
{
	_cleanup_close_ int fd =
		openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char head[sizeof(MARK) - 1];

	if (fd < 0)
		return errno == ENOENT ? -ENOENT : 0;
	return msb_pread_full(fd, head, sizeof(head), 0) == (int64_t)sizeof(head) &&
	       memcmp(head, MARK, sizeof(head)) == 0;
}

/* ---- what the command is */

static void options(const struct cli_args *a, struct msb_str *s)
{
	static const char *const many[] = {"volume", "env"};
	static const char *const once[] = {"cpus", "memory", "workdir", "user"};

	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		const char *v;

		for (size_t at = 0; (v = cli_next(a, many[i], &at));) {
			msb_str_addf(s, " --%s ", many[i]);
			shell_word(s, v);
		}
	}
	for (size_t i = 0; i < ARRAY_LEN(once); i++)
		if (cli_get(a, once[i])) {
			msb_str_addf(s, " --%s ", once[i]);
			shell_word(s, cli_get(a, once[i]));
		}
}

static int script(const struct cli_args *a, const char *name, struct msb_str *s, struct msb_err *e)
{
	_cleanup_str_ struct msb_str what = MSB_STR_INIT, image = MSB_STR_INIT;
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n < 0)
		return msb_err_set(e, errno, "cannot tell where msb is: %m");
	self[n] = '\0';
	options(a, &what);
	shell_word(&image, a->word[0]);
	msb_str_addf(s, MARK "; `msb uninstall %s` removes it\n", name);
	msb_str_adds(s, "msb=");
	shell_word(s, self);
	if (cli_get(a, "tmp")) {
		/* A terminal where there is one: both ends are looked at, as an output may be a
		 * file. */
		msb_str_addf(s,
			"\ntty=\nif [ -t 0 ] && [ -t 1 ]; then tty=-t; fi\n"
			"exec \"$msb\" run --rm -i $tty%s %s \"$@\"\n",
			what.buf ?: "", image.buf ?: "");
	} else {
		msb_str_addf(s,
			"\nset -e\n"
			"m=${MSB_MNT:-/run/msb}\n"
			"[ -n \"$MSB_MNT\" ] || [ \"$(id -u)\" = 0 ] || m=$XDG_RUNTIME_DIR/msb\n"
			"if [ -d \"$m/%s\" ]; then \"$msb\" start %s >/dev/null\n"
			"else \"$msb\" run -d --idle --name %s%s %s >/dev/null; fi\n"
			"[ $# -gt 0 ] || exec \"$msb\" shell %s\n"
			"tty=\nif [ -t 0 ] && [ -t 1 ]; then tty=-t; fi\n"
			"exec \"$msb\" exec -i $tty %s \"$@\"\n",
			name, name, name, what.buf ?: "", image.buf ?: "", name, name);
	}
	return s->oom || what.oom || image.oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

/* ---- putting it there */

/* As a whole or not at all; over one of ours, and over nothing else. */
static int put(
	int dir, const char *path, const char *name, const struct msb_str *s, struct msb_err *e)
{
	_cleanup_close_ int fd = -1;
	char tmp[NAME_MAX];
	int r, there = is_ours(dir, name);

	if (there == 0)
		return msb_err_set(e, EEXIST,
			"%s/%s is there, and `msb install` did not make it; --name says another",
			path, name);
	(void)snprintf(tmp, sizeof(tmp), ".%s.%d", name, (int)getpid());
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	if (fd < 0)
		return msb_err_set(e, errno, "cannot write in %s: %m", path);
	r = msb_write_full(fd, s->buf, s->len);
	if (r == 0 && fchmod(fd, 0755) < 0)
		r = -errno;
	/* link() does not replace what has come meanwhile, rename() does. */
	if (r == 0 &&
		(there == 1 ? renameat(dir, tmp, dir, name) : linkat(dir, tmp, dir, name, 0)) < 0)
		r = -errno;
	if (r < 0 || there != 1)
		(void)unlinkat(dir, tmp, 0);
	return r < 0 ? msb_err_set(e, -r, "cannot make %s/%s: %s", path, name, strerror(-r)) : 0;
}

/* Whether PATH leads there. */
static bool on_path(const char *dir)
{
	const char *path = getenv("PATH");
	size_t n = strlen(dir);

	for (const char *p = path ?: ""; *p;) {
		size_t k = strcspn(p, ":");

		if (k == n && strncmp(p, dir, n) == 0)
			return true;
		p += k + (p[k] == ':');
	}
	return false;
}

/* What an image is called as a command: the last word of its repository. */
static int name_of(const char *image, struct msb_str *s, struct msb_err *e)
{
	const char *last = strrchr(image, '/') ? strrchr(image, '/') + 1 : image;

	msb_str_addf(s, "%.*s", (int)strcspn(last, ":@"), last);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

static int install(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str dir = MSB_STR_INIT, name = MSB_STR_INIT, text = MSB_STR_INIT;
	_cleanup_close_ int fd = -1;
	struct msb_err e = {0};
	const char *called;
	int r = dir_of(a, &dir, &e);

	if (r == 0 && cli_get(a, "name"))
		msb_str_adds(&name, cli_get(a, "name"));
	else if (r == 0)
		r = name_of(a->word[0], &name, &e);
	called = name.buf ?: "";
	if (r == 0)
		r = command_name(called, &e);
	if (r == 0)
		r = script(a, called, &text, &e);
	if (r < 0)
		return cli_fail(&e);
	if (mnt_dry()) {
		printf("%s", text.buf);
		return 0;
	}
	if (!cli_get(a, "dir"))
		(void)msb_mkdir_p(dir.buf, 0755); /* the open says what is wrong */
	fd = open(dir.buf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? msb_err_set(&e, errno, "cannot open %s: %m", dir.buf)
		   : put(fd, dir.buf, called, &text, &e);
	if (r < 0)
		return cli_fail(&e);
	printf("%s/%s\n", dir.buf, called);
	if (!on_path(dir.buf))
		(void)fprintf(stderr, "msb: %s is not in PATH\n", dir.buf);
	return 0;
}

static int uninstall(const struct cli_args *a)
{
	int status = 0;

	for (size_t i = 0; i < a->n; i++) {
		_cleanup_str_ struct msb_str dir = MSB_STR_INIT;
		_cleanup_close_ int fd = -1;
		struct msb_err e = {0};
		int r = dir_of(a, &dir, &e), ours = -ENOENT;

		if (r == 0)
			r = command_name(a->word[i], &e);
		if (r == 0)
			fd = open(dir.buf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			ours = is_ours(fd, a->word[i]);
		if (r == 0 && ours == -ENOENT)
			r = msb_err_set(&e, ENOENT, "there is no %s/%s", dir.buf, a->word[i]);
		else if (r == 0 && !ours)
			r = msb_err_set(
				&e, EPERM, "`msb install` did not make %s/%s", dir.buf, a->word[i]);
		else if (r == 0 && !mnt_dry() && unlinkat(fd, a->word[i], 0) < 0)
			r = msb_err_set(&e, errno, "cannot remove %s/%s: %m", dir.buf, a->word[i]);
		if (r < 0)
			status = cli_fail(&e);
	}
	return status;
}

#define DIR_OPTION                                                                                 \
	CLI_OPTION(0, "dir", "DIR", "else /usr/local/bin, or ~/.local/bin", .complete = CLI_DIRS)
static const struct cli_option install_options[] = {
	CLI_OPTION(0, "name", "COMMAND", "what it is called; else as the image"),
	CLI_OPTION(0, "tmp", NULL, "each call is a new sandbox, removed at its end"),
	CLI_OPTION('v', "volume", "SOURCE:PATH[:OPTIONS]", "as of `msb run`", .many = true),
	CLI_OPTION('e', "env", "KEY[=VALUE]", "as of `msb run`", .many = true),
	CLI_OPTION(0, "cpus", "N", "as of `msb run`"),
	CLI_OPTION('m', "memory", "BYTES", "as of `msb run`"),
	CLI_OPTION('w', "workdir", "DIR", "as of `msb run`"),
	CLI_OPTION('u', "user", "USER[:GROUP]", "as of `msb run`"),
	DIR_OPTION,
	{0},
};
static const struct cli_option uninstall_options[] = {DIR_OPTION, {0}};

const struct cli_command cli_install_commands[] = {
	CLI_COMMAND("install", NULL, "[OPTION]... IMAGE",
		"Make an image a command: a shell, or what its words say", 1, 1, install_options,
		install, .complete = CLI_IMAGES,
		.about =
			"The command is a script in DIR. Without `--tmp` all calls share one sandbox of the "
			"command's name, which is made by the first and goes on running: without words it "
			"opens a shell there, with words it runs them. With `--tmp` each call has a sandbox "
			"of its own, and the words are arguments of the image's entrypoint or a command.",
		.examples = "# `python` is a command now, in a sandbox that stays\n"
			    "msb install python:3.12\n"
			    "# each call in a new sandbox that sees this user's sources\n"
			    "msb install --tmp --name lint -v ~/src:/src:ro debian",
		.see = "uninstall run exec"),
	CLI_COMMAND("uninstall", NULL, "[OPTION]... COMMAND...",
		"Remove what install has made; sandboxes stay", 1, SIZE_MAX, uninstall_options,
		uninstall,
		.about =
			"Only what `msb install` has made is removed. The sandbox of the command's name "
			"stays; `msb rm -f COMMAND` removes that.",
		.examples = "msb uninstall python", .see = "install rm"),
	{0},
};
