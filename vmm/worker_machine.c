// SPDX-License-Identifier: Apache-2.0
// Machines by libvirt's embedded QEMU driver: no daemon of libvirt's, no D-Bus, root or not.
#include "vmm/worker.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "vmm/domain_xml.h"

#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>

#define LOCK_WAIT_MS   10000 /* for an earlier worker to end: it does so within milliseconds */
#define KILL_WAIT_MS   2000  /* for a killed QEMU to be gone: longer only in a stuck system call */
#define REAP_WAIT_MS   100   /* for a dead QEMU to be reaped */
#define LOG_TAIL_BYTES 4096
#define MEMINFO_BYTES  16384

/* Why a machine is about to end, as far as is known before libvirt says that it has. */
struct omen {
	struct omen *next;
	char id[33];
	enum vmm_end how;
};

struct machines {
	virConnectPtr conn;
	char run[MSB_PATH_MAX], share[MSB_PATH_MAX];
	char uri[3 * MSB_PATH_MAX];
	char pids[MSB_PATH_MAX + 64]; /* where libvirt keeps ID.pid */
	char logs[MSB_PATH_MAX + 64]; /* where it keeps ID.log; "" where that is not ours */
	bool kvm;
	machines_ended_fn ended;
	void *arg;
	pthread_mutex_t lock;
	struct omen *omens; /* under lock; at most one a machine */
};

/* ---- errors */

/* Turns libvirt's last error on this thread into @e. */
static int lv_err(struct msb_err *e, const char *what)
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

/* ---- ends */

static void foretell(struct machines *m, const char *id, enum vmm_end how)
{
	LOCK_SCOPE(&m->lock);
	struct omen *o = m->omens;

	while (o && strcmp(o->id, id) != 0)
		o = o->next;
	if (o)
		return; /* the first cause is the cause */
	o = calloc(1, sizeof(*o));
	if (!o)
		return; /* the end will be told without its reason */
	(void)snprintf(o->id, sizeof(o->id), "%s", id);
	o->how = how;
	o->next = m->omens;
	m->omens = o;
}

/* Takes what was foretold for @id into @how. */
static void fulfil(struct machines *m, const char *id, enum vmm_end *how)
{
	LOCK_SCOPE(&m->lock);

	for (struct omen **p = &m->omens; *p; p = &(*p)->next) {
		struct omen *o = *p;

		if (strcmp(o->id, id) != 0)
			continue;
		if (how)
			*how = o->how;
		*p = o->next;
		free(o);
		return;
	}
}

/* The last line that QEMU itself wrote into its log, and the log away: one for each start. */
static void take_log(const struct machines *m, const char *id, char *line, size_t size)
{
	static const char mark[] = "qemu-system-x86_64: ";
	_cleanup_close_ int fd = -1;
	char path[MSB_PATH_MAX + 128], tail[LOG_TAIL_BYTES + 1];
	const char *last = NULL;
	int64_t n = 0, end;

	line[0] = '\0';
	if (!m->logs[0])
		return;
	(void)snprintf(path, sizeof(path), "%s/%s.log", m->logs, id);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	if (end > 0)
		n = msb_pread_full(fd, tail, LOG_TAIL_BYTES,
			end > LOG_TAIL_BYTES ? (uint64_t)(end - LOG_TAIL_BYTES) : 0);
	tail[n > 0 ? n : 0] = '\0';
	for (const char *p = strstr(tail, mark); p; p = strstr(p + 1, mark))
		last = p;
	if (last)
		(void)snprintf(line, size, "%.*s", (int)strcspn(last, "\n"), last);
	(void)unlink(path);
}

static int on_lifecycle(virConnectPtr c, virDomainPtr d, int event, int detail, void *arg)
{
	struct machines *m = arg;
	const char *id = virDomainGetName(d);
	enum vmm_end how = VMM_END_CRASHED;
	char line[256], text[320] = "";

	if (event == VIR_DOMAIN_EVENT_CRASHED)
		foretell(m, id, VMM_END_PANIC);
	if (event != VIR_DOMAIN_EVENT_STOPPED)
		return 0;
	if (detail == VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
		how = VMM_END_SHUTDOWN;
	else if (detail == VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
		how = VMM_END_DESTROYED;
	fulfil(m, id, &how);
	take_log(m, id, line, sizeof(line));
	if (how == VMM_END_CRASHED)
		(void)snprintf(text, sizeof(text), "QEMU ended unexpectedly%s%s",
			line[0] ? ": " : "; the kernel may have killed it for lack of memory",
			line);
	else if (how == VMM_END_PANIC)
		(void)snprintf(text, sizeof(text), "the guest's kernel panicked; see console");
	else if (how == VMM_END_RESET)
		(void)snprintf(text, sizeof(text),
			"the guest reset itself, by a reboot or a kernel panic; see console");
	log_debug("machine %s ended: how %d, libvirt's detail %d", id, (int)how, detail);
	m->ended(m->arg, id, how, text);
	return 0;
}

/* libvirt does not tell a reset that ends the machine from a power-off; QEMU does. */
static void on_qemu_event(virConnectPtr c, virDomainPtr d, const char *event, long long sec,
	unsigned int usec, const char *details, void *arg)
{
	const char *id = virDomainGetName(d);

	if (!strcmp(event, "GUEST_PANICKED") || (details && strstr(details, "\"guest-panic\"")))
		foretell(arg, id, VMM_END_PANIC);
	else if (details && strstr(details, "\"guest-reset\""))
		foretell(arg, id, VMM_END_RESET);
	else if (details && strstr(details, "\"guest-shutdown\""))
		foretell(arg, id, VMM_END_SHUTDOWN);
}

/* ---- opening */

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
				   "max_core = 0\n";
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

static int locate(struct machines *m, struct msb_err *e)
{
	const char *uri = getenv("MSB_LIBVIRT_URI"), *rt = getenv("XDG_RUNTIME_DIR");
	_cleanup_str_ struct msb_str root = MSB_STR_INIT, escaped = MSB_STR_INIT;
	int r;

	if (uri && *uri) {
		(void)snprintf(m->uri, sizeof(m->uri), "%s", uri);
		if (strstr(uri, "/system"))
			(void)snprintf(m->pids, sizeof(m->pids), "/run/libvirt/qemu");
		else
			(void)snprintf(
				m->pids, sizeof(m->pids), "%s/libvirt/qemu/run", rt ? rt : "/run");
		return 0;
	}
	msb_str_addf(&root, "%s/libvirt", m->run);
	add_uri_escaped(&escaped, root.buf);
	if (root.oom || escaped.oom)
		return msb_err_set(e, ENOMEM, "out of memory");
	(void)snprintf(m->uri, sizeof(m->uri), "qemu:///embed?root=%s", escaped.buf);
	(void)snprintf(m->pids, sizeof(m->pids), "%s/run/qemu", root.buf);
	(void)snprintf(m->logs, sizeof(m->logs), "%s/log/qemu", root.buf);
	r = write_conf(root.buf, e);
	return r < 0 ? r : lock_root(root.buf, e);
}

int machines_open(const char *run, const char *share, const char *accel, machines_ended_fn fn,
	void *arg, struct machines **ret, struct msb_err *e)
{
	_cleanup_free_ struct machines *m = calloc(1, sizeof(*m));
	int r;

	if (!m || snprintf(m->run, sizeof(m->run), "%s", run) >= (int)sizeof(m->run) ||
		snprintf(m->share, sizeof(m->share), "%s", share) >= (int)sizeof(m->share))
		return msb_err_set(e, m ? ENAMETOOLONG : ENOMEM, "cannot open libvirt: %m");
	m->kvm = !strcmp(accel, "kvm");
	m->ended = fn;
	m->arg = arg;
	pthread_mutex_init(&m->lock, NULL);
	r = locate(m, e);
	if (r < 0)
		return r;
	/* Its own log repeats, at length, what its calls return. */
	setenv("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null", 0);
	virSetErrorFunc(NULL, on_error);
	if (virEventRegisterDefaultImpl() < 0 || virInitialize() < 0)
		return lv_err(e, "libvirt does not start");
	r = background(event_loop, NULL, e);
	if (r < 0)
		return r;
	m->conn = virConnectOpen(m->uri);
	if (!m->conn)
		return lv_err(e, "libvirt does not start");
	if (virConnectDomainEventRegisterAny(m->conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
		    VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), m, NULL) < 0)
		return lv_err(e, "libvirt reports no events");
	if (virConnectDomainQemuMonitorEventRegister(m->conn, NULL, "SHUTDOWN|GUEST_PANICKED",
		    on_qemu_event, m, NULL,
		    VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX) < 0)
		return lv_err(e, "libvirt reports no events of QEMU");
	r = background(warm_up, m, e);
	if (r < 0)
		return r;
	*ret = steal_ptr(m);
	return 0;
}

/* ---- requests */

static void cleanup_domain_(virDomainPtr *d)
{
	if (*d)
		virDomainFree(*d);
}
#define _cleanup_domain_ _cleanup_(cleanup_domain_)

static int pid_of(const struct machines *m, const char *id, pid_t *ret)
{
	char path[MSB_PATH_MAX + 128];
	pid_t pid;

	(void)snprintf(path, sizeof(path), "%s/%s.pid", m->pids, id);
	pid = host_pid_of(path, id);
	if (pid > 0)
		*ret = pid;
	return pid < 0 ? (int)pid : 0;
}

static int memory_check(uint64_t bytes, struct msb_err *e)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;

	return msb_read_file(AT_FDCWD, "/proc/meminfo", MEMINFO_BYTES, &s) < 0
		       ? 0
		       : host_memory_check(s.buf, bytes, e);
}

int machines_start(struct machines *m, const struct vmm_spec *spec, struct msb_err *e)
{
	_cleanup_str_ struct msb_str xml = MSB_STR_INIT;
	_cleanup_domain_ virDomainPtr d = NULL;
	struct vmm_host host = {.kvm = m->kvm};
	struct host_parts parts;
	char line[256];
	int r = host_parts_find(m->share, &parts, e);

	if (r == 0)
		r = memory_check(spec->memory_bytes, e);
	if (r < 0)
		return r;
	host.qemu = parts.qemu;
	host.loader = parts.loader;
	host.kernel = parts.kernel;
	host.initrd = parts.initrd;
	r = vmm_domain_xml(spec, &host, &xml, e);
	if (r < 0)
		return r;
	fulfil(m, spec->id, NULL); /* of an earlier start */
	d = virDomainCreateXML(m->conn, xml.buf, VIR_DOMAIN_START_PAUSED);
	if (!d) {
		r = lv_err(e, "the machine does not start");
		take_log(m, spec->id, line, sizeof(line));
	}
	return r;
}

static virDomainPtr find(struct machines *m, const char *id, struct msb_err *e)
{
	virDomainPtr d = virDomainLookupByName(m->conn, id);

	if (!d)
		msb_err_set(e, ENOENT, "the machine does not run");
	return d;
}

int machines_resume(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = find(m, id, e);
	int state;

	if (!d)
		return -ENOENT;
	if (virDomainGetState(d, &state, NULL, 0) == 0 && state == VIR_DOMAIN_RUNNING)
		return 0;
	return virDomainResume(d) < 0 ? lv_err(e, "the machine does not resume") : 0;
}

int machines_suspend(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = find(m, id, e);

	if (!d)
		return -ENOENT;
	return virDomainSuspend(d) < 0 ? lv_err(e, "the machine does not pause") : 0;
}

/* Ends QEMU at once; libvirt alone asks it nicely and looks again every 200 ms. */
static void kill_qemu(const struct machines *m, const char *id)
{
	_cleanup_close_ int pidfd = -1;
	pid_t pid;

	if (pid_of(m, id, &pid) < 0)
		return;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Looked up again: only now it is certain that the descriptor is that QEMU's. */
	if (pidfd < 0 || pid_of(m, id, &pid) < 0)
		return;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ||
		msb_wait_fd(pidfd, POLLIN, KILL_WAIT_MS) < 0)
		return; /* libvirt tries on from there */
	/* Dead, but as long as our parent has not reaped it libvirt sees it alive. */
	for (int i = 0; i < REAP_WAIT_MS && kill(pid, 0) == 0; i++)
		(void)poll(NULL, 0, 1);
}

int machines_destroy(struct machines *m, const char *id, struct msb_err *e)
{
	_cleanup_domain_ virDomainPtr d = virDomainLookupByName(m->conn, id);
	int code;

	if (!d)
		return 0;
	foretell(m, id, VMM_END_DESTROYED);
	kill_qemu(m, id);
	if (virDomainDestroy(d) == 0)
		return 0;
	code = virGetLastErrorCode();
	if (code == VIR_ERR_NO_DOMAIN || code == VIR_ERR_OPERATION_INVALID)
		return 0; /* it ended on its own meanwhile */
	return lv_err(e, "the machine does not stop");
}

int machines_pid(struct machines *m, const char *id, pid_t *ret, struct msb_err *e)
{
	int r = pid_of(m, id, ret);

	return r < 0 ? msb_err_set(e, r == -ESRCH ? ENOENT : -r, "the machine does not run") : 0;
}

int machines_list(struct machines *m, char (*ids)[33], struct msb_err *e)
{
	virDomainPtr *all = NULL;
	int n = virConnectListAllDomains(m->conn, &all, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	int kept = 0;

	if (n < 0)
		return lv_err(e, "libvirt lists no machines");
	for (int i = 0; i < n; i++) {
		const char *name = virDomainGetName(all[i]);
		pid_t pid;

		/* Not those of others at a shared URI, nor one whose end libvirt has yet to see. */
		if (strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32 &&
			kept < WORKER_MAX_MACHINES && pid_of(m, name, &pid) == 0)
			memcpy(ids[kept++], name, 33);
		virDomainFree(all[i]);
	}
	free(all);
	return kept;
}
