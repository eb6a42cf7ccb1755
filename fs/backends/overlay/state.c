// SPDX-License-Identifier: Apache-2.0
// The overlay's part of the device state: what a server started anew on the same changes needs to
// know of a node.
//
// A state is u8 version, u8 flags, then, of a node without a name (STATE_NAMELESS), the records
// that make its inode (txn.c): no directory leads to it, and a load of the log drops it. Any other
// node is found in the log or the image by its number alone.
#include "fs/backends/overlay/ovl.h"
#include "fs/backends/overlay/record.h"

#include <endian.h>

#define STATE_VERSION  1
#define STATE_HEAD     2
#define STATE_NAMELESS 1
#define STATE_LINKABLE 2

int64_t ovl_save(struct fsb *b, uint64_t node, void *buf, size_t cap)
{
	struct ovl *o = ovl_of(b);
	uint8_t head[STATE_HEAD] = {STATE_VERSION, 0};
	struct ovl_inode *i;
	size_t n;
	OVL_TXN(t);
	int r;

	OVL_WRITE(o);
	r = ovl_get(o, node, &i);
	if (r < 0)
		return r;
	if (i->a.nlink == 0 && i->ino != OVL_ROOT) {
		head[1] = STATE_NAMELESS | (i->flags & OVL_LINKABLE ? STATE_LINKABLE : 0);
		ovl_txn_whole(&t, i);
		atomic_store(&o->saved, true);
	}
	n = t.len - OVL_FRAME_HEAD;
	if (t.oom)
		return -ENOMEM;
	if (STATE_HEAD + n > cap)
		return -E2BIG;
	memcpy(buf, head, STATE_HEAD);
	memcpy((uint8_t *)buf + STATE_HEAD, t.buf + OVL_FRAME_HEAD, n);
	return (int64_t)(STATE_HEAD + n);
}

/* Whether records speak of @ino alone, as of an inode without a name: the bytes are hostile, and
 * ovl_apply() would believe any change. */
static bool only_of(const uint8_t *p, size_t n, uint64_t ino)
{
	for (bool first = true; n; first = false) {
		uint64_t subject;
		uint32_t nlink, value_n = 0;
		uint16_t bytes;

		if (n < OVL_RECORD_HEAD + sizeof(subject))
			return false;
		memcpy(&bytes, p + 2, sizeof(bytes));
		bytes = le16toh(bytes);
		memcpy(&subject, p + OVL_RECORD_HEAD, sizeof(subject));
		if (bytes < OVL_RECORD_HEAD + sizeof(subject) || bytes > n ||
			le64toh(subject) != ino || first != (p[0] == OVL_R_INODE))
			return false;
		if (p[0] == OVL_R_INODE) {
			if (bytes != OVL_RECORD_HEAD + OVL_R_INODE_BODY)
				return false;
			memcpy(&nlink, p + OVL_RECORD_HEAD + OVL_R_INODE_NLINK, sizeof(nlink));
			if (nlink != 0)
				return false;
		} else if (p[0] == OVL_R_XATTR && bytes >= OVL_RECORD_HEAD + 12) {
			memcpy(&value_n, p + OVL_RECORD_HEAD + 8, sizeof(value_n));
			value_n = le32toh(value_n);
			if (value_n > n - bytes)
				return false;
		} else if (p[0] != OVL_R_TARGET && p[0] != OVL_R_BTIME) {
			return false;
		}
		p += bytes + value_n;
		n -= bytes + value_n;
	}
	return true;
}

/* Makes a node without a name anew. Exclusive tree lock held. */
static int revive(struct ovl *o, uint64_t node, uint8_t flags, const uint8_t *p, size_t n,
	struct ovl_inode **ret)
{
	struct ovl_inode *i;
	int r;

	if (n == 0 || !only_of(p, n, node))
		return -EBADMSG;
	/* Numbers from here on are for files to come. */
	if (node >= OVL_OWN_BASE && node >= o->next_ino)
		return -ESTALE;
	if (o->nodes >= o->max_nodes)
		return -ENFILE;
	r = ovl_apply(o, p, n);
	i = ovl_find(o, node);
	if (r < 0) {
		if (i) {
			ovl_remove(o, i);
			ovl_inode_free(i);
		}
		return r;
	}
	if (flags & STATE_LINKABLE)
		i->flags |= OVL_LINKABLE;
	if (i->flags & OVL_OWN_DATA) {
		i->flags |= OVL_STALE_SIZE | OVL_STALE_BLOCKS;
		if (ovl_data_claim(o, node))
			i->flags |= OVL_FILE;
	}
	*ret = i;
	return 0;
}

int ovl_load(struct fsb *b, uint64_t node, uint64_t lookups, const void *buf, size_t n)
{
	struct ovl *o = ovl_of(b);
	const uint8_t *p = buf;
	struct ovl_inode *i;
	int r = 0;

	if (n < STATE_HEAD || p[0] != STATE_VERSION || p[1] & ~(STATE_NAMELESS | STATE_LINKABLE) ||
		(!(p[1] & STATE_NAMELESS) && n != STATE_HEAD) || lookups > OVL_LOOKUPS / 2)
		return -EBADMSG;
	OVL_WRITE(o);
	i = ovl_find(o, node);
	if (!i && p[1] & STATE_NAMELESS)
		r = revive(o, node, p[1], p + STATE_HEAD, n - STATE_HEAD, &i);
	else if (!i)
		r = ovl_from_lower(o, node, &i) < 0 ? -ESTALE : 0;
	if (r == 0)
		ovl_ref(i, lookups);
	return r;
}
