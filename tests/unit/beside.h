/* SPDX-License-Identifier: Apache-2.0 */
/* Where the programs are that belong to a test. */
#ifndef MSB_TESTS_BESIDE_H
#define MSB_TESTS_BESIDE_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The directory that holds program @name: beside the tests, or where the plain build has it (the
 * sanitizer builds make tests only). -1 where it is not built. */
static inline int bin_beside(const char *name, char *out, size_t cap)
{
	static const char *const places[] = {"../bin", "../../bin"};
	char self[3000], path[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return -1;
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (int k = 0; k < 2; k++) {
		(void)snprintf(out, cap, "%s/%s", self, places[k]);
		(void)snprintf(path, sizeof(path), "%s/%s/%s", self, places[k], name);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return -1;
}

/* The directory of the plain build's msb-fsd, also for a test built with sanitizers: they call more
 * than its filter permits. false where it is not built. */
static inline bool plain_fsd_dir(char *out, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", out, cap - 16);
	char *p;

	out[n > 0 ? n : 0] = '\0';
	p = strstr(out, "/build/");
	if (!p)
		return false;
	for (char *next; (next = strstr(p + 1, "/build/"));)
		p = next;
	(void)snprintf(p, cap - (size_t)(p - out), "/build/bin/msb-fsd");
	if (access(out, X_OK) < 0)
		return false;
	*strrchr(out, '/') = '\0';
	return true;
}

#endif
