// SPDX-License-Identifier: Apache-2.0
// Drives machines through vmm.h for vmm.bats: `vmm_driver CASE`, exit 0 where all was as it must
// be.
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "vmm/vmm.h"

#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define MACHINES     8
#define HANG_MS	     240000 /* ends what hangs; eight guests boot at once, under TCG */
#define MEMORY_BYTES (UINT64_C(96) << 20)

static struct vmm *vmm;
static struct msb_paths paths;

static struct machine {
	struct vmm_spec spec;
	int agent;
	pthread_mutex_t lock; /* all below */
	int console;
	struct msb_str said; /* on it */
} machines[MACHINES];

/* What the callbacks said. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int ends, lost;
	char id[4 * MACHINES][33], detail[4 * MACHINES][256]; /* by number of the end */
	enum vmm_end how[4 * MACHINES];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

#define CHECK(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: ", __func__, __LINE__, #cond);                 \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static void on_ended(void *arg, const char *id, enum vmm_end how, const char *detail)
{
	struct msb_err e = {0};

	/* Must fail, not wait for itself. */
	if (vmm_destroy(vmm, id, &e) != -EDEADLK)
		abort();
	LOCK_SCOPE(&told.lock);
	told.how[told.ends] = how;
	(void)snprintf(told.id[told.ends], sizeof(told.id[0]), "%s", id);
	(void)snprintf(told.detail[told.ends], sizeof(told.detail[0]), "%s", detail);
	told.ends++;
	pthread_cond_broadcast(&told.changed);
}

static void on_lost(void *arg)
{
	LOCK_SCOPE(&told.lock);

	told.lost++;
	pthread_cond_broadcast(&told.changed);
}

/* Until @counter is @want; milliseconds that it took. */
static int await(const int *counter, int want)
{
	uint64_t start = msb_now_ms();
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += HANG_MS / 1000;
	LOCK_SCOPE(&told.lock);
	while (*counter < want && !pthread_cond_timedwait(&told.changed, &told.lock, &until))
		;
	CHECK(*counter >= want, "%d, not %d", *counter, want);
	return (int)(msb_now_ms() - start);
}

static void connect_vmm(void)
{
	struct msb_err e = {0};

	CHECK(vmm_new(&paths, 2, on_ended, on_lost, NULL, &vmm, &e) == 0, "%s", e.msg);
}

static struct machine *spec(int n, const char *what)
{
	struct machine *m = &machines[n];
	char dir[MSB_PATH_MAX + 32];

	pthread_mutex_init(&m->lock, NULL);
	m->spec = (struct vmm_spec){.cpus = 1, .memory_bytes = MEMORY_BYTES};
	(void)snprintf(m->spec.id, sizeof(m->spec.id), "%08x%024x", n + 1, (unsigned int)getpid());
	(void)snprintf(dir, sizeof(dir), "%s/sb/%d", paths.run, n);
	CHECK(msb_mkdir_p(dir, 0700) == 0, "%s", dir);
	(void)snprintf(m->spec.agent_socket, sizeof(m->spec.agent_socket), "%.90s/agent", dir);
	(void)snprintf(m->spec.console_socket, sizeof(m->spec.console_socket), "%.90s/tty", dir);
	(void)snprintf(m->spec.cmdline_extra, sizeof(m->spec.cmdline_extra), "tiny=%.200s", what);
	return m;
}

/* A console that nobody reads stops the guest after 300 bytes. */
static void *console_thread(void *arg)
{
	struct machine *m = arg;
	char buf[4096];
	ssize_t n;
	int fd;

	pthread_mutex_lock(&m->lock);
	fd = m->console;
	pthread_mutex_unlock(&m->lock);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		LOCK_SCOPE(&m->lock);
		msb_str_add(&m->said, buf, (size_t)n);
	}
	close(fd);
	return NULL;
}

static void start(struct machine *m)
{
	struct msb_err e = {0};
	pthread_t t;
	int console;

	CHECK(vmm_start_paused(vmm, &m->spec, &e) == 0, "%s", e.msg);
	m->agent = msb_unix_connect(m->spec.agent_socket, SOCK_STREAM);
	console = msb_unix_connect(m->spec.console_socket, SOCK_STREAM);
	CHECK(m->agent >= 0 && console >= 0, "sockets: %d %d", m->agent, console);
	pthread_mutex_lock(&m->lock);
	m->console = console;
	pthread_mutex_unlock(&m->lock);
	CHECK(!pthread_create(&t, NULL, console_thread, m) && !pthread_detach(t), "thread");
	CHECK(vmm_resume(vmm, m->spec.id, &e) == 0, "%s", e.msg);
}

static void console_says(struct machine *m, const char *text)
{
	uint64_t end = msb_now_ms() + HANG_MS;
	bool found = false;

	while (!found) {
		pthread_mutex_lock(&m->lock);
		found = m->said.buf && strstr(m->said.buf, text);
		pthread_mutex_unlock(&m->lock);
		CHECK(found || msb_now_ms() < end, "no '%s'", text);
		(void)poll(NULL, 0, 10);
	}
}

/* Reads exactly @text from the agent channel. */
static void expect(const struct machine *m, const char *text)
{
	char buf[32] = "";

	for (size_t got = 0; got < strlen(text);) {
		ssize_t n;

		CHECK(msb_wait_fd(m->agent, POLLIN, HANG_MS) == 0, "no '%s'", text);
		n = read(m->agent, buf + got, strlen(text) - got);
		CHECK(n > 0, "the channel ended");
		got += (size_t)n;
	}
	CHECK(!strcmp(buf, text), "'%s', not '%s'", buf, text);
}

static void echo(const struct machine *m)
{
	CHECK(write(m->agent, "ping\n", 5) == 5, "%m");
	expect(m, "ping\n");
}

static pid_t pid_of(const struct machine *m)
{
	struct msb_err e = {0};
	pid_t pid = -1;

	CHECK(vmm_pid(vmm, m->spec.id, &pid, &e) == 0, "%s", e.msg);
	return pid;
}

static size_t listed(void)
{
	struct msb_err e = {0};
	char(*ids)[33] = NULL;
	size_t n = 0;

	CHECK(vmm_list(vmm, &ids, &n, &e) == 0, "%s", e.msg);
	free(ids);
	return n;
}

static int destroy(const struct machine *m)
{
	struct msb_err e = {0};
	uint64_t t = msb_now_ms();

	CHECK(vmm_destroy(vmm, m->spec.id, &e) == 0, "%s", e.msg);
	return (int)(msb_now_ms() - t);
}

/* The first child of @pid, which must have one. */
static pid_t child_of(pid_t pid)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char path[64];
	int child = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	CHECK(msb_read_file(AT_FDCWD, path, 4096, &s) == 0 && s.buf, "%s", path);
	child = atoi(s.buf);
	CHECK(child > 0, "%d has no child", (int)pid);
	return child;
}

static void kill_worker(void)
{
	pid_t outer = child_of(getpid()), inner = child_of(outer);

	CHECK(kill(outer, SIGKILL) == 0, "%m");
	(void)kill(inner, SIGKILL); /* it dies with its parent; whichever comes first */
	(void)await(&told.lost, 1);
}

/* ---- cases */

static void case_life(void)
{
	struct machine *m = spec(0, "idle");
	struct msb_err e = {0};
	int ms;

	start(m);
	expect(m, "ready\n");
	echo(m);
	console_says(m, "tiny: idle");
	CHECK(vmm_start_paused(vmm, &m->spec, &e) == -EBUSY, "started twice: %s", e.msg);
	CHECK(vmm_suspend(vmm, m->spec.id, &e) == 0, "%s", e.msg);
	CHECK(write(m->agent, "ping\n", 5) == 5, "%m");
	CHECK(msb_wait_fd(m->agent, POLLIN, 300) == -ETIMEDOUT, "paused, and it answers");
	CHECK(vmm_resume(vmm, m->spec.id, &e) == 0, "%s", e.msg);
	expect(m, "ping\n");
	CHECK(listed() == 1, "not listed");
	CHECK(kill(pid_of(m), 0) == 0, "%m");
	ms = destroy(m);
	printf("destroyed in %d ms\n", ms);
	(void)await(&told.ends, 1);
	CHECK(told.how[0] == VMM_END_DESTROYED && !strcmp(told.id[0], m->spec.id), "%d",
		told.how[0]);
	CHECK(listed() == 0, "still listed");
	(void)destroy(m); /* what is gone already is fine */
	CHECK(vmm_resume(vmm, m->spec.id, &e) == -ENOENT, "%s", e.msg);
	CHECK(vmm_pid(vmm, m->spec.id, &(pid_t){0}, &e) == -ENOENT, "%s", e.msg);
}

static void *start_thread(void *arg)
{
	start(arg);
	return NULL;
}

static void case_eight(void)
{
	uint64_t t = msb_now_ms();
	pthread_t threads[MACHINES];

	for (int i = 0; i < MACHINES; i++)
		CHECK(!pthread_create(&threads[i], NULL, start_thread, spec(i, "idle")), "thread");
	for (int i = 0; i < MACHINES; i++)
		CHECK(!pthread_join(threads[i], NULL), "join");
	printf("8 started in %llu ms\n", (unsigned long long)(msb_now_ms() - t));
	for (int i = 0; i < MACHINES; i++)
		expect(&machines[i], "ready\n");
	printf("8 booted in %llu ms\n", (unsigned long long)(msb_now_ms() - t));
	CHECK(listed() == MACHINES, "%zu", listed());
	for (int i = 0; i < MACHINES; i++)
		(void)destroy(&machines[i]);
	(void)await(&told.ends, MACHINES);
	CHECK(listed() == 0, "%zu", listed());
}

static void case_crash(void)
{
	struct machine *m = spec(0, "idle"), *other = spec(1, "idle");
	int ms;

	start(m);
	start(other);
	expect(m, "ready\n");
	expect(other, "ready\n");
	CHECK(kill(pid_of(m), SIGKILL) == 0, "%m");
	ms = await(&told.ends, 1);
	printf("told after %d ms\n", ms);
	CHECK(told.how[0] == VMM_END_CRASHED && !strcmp(told.id[0], m->spec.id), "%d", told.how[0]);
	CHECK(strstr(told.detail[0], "QEMU ended unexpectedly"), "%s", told.detail[0]);
	echo(other);
	start(m); /* the same machine, again */
	expect(m, "ready\n");
	(void)destroy(m);
	(void)destroy(other);
	(void)await(&told.ends, 3);
}

static void case_worker(void)
{
	struct machine *m = spec(0, "idle"), *gone = spec(1, "idle");
	pid_t pid;

	start(m);
	start(gone);
	expect(m, "ready\n");
	expect(gone, "ready\n");
	pid = pid_of(gone);
	kill_worker();
	echo(m); /* without any worker */
	CHECK(kill(pid, SIGKILL) == 0, "%m");
	CHECK(listed() == 1, "%zu", listed());
	echo(m);
	CHECK(kill(pid_of(m), 0) == 0, "%m");
	start(gone);
	expect(gone, "ready\n");
	(void)destroy(m);
	(void)destroy(gone);
	CHECK(listed() == 0, "%zu", listed());
}

/* Another msbd takes over, as after a kill -9 of the first. */
static void case_adopt(void)
{
	struct machine *m = spec(0, "idle");
	char(*ids)[33] = NULL;
	struct msb_err e = {0};
	size_t n = 0;
	int r;

	start(m);
	expect(m, "ready\n");
	vmm_close(vmm);
	r = vmm_list(vmm, &ids, &n, &e);
	CHECK(r == -ECANCELED, "%d", r);
	vmm = vmm_free(vmm);
	echo(m);
	connect_vmm();
	CHECK(listed() == 1, "%zu", listed());
	(void)destroy(m);
	CHECK(listed() == 0, "%zu", listed());
}

static void case_ends(void)
{
	static const struct {
		const char *what;
		enum vmm_end how;
	} t[] = {
		{"poweroff", VMM_END_SHUTDOWN},
		{"reboot", VMM_END_RESET},
		{"exit", VMM_END_PANIC},
		{"panic", VMM_END_PANIC},
	};

	for (int i = 0; i < (int)ARRAY_LEN(t); i++)
		start(spec(i, t[i].what));
	(void)await(&told.ends, (int)ARRAY_LEN(t));
	for (int i = 0; i < told.ends; i++)
		for (int k = 0; k < (int)ARRAY_LEN(t); k++)
			if (!strcmp(machines[k].spec.id, told.id[i]))
				CHECK(told.how[i] == t[k].how, "%s: %d", t[k].what, told.how[i]);
	CHECK(listed() == 0, "%zu", listed());
}

/* Machines that end while there is no worker are gone when there is one again. */
static void case_missed(void)
{
	static const char *const t[][2] = {{"poweroff", "tiny: poweroff"},
		{"reboot", "tiny: reboot"}, {"exit", "Kernel panic"}};

	for (int i = 0; i < (int)ARRAY_LEN(t); i++)
		start(spec(i, t[i][0]));
	kill_worker();
	for (int i = 0; i < (int)ARRAY_LEN(t); i++)
		console_says(&machines[i], t[i][1]);
	(void)poll(NULL, 0, 1500); /* nobody is there to tell us when QEMU has stopped them */
	(void)listed();		   /* starts a worker */
	for (int i = 0; listed() && i < HANG_MS / 20; i++)
		(void)poll(NULL, 0, 20);
	CHECK(listed() == 0, "%zu", listed());
}

static void *stuck_thread(void *arg)
{
	struct machine *m = arg;
	struct msb_err e = {0};
	int r = vmm_start_paused(vmm, &m->spec, &e);

	CHECK(r < 0, "started without a file server");
	printf("stuck start: %s\n", e.msg);
	return NULL;
}

/* A file server that says nothing: QEMU connects to it, and its start goes no further. */
static int start_stuck(struct machine *m, pthread_t *thread)
{
	struct msb_err e = {0};
	int fd;

	m->spec.nfs = 1;
	(void)snprintf(m->spec.fs[0].tag, sizeof(m->spec.fs[0].tag), "root");
	(void)snprintf(
		m->spec.fs[0].socket, sizeof(m->spec.fs[0].socket), "%.90s/sb/0/fs", paths.run);
	fd = msb_unix_listen(m->spec.fs[0].socket, SOCK_STREAM, 0600, &e);
	CHECK(fd >= 0, "%s", e.msg);
	CHECK(!pthread_create(thread, NULL, stuck_thread, m), "thread");
	CHECK(msb_wait_fd(fd, POLLIN, HANG_MS) == 0, "QEMU does not come");
	return fd;
}

/* Destroying the machine ends that. */
static void case_stuck(void)
{
	struct machine *m = spec(0, "idle");
	struct msb_err e = {0};
	pthread_t thread;
	int fd = start_stuck(m, &thread);
	uint64_t t = msb_now_ms();

	CHECK(vmm_destroy(vmm, m->spec.id, &e) == 0, "%s", e.msg);
	CHECK(!pthread_join(thread, NULL), "join");
	printf("freed in %llu ms\n", (unsigned long long)(msb_now_ms() - t));
	CHECK(listed() == 0, "%zu", listed());
	close(fd);
}

/* ---- what a killed worker leaves, changed to what it leaves at some other instant */

/* libvirt's file of @m, by its suffix. */
static void status_path(const struct machine *m, const char *suffix, char ret[MSB_PATH_MAX + 96])
{
	(void)snprintf(
		ret, MSB_PATH_MAX + 96, "%s/libvirt/run/qemu/%s%s", paths.run, m->spec.id, suffix);
}

/* The status of @m says what it said before libvirt knew its QEMU's pid. */
static void forge_early_status(const struct machine *m)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, out = MSB_STR_INIT;
	char path[MSB_PATH_MAX + 96], *first, *job;

	status_path(m, ".xml", path);
	CHECK(msb_read_file(AT_FDCWD, path, 1 << 20, &s) == 0, "%s", path);
	first = strstr(s.buf, "<domstatus ");
	job = first ? strstr(first, "</qemuCaps>") : NULL;
	CHECK(job, "not a status file");
	msb_str_add(&out, s.buf, (size_t)(first - s.buf));
	msb_str_adds(&out, "<domstatus state='paused' reason='starting up' pid='0'>");
	first += strcspn(first, "\n");
	job += strcspn(job, "\n");
	msb_str_add(&out, first, (size_t)(job - first));
	msb_str_adds(&out, "\n<job type='none' async='start' flags='0x1' asyncStarted='1'/>");
	msb_str_adds(&out, job);
	CHECK(!out.oom && msb_write_file_atomic(AT_FDCWD, path, out.buf, out.len, 0600) == 0, "%s",
		path);
	status_path(m, ".pid", path);
	CHECK(unlink(path) == 0, "%s", path);
}

static bool left(const struct machine *m)
{
	static const char *const pattern[][2] = {{"run/qemu/", "*"}, {"run/qemu/channel/*-", ""},
		{"lib/qemu/*-", ""}, {"lib/qemu/ram/*-", ""}, {"log/qemu/", "*"}};
	bool any = false;

	for (size_t i = 0; i < ARRAY_LEN(pattern); i++) {
		char path[MSB_PATH_MAX + 96];
		glob_t found = {0};

		(void)snprintf(path, sizeof(path), "%s/libvirt/%s%.20s%s", paths.run, pattern[i][0],
			m->spec.id, pattern[i][1]);
		(void)glob(path, 0, NULL, &found);
		for (size_t k = 0; k < found.gl_pathc; k++) {
			fprintf(stderr, "left: %s\n", found.gl_pathv[k]);
			any = true;
		}
		globfree(&found);
	}
	return any;
}

/* Workers that were killed while a machine was being started: nothing is left of it, and it starts.
 */
static void case_cut_off(void)
{
	struct machine *m = spec(0, "idle"), *other = spec(1, "idle");
	pthread_t thread;
	pid_t pid;
	int fd;

	start(other);
	start(m);
	pid = pid_of(m);
	kill_worker();
	CHECK(kill(pid, SIGKILL) == 0, "%m");
	forge_early_status(m);
	CHECK(listed() == 1, "%zu", listed());
	CHECK(!left(m), "files");
	start(m);
	expect(m, "ready\n");
	(void)destroy(m);

	told.lost = 0;
	fd = start_stuck(m, &thread); /* QEMU waits for its file server */
	kill_worker();
	CHECK(!pthread_join(thread, NULL), "join");
	CHECK(listed() == 1, "%zu", listed());
	CHECK(!left(m), "files");
	close(fd);
	m->spec.nfs = 0;
	start(m);
	expect(m, "ready\n");
	expect(other, "ready\n");
}

/* A monitor that takes connections and answers nothing: libvirt waits for it for ever. */
static int deafen(const struct machine *m)
{
	char pattern[MSB_PATH_MAX + 96];
	struct msb_err e = {0};
	glob_t found = {0};
	int fd;

	(void)snprintf(pattern, sizeof(pattern), "%s/libvirt/lib/qemu/domain-*-%.20s/monitor.sock",
		paths.run, m->spec.id);
	CHECK(glob(pattern, 0, NULL, &found) == 0 && found.gl_pathc == 1, "%s", pattern);
	fd = msb_unix_listen(found.gl_pathv[0], SOCK_STREAM, 0600, &e);
	CHECK(fd >= 0, "%s", e.msg);
	globfree(&found);
	return fd;
}

/* What libvirt hangs on while there is no worker does not keep the next one from ending it. */
static void case_deaf(void)
{
	struct machine *m = spec(0, "idle"), *ended = spec(1, "idle"), *other = spec(2, "idle");
	struct msb_err e = {0};
	int fd[2];
	pid_t pid;

	start(other);
	start(m);
	start(ended);
	pid = pid_of(ended);
	kill_worker();
	CHECK(kill(pid, SIGKILL) == 0, "%m");
	fd[0] = deafen(m);
	fd[1] = deafen(ended);
	CHECK(listed() == 2, "%zu", listed());
	CHECK(vmm_start_paused(vmm, &ended->spec, &e) == 0, "%s", e.msg);
	(void)destroy(m);
	CHECK(listed() == 2 && !left(m), "%zu", listed());
	close(fd[0]);
	close(fd[1]);
	start(m);
	expect(m, "ready\n");
	expect(other, "ready\n");
}

/* Ends while libvirt still asks QEMU what it can do, as a killed msbd does. */
static void case_hasty(void)
{
	char pattern[MSB_PATH_MAX + 64];
	glob_t found = {0};

	(void)snprintf(pattern, sizeof(pattern), "%s/libvirt/lib/qemu/qmp-*/qmp.pid", paths.run);
	for (int i = 0; i < HANG_MS && glob(pattern, 0, NULL, &found) == GLOB_NOMATCH; i++)
		(void)poll(NULL, 0, 1);
	CHECK(found.gl_pathc > 0, "libvirt asks no QEMU");
	globfree(&found);
}

/* Prints what QEMU runs as. */
static void case_identity(void)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	struct machine *m = spec(0, "idle");
	char path[64], caps[32] = "?";
	unsigned int uid = 0, seccomp = 0;
	const char *p;

	start(m);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid_of(m));
	CHECK(msb_read_file(AT_FDCWD, path, 65536, &s) == 0, "%s", path);
	p = strstr(s.buf, "\nUid:");
	CHECK(p && sscanf(p, "\nUid: %u", &uid) == 1, "no uid");
	p = strstr(s.buf, "\nCapPrm:");
	CHECK(p && sscanf(p, "\nCapPrm: %31s", caps) == 1, "no capabilities");
	p = strstr(s.buf, "\nSeccomp:");
	CHECK(p && sscanf(p, "\nSeccomp: %u", &seccomp) == 1, "no seccomp");
	printf("uid=%u caps=%s seccomp=%u\n", uid, caps, seccomp);
	(void)destroy(m);
}

/* Prints errno and sentence of a start that must fail. */
static void case_refused(void)
{
	struct machine *m = spec(0, "idle");
	const char *bytes = getenv("MEMORY_BYTES");
	struct msb_err e = {0};

	if (bytes)
		m->spec.memory_bytes = strtoull(bytes, NULL, 10);
	CHECK(vmm_start_paused(vmm, &m->spec, &e) < 0, "it started");
	printf("%s: %s\n", strerrorname_np(e.code), e.msg);
	CHECK(listed() == 0, "%zu", listed());
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} cases[] = {{"life", case_life}, {"eight", case_eight}, {"crash", case_crash},
		{"worker", case_worker}, {"adopt", case_adopt}, {"ends", case_ends},
		{"missed", case_missed}, {"stuck", case_stuck}, {"hasty", case_hasty},
		{"cut-off", case_cut_off}, {"deaf", case_deaf}, {"identity", case_identity},
		{"refused", case_refused}};
	struct msb_err e = {0};

	msb_log_init("vmm_driver", NULL, -1);
	CHECK(argc == 3, "usage: vmm_driver BIN-DIR CASE");
	CHECK(msb_paths_init(&paths, &e) == 0, "%s", e.msg);
	(void)snprintf(paths.bin, sizeof(paths.bin), "%s", argv[1]);
	CHECK(msb_mkdir_p(paths.run, 0700) == 0, "%s", paths.run);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		if (strcmp(argv[2], cases[i].name) != 0)
			continue;
		connect_vmm();
		cases[i].fn();
		vmm = vmm_free(vmm);
		return 0;
	}
	CHECK(false, "no case %s", argv[2]);
}
