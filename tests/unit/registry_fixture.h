/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of msb-registry: the program, driven over its socket, and registries on loopback. */
#ifndef MSB_TESTS_REGISTRY_FIXTURE_H
#define MSB_TESTS_REGISTRY_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/msg.h"
#include "fs/image/registry/registry.h"
#include "tests/unit/beside.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define WAIT_MS 120000 /* a test that waits this long has failed */

static char reg_bin[4096], reg_tmp[64], reg_log_path[96], reg_source[4096];

/* ---- files */

static inline void put_file(const char *path, const void *p, size_t n)
{
	assert_int_equal(msb_write_file_atomic(AT_FDCWD, path, p, n, 0600), 0);
}

static inline void put_text(const char *path, const char *text)
{
	put_file(path, text, strlen(text));
}

static inline void sha256_hex(const void *p, size_t n, char hex[65])
{
	uint8_t raw[32];
	unsigned int len;

	assert_int_equal(EVP_Digest(p, n, raw, &len, EVP_sha256(), NULL), 1);
	msb_hex(raw, sizeof(raw), hex);
}

/* Bytes that compress and repeat in no way, the same for the same @seed. */
static inline uint8_t *noise(size_t n, uint64_t seed)
{
	uint8_t *p = malloc(n + 8);

	assert_non_null(p);
	for (size_t i = 0; i < n; i += 8) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(p + i, &seed, 8);
	}
	return p;
}

/* ---- an OCI layout */

struct layout {
	char dir[128];
	char blob[4][72]; /* sha256:HEX */
	uint8_t *bytes[4];
	size_t size[4];
	char manifest[72];
	char *manifest_text;
};

static inline void layout_blob(struct layout *l, int i, size_t n)
{
	char hex[65], path[512];

	l->bytes[i] = noise(n, 0x9e3779b97f4a7c15ULL + (uint64_t)i);
	l->size[i] = n;
	sha256_hex(l->bytes[i], n, hex);
	(void)snprintf(l->blob[i], sizeof(l->blob[i]), "sha256:%s", hex);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", l->dir, hex);
	put_file(path, l->bytes[i], n);
}

/* A manifest tagged v1, and blobs of these sizes (0: none). */
static inline void layout_make(struct layout *l, const char *name, const size_t sizes[4])
{
	struct msb_str m = MSB_STR_INIT;
	char path[512], hex[65], *index;

	memset(l, 0, sizeof(*l));
	(void)snprintf(l->dir, sizeof(l->dir), "%s/%s", reg_tmp, name);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256", l->dir);
	assert_int_equal(msb_mkdir_p(path, 0755), 0);
	for (int i = 0; i < 4; i++)
		if (sizes[i])
			layout_blob(l, i, sizes[i]);
	msb_str_addf(&m,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"annotations\":{\"name\":\"%s\"}",
		name);
	for (int i = 0; i < 4; i++)
		if (sizes[i])
			msb_str_addf(&m,
				"%s{\"mediaType\":\"application/octet-stream\",\"digest\":\"%s\","
				"\"size\":%zu}",
				i == 0	 ? ",\"config\":"
				: i == 1 ? ",\"layers\":["
					 : ",",
				l->blob[i], sizes[i]);
	msb_str_adds(&m, "]}");
	assert_false(m.oom);
	l->manifest_text = m.buf;
	sha256_hex(l->manifest_text, strlen(l->manifest_text), hex);
	(void)snprintf(l->manifest, sizeof(l->manifest), "sha256:%s", hex);
	(void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", l->dir, hex);
	put_text(path, l->manifest_text);
	assert_true(asprintf(&index,
			    "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/"
			    "vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
			    "\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}}]}",
			    l->manifest, strlen(l->manifest_text)) > 0);
	(void)snprintf(path, sizeof(path), "%s/index.json", l->dir);
	put_text(path, index);
	free(index);
}

static inline void layout_free(struct layout *l)
{
	for (int i = 0; i < 4; i++)
		free(l->bytes[i]);
	free(l->manifest_text);
}

/* ---- processes on loopback */

struct server {
	pid_t pid;
	int port;
	char host[32]; /* 127.0.0.1:PORT */
	char dir[128];
};

static inline pid_t start_program(char *const argv[], const char *log)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out, 1);
		dup2(out, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static inline void server_stop(struct server *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		assert_int_equal(waitpid(s->pid, NULL, 0), s->pid);
	}
	s->pid = 0;
}

/* tests/registry/fake_registry.py with @more options, NULL at the end. */
static inline void fake_start(struct server *s, const char *name, const char *const *more)
{
	char script[4200], port_file[256], log[256],
		*argv[40] = {"python3", script, "--port-file", port_file};
	struct msb_str text = MSB_STR_INIT;
	uint64_t port;
	int n = 4;

	memset(s, 0, sizeof(*s));
	(void)snprintf(s->dir, sizeof(s->dir), "%s/%s", reg_tmp, name);
	assert_int_equal(msb_mkdir_p(s->dir, 0700), 0);
	(void)snprintf(script, sizeof(script), "%s/tests/registry/fake_registry.py", reg_source);
	(void)snprintf(port_file, sizeof(port_file), "%s/port", s->dir);
	(void)snprintf(log, sizeof(log), "%s/log", s->dir);
	(void)unlink(port_file);
	for (; more && *more; more++)
		argv[n++] = (char *)(uintptr_t)*more;
	s->pid = start_program(argv, log);
	while (access(port_file, F_OK) < 0) {
		assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	assert_int_equal(msb_read_file(AT_FDCWD, port_file, 16, &text), 0);
	text.buf[text.len - 1] = '\0';
	assert_int_equal(msb_parse_u64(text.buf, 1, 65535, &port), 0);
	msb_str_done(&text);
	s->port = (int)port;
	(void)snprintf(s->host, sizeof(s->host), "127.0.0.1:%d", s->port);
}

/* One HTTP/1.0 question to one of its own files, answer's body into @out. */
static inline void fake_ctl(
	const struct server *s, const char *what, const char *body, struct msb_str *out)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)s->port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct msb_str all = MSB_STR_INIT;
	char buf[4096];
	ssize_t n;

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_true(
		dprintf(fd,
			"%s /_ctl/%s HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
			body ? "POST" : "GET", what, body ? strlen(body) : 0,
			body ? body : "") > 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		msb_str_add(&all, buf, (size_t)n);
	close(fd);
	if (!all.buf || !strstr(all.buf, " 200 ")) {
		fail_msg("the registry does not answer");
		return;
	}
	if (out)
		msb_str_adds(out, strstr(all.buf, "\r\n\r\n") + 4);
	msb_str_done(&all);
}

static inline void fault(const struct server *s, const char *rule)
{
	fake_ctl(s, "fault", rule, NULL);
}

/* How many lines of its log hold @text. */
static inline int seen(const struct server *s, const char *text)
{
	struct msb_str log = MSB_STR_INIT;
	int n = 0;

	fake_ctl(s, "log", NULL, &log);
	for (char *line = log.buf, *end; line && *line; line = end + 1) {
		end = strchrnul(line, '\n');
		*end = '\0';
		n += strstr(line, text) != NULL;
	}
	msb_str_done(&log);
	return n;
}

/* ---- the program */

struct client {
	pid_t pid;
	int sock;
	uint64_t next_id, ready; /* of the last "progress" */
	struct msb_msg m;
};

static inline void client_start(struct client *c, const struct reg_setup *s)
{
	struct msb_err e = {0};
	int log = open(reg_log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	memset(c, 0, sizeof(*c));
	c->pid = reg_spawn(reg_bin, s, log, &c->sock, NULL, &e);
	if (c->pid < 0)
		print_error("%s\n", e.msg);
	assert_true(c->pid > 0);
	close(log);
}

/* It ends by itself once nobody asks any more. */
static inline void client_stop(struct client *c)
{
	int status;

	close(c->sock);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	c->pid = 0;
	if (status)
		print_error("msb-registry ended with 0x%x\n", status);
	assert_int_equal(status, 0);
}

static inline struct msb_msg *request(struct client *c, const char *verb, uint64_t *ret_id)
{
	msb_msg_init(&c->m, verb);
	*ret_id = ++c->next_id;
	msb_msg_set(&c->m, "id", "%llu", (unsigned long long)*ret_id);
	return &c->m;
}

/* Sends c->m. */
static inline void send_it(struct client *c, int fd)
{
	if (fd >= 0)
		msb_msg_add_fd(&c->m, fd);
	assert_int_equal(msb_msg_send(c->sock, &c->m), 0);
}

/* The next message into c->m: false where it has ended. */
static inline bool next_message(struct client *c)
{
	int r = msb_wait_fd(c->sock, POLLIN, WAIT_MS);

	assert_int_equal(r, 0);
	return msb_msg_recv(c->sock, &c->m) == 0;
}

/* The answer to @id into c->m: 0, or -errno with @e. Progress before it never goes back. */
static inline int answer_of(struct client *c, uint64_t id, struct msb_err *e)
{
	uint64_t got, ready;

	c->ready = 0;
	for (;;) {
		if (!next_message(c)) {
			int status = 0;

			(void)waitpid(c->pid, &status, 0);
			print_error("msb-registry ended with 0x%x\n", status);
			fail();
		}
		assert_int_equal(msb_msg_get_u64(&c->m, "id", &got), 0);
		assert_int_equal(got, id);
		if (!strcmp(msb_msg_verb(&c->m), "progress")) {
			assert_int_equal(msb_msg_get_u64(&c->m, "ready_bytes", &ready), 0);
			assert_true(ready >= c->ready);
			c->ready = ready;
			continue;
		}
		if (!strcmp(msb_msg_verb(&c->m), "ok"))
			return 0;
		assert_string_equal(msb_msg_verb(&c->m), "error");
		assert_int_equal(msb_msg_get_u64(&c->m, "code", &got), 0);
		return msb_err_set(e, (int)got, "%s", msb_msg_get(&c->m, "msg"));
	}
}

static inline int get(struct client *c, const char *what, const char *name, uint64_t offset,
	uint64_t size, int fd, struct msb_err *e)
{
	uint64_t id;

	memset(e, 0, sizeof(*e));
	(void)request(c, "get", &id);
	msb_msg_set(&c->m, "what", "%s", what);
	msb_msg_set(&c->m, "name", "%s", name);
	msb_msg_set(&c->m, "offset", "%llu", (unsigned long long)offset);
	msb_msg_set(&c->m, "size", "%llu", (unsigned long long)size);
	send_it(c, fd);
	return answer_of(c, id, e);
}

static inline int new_fd(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* @fd has these bytes and no more. */
static inline void assert_content(int fd, const void *p, size_t n)
{
	void *got = malloc(n + 1);

	assert_int_equal(msb_pread_full(fd, got, n + 1, 0), n);
	assert_memory_equal(got, p, n);
	free(got);
}

/* Blob @i of @l, whole: with a look at each byte. */
static inline void get_good(struct client *c, const struct layout *l, int i)
{
	_cleanup_close_ int fd = new_fd();
	struct msb_err e;

	if (get(c, "blob", l->blob[i], 0, l->size[i], fd, &e) < 0) {
		print_error("%s\n", e.msg);
		fail();
	}
	assert_content(fd, l->bytes[i], l->size[i]);
}

static inline void get_bad(
	struct client *c, const struct layout *l, int i, int code, const char *says)
{
	_cleanup_close_ int fd = new_fd();
	struct msb_err e;

	int r = get(c, "blob", l->blob[i], 0, l->size[i], fd, &e);

	if (r != -code || !strstr(e.msg, says))
		print_error("%d %s, not %s\n", r, e.msg, says);
	assert_int_equal(r, -code);
	assert_non_null(strstr(e.msg, says));
}

/* ---- group setup */

static inline int fixture_setup(void **state)
{
	char self[4096], *p;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	p = strstr(self, "/build/");
	for (char *next; p && (next = strstr(p + 1, "/build/"));)
		p = next;
	if (!p || bin_beside("msb-registry", reg_bin, sizeof(reg_bin)) < 0) {
		print_error("msb-registry is not built\n");
		return -1;
	}
	if (strstr(reg_bin, "msb-registry"))
		*strrchr(reg_bin, '/') = '\0';
	*p = '\0';
	(void)snprintf(reg_source, sizeof(reg_source), "%s", self);
	(void)snprintf(reg_tmp, sizeof(reg_tmp), "/tmp/msb-registry-XXXXXX");
	if (!mkdtemp(reg_tmp))
		return -1;
	(void)chmod(reg_tmp, 0755);
	(void)snprintf(reg_log_path, sizeof(reg_log_path), "%s/registry.log", reg_tmp);
	for (int i = 0; i < 2; i++) { /* nobody's environment but the test's */
		static const char *const names[] = {"http_proxy", "https_proxy", "no_proxy",
			"all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"};

		for (size_t k = 0; k < ARRAY_LEN(names); k++)
			unsetenv(names[k]);
	}
	return 0;
}

static inline int fixture_teardown(void **state)
{
	return msb_rm_rf(AT_FDCWD, reg_tmp);
}

#endif
