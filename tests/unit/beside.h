/* SPDX-License-Identifier: Apache-2.0 */
/* Where the programs are that belong to a test. */
#ifndef MSB_TESTS_BESIDE_H
#define MSB_TESTS_BESIDE_H

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

#endif
