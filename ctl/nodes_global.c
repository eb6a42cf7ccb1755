// SPDX-License-Identifier: Apache-2.0
// Files of the instance and of images; the verbs of every ctl.
#include "base/cleanup.h"
#include "ctl/conf.h"
#include "ctl/fstab.h"
#include "ctl/images.h"
#include "ctl/instance.h"
#include "ctl/job.h"
#include "ctl/line.h"
#include "ctl/logins.h"
#include "ctl/nodes.h"
#include "ctl/op.h"
#include "ctl/pulls.h"
#include "ctl/kept.h"
#include "fs/options.h"

#include <errno.h>
#include <string.h>

int ctl_read_version(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_adds(s, MSB_VERSION "\n");
	return 0;
}

int ctl_read_features(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	struct vmm *vmm;
	int r = ctl_vmm(at->c, &vmm, e);

	if (r < 0)
		return r;
	msb_str_addf(s,
		"accel %s\n"
		"image_sources oci-layout oci-archive docker-archive registry\n"
		"mount_backends",
		vmm_accel(vmm));
	for (size_t i = 0; fsb_backend_name(i); i++)
		msb_str_addf(s, " %s", fsb_backend_name(i));
	msb_str_adds(s, " " CTL_BACKEND_DISK
			"\nverbs start stop kill restart pause resume unset unscript unpatch\n");
	return 0;
}

int ctl_read_global_error(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	msb_str_addf(s, "%s\n", at->c->error);
	return 0;
}

/* ---- verbs */

struct call {
	const struct ctl_at *at;
	const struct ctl_req *q;
	const char *const *arg; /* after the verb */
};

static int do_start(const struct call *v, struct msb_err *e)
{
	return ctl_verb(v->q, v->at->sb, VERB_START, e);
}

/* The argument of `stop` and `restart`; 0: none. */
static int stop_seconds(const struct call *v, unsigned int *ret, struct msb_err *e)
{
	uint64_t sec = 0;
	int r = v->arg[0] ? msb_parse_u64(v->arg[0], 1, CTL_MAX_STOP_SEC, &sec) : 0;

	if (r < 0)
		return msb_err_set(e, -r, "it may take from 1 to %d seconds, not `%.32s`",
			CTL_MAX_STOP_SEC, v->arg[0]);
	*ret = (unsigned int)sec;
	return 0;
}

static int do_stop(const struct call *v, struct msb_err *e)
{
	unsigned int sec = 0;
	int r = stop_seconds(v, &sec, e);

	return r < 0 ? r : ctl_stop(v->q, v->at->sb, sec, e);
}

static int do_kill(const struct call *v, struct msb_err *e)
{
	return ctl_verb(v->q, v->at->sb, VERB_KILL, e);
}

static int do_restart(const struct call *v, struct msb_err *e)
{
	unsigned int sec = 0;
	int r = stop_seconds(v, &sec, e);

	return r < 0 ? r : ctl_restart(v->q, v->at->sb, sec, e);
}

static int do_pause(const struct call *v, struct msb_err *e)
{
	return ctl_verb(v->q, v->at->sb, VERB_PAUSE, e);
}

static int do_resume(const struct call *v, struct msb_err *e)
{
	return ctl_verb(v->q, v->at->sb, VERB_RESUME, e);
}

static int do_unset(const struct call *v, struct msb_err *e)
{
	return ctl_env_set(v->at->sb, v->arg[0], NULL, 0, e);
}

static int remove_kept(const struct call *v, enum ctl_area area, struct msb_err *e)
{
	LOCK_SCOPE(&v->at->c->lock);
	return ctl_kept_remove(v->at->sb, area, v->arg[0], e);
}

static int do_unscript(const struct call *v, struct msb_err *e)
{
	return remove_kept(v, AREA_SCRIPTS, e);
}

static int do_unpatch(const struct call *v, struct msb_err *e)
{
	return remove_kept(v, AREA_PATCHES, e);
}

static int do_import(const struct call *v, struct msb_err *e)
{
	return ctl_image_import(v->q, v->arg[0], v->arg[1], e);
}

static int do_pull(const struct call *v, struct msb_err *e)
{
	return ctl_image_pull(v->q, v->arg[0], e);
}

static int do_push(const struct call *v, struct msb_err *e)
{
	return ctl_image_push(v->q, v->arg[0], v->arg[1], e);
}

static int do_export(const struct call *v, struct msb_err *e)
{
	return ctl_image_export(v->q, v->arg[0], v->arg[1], e);
}

static int do_tag(const struct call *v, struct msb_err *e)
{
	return ctl_image_tag(v->q, v->arg[0], v->arg[1], e);
}

static int do_rm(const struct call *v, struct msb_err *e)
{
	return ctl_image_remove(v->q, v->arg[0], e);
}

static int do_verify(const struct call *v, struct msb_err *e)
{
	return ctl_image_verify(v->q, v->arg[0], e);
}

static int do_prune(const struct call *v, struct msb_err *e)
{
	return ctl_image_prune(v->q, e);
}

static int do_login(const struct call *v, struct msb_err *e)
{
	return ctl_login_set(v->q, v->arg[0], v->arg[1], e);
}

static int do_logout(const struct call *v, struct msb_err *e)
{
	return ctl_login_drop(v->q, v->arg[0], e);
}

static int do_gc(const struct call *v, struct msb_err *e)
{
	return ctl_gc(v->q, false, e);
}

static int do_prune_all(const struct call *v, struct msb_err *e)
{
	return ctl_prune(v->q, e);
}

static int do_shutdown(const struct call *v, struct msb_err *e)
{
	return ctl_shutdown(v->q, e);
}

static int do_job_start(const struct call *v, struct msb_err *e)
{
	return ctl_job_start(v->q, v->at->job, e);
}

static int do_job_signal(const struct call *v, struct msb_err *e)
{
	int sig = ctl_signal_parse(v->arg[0]);

	if (sig < 0)
		return msb_err_set(e, EINVAL,
			"`%.32s` is no signal: a name such as TERM, or 1 to 64", v->arg[0]);
	return ctl_job_signal(v->at->job, sig, e);
}

static int do_job_resize(const struct call *v, struct msb_err *e)
{
	return ctl_job_resize(v->at->job, v->arg[0], v->arg[1], e);
}

static int do_job_close_stdin(const struct call *v, struct msb_err *e)
{
	LOCK_SCOPE(&v->at->c->lock);
	return ctl_job_close_stdin(v->at->job, e);
}

static int do_job_keep(const struct call *v, struct msb_err *e)
{
	LOCK_SCOPE(&v->at->c->lock);
	ctl_job_keep(v->at->job, true);
	return 0;
}

static int do_job_release(const struct call *v, struct msb_err *e)
{
	LOCK_SCOPE(&v->at->c->lock);
	ctl_job_keep(v->at->job, false); /* it goes with the last of its files that is open */
	return 0;
}

static int do_job_at_close(const struct call *v, struct msb_err *e)
{
	LOCK_SCOPE(&v->at->c->lock);
	return ctl_job_at_close(v->at->job, v->arg[0], e);
}

static const struct verb {
	enum ctl_verbs table;
	const char *name;
	size_t min, max; /* of arguments; those that are not given are NULL */
	int (*fn)(const struct call *, struct msb_err *);
	const char *usage;
} verbs[] = {
	{VERBS_GLOBAL, "gc", 0, 0, do_gc, "gc"},
	{VERBS_GLOBAL, "prune", 0, 0, do_prune_all, "prune"},
	{VERBS_GLOBAL, "shutdown", 0, 0, do_shutdown, "shutdown"},
	{VERBS_IMAGES, "pull", 1, 1, do_pull, "pull REF"},
	{VERBS_IMAGES, "push", 1, 2, do_push, "push REF [AS]"},
	{VERBS_IMAGES, "import", 2, 2, do_import, "import PATH NAME"},
	{VERBS_IMAGES, "export", 2, 2, do_export, "export PATH REF"},
	{VERBS_IMAGES, "tag", 2, 2, do_tag, "tag REF NEW"},
	{VERBS_IMAGES, "rm", 1, 1, do_rm, "rm REF"},
	{VERBS_IMAGES, "verify", 0, 1, do_verify, "verify [REF]"},
	{VERBS_IMAGES, "prune", 0, 0, do_prune, "prune"},
	{VERBS_IMAGES, "login", 2, 2, do_login, "login REGISTRY USER"},
	{VERBS_IMAGES, "logout", 1, 1, do_logout, "logout REGISTRY"},
	{VERBS_SANDBOX, "start", 0, 0, do_start, "start"},
	{VERBS_SANDBOX, "stop", 0, 1, do_stop, "stop [SECONDS]"},
	{VERBS_SANDBOX, "kill", 0, 0, do_kill, "kill"},
	{VERBS_SANDBOX, "restart", 0, 1, do_restart, "restart [SECONDS]"},
	{VERBS_SANDBOX, "pause", 0, 0, do_pause, "pause"},
	{VERBS_SANDBOX, "resume", 0, 0, do_resume, "resume"},
	{VERBS_SANDBOX, "unset", 1, 1, do_unset, "unset VARIABLE"},
	{VERBS_SANDBOX, "unscript", 1, 1, do_unscript, "unscript NAME"},
	{VERBS_SANDBOX, "unpatch", 1, 1, do_unpatch, "unpatch PATH"},
	{VERBS_JOB, "start", 0, 0, do_job_start, "start"},
	{VERBS_JOB, "signal", 1, 1, do_job_signal, "signal NAME"},
	{VERBS_JOB, "resize", 2, 2, do_job_resize, "resize ROWS COLS"},
	{VERBS_JOB, "close-stdin", 0, 0, do_job_close_stdin, "close-stdin"},
	{VERBS_JOB, "keep", 0, 0, do_job_keep, "keep"},
	{VERBS_JOB, "release", 0, 0, do_job_release, "release"},
	{VERBS_JOB, "at-close", 1, 1, do_job_at_close, "at-close eof|hangup|nothing"},
};

static void usage(enum ctl_verbs table, const char *sep, struct msb_str *s)
{
	bool first = true;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (verbs[i].table == table) {
			msb_str_addf(s, "%s%s", first ? "" : sep, verbs[i].usage);
			first = false;
		}
}

int ctl_read_verbs(const struct ctl_at *at, struct msb_str *s, struct msb_err *e)
{
	usage((enum ctl_verbs)at->node->arg, "\n", s);
	msb_str_adds(s, "\n");
	return 0;
}

int ctl_write_verb(const struct ctl_at *at, const struct ctl_line *l, struct msb_err *e)
{
	_cleanup_str_ struct msb_str known = MSB_STR_INIT;
	struct ctl_words words = {0};
	int r = ctl_words_split(l->p, l->n, &words, e);

	if (r < 0 || words.n == 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		const struct verb *v = &verbs[i];
		struct call call = {at, l->q, words.w + 1};

		if ((int)v->table != at->node->arg || strcmp(v->name, words.w[0]) != 0)
			continue;
		if (words.n - 1 < v->min || words.n - 1 > v->max)
			return msb_err_set(e, EINVAL,
				"it is `%s`; \\040 stands for a space in a word", v->usage);
		return v->fn(&call, e);
	}
	usage((enum ctl_verbs)at->node->arg, ", ", &known);
	return msb_err_set(e, EINVAL, "`%.64s` is not a verb of this ctl; there are: %s",
		words.w[0], known.buf ?: "");
}
