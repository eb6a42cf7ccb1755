// SPDX-License-Identifier: Apache-2.0
/*
 * serve: a file server for a machine that a bench starts by hand.
 *
 *	serve -b BINDIR -d DIRECTORY SERVER	as vufs takes them; its socket and what it serves
 * are in DIRECTORY/NAME
 *
 * Prints the name and the path inside of what is mounted, then serves until it is killed.
 */
#include "tools/bench/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *bin_dir = NULL, *dir = NULL;
	struct msb_err e = {0};
	struct server s;
	sigset_t ends;
	int opt, sig;

	while ((opt = getopt(argc, argv, "b:d:")) != -1)
		*(opt == 'b' ? &bin_dir : &dir) = optarg;
	if (!bin_dir || !dir || optind + 1 != argc) {
		(void)fprintf(stderr, "usage: serve -b BINDIR -d DIRECTORY SERVER\n");
		return 2;
	}
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	if (server_start(&s, argv[optind], bin_dir, dir, &e) < 0) {
		(void)fprintf(stderr, "serve: %s\n", e.msg);
		server_stop(&s);
		return 1;
	}
	printf("%s %s\n", s.name, s.subdir ? s.subdir : "");
	(void)fflush(stdout);
	(void)sigwait(&ends, &sig);
	server_stop(&s);
	return 0;
}
