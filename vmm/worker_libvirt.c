// SPDX-License-Identifier: Apache-2.0
// Opening libvirt's embedded QEMU driver: no daemon of libvirt's, no D-Bus, root or not.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/str.h"
#include "vmm/worker_libvirt.h"

#include <fcntl.h>
#include <libvirt/virterror.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>

#define LOCK_WAIT_MS 10000 /* for an earlier worker to end: it does so within milliseconds */

/* Turns libvirt's last error on this thread into @e. */
int lv_err(struct msb_err *e, const char *what)
{
	virErrorPtr v = virGetLastError();
	const char *text = v && v->message ? v->message : "libvirt gave no reason", *qemu;
	char line[MSB_ERR_MAX];
	int code = EIO;

	/* Behind libvirt's own preamble and a time stamp QEMU says what is wrong. */
	qemu = strstr(text, "qemu-system-x86_64: ");
	(void)snprintf(line, sizeof(line), "%s", qemu ? qemu : text);
	line[strcspn(line, "\n")] = '\0';
	switch (v ? v->code : VIR_ERR_OK) {
	case VIR_ERR_NO_DOMAIN: code = ENOENT; break;
	case VIR_ERR_DOM_EXIST: code = EEXIST; break;
	case VIR_ERR_OPERATION_INVALID: code = EBUSY; break;
	case VIR_ERR_OPERATION_TIMEOUT:
	case VIR_ERR_AGENT_UNRESPONSIVE: code = ETIMEDOUT; break;
	case VIR_ERR_NO_MEMORY: code = ENOMEM; break;
	case VIR_ERR_OPERATION_ABORTED: code = EINTR; break;
	default: break;
	}
	return msb_err_set(e, code, "%s: %s", what, line);
}

static void on_error(void *arg, virErrorPtr v)
{
	if (v && v->message) /* those that matter are returned by calls, and reported there */
		log_debug("libvirt: %s", v->message);
}

static void *event_loop(void *arg)
{
	for (;;)
		if (virEventRunDefaultImpl() < 0)
			log_err("libvirt's event loop: %s", virGetLastErrorMessage());
	return NULL;
}

/* The first description of what a QEMU can do costs seconds; later ones come from a file. */
static void *warm_up(void *arg)
{
	struct machines *m = arg;
	const char *qemu = getenv("MSB_QEMU");
	uint64_t t = msb_now_ms();
	char *caps = virConnectGetDomainCapabilities(
		m->conn, qemu && *qemu ? qemu : NULL, "x86_64", "q35", m->kvm ? "kvm" : "qemu", 0);

	log_debug("capabilities: %llu ms", (unsigned long long)(msb_now_ms() - t));
	free(caps);
	return NULL;
}

static int background(void *(*fn)(void *), void *arg, struct msb_err *e)
{
	pthread_t t;
	int r = pthread_create(&t, NULL, fn, arg);

	if (r)
		return msb_err_set(e, r, "cannot start a thread: %s", strerror(r));
	return pthread_detach(t) ? -EIO : 0; /* it ends with the process */
}

/* libvirt reads its settings from the root that the URI names, before anything else. */
static int write_conf(const char *root, struct msb_err *e)
{
	static const char conf[] = "stdio_handler = \"file\"\n"
				   "security_driver = \"none\"\n"
				   "cgroup_controllers = []\n"
				   "namespaces = []\n"
				   "seccomp_sandbox = 1\n"
				   "max_core = 0\n"
				   "capability_filters = [\"cpu-unavailable-features\"]\n";
	static const char privileged[] = "user = \"root\"\n"
					 "group = \"root\"\n"
					 "dynamic_ownership = 0\n"
					 "remember_owner = 0\n";
	_cleanup_str_ struct msb_str text = MSB_STR_INIT, dir = MSB_STR_INIT, path = MSB_STR_INIT;
	int r;

	msb_str_addf(&dir, "%s/etc", root);
	msb_str_addf(&path, "%s/etc/qemu.conf", root);
	msb_str_adds(&text, conf);
	if (geteuid() == 0)
		msb_str_adds(&text, privileged);
	r = dir.oom || path.oom || text.oom ? -ENOMEM : msb_mkdir_p(dir.buf, 0755);
	if (r == 0)
		r = msb_write_file_atomic(AT_FDCWD, path.buf, text.buf, text.len, 0644);
	return r < 0 ? msb_err_set(e, -r, "cannot set up %s: %s", root, strerror(-r)) : 0;
}

/* For an ordinary user libvirt keeps things in $HOME as well, root= or not. */
static int keep_home_clean(const char *root, struct msb_err *e)
{
	static const char *const names[] = {
		"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"};
	_cleanup_str_ struct msb_str dir = MSB_STR_INIT;

	msb_str_addf(&dir, "%s/home", root);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (dir.oom || setenv(names[i], dir.buf, 1) < 0)
			return msb_err_set(e, ENOMEM, "out of memory");
	return 0;
}

/* An earlier worker, whose msbd was killed, may need a moment to notice. Held until we end. */
static int lock_root(const char *root, struct msb_err *e)
{
	_cleanup_str_ struct msb_str path = MSB_STR_INIT;
	uint64_t end = msb_now_ms() + LOCK_WAIT_MS;
	_cleanup_close_ int fd = -1;

	msb_str_addf(&path, "%s/msb-vmm.lock", root);
	fd = path.oom ? -1 : open(path.buf, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return msb_err_set(e, errno, "%s/msb-vmm.lock: %m", root);
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return msb_err_set(e, errno, "%s: %m", path.buf);
		if (msb_now_ms() >= end)
			return msb_err_set(e, EBUSY, "another msb uses %s", root);
		(void)poll(NULL, 0, 10);
	}
	(void)steal_fd(&fd); /* the lock is this process's until it ends */
	return 0;
}

/* A path as the value of a URI's query, RFC 3986. */
static void add_uri_escaped(struct msb_str *s, const char *path)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";

	for (; *path; path++)
		if (strchr(plain, *path))
			msb_str_add(s, path, 1);
		else
			msb_str_addf(s, "%%%02X", (unsigned char)*path);
}

static int locate(struct machines *m, const char *run, const char *share, struct msb_err *e)
{
	const char *uri = getenv("MSB_LIBVIRT_URI"), *rt = getenv("XDG_RUNTIME_DIR");
	_cleanup_str_ struct msb_str escaped = MSB_STR_INIT;
	const char *root;
	int r;

	if (uri && *uri) {
		(void)snprintf(m->view.share, sizeof(m->view.share), "%s", share);
		(void)snprintf(m->view.share_told, sizeof(m->view.share_told), "%s", share);
		(void)snprintf(m->uri, sizeof(m->uri), "%s", uri);
		if (strstr(uri, "/system"))
			(void)snprintf(m->pids, sizeof(m->pids), "/run/libvirt/qemu");
		else
			(void)snprintf(
				m->pids, sizeof(m->pids), "%s/libvirt/qemu/run", rt ? rt : "/run");
		return 0;
	}
	view_open(&m->view, run, share, m->kvm);
	root = m->view.libvirt;
	add_uri_escaped(&escaped, root);
	if (escaped.oom)
		return msb_err_set(e, ENOMEM, "out of memory");
	(void)snprintf(m->uri, sizeof(m->uri), "qemu:///embed?root=%s", escaped.buf);
	(void)snprintf(m->pids, sizeof(m->pids), "%s/run/qemu", root);
	(void)snprintf(m->logs, sizeof(m->logs), "%s/log/qemu", root);
	r = write_conf(root, e);
	if (r == 0)
		r = keep_home_clean(root, e);
	if (r == 0)
		r = lock_root(root, e);
	if (r == 0)
		left_sweep(m);
	return r;
}

/* What libvirt needs root for: to hand each QEMU its files, its uid, and a signal. */
static int narrow(struct msb_err *e)
{
	static const struct msb_jail jail = {
		.keep_caps = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER |
			     1u << CAP_KILL | 1u << CAP_SETGID | 1u << CAP_SETUID |
			     1u << CAP_SETPCAP,
	};

	return msb_jail_enter(&jail, e);
}

int machines_open(const char *run, const char *share, const char *accel, machines_ended_fn fn,
	void *arg, struct machines **ret, struct msb_err *e)
{
	_cleanup_free_ struct machines *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return msb_err_set(e, ENOMEM, "out of memory");
	if (strlen(run) >= MSB_PATH_MAX || strlen(share) >= MSB_PATH_MAX)
		return msb_err_set(e, ENAMETOOLONG, "%s or %s is too long a path", run, share);
	m->kvm = !strcmp(accel, "kvm");
	m->tsc_khz = m->kvm ? 0 : host_tsc_khz();
	m->ended = fn;
	m->arg = arg;
	pthread_mutex_init(&m->lock, NULL);
	r = locate(m, run, share, e);
	if (r == 0)
		r = narrow(e);
	if (r < 0)
		return r;
	/* Its own log repeats, at length, what its calls return. */
	setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null", 0);
	/* Over the system's bus it would have systemd-machined move each QEMU of root's into a
	 * scope of its own, which a shutdown ends at once, in no order with who stops the guests.
	 */
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
	virSetErrorFunc(NULL, on_error);
	if (virEventRegisterDefaultImpl() < 0 || virInitialize() < 0)
		return lv_err(e, "libvirt does not start");
	r = background(event_loop, NULL, e);
	if (r < 0)
		return r;
	m->conn = virConnectOpen(m->uri);
	if (!m->conn)
		return lv_err(e, "libvirt does not start");
	r = ends_watch(m, e);
	if (r < 0)
		return r;
	r = background(warm_up, m, e);
	if (r < 0)
		return r;
	*ret = steal_ptr(m);
	return 0;
}
