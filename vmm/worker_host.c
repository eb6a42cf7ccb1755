// SPDX-License-Identifier: Apache-2.0
// What a start needs from the host: memory, programs, files; and which process a machine is.
#include "vmm/worker.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/str.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define QEMU   "/usr/bin/qemu-system-x86_64"
#define LOADER "/usr/share/qemu/qboot.rom"

#define KILL_WAIT_MS                                                                               \
	2000		 /* for a killed process to be gone: longer only in a stuck system call    \
			  */
#define REAP_WAIT_MS 100 /* for a dead one to be reaped */
#define TSC_MS	     20	 /* apart two looks at the counter: then they say its rate to some ppm */

int host_memory_check(const char *meminfo, uint64_t memory_bytes, struct msb_err *e)
{
	static const char key[] = "MemAvailable:";
	const char *p = strstr(meminfo, key);
	uint64_t have;

	if (!p)
		return 0;
	have = strtoull(p + sizeof(key) - 1, NULL, 10) * 1024; /* the kernel's own digits */
	if (memory_bytes + WORKER_MARGIN_BYTES <= have)
		return 0;
	return msb_err_set(e, ENOMEM,
		"not enough memory: the sandbox asks for %llu MiB and msb for %llu MiB beside it, the host has %llu MiB available; lower memory_bytes or stop another sandbox",
		(unsigned long long)(memory_bytes >> 20),
		(unsigned long long)(WORKER_MARGIN_BYTES >> 20), (unsigned long long)(have >> 20));
}

/* @told: the path as the user knows it, which may differ from where we see it. */
static int need(const char *path, const char *told, int mode, const char *what, const char *how,
	struct msb_err *e)
{
	if (access(path, mode) == 0)
		return 0;
	if (errno != ENOENT && errno != ENOTDIR)
		return msb_err_set(e, errno, "%s %s: %m", what, told);
	return msb_err_set(e, ENOENT, "%s %s is missing; %s", what, told, how);
}

static int find_qemu(struct host_parts *ret, struct msb_err *e)
{
	const char *qemu = getenv("MSB_QEMU");

	if (snprintf(ret->qemu, sizeof(ret->qemu), "%s", qemu && *qemu ? qemu : QEMU) >=
		(int)sizeof(ret->qemu))
		return msb_err_set(e, ENAMETOOLONG, "the path of QEMU is too long");
	return need(ret->qemu, ret->qemu, X_OK, "QEMU", "install it with make deps", e);
}

int host_parts_find(const char *share, const char *told, const struct vmm_spec *s,
	struct host_parts *ret, struct msb_err *e)
{
	/* The modules of the one are too much for who needs none of them. */
	bool more = s->disk.base_format[0] || s->nvolumes || vmm_has_balloon(s);
	const char *initrd = more ? "initramfs-disk" : "initramfs";
	const char *kernel = getenv("MSB_KERNEL"), *file = "vmlinux";
	bool pvh = access(LOADER, R_OK) == 0, own = false;
	char path[MSB_PATH_MAX + 32];
	int n, r;

	ret->loader = NULL;
	if (s->own.kernel[0]) /* by QEMU's firmware, which boots whatever Linux boots by */
		return find_qemu(ret, e);
	if (!kernel || !*kernel || !strcmp(kernel, "debian"))
		file = pvh ? "vmlinux" : "vmlinuz";
	else if (!strcmp(kernel, "mini"))
		file = "vmlinux-mini";
	else
		own = true;
	/* A kernel of the user's own may not know PVH; QEMU's default firmware boots either. */
	ret->loader = pvh && !own ? LOADER : NULL;
	n = own ? snprintf(ret->kernel, sizeof(ret->kernel), "%s", kernel)
		: snprintf(ret->kernel, sizeof(ret->kernel), "%s/%s", share, file);
	if (n < (int)sizeof(ret->kernel))
		n = snprintf(ret->initrd, sizeof(ret->initrd), "%s/%s", share, initrd);
	if (n >= (int)sizeof(ret->initrd))
		return msb_err_set(e, ENAMETOOLONG, "the path of the kernel is too long");
	if (own && kernel[0] != '/')
		return msb_err_set(e, EINVAL,
			"MSB_KERNEL is %s, neither debian nor mini nor an absolute path", kernel);
	r = find_qemu(ret, e);
	(void)snprintf(path, sizeof(path), "%s/%s", told, file);
	if (r == 0)
		r = need(ret->kernel, own ? ret->kernel : path, R_OK, "the kernel",
			kernel && !strcmp(kernel, "mini") ? "build it with make kernel"
							  : "make it with make kernel-debian",
			e);
	(void)snprintf(path, sizeof(path), "%s/%s", told, initrd);
	if (r == 0)
		r = need(ret->initrd, path, R_OK, "the initramfs",
			"make it with make kernel-debian", e);
	return r;
}

static int read_cmdline(const char *pid, struct msb_str *ret)
{
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	r = msb_read_file(AT_FDCWD, path, 1 << 20, ret);
	return r < 0 || !ret->len ? -ESRCH : 0;
}

/* A process that we forked, or an earlier one of us, before it became another program. */
static bool is_fork_of_us(pid_t pid, const struct msb_str *cmdline)
{
	_cleanup_str_ struct msb_str ours = MSB_STR_INIT;

	return pid != getpid() && pid != getppid() && read_cmdline("self", &ours) == 0 &&
	       ours.len == cmdline->len && !memcmp(ours.buf, cmdline->buf, ours.len);
}

pid_t host_pid_of(const char *pidfile, const char *word)
{
	_cleanup_str_ struct msb_str text = MSB_STR_INIT, cmdline = MSB_STR_INIT;
	int r = msb_read_file(AT_FDCWD, pidfile, 64, &text);
	uint64_t pid;
	bool is_it;

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	while (text.len && text.buf[text.len - 1] == '\n')
		text.buf[--text.len] = '\0';
	if (!text.buf || msb_parse_u64(text.buf, 1, INT32_MAX, &pid) < 0)
		return -ESRCH;
	/* The pid may be somebody else's by now. */
	if (read_cmdline(text.buf, &cmdline) < 0)
		return -ESRCH;
	is_it = word == HOST_FORK_OF_US
			? is_fork_of_us((pid_t)pid, &cmdline)
			: memmem(cmdline.buf, cmdline.len, word, strlen(word)) != NULL;
	return is_it ? (pid_t)pid : -ESRCH;
}

void host_kill(const char *pidfile, const char *word)
{
	pid_t pid = host_pid_of(pidfile, word);
	_cleanup_close_ int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;

	/* Looked up again: only now it is certain that the descriptor is that process's. */
	if (pidfd < 0 || host_pid_of(pidfile, word) != pid)
		return;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 ||
		msb_wait_fd(pidfd, POLLIN, KILL_WAIT_MS) < 0)
		return;
	/* Dead, but as long as its parent has not reaped it libvirt sees it alive. */
	for (int i = 0; i < REAP_WAIT_MS && kill(pid, 0) == 0; i++)
		(void)poll(NULL, 0, 1);
}

/* The counter and the clock at one moment: of a few looks the one that nothing came between. */
static void tsc_at(uint64_t *ret_cycles, uint64_t *ret_ns)
{
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		struct timespec t;
		uint64_t from = __builtin_ia32_rdtsc(), took;

		(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		took = __builtin_ia32_rdtsc() - from;
		if (took >= least)
			continue;
		least = took;
		*ret_cycles = from + took / 2;
		*ret_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	}
}

uint32_t host_tsc_khz(void)
{
	uint64_t c0 = 0, c1 = 0, t0 = 0, t1 = 0, khz;

	tsc_at(&c0, &t0);
	(void)poll(NULL, 0, TSC_MS);
	tsc_at(&c1, &t1);
	khz = t1 > t0 ? (uint64_t)((unsigned __int128)(c1 - c0) * 1000000 / (t1 - t0)) : 0;
	return khz < 100000 || khz > 10000000 ? 0 : (uint32_t)khz;
}
