// SPDX-License-Identifier: Apache-2.0
// An image's `meta` file.
#include "ctl/meta.h"
#include "base/cleanup.h"
#include "base/str.h"

#include <string.h>

struct in {
	const char *p, *end;
};

static void space(struct in *in)
{
	while (in->p < in->end && (*in->p == ' ' || *in->p == '\t' || *in->p == '\r'))
		in->p++;
}

static int hex4(struct in *in, uint32_t *ret)
{
	uint32_t v = 0;

	if (in->end - in->p < 4)
		return -EBADMSG;
	for (int i = 0; i < 4; i++) {
		char c = *in->p++;

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v << 4 | (uint32_t)((c | 32) - 'a' + 10);
		else
			return -EBADMSG;
	}
	*ret = v;
	return 0;
}

/* \uXXXX, with its low surrogate where it is a high one. */
static int unicode(struct in *in, struct msb_str *s)
{
	uint32_t c, lo;
	char b[4];
	size_t n = 0;

	if (hex4(in, &c) < 0)
		return -EBADMSG;
	if (c >= 0xd800 && c <= 0xdbff) {
		if (in->end - in->p < 6 || in->p[0] != '\\' || in->p[1] != 'u')
			return -EBADMSG;
		in->p += 2;
		if (hex4(in, &lo) < 0 || lo < 0xdc00 || lo > 0xdfff)
			return -EBADMSG;
		c = 0x10000 + ((c - 0xd800) << 10) + (lo - 0xdc00);
	} else if (c >= 0xdc00 && c <= 0xdfff) {
		return -EBADMSG;
	}
	if (c < 0x80) {
		b[n++] = (char)c;
	} else if (c < 0x800) {
		b[n++] = (char)(0xc0 | c >> 6);
	} else if (c < 0x10000) {
		b[n++] = (char)(0xe0 | c >> 12);
		b[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	} else {
		b[n++] = (char)(0xf0 | c >> 18);
		b[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		b[n++] = (char)(0x80 | (c >> 6 & 0x3f));
	}
	if (c >= 0x80)
		b[n++] = (char)(0x80 | (c & 0x3f));
	msb_str_add(s, b, n);
	return 0;
}

/* A JSON string, of one line or of @lines; *ret is the caller's. */
static int string(struct in *in, bool lines, char **ret)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	space(in);
	if (in->p == in->end || *in->p++ != '"')
		return -EBADMSG;
	while (in->p < in->end && *in->p != '"') {
		const char *hit;

		if (*in->p != '\\') {
			msb_str_add(&s, in->p++, 1);
			continue;
		}
		if (++in->p == in->end)
			return -EBADMSG;
		if (*in->p == 'u') {
			in->p++;
			if (unicode(in, &s) < 0)
				return -EBADMSG;
			continue;
		}
		hit = *in->p ? strchr(from, *in->p) : NULL;
		if (!hit)
			return -EBADMSG;
		msb_str_add(&s, &to[hit - from], 1);
		in->p++;
	}
	if (in->p == in->end)
		return -EBADMSG;
	in->p++;
	msb_str_add(&s, "", 0);
	if (s.oom)
		return -ENOMEM;
	/* It goes into messages and files where a NUL, or a newline, would end it early. */
	if (memchr(s.buf, '\0', s.len) || (!lines && memchr(s.buf, '\n', s.len)))
		return -EBADMSG;
	*ret = steal_ptr(s.buf);
	s = (struct msb_str)MSB_STR_INIT;
	return 0;
}

/* One more element of a list, which has none, or a NULL behind its last. */
static int add(char ***list, size_t *n, char *text)
{
	_cleanup_free_ char *owned = text;
	char **p;

	if (*n == CTL_META_MAX_LIST)
		return -E2BIG;
	p = realloc(*list, (*n + 2) * sizeof(*p));
	if (!p)
		return -ENOMEM;
	*list = p;
	p[(*n)++] = steal_ptr(owned);
	p[*n] = NULL;
	return 0;
}

/* `KEY.N "..."`, in order: whether the @k bytes at @key are of that list. */
static bool element(const char *key, size_t k, const char *list)
{
	size_t n = strlen(list);

	if (k < n + 2 || memcmp(key, list, n) != 0 || key[n] != '.')
		return false;
	for (size_t i = n + 1; i < k; i++)
		if (key[i] < '0' || key[i] > '9')
			return false;
	return true;
}

static int env_element(struct in *in, struct ctl_meta *m)
{
	char *text = NULL;
	int r = string(in, true, &text);

	if (r < 0)
		return r;
	if (text[0] != '=' && strchr(text, '='))
		return add(&m->env, &m->nenv, text);
	free(text); /* no variable: nothing could be made of it */
	return 0;
}

static int list_element(struct in *in, char ***list, size_t *n)
{
	char *text = NULL;
	int r = string(in, true, &text);

	return r < 0 ? r : add(list, n, text);
}

static int number(struct in *in, uint64_t *ret)
{
	char digits[24];
	size_t n = (size_t)(in->end - in->p);

	if (n >= sizeof(digits))
		return -EBADMSG;
	memcpy(digits, in->p, n);
	digits[n] = '\0';
	in->p = in->end;
	return msb_parse_u64(digits, 0, UINT64_MAX, ret) < 0 ? -EBADMSG : 0;
}

static int word(struct in *in, char *ret, size_t size)
{
	size_t n = (size_t)(in->end - in->p);

	if (n == 0 || n >= size || memchr(in->p, '\0', n))
		return -EBADMSG;
	memcpy(ret, in->p, n);
	ret[n] = '\0';
	in->p = in->end;
	return 0;
}

static int replace(struct in *in, char **field)
{
	char *text = NULL;
	int r = string(in, false, &text);

	if (r == 0) {
		free(*field);
		*field = text;
	}
	return r;
}

static int blob(struct in *in, char ret[65])
{
	uint8_t raw[32];
	int r = word(in, ret, 65);

	return r == 0 && (strlen(ret) != 64 || msb_unhex(ret, raw, sizeof(raw)) < 0) ? -EBADMSG : r;
}

/* @k bytes of key, "mixtape." passed. */
static int mixtape(struct in *in, const char *key, size_t k, struct ctl_meta *m)
{
	const struct {
		const char *key;
		char *hex;
	} blobs[] = {{"kernel", m->kernel}, {"initrd", m->initrd}, {"cmdline", m->cmdline},
		{"disk", m->disk}};
	char text[16];
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(blobs); i++)
		if (strlen(blobs[i].key) == k && !memcmp(key, blobs[i].key, k))
			return blob(in, blobs[i].hex);
	if (k == 11 && !memcmp(key, "disk_format", k)) {
		r = word(in, m->disk_format, sizeof(m->disk_format));
	} else if (k == 16 && !memcmp(key, "disk_compression", k)) {
		r = word(in, text, sizeof(text));
		m->disk_packed = r == 0 && strcmp(text, "none") != 0;
	} else {
		in->p = in->end;
	}
	return r;
}

/* Numbers, by their keys. */
static uint64_t *number_of(struct ctl_meta *m, const char *key, size_t k)
{
	const struct {
		const char *key;
		uint64_t *at;
	} rows[] = {{"size_bytes", &m->size_bytes}, {"inodes", &m->inodes},
		{"healthcheck_interval_sec", &m->health_interval_sec},
		{"healthcheck_timeout_sec", &m->health_timeout_sec},
		{"healthcheck_start_period_sec", &m->health_start_sec},
		{"healthcheck_start_interval_sec", &m->health_start_interval_sec},
		{"healthcheck_retries", &m->health_retries}};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strlen(rows[i].key) == k && !memcmp(key, rows[i].key, k))
			return rows[i].at;
	return NULL;
}

static int one_line(const char *p, size_t n, struct ctl_meta *m)
{
	const char *sp = memchr(p, ' ', n);
	struct in in = {sp ? sp + 1 : p + n, p + n};
	size_t k = sp ? (size_t)(sp - p) : n;
	uint64_t *v = number_of(m, p, k);
	int r;

	if (v)
		r = number(&in, v);
	else if (k == 4 && !memcmp(p, "user", k))
		r = replace(&in, &m->user);
	else if (k == 7 && !memcmp(p, "workdir", k))
		r = replace(&in, &m->workdir);
	else if (k == 7 && !memcmp(p, "created", k))
		r = replace(&in, &m->created);
	else if (k == 4 && !memcmp(p, "kind", k))
		r = word(&in, m->kind, sizeof(m->kind));
	else if (k > 8 && !memcmp(p, "mixtape.", 8))
		r = mixtape(&in, p + 8, k - 8, m);
	else if (element(p, k, "env"))
		r = env_element(&in, m);
	else if (element(p, k, "entrypoint"))
		r = list_element(&in, &m->entrypoint, &m->nentrypoint);
	else if (element(p, k, "cmd"))
		r = list_element(&in, &m->cmd, &m->ncmd);
	else if (element(p, k, "healthcheck"))
		r = list_element(&in, &m->health, &m->nhealth);
	else
		return 0;
	if (r < 0)
		return r;
	space(&in);
	return in.p == in.end ? 0 : -EBADMSG;
}

int ctl_meta_parse(const char *p, size_t n, struct ctl_meta *ret, struct msb_err *e)
{
	struct ctl_meta m = {.kind = "image",
		.user = strdup(""),
		.workdir = strdup(""),
		.created = strdup(""),
		.env = calloc(1, sizeof(char *))};
	int r = m.user && m.workdir && m.created && m.env ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n;) {
		const char *nl = memchr(p + i, '\n', n - i);
		size_t k = nl ? (size_t)(nl - (p + i)) : n - i;

		r = one_line(p + i, k, &m);
		i += k + 1;
	}
	if (r < 0) {
		ctl_meta_done(&m);
		return msb_err_set(e, -r, "the image's meta file: %s",
			r == -EBADMSG ? "damaged" : strerror(-r));
	}
	*ret = m;
	return 0;
}

static void list_free(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}

void ctl_meta_done(struct ctl_meta *m)
{
	list_free(m->env);
	list_free(m->entrypoint);
	list_free(m->cmd);
	list_free(m->health);
	free(m->user);
	free(m->workdir);
	free(m->created);
	*m = (struct ctl_meta){0};
}
