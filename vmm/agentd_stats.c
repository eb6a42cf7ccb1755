// SPDX-License-Identifier: Apache-2.0
// The guest's figures: asked for once at a time, however many want them.
#include "vmm/agentd.h"
#include "base/str.h"

#include <string.h>

static bool in_flight(const struct agentd *a)
{
	for (size_t i = 0; i < AGENTD_MAX_REQUESTS; i++)
		if (a->requests[i].id && a->requests[i].type == WIRE_STATUS)
			return true;
	return false;
}

int ad_stats_ask(struct agentd *a, struct ad_conn *c, struct msb_err *e)
{
	/* A guest that does not answer holds one request, and who asks gives up by himself. */
	int r = in_flight(a) ? 0 : ad_request(a, NULL, WIRE_STATUS, NULL, 0, AGENTD_REQUEST_MS, e);

	if (r == 0)
		c->kind = AD_STATS;
	return r;
}

/* Known keys, decimal numbers, each once: nothing else of the guest's leaves this process. */
static void take(const struct wire_frame *f, struct msb_msg *m)
{
	const char *key, *value;
	size_t pos = 0, len;
	uint32_t seen = 0;
	uint64_t v;

	while (wire_kv_next(f->payload, f->len, &pos, &key, &len, &value) > 0)
		for (unsigned int i = 0; i < WIRE_NSTATS; i++) {
			const char *name = wire_stat_name((enum wire_stat)i);

			if (!wire_kv_is(key, len, name) || seen & 1u << i ||
				msb_parse_u64(value, 0, INT64_MAX, &v) < 0)
				continue;
			seen |= 1u << i;
			msb_msg_set(m, name, "%llu", (unsigned long long)v);
		}
}

void ad_stats_answer(struct agentd *a, const struct wire_frame *f)
{
	struct msb_msg m;

	msb_msg_init(&m, "ok");
	take(f, &m);
	for (struct ad_conn *c = a->conns; c; c = c->next) {
		if (c->fd < 0 || c->kind != AD_STATS)
			continue;
		c->kind = AD_NEW;
		if (msb_msg_send(c->fd, &m) < 0)
			ad_conn_close(a, c);
	}
}

void ad_stats_fail(struct agentd *a, const struct msb_err *e)
{
	for (struct ad_conn *c = a->conns; c; c = c->next)
		if (c->fd >= 0 && c->kind == AD_STATS) {
			c->kind = AD_NEW;
			ad_conn_err(a, c, e);
		}
}
