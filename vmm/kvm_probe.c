// SPDX-License-Identifier: Apache-2.0
// Can this host's KVM run a guest? Runs one: 20 bytes of 64-bit code in a machine of five pages.
#include "vmm/kvm_probe.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/*
 * Guest-physical layout: page tables that map the first 2 MiB onto itself in one entry, then code.
 * Not 1 GiB in one: without a CPUID table KVM takes such an entry for a malformed one.
 */
#define PML4	 0x1000
#define PDPT	 0x2000
#define PD	 0x3000
#define CODE	 0x4000
#define MEM_SIZE 0x5000

#define CR0_PE	 (1u << 0)
#define CR0_PG	 (1u << 31)
#define CR4_PAE	 (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define PTE_P_RW (1u << 0 | 1u << 1)
#define PTE_PS	 (1u << 7)
#define PORT	 0x10

/*
 *	mov $LOOPS, %ecx
 *	xor %eax, %eax
 *   1: add %rcx, %rax		(64-bit: long mode must be real)
 *	dec %ecx
 *	jnz 1b
 *	mov %rax, %rbx
 *	out %al, $PORT		an exit to us and back
 *	hlt
 */
static const uint8_t code[] = {0xb9, KVM_PROBE_LOOPS & 0xff, KVM_PROBE_LOOPS >> 8 & 0xff,
	KVM_PROBE_LOOPS >> 16 & 0xff, KVM_PROBE_LOOPS >> 24 & 0xff, 0x31, 0xc0, 0x48, 0x01, 0xc8,
	0xff, 0xc9, 0x75, 0xf9, 0x48, 0x89, 0xc3, 0xe6, PORT, 0xf4};
#define EXPECT (UINT64_C(1) * KVM_PROBE_LOOPS * (KVM_PROBE_LOOPS + 1) / 2)

static int setup_long_mode(int vcpu)
{
	struct kvm_segment cs = {.limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.s = 1,
		.l = 1,
		.g = 1};
	struct kvm_segment ds = {.limit = 0xffffffff,
		.selector = 16,
		.type = 3,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1};
	struct kvm_regs regs = {.rip = CODE, .rflags = 2};
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return -EIO;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.cr0 |= CR0_PE | CR0_PG;
	s.cr3 = PML4;
	s.cr4 |= CR4_PAE;
	s.efer |= EFER_LME | EFER_LMA;
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -EIO;
	return 0;
}

/* CPU time: a busy host must not look like a slow one. */
static uint64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Until the guest halts, having sent one byte to PORT. */
static int run_guest(int vcpu, const struct kvm_run *run)
{
	uint64_t end = cpu_ms() + KVM_PROBE_MAX_MS;
	struct kvm_regs regs;
	bool sent = false;

	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0) {
			if (errno == EINTR)
				continue;
			return -EIO;
		}
		if (run->exit_reason == KVM_EXIT_IO && !sent && run->io.port == PORT)
			sent = true;
		else if (run->exit_reason == KVM_EXIT_HLT && sent)
			break;
		else
			return -EIO;
	}
	if (ioctl(vcpu, KVM_GET_REGS, &regs) < 0 || regs.rbx != EXPECT)
		return -EIO;
	return cpu_ms() > end ? -ETIMEDOUT : 0;
}

static int probe(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, size;
	struct kvm_userspace_memory_region mem = {.memory_size = MEM_SIZE};
	struct kvm_run *run;
	uint8_t *ram;
	int r;

	if (kvm < 0)
		return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return -EIO;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vm < 0 || size < (int)sizeof(*run))
		return -EIO;
	ram = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED)
		return -ENOMEM;
	*(uint64_t *)(void *)(ram + PML4) = PDPT | PTE_P_RW;
	*(uint64_t *)(void *)(ram + PDPT) = PD | PTE_P_RW;
	*(uint64_t *)(void *)(ram + PD) = PTE_P_RW | PTE_PS;
	memcpy(ram + CODE, code, sizeof(code));
	mem.userspace_addr = (uintptr_t)ram;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &mem) < 0)
		return -EIO;
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return -EIO;
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return -EIO;
	r = setup_long_mode(vcpu);
	return r < 0 ? r : run_guest(vcpu, run); /* the process ends now and frees all of it */
}

int kvm_probe(void)
{
	_cleanup_close_ int pidfd = -1;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(-probe());
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (pidfd < 0 || msb_wait_fd(pidfd, POLLIN, KVM_PROBE_TIMEOUT_MS) < 0)
		(void)kill(pid, SIGKILL); /* our own child, not yet reaped: it is still this pid */
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -EIO;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGKILL ? -ETIMEDOUT : -EIO;
	return -WEXITSTATUS(status);
}

/* "BOOT-ID ": what a cached outcome holds for. */
static int cache_key(struct msb_str *s)
{
	int r = msb_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, s);

	if (r < 0 || s->len < 36)
		return r < 0 ? r : -EBADMSG;
	s->len = 36; /* without the newline */
	msb_str_adds(s, " ");
	return 0;
}

const char *vmm_accel_choose(const char *run)
{
	_cleanup_str_ struct msb_str key = MSB_STR_INIT, old = MSB_STR_INIT;
	const char *env = getenv("MSB_ACCEL"), *accel;
	char path[4096];
	bool cacheable;
	int r;

	if (env && !strcmp(env, "kvm"))
		return "kvm";
	if (env && !strcmp(env, "tcg"))
		return "tcg";
	if (env && *env)
		log_warn("MSB_ACCEL is %s, neither kvm nor tcg; ignoring", env);
	/* Asked each time: groups and modules change within a boot, what the hardware can do does
	 * not. */
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		log_info("accelerator: tcg (/dev/kvm: %s)", strerror(errno));
		return "tcg";
	}
	cacheable = snprintf(path, sizeof(path), "%s/accel", run) < (int)sizeof(path) &&
		    cache_key(&key) == 0 && !key.oom;
	if (cacheable && msb_read_file(AT_FDCWD, path, 256, &old) == 0 && old.len > key.len &&
		!memcmp(old.buf, key.buf, key.len)) {
		if (!strcmp(old.buf + key.len, "kvm\n"))
			return "kvm";
		if (!strcmp(old.buf + key.len, "tcg\n"))
			return "tcg";
	}
	r = kvm_probe();
	accel = r == 0 ? "kvm" : "tcg";
	log_info("accelerator: %s (%s)", accel,
		r == 0		  ? "a probe guest ran"
		: r == -ETIMEDOUT ? "KVM is there, but its guests hang or crawl"
				  : "KVM is there, but its guests do not run");
	msb_str_addf(&key, "%s\n", accel);
	/* Other failures are of this moment: out of memory, no process to be had. */
	if (cacheable && !key.oom && (r == 0 || r == -ETIMEDOUT || r == -EIO)) {
		r = msb_write_file_atomic(AT_FDCWD, path, key.buf, key.len, 0644);
		if (r < 0)
			log_debug("%s: %s, ignoring", path, strerror(-r));
	}
	return accel;
}
