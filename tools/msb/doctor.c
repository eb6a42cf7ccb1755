// SPDX-License-Identifier: Apache-2.0
// `doctor`: whether what msb needs is there, and what to do where it is not. The one command that
// looks past the mount.
#include "base/cleanup.h"
#include "base/io.h"
#include "tools/msb/cli.h"
#include "tools/msb/mnt.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_SEC	  5
#define QEMU_WANTED	  10
#define LIBVIRT_WANTED	  11
#define DISK_WANTED_BYTES (2ull << 30) /* an image, and what is changed in it */
#define DISK_NEEDED_BYTES (64ull << 20)
#define MEM_WANTED_BYTES  (512ull << 20)

enum level { OK, WARN, FAIL };

struct doctor {
	bool json, colours;
	unsigned int warned, failed;
	struct msb_paths paths;
	char version[64], accel[16]; /* as the mount says; empty: it says nothing */
};

/* A line: what is so, and what to do where that is not well (empty otherwise). */
static void say(struct doctor *d, enum level level, const char *what, const char *advice,
	const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static void say(struct doctor *d, enum level level, const char *what, const char *advice,
	const char *fmt, ...)
{
	static const char *const names[] = {"OK", "WARN", "FAIL"};
	static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};
	_cleanup_free_ char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	d->warned += level == WARN;
	d->failed += level == FAIL;
	if (d->json) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "level", names[level], "check", what,
			"text", text ?: "", "advice", advice);
		_cleanup_free_ char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;

		json_decref(o);
		printf("%s\n", line ?: "");
		return;
	}
	printf("%s%-4s%s  %-9s %s%s%s\n", d->colours ? colours[level] : "", names[level],
		d->colours ? "\033[0m" : "", what, text ?: "", *advice ? ": " : "", advice);
}

/* ---- msbd */

static void nothing(int sig)
{
	(void)sig; /* it ends the read */
}

/* A file of the mount, within ANSWER_SEC: an msbd that hangs is what is to be found out. */
static int ask(const struct mnt *m, const char *file, struct msb_str *s)
{
	const struct sigaction sa = {.sa_handler = nothing}; /* no SA_RESTART */
	int r;

	(void)sigaction(SIGALRM, &sa, NULL); /* a valid signal */
	(void)alarm(ANSWER_SEC);
	r = mnt_read(m, file, s, NULL);
	(void)alarm(0);
	return r;
}

static void check_msbd(struct doctor *d)
{
	_cleanup_str_ struct msb_str version = MSB_STR_INIT, features = MSB_STR_INIT;
	struct msb_err e = {0};
	const char *accel;
	struct mnt m;

	if (mnt_open(&m, &e) < 0) {
		say(d, FAIL, "msbd", "", "%s", e.msg);
		return;
	}
	if (ask(&m, "version", &version) < 0) {
		say(d, FAIL, "msbd", "see its `log`, and restart it: machines go on meanwhile",
			"%s is mounted, and does not answer within %d s", m.path, ANSWER_SEC);
		close(m.fd);
		return;
	}
	say(d, OK, "msbd", "", "it serves %s", m.path);
	(void)snprintf(d->version, sizeof(d->version), "%s", version.buf);
	if (ask(&m, "features", &features) == 0) {
		accel = strstr(features.buf, "accel ");
		(void)snprintf(d->accel, sizeof(d->accel), "%.*s",
			accel ? (int)strcspn(accel + 6, " \n") : 0, accel ? accel + 6 : "");
	}
	close(m.fd);
}

static void check_versions(struct doctor *d)
{
	if (!*d->version)
		return;
	if (!strcmp(d->version, MSB_VERSION))
		say(d, OK, "version", "", "msb and msbd are " MSB_VERSION);
	else
		say(d, WARN, "version", "restart msbd, or call the msb that was installed with it",
			"msb is " MSB_VERSION ", msbd is %s", d->version);
}

/* ---- the machine's side */

static void check_kvm(struct doctor *d)
{
	const char *forced = getenv("MSB_ACCEL");
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), why = errno;

	if (fd >= 0)
		close(fd);
	if (!strcmp(d->accel, "kvm"))
		say(d, OK, "kvm", "", "machines run in KVM");
	else if (forced && !strcmp(forced, "tcg"))
		say(d, WARN, "kvm", "unset it for speed", "MSB_ACCEL says tcg");
	else if (fd < 0 && why == ENOENT)
		say(d, WARN, "kvm",
			"turn virtualization on in the firmware (or nested virtualization on the host), "
			"and load kvm_intel or kvm_amd",
			"no /dev/kvm, so machines run in TCG, which is slow");
	else if (fd < 0 && (why == EACCES || why == EPERM))
		say(d, WARN, "kvm", "join the group kvm, and log in again",
			"/dev/kvm is not yours to open, so machines run in TCG, which is slow");
	else if (fd < 0)
		say(d, WARN, "kvm", "", "/dev/kvm: %s; machines run in TCG", strerror(why));
	else if (*d->accel)
		say(d, WARN, "kvm",
			"it is so in some nested machines; restart msbd after a change to try again",
			"/dev/kvm is there and does not run a guest as it should, so machines run in TCG");
	else
		say(d, OK, "kvm", "", "/dev/kvm can be opened; msbd tries it when it starts");
}

static void check_qemu(struct doctor *d)
{
	const char *qemu = getenv("MSB_QEMU") ?: "/usr/bin/qemu-system-x86_64";
	char line[256] = "", *at;
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	if (access(qemu, X_OK) < 0) {
		say(d, FAIL, "qemu", "install qemu-system-x86, or set MSB_QEMU", "%s: %m", qemu);
		return;
	}
	if (pipe2(fd, O_CLOEXEC) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		(void)dup2(fd[1], STDOUT_FILENO);
		execl(qemu, qemu, "--version", NULL);
		_exit(127);
	}
	close(fd[1]);
	n = pid < 0 ? -1 : read(fd[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	close(fd[0]);
	if (pid > 0)
		(void)waitpid(pid, &status, 0); /* ours, and not waited for elsewhere */
	at = strstr(line, "version ");
	if (!at)
		say(d, FAIL, "qemu", "install it anew", "%s does not say its version", qemu);
	else if (atoi(at + 8) < QEMU_WANTED)
		say(d, WARN, "qemu", "Debian 12 has a newer one in bookworm-backports",
			"%s is %.*s; msb is made for %d", qemu, (int)strcspn(at + 8, " \n"), at + 8,
			QEMU_WANTED);
	else
		say(d, OK, "qemu", "", "%s is %.*s", qemu, (int)strcspn(at + 8, " \n"), at + 8);
}

static void check_libvirt(struct doctor *d)
{
	void *lib = dlopen("libvirt.so.0", RTLD_NOW);
	int (*version)(unsigned long *, const char *, unsigned long *) = NULL;
	unsigned long v = 0;

	if (lib)
		version = (__typeof__(version))(uintptr_t)dlsym(lib, "virGetVersion");
	if (!version || version(&v, NULL, NULL) < 0)
		say(d, FAIL, "libvirt", "install libvirt0 and libvirt-daemon-driver-qemu",
			"there is no libvirt");
	else if (v / 1000000 < LIBVIRT_WANTED)
		say(d, WARN, "libvirt", "Debian 12 has a newer one in bookworm-backports",
			"libvirt is %lu.%lu.%lu; msb is made for %d", v / 1000000, v / 1000 % 1000,
			v % 1000, LIBVIRT_WANTED);
	else
		say(d, OK, "libvirt", "", "libvirt is %lu.%lu.%lu; no daemon of it is needed",
			v / 1000000, v / 1000 % 1000, v % 1000);
}

static void check_kernel(struct doctor *d)
{
	const char *kernel = getenv("MSB_KERNEL") ?: "debian";
	char path[MSB_PATH_MAX + 64], initramfs[MSB_PATH_MAX + 64];

	if (*kernel == '/')
		(void)snprintf(path, sizeof(path), "%s", kernel);
	else
		(void)snprintf(path, sizeof(path), "%s/%s", d->paths.share,
			!strcmp(kernel, "mini") ? "vmlinux-mini" : "vmlinux");
	(void)snprintf(initramfs, sizeof(initramfs), "%s/initramfs", d->paths.share);
	if (access(path, R_OK) < 0)
		say(d, FAIL, "kernel", "install msb whole (`make install`), or set MSB_SHARE",
			"the guest's kernel %s: %m", path);
	else if (access(initramfs, R_OK) < 0)
		say(d, FAIL, "kernel", "install msb whole (`make install`), or set MSB_SHARE",
			"the guest's initramfs %s: %m", initramfs);
	else
		say(d, OK, "kernel", "", "the guest's kernel is %s", path);
}

/* ---- the host's side */

static bool in_path(const char *program)
{
	_cleanup_free_ char *path = strdup(getenv("PATH") ?: "/usr/bin:/bin");
	char *save = NULL, file[4096];

	for (char *p = path ? strtok_r(path, ":", &save) : NULL; p;
		p = strtok_r(NULL, ":", &save)) {
		(void)snprintf(file, sizeof(file), "%s/%s", p, program);
		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_fuse(struct doctor *d)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), why = errno;

	if (fd >= 0)
		close(fd);
	if (fd < 0)
		say(d, FAIL, "fuse",
			why == ENOENT ? "load the module fuse; a container wants --device /dev/fuse"
				      : "it is everybody's to open, mode 0666",
			"/dev/fuse: %s", strerror(why));
	else
		say(d, OK, "fuse", "", "/dev/fuse can be opened");
	if (geteuid() == 0)
		return;
	if (in_path("fusermount3"))
		say(d, OK, "mounting", "", "fusermount3 is there");
	else
		say(d, FAIL, "mounting", "install the package fuse3",
			"fusermount3 is not in PATH, and an ordinary user mounts by it");
}

static void check_ids(struct doctor *d)
{
	const struct passwd *pw = getpwuid(geteuid());
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char want[80];
	bool has;

	if (geteuid() == 0 || !pw)
		return;
	(void)snprintf(want, sizeof(want), "%s:", pw->pw_name);
	(void)msb_read_file(
		AT_FDCWD, "/etc/subuid", 1u << 20, &s); /* where it is not there, none */
	has = s.buf && (!strncmp(s.buf, want, strlen(want)) ||
			       (strstr(s.buf, want) && strstr(s.buf, want)[-1] == '\n'));
	say(d, OK, "owners", "",
		"owners of guests' files are kept beside them; %s's subordinate ids (%s) are not needed",
		pw->pw_name, has ? "there are some" : "there are none");
}

static void check_room(struct doctor *d)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT;
	char dir[MSB_PATH_MAX], text[16], *slash;
	unsigned long long free_bytes, memory = 0;
	struct statvfs v;
	const char *p;

	/* Before the first start the state directory is not there yet: what it will be in is. */
	(void)snprintf(dir, sizeof(dir), "%s", d->paths.state);
	while (statvfs(dir, &v) < 0 && (slash = strrchr(dir, '/')) && slash != dir)
		*slash = '\0';
	if (statvfs(dir, &v) == 0) {
		free_bytes = (unsigned long long)v.f_bavail * v.f_frsize;
		say(d,
			free_bytes < DISK_NEEDED_BYTES	 ? FAIL
			: free_bytes < DISK_WANTED_BYTES ? WARN
							 : OK,
			"disk",
			free_bytes < DISK_WANTED_BYTES
				? "`msb prune` removes images that nothing uses; MSB_STATE says another place"
				: "",
			"%s is free at %s", cli_bytes(free_bytes, text), d->paths.state);
	}
	if (msb_read_file(AT_FDCWD, "/proc/meminfo", 65536, &s) == 0) {
		msb_str_add(&s, "", 0);
		p = strstr(s.buf, "MemAvailable:");
		memory = p ? strtoull(p + 13, NULL, 10) * 1024 : 0;
		say(d, memory < MEM_WANTED_BYTES ? WARN : OK, "memory",
			memory < MEM_WANTED_BYTES ? "end something, or give sandboxes less" : "",
			"%s is available", cli_bytes(memory, text));
	}
}

static int doctor(const struct cli_args *a)
{
	struct doctor d = {.json = cli_json(a) > 0, .colours = cli_colours(STDOUT_FILENO)};
	struct msb_err e = {0};

	if (cli_json(a) < 0)
		return CLI_FAILED;
	if (msb_paths_init(&d.paths, &e) < 0) {
		say(&d, FAIL, "places", "", "%s", e.msg);
		return 1;
	}
	check_msbd(&d);
	check_versions(&d);
	check_kvm(&d);
	check_qemu(&d);
	check_libvirt(&d);
	check_kernel(&d);
	check_fuse(&d);
	check_ids(&d);
	check_room(&d);
	return d.failed ? 1 : 0;
}

static int version(const struct cli_args *a)
{
	_cleanup_str_ struct msb_str s = MSB_STR_INIT, other = MSB_STR_INIT;
	const int json = cli_json(a);
	struct mnt m;

	if (json < 0)
		return CLI_FAILED;
	/* No msbd is no failure: this one's version is known. */
	if (mnt_open(&m, NULL) == 0) {
		(void)mnt_read(&m, "version", &s, NULL);
		close(m.fd);
	}
	if (s.len)
		msb_str_add_json(&other, s.buf, s.len);
	if (json)
		printf("{\"msb\":\"" MSB_VERSION "\",\"msbd\":%s}\n", other.buf ?: "null");
	else
		printf("msb  " MSB_VERSION "\nmsbd %s\n", s.len ? s.buf : "is not there");
	return 0;
}

static const struct cli_option format_option[] = {
	CLI_OPTION(0, "format", "FORMAT", "table, or json: an object a line",
		.complete = "table json"),
	{0},
};

const struct cli_command cli_doctor_commands[] = {
	CLI_COMMAND("doctor", NULL, "[OPTION]...", "Look whether what msb needs is there", 0, 0,
		format_option, doctor,
		.about =
			"A line for each thing: msbd and its mount, the machine's kernel, QEMU, KVM, memory, "
			"disk and what an ordinary user needs besides. What is wrong says what to do.",
		.status = "1 where something that is needed is not there.",
		.examples = "msb doctor", .see = "version msbd(8)"),
	CLI_COMMAND("version", NULL, "[OPTION]...", "Print the versions of msb and msbd", 0, 0,
		format_option, version,
		.about = "That of msbd is what the one that runs says of itself.",
		.examples = "msb version --format json", .see = "doctor"),
	{0},
};
