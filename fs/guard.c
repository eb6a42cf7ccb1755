// SPDX-License-Identifier: Apache-2.0
// Shared memory that its other owner may cut short.
#include "fs/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#define PAGE 4096u

/* Read by a signal handler: no lock. A place is taken by its start, and good once it has bytes. */
static struct {
	_Atomic uintptr_t start;
	_Atomic size_t bytes;
} map[GUARD_MAX];
static _Atomic size_t high;

static bool guarded(uintptr_t at)
{
	for (size_t i = 0; i < atomic_load(&high); i++)
		if (at - atomic_load(&map[i].start) < atomic_load(&map[i].bytes))
			return true;
	return false;
}

static void on_bus_error(int sig, siginfo_t *si, void *context)
{
	void *page = (void *)((uintptr_t)si->si_addr & ~(uintptr_t)(PAGE - 1));
	int saved = errno;

	if (!guarded((uintptr_t)si->si_addr) ||
		mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			-1, 0) == MAP_FAILED)
		(void)signal(sig, SIG_DFL); /* the same touch again ends it, as ever */
	errno = saved;
}

int guard_init(void)
{
	struct sigaction sa = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};

	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}

void guard_add(const void *p, size_t bytes)
{
	for (size_t i = 0; i < GUARD_MAX; i++) {
		uintptr_t none = 0;
		size_t seen = atomic_load(&high);

		if (!atomic_compare_exchange_strong(&map[i].start, &none, (uintptr_t)p))
			continue;
		atomic_store(&map[i].bytes, bytes);
		while (seen < i + 1 && !atomic_compare_exchange_weak(&high, &seen, i + 1))
			;
		return;
	}
}

void guard_del(const void *p)
{
	for (size_t i = 0; i < atomic_load(&high); i++) {
		if (atomic_load(&map[i].start) != (uintptr_t)p)
			continue;
		atomic_store(&map[i].bytes, 0);
		atomic_store(&map[i].start, 0);
		return;
	}
}
