// SPDX-License-Identifier: Apache-2.0
// What a wrapper costs: the same requests in one thread, in-process, to a backend with and without
// options, round about. One JSON line an operation.
//	wrapped [ROUNDS [CALLS [OP]]]
#include "tests/unit/fusereq.h"
#include "base/io.h"
#include "fs/audit_sink.h"
#include "fs/denials.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 101
#define FILES	   512

struct side {
	struct fsd_fs fs;
	struct fsb_options o;
	struct fusereq q;
	uint64_t node[FILES], file, fh;
	double ns[MAX_ROUNDS], cpu_ns[MAX_ROUNDS], beside_ns[MAX_ROUNDS];
};

static struct side plain, wrapped;
static struct denials *denials;
static char top[64];
static unsigned int rounds = 15, calls = 20000;

static void die(const char *what)
{
	(void)fprintf(stderr, "wrapped: %s\n", what);
	exit(1);
}

static void clean(void)
{
	(void)msb_rm_rf(AT_FDCWD, top);
}

static void start(struct side *s, const char *backend, const char *options, struct audit_sink *sink)
{
	struct fsb_start from = FSB_START_NONE;
	struct msb_err e = {0};
	struct fsb *b;
	char path[128];

	if (fsb_options_parse(backend, options, strlen(options), &s->o, &e) < 0)
		die(e.msg);
	(void)snprintf(path, sizeof(path), "%s/%s-%p", top, backend, (void *)s);
	if (mkdir(path, 0755) < 0)
		die("mkdir");
	from.options = &s->o;
	from.sink = sink;
	from.denials = denials; /* as a sandbox's mounts have */
	from.mount = "bench";
	if (!strcmp(backend, "passthrough"))
		from.dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fsb_stack_start(backend, &from, &b, &e) < 0)
		die(e.msg);
	fsd_fs_init(&s->fs, b);
	s->q.s = fsd_session_new(&s->fs, &fuse_profile_guest, false);
	s->q.w = calloc(1, sizeof(*s->q.w));
	if (!s->q.s || !s->q.w || req_init(&s->q))
		die("init");
	for (unsigned int i = 0; i < FILES; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "file%u", i);
		if (req_create(&s->q, 1, name, O_RDWR, 0644))
			die("create");
		s->node[i] = REQ_REPLY(&s->q, struct fuse_entry_out)->nodeid;
		s->fh = req_created_fh(&s->q);
		s->file = s->node[i];
	}
}

static char data[1 << 20];

static void op_lookup(struct side *s, unsigned int i)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "file%u", i % FILES);
	(void)req_name(&s->q, FUSE_LOOKUP, 1, name);
}

static void op_getattr(struct side *s, unsigned int i)
{
	(void)req_getattr(&s->q, s->node[i % FILES]);
}

static void read_bytes(struct side *s, unsigned int i, uint32_t n)
{
	(void)req_read(&s->q, FUSE_READ, s->file, s->fh, 0, n);
}

static void op_read4k(struct side *s, unsigned int i)
{
	read_bytes(s, i, 4096);
}

static void op_read128k(struct side *s, unsigned int i)
{
	read_bytes(s, i, 128 << 10);
}

static void op_write4k(struct side *s, unsigned int i)
{
	(void)req_write(&s->q, s->file, s->fh, i % 32 * 4096, data, 4096, 0);
}

static void op_write128k(struct side *s, unsigned int i)
{
	(void)req_write(&s->q, s->file, s->fh, 0, data, 128 << 10, 0);
}

static void op_create_unlink(struct side *s, unsigned int i)
{
	uint64_t node, fh;

	if (req_create(&s->q, 1, "new", O_RDWR, 0644))
		die("create");
	node = REQ_REPLY(&s->q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&s->q);
	if (fh)
		(void)req_release(&s->q, FUSE_RELEASE, node, fh);
	if (req_name(&s->q, FUSE_UNLINK, 1, "new"))
		die("unlink");
	req_forget(&s->q, node, 1);
}

/* A file's life as a build or an unpacking has it. */
static void op_mix(struct side *s, unsigned int i)
{
	uint64_t node, fh;

	(void)req_lookup(&s->q, 1, "new");
	if (req_create(&s->q, 1, "new", O_RDWR, 0644))
		die("create");
	node = REQ_REPLY(&s->q, struct fuse_entry_out)->nodeid;
	fh = req_created_fh(&s->q);
	(void)req_write(&s->q, node, fh, 0, data, 16384, 0);
	(void)req_getattr(&s->q, node);
	if (fh)
		(void)req_release(&s->q, FUSE_RELEASE, node, fh);
	if (req_rename(&s->q, 1, "new", 1, "moved", 0))
		die("rename");
	if (req_open(&s->q, FUSE_OPEN, node, O_RDONLY) == 0)
		fh = REQ_REPLY(&s->q, struct fuse_open_out)->fh;
	else
		fh = 0;
	(void)req_read(&s->q, FUSE_READ, node, fh, 0, 16384);
	if (fh)
		(void)req_release(&s->q, FUSE_RELEASE, node, fh);
	if (req_name(&s->q, FUSE_UNLINK, 1, "moved"))
		die("unlink");
	req_forget(&s->q, node, 1);
}

static void op_rename(struct side *s, unsigned int i)
{
	if (req_rename(&s->q, 1, i % 2 ? "moved" : "file0", 1, i % 2 ? "file0" : "moved", 0))
		die("rename");
}

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void run(
	struct side *s, unsigned int round, void (*op)(struct side *, unsigned int), unsigned int n)
{
	double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID),
	       all = now(CLOCK_PROCESS_CPUTIME_ID);

	for (unsigned int i = 0; i < n; i++)
		op(s, i);
	s->cpu_ns[round] = (now(CLOCK_THREAD_CPUTIME_ID) - cpu) / n;
	s->ns[round] = (now(CLOCK_MONOTONIC) - wall) / n;
	/* What is still in the ring is the other side's turn: let the writer have it first. */
	(void)usleep(2 * AUDIT_FLUSH_MS * 1000);
	s->beside_ns[round] = (now(CLOCK_PROCESS_CPUTIME_ID) - all) / n - s->cpu_ns[round];
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, rounds, sizeof(*v), by_value);
	return v[rounds / 2];
}

/* cpu_ratio is the requests' own thread; beside_cpu_ns is what other threads had to do more, as
 * audit's writer: it is in rate_ratio only where there is no core to spare. */
static void print(const char *backend, const char *options, const char *op)
{
	double a = median(plain.ns), b = median(wrapped.ns), ca = median(plain.cpu_ns),
	       cb = median(wrapped.cpu_ns),
	       beside = median(wrapped.beside_ns) - median(plain.beside_ns);

	(void)printf(
		"{\"bench\":\"wrapped\",\"backend\":\"%s\",\"options\":\"%s\",\"op\":\"%s\","
		"\"plain_ns\":%.0f,\"wrapped_ns\":%.0f,\"rate_ratio\":%.3f,"
		"\"plain_cpu_ns\":%.0f,\"wrapped_cpu_ns\":%.0f,\"cpu_ratio\":%.3f,\"beside_cpu_ns\":%.0f}\n",
		backend, options, op, a, b, a / b, ca, cb, ca / cb, beside);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*op)(struct side *, unsigned int);
		unsigned int share; /* of the calls */
	} ops[] = {{"lookup", op_lookup, 1}, {"getattr", op_getattr, 1}, {"write4k", op_write4k, 1},
		{"read4k", op_read4k, 1}, {"write128k", op_write128k, 8},
		{"read128k", op_read128k, 8}, {"create+unlink", op_create_unlink, 2},
		{"rename", op_rename, 2}, {"mix", op_mix, 10}};
	static const struct {
		const char *backend, *options;
	} stacks[] = {{"passthrough", "audit=all"}, {"passthrough", "audit"},
		{"passthrough", "quota_bytes=1G"}, {"passthrough", "deny=/secret,redact=*.key"},
		{"memory", "audit=all"}};

	if (argc > 1)
		rounds = (unsigned int)atoi(argv[1]);
	if (argc > 2)
		calls = (unsigned int)atoi(argv[2]);
	if (rounds < 1 || rounds > MAX_ROUNDS || calls < 100)
		die("usage: wrapped [ROUNDS [CALLS [OP]]]: 1 to 101, 100 or more");
	(void)umask(0);
	denials = denials_new();
	for (size_t k = 0; k < sizeof(stacks) / sizeof(stacks[0]); k++) {
		struct audit_sink *sink;
		struct msb_err e = {0};

		(void)snprintf(top, sizeof(top), "/dev/shm/msb-bench-XXXXXX");
		if (!mkdtemp(top))
			die("mkdtemp");
		(void)atexit(clean);
		if (audit_sink_new(open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0, &sink, &e) < 0)
			die(e.msg);
		start(&plain, stacks[k].backend, "rw", NULL);
		start(&wrapped, stacks[k].backend, stacks[k].options, sink);
		for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
			unsigned int n = calls / ops[i].share & ~1u;

			if (argc > 3 && strcmp(argv[3], ops[i].name) != 0)
				continue;

			for (unsigned int r = 0; r < rounds; r++) {
				struct side *first = r % 2 ? &wrapped : &plain,
					    *second = r % 2 ? &plain : &wrapped;

				run(first, r, ops[i].op, n);
				run(second, r, ops[i].op, n);
			}
			print(stacks[k].backend, stacks[k].options, ops[i].name);
			(void)fflush(stdout);
		}
		for (int i = 0; i < 2; i++) {
			struct side *s = i ? &wrapped : &plain;

			s->q.s = fsd_session_free(s->q.s);
			fsd_fs_done(&s->fs);
			free(s->q.w);
		}
		(void)audit_sink_free(sink);
		clean();
	}
	return 0;
}
