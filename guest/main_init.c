// SPDX-License-Identifier: Apache-2.0
// PID 1 of a guest: kernel file systems, modules, the agent's port, then the agent.
#include "guest/init_root.h"
#include "base/cleanup.h"
#include "base/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#define PORT_NAME	     "msb.agent"
#define MODULES		     "/modules"
#define BALLOON		     "/lazy/virtio_balloon"
#define PORT_WAIT_FIRST_MS   1
#define PORT_WAIT_LONGEST_MS 100
#define AGENT_NOFILE	     16384

static void say(const char *what, const char *why)
{
	dprintf(2, "msb init: %s: %s\n", what, why);
}

/* Return: the port's descriptor, or -1 where it is not there (yet). */
static int find_port(void)
{
	_cleanup_closedir_ DIR *d = opendir("/sys/class/virtio-ports");
	struct dirent *de;

	while (d && (de = readdir(d))) {
		char path[300], name[64] = "";
		int fd;

		if (de->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", de->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)!read(fd, name, sizeof(name) - 1); /* stays empty */
		close(fd);
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, PORT_NAME) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "/dev/%s", de->d_name);
		return open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	}
	return -1;
}

/* Ports are told by the device after its driver is there, and nothing in sysfs can be waited on. */
static int wait_port(void)
{
	long ms = PORT_WAIT_FIRST_MS;
	bool told = false;

	for (;;) {
		struct timespec t = {0, ms * 1000000};
		int fd = find_port();

		if (fd >= 0)
			return fd;
		if (ms < PORT_WAIT_LONGEST_MS) {
			ms *= 2;
		} else if (!told) {
			say("waiting for the port", PORT_NAME);
			told = true;
		}
		nanosleep(&t, NULL);
	}
}

/* Device 5 of virtio (its specification, 5.5): memory that the host takes back. */
static bool has_balloon(void)
{
	_cleanup_closedir_ DIR *d = opendir("/sys/bus/virtio/devices");
	struct dirent *de;

	while (d && (de = readdir(d))) {
		char path[300], text[16] = "";
		int fd;

		(void)snprintf(path, sizeof(path), "/sys/bus/virtio/devices/%s/device", de->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		(void)!read(fd, text, sizeof(text) - 1); /* stays empty */
		close(fd);
		if (strtoul(text, NULL, 16) == 5)
			return true;
	}
	return false;
}

static char *args; /* argv[0], and what the kernel has put behind it */
static size_t args_bytes;

void ga_init_rename(const char *name)
{
	memset(args, 0, args_bytes);
	memcpy(args, name, strlen(name) < args_bytes ? strlen(name) : args_bytes);
	(void)prctl(PR_SET_NAME, name);
}

int main(int argc, char **argv)
{
	const struct rlimit nofile = {AGENT_NOFILE, AGENT_NOFILE};
	struct msb_err e = {0};

	if (getpid() != 1 || argc < 1) {
		say("this is PID 1 of a guest", "not to be run by hand");
		return 1;
	}
	args = argv[0];
	args_bytes = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) - args);
	umask(022);
	if (ga_mount_kernel_fs("devtmpfs", "/dev", MS_NOSUID, NULL, &e) < 0 ||
		ga_mount_kernel_fs("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, &e) <
			0 ||
		ga_mount_kernel_fs("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, &e) < 0)
		say("going on without", e.msg);
	for (int i = 0; i < 3; i++) /* an initramfs without /dev/console leaves them closed */
		if (fcntl(i, F_GETFD) < 0)
			(void)!open("/dev/console", O_RDWR);
	(void)setrlimit(RLIMIT_NOFILE, &nofile); /* fewer jobs at once then */
	/* Ctrl-Alt-Del of the machine is not to reboot it. */
	(void)signal(SIGINT, SIG_IGN);
	ga_modules_load(MODULES);
	if (has_balloon())
		ga_modules_load(BALLOON);
	for (;;) {
		e.code = 0;
		(void)ga_run(
			wait_port(), &ga_init_ops, &e); /* returns only where it cannot begin */
		say("agent", e.msg);
		sleep(1);
	}
}
