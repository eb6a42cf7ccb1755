// SPDX-License-Identifier: Apache-2.0
// plugin, protocol=json: a plugin in a thread that answers lines, alone and over a directory.
#include "fs/acl.h"
#include "tests/unit/plugin_session.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

/* ---- the plugin */

static struct {
	int fd;
	pthread_t thread;
	const char *says;
	/* Writes the answer but for its id into @s; leaves it empty to give none. */
	void (*_Atomic answer)(const json_t *q, struct msb_str *s);
	_Atomic int asked;
	char last[512]; /* op and path of every question, a line each; lock */
	pthread_mutex_t lock;
} pl;

static void send_line(const char *text, size_t n)
{
	while (n) {
		ssize_t k = send(pl.fd, text, n, MSG_NOSIGNAL);

		if (k <= 0)
			return;
		text += k;
		n -= (size_t)k;
	}
}

static void *plugin_main(void *arg)
{
	FILE *in = fdopen(dup(pl.fd), "r");
	char *line = NULL;
	size_t cap = 0;

	send_line(pl.says, strlen(pl.says));
	while (getline(&line, &cap, in) > 0) {
		json_t *ask = json_loads(line, JSON_ALLOW_NUL, NULL);
		const json_t *id = json_object_get(ask, "id");
		_cleanup_str_ struct msb_str s = MSB_STR_INIT, reply = MSB_STR_INIT;

		if (!ask)
			abort();
		(void)pthread_mutex_lock(&pl.lock);
		(void)snprintf(pl.last + strlen(pl.last), sizeof(pl.last) - strlen(pl.last),
			"%s%s %s\n", id ? "" : "after ",
			json_string_value(json_object_get(ask, "op")),
			json_string_value(json_object_get(ask, "path")));
		(void)pthread_mutex_unlock(&pl.lock);
		pl.asked++;
		atomic_load (&pl.answer)(ask, &s);
		if (id && s.len) {
			if (s.buf[0] == '!') /* as it is */
				msb_str_adds(&reply, s.buf + 1);
			else
				msb_str_addf(&reply, "{\"id\":%lld%s%s}\n",
					(long long)json_integer_value(id),
					s.buf[0] == ' ' ? "" : ",", s.buf);
			send_line(reply.buf, reply.len);
		}
		json_decref(ask);
	}
	free(line);
	(void)fclose(in);
	return NULL;
}

static int plugin_start(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pl.fd = pair[1];
	assert_int_equal(pthread_create(&pl.thread, NULL, plugin_main, NULL), 0);
	return pair[0];
}

static void plugin_kill(void)
{
	(void)shutdown(pl.fd, SHUT_RDWR);
	(void)pthread_join(pl.thread, NULL);
	close(pl.fd);
	pl.fd = -1;
}

static void assert_asked(const char *want)
{
	char got[sizeof(pl.last)];

	(void)pthread_mutex_lock(&pl.lock);
	memcpy(got, pl.last, sizeof(got));
	(void)pthread_mutex_unlock(&pl.lock);
	assert_string_equal(got, want);
}

static const char *field(const json_t *ask, const char *key)
{
	return json_string_value(json_object_get(ask, key)) ?: "";
}

/* ---- the server */

static void start(const char *says, void (*answer)(const json_t *, struct msb_str *), bool over)
{
	struct fsb *inner = over ? inner_dir() : NULL;

	pl.says = says;
	pl.answer = answer;
	session_start(plugin_start(), inner);
}

static int setup(void **state)
{
	memset(&pl, 0, sizeof(pl));
	pl.fd = -1;
	(void)pthread_mutex_init(&pl.lock, NULL);
	session_setup(true);
	return 0;
}

static int teardown(void **state)
{
	session_end();
	if (pl.fd >= 0)
		plugin_kill();
	session_teardown();
	return 0;
}

static void assert_reads(
	uint64_t node, uint64_t fh, uint64_t off, uint32_t n, const void *p, size_t want)
{
	assert_int_equal(req_read(&q, FUSE_READ, node, fh, off, n), 0);
	assert_int_equal(q.out_bytes, want);
	assert_memory_equal(q.out + 16, p, want);
}

static void host_file(const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, text, strlen(text), 0644), 0);
}

/* Names of a directory, joined by blanks, in order. */
static const char *list(uint64_t dir)
{
	static char names[4096];
	uint64_t off = 0, fh;

	names[0] = '\0';
	assert_int_equal(req_open(&q, FUSE_OPENDIR, dir, 0), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	while (req_read(&q, FUSE_READDIR, dir, fh, off, 64) == 0 && q.out_bytes)
		for (size_t at = 0; at < q.out_bytes;) {
			struct fuse_dirent d;

			memcpy(&d, q.out + 16 + at, FUSE_NAME_OFFSET);
			(void)snprintf(names + strlen(names), sizeof(names) - strlen(names),
				"%.*s ", (int)d.namelen,
				(char *)q.out + 16 + at + FUSE_NAME_OFFSET);
			off = d.off;
			at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
		}
	assert_int_equal(req_release(&q, FUSE_RELEASEDIR, dir, fh), 0);
	return names;
}

/* ---- over a directory */

static void no_secret(const json_t *m, struct msb_str *s)
{
	msb_str_adds(
		s, strstr(field(m, "text"), "SECRET") ? "\"error\":\"EACCES\"" : "\"pass\":true");
}

static void veto(void **state)
{
	uint64_t a, key, fh;

	start("{\"ops\":[\"write\"],\"paths\":[\"*.key\"]}\n", no_secret, true);
	assert_int_equal(req_create(&q, 1, "a", O_CREAT | O_RDWR, 0644), 0);
	a = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(write_at(a, fh, 0, "a SECRET", 8), 8);
	assert_int_equal(pl.asked, 0); /* another path: no question */
	assert_int_equal(req_create(&q, 1, "b.key", O_CREAT | O_RDWR, 0644), 0);
	key = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(write_at(key, fh, 0, "harmless", 8), 8);
	assert_int_equal(write_at(key, fh, 0, "a SECRET", 8), -EACCES);
	assert_reads(key, fh, 0, 100, "harmless", 8);
	assert_asked("write /b.key\nwrite /b.key\n");
	/* The rule is for the path of the moment, and for what has lost it. */
	assert_int_equal(req_rename(&q, 1, "b.key", 1, "c", 0), 0);
	assert_int_equal(write_at(key, fh, 0, "a SECRET", 8), 8);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "c"), 0);
	assert_int_equal(write_at(key, fh, 0, "a SECRET", 8), -EACCES);
	assert_int_equal(req_rename(&q, 1, "a", 1, "d.key", 0), 0);
	fh = open_of(a, O_RDWR);
	assert_int_equal(write_at(a, fh, 0, "a SECRET", 8), -EACCES);
}

/* What is written is what was looked at, in pieces, text or not. */
static void much_is_written(void **state)
{
	uint64_t a, fh;

	start("{\"ops\":[\"write\"]}\n", no_secret, true);
	assert_int_equal(req_create(&q, 1, "a", O_CREAT | O_RDWR, 0644), 0);
	a = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(write_at(a, fh, 3, data, sizeof(data)), sizeof(data));
	assert_int_equal(pl.asked, sizeof(data) / PLUGIN_MAX_JSON_DATA);
	assert_reads(a, fh, 3, sizeof(data), data, sizeof(data));
}

static void generated(const json_t *m, struct msb_str *s)
{
	const char *op = field(m, "op"), *path = field(m, "path");
	json_int_t off = json_integer_value(json_object_get(m, "off"));
	static const char text[] = "made up\n";

	if (!strcmp(op, "readdir") && !strcmp(path, "/"))
		msb_str_adds(s, "\"entries\":[\"status\",{\"name\":\"sub\",\"type\":\"dir\"},"
				"\"real\"],\"pass\":true");
	else if (!strcmp(path, "/sub"))
		msb_str_adds(s, "\"attr\":{\"type\":\"dir\",\"mode\":\"0700\"}");
	else if (strcmp(path, "/status") != 0)
		msb_str_adds(s, "\"pass\":true");
	else if (!strcmp(op, "getattr"))
		msb_str_adds(s, "\"attr\":{\"size\":8,\"mode\":\"0444\",\"mtime\":12.5}");
	else {
		msb_str_adds(s, "\"text\":");
		msb_str_add_json(s, text + (off < 8 ? off : 8), (size_t)(off < 8 ? 8 - off : 0));
	}
}

#define GENERATES "{\"ops\":[\"getattr\",\"read\",\"readdir\"]}\n"

static void generated_file(void **state)
{
	const struct fuse_attr *attr;
	uint64_t a, fh;

	start(GENERATES, generated, false);
	a = req_lookup(&q, 1, "status");
	attr = &REQ_REPLY(&q, struct fuse_entry_out)->attr;
	assert_int_not_equal(a, 0);
	assert_int_equal(attr->mode, S_IFREG | 0444);
	assert_int_equal(attr->size, 8);
	assert_int_equal(attr->mtime, 12);
	assert_int_equal(attr->mtimensec, 500000000);
	assert_int_equal(req_lookup(&q, 1, "status"), a);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "other"), -ENOENT);
	assert_int_equal(req_open(&q, FUSE_OPEN, a, O_RDONLY), 0);
	fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
	assert_reads(a, fh, 0, 100, "made up\n", 8);
	assert_reads(a, fh, 5, 100, "up\n", 3);
	assert_reads(a, fh, 8, 100, "", 0);
}

static void generated_beside(void **state)
{
	uint64_t a, real, sub, fh;

	start(GENERATES, generated, true);
	host_file("real", "below");
	host_file("status", "hidden by the plugin's");
	a = req_lookup(&q, 1, "status");
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 8);
	real = req_lookup(&q, 1, "real");
	sub = req_lookup(&q, 1, "sub");
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, S_IFDIR | 0700);
	assert_true(a && real && sub && a != real);
	fh = open_of(a, O_RDONLY);
	assert_reads(a, fh, 0, 100, "made up\n", 8);
	fh = open_of(real, O_RDONLY);
	assert_reads(real, fh, 0, 100, "below", 5);
	assert_true(!strncmp(list(1), "status sub real ", 16)); /* each once */
	assert_int_equal(strlen(list(1)), strlen("status sub real . .. "));
	assert_string_equal(list(sub), ". .. ");
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "real"), 0);
	assert_int_equal(req_mkdir(&q, sub, "no", 0755), -EROFS);
}

static void upper_case(const json_t *m, struct msb_str *s)
{
	const char *text = field(m, "text");

	if (!json_object_get(m, "after")) {
		msb_str_adds(s, "\"pass\":true");
		return;
	}
	msb_str_adds(s, "\"text\":\"");
	for (; *text; text++)
		msb_str_addf(s, "%c", *text >= 'a' && *text <= 'z' ? *text - 32 : *text);
	msb_str_adds(s, "\"");
}

static void changed_on_the_way(void **state)
{
	uint64_t a, fh;

	start("{\"after\":[\"read\",\"unlink\",\"create\"]}\n", upper_case, true);
	host_file("a", "some text");
	a = req_lookup(&q, 1, "a");
	fh = open_of(a, O_RDONLY);
	assert_reads(a, fh, 0, 100, "SOME TEXT", 9);
	assert_reads(a, fh, 5, 2, "TE", 2);
	assert_int_equal(req_create(&q, 1, "b", O_CREAT | O_RDWR, 0644), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), 0);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "a"), -ENOENT);
	assert_reads(a, fh, 0, 4, "SOME", 4); /* unlinked, and an answer behind all the notices */
	assert_asked("read /a\nread /a\nafter create /b\nafter unlink /a\n"
		     "after unlink /a\nread \n");
}

/* A file system all of the plugin's own: one file that can be made, written and removed. */
static char kept[64];
static bool there;

static void one_file(const json_t *m, struct msb_str *s)
{
	const char *op = field(m, "op"), *path = field(m, "path");
	size_t off = (size_t)json_integer_value(json_object_get(m, "off"));

	if (strcmp(path, "/one") != 0 && strcmp(path, "/") != 0) {
		msb_str_adds(s, "\"error\":1");
	} else if (!strcmp(op, "create")) {
		there = true;
		kept[0] = '\0';
		msb_str_adds(s, " ");
	} else if (!there && strcmp(path, "/") != 0) {
		msb_str_adds(s, "\"error\":\"ENOENT\"");
	} else if (!strcmp(op, "lookup")) {
		msb_str_addf(s, "\"attr\":{\"size\":%zu}", strlen(kept));
	} else if (!strcmp(op, "write")) {
		(void)snprintf(kept + off, sizeof(kept) - off, "%s", field(m, "text"));
		msb_str_addf(s, "\"size\":%zu", strlen(field(m, "text")));
	} else if (!strcmp(op, "read")) {
		msb_str_adds(s, "\"data\":\"");
		msb_str_add_base64(s, kept + off, off < strlen(kept) ? strlen(kept) - off : 0);
		msb_str_adds(s, "\"");
	} else if (!strcmp(op, "unlink")) {
		there = false;
		msb_str_adds(s, " ");
	} else if (!strcmp(op, "readdir")) {
		msb_str_adds(s, there ? "\"entries\":[\"one\"]" : "\"entries\":[]");
	} else if (!strcmp(op, "getxattr")) {
		msb_str_adds(s, "\"text\":\"value\"");
	} else if (!strcmp(op, "listxattr")) {
		msb_str_adds(s, "\"names\":[\"user.a\",\"system.posix_acl_access\",\"user.b\"]");
	} else if (!strcmp(op, "statfs")) {
		msb_str_adds(s, "\"size_bytes\":40960,\"free_bytes\":4096");
	}
}

static void own_files(void **state)
{
	struct fuse_getxattr_in get = {.size = 64};
	uint64_t a, fh;

	there = false;
	start("{\"ops\":[\"lookup\",\"create\",\"read\",\"write\",\"unlink\",\"readdir\",\"getxattr\","
	      "\"listxattr\",\"statfs\"]}\n",
		one_file, false);
	assert_string_equal(list(1), ". .. ");
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "one"), -ENOENT);
	assert_int_equal(req_create(&q, 1, "two", O_CREAT | O_RDWR, 0644), -EPERM);
	assert_int_equal(req_create(&q, 1, "one", O_CREAT | O_RDWR, 0600), 0);
	a = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.mode, S_IFREG | 0600);
	fh = req_created_fh(&q);
	assert_int_equal(write_at(a, fh, 0, "hello", 5), 5);
	assert_reads(a, fh, 0, 100, "hello", 5);
	assert_int_equal(req_lookup(&q, 1, "one"), a);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr.size, 5);
	assert_int_equal(req_getattr(&q, a), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_attr_out)->attr.size, 5);
	(void)open_of(a, O_WRONLY | O_TRUNC);
	assert_string_equal(list(1), ". .. one ");
	req_start(&q, FUSE_GETXATTR, a);
	req_add(&q, &get, sizeof(get));
	req_str(&q, "user.a");
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, 5);
	req_start(&q, FUSE_LISTXATTR, a);
	req_add(&q, &get, sizeof(get));
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(q.out_bytes, 14);
	/* It is not asked for ACLs, and its word on them does not count. */
	assert_int_equal(fs.b->ops->getxattr(fs.b, a, ACL_ACCESS, data, 64), -EOPNOTSUPP);
	assert_int_equal(fs.b->ops->listxattr(fs.b, a, (char *)data, 64), 14);
	assert_int_equal(fs.b->ops->setxattr(fs.b, &(struct fsb_req){0}, a, ACL_DEFAULT, "v", 1, 0),
		-EOPNOTSUPP);
	req_start(&q, FUSE_STATFS, 1);
	assert_int_equal(req_run(&q), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_statfs_out)->st.blocks, 10);
	assert_int_equal(req_name(&q, FUSE_UNLINK, 1, "one"), 0);
	assert_string_equal(list(1), ". .. ");
	assert_int_equal(req_mkdir(&q, 1, "d", 0755), -EROFS);
	/* A name that JSON has no way to write. */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "\xff"), -EILSEQ);
}

static void restarted(void **state)
{
	uint64_t a, fh;

	start(GENERATES, generated, true);
	host_file("real", "below");
	a = req_lookup(&q, 1, "status");
	fh = open_of(a, O_RDONLY);
	plugin_kill();
	assert_int_equal(req_read(&q, FUSE_READ, a, fh, 0, 100), -EIO);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "real"), -EIO); /* all of the mount */
	assert_string_equal(status().why, "it has ended");
	assert_int_equal(fsb_plugin_attach(fs.b, plugin_start()), 0);
	assert_reads(a, fh, 0, 100, "made up\n", 8);
	assert_int_not_equal(req_lookup(&q, 1, "real"), 0);
}

static void silent(const json_t *m, struct msb_str *s)
{
}

static void hangs(void **state)
{
	const struct fuse_in_header h = {.len = sizeof(h), .opcode = FUSE_GETATTR, .nodeid = 1};
	const struct iovec v = {(void *)(uintptr_t)&h, sizeof(h)};

	options.plugin_timeout_ms = 2000;
	start(GENERATES, silent, false);
	assert_true(fuse_may_wait(q.s, &v, sizeof(h))); /* no other answer waits for this one */
	assert_int_equal(req_getattr(&q, 1), -EIO);
	assert_string_equal(status().why, "no answer within 2000 ms");
}

/* ---- lies */

static const char *lie;

static void tell(const json_t *m, struct msb_str *s)
{
	msb_str_adds(s, lie);
}

static void lied(const char *says, const char *text, int expect, bool broken)
{
	setup(NULL);
	lie = text;
	start(says, tell, false);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), expect);
	assert_int_equal(status().broken, broken);
	teardown(NULL);
}

static void lies(void **state)
{
	static const char says[] = "{\"ops\":[\"lookup\"]}\n";
	static const struct {
		const char *text;
		int expect;
		bool broken;
	} t[] = {
		{"\"attr\":{}", 0, false},
		{"\"attr\":{\"mode\":\"644\"}", 0, false},
		{"\"error\":\"ENOENT\"", -ENOENT, false},
		{"\"error\":13", -EACCES, false},
		{"\"pass\":true", -ENOENT, false},
		{"\"pass\":\"yes\"", -EIO, false}, /* done, then, but without attributes */
		{" ", -EIO, false},
		{"\"attr\":5", -EIO, false},
		{"\"attr\":{\"type\":\"door\"}", -EIO, false},
		{"\"attr\":{\"mode\":\"9\"}", -EIO, false},
		{"\"attr\":{\"mode\":65536}", -EIO, false},
		{"\"attr\":{\"size\":-1}", -EIO, false},
		{"\"attr\":{\"size\":1.5}", -EIO, false},
		{"\"attr\":{\"size\":9223372036854775808}", -EIO, true}, /* no number of JSON's */
		{"\"attr\":{\"uid\":4294967296}", -EIO, false},
		{"\"attr\":{\"mtime\":-1}", -EIO, false},
		{"\"attr\":{\"mtime\":1e300}", -EIO, false},
		{"\"attr\":{\"mtime\":\"now\"}", -EIO, false},
		{"\"error\":\"EWHAT\"", -EIO, true},
		{"\"error\":0", -EIO, true},
		{"\"error\":-2", -EIO, true},
		{"\"error\":999", -EIO, true},
		{"\"a\":1,\"a\":2", -EIO, true},
		{"\"a\":[[[[[[[[1]]]]]]]]", -EIO, true},
		{"!\n", -EIO, true},
		{"![]\n", -EIO, true},
		{"!{\"attr\":{}}\n", -EIO, true},
		{"!{\"id\":\"1\",\"attr\":{}}\n", -EIO, true},
		{"!no JSON\n", -EIO, true},
		{"!{\"id\":7777,\"pass\":true}\n{\"id\":0}\n{\"id\":-1}\n{\"id\":1,\"attr\":{}}\n",
			0, false},
	};
	static const char *const bad_says[] = {"{\"rules\":\"deny=/a\"}\n",
		"{\"rules\":[\"forbid=/a\"]}\n", "{\"rules\":[\"deny=\"]}\n",
		"{\"rules\":[\"deny=[\"]}\n", "{\"rules\":[7]}\n", "{\"ops\":[\"fly\"]}\n",
		"{\"ops\":\"write\"}\n", "{\"after\":{}}\n", "{\"paths\":[5]}\n",
		"{\"paths\":\"*\"}\n", "{\"paths\":[\"\"]}\n", "{\"paths\":[\"[\"]}\n", "[]\n",
		"hello\n"};

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		lied(says, t[i].text, t[i].expect, t[i].broken);
	for (size_t i = 0; i < ARRAY_LEN(bad_says); i++)
		lied(bad_says[i], "\"attr\":{}", -EIO, true);
}

static void too_long(const json_t *m, struct msb_str *s)
{
	msb_str_adds(s, "\"attr\":{},\"x\":\"");
	while (s->len < PLUGIN_MAX_LINE + 10)
		msb_str_adds(s, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	msb_str_adds(s, "\"");
}

static void long_line(const json_t *m, struct msb_str *s)
{
	msb_str_adds(s, "\"attr\":{},\"x\":\"");
	while (s->len < PLUGIN_MAX_LINE - 100)
		msb_str_adds(s, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	msb_str_adds(s, "\"");
}

static void lines_are_limited(void **state)
{
	start("{\"ops\":[\"lookup\"]}\n", long_line, false);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), 0);
	pl.answer = too_long;
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "a"), -EIO);
	assert_true(status().broken);
}

static void many_entries(const json_t *m, struct msb_str *s)
{
	const json_t *uid = json_object_get(m, "uid");
	int n = json_integer_value(uid) ? PLUGIN_MAX_ENTRIES : 1000;

	msb_str_adds(s, "\"entries\":[");
	for (int i = 0; i < n; i++)
		msb_str_addf(s, "%s\"%s%x\"", i ? "," : "", json_is_null(uid) ? "nobody" : "", i);
	msb_str_adds(s, "]");
}

static void entries_are_limited(void **state)
{
	static const struct {
		uint32_t uid;
		int result;
		const char *name;
	} row[] = {{0, 0, "f0"}, {UINT32_MAX, 0, "nobodyf0"}, {1, -EOVERFLOW, NULL}};
	struct fuse_read_in in = {.size = 16384};

	start("{\"ops\":[\"readdir\"]}\n", many_entries, false);
	assert_non_null(strstr(list(1), " 3e7 "));
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(req_open(&q, FUSE_OPENDIR, 1, 0), 0);
		in.fh = REQ_REPLY(&q, struct fuse_open_out)->fh;
		req_start(&q, FUSE_READDIR, 1);
		req_head(&q)->uid = row[i].uid;
		req_add(&q, &in, sizeof(in));
		assert_int_equal(req_run(&q), row[i].result);
		if (row[i].name)
			assert_non_null(
				memmem(q.out + 16, q.out_bytes, row[i].name, strlen(row[i].name)));
	}
}

/* ---- bytes */

static void base64(void **state)
{
	static const struct {
		const char *text;
		int64_t n;
		const char *bytes;
	} t[] = {{"", 0, ""}, {"aGVsbG8=", 5, "hello"}, {"aGVsbA==", 4, "hell"}, {"aGVs", 3, "hel"},
		{"////", 3, "\xff\xff\xff"}, {"a", -EBADMSG, ""}, {"aGVsb", -EBADMSG, ""},
		{"====", -EBADMSG, ""}, {"a===", -EBADMSG, ""}, {"aG=s", -EBADMSG, ""},
		{"aG\ns", -EBADMSG, ""}, {"aGVsbG8gd29ybGQh", -EMSGSIZE, ""}};
	uint8_t buf[8];

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		assert_int_equal(pj_base64(t[i].text, strlen(t[i].text), buf, sizeof(buf)), t[i].n);
		if (t[i].n > 0)
			assert_memory_equal(buf, t[i].bytes, (size_t)t[i].n);
	}
}

/* ---- rules that it declares */

static void put_host(const char *name, const char *text)
{
	_cleanup_close_ int at = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(msb_write_file_atomic(at, name, text, strlen(text), 0644), 0);
}

static void passes(const json_t *question, struct msb_str *s)
{
	msb_str_adds(s, "\"pass\":true");
}

/* What it has declared holds without a question, with the first operation and over a restart, and
 * is another's once that is said; the mount's own rules hold beside it. */
static void rules_without_a_question(void **state)
{
	static const char zeros[3];
	uint64_t a, pem, fh;

	options.nrules = 1;
	options.rule[0] = (struct fsb_glob_rule){FSB_DENY, "*.no"};
	start("{\"rules\":[\"deny=/private\",\"redact=*.pem\"]}\n", passes, true);
	assert_int_equal(fsb_rules_new(options.rule, 1, fs.b, &fs.b, NULL), 0);
	put_host("private", "p");
	put_host("a", "A");
	put_host("k.pem", "key");
	put_host("x.no", "n");
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "private"), -EACCES);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "x.no"), -EACCES);
	a = req_lookup(&q, 1, "a");
	pem = req_lookup(&q, 1, "k.pem");
	assert_true(a && pem);
	fh = open_of(pem, O_RDONLY);
	assert_reads(pem, fh, 0, 100, zeros, 3);
	assert_int_equal(write_at(pem, fh, 0, "x", 1), -EACCES);
	assert_reads(a, open_of(a, O_RDONLY), 0, 100, "A", 1);
	assert_int_equal(req_rename(&q, 1, "a", 1, "private", 0), -EACCES);
	assert_int_equal(pl.asked, 0);

	plugin_kill();
	while (!status().broken)
		(void)usleep(1000);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "private"), -EIO);
	pl.says = "{\"rules\":[\"deny=/a\"]}\n";
	assert_int_equal(fsb_plugin_attach(fs.b, plugin_start()), 0);
	assert_int_equal(req_open(&q, FUSE_OPEN, a, O_RDONLY), -EACCES); /* as it says now */
	assert_reads(pem, fh, 0, 100, "key", 3);
	assert_int_not_equal(req_lookup(&q, 1, "private"), 0);
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "x.no"), -EACCES);
	assert_int_equal(pl.asked, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(veto, setup, teardown),
		cmocka_unit_test_setup_teardown(much_is_written, setup, teardown),
		cmocka_unit_test_setup_teardown(generated_file, setup, teardown),
		cmocka_unit_test_setup_teardown(generated_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(changed_on_the_way, setup, teardown),
		cmocka_unit_test_setup_teardown(own_files, setup, teardown),
		cmocka_unit_test_setup_teardown(restarted, setup, teardown),
		cmocka_unit_test_setup_teardown(hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(rules_without_a_question, setup, teardown),
		cmocka_unit_test(lies),
		cmocka_unit_test_setup_teardown(lines_are_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(entries_are_limited, setup, teardown),
		cmocka_unit_test(base64),
	};

	return cmocka_run_group_tests_name("plugin_json", tests, NULL, NULL);
}
