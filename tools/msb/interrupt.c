// SPDX-License-Identifier: Apache-2.0
// ^C, TERM and HUP, none of which is lost.
#include "tools/msb/interrupt.h"
#include "base/cleanup.h"

#include <signal.h>
#include <unistd.h>

static const int caught[] = {SIGINT, SIGTERM, SIGHUP};
static volatile sig_atomic_t came;

/* A signal between two waits ends neither: the alarm comes again until there is one to end. */
static void on_signal(int sig)
{
	came = 1;
	(void)alarm(1);
}

static const struct sigaction handler = {.sa_handler = on_signal}; /* no SA_RESTART */

void interrupt_catch(void)
{
	struct sigaction old;

	/* What is ignored stays so: nohup. */
	for (size_t i = 0; i < ARRAY_LEN(caught); i++)
		if (sigaction(caught[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(caught[i], &handler, NULL); /* valid signals */
	(void)sigaction(SIGALRM, &handler, NULL);
}

static void mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(caught); i++)
		sigaddset(&set, caught[i]);
	(void)sigprocmask(how, &set, NULL); /* a valid set */
}

bool interrupt_hold(void)
{
	mask(SIG_BLOCK);
	(void)alarm(0);
	(void)signal(SIGALRM, SIG_IGN); /* one that has come already is not for the next wait */
	return came;
}

void interrupt_release(void)
{
	came = 0;
	(void)sigaction(SIGALRM, &handler, NULL);
	mask(SIG_UNBLOCK);
}
