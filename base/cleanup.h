/* SPDX-License-Identifier: Apache-2.0 */
/* Scope-bound cleanup: what a block acquires it gives back on every way out. */
#ifndef MSB_BASE_CLEANUP_H
#define MSB_BASE_CLEANUP_H

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <errno.h>

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

/* -1 is "no descriptor"; 0 is a valid one. errno survives, so a failing path can clean up and then
 * report. */
static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;
		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_fclose_(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedir_(DIR **d)
{
	if (*d)
		closedir(*d);
}

static inline void cleanup_unlock_(pthread_mutex_t **m)
{
	if (*m)
		pthread_mutex_unlock(*m);
}

#define _cleanup_(fn)	   __attribute__((cleanup(fn)))
#define _cleanup_free_	   _cleanup_(cleanup_free_)
#define _cleanup_close_	   _cleanup_(cleanup_close_)
#define _cleanup_fclose_   _cleanup_(cleanup_fclose_)
#define _cleanup_closedir_ _cleanup_(cleanup_closedir_)

#define MSB_CAT2_(a, b) a##b
#define MSB_CAT_(a, b)	MSB_CAT2_(a, b)

/* Locks @m until the end of the enclosing block. */
#define LOCK_SCOPE(m)                                                                              \
	_cleanup_(cleanup_unlock_) pthread_mutex_t *MSB_CAT_(lock_, __LINE__) = (m);               \
	pthread_mutex_lock(MSB_CAT_(lock_, __LINE__))

/* Move a pointer or descriptor out of a cleanup variable. */
#define steal_ptr(p)                                                                               \
	({                                                                                         \
		__typeof__(p) stolen_ = (p);                                                       \
		(p) = NULL;                                                                        \
		stolen_;                                                                           \
	})

static inline int steal_fd(int *fd)
{
	int stolen = *fd;
	*fd = -1;
	return stolen;
}

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
