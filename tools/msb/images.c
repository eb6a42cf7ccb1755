// SPDX-License-Identifier: Apache-2.0
// Commands for images.
#include "base/cleanup.h"
#include "fs/image/ref.h"
#include "tools/msb/cli.h"
#include "tools/msb/files.h"
#include "tools/msb/list.h"
#include "tools/msb/progress.h"
#include "tools/msb/secret.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int canonical(const char *text, const char *host, struct msb_str *s, struct msb_err *e)
{
	struct img_ref ref;
	int r = img_ref_parse(text, host, &ref, e);

	if (r < 0)
		return r;
	img_ref_print(&ref, s);
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

/* A line of words for images/ctl. */
static void words(struct msb_str *line, const char *verb, const char *a, const char *b)
{
	msb_str_adds(line, verb);
	for (int i = 0; i < 2; i++)
		if (i ? b : a) {
			msb_str_adds(line, " ");
			mnt_quote(line, i ? b : a);
		}
}

static int simple(const char *verb, const char *a, const char *b)
{
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e);

	words(&line, verb, a, b);
	if (r == 0)
		r = mnt_do(&m, "images/ctl", line.buf ?: "", &e);
	return cli_status(r, &e);
}

/* ---- pull, push */

static int pull(const struct cli_args *a)
{
	struct msb_err e = {0};
	struct progress p;
	struct mnt m;
	int r = mnt_open(&m, &e);

	for (size_t i = 0; r == 0 && i < a->n; i++) {
		_cleanup_str_ struct msb_str name = MSB_STR_INIT, line = MSB_STR_INIT;

		r = canonical(a->word[i], IMG_REF_DEFAULT_HOST, &name, &e);
		words(&line, "pull", name.buf, NULL);
		if (r == 0)
			r = progress_do(
				&m, "pull", name.buf, line.buf, cli_get(a, "quiet"), &p, &e);
		if (r == 0 && !cli_get(a, "quiet") && *p.digest)
			(void)fprintf(stderr, "Digest: %s\n", p.digest);
		if (r == 0)
			printf("%s\n", name.buf);
	}
	return cli_status(r, &e);
}

static int push(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;
	struct msb_err e = {0};
	struct progress p;
	struct mnt m;
	int r = mnt_open(&m, &e);

	words(&line, "push", a->word[0], a->word[1]);
	if (r == 0)
		r = progress_do(&m, "push", NULL, line.buf ?: "", cli_get(a, "quiet"), &p, &e);
	if (r == 0)
		printf("%s\n", p.digest);
	return cli_status(r, &e);
}

/* ---- names */

static int rmi(const struct cli_args *a)
{
	int status = 0;

	for (size_t i = 0; i < a->n; i++) {
		int one = simple("rm", a->word[i], NULL);

		if (one == 0)
			printf("Untagged: %s\n", a->word[i]);
		else
			status = one;
	}
	return status;
}

static int tag(const struct cli_args *a)
{
	return simple("tag", a->word[0], a->word[1]);
}

/* ---- archives */

/* What a dry run shows where an archive is on stdin or stdout: descriptors of ours are nobody
 * else's, so sh makes a file, or shows its own. @name is the reference, canonical in its
 * letters: it needs no quotes. */
static int by_stream(const struct mnt *m, const char *name, bool in)
{
	_cleanup_str_ struct msb_str ctl = MSB_STR_INIT;

	mnt_word(m, "images/ctl", &ctl);
	if (in)
		mnt_say("f=$(mktemp); cat >\"$f\"; echo \"import $f %s\" > %s; rm -f \"$f\"", name,
			ctl.buf ?: "");
	else
		mnt_say("sh -c 'exec 3>&1; echo \"export /proc/$$/fd/3 $1\" >\"$2\"' sh %s %s | cat",
			name, ctl.buf ?: "");
	return 0;
}

static int load(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT, line = MSB_STR_INIT, name = MSB_STR_INIT;
	const char *input = cli_get(a, "input");
	_cleanup_close_ int fd = -1;
	struct msb_err e = {0};
	struct progress p;
	struct mnt m;
	int r = mnt_open(&m, &e);

	if (r == 0 && !input && !a->word[0])
		return cli_fail_usage(a->command, "what comes from stdin wants a NAME");
	if (r == 0 && !input && mnt_dry())
		r = canonical(a->word[0], IMG_REF_LOCAL_HOST, &name, &e)
			    ?: by_stream(&m, name.buf, true);
	if (r < 0 || (!input && mnt_dry()))
		return cli_status(r, &e);
	if (r == 0 && input)
		r = mnt_absolute(input, &path, &e);
	if (r == 0 && !input) {
		fd = files_from_stdin(&path, &e);
		r = fd < 0 ? fd : 0;
	}
	if (r == 0)
		r = a->word[0] ? (msb_str_adds(&name, a->word[0]), 0)
			       : files_name_of(path.buf, &name, &e);
	words(&line, "import", path.buf ?: "", name.buf ?: "");
	if (r == 0)
		r = progress_do(&m, "import", NULL, line.buf, cli_get(a, "quiet"), &p, &e);
	if (r == 0)
		printf("Loaded image: %s\n", name.buf);
	return cli_status(r, &e);
}

static int save(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT, line = MSB_STR_INIT;
	const char *output = cli_get(a, "output");
	struct files_pipe out = FILES_NO_PIPE;
	struct msb_err e = {0};
	struct progress p;
	struct mnt m;
	int r = mnt_open(&m, &e), k;

	if (r == 0 && !output && isatty(STDOUT_FILENO))
		return cli_fail_usage(
			a->command, "an archive is not for a terminal; -o FILE, or a pipe");
	if (r == 0 && !output && mnt_dry())
		r = canonical(a->word[0], IMG_REF_LOCAL_HOST, &line, &e)
			    ?: by_stream(&m, a->word[0], false);
	if (r < 0 || (!output && mnt_dry()))
		return cli_status(r, &e);
	if (r == 0)
		r = output ? mnt_absolute(output, &path, &e) : files_to_stdout(&out, &path, &e);
	words(&line, "export", path.buf ?: "", a->word[0]);
	/* What is on stdout leaves no room for bars of a terminal that reads it. */
	if (r == 0)
		r = progress_do(&m, "export", NULL, line.buf, cli_get(a, "quiet"), &p, &e);
	k = files_pipe_end(&out, r < 0 ? NULL : &e);
	return cli_status(r < 0 ? r : k, &e);
}

/* ---- logins */

static int login(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str user = MSB_STR_INIT, path = MSB_STR_INIT, line = MSB_STR_INIT;
	const char *host = a->word[0] ?: IMG_REF_DEFAULT_HOST;
	char secret[SECRET_MAX + 2];
	struct msb_err e = {0};
	struct mnt m;
	int r = mnt_open(&m, &e);

	if (r == 0)
		r = secret_user(cli_get(a, "username"), &user, &e);
	if (r == 0)
		r = secret_read(cli_get(a, "password-stdin"), secret, &e);
	if (r < 0)
		return cli_status(r, &e);
	words(&line, "login", host, user.buf);
	r = mnt_do(&m, "images/ctl", line.buf ?: "", &e);
	msb_str_addf(&path, "images/logins/%s", host);
	for (char *c = path.buf; c && *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	if (r == 0)
		r = secret_write(&m, path.buf ?: "", secret, &e);
	explicit_bzero(secret, sizeof(secret));
	if (r == 0)
		printf("Kept the login at %s; the next pull or push uses it\n", host);
	return cli_status(r, &e);
}

static int logout(const struct cli_args *a)
{
	return simple("logout", a->word[0] ?: IMG_REF_DEFAULT_HOST, NULL);
}

/* ---- the store */

static int prune(const struct cli_args *a)
{
	char answer[8] = "";
	struct msb_err e;

	if (!cli_get(a, "force") && !mnt_dry()) {
		(void)fprintf(
			stderr, "This removes every image that no sandbox uses. Go on? [y/N] ");
		if (!fgets(answer, sizeof(answer), stdin))
			(void)fputc('\n', stderr);
		if (answer[0] != 'y' && answer[0] != 'Y') {
			msb_err_set(&e, ECANCELED, "%s",
				*answer ? "nothing was removed"
					: "nobody said yes, and nothing was removed; `msb prune -f` "
					  "does not ask");
			return cli_fail(&e);
		}
	}
	return simple("prune", NULL, NULL);
}

static int verify(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str line = MSB_STR_INIT;
	struct msb_err e = {0};
	struct progress p;
	struct mnt m;
	int r = mnt_open(&m, &e);

	words(&line, "verify", a->word[0], NULL);
	if (r == 0)
		r = progress_do(&m, "verify", NULL, line.buf ?: "", cli_get(a, "quiet"), &p, &e);
	if (r == -EBADMSG) {
		(void)cli_fail(&e);
		return 1; /* that is the answer, not a failure to give one */
	}
	return cli_status(r, &e);
}

static int images(const struct cli_args *a)
{
	const int json = cli_json(a);
	const struct list_how how = {.only = a->word[0],
		.json = json > 0,
		.quiet = cli_get(a, "quiet"),
		.whole = cli_get(a, "no-trunc")};
	struct msb_err e = {0};
	struct mnt m;
	int r;

	if (json < 0)
		return CLI_FAILED;
	r = mnt_open(&m, &e);
	if (r == 0)
		r = list_images(&m, &how, &e);
	return cli_status(r, &e);
}

/* ---- the table */

#define QUIET CLI_OPTION('q', "quiet", NULL, "show no progress")
static const struct cli_option quiet[] = {QUIET, {0}};
static const struct cli_option load_options[] = {
	CLI_OPTION('i', "input", "FILE", "an archive or an OCI layout; else stdin",
		.complete = CLI_FILES),
	QUIET, {0}};
static const struct cli_option save_options[] = {
	CLI_OPTION('o', "output", "FILE", "where the archive goes; else stdout",
		.complete = CLI_FILES),
	QUIET, {0}};
static const struct cli_option images_options[] = {
	CLI_OPTION('q', "quiet", NULL, "digests alone"),
	CLI_OPTION(0, "no-trunc", NULL, "whole digests"),
	CLI_OPTION(0, "format", "FORMAT", "table, or json: an object a line",
		.complete = "table json"),
	{0},
};
static const struct cli_option login_options[] = {
	CLI_OPTION('u', "username", "USER", "else it is asked for"),
	CLI_OPTION(0, "password-stdin", NULL, "the secret is the first line of stdin"),
	{0},
};
static const struct cli_option prune_options[] = {
	CLI_OPTION('f', "force", NULL, "do not ask"),
	{0},
};

const struct cli_command cli_image_commands[] = {
	CLI_COMMAND("pull", NULL, "[OPTION]... REF...", "Fetch images from their registries", 1,
		SIZE_MAX, quiet, pull, .complete = CLI_IMAGES,
		.about =
			"A REF without a host is docker.io's, one without a tag `:latest`; `@sha256:` and a "
			"digest is one image for ever. What is here already is not fetched again. Mirrors "
			"and registries with a certificate of their own: `images/registries` in the control "
			"tree.",
		.examples = "msb pull python:3.12\n"
			    "msb pull -q ghcr.io/me/tool:1 debian",
		.see = "images login run"),
	CLI_COMMAND("push", NULL, "[OPTION]... REF [AS]", "Put an image into a registry", 1, 2,
		quiet, push, .complete = CLI_IMAGES,
		.about =
			"It goes to the registry of its own name, or of AS. The digest is printed.",
		.examples = "msb tag tool ghcr.io/me/tool:1\n"
			    "msb push ghcr.io/me/tool:1",
		.see = "login tag pull"),
	CLI_COMMAND("images", "image-ls", "[OPTION]... [REF]", "List images", 0, 1, images_options,
		images, .complete = CLI_IMAGES, .about = "All, or those that REF names.",
		.examples = "msb images\n"
			    "msb images --format json debian | jq .size_bytes",
		.see = "pull rmi verify"),
	CLI_COMMAND("rmi", NULL, "REF...", "Take names of images away", 1, SIZE_MAX, NULL, rmi,
		.complete = CLI_IMAGES,
		.about =
			"What no other name and no sandbox needs is deleted with it. A name that a sandbox "
			"uses is refused.",
		.examples = "msb rmi debian\n"
			    "msb rmi python:3.11 python:3.10",
		.see = "images prune"),
	CLI_COMMAND("tag", NULL, "REF NEW", "Give an image one more name", 2, 2, NULL, tag,
		.complete = CLI_IMAGES,
		.about = "A NEW that names another image already is taken from that.",
		.examples = "msb tag debian base:1", .see = "images push"),
	CLI_COMMAND("load", "import", "[OPTION]... [NAME]", "Take in an image from an archive", 0,
		1, load_options, load,
		.about =
			"An OCI layout (a directory), an OCI archive or what `docker save` has written. "
			"Without NAME it is called as its file; from stdin it needs one.",
		.examples =
			"msb load -i debian.tar\n"
			"docker save python:3.12 | msb load python:3.12\n"
			"skopeo copy docker://alpine oci-archive:alpine.tar && msb load -i alpine.tar",
		.see = "save pull images"),
	CLI_COMMAND("save", "export", "[OPTION]... REF", "Write an image as an OCI archive", 1, 1,
		save_options, save, .complete = CLI_IMAGES,
		.about = "docker, podman and skopeo take it.",
		.examples = "msb save -o debian.tar debian\n"
			    "msb save debian | podman load",
		.see = "load push"),
	CLI_COMMAND("login", NULL, "[OPTION]... [REGISTRY]", "Keep who you are at a registry", 0, 1,
		login_options, login,
		.about =
			"The secret, a password or a token, is asked for, or is the first line of stdin; it "
			"is kept for you alone, readable by msbd, and is given to that registry and to "
			"nobody else. Without a login those of docker (~/.docker/config.json, credential "
			"helpers) are used. REGISTRY is docker.io where none is said.",
		.examples = "msb login -u me ghcr.io\n"
			    "msb login -u me --password-stdin ghcr.io < token",
		.see = "logout pull push"),
	CLI_COMMAND("logout", NULL, "[REGISTRY]", "Forget a login", 0, 1, NULL, logout,
		.about =
			"The login that `msb login` has kept for a registry, docker.io where none is said.",
		.examples = "msb logout ghcr.io", .see = "login"),
	CLI_COMMAND("verify", NULL, "[OPTION]... [REF]",
		"Read and hash what an image, or all, is made of", 0, 1, quiet, verify,
		.complete = CLI_IMAGES,
		.about =
			"Every byte that the image, or without REF the store, is made of is read and "
			"compared with its digest. What is damaged is put right by the next `msb pull` or "
			"`msb load` of that image.",
		.status = "1 where something is damaged.", .examples = "msb verify debian",
		.see = "images pull"),
	CLI_COMMAND("prune", NULL, "[OPTION]...", "Remove every image that no sandbox uses", 0, 0,
		prune_options, prune,
		.about = "It asks first, unless `-f` is given. Sandboxes and volumes stay.",
		.examples = "msb prune -f", .see = "rmi rm"),
	{0},
};
