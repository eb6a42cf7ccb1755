// SPDX-License-Identifier: Apache-2.0
// What could be typed next, and the scripts by which shells ask for it.
#include "tools/msb/complete.h"
#include "base/cleanup.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* ---- candidates */

struct asked {
	const char *part;   /* what is there of the word */
	const char *before; /* what of it stays as it is: `--name=` */
	struct msb_str *s;
};

static void offer(const struct asked *a, const char *word, const char *what)
{
	if (strncmp(word, a->part, strlen(a->part)) != 0)
		return;
	msb_str_addf(a->s, "%s%s", a->before, word);
	msb_str_addf(a->s, *what ? "\t%s\n" : "\n", what);
}

/* @dir has a file called @has in each directory that counts. */
static void offer_dirs(const struct asked *a, const struct mnt *m, const char *dir, const char *has)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;

	if (mnt_list(m, dir, DT_DIR, &names, NULL) < 0)
		return;
	for (const char *p = names.buf; p && *p; p += strlen(p) + 1) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;
		char path[600];

		(void)snprintf(path, sizeof(path), "%s%s%s/%s", dir, *dir ? "/" : "", p, has);
		if (faccessat(m->fd, path, F_OK, 0) < 0)
			continue;
		(void)mnt_peek(m, path, &s); /* where it cannot be read, the name alone */
		offer(a, p, !strcmp(has, "state") ? s.buf ?: "" : "");
	}
}

/* By their short names; below a slash as directories are. */
static void offer_images(const struct asked *a, const struct mnt *m)
{
	_cleanup_str_ struct msb_str names = MSB_STR_INIT;
	const char *slash = strrchr(a->part, '/');
	int n = slash ? (int)(slash + 1 - a->part) : 0;
	char dir[600];

	(void)snprintf(dir, sizeof(dir), "images/%.*s", n, a->part);
	if (mnt_list(m, dir, n ? DT_DIR : DT_LNK, &names, NULL) < 0)
		return;
	for (const char *p = names.buf; p && *p; p += strlen(p) + 1) {
		char word[600];

		(void)snprintf(word, sizeof(word), "%.*s%s%s", n, a->part, p,
			n && !strpbrk(p, ":@") ? "/" : "");
		offer(a, word, "");
	}
}

static void offer_commands(const struct asked *a)
{
	for (const struct cli_group *g = cli_groups; g->commands; g++)
		for (const struct cli_command *c = g->commands; c->name; c++)
			offer(a, c->name, c->summary);
}

static void offer_options(const struct asked *a, const struct cli_option *o, bool all)
{
	for (; o && o->name; o++) {
		char word[64];

		(void)snprintf(word, sizeof(word), "--%s", o->name);
		if (all || strcmp(o->name, "host") != 0)
			offer(a, word, o->help);
	}
}

static void offer_values(const struct asked *a, const char *complete)
{
	_cleanup_free_ char *words = NULL;
	char *save = NULL;
	struct mnt m;

	if (!complete)
		return;
	if (!strcmp(complete, CLI_FILES) || !strcmp(complete, CLI_DIRS)) {
		msb_str_addf(a->s, ":%s\n", complete + 1);
	} else if (!strcmp(complete, CLI_COMMANDS)) {
		offer_commands(a);
	} else if (*complete == '@') {
		if (mnt_open(&m, NULL) < 0)
			return;
		if (!strcmp(complete, CLI_SANDBOXES))
			offer_dirs(a, &m, "", "state");
		else if (!strcmp(complete, CLI_IMAGES))
			offer_images(a, &m);
		else if (!strcmp(complete, CLI_VOLUMES))
			offer_dirs(a, &m, "volumes", "used_by");
		close(m.fd);
	} else {
		words = strdup(complete);
		for (char *w = words ? strtok_r(words, " ", &save) : NULL; w;
			w = strtok_r(NULL, " ", &save))
			offer(a, w, "");
	}
}

/* ---- where the word is */

/* The option whose value comes after this word, or NULL. */
static const struct cli_option *wants_value(const struct cli_command *c, const char *word)
{
	const struct cli_option *tables[] = {c ? c->options : NULL, cli_globals};

	if (word[0] != '-' || !word[1])
		return NULL;
	if (word[1] == '-') {
		const struct cli_option *o;

		for (size_t t = 0; t < ARRAY_LEN(tables); t++)
			for (o = tables[t]; o && o->name; o++)
				if (!strcmp(o->name, word + 2))
					return o->arg ? o : NULL;
		return NULL;
	}
	for (const char *p = word + 1; *p; p++) {
		const struct cli_option *found = NULL;

		for (size_t t = 0; t < ARRAY_LEN(tables) && !found; t++)
			for (const struct cli_option *o = tables[t]; o && o->name && !found; o++)
				found = o->key == *p ? o : NULL;
		if (!found)
			return NULL;
		if (found->arg)
			return p[1] ? NULL : found; /* what follows at once is the value */
	}
	return NULL;
}

void complete_words(char *const *words, struct msb_str *s)
{
	const struct cli_option *value = NULL;
	const struct cli_command *c = NULL;
	struct asked a = {.before = "", .s = s};
	bool ended = false;
	size_t n = 0;
	const char *eq;

	if (!*words)
		return;
	for (; words[1]; words++) {
		if (value) {
			value = NULL;
		} else if (!ended && !strcmp(*words, "--")) {
			ended = true;
		} else if (!ended && **words == '-' && (*words)[1]) {
			value = wants_value(c, *words);
		} else if (!c) {
			c = cli_find(cli_groups, *words);
			if (!c)
				return;
		} else {
			n++;
			ended |= c->word_ends;
		}
	}
	a.part = *words;
	eq = strchr(a.part, '=');
	if (value) {
		offer_values(&a, value->complete);
	} else if (!ended && !strncmp(a.part, "--", 2) && eq) {
		_cleanup_free_ char *name = strndup(a.part, (size_t)(eq - a.part)),
				    *before = strndup(a.part, (size_t)(eq + 1 - a.part));

		value = name ? wants_value(c, name) : NULL;
		a.part = eq + 1;
		a.before = before ?: "";
		offer_values(&a, value ? value->complete : NULL);
	} else if (!ended && *a.part == '-') {
		offer_options(&a, c ? c->options : NULL, true);
		offer_options(&a, cli_globals, !c);
		offer(&a, "--help", "print this");
	} else if (!c) {
		offer_commands(&a);
	} else if (c->word_ends && n > 0) {
		msb_str_adds(s, ":file\n"); /* another program's words */
	} else if (n < c->max) {
		offer_values(&a, c->complete);
	}
}

/* ---- scripts */

/* clang-format off */
static const char bash[] =
	"# bash completion of msb: what there is to say comes from `msb __complete`.\n"
	"_msb() {\n"
	"\tlocal last=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]} i=$COMP_CWORD k line word typed='' glue=''\n"
	"\tlocal -a words=()\n"
	"\tlast=${last##*[[:space:]]}\n"
	"\t# bash takes words apart at = and :, which msb does not\n"
	"\twhile [[ -n $last && $typed != \"$last\" && $i -gt 0 ]]; do\n"
	"\t\ttyped=${COMP_WORDS[i]}$typed\n"
	"\t\t((i--))\n"
	"\tdone\n"
	"\t[[ -n $last && $typed == \"$last\" ]] || { i=$((COMP_CWORD - 1)) last=$cur; }\n"
	"\tfor ((k = 1; k <= i; k++)); do\n"
	"\t\tword=${COMP_WORDS[k]}\n"
	"\t\tif [[ ${#words[@]} -gt 0 && (-n $glue || $word == [=:]*) ]]; then\n"
	"\t\t\twords[-1]+=$word\n"
	"\t\telse\n"
	"\t\t\twords+=(\"$word\")\n"
	"\t\tfi\n"
	"\t\tglue=''\n"
	"\t\t[[ $word != [=:]* ]] || glue=1\n"
	"\tdone\n"
	"\tlocal cut=${last%\"$cur\"}\n"
	"\t[[ $cur != [=:] ]] || cut=$last\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS= read -r line; do\n"
	"\t\tword=${line%%$'\\t'*}\n"
	"\t\tcase $word in\n"
	"\t\t:file | :dir)\n"
	"\t\t\tcompopt -o filenames\n"
	"\t\t\tk=-f\n"
	"\t\t\t[[ $word == :file ]] || k=-d\n"
	"\t\t\tmapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen $k -- \"${last#\"$cut\"}\")\n"
	"\t\t\t;;\n"
	"\t\t*)\n"
	"\t\t\tCOMPREPLY+=(\"${word#\"$cut\"}\")\n"
	"\t\t\t[[ $word != *[=/] ]] || compopt -o nospace\n"
	"\t\t\t;;\n"
	"\t\tesac\n"
	"\tdone < <(\"${COMP_WORDS[0]}\" __complete \"${words[@]}\" \"$last\" 2>/dev/null)\n"
	"}\n"
	"complete -F _msb msb\n";

static const char zsh[] =
	"#compdef msb\n"
	"# zsh completion of msb: what there is to say comes from `msb __complete`.\n"
	"_msb() {\n"
	"	local line word what\n"
	"	local -a plain half\n"
	"	for line in \"${(@f)$(${words[1]} __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
	"		word=${line%%$'\\t'*}\n"
	"		what=${line#*$'\\t'}\n"
	"		[[ $what != \"$line\" ]] || what=\n"
	"		case $word in\n"
	"		'') ;;\n"
	"		:file) compset -P '--*='; _files ;;\n"
	"		:dir) compset -P '--*='; _files -/ ;;\n"
	"		*[=/]) half+=(\"${word//:/\\\\:}${what:+:$what}\") ;;\n"
	"		*) plain+=(\"${word//:/\\\\:}${what:+:$what}\") ;;\n"
	"		esac\n"
	"	done\n"
	"	(( $#plain )) && _describe msb plain\n"
	"	(( $#half )) && _describe msb half -S ''\n"
	"	return 0\n"
	"}\n"
	"if [ \"$funcstack[1]\" = _msb ]; then _msb \"$@\"; else compdef _msb msb; fi\n";

static const char fish[] =
	"# fish completion of msb: what there is to say comes from `msb __complete`.\n"
	"function __msb_complete\n"
	"	set -l words (commandline -opc)\n"
	"	set -l last (commandline -ct)\n"
	"	for line in ($words[1] __complete $words[2..-1] \"$last\" 2>/dev/null)\n"
	"		switch $line\n"
	"			case :file\n"
	"				__fish_complete_path (string replace -r '^--[^=]*=' '' -- \"$last\")\n"
	"			case :dir\n"
	"				__fish_complete_directories (string replace -r '^--[^=]*=' '' -- \"$last\") ''\n"
	"			case '*'\n"
	"				printf '%s\\n' $line\n"
	"		end\n"
	"	end\n"
	"end\n"
	"complete -c msb -f -a '(__msb_complete)'\n";
/* clang-format on */

static int completion(const struct cli_args *a)
{
	static const struct {
		const char *shell, *script;
	} table[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (!strcmp(a->word[0], table[i].shell)) {
			printf("%s", table[i].script);
			return 0;
		}
	return cli_fail_usage(a->command, "there are scripts for bash, zsh and fish");
}

const struct cli_command cli_completion_commands[] = {
	CLI_COMMAND("completion", NULL, "bash|zsh|fish", "Print what makes a shell complete msb", 1,
		1, NULL, completion, .complete = "bash zsh fish",
		.about =
			"`make install` and the package put it where each shell looks; this is for "
			"everywhere else. It completes the names of sandboxes, images and volumes as they "
			"are at the time.",
		.examples = "# in ~/.bashrc\n"
			    "source <(msb completion bash)\n"
			    "# for fish\n"
			    "msb completion fish > ~/.config/fish/completions/msb.fish"),
	{0},
};
