// SPDX-License-Identifier: Apache-2.0
// The image backend: an overlay without changes of its own.
//
// The tree's index is mapped, and what was looked up is in memory: names, attributes, links and
// listings need no system call, contents one for each piece of a pack.
#include "fs/backends/overlay/ovl.h"

/* An image never changes. */
static const struct fsb_cache *cache(struct fsb *b, uint64_t node)
{
	static const struct fsb_cache day = {.entry_ms = FSB_ALONE_MS,
		.attr_ms = FSB_ALONE_MS,
		.negative_ms = FSB_ALONE_MS,
		.open_flags = FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR,
		.alone = true};

	return &day;
}

const struct fsb_ops ovl_image_ops = {
	.name = "image",
	.summary = "an image, read-only",
	.caps = FSB_CAP_NO_OPEN | FSB_CAP_XATTR | FSB_CAP_EXPORT,
	.stop = ovl_stop,
	.lookup = ovl_lookup,
	.forget = ovl_forget,
	.getattr = ovl_getattr,
	.readlink = ovl_readlink,
	.readv = ovl_readv,
	.readdir = ovl_readdir,
	.statfs = ovl_statfs,
	.getxattr = ovl_getxattr,
	.listxattr = ovl_listxattr,
	.lseek = ovl_lseek,
	.cache = cache,
	.save = ovl_save,
	.load = ovl_load,
};

const struct fsb_kind fsb_image_kind = {
	.name = "image",
	.summary = "the tree of an image, read-only",
	.start = ovl_kind_start,
};
