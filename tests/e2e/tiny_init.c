// SPDX-License-Identifier: Apache-2.0
// A PID 1 for the machine tests: does what tiny=WORD asks, or echoes on the agent channel.
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load(const char *name)
{
	char path[300];
	int fd;

	(void)snprintf(path, sizeof(path), "/modules/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0) < 0)
		printf("tiny: %s: %m\n", name);
	close(fd);
}

static void load_all(void)
{
	struct dirent **list;
	int n = scandir("/modules", &list, NULL, alphasort);

	for (int i = 0; i < n; i++)
		if (list[i]->d_name[0] != '.')
			load(list[i]->d_name);
}

/* The port called msb.agent, which is the only one that these machines have. */
static int agent_port(void)
{
	for (int i = 0; i < 200; i++) {
		int fd = open("/dev/vport0p1", O_RDWR | O_CLOEXEC);

		for (int n = 1; fd < 0 && n < 10; n++) {
			char path[32];

			(void)snprintf(path, sizeof(path), "/dev/vport%dp1", n);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		if (fd >= 0)
			return fd;
		usleep(20000);
	}
	return -1;
}

int main(void)
{
	const char *what = getenv("tiny") ?: "idle";
	int fd;

	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("sys", "/sys", "sysfs", 0, NULL);
	load_all();
	printf("tiny: %s\n", what);
	if (!strcmp(what, "poweroff"))
		reboot(RB_POWER_OFF);
	if (!strcmp(what, "reboot"))
		reboot(RB_AUTOBOOT);
	if (!strcmp(what, "panic")) {
		fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
		(void)!write(fd, "c", 1);
	}
	if (!strcmp(what, "exit"))
		return 1; /* the kernel panics: it has no PID 1 */
	fd = agent_port();
	if (fd < 0 || write(fd, "ready\n", 6) != 6) /* blocks until somebody connects */
		printf("tiny: no agent channel: %m\n");
	for (;;) {
		char buf[64];
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n > 0)
			(void)!write(fd, buf, (size_t)n);
		else
			usleep(50000); /* nobody at the other end of the channel */
	}
}
