// SPDX-License-Identifier: Apache-2.0
// qcow2: checking a user's header, making an empty file.
#include "fs/image/qcow2.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define MAGIC	     0x514649fbu
#define V2_BYTES     72u
#define V3_BYTES     104u
#define CLUSTER_BITS 16u
#define CLUSTER	     (1u << CLUSTER_BITS)
#define L1_ENTRIES   (CLUSTER / 8) /* each of 8192 clusters: 512 MiB */
_Static_assert((uint64_t)L1_ENTRIES *(CLUSTER / 8) * CLUSTER == IMG_DISK_MAX_BYTES,
	"one cluster of the first table reaches every disk's end");

/* Incompatible features. */
enum {
	DIRTY = 1, /* counts may be wrong: nothing to who only reads */
	CORRUPT = 2,
	EXTERNAL_DATA = 4,
	COMPRESSION = 8,
	EXTENDED_L2 = 16,
};
#define READABLE (DIRTY | COMPRESSION | EXTENDED_L2)

enum { EXT_END = 0, EXT_DATA_FILE = 0x44415441 };

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

static int external(struct msb_err *e)
{
	return msb_err_set(e, EOPNOTSUPP,
		"the qcow2 file keeps its data in another file; convert it: qemu-img convert -O qcow2");
}

/* Header extensions follow the header, each a type, a length, and that many bytes, padded to 8. */
static int check_extensions(const uint8_t *p, size_t n, uint64_t at, struct msb_err *e)
{
	while (at + 8 <= n) {
		uint32_t type = get32(p + at), len = get32(p + at + 4);

		if (type == EXT_END)
			return 0;
		if (type == EXT_DATA_FILE)
			return external(e);
		at += 8 + (((uint64_t)len + 7) & ~UINT64_C(7));
	}
	return n == IMG_QCOW2_HEAD_BYTES
		       ? msb_err_set(e, EOPNOTSUPP,
				 "the qcow2 file has header extensions of more than %d bytes",
				 IMG_QCOW2_HEAD_BYTES)
		       : msb_err_set(e, EBADMSG, "the qcow2 file ends within its header");
}

static int check_v3(const uint8_t *p, size_t n, uint32_t cluster_bits, struct msb_err *e)
{
	uint64_t features;
	uint32_t bytes;

	if (n < V3_BYTES)
		return msb_err_set(e, EBADMSG, "the qcow2 file ends within its header");
	features = get64(p + 72);
	bytes = get32(p + 100);
	if (features & EXTERNAL_DATA)
		return external(e);
	if (features & CORRUPT)
		return msb_err_set(e, EBADMSG,
			"the qcow2 file is marked as corrupt; look at it with qemu-img check");
	if (features & ~(uint64_t)READABLE)
		return msb_err_set(e, EOPNOTSUPP,
			"the qcow2 file uses features that are not known here (0x%llx)",
			(unsigned long long)(features & ~(uint64_t)READABLE));
	if (bytes < V3_BYTES || bytes > UINT64_C(1) << cluster_bits)
		return msb_err_set(e, EBADMSG, "the qcow2 file has a damaged header");
	return check_extensions(p, n, bytes, e);
}

int img_qcow2_check(const uint8_t *p, size_t n, uint64_t *ret_bytes, struct msb_err *e)
{
	uint32_t version, cluster_bits;
	uint64_t size;
	int r;

	if (n < V2_BYTES || get32(p) != MAGIC)
		return msb_err_set(
			e, EBADMSG, "it is no qcow2 file; a raw one is called .raw or .img");
	version = get32(p + 4);
	if (version != 2 && version != 3)
		return msb_err_set(
			e, EOPNOTSUPP, "the qcow2 file has version %u, not 2 or 3", version);
	if (get64(p + 8))
		return msb_err_set(e, EOPNOTSUPP,
			"the qcow2 file has a backing file, and msb opens no file that another one "
			"names; flatten it: qemu-img convert -O qcow2");
	if (get32(p + 32))
		return msb_err_set(e, EOPNOTSUPP, "the qcow2 file is encrypted");
	cluster_bits = get32(p + 20);
	if (cluster_bits < 9 || cluster_bits > 21)
		return msb_err_set(e, EBADMSG, "the qcow2 file has a damaged header");
	size = get64(p + 24);
	if (size < IMG_DISK_MIN_BYTES || size > IMG_DISK_MAX_BYTES || size % IMG_DISK_ALIGN)
		return msb_err_set(e, ERANGE,
			"the disk has %llu bytes; a root has whole sectors of %d, from 1 MiB to 4 TiB",
			(unsigned long long)size, IMG_DISK_ALIGN);
	r = version == 3 ? check_v3(p, n, cluster_bits, e) : check_extensions(p, n, V2_BYTES, e);
	if (r == 0)
		*ret_bytes = size;
	return r;
}

void img_qcow2_resize(uint64_t bytes, uint8_t ret[8])
{
	put64(ret, bytes);
}

/* Clusters: header, table of counts, counts, first table. */
void img_qcow2_make(uint64_t bytes, uint8_t ret[IMG_QCOW2_EMPTY_BYTES])
{
	enum { HEADER, TABLE, COUNTS, L1, CLUSTERS };

	_Static_assert(CLUSTERS * CLUSTER == IMG_QCOW2_EMPTY_BYTES, "what they are counted to");
	memset(ret, 0, IMG_QCOW2_EMPTY_BYTES);
	put32(ret, MAGIC);
	put32(ret + 4, 3);
	put32(ret + 20, CLUSTER_BITS);
	put64(ret + IMG_QCOW2_SIZE_OFF, bytes);
	put32(ret + 36, L1_ENTRIES);
	put64(ret + 40, L1 * CLUSTER);
	put64(ret + 48, TABLE * CLUSTER);
	put32(ret + 56, 1); /* clusters of the table of counts */
	put32(ret + 96, 4); /* counts of 16 bits */
	put32(ret + 100, V3_BYTES);
	put64(ret + (size_t)TABLE * CLUSTER, COUNTS * CLUSTER);
	for (size_t k = 0; k < CLUSTERS; k++)
		ret[(size_t)COUNTS * CLUSTER + 2 * k + 1] = 1;
}
