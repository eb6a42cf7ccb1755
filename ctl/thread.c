// SPDX-License-Identifier: Apache-2.0
// Detached threads with a small stack.
#include "ctl/thread.h"
#include "ctl/limits.h"

#include <pthread.h>

int ctl_thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t t;
	int r;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, CTL_THREAD_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&t, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return -r;
}
