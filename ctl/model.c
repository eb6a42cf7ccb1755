// SPDX-License-Identifier: Apache-2.0
// What msbd knows.
#include "ctl/model.h"
#include "ctl/job.h"
#include "fs/image/image.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "ctl/conf.h"
#include "ctl/files.h"
#include "ctl/image_names.h"
#include "ctl/logins.h"
#include "ctl/report.h"
#include "ctl/kept.h"
#include "ctl/volumes.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

static const char *const state_names[] = {
	[ST_CREATED] = "created",
	[ST_STARTING] = "starting",
	[ST_RUNNING] = "running",
	[ST_PAUSED] = "paused",
	[ST_STOPPING] = "stopping",
	[ST_STOPPED] = "stopped",
	[ST_FAILED] = "failed",
};

const char *ctl_state_name(enum ctl_state s)
{
	return state_names[s];
}

bool ctl_state_ended(enum ctl_state s)
{
	return s == ST_CREATED || s == ST_STOPPED || s == ST_FAILED;
}

uint64_t ctl_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

bool ctl_name_reserved(const char *name)
{
	/* What stands, or will stand, beside the sandboxes. */
	static const char *const names[] = {"version", "features", "ctl", "error", "errors",
		"events", "log", "metrics", "images", "volumes", "snapshots", "plugins"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], name))
			return true;
	return false;
}

void ctl_sock_path(const struct ctl *c, const char *id, const char *file, char ret[108])
{
	int n = snprintf(ret, 108, "%s/sb/%s/%s", c->paths.run, id, file);

	if (n >= 108) /* an empty path fails where it is used; a cut one would name another file */
		ret[0] = '\0';
}

int ctl_new_id(char ret[33], struct msb_err *e)
{
	uint8_t raw[16];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return msb_err_set(e, EIO, "no random numbers: %m");
	msb_hex(raw, sizeof(raw), ret);
	return 0;
}

void ctl_files_init(struct ctl_files *f, const struct ctl *c)
{
	pthread_mutex_init(&f->lock, NULL);
	f->as = (struct msb_ids){c->uid, c->gid};
	f->fsd.pidfd = f->sock = -1;
}

void ctl_files_done(struct ctl_files *f)
{
	if (f->fsd.pidfd >= 0)
		close(f->fsd.pidfd);
	if (f->sock >= 0)
		close(f->sock);
	pthread_mutex_destroy(&f->lock);
}

/* ---- sandboxes */

static void sandbox_free(struct ctl_sandbox *sb)
{
	for (int i = 0; i < CONF_COUNT; i++) {
		free(sb->conf[i]);
		free(sb->was[i]);
	}
	for (size_t i = 0; i < sb->nenv; i++) {
		free(sb->env[i].name);
		free(sb->env[i].value);
	}
	free(sb->env);
	for (size_t i = 0; i < sb->npins; i++)
		free(sb->pin[i].ref);
	free(sb->pin);
	free(sb->other_mounts);
	if (sb->news_fd >= 0)
		close(sb->news_fd);
	if (sb->denied_fd >= 0)
		close(sb->denied_fd);
	ctl_health_done(&sb->health);
	ctl_kept_free(sb);
	ctl_ring_done(&sb->events);
	ctl_files_done(&sb->files);
	free(sb);
}

static struct ctl_sandbox *sandbox_new(struct ctl *c, const char *id, const char *name)
{
	struct ctl_sandbox *sb = calloc(1, sizeof(*sb));

	if (!sb)
		return NULL;
	sb->c = c;
	sb->refs = 1;
	sb->serial = ++c->next_serial;
	sb->agent.pidfd = sb->qemu.pidfd = sb->news_fd = sb->denied_fd = -1;
	sb->main_exit = -1;
	ctl_health_init(&sb->health);
	ctl_files_init(&sb->files, c);
	(void)snprintf(sb->id, sizeof(sb->id), "%s", id);
	(void)snprintf(sb->name, sizeof(sb->name), "%s", name);
	if (ctl_ring_init(&sb->events, CTL_MAX_EVENTS) < 0) {
		sandbox_free(sb);
		return NULL;
	}
	return sb;
}

/* Where @key is or would go in a table that is in the order of @cmp. */
static size_t slot(struct ctl_sandbox *const *t, size_t n,
	int (*cmp)(const struct ctl_sandbox *sb, const void *key), const void *key)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (cmp(t[mid], key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int by_name(const struct ctl_sandbox *sb, const void *name)
{
	return strcmp(sb->name, name);
}

static int by_serial(const struct ctl_sandbox *sb, const void *serial)
{
	uint32_t s = *(const uint32_t *)serial;

	return (sb->serial > s) - (sb->serial < s);
}

static int by_id(const struct ctl_sandbox *sb, const void *id)
{
	return strcmp(sb->id, id);
}

static size_t sandbox_slot(const struct ctl *c, const char *name)
{
	return slot(c->sb, c->nsb, by_name, name);
}

/* Every request names its sandbox by that. */
static size_t serial_slot(const struct ctl *c, uint32_t serial)
{
	return slot(c->by_serial, c->nsb, by_serial, &serial);
}

static size_t id_slot(const struct ctl *c, const char *id)
{
	return slot(c->by_id, c->nsb, by_id, id);
}

static void slot_open(struct ctl_sandbox **t, size_t n, size_t i, struct ctl_sandbox *sb)
{
	memmove(&t[i + 1], &t[i], (n - i) * sizeof(t[0]));
	t[i] = sb;
}

static void slot_close(struct ctl_sandbox **t, size_t n, size_t i)
{
	memmove(&t[i], &t[i + 1], (n - i - 1) * sizeof(t[0]));
}

static void sandbox_take_out(struct ctl *c, const struct ctl_sandbox *sb)
{
	slot_close(c->sb, c->nsb, sandbox_slot(c, sb->name));
	slot_close(c->by_serial, c->nsb, serial_slot(c, sb->serial));
	slot_close(c->by_id, c->nsb, id_slot(c, sb->id));
	c->nsb--;
}

static void sandbox_insert(struct ctl *c, struct ctl_sandbox *sb)
{
	slot_open(c->sb, c->nsb, sandbox_slot(c, sb->name), sb);
	slot_open(c->by_serial, c->nsb, serial_slot(c, sb->serial), sb);
	slot_open(c->by_id, c->nsb, id_slot(c, sb->id), sb);
	c->nsb++;
}

struct ctl_sandbox *ctl_sandbox_find(struct ctl *c, const char *name)
{
	size_t i = sandbox_slot(c, name);

	return i < c->nsb && !strcmp(c->sb[i]->name, name) ? c->sb[i] : NULL;
}

struct ctl_sandbox *ctl_sandbox_by_serial(struct ctl *c, uint32_t serial)
{
	size_t i = serial_slot(c, serial);

	return i < c->nsb && c->by_serial[i]->serial == serial ? c->by_serial[i] : NULL;
}

struct ctl_sandbox *ctl_sandbox_by_id(struct ctl *c, const char *id)
{
	size_t i = id_slot(c, id);

	return i < c->nsb && !strcmp(c->by_id[i]->id, id) ? c->by_id[i] : NULL;
}

struct ctl_sandbox *ctl_sandbox_ref(struct ctl_sandbox *sb)
{
	sb->refs++;
	return sb;
}

void ctl_sandbox_unref(struct ctl_sandbox *sb)
{
	bool last;

	if (!sb)
		return;
	pthread_mutex_lock(&sb->c->lock);
	last = --sb->refs == 0;
	pthread_mutex_unlock(&sb->c->lock);
	if (last)
		sandbox_free(sb);
}

int ctl_sandbox_create(struct ctl *c, const char *name, uid_t uid, gid_t gid, struct msb_err *e)
{
	struct ctl_sandbox *sb;
	char id[33], agent[64];
	int r;

	if (!msb_name_valid(name))
		return msb_err_set(e, EINVAL,
			"`%s` is not a sandbox name: up to 63 of a-z 0-9 and -, no - first", name);
	if (ctl_name_reserved(name))
		return msb_err_set(e, EPERM, "the name `%s` is reserved; choose another", name);
	r = ctl_new_id(id, e);
	if (r < 0)
		return r;
	LOCK_SCOPE(&c->lock);
	if (ctl_sandbox_find(c, name))
		return msb_err_set(e, EEXIST, "there is a sandbox `%s` already", name);
	if (c->nsb == CTL_MAX_SANDBOXES)
		return msb_err_set(e, EDQUOT, "there are %d sandboxes, the most there can be",
			CTL_MAX_SANDBOXES);
	sb = sandbox_new(c, id, name);
	if (!sb)
		return msb_err_set(e, ENOMEM, "no memory");
	sb->uid = uid;
	sb->gid = gid;
	sb->mode = 0700;
	sb->created_usec = ctl_now_usec();
	if (mkdirat(c->sandboxes_fd, id, 0700) < 0)
		r = msb_err_set(e, errno, "cannot make %s/sandboxes/%s: %m", c->paths.state, id);
	(void)snprintf(agent, sizeof(agent), "%s/" CTL_AGENT_DIR, id);
	if (r == 0 && mkdirat(c->sandboxes_fd, agent, 0700) < 0)
		r = msb_err_set(e, errno, "cannot make %s/sandboxes/%s: %m", c->paths.state, agent);
	if (r == 0)
		r = ctl_db_sandbox_add(c->db, id, name, uid, gid, sb->mode, sb->created_usec, e);
	if (r < 0) {
		(void)msb_rm_rf(c->sandboxes_fd, id); /* the next start would too */
		sandbox_free(sb);
		return r;
	}
	sandbox_insert(c, sb);
	ctl_event(c, sb, "created", ",\"state\":\"created\"");
	return 0;
}

int ctl_sync(struct ctl *c, struct msb_err *e)
{
	LOCK_SCOPE(&c->fold_lock);
	return ctl_db_sync(c->db, e);
}

int ctl_sandbox_take(struct ctl_sandbox *sb, const char *why, struct msb_err *e)
{
	struct ctl *c = sb->c;
	int r;

	if (sb->gone)
		return msb_err_set(e, ENOENT, "the sandbox was removed");
	if (sb->op || !ctl_state_ended(sb->state))
		return msb_err_set(e, EBUSY, "%s is %s; stop or kill it first", sb->name,
			ctl_state_name(sb->state));
	r = ctl_db_sandbox_del(c->db, sb->id, e);
	if (r < 0)
		return r;
	sandbox_take_out(c, sb);
	sb->gone = true;
	ctl_jobs_drop(sb);
	ctl_event(c, sb, "removed", why ? ",\"reason\":\"%s\"" : "%s", why ?: "");
	return 0;
}

void ctl_sandbox_clear(struct ctl_sandbox *sb)
{
	struct ctl *c = sb->c;
	struct ctl_files_of of = {.c = c, .f = &sb->files, .id = sb->id};
	char path[MSB_PATH_MAX];
	struct msb_err e = {0};
	int r;

	/* What fails here is removed when msbd starts next. */
	ctl_files_end(&of);
	if (ctl_sync(c, &e) < 0) /* a power cut would bring it back, without its files */
		log_warn("%s: %s, ignoring", sb->name, e.msg);
	r = msb_rm_rf(c->sandboxes_fd, sb->id);
	if (r < 0)
		log_warn("%s: cannot delete the files of %s: %s, ignoring", sb->name, sb->id,
			strerror(-r));
	(void)snprintf(path, sizeof(path), "sb/%s", sb->id);
	(void)msb_rm_rf(c->run_fd, path); /* sockets: harmless, and removed at the next start */
	ctl_sandbox_unref(sb);
}

int ctl_sandbox_remove(struct ctl_sandbox *sb, struct msb_err *e)
{
	int r;

	pthread_mutex_lock(&sb->c->lock);
	r = ctl_sandbox_take(sb, NULL, e);
	pthread_mutex_unlock(&sb->c->lock);
	if (r == 0)
		ctl_sandbox_clear(sb);
	return r;
}

int ctl_sandbox_own(struct ctl_sandbox *sb, uid_t uid, gid_t gid, mode_t mode, struct msb_err *e)
{
	int r;

	LOCK_SCOPE(&sb->c->lock);
	if (sb->gone)
		return msb_err_set(e, ENOENT, "the sandbox was removed");
	r = ctl_db_sandbox_owner(sb->c->db, sb->id, uid, gid, mode, e);
	if (r < 0)
		return r;
	sb->uid = uid;
	sb->gid = gid;
	sb->mode = mode;
	r = ctl_files_gate(sb);
	if (r < 0 && r != -ENOENT)
		return msb_err_set(
			e, -r, "cannot give away the view of its root: %s", strerror(-r));
	return 0;
}

void ctl_sandbox_fact(struct ctl_sandbox *sb, const char *key, const char *value)
{
	struct msb_err e = {0};

	if (!sb->gone && ctl_db_value_set(sb->c->db, sb->id, key, value, &e) < 0)
		log_err("%s: %s; the next msbd will not know of its change", sb->name, e.msg);
}

void ctl_sandbox_state(struct ctl_sandbox *sb, enum ctl_state s, const char *reason)
{
	_cleanup_str_ struct msb_str more = MSB_STR_INIT;

	(void)snprintf(sb->reason, sizeof(sb->reason), "%s", reason ?: "");
	sb->state = s;
	sb->changes++;
	if (ctl_state_ended(s)) {
		sb->ends++;
		sb->end_state = s;
	}
	if (s == ST_FAILED && reason)
		(void)snprintf(sb->error, sizeof(sb->error), "%s", reason);
	ctl_sandbox_fact(sb, ".reason", reason && *reason ? reason : NULL);
	ctl_sandbox_fact(sb, ".state", ctl_state_name(s));
	msb_str_addf(&more, ",\"state\":\"%s\"", ctl_state_name(s));
	if (reason && *reason) {
		msb_str_adds(&more, ",\"reason\":");
		msb_str_add_json(&more, reason, strlen(reason));
	}
	ctl_event(sb->c, sb, "state", "%s", more.buf ?: "");
}

/* ---- the instance */

static int load_sandbox(void *arg, const char *id, const char *name, uid_t uid, gid_t gid,
	mode_t mode, uint64_t created_usec)
{
	struct ctl *c = arg;
	struct ctl_sandbox *sb;

	if (c->nsb == CTL_MAX_SANDBOXES)
		return -EDQUOT;
	sb = sandbox_new(c, id, name);
	if (!sb)
		return -ENOMEM;
	sb->uid = uid;
	sb->gid = gid;
	sb->mode = mode;
	sb->created_usec = created_usec;
	sandbox_insert(c, sb);
	return 0;
}

static int load_env(struct ctl_sandbox *sb, const char *name, const char *value)
{
	struct ctl_env *p = realloc(sb->env, (sb->nenv + 1) * sizeof(*p));
	struct ctl_env v = {++sb->next_env, strdup(name), strdup(value)};

	if (p)
		sb->env = p;
	if (!p || !v.name || !v.value) {
		free(v.name);
		free(v.value);
		return -ENOMEM;
	}
	p[sb->nenv++] = v;
	sb->env_bytes += strlen(name) + strlen(value) + 2;
	return 0;
}

static int load_value(void *arg, const char *id, const char *key, const char *value)
{
	struct ctl_sandbox *sb = ctl_sandbox_by_id(arg, id);
	int conf = ctl_conf_find(key);
	char *copy;

	if (!sb)
		return -EBADMSG;
	if (!strncmp(key, "env/", 4))
		return load_env(sb, key + 4, value);
	if (!strncmp(key, CTL_PIN_KEY, strlen(CTL_PIN_KEY)))
		return ctl_pin_load(sb, key + strlen(CTL_PIN_KEY), value);
	if (!strcmp(key, ".used")) {
		sb->used = true;
		sb->fresh_bytes = strtoull(value, NULL, 10);
	} else if (!strcmp(key, ".generation")) {
		sb->generation = strtoull(value, NULL, 10);
	} else if (!strncmp(key, ".was/", 5) && ctl_conf_find(key + 5) >= 0) {
		sb->was[ctl_conf_find(key + 5)] = strdup(value);
		return sb->was[ctl_conf_find(key + 5)] ? 0 : -ENOMEM;
	} else if (!strcmp(key, ".wanted")) {
		sb->started_once = true;
		sb->wanted = *value == '1';
	} else if (!strcmp(key, ".health")) {
		sb->health.status = ctl_health_named(value);
	} else if (!strcmp(key, ".ran")) {
		sb->ran = true;
	} else if (!strcmp(key, ".started_usec")) {
		sb->started_usec = strtoull(value, NULL, 10);
	} else if (!strcmp(key, ".restarts")) {
		sb->restarts = (unsigned int)strtoul(value, NULL, 10);
	} else if (!strcmp(key, ".jobs")) {
		sb->next_job = sb->job_bound = (uint32_t)strtoul(value, NULL, 10);
	} else if (!strcmp(key, ".main_job")) {
		sb->main_job = (uint32_t)strtoul(value, NULL, 10);
	} else if (!strcmp(key, ".exit_code")) {
		sb->main_over = true;
		sb->main_exit = (int)strtol(value, NULL, 10);
	} else if (!strcmp(key, ".room_cpus")) {
		sb->room_cpus = (uint32_t)strtoul(value, NULL, 10);
	} else if (!strcmp(key, ".room_memory_bytes")) {
		sb->room_memory_bytes = strtoull(value, NULL, 10);
	} else if (!strcmp(key, ".served")) {
		(void)sscanf(
			value, "%u %u", &sb->files.as.uid, &sb->files.as.gid); /* msbd wrote it */
	} else if (!strcmp(key, ".foreign")) {
		sb->foreign = true;
	} else if (!strcmp(key, ".mounts")) {
		free(sb->other_mounts);
		sb->other_mounts = strdup(value);
		return sb->other_mounts ? 0 : -ENOMEM;
	} else if (!strcmp(key, ".reason"))
		(void)snprintf(sb->reason, sizeof(sb->reason), "%s", value);
	else if (!strcmp(key, ".state"))
		for (size_t i = 0; i < ARRAY_LEN(state_names); i++)
			if (!strcmp(state_names[i], value))
				sb->state = (enum ctl_state)i;
	if (conf < 0)
		return 0;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	ctl_conf_take(sb, (enum ctl_conf_id)conf, copy);
	return 0;
}

static int load_fact(void *arg, const char *key, const char *value)
{
	struct ctl *c = arg;

	if (!strncmp(key, CTL_VOLUME_KEY, strlen(CTL_VOLUME_KEY)))
		return ctl_volume_load(c, key + strlen(CTL_VOLUME_KEY), value);
	if (strcmp(key, CTL_REGISTRIES_KEY) != 0)
		return 0; /* a later msb's */
	c->registries = strdup(value);
	return c->registries ? 0 : -ENOMEM;
}

static int make_dir(const char *base, const char *sub, mode_t mode, int *ret_fd, struct msb_err *e)
{
	char path[MSB_PATH_MAX + 16];
	int r;

	(void)snprintf(path, sizeof(path), "%s%s", base, sub);
	r = msb_mkdir_p(path, mode);
	if (r < 0)
		return msb_err_set(e, -r, "cannot make %s: %s", path, strerror(-r));
	if (!ret_fd)
		return 0;
	*ret_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? msb_err_set(e, errno, "cannot open %s: %m", path) : 0;
}

/* Bounds from the environment, which can only be lower than msb's own. */
static int image_limits(struct ctl *c, struct msb_err *e)
{
	for (size_t k = 0; k < IMG_NLIMITS; k++) {
		const struct img_limit_row *row = &img_limit_rows[k];
		char name[48];
		const char *text;

		(void)snprintf(name, sizeof(name), "MSB_IMAGE_MAX_%s", row->name);
		for (char *p = name; *p; p++)
			*p = (char)toupper((unsigned char)*p);
		text = getenv(name);
		if (text && msb_parse_bytes(text, row->least, row->most, &c->image_limits[k]) < 0)
			return msb_err_set(e, EINVAL,
				"%s is a number from %llu to %llu (or with K, M, G, T), not `%s`",
				name, (unsigned long long)row->least, (unsigned long long)row->most,
				text);
	}
	return 0;
}

/* Nothing that a state file would speak of. */
static bool begins_anew(const struct ctl *c)
{
	const int dirs[] = {c->sandboxes_fd, c->store_fd, c->volumes_fd};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		int fd = openat(dirs[i], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		_cleanup_closedir_ DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
		struct dirent *de;

		while (d && (de = readdir(d)))
			if (de->d_name[0] != '.')
				return false;
	}
	return true;
}

int ctl_open(const struct msb_paths *paths, int log_fd, struct ctl **ret, struct msb_err *e)
{
	struct ctl *c = calloc(1, sizeof(*c));
	char path[MSB_PATH_MAX + 16];
	pthread_condattr_t attr;
	int r;

	if (!c)
		return msb_err_set(e, ENOMEM, "no memory");
	c->paths = *paths;
	c->log_fd = log_fd;
	c->uid = geteuid();
	c->gid = getegid();
	c->started_usec = ctl_now_usec();
	c->epoll_fd = c->inotify_fd = c->policy_fd = -1;
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->stop_fd < 0)
		return msb_err_set(e, errno, "eventfd: %m");
	pthread_mutex_init(&c->fold_lock, NULL);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->vmm_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &attr);
	r = ctl_ring_init(&c->events, CTL_MAX_GEVENTS);
	if (r == 0)
		r = ctl_ring_init(&c->errors, CTL_MAX_ERRORS);
	if (r < 0)
		return msb_err_set(e, ENOMEM, "no memory");
	r = image_limits(c, e);
	if (r == 0)
		r = make_dir(paths->state, "", 0711, NULL, e);
	if (r == 0)
		r = make_dir(paths->state, "/store", 0700, &c->store_fd, e);
	if (r == 0)
		r = make_dir(paths->state, "/sandboxes", 0700, &c->sandboxes_fd, e);
	if (r == 0)
		r = make_dir(paths->state, "/volumes", 0711, &c->volumes_fd, e);
	if (r == 0)
		r = make_dir(paths->run, "/sb", 0711, NULL, e);
	if (r == 0)
		r = make_dir(paths->run, "/views", 0711, NULL, e);
	if (r == 0)
		r = make_dir(paths->run, "", 0711, &c->run_fd, e);
	if (r == 0) {
		(void)snprintf(path, sizeof(path), "%s/msb.db", paths->state);
		r = ctl_db_open(path, begins_anew(c), &c->db, e);
	}
	if (r == 0) {
		struct ctl_db_load load = {ctl_image_load, load_sandbox, load_value, load_fact, c};

		r = ctl_db_load(c->db, &load, e);
	}
	for (size_t i = 0; r == 0 && i < c->nsb; i++) {
		r = ctl_kept_load(c->sb[i]);
		if (r < 0)
			msb_err_set(e, -r, "cannot read %s/sandboxes/%s: %s", paths->state,
				c->sb[i]->id, strerror(-r));
	}
	if (r == 0)
		r = ctl_logins_load(c, e);
	if (r == 0)
		*ret = c;
	return r; /* on failure the process exits: nothing to unwind */
}
