// SPDX-License-Identifier: Apache-2.0
// What docker's options say, in the syntax of the control tree's files.
#include "tools/msb/spec.h"
#include "base/cleanup.h"
#include "tools/msb/mnt.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void spec_bytes(const char *text, struct msb_str *s)
{
	size_t n = strspn(text, "0123456789");
	const char *unit = text + n;
	char letter = (char)toupper((unsigned char)*unit);

	if (n && letter && strchr("BKMGT", letter) &&
		(!unit[1] || (letter != 'B' && (!strcasecmp(unit + 1, "b") ||
						       !strcasecmp(unit + 1, "ib"))))) {
		msb_str_add(s, text, n);
		msb_str_add(s, &letter, letter != 'B');
	} else {
		msb_str_adds(s, text);
	}
}

void spec_seconds(const char *text, struct msb_str *s)
{
	unsigned long long sum = 0;
	const char *p = text;

	while (*p) {
		char *end;
		unsigned long long n = strtoull(p, &end, 10);

		if (end == p || !isdigit((unsigned char)*p) || n > 1000000000)
			break;
		sum += *end == 'h' ? n * 3600 : *end == 'm' && end[1] != 's' ? n * 60 : n;
		p = *end && strchr("hms", *end) ? end + 1 : end;
		/* Milliseconds and less are not what a file in seconds can say. */
		if (*end && (!strchr("hms", *end) || (*end == 'm' && end[1] == 's')))
			break;
	}
	if (*p || !*text)
		msb_str_adds(s, text);
	else
		msb_str_addf(s, "%llu", sum);
}

static void limit(struct msb_str *s, const char *p, size_t n)
{
	if (n == 2 && !strncmp(p, "-1", 2))
		msb_str_adds(s, "unlimited");
	else
		msb_str_add(s, p, n);
}

int spec_ulimit(const char *text, struct msb_str *s, struct msb_err *e)
{
	const char *eq = strchr(text, '='), *colon;

	if (!eq || eq == text || !eq[1])
		return msb_err_set(e, EINVAL, "a limit is NAME=SOFT[:HARD], not `%.100s`", text);
	colon = strchrnul(eq + 1, ':');
	msb_str_addf(s, "%.*s ", (int)(eq - text), text);
	limit(s, eq + 1, (size_t)(colon - eq - 1));
	msb_str_adds(s, ":");
	if (*colon)
		limit(s, colon + 1, strlen(colon + 1));
	else
		limit(s, eq + 1, (size_t)(colon - eq - 1));
	return 0;
}

/* Options of a comma list, those that mean nothing here left out; sizes as msbd has them. */
static void options(struct msb_str *s, const char *list)
{
	static const char *const nothing[] = {"rw", "z", "Z", "cached", "delegated", "consistent",
		"nocopy", "rprivate", "exec", "suid", "dev", ""};
	bool first = true;

	while (*list) {
		size_t n = strcspn(list, ",");
		bool skip = false;

		for (size_t i = 0; i < ARRAY_LEN(nothing); i++)
			skip |= strlen(nothing[i]) == n && !strncmp(list, nothing[i], n);
		if (!skip) {
			char one[256];

			(void)snprintf(one, sizeof(one), "%.*s", (int)n, list);
			msb_str_adds(s, first ? " " : ",");
			if (!strncmp(one, "size=", 5)) {
				msb_str_adds(s, "size=");
				spec_bytes(one + 5, s);
			} else {
				mnt_quote(s, one);
			}
			first = false;
		}
		list += n + (list[n] == ',');
	}
}

void spec_tmpfs(const char *text, struct msb_str *s)
{
	_cleanup_free_ char *path = strndup(text, strcspn(text, ":"));

	mnt_quote(s, path ?: "");
	if (strchr(text, ':'))
		options(s, strchr(text, ':') + 1);
}

/* `SOURCE GUEST-PATH BACKEND`, the source as msbd takes it. */
static int source(
	struct msb_str *s, const char *src, const char *dst, const char *backend, struct msb_err *e)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	const char *home = getenv("HOME");
	bool dir = !strcmp(backend, "passthrough") || !strcmp(backend, "plugin");
	int r = 0;

	if (dir && *src == '~' && (src[1] == '/' || !src[1]) && home)
		msb_str_addf(&path, "%s%s", home, src + 1);
	else if (dir && strncmp(src, "volume:", 7) != 0)
		r = mnt_absolute(src, &path, e);
	else
		msb_str_adds(&path, src);
	if (r < 0)
		return r;
	mnt_quote(s, path.buf ?: "");
	msb_str_adds(s, " ");
	mnt_quote(s, dst);
	msb_str_addf(s, " %s", backend);
	return s->oom || path.oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

int spec_volume(const char *text, bool disk, struct msb_str *s, struct msb_err *e)
{
	_cleanup_str_ struct msb_str src = MSB_STR_INIT;
	_cleanup_free_ char *copy = strdup(text);
	char *dst = copy ? strchr(copy, ':') : NULL, *opts;
	int r;

	if (!dst || dst == copy || dst[1] != '/')
		return msb_err_set(e, EINVAL,
			"a volume is SOURCE:GUEST-PATH[:OPTIONS], the path absolute; not `%.200s`",
			text);
	*dst++ = '\0';
	opts = strchr(dst, ':');
	if (opts)
		*opts++ = '\0';
	/* A name is a volume's; a directory of that name is ./NAME, as docker has it. */
	if (*copy == '/' || *copy == '.' || *copy == '~' || strchr(copy, '/'))
		msb_str_adds(&src, copy);
	else
		msb_str_addf(&src, "volume:%s", copy);
	r = source(s, src.buf ?: "", dst, disk ? "disk" : "passthrough", e);
	if (r == 0 && opts)
		options(s, opts);
	return r;
}

struct mount_words {
	char type[32];
	const char *src, *dst;
	struct msb_str opts;
};

static void mount_word(struct mount_words *w, char *word)
{
	char *eq = strchr(word, '='), *value = eq ? eq + 1 : NULL;
	size_t n = eq ? (size_t)(eq - word) : strlen(word);
	static const struct {
		const char *word;
		char as;
	} names[] = {{"type", 't'}, {"src", 's'}, {"source", 's'}, {"dst", 'd'},
		{"destination", 'd'}, {"target", 'd'}, {"readonly", 'r'}, {"ro", 'r'},
		{"tmpfs-size", 'z'}, {"tmpfs-mode", 'm'}};
	char as = 0;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i].word) == n && !strncmp(names[i].word, word, n))
			as = names[i].as;
	if (as == 't' && value)
		(void)snprintf(w->type, sizeof(w->type), "%s", value);
	else if (as == 's' && value)
		w->src = value;
	else if (as == 'd' && value)
		w->dst = value;
	else if (as == 'r' && (!value || !strcmp(value, "true") || !strcmp(value, "1")))
		msb_str_adds(&w->opts, "ro,");
	else if (as == 'z' && value)
		msb_str_addf(&w->opts, "size=%s,", value);
	else if (as == 'm' && value)
		msb_str_addf(&w->opts, "mode=%s,", value);
	else if (as != 'r')
		msb_str_addf(&w->opts, "%s,", word);
}

int spec_mount(const char *text, bool *tmpfs, struct msb_str *s, struct msb_err *e)
{
	struct mount_words w = {.type = "volume"};
	_cleanup_free_ char *copy = strdup(text);
	_cleanup_str_ struct msb_str src = MSB_STR_INIT;
	char *save = NULL;
	int r = 0;

	for (char *word = copy ? strtok_r(copy, ",", &save) : NULL; word;
		word = strtok_r(NULL, ",", &save))
		mount_word(&w, word);
	*tmpfs = !strcmp(w.type, "tmpfs");
	if (!strcmp(w.type, "bind"))
		(void)snprintf(w.type, sizeof(w.type), "passthrough");
	if (!w.dst || (!w.src && !*tmpfs && strcmp(w.type, "memory") != 0))
		r = msb_err_set(e, EINVAL,
			"a mount is type=TYPE,src=SOURCE,dst=GUEST-PATH[,OPTION...]; not `%.200s`",
			text);
	if (r == 0 && *tmpfs) {
		mnt_quote(s, w.dst);
	} else if (r == 0) {
		bool volume = !strcmp(w.type, "volume"), disk = !strcmp(w.type, "disk");

		msb_str_addf(&src, "%s%s", volume || disk ? "volume:" : "", w.src ?: "none");
		r = source(s, src.buf ?: "", w.dst, volume ? "passthrough" : w.type, e);
	}
	if (r == 0)
		options(s, w.opts.buf ?: "");
	msb_str_done(&w.opts);
	return r;
}

int spec_argv(char *const *words, struct msb_str *s, struct msb_err *e)
{
	msb_str_adds(s, "[");
	for (size_t i = 0; words[i]; i++) {
		if (!msb_utf8_valid(words[i], strlen(words[i])))
			return msb_err_set(e, EILSEQ, "word %zu of the command is no UTF-8", i + 1);
		msb_str_adds(s, i ? ", " : "");
		msb_str_add_json(s, words[i], strlen(words[i]));
	}
	msb_str_adds(s, "]");
	return s->oom ? msb_err_set(e, ENOMEM, "no memory") : 0;
}

void spec_name(uint32_t number, char ret[64])
{
	static const char *const first[] = {"amber", "bold", "brave", "brisk", "calm", "clear",
		"clever", "cosy", "crisp", "deft", "eager", "early", "fair", "fine", "fond",
		"gentle", "glad", "golden", "grand", "green", "happy", "hardy", "keen", "kind",
		"light", "lively", "lucky", "merry", "mild", "neat", "noble", "plain", "proud",
		"quick", "quiet", "rapid", "ready", "sharp", "shiny", "silent", "smart", "snug",
		"solid", "steady", "sunny", "swift", "tidy", "witty"};
	static const char *const second[] = {"alder", "badger", "beech", "birch", "bison", "brook",
		"cedar", "cliff", "crane", "crow", "dune", "eagle", "elm", "falcon", "fern",
		"finch", "fox", "hare", "heron", "hill", "ibis", "jay", "lake", "larch", "lark",
		"lynx", "maple", "marten", "meadow", "moss", "oak", "otter", "owl", "pine", "quail",
		"raven", "reed", "ridge", "robin", "rowan", "seal", "sparrow", "spruce", "swan",
		"thrush", "vole", "willow", "wren"};

	(void)snprintf(ret, 64, "%s-%s-%u", first[number % ARRAY_LEN(first)],
		second[number / ARRAY_LEN(first) % ARRAY_LEN(second)],
		number / (unsigned int)(ARRAY_LEN(first) * ARRAY_LEN(second)) % 1000);
}
