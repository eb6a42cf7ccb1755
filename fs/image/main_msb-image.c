// SPDX-License-Identifier: Apache-2.0
// msb-image: the short-lived, jailed process that fills and cleans the image store.
#include "fs/image/disk.h"
#include "fs/image/export.h"
#include "fs/image/import.h"
#include "fs/image/pull.h"
#include "fs/image/push.h"
#include "fs/image/stat.h"
#include "fs/image/verify.h"
#include "base/cleanup.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/msg.h"

#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { STORE_FD = 3, SOURCE_FD = 4, SOCK_FD = 5 };

static struct msb_msg msg;

/* From several threads, one at a time. */
static void progress(void *arg, const struct img_progress *p)
{
	msb_msg_init(&msg, "progress");
	msb_msg_set(&msg, "stage", "%s", p->stage);
	msb_msg_set(&msg, "layer", "%u", p->layer);
	msb_msg_set(&msg, "layers", "%u", p->layers);
	msb_msg_set(&msg, "digest", "%s", p->digest ?: "");
	msb_msg_set(&msg, "state", "%s", p->state ?: "");
	msb_msg_set(&msg, "done_bytes", "%llu", (unsigned long long)p->done_bytes);
	msb_msg_set(&msg, "total_bytes", "%llu", (unsigned long long)p->total_bytes);
	(void)msb_msg_send(SOCK_FD, &msg); /* nobody listens: the answer will fail, not this */
}

static int reply_image(const struct img_imported *got)
{
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "digest", "%s", got->digest);
	msb_msg_set(&msg, "kind", "%s", got->kind);
	msb_msg_set(&msg, "size_bytes", "%llu", (unsigned long long)got->size_bytes);
	return msb_msg_send(SOCK_FD, &msg);
}

/* What msbd says may be less than what is otherwise the most. */
static int limits(const struct msb_msg *m, struct msb_err *e)
{
	struct rlimit memory;
	char key[32];
	uint64_t v;

	for (size_t k = 0; k < IMG_NLIMITS; k++) {
		(void)snprintf(key, sizeof(key), "max_%s", img_limit_rows[k].name);
		if (msb_msg_get_u64(m, key, &v) == 0)
			img_limit_set((enum img_limit)k, v);
	}
	memory.rlim_cur = memory.rlim_max = img_limit(IMG_LIMIT_MEMORY_BYTES);
	return setrlimit(RLIMIT_AS, &memory) < 0 ? msb_err_set(e, errno, "cannot limit memory: %m")
						 : 0;
}

static int import(const struct msb_msg *m, struct msb_err *e)
{
	struct img_import_opts opts = {.progress = progress,
		.max_bytes = img_limit(IMG_LIMIT_BYTES),
		.max_inodes = img_limit(IMG_LIMIT_INODES)};
	struct img_source *src = NULL;
	struct img_store *st = NULL;
	struct img_imported got;
	int r;

	r = img_source_open(SOURCE_FD, &src, e);
	if (r == 0)
		r = img_store_open(STORE_FD, &st, e);
	if (r == 0)
		r = img_import_run(src, st, &opts, &got, e);
	img_store_close(st);
	img_source_close(src);
	return r < 0 ? r : reply_image(&got);
}

static int missing(const char *what, struct msb_err *e)
{
	return msb_err_set(e, EINVAL, "asked without %s", what);
}

static int pull(const struct msb_msg *m, struct msb_err *e)
{
	struct img_pull_opts opts = {.name = msb_msg_get(m, "name"),
		.progress = progress,
		.max_bytes = img_limit(IMG_LIMIT_BYTES),
		.max_inodes = img_limit(IMG_LIMIT_INODES)};
	struct img_remote *remote = NULL;
	struct img_store *st = NULL;
	struct img_imported got;
	int r;

	if (!opts.name)
		return missing("a name", e);
	r = img_remote_open(SOURCE_FD, &remote, e);
	if (r == 0)
		r = img_store_open(STORE_FD, &st, e);
	if (r == 0)
		r = img_pull_run(remote, st, &opts, &got, e);
	img_remote_close(remote);
	img_store_close(st);
	return r < 0 ? r : reply_image(&got);
}

static int push(const struct msb_msg *m, struct msb_err *e)
{
	const struct img_push_opts opts = {
		.store_fd = STORE_FD,
		.digest = msb_msg_get(m, "digest"),
		.name = msb_msg_get(m, "name"),
		.from = msb_msg_get(m, "from"),
		.progress = progress,
	};
	struct img_remote *remote = NULL;
	struct img_store *st = NULL;
	char digest[65];
	int r;

	if (!opts.digest || !opts.name)
		return missing("a digest or a name", e);
	r = img_remote_open(SOURCE_FD, &remote, e);
	if (r == 0)
		r = img_store_open(STORE_FD, &st, e);
	if (r == 0)
		r = img_push_run(remote, st, &opts, digest, e);
	img_remote_close(remote);
	img_store_close(st);
	if (r < 0)
		return r;
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "digest", "%s", digest);
	return msb_msg_send(SOCK_FD, &msg);
}

static int export(const struct msb_msg *m, struct msb_err *e)
{
	const struct img_export_opts opts = {
		.store_fd = STORE_FD,
		.digest = msb_msg_get(m, "digest"),
		.name = msb_msg_get(m, "name"),
		.progress = progress,
	};
	struct img_store *st = NULL;
	int r;

	if (!opts.digest || !opts.name)
		return missing("a digest or a name", e);
	r = img_store_open(STORE_FD, &st, e);
	if (r == 0)
		r = img_export_run(st, &opts, SOURCE_FD, e);
	img_store_close(st);
	return r < 0 ? r : msb_msg_reply_ok(SOCK_FD);
}

static int gc(const struct msb_msg *m, struct msb_err *e)
{
	const uint8_t(*raw)[32] = msb_msg_payload_ptr(m);
	size_t n = m->payload_bytes / sizeof(raw[0]);
	_cleanup_free_ char(*hex)[65] = calloc(n + 1, sizeof(*hex));
	_cleanup_free_ const char **keep = calloc(n + 1, sizeof(*keep));
	uint64_t prune = 0;
	int r;

	if (!keep || !hex)
		return msb_err_set(e, ENOMEM, "out of memory");
	for (size_t k = 0; k < n; k++) {
		msb_hex(raw[k], sizeof(raw[k]), hex[k]);
		keep[k] = hex[k];
	}
	(void)msb_msg_get_u64(m, "prune", &prune); /* 0 where it is not there */
	r = img_store_gc(STORE_FD, keep, n, prune ? 0 : IMG_KEEP_PARTIAL_SEC, e);
	if (r < 0)
		return r;
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "deferred", "%d", r);
	return msb_msg_send(SOCK_FD, &msg);
}

static void damaged(void *arg, const char *line)
{
	msb_msg_init(&msg, "damaged");
	msb_msg_set(&msg, "line", "%s", line);
	(void)msb_msg_send(SOCK_FD, &msg); /* nobody listens: the answer will fail, not this */
}

static int verify(const struct msb_msg *m, struct msb_err *e)
{
	static const struct img_verify ops = {.damaged = damaged, .progress = progress};
	struct img_store *st;
	int r = img_store_open_read(STORE_FD, &st, e);

	if (r < 0)
		return r;
	r = img_store_verify(st, msb_msg_get(m, "digest"), &ops, e);
	img_store_close(st);
	if (r < 0)
		return r;
	msb_msg_init(&msg, "ok");
	msb_msg_set(&msg, "damaged", "%d", r);
	return msb_msg_send(SOCK_FD, &msg);
}

static int count(const struct msb_msg *m, struct msb_err *e)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT;
	struct img_store *st;
	int r = img_store_open_read(STORE_FD, &st, e);

	if (r < 0)
		return r;
	r = img_store_stat(st, &text, e);
	img_store_close(st);
	if (r < 0)
		return r;
	msb_msg_init(&msg, "ok");
	msb_msg_payload(&msg, text.buf, text.len);
	return msb_msg_send(SOCK_FD, &msg);
}

static int disk(const struct msb_msg *m, struct msb_err *e)
{
	const char *digest = msb_msg_get(m, "digest"), *format = msb_msg_get(m, "format");
	struct img_store *st = NULL;
	int r = digest && format ? 0 : missing("a digest or a format", e);

	if (r == 0)
		r = img_store_open(STORE_FD, &st, e);
	if (r == 0)
		r = img_disk_unpack(st, digest, format, img_limit(IMG_LIMIT_DISK_BYTES), e);
	img_store_close(st);
	return r < 0 ? r : msb_msg_reply_ok(SOCK_FD);
}

/* Reading sources that the caller may read is all that root keeps: it can be nobody's file. */
static int narrow(struct msb_err *e)
{
	static const char *const syscalls[] = {"brk", "clock_gettime", "clone", "clone3", "close",
		"exit", "exit_group", "faccessat", "faccessat2", "fallocate", "fcntl", "fdatasync",
		"flock", "fstat", "fsync", "ftruncate", "futex", "getdents64", "getpid",
		"getrandom", "gettid", "ioctl", "lseek", "madvise", "memfd_create", "mkdirat",
		"mmap", "mprotect", "mremap", "munmap", "newfstatat", "openat", "openat2",
		"pread64", "prlimit64", "pwrite64", "read", "recvmsg", "renameat", "renameat2",
		"rt_sigaction", "rt_sigprocmask", "rseq", "rt_sigreturn", "sched_getaffinity",
		"set_robust_list", "sendmsg", "shutdown", "sync_file_range", "sysinfo", "unlinkat",
		"utimensat", "write", "writev", NULL};
	const struct rlimit memory = {IMG_MAX_MEMORY, IMG_MAX_MEMORY};
	const struct msb_jail_dir dirs[] = {{STORE_FD, true}, {SOURCE_FD, false}};
	struct msb_jail jail = {
		.flags = MSB_JAIL_NET | MSB_JAIL_ROOT | MSB_JAIL_IPC,
		.keep_caps = UINT64_C(1) << CAP_DAC_READ_SEARCH,
		.syscalls = syscalls,
		.dirs = dirs,
		.ndirs = 1,
	};
	struct stat st;

	/* A source that is a file is read through its descriptor alone. */
	if (fstat(SOURCE_FD, &st) == 0 && S_ISDIR(st.st_mode))
		jail.ndirs = 2;

	if (setrlimit(RLIMIT_AS, &memory) < 0)
		return msb_err_set(e, errno, "cannot limit memory: %m");
	return msb_jail_enter(&jail, e);
}

static const struct verb {
	const char *name;
	int (*fn)(const struct msb_msg *request, struct msb_err *e); /* answers where it succeeds */
} verbs[] = {
	{"import", import},
	{"pull", pull},
	{"push", push},
	{"export", export},
	{"gc", gc},
	{"verify", verify},
	{"stat", count},
	{"disk", disk},
};

static const struct verb *find_verb(const char *name)
{
	for (size_t k = 0; k < ARRAY_LEN(verbs); k++)
		if (strcmp(verbs[k].name, name) == 0)
			return &verbs[k];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct verb *verb = argc == 2 ? find_verb(argv[1]) : NULL;
	static struct msb_msg request;
	struct msb_err e = {0};
	int r;

	if (!verb) {
		fprintf(stderr, "msb-image is started by msbd: VERB\n");
		return 2;
	}
	msb_log_init("msb-image", NULL, -1);
	signal(SIGPIPE, SIG_IGN);
	/* Each arena reserves addresses, which IMG_MAX_MEMORY counts. */
	(void)mallopt(M_ARENA_MAX, 2);
	r = narrow(&e);
	if (r == 0)
		r = msb_msg_recv(SOCK_FD, &request);
	if (r == 0 && strcmp(msb_msg_verb(&request), verb->name) != 0)
		r = msb_err_set(&e, EINVAL, "started for %s, asked for %s", verb->name,
			msb_msg_verb(&request));
	if (r == 0)
		r = limits(&request, &e);
	if (r == 0)
		r = verb->fn(&request, &e);
	if (r < 0) {
		if (!e.code)
			msb_err_set(&e, -r, "msb-image: %s", strerror(-r));
		(void)msb_msg_reply_err(SOCK_FD, &e); /* or nobody is there to hear it */
	}
	return r < 0 ? 1 : 0;
}
