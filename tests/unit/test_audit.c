// SPDX-License-Identifier: Apache-2.0
// The audit file: what a line says of every operation, rotation, a full buffer, a failing disk,
// many threads; the wrapper over a real directory.
#include "tests/unit/fusereq.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/audit_sink.h"
#include "fs/filter.h"
#include "fs/names.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <cmocka.h>

static char top[64];
static int dir;

static int setup(void **state)
{
	(void)snprintf(top, sizeof(top), "%s/msb-audit-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(top));
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(dir, "share", 0755), 0);
	return 0;
}

static int teardown(void **state)
{
	close(dir);
	return msb_rm_rf(AT_FDCWD, top);
}

static struct audit_sink *sink(uint64_t max)
{
	struct audit_sink *s;
	struct msb_err e = {0};

	assert_int_equal(audit_sink_new(fcntl(dir, F_DUPFD_CLOEXEC, 3), max, &s, &e), 0);
	return s;
}

static void slurp(const char *name, struct msb_str *s)
{
	assert_int_equal(msb_read_file(dir, name, 1 << 30, s), 0);
}

static size_t lines_of(const struct msb_str *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->len; i++)
		n += s->buf[i] == '\n';
	return n;
}

/* ---- the format */

static void lines(void **state)
{
#define AT                                                                                         \
	"{\"time\":\"2026-11-26T18:20:23.197518Z\",\"mount\":\"root\",\"pid\":7,\"uid\":1000,\"gid\":100,"
#define P(text)	 .path = text, .path_bytes = sizeof(text) - 1
#define P2(text) .path2 = text, .path2_bytes = sizeof(text) - 1
	static const struct {
		struct audit_event ev;
		const char *line;
	} rows[] = {
		{{.op = FSB_LOOKUP, P("/a"), .result = -ENOENT},
			"\"op\":\"lookup\",\"path\":\"/a\",\"result\":\"ENOENT\"}\n"},
		{{.op = FSB_WRITE, P("/a b"), .off = 4096, .bytes = 18446744073709551615ULL},
			"\"op\":\"write\",\"path\":\"/a b\",\"offset\":4096,\"bytes\":18446744073709551615,\"result\":0}\n"},
		{{.op = FSB_OPEN, P("/"), .flags = O_RDONLY},
			"\"op\":\"open\",\"path\":\"/\",\"flags\":\"O_RDONLY\",\"result\":0}\n"},
		{{.op = FSB_CREATE,
			 P("/n"),
			 .flags = O_RDWR | O_CREAT | O_TRUNC | O_SYNC,
			 .mode = S_IFREG | 0644},
			"\"op\":\"create\",\"path\":\"/n\",\"flags\":\"O_RDWR|O_CREAT|O_TRUNC|O_SYNC|O_DSYNC\",\"mode\":\"0644\",\"result\":0}\n"},
		{{.op = FSB_RENAME, P("/a"), P2("/b"), .flags = RENAME_EXCHANGE},
			"\"op\":\"rename\",\"path\":\"/a\",\"path2\":\"/b\",\"flags\":\"RENAME_EXCHANGE\",\"result\":0}\n"},
		{{.op = FSB_RENAME, P("/a"), P2("/b"), .result = -EXDEV},
			"\"op\":\"rename\",\"path\":\"/a\",\"path2\":\"/b\",\"result\":\"EXDEV\"}\n"},
		{{.op = FSB_SYMLINK, P("/l"), P2("../x")},
			"\"op\":\"symlink\",\"path\":\"/l\",\"target\":\"../x\",\"result\":0}\n"},
		{{.op = FSB_SETATTR,
			 P("/f"),
			 .flags = FATTR_MODE | FATTR_SIZE,
			 .mode = 04755,
			 .bytes = 12},
			"\"op\":\"setattr\",\"path\":\"/f\",\"flags\":\"mode|size\",\"mode\":\"04755\",\"bytes\":12,\"result\":0}\n"},
		{{.op = FSB_SETATTR,
			 P("/f"),
			 .flags = FATTR_UID | FATTR_MTIME,
			 .mode = 1,
			 .bytes = 1},
			"\"op\":\"setattr\",\"path\":\"/f\",\"flags\":\"uid|mtime\",\"result\":0}\n"},
		{{.op = FSB_SETATTR, P("/f"), .flags = FSB_SETATTR_FLAGS},
			"\"op\":\"setattr\",\"path\":\"/f\",\"flags\":\"flags\",\"result\":0}\n"},
		{{.op = FSB_MKDIR, P("/d"), .mode = 0},
			"\"op\":\"mkdir\",\"path\":\"/d\",\"mode\":\"00\",\"result\":0}\n"},
		{{.op = FSB_SETXATTR, P("/f"), P2("user.x"), .bytes = 3, .flags = 1},
			"\"op\":\"setxattr\",\"path\":\"/f\",\"xattr\":\"user.x\",\"flags\":\"XATTR_CREATE\",\"bytes\":3,\"result\":0}\n"},
		{{.op = FSB_FALLOCATE, P("/f"), .flags = 3, .off = 1, .bytes = 2},
			"\"op\":\"fallocate\",\"path\":\"/f\",\"flags\":\"KEEP_SIZE|PUNCH_HOLE\",\"offset\":1,\"bytes\":2,\"result\":0}\n"},
		/* names are bytes */
		{{.op = FSB_RMDIR, P("/\"\\\n\x7f\xc3\xa9\xff\xc3/")},
			"\"op\":\"rmdir\",\"path\":\"/\\\"\\\\\\u000a\\u007f\xc3\xa9\\udcff\\udcc3/\",\"result\":0}\n"},
		{{.op = FSB_RMDIR, P("/\xed\xb3\xbf")}, /* a surrogate in UTF-8 is none */
			"\"op\":\"rmdir\",\"path\":\"/\\udced\\udcb3\\udcbf\",\"result\":0}\n"},
		{{.op = FSB_SYNCFS, P("?"), .result = -4000},
			"\"op\":\"syncfs\",\"path\":\"?\",\"result\":4000}\n"},
	};
	static char buf[AUDIT_MAX_LINE + 1];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct audit_event ev = rows[i].ev;

		ev.pid = 7;
		ev.uid = 1000;
		ev.gid = 100;
		ev.mount = "root";
		buf[audit_format(buf, &ev, 1795717223, 197518999)] = '\0';
		assert_memory_equal(buf, AT, sizeof(AT) - 1);
		assert_string_equal(buf + sizeof(AT) - 1, rows[i].line);
	}
	{ /* who asks is not always said; nor is it the one before */
		struct audit_event ev = {.op = FSB_RMDIR,
			.pid = 7,
			.uid = UINT32_MAX,
			.gid = UINT32_MAX,
			.mount = "root",
			P("/d")};

		buf[audit_format(buf, &ev, 1795717223, 197518999)] = '\0';
		assert_string_equal(buf,
			"{\"time\":\"2026-11-26T18:20:23.197518Z\",\"mount\":\"root\",\"pid\":7,"
			"\"uid\":null,\"gid\":null,\"op\":\"rmdir\",\"path\":\"/d\",\"result\":0}\n");
	}
	buf[audit_format_dropped(buf, 12, 1795717223, 197518999)] = '\0';
	assert_string_equal(buf, "{\"time\":\"2026-11-26T18:20:23.197518Z\",\"dropped\":12}\n");
}

/* A special byte is found wherever it stands, and no other is taken for one. */
static void escapes_anywhere(void **state)
{
	static const struct {
		char byte;
		const char *escaped;
	} rows[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\x1f', "\\u001f"}, {0x7f, "\\u007f"},
		{'\xff', "\\udcff"}, {'\0', "\\u0000"}, {' ', " "}, {'!', "!"}, {'#', "#"},
		{'[', "["}, {']', "]"}, {'~', "~"}};
	static char buf[AUDIT_MAX_LINE + 1];
	char path[24], expected[128];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		for (size_t n = 1; n <= sizeof(path); n++)
			for (size_t at = 0; at < n; at++) {
				struct audit_event ev = {.op = FSB_RMDIR,
					.mount = "m",
					.path = path,
					.path_bytes = (uint16_t)n};
				const char *found;

				memset(path, '!', sizeof(path));
				path[at] = rows[i].byte;
				(void)snprintf(expected, sizeof(expected), "\"%.*s%s%.*s\",",
					(int)at, "!!!!!!!!!!!!!!!!!!!!!!!!", rows[i].escaped,
					(int)(n - at - 1), "!!!!!!!!!!!!!!!!!!!!!!!!");
				buf[audit_format(buf, &ev, 1, 1)] = '\0';
				found = strstr(buf, "\"path\":");
				assert_non_null(found);
				assert_memory_equal(found + 7, expected, strlen(expected));
			}
}

/* What is kept from one line to the next is only used while it is the same. */
static void lines_differ(void **state)
{
	static char buf[AUDIT_MAX_LINE + 1], expected[512];
	char long_mount[200] = {0};
	struct audit_event ev = {.path = "/f", .path_bytes = 2};

	memset(long_mount, 'm', sizeof(long_mount) - 1);
	for (unsigned int i = 0; i < 4096; i++) {
		const char *mounts[] = {"a", "ab", "b", long_mount};

		ev.op = i & 1 ? FSB_UNLINK : FSB_RMDIR;
		ev.pid = i >> 1 & 1;
		ev.uid = i >> 2 & 1;
		ev.gid = i >> 3 & 1;
		ev.mount = mounts[(i >> 4 & 3) ^ (i >> 8 & 3)];
		buf[audit_format(buf, &ev, i >> 6, i * 1000)] = '\0';
		(void)snprintf(expected, sizeof(expected),
			"{\"time\":\"1970-01-01T00:%02u:%02u.%06uZ\",\"mount\":\"%s\",\"pid\":%u,\"uid\":%u,"
			"\"gid\":%u,\"op\":\"%s\",\"path\":\"/f\",\"result\":0}\n",
			(i >> 6) / 60, (i >> 6) % 60, i, ev.mount, ev.pid, ev.uid, ev.gid,
			i & 1 ? "unlink" : "rmdir");
		assert_string_equal(buf, expected);
	}
}

/* The longest line there can be: what does not fit is cut before it is escaped. */
static void longest_line(void **state)
{
	static char text[UINT16_MAX], buf[AUDIT_MAX_LINE];
	char mount[AUDIT_MAX_MOUNT + 10];
	struct audit_event ev = {.op = FSB_LINK,
		.result = -EOPNOTSUPP,
		.pid = UINT32_MAX,
		.uid = UINT32_MAX,
		.gid = UINT32_MAX,
		.flags = UINT32_MAX,
		.mode = UINT32_MAX,
		.off = UINT64_MAX,
		.bytes = UINT64_MAX,
		.mount = mount,
		.path = text,
		.path2 = text,
		.path_bytes = UINT16_MAX,
		.path2_bytes = UINT16_MAX};

	memset(text, 0xff, sizeof(text));
	memset(mount, 0xff, sizeof(mount));
	mount[sizeof(mount) - 1] = '\0';
	for (unsigned int op = 0; op < FSB_OPS; op++) {
		ev.op = (enum fsb_op)op;
		assert_in_range(audit_format(buf, &ev, 1, 1), 1, AUDIT_MAX_LINE);
	}
}

/* ---- the sink */

static void add(struct audit_sink *s, const char *path, uint64_t off)
{
	const struct audit_event ev = {.op = FSB_WRITE,
		.mount = "m",
		.path = path,
		.path_bytes = (uint16_t)strlen(path),
		.off = off};

	audit_sink_add(s, &ev);
}

static void writes_and_goes_on(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;

	for (int i = 0; i < 3; i++) {
		struct audit_sink *s = sink(0);

		add(s, "/x", (uint64_t)i);
		(void)audit_sink_free(s);
	}
	slurp("audit", &text);
	assert_int_equal(lines_of(&text), 3);
	assert_non_null(strstr(text.buf, "\"offset\":2,"));
	assert_null(audit_sink_free(NULL));
}

/* A writer that sleeps is woken, one that naps comes by itself: the line is there without more. */
static void writes_while_running(void **state)
{
	struct audit_sink *s = sink(0);
	struct stat st;

	for (off_t size = 0, i = 0; i < 3; i++) {
		add(s, "/x", 1);
		do
			assert_int_equal(usleep(1000), 0);
		while (fstatat(dir, "audit", &st, 0) < 0 || st.st_size == size);
		size = st.st_size;
		if (i == 1) /* into its sleep */
			assert_int_equal(usleep((AUDIT_IDLE_MS + 5 * AUDIT_FLUSH_MS) * 1000), 0);
	}
	(void)audit_sink_free(s);
}

static void rotates(void **state)
{
	_cleanup_str_ struct msb_str a = MSB_STR_INIT, b = MSB_STR_INIT;
	struct stat st;

	/* Each sink writes one batch of some 6 KB at its end. */
	for (int i = 0; i < 5; i++) {
		struct audit_sink *s = sink(16000);

		for (int k = 0; k < 50; k++)
			add(s, "/some/path", (uint64_t)i * 50 + (uint64_t)k);
		(void)audit_sink_free(s);
	}
	slurp("audit.1", &a);
	slurp("audit", &b);
	assert_true(a.len <= 16000);
	assert_true(b.len <= 16000);
	assert_true(lines_of(&a) >= 50);
	assert_int_equal((lines_of(&a) + lines_of(&b)) % 50, 0);
	assert_non_null(strstr(b.buf, "\"offset\":249,"));
	assert_int_equal(a.buf[a.len - 1], '\n');
	assert_int_equal(fstatat(dir, "audit", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Lines and drops that a file tells of. */
static uint64_t told(const struct msb_str *text)
{
	uint64_t n = 0;

	for (const char *p = text->buf, *end; p && *p; p = end + 1) {
		const char *d;

		end = strchr(p, '\n');
		assert_non_null(end);
		d = memmem(p, (size_t)(end - p), "\"dropped\":", 10);
		n += d ? strtoull(d + 10, NULL, 10) : 1;
	}
	return n;
}

#define THREADS 4
#define EACH	100000

static void *adder(void *arg)
{
	char path[3000];

	memset(path, 'p', sizeof(path));
	for (unsigned int i = 0; i < EACH; i++) {
		path[i % 64 * 40] = '\0';
		add(arg, path, i);
		path[i % 64 * 40] = 'p';
	}
	return NULL;
}

/* Faster than can be written: every call is either a line or counted, and each line is whole. */
static void many_threads(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct audit_sink *s = sink(UINT64_MAX);
	pthread_t t[THREADS];

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, adder, s), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	(void)audit_sink_free(s);
	slurp("audit", &text);
	assert_int_equal(told(&text), THREADS * EACH);
	for (const char *p = text.buf; *p; p = strchr(p, '\n') + 1)
		assert_memory_equal(p, "{\"time\":\"20", 11);
}

/* The ring is used from its beginning again and again: all is there, in order, nothing lost. */
static void ring_begins_again(void **state)
{
	enum { PARTS = 12, LINES = 200 };
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct audit_sink *s = sink(UINT64_MAX);
	char path[3000], expected[64];
	const char *at;
	struct stat st;

	memset(path, 'p', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	/* 600 KB each, and all of it taken before the next */
	for (uint64_t i = 0; i < PARTS; i++) {
		for (uint64_t k = 0; k < LINES; k++)
			add(s, path, i * LINES + k);
		do {
			assert_int_equal(audit_sink_lost(s), 0);
			assert_int_equal(usleep(1000), 0);
		} while (fstatat(dir, "audit", &st, 0) < 0 ||
			 (uint64_t)st.st_size < (i + 1) * LINES * sizeof(path));
	}
	(void)audit_sink_free(s);
	slurp("audit", &text);
	assert_int_equal(lines_of(&text), PARTS * LINES);
	at = text.buf;
	for (unsigned int i = 0; i < PARTS * LINES; i++) {
		(void)snprintf(expected, sizeof(expected), "\"offset\":%u,", i);
		at = strstr(at, expected);
		assert_non_null(at);
	}
}

/* ---- a thread that lost its CPU while it looked for room: a signal's handler is the others */

enum { ROUNDS = 300, MOST = 5000, OTHERS = 60 };
static struct audit_sink *shared;
static char long_path[3000];
static volatile sig_atomic_t others;

static bool grown_to(uint64_t bytes, int ms)
{
	struct stat st;

	for (int i = 0; i <= 5 * ms; i++) {
		if (fstatat(dir, "audit", &st, 0) == 0 && (uint64_t)st.st_size >= bytes)
			return true;
		(void)usleep(200);
	}
	return false;
}

/* Enough to wake the writer, which then takes all there is, unless the interrupted one has begun to
 * write; and enough once more to look how far it has come. */
static void by_others(int sig)
{
	int saved = errno;

	for (int k = 0; k < 2; k++) {
		struct stat st = {0};

		(void)fstatat(dir, "audit", &st, 0);
		for (int i = 0; i < OTHERS; i++)
			add(shared, long_path, 1);
		(void)grown_to((uint64_t)st.st_size + OTHERS * sizeof(long_path), 3);
	}
	others++;
	errno = saved;
}

static void overtaken(void **state)
{
	const struct sigaction sa = {.sa_handler = by_others};
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	uint64_t n = 0, bytes = 0;
	char line[AUDIT_MAX_LINE];
	struct audit_event ev = {.op = FSB_WRITE, .mount = "m", .path = long_path, .off = 1};
	size_t few, many;
	bool all = true;

	memset(long_path, 'p', sizeof(long_path) - 1);
	ev.path_bytes = sizeof(long_path) - 1;
	many = audit_format(line, &ev, 1, 1);
	ev.path_bytes = 2;
	few = audit_format(line, &ev, 1, 1);
	shared = sink(UINT64_MAX);
	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	/* The ring is never full: each round waits for all lines of the one before. */
	for (int round = 1; all && round <= ROUNDS; round++) {
		const struct itimerval soon = {.it_value = {0, 10 + round % 50}};

		assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
		for (int i = 0; others < round; i++) {
			if (i >= MOST)
				continue;
			add(shared, "pp", 1);
			n++;
			bytes += few;
		}
		for (int i = 0; i < OTHERS; i++) /* or the writer would nap */
			add(shared, long_path, 1);
		n += 3 * OTHERS;
		bytes += 3 * OTHERS * many;
		all = grown_to(bytes, 10000);
	}
	(void)audit_sink_free(shared);
	slurp("audit", &text);
	assert_null(strstr(text.buf, "dropped"));
	assert_int_equal(lines_of(&text), n);
}

/* A limit on the file's size stands for a disk that is full. */
static void full_disk(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct rlimit old,
		small = {1, RLIM_INFINITY}; /* not a line fits, however few come at once */
	struct audit_sink *s;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	s = sink(0);
	for (int i = 0; i < 100; i++)
		add(s, "/some/path/that/is/long/enough", 1);
	while (audit_sink_lost(s) < 100) /* its batch fails as a whole, or in two */
		assert_int_equal(usleep(1000), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	add(s, "/after", 1);
	(void)audit_sink_free(s);
	slurp("audit", &text);
	assert_non_null(strstr(text.buf, "\"dropped\":100}"));
	assert_non_null(strstr(text.buf, "/after"));
	assert_int_equal(told(&text), 101);
	assert_int_equal(lines_of(&text), 2);
}

/* ---- the wrapper over a directory, asked as a kernel asks */

static struct fsd_fs fs;
static struct fusereq q;
static struct fsb_options o;
static struct audit_sink *to;

static void mount(const char *options)
{
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse("passthrough", options, strlen(options), &o, &e), 0);
	to = sink(0);
	from.options = &o;
	from.mount = "work";
	from.sink = to;
	from.dir_fd = openat(dir, "share", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_stack_start("passthrough", &from, &b, &e) < 0)
		fail_msg("%s", e.msg);
	fsd_fs_init(&fs, b);
	q.s = fsd_session_new(&fs, &fuse_profile_guest, false);
	q.w = calloc(1, sizeof(*q.w));
	assert_int_equal(req_init(&q), 0);
}

static void unmount(struct msb_str *text)
{
	q.s = fsd_session_free(q.s);
	fsd_fs_done(&fs);
	free(q.w);
	to = audit_sink_free(to);
	slurp("audit", text);
}

static void has(const struct msb_str *text, const char *line)
{
	if (!strstr(text->buf, line))
		fail_msg("no %s in\n%s", line, text->buf);
}

static void has_not(const struct msb_str *text, const char *line)
{
	if (strstr(text->buf, line))
		fail_msg("%s in\n%s", line, text->buf);
}

static void work(void)
{
	uint64_t d, f, fh;
	int r;

	assert_int_equal(req_mkdir(&q, 1, "d", 0755), 0);
	d = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_create(&q, d, "f", O_RDWR, 0640), 0);
	f = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&q);
	assert_int_equal(req_write(&q, f, fh, 0, "hello", 5, 0), 0);
	assert_int_equal(req_rename(&q, 1, "d", 1, "e", 0), 0);
	assert_int_equal(req_write(&q, f, fh, 5, "more", 4, 0), 0);
	assert_int_equal(req_read(&q, FUSE_READ, f, fh, 0, 100), 0);
	assert_int_equal(req_getattr(&q, f), 0);
	assert_int_equal(req_name(&q, FUSE_RMDIR, 1, "e"), -ENOTEMPTY);
	r = req_open(&q, FUSE_OPENDIR, 1, O_RDONLY); /* sent where it is to be seen */
	assert_true(r == 0 || r == -ENOSYS);
	(void)req_lookup(&q, d, "none");
}

static void changes(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;

	mount("audit");
	work();
	unmount(&text);
	has(&text,
		"\"mount\":\"work\",\"pid\":1,\"uid\":0,\"gid\":0,\"op\":\"mkdir\",\"path\":\"/d\",\"mode\":\"0755\",\"result\":0}");
	has(&text,
		"\"op\":\"create\",\"path\":\"/d/f\",\"flags\":\"O_RDWR\",\"mode\":\"0640\",\"result\":0}");
	has(&text, "\"op\":\"write\",\"path\":\"/d/f\",\"offset\":0,\"bytes\":5,");
	has(&text, "\"op\":\"rename\",\"path\":\"/d\",\"path2\":\"/e\",\"result\":0}");
	/* What was renamed above it shows. */
	has(&text, "\"op\":\"write\",\"path\":\"/e/f\",\"offset\":5,\"bytes\":4,");
	has(&text, "\"op\":\"rmdir\",\"path\":\"/e\",\"result\":\"ENOTEMPTY\"}");
	has_not(&text, "\"op\":\"read\"");
	has_not(&text, "\"op\":\"opendir\"");
	assert_int_equal(lines_of(&text), 6);
}

static void all(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;

	mount("audit=all");
	assert_int_equal(fuse_profile_guest.cache.entry_ms != 0, 1);
	work();
	/* Nothing of it is cached. */
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "e"), 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid, 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->entry_valid_nsec, 0);
	assert_int_equal(REQ_REPLY(&q, struct fuse_entry_out)->attr_valid, 0);
	assert_int_equal(
		req_name(&q, FUSE_LOOKUP, REQ_REPLY(&q, struct fuse_entry_out)->nodeid, "f"), 0);
	assert_int_equal(
		req_open(&q, FUSE_OPEN, REQ_REPLY(&q, struct fuse_entry_out)->nodeid, O_RDONLY), 0);
	assert_true(REQ_REPLY(&q, struct fuse_open_out)->open_flags & FOPEN_DIRECT_IO);
	unmount(&text);
	has(&text, "\"op\":\"read\",\"path\":\"/e/f\",\"offset\":0,\"bytes\":9,\"result\":0}");
	has(&text,
		"\"pid\":1,\"uid\":0,\"gid\":0,\"op\":\"getattr\",\"path\":\"/e/f\",\"result\":0}");
	has(&text, "\"op\":\"lookup\",\"path\":\"/e/none\",\"result\":\"ENOENT\"}");
	has(&text, "\"op\":\"opendir\",\"path\":\"/\",\"result\":0}");
	has(&text, "\"op\":\"open\",\"path\":\"/e/f\",\"flags\":\"O_RDONLY\",\"result\":0}");
}

static void chosen(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;

	mount("audit=all,audit_ops=write+mkdir+opendir,audit_path=f,audit_path=/d");
	work();
	unmount(&text);
	has(&text, "\"op\":\"mkdir\",\"path\":\"/d\"");
	has(&text, "\"op\":\"write\",\"path\":\"/d/f\"");
	has(&text, "\"op\":\"write\",\"path\":\"/e/f\"");
	assert_int_equal(lines_of(&text), 3);
}

/* A handle without state is no handle; opens are seen all the same. */
static void opens(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	uint64_t fh;

	assert_int_equal(msb_write_file_atomic(dir, "share/f", "x", 1, 0644), 0);
	mount("ro,audit=opens");
	assert_int_equal(req_name(&q, FUSE_LOOKUP, 1, "f"), 0);
	fh = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_open(&q, FUSE_OPEN, fh, O_RDONLY), 0);
	unmount(&text);
	has(&text, "\"op\":\"open\",\"path\":\"/f\",\"flags\":\"O_RDONLY\",\"result\":0}");
	assert_int_equal(lines_of(&text), 1);
}

/* Renames are followed where the table knows the name, and where it has to ask. */
static void exchange(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	uint64_t a, b;

	mount("audit=all,audit_ops=getattr");
	assert_int_equal(req_mkdir(&q, 1, "a", 0755), 0);
	a = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_mkdir(&q, a, "b", 0755), 0);
	b = REQ_REPLY(&q, struct fuse_entry_out)->nodeid;
	assert_int_equal(req_mkdir(&q, 1, "c", 0755), 0);
	assert_int_equal(req_rename(&q, 1, "a", 1, "c", RENAME_EXCHANGE), 0);
	assert_int_equal(req_getattr(&q, b), 0);
	/* The host gives b another name: nobody here knew it by that. */
	assert_int_equal(renameat(dir, "share/c/b", dir, "share/c/host"), 0);
	assert_int_equal(req_rename(&q, a, "host", 1, "d", 0), 0);
	assert_int_equal(req_getattr(&q, b), 0);
	unmount(&text);
	has(&text, "\"path\":\"/c/b\"");
	has(&text, "\"path\":\"/d\"");
}

/* ---- device state: the wrapper's own, then the next backend's */

static int64_t b_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	memcpy(buf, "abc", 3);
	return 3;
}

static int b_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	assert_int_equal(n, 3);
	assert_memory_equal(buf, "abc", 3);
	return 0;
}

static int b_getattr(struct fsb *b, uint64_t node, uint64_t fh, struct fuse_attr *ret)
{
	return 0;
}

static int b_lookup(struct fsb *b, const struct fsb_req *r, uint64_t parent, const char *name,
	struct fsb_entry *ret)
{
	*ret = (struct fsb_entry){.node = parent * 10};
	return 0;
}

static void b_forget(struct fsb *b, uint64_t node, uint64_t count)
{
}

static void b_stop(struct fsb *b)
{
}

static const struct fsb_ops back_ops = {.name = "back",
	.stop = b_stop,
	.lookup = b_lookup,
	.forget = b_forget,
	.getattr = b_getattr,
	.save = b_save,
	.load = b_load};

static void loaded(void **state)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct fsb back = {.ops = &back_ops}, *b;
	struct fsb_start from = FSB_START_NONE;
	uint8_t saved[2][FSB_MAX_STATE];
	struct fsb_entry e;
	int64_t n[2];

	assert_int_equal(fsb_options_parse("memory", "audit=all", 9, &o, NULL), 0);
	from.options = &o;
	from.sink = sink(0);
	assert_int_equal(fsb_audit_kind.wrap(&from, &back, &b, NULL), 0);
	assert_int_equal(b->ops->lookup(b, NULL, 1, "d", &e), 0);
	assert_int_equal(b->ops->lookup(b, NULL, 10, "f", &e), 0);
	n[0] = b->ops->save(b, 10, saved[0], FSB_MAX_STATE);
	n[1] = b->ops->save(b, 100, saved[1], FSB_MAX_STATE);
	assert_int_equal(n[0], 9 + 1 + 3);
	b->ops->stop(b);

	assert_int_equal(fsb_audit_kind.wrap(&from, &back, &b, NULL), 0);
	assert_int_equal(b->ops->load(b, 100, 1, saved[1], (size_t)n[1]), 0);
	assert_int_equal(b->ops->load(b, 10, 1, saved[0], (size_t)n[0]), 0);
	assert_int_equal(b->ops->load(b, 11, 1, saved[0], 5), -EBADMSG);
	assert_int_equal(b->ops->getattr(b, 100, 0, &e.attr), 0);
	b->ops->stop(b);
	(void)audit_sink_free(from.sink);
	slurp("audit", &text);
	has(&text, "\"op\":\"getattr\",\"path\":\"/d/f\"");
}

/* Without a place to write to, a mount that is to be audited is refused. */
static void nowhere(void **state)
{
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;

	assert_int_equal(fsb_options_parse("passthrough", "audit", 5, &o, &e), 0);
	from.options = &o;
	from.dir_fd = openat(dir, "share", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fsb_stack_start("passthrough", &from, &b, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "no place to write"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {T(lines), T(longest_line), T(escapes_anywhere),
		T(lines_differ), T(writes_and_goes_on), T(writes_while_running), T(rotates),
		T(ring_begins_again), T(overtaken), T(many_threads), T(full_disk), T(changes),
		T(all), T(chosen), T(opens), T(exchange), T(loaded), T(nowhere)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
