// SPDX-License-Identifier: Apache-2.0
// The FUSE server: INIT, and what each kind of mount is promised.
#include "fs/fuse_priv.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/param.h>

#define PAGE	       4096u
#define MIN_MINOR      31 /* Linux 5.4: the first with virtiofs; every structure has its full size */
#define MAX_BACKGROUND 64

#ifndef FUSE_DIRECT_IO_ALLOW_MMAP
#define FUSE_DIRECT_IO_ALLOW_MMAP (1ULL << 36) /* Linux 6.6 */
#endif
#ifndef FUSE_ALLOW_IDMAP
#define FUSE_ALLOW_IDMAP (1ULL << 40) /* Linux 6.12 */
#endif

/* What both kinds take. DONT_MASK: the backend applies the umask. DIRECT_IO_ALLOW_MMAP: where a
 * mount's reads are to be seen (audit=all), files can be mapped all the same. */
#define COMMON_FLAGS                                                                               \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK |                \
		FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |               \
		FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_MAX_PAGES | \
		FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_EXPORT_SUPPORT | FUSE_INIT_EXT)

/* ACLs, and the longer SETXATTR, which says whether who sets one may keep set-gid. Linux then asks
 * for the ACL of every file that somebody uses who does not own it, and checks rights by itself,
 * whatever the mount says (default_permissions): so only for who asks for ACLs, and not where an
 * ordinary user looks into their own sandbox, root's files in which are theirs to edit. */
#define ACL_FLAGS (FUSE_POSIX_ACL | FUSE_SETXATTR_EXT)

/* Directories are edited from the host while the guest uses them, and virtiofs has no way to tell
 * the guest. One second is what a host edit may take to show; changes of the file's time or size
 * throw away what was cached of it, so an open need not. */
const struct fuse_profile fuse_profile_guest = {
	.cache = {.entry_ms = 1000,
		.attr_ms = 1000,
		.negative_ms = 1000,
		.open_flags = FOPEN_KEEP_CACHE},
	.guest = true,
	.init_flags = COMMON_FLAGS | ACL_FLAGS | FUSE_CACHE_SYMLINKS | FUSE_ALLOW_IDMAP,
	.skip_open = true,
};

/* The host looks into a tree that a guest is changing: nothing may be older than the call. OPEN is
 * answered even where it means nothing to the backend, since it drops cached data. */
const struct fuse_profile fuse_profile_view = {
	.init_flags = COMMON_FLAGS | ACL_FLAGS | FUSE_ALLOW_IDMAP,
};

/* Without default_permissions, so that FUSE_ALLOW_IDMAP would end the mount. */
const struct fuse_profile fuse_profile_view_owner = {
	.init_flags = COMMON_FLAGS,
	.as_root = true,
};

int64_t fuse_do_init(struct fuse_call *c)
{
	struct fuse_init_in in = {0};
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION};
	uint64_t offered, taken = c->s->profile->init_flags;

	memcpy(&in, c->args, MIN(c->args_bytes, sizeof(in)));
	if (in.major > FUSE_KERNEL_VERSION) /* it will come again with our major */
		return fuse_reply(c, &out, sizeof(out));
	if (in.major < FUSE_KERNEL_VERSION || in.minor < MIN_MINOR)
		return -EPROTO;
	offered = in.flags;
	if (in.flags & FUSE_INIT_EXT)
		offered |= (uint64_t)in.flags2 << 32;
	/* Where OPEN is not sent, or means nothing, it cannot truncate. */
	if (c->ops->caps & (FSB_CAP_NO_OPEN | FSB_CAP_MIXED_OPEN))
		taken &= ~(uint64_t)FUSE_ATOMIC_O_TRUNC;
	if (!(c->ops->caps & FSB_CAP_EXPORT))
		taken &= ~(uint64_t)FUSE_EXPORT_SUPPORT;
	if (c->ops->caps & FSB_CAP_SEE_WHO)
		taken &= ~FUSE_ALLOW_IDMAP;
	if (!c->b->acls || (offered & ACL_FLAGS) != ACL_FLAGS)
		taken &= ~(uint64_t)ACL_FLAGS;
	/* What of a file may be mapped must be so where its data goes by the server. A direct write
	 * that is not waited for drops no page that was read meanwhile (Linux,
	 * generic_file_direct_write()), and without AUTO_INVAL_DATA nothing else ever would. */
	if (offered & FUSE_EXPLICIT_INVAL_DATA && offered & FUSE_DIRECT_IO_ALLOW_MMAP &&
		fuse_view_explicit(c->s))
		taken = (taken & ~(uint64_t)(FUSE_AUTO_INVAL_DATA | FUSE_ASYNC_DIO)) |
			FUSE_EXPLICIT_INVAL_DATA;
	taken &= offered;

	fsd_session_reset(c->s); /* a rebooted guest mounts again on the same rings */
	out.minor = MIN(in.minor, (uint32_t)FUSE_KERNEL_MINOR_VERSION);
	out.max_readahead = MIN(in.max_readahead, FUSE_MAX_IO);
	out.flags = (uint32_t)taken;
	out.flags2 = (uint32_t)(taken >> 32);
	out.max_background = MAX_BACKGROUND;
	out.congestion_threshold = MAX_BACKGROUND * 3 / 4;
	out.max_write = FUSE_MAX_IO;
	out.max_pages = FUSE_MAX_IO / PAGE;
	out.time_gran = 1;
	atomic_store(&c->s->init_flags, taken);
	atomic_store(&c->s->minor, out.minor);
	if (taken & FUSE_EXPLICIT_INVAL_DATA)
		fuse_view_begin(c->s);
	fuse_set_ready(c->s, true);
	if (c->s->keep)
		fuse_keep_facts(c->s);
	return fuse_reply(c, &out, sizeof(out));
}

int64_t fuse_do_destroy(struct fuse_call *c)
{
	fsd_session_reset(c->s);
	return 0;
}
