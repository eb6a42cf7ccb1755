// SPDX-License-Identifier: Apache-2.0
// PID 1 of a mixtape that knows nothing of msb: counts its boots on its disk, says so on the
// console, and powers off by the button, unless its kernel arguments say `deaf`.
#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load_all(void)
{
	struct dirent **list;
	int n = scandir("/modules", &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[300];
		int fd;

		if (list[i]->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "/modules/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0)
			printf("mixtape: %s: %m\n", path);
		close(fd);
	}
}

static int count_boot(void)
{
	int n = 0;
	FILE *f;

	if (mkdir("/disk", 0755) < 0 || mount("/dev/vda", "/disk", "ext4", 0, NULL) < 0)
		printf("mixtape: no disk: %m\n");
	f = fopen("/disk/boots", "r");
	if (f && fscanf(f, "%d", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	f = fopen("/disk/boots", "w");
	if (f) {
		fprintf(f, "%d\n", n + 1);
		fclose(f);
	}
	sync();
	return n + 1;
}

/* Waits for the power button, on whichever input device it is. */
static void wait_button(void)
{
	struct pollfd pf[8];
	nfds_t n = 0;

	for (int k = 0; k < 8; k++) {
		char path[32];
		int fd;

		(void)snprintf(path, sizeof(path), "/dev/input/event%d", k);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			pf[n++] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	while (poll(pf, n, -1) >= 0)
		for (nfds_t k = 0; k < n; k++) {
			struct input_event ev;

			if (pf[k].revents && read(pf[k].fd, &ev, sizeof(ev)) == sizeof(ev) &&
				ev.type == EV_KEY && ev.code == KEY_POWER && ev.value)
				return;
		}
}

int main(void)
{
	char cmdline[2048] = "";
	FILE *f;

	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	(void)mount("proc", "/proc", "proc", 0, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);
	load_all();
	f = fopen("/proc/cmdline", "r");
	if (f && !fgets(cmdline, sizeof(cmdline), f))
		cmdline[0] = '\0';
	printf("mixtape: boot %d, arguments %s", count_boot(), cmdline);
	if (strstr(cmdline, "deaf"))
		for (;;)
			pause();
	wait_button();
	printf("mixtape: power button\n");
	(void)umount("/disk");
	(void)reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
