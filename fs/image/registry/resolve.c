// SPDX-License-Identifier: Apache-2.0
// Names to addresses, in a process of their own.
#include "fs/image/registry/resolve.h"
#include "base/cleanup.h"
#include "base/jail.h"
#include "base/log.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netdb.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

void reg_resolve(struct msb_msg *m)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	char host[256], one[INET6_ADDRSTRLEN], list[REG_MAX_ADDRESS_BYTES] = "";
	const char *name = msb_msg_get(m, "host");
	struct msb_str s = MSB_STR_FIXED(list);
	struct addrinfo *found = NULL;
	int r, n = 0;

	(void)snprintf(host, sizeof(host), "%s", name ? name : "");
	r = getaddrinfo(host, NULL, &hints, &found);
	if (r != 0) {
		msb_msg_init(m, "error");
		msb_msg_set(m, "host", "%s", host);
		msb_msg_set(m, "again", "%d", r == EAI_AGAIN || r == EAI_SYSTEM);
		msb_msg_set(m, "msg", "%s", r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
		return;
	}
	for (const struct addrinfo *a = found; a && n < REG_MAX_ADDRESSES; a = a->ai_next, n++)
		if (getnameinfo(a->ai_addr, a->ai_addrlen, one, sizeof(one), NULL, 0,
			    NI_NUMERICHOST) == 0)
			msb_str_addf(&s, "%s%s", n ? "," : "", one);
	freeaddrinfo(found);
	msb_msg_init(m, "ok");
	msb_msg_set(m, "host", "%s", host);
	msb_msg_set(m, "addresses", "%s", list);
}

bool reg_addresses_valid(const char *list)
{
	char one[INET6_ADDRSTRLEN];
	struct in6_addr a;

	if (!*list || strlen(list) >= REG_MAX_ADDRESS_BYTES)
		return false;
	for (;;) {
		size_t n = strcspn(list, ",");

		if (n >= sizeof(one))
			return false;
		memcpy(one, list, n);
		one[n] = '\0';
		if (inet_pton(AF_INET, one, &a) != 1 && inet_pton(AF_INET6, one, &a) != 1)
			return false;
		if (!list[n])
			return true;
		list += n + 1;
	}
}

/* A name service may be a module that nobody here has seen: what it may not do fails, and it copes
 * or says so. */
static int narrow(struct msb_err *e)
{
	static const char *const paths[] = {
		"/etc", "/usr", "/lib", "/lib64", "/run", "/var", "/proc", "/sys", "/opt", "/nix"};
	static const char *const syscalls[] = {"access", "bind", "brk", "clock_gettime",
		"clock_nanosleep", "close", "connect", "dup", "epoll_create1", "epoll_ctl",
		"epoll_pwait", "epoll_wait", "eventfd2", "exit", "exit_group", "faccessat",
		"faccessat2", "fcntl", "fstat", "fstatfs", "futex", "getdents64", "getegid",
		"geteuid", "getgid", "getpeername", "getpid", "getppid", "getrandom", "getsockname",
		"getsockopt", "gettid", "gettimeofday", "getuid", "ioctl", "lseek", "madvise",
		"mmap", "mprotect", "mremap", "munmap", "newfstatat", "openat", "poll", "ppoll",
		"prctl", "pread64", "prlimit64", "read", "readlink", "readlinkat", "readv",
		"recvfrom", "recvmmsg", "recvmsg", "restart_syscall", "rseq", "rt_sigaction",
		"rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sendmmsg", "sendmsg",
		"sendto", "set_robust_list", "setsockopt", "shutdown", "socket", "socketpair",
		"stat", "statfs", "statx", "sysinfo", "timerfd_create", "timerfd_settime", "uname",
		"write", "writev", NULL};
	struct msb_jail_dir dirs[ARRAY_LEN(paths)];
	struct msb_jail jail = {
		.flags = MSB_JAIL_NOBODY, .syscalls = syscalls, .refuse = true, .dirs = dirs};
	int r;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int fd = open(paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			dirs[jail.ndirs++] = (struct msb_jail_dir){fd, false};
	}
	r = msb_jail_enter(&jail, e);
	for (size_t i = 0; i < jail.ndirs; i++)
		close(dirs[i].fd);
	return r;
}

static void child(int sock, pid_t parent)
{
	static struct msb_msg m;
	struct msb_err e = {0};

	if (dup2(sock, 3) < 0)
		_exit(1);
	(void)syscall(SYS_close_range, 4U, ~0U, 0);
	if (narrow(&e) < 0) {
		log_err("resolver: %s", e.msg);
		_exit(1);
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(0);
	while (msb_msg_recv(3, &m) == 0) {
		msb_msg_close_fds(&m);
		reg_resolve(&m);
		if (msb_msg_send(3, &m) < 0)
			break;
	}
	_exit(0);
}

int reg_resolver_start(int *ret_sock, struct msb_err *e)
{
	pid_t self = getpid(), pid;
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return msb_err_set(e, errno, "cannot start a resolver: %m");
	pid = fork();
	if (pid == 0)
		child(sv[1], self);
	close(sv[1]);
	if (pid < 0 || fcntl(sv[0], F_SETFL, O_NONBLOCK) < 0) {
		close(sv[0]);
		return msb_err_set(e, errno, "cannot start a resolver: %m");
	}
	*ret_sock = sv[0];
	return 0;
}
