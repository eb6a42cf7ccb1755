// SPDX-License-Identifier: Apache-2.0
// Files below images/.
#include "base/cleanup.h"
#include "ctl/image_names.h"
#include "ctl/images.h"
#include "ctl/logins.h"
#include "ctl/nodes.h"
#include "ctl/pulls.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

int ctl_read_store_stat(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct img_call call = ctl_store_call(at->c, NULL, -1);

	return img_stat(&call, s, e);
}

int ctl_read_registries(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_adds(s, at->c->registries ?: "");
	return 0;
}

int ctl_write_registries(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	int r = ctl_registries_set(at->c, l->p, l->n, l->replace, e);

	*l->used = r < 0 ? 0 : l->n;
	return r;
}

int ctl_read_login(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	const struct ctl_login *l = ctl_login_by_serial(at->c, at->serial);

	if (!l)
		return msb_err_set(e, ENODEV, "it was logged out");
	msb_str_addf(s, "%s\n", l->user);
	return 0;
}

int ctl_write_login(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	return l->n == 0 ? 0 : ctl_login_secret(at->c, at->serial, l->p, l->n, e);
}

int ctl_read_digest(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "sha256:%s\n", at->img->digest);
	return 0;
}

int ctl_read_size(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%" PRIu64 "\n", at->img->size_bytes);
	return 0;
}

int ctl_read_created(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct ctl_meta m = {0};
	time_t sec = (time_t)(at->img->created_usec / 1000000);
	struct tm tm;
	int r = ctl_image_meta(at->c, at->img->digest, &m, e);

	if (r < 0)
		return r;
	if (*m.created) {
		msb_str_addf(s, "%s\n", m.created);
	} else { /* the image does not say: when it came here */
		gmtime_r(&sec, &tm);
		msb_str_addf(s, "%04d-%02d-%02dT%02d:%02d:%02dZ\n", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	}
	ctl_meta_done(&m);
	return 0;
}

static const char *const stored[] = {
	[STORED_CONFIG] = "config.json",
	[STORED_MANIFEST] = "manifest.json",
	[STORED_LAYERS] = "layers",
};

uint64_t ctl_stored_bytes(const struct ctl_at *at)
{
	struct stat st;
	char path[128];

	(void)snprintf(path, sizeof(path), "images/%s/%s", at->img->digest, stored[at->node->arg]);
	return fstatat(at->c->store_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ? 0
									    : (uint64_t)st.st_size;
}

int ctl_read_stored(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct msb_err why = {0};
	int r = ctl_image_file(at->c, at->img->digest, stored[at->node->arg], s, &why);

	/* What was imported before there were such lists has none. */
	if (r == -ENOENT && at->node->arg == STORED_LAYERS)
		return 0;
	return r < 0 ? msb_err_set(e, -r, "%s", why.msg) : 0;
}

int ctl_read_used_by(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct ctl *c = at->c;

	for (size_t i = 0; i < c->nsb; i++) {
		bool used = ctl_image_used(at->img, c->sb[i]);

		for (size_t k = 0; !used && k < c->sb[i]->npins; k++)
			used = !strcmp(c->sb[i]->pin[k].digest, at->img->digest);
		if (used)
			msb_str_addf(s, "%s\n", c->sb[i]->name);
	}
	return 0;
}
