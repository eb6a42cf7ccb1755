// SPDX-License-Identifier: Apache-2.0
// The model test's program.
//	fs_model [-s SEED] [-n OPS] [-t SECONDS] [-k EVERY] [-d] [-u] [-l] [-c] DIRECTORY ORACLE
// ORACLE is an empty directory, or what an earlier run left; so is DIRECTORY, on another file
// system. -d: mostly contents; -u: no set-id bits, which a server may refuse to write to; -l: no
// owners and attributes of links and no whiteouts, which one may only have by putting a file in
// their place; -c: only compares what is there; -k: compares everything after so many operations
// (1000): 1 finds the one that went wrong. Without -n and -t: 20000 operations. Nothing depends on
// time but -t: a seed and a number of operations are a run.
#include "tests/e2e/fs_model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

uint32_t model_rnd(struct model *m, uint32_t n)
{
	m->rnd = m->rnd * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(m->rnd >> 33) % n;
}

void model_path(struct model *m, char path[MODEL_PATH])
{
	static const char *const name[] = {"a", "b", "c", "d", "e", "f", "long-name-of-a-file"};
	uint32_t depth = 1 + model_rnd(m, 3);

	for (uint32_t i = 0; i < depth; i++)
		path += sprintf(path, "%s%s", i ? "/" : "", name[model_rnd(m, ARRAY_LEN(name))]);
}

void model_note(struct model *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(m->log[m->op % MODEL_LOG], sizeof(m->log[0]), fmt, ap);
	va_end(ap);
}

void model_differs(struct model *m, const char *fmt, ...)
{
	uint64_t first = m->op < MODEL_LOG ? 0 : m->op - MODEL_LOG + 1;
	va_list ap;

	for (uint64_t i = first; i <= m->op; i++)
		printf("%8llu %s\n", (unsigned long long)i, m->log[i % MODEL_LOG]);
	va_start(ap, fmt);
	(void)vprintf(fmt, ap);
	va_end(ap);
	printf("\nseed %llu: differs at operation %llu\n", (unsigned long long)m->seed,
		(unsigned long long)m->op);
	exit(1);
}

void model_agree(struct model *m, const int64_t r[SIDES])
{
	if (r[UNDER_TEST] == r[ORACLE])
		return;
	for (int s = 0; s < SIDES; s++)
		printf("%s: %lld%s%s\n", m->name[s], (long long)r[s], r[s] < 0 ? " " : "",
			r[s] < 0 ? strerror((int)-r[s]) : "");
	model_differs(m, "results");
}

void model_close(struct model_file *f)
{
	for (int s = 0; s < SIDES; s++) {
		if (f->fd[s] >= 0)
			close(f->fd[s]);
		f->fd[s] = -1;
	}
}

/* What not every file system has, here or where the kernel forbids it, is left out on both. */
static bool both_have(struct model *m, const char *what, bool (*probe)(struct model *, int))
{
	bool have = true;

	for (int s = 0; s < SIDES; s++) {
		if (probe(m, s))
			continue;
		printf("%s: no %s: left out\n", m->name[s], what);
		have = false;
	}
	return have;
}

static bool probe_xattr(struct model *m, int s, const char *name)
{
	int fd = openat(m->dir[s], "probe", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	bool r = fd >= 0 && fsetxattr(fd, name, "", 0, 0) == 0;

	if (fd >= 0)
		close(fd);
	(void)unlinkat(m->dir[s], "probe", 0);
	return r;
}

static bool probe_user(struct model *m, int s)
{
	return probe_xattr(m, s, "user.probe");
}

static bool probe_trusted(struct model *m, int s)
{
	return probe_xattr(m, s, "trusted.probe");
}

/* Where a server keeps the guest's attributes in the host's user.*, special files have none. */
static bool probe_special(struct model *m, int s)
{
	char at[40];
	int fd = symlinkat("to", m->dir[s], "probe") < 0
			 ? -1
			 : openat(m->dir[s], "probe", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	bool r;

	(void)snprintf(at, sizeof(at), "/proc/self/fd/%d", fd);
	r = fd >= 0 && setxattr(at, "trusted.probe", "", 0, 0) == 0;
	if (fd >= 0)
		close(fd);
	(void)unlinkat(m->dir[s], "probe", 0);
	return r;
}

static bool probe_device(struct model *m, int s)
{
	bool r = mknodat(m->dir[s], "probe", S_IFCHR | 0600, makedev(1, 3)) == 0;

	(void)unlinkat(m->dir[s], "probe", 0);
	return r;
}

static bool probe_whiteout(struct model *m, int s)
{
	bool r = mknodat(m->dir[s], "probe", S_IFREG | 0600, 0) == 0 &&
		 renameat2(m->dir[s], "probe", m->dir[s], "probe2", RENAME_WHITEOUT) == 0;

	(void)unlinkat(m->dir[s], "probe", 0);
	(void)unlinkat(m->dir[s], "probe2", 0);
	return r;
}

static unsigned int weight(const struct model_op *o, bool data)
{
	return data ? o->data : o->names;
}

static void step(struct model *m, bool data)
{
	const struct model_op *const table[] = {model_name_ops, model_data_ops};
	unsigned int total = 0, at;

	for (size_t t = 0; t < ARRAY_LEN(table); t++)
		for (const struct model_op *o = table[t]; o->name; o++)
			total += weight(o, data);
	at = total ? model_rnd(m, total) : 0;
	for (size_t t = 0; t < ARRAY_LEN(table); t++) {
		for (const struct model_op *o = table[t]; o->name; o++) {
			if (at < weight(o, data)) {
				model_note(m, "%s", o->name);
				o->run(m);
				return;
			}
			at -= weight(o, data);
		}
	}
}

static void open_sides(struct model *m, char **argv)
{
	for (int s = 0; s < SIDES; s++) {
		m->name[s] = argv[s];
		m->dir[s] = open(argv[s], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (m->dir[s] < 0) {
			perror(argv[s]);
			exit(2);
		}
	}
	for (int i = 0; i < MODEL_OPEN; i++)
		m->file[i].fd[UNDER_TEST] = m->file[i].fd[ORACLE] = -1;
	m->root = geteuid() == 0;
	m->xattr[0] = both_have(m, "user attributes", probe_user);
	m->xattr[1] = m->root && both_have(m, "trusted attributes", probe_trusted);
	m->special = m->xattr[1] && !m->plain_links &&
		     both_have(m, "attributes of special files", probe_special);
	m->devices = m->root && both_have(m, "devices", probe_device);
	m->whiteout = m->root && !m->plain_links && both_have(m, "RENAME_WHITEOUT", probe_whiteout);
}

int main(int argc, char **argv)
{
	static struct model m;
	uint64_t ops = 0, checks = 0, every = 1000;
	bool data = false, compare = false;
	time_t seconds = 0, end;
	int c;

	m.seed = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000;
	while ((c = getopt(argc, argv, "s:n:t:k:dulc")) != -1) {
		switch (c) {
		case 's': m.seed = strtoull(optarg, NULL, 0); break;
		case 'n': ops = strtoull(optarg, NULL, 0); break;
		case 't': seconds = strtol(optarg, NULL, 0); break;
		case 'k': every = strtoull(optarg, NULL, 0); break;
		case 'd': data = true; break;
		case 'u': m.no_setid = true; break;
		case 'l': m.plain_links = true; break;
		case 'c': compare = true; break;
		default: return 2;
		}
	}
	if (argc - optind != SIDES || !every) {
		(void)fprintf(stderr,
			"usage: fs_model [-s SEED] [-n OPS] [-t SECONDS] [-k EVERY] [-d] [-u] [-l] "
			"[-c] "
			"DIRECTORY ORACLE\n");
		return 2;
	}
	m.rnd = m.seed;
	umask(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_sides(&m, argv + optind);
	if (compare) {
		model_check_tree(&m);
		return 0;
	}
	printf("seed %llu\n", (unsigned long long)m.seed);
	ops = ops || seconds ? ops : 20000;
	end = time(NULL) + seconds;
	for (; !ops || m.op < ops; m.op++) {
		if (seconds && time(NULL) >= end)
			break;
		step(&m, data);
		if ((m.op + 1) % every == 0) {
			model_check_tree(&m);
			checks++;
		}
	}
	m.op -= m.op > 0;
	model_check_tree(&m);
	printf("seed %llu: %llu operations, %llu comparisons of everything: no difference\n",
		(unsigned long long)m.seed, (unsigned long long)m.op + 1,
		(unsigned long long)checks + 1);
	for (int i = 0; i < MODEL_OPEN; i++)
		model_close(&m.file[i]);
	return 0;
}
