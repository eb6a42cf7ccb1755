// SPDX-License-Identifier: Apache-2.0
/*
 * vufs: file servers beside each other, driven as QEMU and a guest's kernel drive them.
 *
 *	vufs [-n ROUNDS] [-o OP,...] [-m MODE,...] -b BINDIR -d DIRECTORY SERVER...
 *
 * SERVER is msb:BACKEND[,OPTIONS], with @BINDIR behind it of another build, or NAME=COMMAND for a
 * virtiofsd. Each runs in its usual sandbox on a directory of its own below DIRECTORY, one request
 * queue of 1024 entries. For every operation and mode, ROUNDS rounds in which each server has its
 * turn. A mode is what the client does while it waits, and how many requests it keeps in flight:
 * sleep1, spin1, sleep16, spin16. The client has one CPU to itself and the servers another, where
 * there are two.
 *
 * JSON Lines: for every server the medians of latency (p50 of a round), rate, and CPU time of the
 * server an operation (all its processes; the time that it polls included); for every server of
 * ours, medians of the rounds' ratios to the better peer, and what they are to be.
 */
#include "tools/bench/ops.h"
#include "tools/bench/server.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_SERVERS 8
#define MAX_ROUNDS  1000
#define SETTLE_MS   2 /* a server's polling after the last request belongs to the requests */

enum metric { P50, RATE, CPU, REQUESTS, METRICS };

static const struct mode {
	const char *name;
	bool spin;
	unsigned int depth;
} modes[] = {
	{"sleep1", false, 1}, {"spin1", true, 1}, {"sleep16", false, 16}, {"spin16", true, 16}};

static struct server server[MAX_SERVERS];
static struct client *client[MAX_SERVERS];
static unsigned int nservers;
static double result[MAX_SERVERS][METRICS][MAX_ROUNDS];

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *v, unsigned int n)
{
	double s[MAX_ROUNDS];

	memcpy(s, v, n * sizeof(*s));
	qsort(s, n, sizeof(*s), by_value);
	return n % 2 ? s[n / 2] : (s[n / 2 - 1] + s[n / 2]) / 2;
}

static int by_time(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* One server's turn. */
static int turn(unsigned int k, const struct op *op, const struct mode *m, unsigned int round)
{
	static uint32_t lat[2 * FILES];
	const unsigned int middle = op->count / 2;
	struct client *c = client[k];
	uint64_t cpu, began, ended, requests;
	int r;

	c->f.spin = true;
	r = op->prepare ? op->prepare(c) : 0;
	if (r < 0)
		return r;
	if (r > 0) {
		for (int i = 0; i < METRICS; i++)
			result[k][i][round] = 0;
		return 0;
	}
	(void)poll(NULL, 0, SETTLE_MS);
	c->f.spin = m->spin;
	requests = c->requests;
	cpu = server_cpu_ns(&server[k]);
	began = now_ns();
	r = op_run(c, op, op->count, m->depth, lat);
	ended = now_ns();
	(void)poll(NULL, 0, SETTLE_MS);
	cpu = server_cpu_ns(&server[k]) - cpu;
	qsort(lat, op->count, sizeof(*lat), by_time);
	result[k][P50][round] = lat[middle] / 1e3;
	result[k][RATE][round] = op->count * 1e9 / (double)(ended - began);
	result[k][CPU][round] = (double)cpu / 1e3 / op->count;
	result[k][REQUESTS][round] = (double)(c->requests - requests) / op->count;
	c->f.spin = true;
	if (r == 0 && op->finish)
		r = op->finish(c);
	return r;
}

static void print_server(
	unsigned int k, const struct op *op, const struct mode *m, unsigned int rounds)
{
	printf("{\"bench\":\"fs\",\"op\":\"%s\",\"mode\":\"%s\",\"who\":\"%s\",\"rounds\":%u,"
	       "\"p50_us\":%.2f,\"ops_s\":%.0f,\"cpu_us\":%.2f,\"requests\":%.2f}\n",
		op->name, m->name, server[k].name, rounds, median(result[k][P50], rounds),
		median(result[k][RATE], rounds), median(result[k][CPU], rounds),
		median(result[k][REQUESTS], rounds));
}

/* Ours to the peer that is better at this: the median of the rounds' ratios. -1: no peer. */
static double ratio(unsigned int k, enum metric what, unsigned int rounds)
{
	double worst = -1, r[MAX_ROUNDS];

	for (unsigned int p = 0; p < nservers; p++) {
		double m;

		if (server[p].ours)
			continue;
		for (unsigned int i = 0; i < rounds; i++)
			r[i] = result[p][what][i] > 0 ? result[k][what][i] / result[p][what][i] : 0;
		m = median(r, rounds);
		if (worst < 0 || (what == RATE ? m < worst : m > worst))
			worst = m;
	}
	return worst;
}

static void print_ratio(const char *name, double is, double target, bool at_least)
{
	printf(",\"%s\":%.3f", name, is);
	if (target > 0)
		printf(",\"%s_target\":%.2f,\"%s_met\":%s", name, target, name,
			(at_least ? is >= target : is <= target) ? "true" : "false");
}

static void print_ratios(
	unsigned int k, const struct op *op, const struct mode *m, unsigned int rounds)
{
	bool sent = median(result[k][REQUESTS], rounds) > 0;

	if (!server[k].ours || ratio(k, P50, rounds) < 0)
		return;
	printf("{\"bench\":\"fs\",\"op\":\"%s\",\"mode\":\"%s\",\"ratio\":\"%s\"", op->name,
		m->name, server[k].name);
	if (!sent) {
		printf(",\"requests\":0}\n");
		return;
	}
	print_ratio("cpu", ratio(k, CPU, rounds), op->cpu, false);
	print_ratio("p50", ratio(k, P50, rounds), m->depth == 1 ? op->p50 : 0, false);
	print_ratio("rate", ratio(k, RATE, rounds), m->depth > 1 ? op->rate : 0, true);
	printf("}\n");
}

static int measure(const struct op *op, const struct mode *m, unsigned int rounds)
{
	/* The first round warms up and is overwritten. */
	for (unsigned int i = 0; i <= rounds; i++)
		for (unsigned int n = 0; n < nservers; n++) {
			const unsigned int k = (n + i) % nservers; /* each comes first in turn */
			int r = turn(k, op, m, i ? i - 1 : 0);

			if (r < 0) {
				(void)fprintf(stderr, "vufs: %s of %s: %s\n", op->name,
					server[k].name, strerror(-r));
				return r;
			}
		}
	for (unsigned int k = 0; k < nservers; k++)
		print_server(k, op, m, rounds);
	for (unsigned int k = 0; k < nservers; k++)
		print_ratios(k, op, m, rounds);
	(void)fflush(stdout);
	return 0;
}

/* Whether @name is in the comma-separated @list; all are where there is none. */
static bool listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, name, n) && (p[n] == ',' || p[n] == '\0'))
			return true;
	return !list;
}

/* Ties this process, and what it starts from now on, to the @n-th of @all CPUs. */
static void tie_to_cpu(const cpu_set_t *all, int n)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, all) && n-- == 0)
			CPU_SET(i, &one);
	if (CPU_COUNT(&one))
		(void)sched_setaffinity(0, sizeof(one), &one);
}

static int start_all(char **spec, unsigned int n, const char *bin_dir, const char *dir)
{
	struct msb_err e = {0};

	for (unsigned int k = 0; k < n; k++) {
		int r;

		client[k] = calloc(1, sizeof(*client[k]));
		if (!client[k])
			return -ENOMEM;
		r = server_start(&server[k], spec[k], bin_dir, dir, &e);
		nservers = k + 1;
		if (r == 0)
			r = client_start(client[k], server[k].socket, server[k].subdir, &e);
		if (r < 0) {
			(void)fprintf(stderr, "vufs: %s: %s\n", spec[k], e.msg);
			return r;
		}
		server_find_pids(&server[k]);
	}
	return 0;
}

static void usage(void)
{
	(void)fprintf(stderr, "usage: vufs [-n ROUNDS] [-o OP,...] [-m MODE,...] -b BINDIR "
			      "-d DIRECTORY SERVER...\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const char *bin_dir = NULL, *dir = NULL, *only = NULL, *only_modes = NULL;
	unsigned int rounds = 10;
	cpu_set_t cpus;
	char work[128];
	int opt, r;

	while ((opt = getopt(argc, argv, "n:o:m:b:d:")) != -1)
		switch (opt) {
		case 'n': rounds = (unsigned int)strtoul(optarg, NULL, 10); break;
		case 'o': only = optarg; break;
		case 'm': only_modes = optarg; break;
		case 'b': bin_dir = optarg; break;
		case 'd': dir = optarg; break;
		default: usage();
		}
	argc -= optind;
	if (!bin_dir || !dir || argc < 1 || argc > MAX_SERVERS || !rounds || rounds > MAX_ROUNDS)
		usage();
	(void)snprintf(work, sizeof(work), "%.100s/vufs-XXXXXX", dir);
	if (!mkdtemp(work) || chmod(work, 0755) < 0) {
		(void)fprintf(stderr, "vufs: %s: %m\n", work);
		return 1;
	}
	CPU_ZERO(&cpus);
	(void)sched_getaffinity(0, sizeof(cpus), &cpus);
	tie_to_cpu(&cpus, 1);
	r = start_all(argv + optind, (unsigned int)argc, bin_dir, work);
	tie_to_cpu(&cpus, 0);
	for (unsigned int i = 0; r == 0 && i < nops; i++)
		for (size_t k = 0; r == 0 && k < ARRAY_LEN(modes); k++)
			if (listed(only, ops[i].name) && listed(only_modes, modes[k].name))
				r = measure(&ops[i], &modes[k], rounds);
	for (unsigned int k = 0; k < nservers; k++) {
		if (client[k])
			client_done(client[k]);
		free(client[k]);
		server_stop(&server[k]);
	}
	(void)msb_rm_rf(AT_FDCWD, work);
	return r < 0;
}
