// SPDX-License-Identifier: Apache-2.0
// What each value of a sandbox may be.
#include "ctl/conf_int.h"
#include "base/cleanup.h"
#include "base/str.h"
#include "ctl/argv.h"
#include "ctl/fstab.h"
#include "ctl/image_names.h"
#include "ctl/policy.h"
#include "ctl/root.h"
#include "fs/image/qcow2.h"
#include "fs/options.h"

#include <inttypes.h>
#include <string.h>

/* Whether both texts mean one image. */
static bool same_image(struct ctl *c, const char *a, const char *b)
{
	struct ctl_image *one, *two;

	return !strcmp(a, b) ||
	       (ctl_image_resolve(c, a, NULL, &one, NULL) == 0 &&
		       ctl_image_resolve(c, b, NULL, &two, NULL) == 0 && one == two);
}

/* It need not be there yet: `start` pulls it. */
int conf_check_image(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct msb_err why = {0};
	struct ctl_image *img;
	int r;

	if (!*text && sb->used)
		return msb_err_set(e, EBUSY, "it has no image, and the root was made from `%s`",
			sb->conf[CONF_IMAGE] ?: "");
	if (!*text)
		return 0;
	if (text[0] == '/' || text[0] == '.')
		return ctl_root_check(sb, text, ret, e);
	r = ctl_image_resolve(sb->c, text, NULL, &img, &why);
	if (r < 0 && r != -ENOENT)
		return msb_err_set(e, -r, "%s", why.msg);
	if (sb->used && !same_image(sb->c, text, sb->conf[CONF_IMAGE] ?: ""))
		return msb_err_set(e, EBUSY,
			"the root was made from image `%s` and may hold changes; make another sandbox",
			sb->conf[CONF_IMAGE] ?: "");
	msb_str_adds(ret, text);
	return 0;
}

int conf_check_pull(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strcmp(text, "always") != 0 && strcmp(text, "missing") != 0 &&
		strcmp(text, "never") != 0)
		return msb_err_set(
			e, EINVAL, "pull is `always`, `missing` or `never`, not `%s`", text);
	msb_str_adds(ret, text);
	return 0;
}

static int count(const char *key, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_u64(text, 1, VMM_MAX_CPUS, &v);

	if (r < 0)
		return msb_err_set(
			e, -r, "%s is a number from 1 to %d, not `%s`", key, VMM_MAX_CPUS, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

int conf_check_cpus(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return count("cpus", text, ret, e);
}

/* Empty: as cpus. */
int conf_check_max_cpus(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return *text ? count("max_cpus", text, ret, e) : 0;
}

static int bytes(const char *key, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_bytes(text, VMM_MIN_MEMORY_BYTES, CTL_MAX_MEMORY_BYTES, &v);

	if (r == 0 && v % (1u << 20))
		r = -EINVAL;
	if (r < 0)
		return msb_err_set(e, -r,
			"%s is a whole number of MiB from 64M to 1T (bytes, or with K, M, G, T), not `%s`",
			key, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

int conf_check_memory(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return bytes("memory_bytes", text, ret, e);
}

int conf_check_max_memory(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return *text ? bytes("max_memory_bytes", text, ret, e) : 0;
}

int conf_check_hostname(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	size_t n = strlen(text);

	if (n > 63 || text[0] == '-' || text[0] == '.' ||
		strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") !=
			n)
		return msb_err_set(e, EINVAL,
			"`%s` is not a host name: up to 63 letters, digits, - and .", text);
	msb_str_adds(ret, text);
	return 0;
}

/* USER, with a group, and with more of them: ga_user_resolve() looks them up. */
static bool is_user(const char *text)
{
	int parts = 1;

	for (const char *p = text; (p = strchr(p, ':')); p++, parts++)
		if (p == text || p[1] == ':' || !p[1])
			return false;
	return parts <= 3 && strcspn(text, " \t/") == strlen(text);
}

int conf_check_user(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strlen(text) > 128 || !is_user(text))
		return msb_err_set(e, EINVAL,
			"`%s` is not a user: USER, USER:GROUP or USER:GROUP:GROUPS, by name or number",
			text);
	msb_str_adds(ret, text);
	return 0;
}

int conf_check_workdir(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (*text && *text != '/')
		return msb_err_set(e, EINVAL, "workdir `%s` is not an absolute path", text);
	msb_str_adds(ret, text);
	return 0;
}

int conf_check_root_options(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct fsb_options *o = calloc(1, sizeof(*o));
	int r = o ? fsb_options_parse("overlay", text, strlen(text), o, e)
		  : msb_err_set(e, ENOMEM, "no memory");

	if (r == 0 && *text)
		fsb_options_print(ret, o);
	free(o);
	return r < 0 ? r
		     : ctl_root_options_check(
			       ctl_root_kind(sb->conf[CONF_IMAGE]), ret->buf ?: "", e);
}

int conf_check_disk(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r;

	if (!*text)
		return 0;
	r = msb_parse_bytes(text, IMG_DISK_MIN_BYTES, IMG_DISK_MAX_BYTES, &v);
	if (r == 0 && v % IMG_DISK_ALIGN)
		r = -EINVAL;
	if (r < 0)
		return msb_err_set(e, -r,
			"disk_bytes is a multiple of %d from 1M to 4T (bytes, or with K, M, G, T), or "
			"empty for the size of the file, not `%s`",
			IMG_DISK_ALIGN, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

int conf_check_restart(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	struct ctl_restart_policy p;

	if (ctl_restart_parse(text, &p) < 0)
		return msb_err_set(e, EINVAL,
			"restart is `no`, `on-failure`, `on-failure:N`, `always` or `unless-stopped`, "
			"not `%s`",
			text);
	msb_str_adds(ret, text);
	return 0;
}

/* @of, @also: of what, and what else it may be, for the sentence. */
static int number(const char *key, const char *text, uint64_t min, uint64_t max, const char *of,
	const char *also, struct msb_str *ret, struct msb_err *e)
{
	uint64_t v;
	int r = msb_parse_u64(text, min, max, &v);

	if (r < 0)
		return msb_err_set(e, -r,
			"%s is a number%s from %" PRIu64 " to %" PRIu64 "%s, not `%s`", key, of,
			min, max, also, text);
	msb_str_addf(ret, "%" PRIu64, v);
	return 0;
}

static int seconds(const char *key, const char *text, uint64_t min, uint64_t max,
	struct msb_str *ret, struct msb_err *e)
{
	return number(key, text, min, max, " of seconds", min ? "" : " (0: none)", ret, e);
}

int conf_check_duration(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("max_duration_sec", text, 0, CTL_MAX_POLICY_SEC, ret, e);
}

int conf_check_idle(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("idle_timeout_sec", text, 0, CTL_MAX_POLICY_SEC, ret, e);
}

int conf_check_stop(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return seconds("stop_timeout_sec", text, 1, CTL_MAX_STOP_SEC, ret, e);
}

/* Empty: the image's. */
static int argv_json(const char *key, const char *text, struct msb_str *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str words = MSB_STR_INIT;
	struct msb_err why = {0};

	if (!*text)
		return 0;
	if (ctl_argv_from_json(key, text, strlen(text), &words, &why) < 0)
		return msb_err_set(e, EINVAL,
			"%s is a JSON array of strings such as [\"sleep\", \"60\"], [] for none, or "
			"empty for the image's: %s",
			key, why.msg);
	ctl_argv_to_json(words.buf, words.len, ret);
	ret->oom |= words.oom;
	return 0;
}

int conf_check_entrypoint(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return argv_json("entrypoint", text, ret, e);
}

int conf_check_cmd(struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return argv_json("cmd", text, ret, e);
}

int conf_check_init(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	int r = *text == '/' ? ctl_guest_path_check(text, e) : 0;

	if (r < 0)
		return msb_err_wrap(e, "init");
	if (*text != '/' && strcmp(text, "msb") != 0 && strcmp(text, "cmd") != 0)
		return msb_err_set(e, EINVAL,
			"init is `msb` (nothing is started by itself), `cmd` (entrypoint and cmd are, "
			"and their end is the machine's), or the path of the guest's own, not `%s`",
			text);
	msb_str_adds(ret, text);
	return 0;
}

int conf_check_auto_remove(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	if (strcmp(text, "0") != 0 && strcmp(text, "1") != 0)
		return msb_err_set(e, EINVAL,
			"auto_remove is 1 (it is removed when its machine has ended) or 0, not `%s`",
			text);
	msb_str_adds(ret, text);
	return 0;
}

int conf_check_healthcheck(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	_cleanup_str_ struct msb_str words = MSB_STR_INIT;
	struct msb_err why = {0};

	if (!*text)
		return 0;
	if (ctl_argv_from_json("it", text, strlen(text), &words, &why) < 0 ||
		ctl_health_form(words.buf, words.len, &why) < 0)
		return msb_err_set(e, EINVAL,
			"healthcheck is [\"CMD\", \"PROGRAM\", \"ARGUMENT\"...], [\"CMD-SHELL\", "
			"\"LINE\"], [\"NONE\"] for none, or empty for the image's: %s",
			why.msg);
	ctl_argv_to_json(words.buf, words.len, ret);
	ret->oom |= words.oom;
	return 0;
}

/* Empty: the image's, or msb's own. */
static int optional(const char *key, const char *text, uint64_t min, uint64_t max,
	struct msb_str *ret, struct msb_err *e)
{
	return *text ? number(key, text, min, max, "", ", or empty for the image's", ret, e) : 0;
}

int conf_check_health_interval(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return optional("healthcheck_interval_sec", text, 1, CTL_MAX_HEALTH_SEC, ret, e);
}

int conf_check_health_timeout(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return optional("healthcheck_timeout_sec", text, 1, CTL_MAX_HEALTH_SEC, ret, e);
}

int conf_check_health_retries(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return optional("healthcheck_retries", text, 1, CTL_MAX_HEALTH_RETRIES, ret, e);
}

int conf_check_health_start(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return optional("healthcheck_start_period_sec", text, 0, CTL_MAX_HEALTH_SEC, ret, e);
}

int conf_check_health_start_interval(
	struct ctl_sandbox *sb, const char *text, struct msb_str *ret, struct msb_err *e)
{
	return optional("healthcheck_start_interval_sec", text, 1, CTL_MAX_HEALTH_SEC, ret, e);
}
