// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: lines of JSON, read.
#include "fs/backends/plugin/json_wire.h"
#include "base/cleanup.h"
#include "fs/fuse_core.h"

#include <string.h>
#include <sys/param.h>
#include <sys/stat.h>

/* jansson recurses for each bracket. */
static bool shallow(const char *p, size_t n)
{
	unsigned int depth = 0;
	bool string = false;

	for (size_t i = 0; i < n; i++) {
		if (string && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			string = !string;
		else if (!string && (p[i] == '{' || p[i] == '[') && ++depth > PLUGIN_MAX_JSON_DEPTH)
			return false;
		else if (!string && (p[i] == '}' || p[i] == ']') && depth)
			depth--;
	}
	return true;
}

json_t *pj_decode(const char *p, size_t n)
{
	json_t *o = shallow(p, n) ? json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL)
				  : NULL;

	if (json_is_object(o))
		return o;
	json_decref(o);
	return NULL;
}

static int ops_read(const json_t *list, uint32_t *ret)
{
	size_t i;
	json_t *name;

	*ret = 0;
	if (list && !json_is_array(list))
		return -EBADMSG;
	json_array_foreach(list, i, name)
	{
		enum fsb_op op = 0;

		while (op < FSB_OPS && strcmp(fsb_op_name(op), json_string_value(name) ?: "") != 0)
			op++;
		if (op == FSB_OPS)
			return -EBADMSG;
		*ret |= FSB_OP_BIT(op);
	}
	return 0;
}

/* "deny=GLOB" and its like. */
static int rule_read(const json_t *v, struct fsb_rule_set *to)
{
	static const struct {
		const char *name;
		enum fsb_rule what;
	} rules[] = {{"allow=", FSB_ALLOW}, {"deny=", FSB_DENY}, {"redact=", FSB_REDACT}};
	const char *text = json_string_value(v) ?: "";
	size_t n = json_string_length(v);

	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		size_t head = strlen(rules[i].name);

		if (!strncmp(text, rules[i].name, head) && n > head)
			return fsb_rule_add(to, rules[i].what, text + head, n - head, NULL);
	}
	return -EBADMSG;
}

int pj_says_read(const json_t *o, struct pj_says *ret)
{
	const json_t *paths = json_object_get(o, "paths"), *rules = json_object_get(o, "rules");
	size_t i;
	json_t *glob, *rule;

	ret->npaths = ret->rules.n = 0;
	if (ops_read(json_object_get(o, "ops"), &ret->ops) < 0 ||
		ops_read(json_object_get(o, "after"), &ret->after) < 0 ||
		(paths && !json_is_array(paths)) || json_array_size(paths) > FSB_MAX_GLOBS ||
		(rules && !json_is_array(rules)))
		return -EBADMSG;
	json_array_foreach(paths, i, glob)
	{
		if (!json_is_string(glob) || json_string_length(glob) == 0 ||
			fsb_glob_compile(json_string_value(glob), json_string_length(glob),
				&ret->path[i], NULL) < 0)
			return -EBADMSG;
		ret->npaths++;
	}
	json_array_foreach(rules, i, rule) if (rule_read(rule, &ret->rules) < 0) return -EBADMSG;
	return 0;
}

bool pj_says_path(const struct pj_says *s, const char *path)
{
	bool hit = s->npaths == 0;

	for (unsigned int i = 0; i < s->npaths && !hit; i++)
		hit = fsb_glob_match(&s->path[i], path, strlen(path));
	return hit;
}

/* "EACCES" as strerrorname_np() has it, or 13. */
static int error_read(const json_t *v)
{
	const char *name = json_string_value(v);

	if (json_is_integer(v)) {
		json_int_t n = json_integer_value(v);

		return n > 0 && n < 134 ? -(int)n : -EBADMSG;
	}
	for (int n = 1; name && n < 134; n++)
		if (strerrorname_np(n) && !strcmp(strerrorname_np(n), name))
			return -n;
	return -EBADMSG;
}

int pj_verdict_read(const json_t *o, enum pj_verdict *ret, int *ret_error)
{
	const json_t *error = json_object_get(o, "error");

	*ret_error = 0;
	if (error) {
		*ret = PJ_ERROR;
		*ret_error = error_read(error);
		return *ret_error == -EBADMSG ? -EBADMSG : 0;
	}
	*ret = json_is_true(json_object_get(o, "pass")) ? PJ_PASS : PJ_DONE;
	return 0;
}

static const struct {
	const char *name;
	uint32_t mode, type;
} types[] = {
	{"file", S_IFREG | 0644, 8},
	{"dir", S_IFDIR | 0755, 4},
	{"symlink", S_IFLNK | 0777, 10},
	{"fifo", S_IFIFO | 0644, 1},
	{"socket", S_IFSOCK | 0644, 12},
	{"char", S_IFCHR | 0644, 2},
	{"block", S_IFBLK | 0644, 6},
};

static int type_read(const json_t *v)
{
	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (!strcmp(types[i].name, json_string_value(v) ?: ""))
			return (int)i;
	return -EIO;
}

/* A number of @o, or of octal digits where it is a string; *@ret stays where it is absent. */
static int number_read(const json_t *o, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(o, key);
	const char *octal = json_string_value(v);
	uint64_t n = 0;

	if (!v)
		return 0;
	if (json_is_integer(v) && json_integer_value(v) >= 0) {
		n = (uint64_t)json_integer_value(v);
	} else if (octal && *octal && strlen(octal) <= 7) {
		for (; *octal; octal++) {
			if (*octal < '0' || *octal > '7')
				return -EIO;
			n = n << 3 | (uint64_t)(*octal - '0');
		}
	} else {
		return -EIO;
	}
	if (n > max)
		return -EIO;
	*ret = n;
	return 0;
}

/* Seconds, with a fraction. */
static int time_read(const json_t *o, const char *key, uint64_t *sec, uint32_t *nsec)
{
	const json_t *v = json_object_get(o, key);
	double t = json_number_value(v);

	if (!v)
		return 0;
	if (!json_is_number(v) || !(t >= 0 && t < 1e12))
		return -EIO;
	*sec = (uint64_t)t;
	*nsec = json_is_integer(v) ? 0 : (uint32_t)((t - (double)*sec) * 1e9);
	return 0;
}

int pj_attr_read(const json_t *o, struct fuse_attr *a)
{
	const json_t *type = json_object_get(o, "type");
	uint64_t mode, uid = a->uid, gid = a->gid, nlink = a->nlink, rdev = a->rdev;
	int i = type ? type_read(type) : 0;

	if (!json_is_object(o) || i < 0)
		return -EIO;
	if (type || !a->mode)
		a->mode = types[i].mode;
	mode = a->mode & 07777;
	if (number_read(o, "mode", 07777, &mode) < 0 ||
		number_read(o, "size", INT64_MAX, &a->size) < 0 ||
		number_read(o, "uid", UINT32_MAX, &uid) < 0 ||
		number_read(o, "gid", UINT32_MAX, &gid) < 0 ||
		number_read(o, "nlink", UINT32_MAX, &nlink) < 0 ||
		number_read(o, "rdev", UINT32_MAX, &rdev) < 0 ||
		number_read(o, "ino", UINT32_MAX, &a->ino) < 0 ||
		time_read(o, "atime", &a->atime, &a->atimensec) < 0 ||
		time_read(o, "mtime", &a->mtime, &a->mtimensec) < 0 ||
		time_read(o, "ctime", &a->ctime, &a->ctimensec) < 0)
		return -EIO;
	a->mode = (a->mode & S_IFMT) | (uint32_t)mode;
	a->uid = (uint32_t)uid;
	a->gid = (uint32_t)gid;
	a->nlink = (uint32_t)nlink ?: 1;
	a->rdev = (uint32_t)rdev;
	a->blocks = (a->size + 511) / 512;
	a->blksize = 4096;
	return 0;
}

static int sextet(char c)
{
	return c >= 'A' && c <= 'Z'   ? c - 'A'
	       : c >= 'a' && c <= 'z' ? c - 'a' + 26
	       : c >= '0' && c <= '9' ? c - '0' + 52
	       : c == '+'	      ? 62
	       : c == '/'	      ? 63
				      : -1;
}

int64_t pj_base64(const char *p, size_t n, uint8_t *buf, size_t cap)
{
	size_t out = 0, pad = 0;

	if (n % 4)
		return -EBADMSG;
	while (pad < 2 && n && p[n - 1 - pad] == '=')
		pad++;
	if (n / 4 * 3 - pad > cap)
		return -EMSGSIZE;
	for (size_t i = 0; i < n; i += 4) {
		size_t left = i + 4 == n ? pad : 0;
		uint32_t word = 0;

		for (size_t k = 0; k < 4; k++) {
			int v = k >= 4 - left ? 0 : sextet(p[i + k]);

			if (v < 0)
				return -EBADMSG;
			word = word << 6 | (uint32_t)v;
		}
		for (size_t k = 0; k < 3 - left; k++)
			buf[out++] = (uint8_t)(word >> (16 - 8 * k));
	}
	return (int64_t)out;
}

int64_t pj_data_read(const json_t *o, void *buf, size_t cap)
{
	const json_t *text = json_object_get(o, "text"), *data = json_object_get(o, "data");
	int64_t n;

	if (json_is_string(text) && !data) {
		if (json_string_length(text) > cap)
			return -EIO;
		memcpy(buf, json_string_value(text), json_string_length(text));
		return (int64_t)json_string_length(text);
	}
	if (!json_is_string(data) || text)
		return -EIO;
	n = pj_base64(json_string_value(data), json_string_length(data), buf, cap);
	return n < 0 ? -EIO : n;
}

const char *pj_entry_read(const json_t *o, uint32_t *ret_type)
{
	const json_t *name = json_is_object(o) ? json_object_get(o, "name") : o;
	const json_t *type = json_is_object(o) ? json_object_get(o, "type") : NULL;
	const char *s = json_string_value(name);
	size_t n = json_string_length(name);
	int i = type ? type_read(type) : 0;

	if (!s || n == 0 || n > FUSE_MAX_NAME || strlen(s) != n || strchr(s, '/') ||
		!strcmp(s, ".") || !strcmp(s, "..") || i < 0)
		return NULL;
	*ret_type = types[i].type;
	return s;
}

void pj_add_data(struct msb_str *s, const void *p, size_t n)
{
	if (msb_utf8_valid(p, n)) {
		msb_str_adds(s, ",\"text\":");
		msb_str_add_json(s, p, n);
	} else {
		msb_str_adds(s, ",\"data\":\"");
		msb_str_add_base64(s, p, n);
		msb_str_adds(s, "\"");
	}
}
