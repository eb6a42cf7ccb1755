// SPDX-License-Identifier: Apache-2.0
// Where msb-registry goes: mirrors, proxies, names, and whose certificates it takes.
#include "tests/unit/registry_fixture.h"

static struct layout l;
static struct server plain;
static char serve[300];

static struct reg_setup setup_of(const char *host)
{
	return (struct reg_setup){.host = host,
		.repo = "x/y",
		.uid = getuid(),
		.gid = getgid(),
		.home = reg_tmp,
		.retry_ms = 10,
		.stall_ms = 60000};
}

static void expect(const struct reg_setup *s, int code, const char *says)
{
	struct client c;

	client_start(&c, s);
	if (code)
		get_bad(&c, &l, 0, code, says);
	else
		get_good(&c, &l, 0);
	client_stop(&c);
}

/* ---- mirrors */

static void mirrors(void **state)
{
	struct server gone, empty, mirror, wants_login;
	char at_gone[64], at_empty[64], at_mirror[64], at_login[64];
	struct reg_setup s = setup_of(plain.host);
	struct msb_err e;
	struct client c;
	_cleanup_close_ int fd = new_fd();

	fake_start(&gone, "gone", NULL);
	fake_start(&empty, "empty", NULL);
	fake_start(&mirror, "mirror", (const char *const[]){"--serve", serve, NULL});
	fake_start(&wants_login, "wants",
		(const char *const[]){"--auth", "basic", "--user", "a:b", "--serve", serve, NULL});
	(void)snprintf(at_gone, sizeof(at_gone), "http://%s", gone.host);
	(void)snprintf(at_empty, sizeof(at_empty), "http://%s/", empty.host);
	(void)snprintf(at_mirror, sizeof(at_mirror), "http://%s", mirror.host);
	(void)snprintf(at_login, sizeof(at_login), "http://%s", wants_login.host);
	server_stop(&gone);
	fake_ctl(&plain, "reset", "", NULL);
	/* Each is asked in its turn, and the host is not where one of them has it. */
	s.mirrors = (const char *const[]){at_gone, at_empty, at_login, at_mirror, NULL};
	client_start(&c, &s);
	get_good(&c, &l, 0);
	get_good(&c, &l, 1);
	assert_int_equal(seen(&mirror, "/blobs/"), 4); /* 100 kB, and 40 MiB in three */
	assert_int_equal(seen(&plain, "/blobs/"), 0);
	assert_int_equal(get(&c, "manifest", "v1", 0, 0, fd, &e), 0);
	assert_int_equal(seen(&plain, "/manifests/"), 0);
	/* Nobody has it: what the registry itself says counts. */
	assert_int_equal(get(&c, "manifest", "v2", 0, 0, fd, &e), -ENOENT);
	assert_non_null(strstr(e.msg, plain.host));
	client_stop(&c);
	/* One that breaks in the middle: the next goes on from there. */
	fault(&mirror, "{\"do\":\"reset\",\"skip\":1,\"times\":-1}");
	s.mirrors = (const char *const[]){at_mirror, NULL};
	client_start(&c, &s);
	get_good(&c, &l, 1);
	client_stop(&c);
	assert_true(seen(&plain, "\"range\": \"bytes=") > 0);
	fake_ctl(&mirror, "reset", "", NULL);
	fault(&mirror, "{\"do\":\"status\",\"code\":500,\"times\":-1}");
	expect(&s, 0, NULL);
	/* A login is the registry's own. */
	fake_ctl(&wants_login, "reset", "", NULL);
	s.user = "a";
	s.secret = "b";
	s.mirrors = (const char *const[]){at_login, NULL};
	expect(&s, 0, NULL);
	assert_int_equal(seen(&wants_login, "\"auth\": \"Basic\""), 0);
	server_stop(&empty);
	server_stop(&mirror);
	server_stop(&wants_login);
}

/* A path before the repository. */
static void prefix(void **state)
{
	char with[300], url[64];
	struct server s;
	struct reg_setup set = setup_of("registry.invalid");

	(void)snprintf(with, sizeof(with), "cache/hub/x/y=%s", l.dir);
	fake_start(&s, "prefix", (const char *const[]){"--auth", "bearer", "--serve", with, NULL});
	(void)snprintf(url, sizeof(url), "http://%s/cache/hub", s.host);
	set.mirrors = (const char *const[]){url, NULL};
	expect(&set, 0, NULL);
	assert_true(seen(&s, "scope=repository%3Acache%2Fhub%2Fx%2Fy%3Apull") > 0);
	server_stop(&s);
}

/* ---- certificates */

static char ca_dir[128];

/* DIR/server.pem for these names, signed by DIR/ca.pem; and a client's. */
static void make_ca(void)
{
	char command[4000];

	(void)snprintf(ca_dir, sizeof(ca_dir), "%s/ca", reg_tmp);
	(void)snprintf(command, sizeof(command),
		"exec 2>/dev/null; set -e; mkdir -p %s; cd %s\n"
		"new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
		"openssl req -x509 $new -days 3 -subj /CN=ca -keyout ca.key -out ca.pem\n"
		"for n in server client other; do\n"
		"  openssl req $new -subj /CN=$n -keyout $n.key -out $n.csr\n"
		"  if [ $n = other ]; then echo subjectAltName=DNS:other.test\n"
		"  else echo subjectAltName=DNS:localhost,DNS:registry.test,IP:127.0.0.1; fi >ext\n"
		"  openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3 "
		"-extfile ext -out $n.pem\n"
		"done\n",
		ca_dir, ca_dir);
	assert_int_equal(system(command), 0);
}

static void tls_start(struct server *s, const char *name, const char *which, const char *client_ca)
{
	char cert[200], key[200];

	(void)snprintf(cert, sizeof(cert), "%s/%s.pem", ca_dir, which);
	(void)snprintf(key, sizeof(key), "%s/%s.key", ca_dir, which);
	fake_start(s, name,
		(const char *const[]){"--tls", cert, key, "--serve", serve,
			client_ca ? "--client-ca" : NULL, client_ca, NULL});
}

static void copy_file(const char *from, const char *to)
{
	struct msb_str s = MSB_STR_INIT;

	assert_int_equal(msb_read_file(AT_FDCWD, from, 1 << 20, &s), 0);
	put_file(to, s.buf, s.len);
	msb_str_done(&s);
}

static void certificates(void **state)
{
	char ca[200], home[200], certs_d[300], path[400], from[200], host[64];
	struct reg_setup set;
	struct server s, wants, other;

	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", ca_dir);
	tls_start(&s, "tls", "server", NULL);
	tls_start(&wants, "tls-client", "server", ca);
	tls_start(&other, "tls-other", "other", NULL);
	set = setup_of(s.host);
	expect(&set, EPROTO, "is not one to trust");
	/* The system's: every one in the file counts. */
	(void)snprintf(
		path, sizeof(path), "cat %s/server.pem %s >%s/system.pem", ca_dir, ca, ca_dir);
	assert_int_equal(system(path), 0);
	(void)snprintf(path, sizeof(path), "%s/system.pem", ca_dir);
	assert_int_equal(setenv("SSL_CERT_FILE", path, 1), 0);
	expect(&set, 0, NULL);
	unsetenv("SSL_CERT_FILE");
	set.ca = ca;
	expect(&set, 0, NULL);
	/* By name: looked up by the resolver, and the certificate has it. */
	(void)snprintf(host, sizeof(host), "localhost:%d", s.port);
	set.host = host;
	expect(&set, 0, NULL);
	/* Right issuer, wrong name. */
	set.host = other.host;
	expect(&set, EPROTO, "is not one to trust");
	set.host = s.host;
	set.ca = "/no/such/ca.pem";
	expect(&set, ENOENT, "ca=/no/such/ca.pem");
	set.ca = serve + strlen("x/y="); /* a directory */
	expect(&set, EINVAL, "ca=");
	(void)snprintf(path, sizeof(path), "%s/index.json", l.dir);
	set.ca = path;
	expect(&set, EBADMSG, "no certificate in PEM");
	set.ca = NULL;
	set.insecure = true;
	expect(&set, 0, NULL);
	set.insecure = false;
	/* certs.d, with a certificate of ours for those who want one. */
	(void)snprintf(home, sizeof(home), "%s/certs-home", reg_tmp);
	set.home = home;
	for (int i = 0; i < 2; i++) {
		(void)snprintf(certs_d, sizeof(certs_d), "%s/%s/certs.d/%s", home,
			i ? ".config/containers" : ".docker", i ? wants.host : s.host);
		assert_int_equal(msb_mkdir_p(certs_d, 0700), 0);
		(void)snprintf(path, sizeof(path), "%s/ca.crt", certs_d);
		copy_file(ca, path);
	}
	expect(&set, 0, NULL);
	set.host = wants.host;
	expect(&set, EIO, "");
	for (int i = 0; i < 2; i++) {
		(void)snprintf(from, sizeof(from), "%s/client.%s", ca_dir, i ? "key" : "pem");
		(void)snprintf(path, sizeof(path), "%s/client.%s", certs_d, i ? "key" : "cert");
		copy_file(from, path);
	}
	expect(&set, 0, NULL);
	server_stop(&s);
	server_stop(&wants);
	server_stop(&other);
}

/* From TLS to none: not by a redirect, nor for an upload. */
static void no_way_down(void **state)
{
	static const char nowhere[] =
		"{\"do\":\"status\",\"method\":\"POST\",\"code\":202,\"times\":-1,"
		"\"headers\":{\"Location\":\"http://127.0.0.1/\"}}";
	struct reg_setup set;
	struct server s;
	struct client c;
	struct msb_err e;
	uint64_t id;
	char rule[300], ca[200];

	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", ca_dir);
	/* The rules are set by plain HTTP elsewhere: here they are options. */
	(void)snprintf(rule, sizeof(rule),
		"{\"do\":\"redirect\",\"times\":-1,\"to\":\"http://%s{path}\",\"method\":\"GET\"}",
		plain.host);
	{
		char cert[200], key[200];

		(void)snprintf(cert, sizeof(cert), "%s/server.pem", ca_dir);
		(void)snprintf(key, sizeof(key), "%s/server.key", ca_dir);
		fake_start(&s, "down2",
			(const char *const[]){"--tls", cert, key, "--serve", serve, "--fault", rule,
				"--fault", nowhere, NULL});
	}
	set = setup_of(s.host);
	set.ca = ca;
	expect(&set, EBADMSG, "without TLS; refused");
	set.push = true;
	client_start(&c, &set);
	(void)request(&c, "put_blob", &id);
	msb_msg_set(&c.m, "digest", "%s", l.blob[0]);
	msb_msg_set(&c.m, "size", "%zu", l.size[0]);
	{
		_cleanup_close_ int fd = new_fd();

		assert_int_equal(msb_pwrite_full(fd, l.bytes[0], l.size[0], 0), 0);
		send_it(&c, fd);
	}
	assert_int_equal(answer_of(&c, id, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "one without TLS"));
	client_stop(&c);
	server_stop(&s);
}

/* ---- HTTP/2 */

/* A port that is nobody else's as long as the descriptor is open; nginx may listen there, too. */
static int reserve_port(int *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	socklen_t n = sizeof(a);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static bool listens(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* The layout's files, as nginx has them: ranges and HTTP/2 that are not of our making. */
static void http2(void **state)
{
	char dir[128], path[300], ca[200], conf[3000], log[300], from[300], host[64];
	char *argv[] = {"nginx", "-p", dir, "-c", conf, NULL}, *text;
	struct msb_str lines = MSB_STR_INIT;
	struct server s = {0};
	_cleanup_close_ int reserved = reserve_port(&s.port);
	struct reg_setup set;
	struct client c;

	(void)snprintf(dir, sizeof(dir), "%s/nginx", reg_tmp);
	(void)snprintf(path, sizeof(path), "%s/www/v2/x/y", dir);
	assert_int_equal(msb_mkdir_p(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/www/v2/x/y/blobs", dir);
	assert_int_equal(mkdir(path, 0755), 0);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(from, sizeof(from), "%s/blobs/sha256/%s", l.dir, l.blob[i] + 7);
		(void)snprintf(path, sizeof(path), "%s/www/v2/x/y/blobs/%s", dir, l.blob[i]);
		assert_int_equal(symlink(from, path), 0);
	}
	(void)snprintf(log, sizeof(log), "%s/access", dir);
	assert_true(
		asprintf(&text,
			"daemon off; user root; worker_processes 1; pid %s/pid; error_log "
			"%s/error; events {}\n"
			"http { log_format f '$server_protocol $status \"$http_range\" "
			"$connection'; access_log %s f; client_body_temp_path %s/t1;\n"
			"proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path "
			"%s/t4; scgi_temp_path %s/t5;\n"
			"server { listen 127.0.0.1:%d ssl http2 reuseport; root %s/www;\n"
			"ssl_certificate %s/server.pem; ssl_certificate_key %s/server.key; } }\n",
			dir, dir, log, dir, dir, dir, dir, dir, s.port, dir, ca_dir, ca_dir) > 0);
	(void)snprintf(conf, sizeof(conf), "%s/nginx.conf", dir);
	put_text(conf, text);
	free(text);
	(void)snprintf(path, sizeof(path), "%s/out", dir);
	s.pid = start_program(argv, path);
	while (!listens(s.port)) {
		assert_int_equal(waitpid(s.pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	(void)snprintf(host, sizeof(host), "localhost:%d", s.port);
	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", ca_dir);
	set = setup_of(host);
	set.ca = ca;
	client_start(&c, &set);
	get_good(&c, &l, 0);
	get_good(&c, &l, 1);
	client_stop(&c);
	kill(s.pid, SIGTERM); /* its worker goes with it */
	assert_int_equal(waitpid(s.pid, NULL, 0), s.pid);
	assert_int_equal(msb_read_file(AT_FDCWD, log, 1 << 16, &lines), 0);
	assert_non_null(lines.buf);
	assert_non_null(strstr(lines.buf, "HTTP/2.0 200 \"-\""));
	assert_non_null(strstr(lines.buf, "HTTP/2.0 206 \"bytes=33554432-41943039\""));
	assert_null(strstr(lines.buf, "HTTP/1"));
	msb_str_done(&lines);
}

/* ---- proxies */

static struct server proxy;

static void proxy_start(const char *user)
{
	char script[4200], port_file[256], log[256], out[256],
		*argv[] = {script, port_file, log, (char *)(uintptr_t)user, NULL};
	struct msb_str text = MSB_STR_INIT;
	uint64_t port;

	memset(&proxy, 0, sizeof(proxy));
	(void)snprintf(proxy.dir, sizeof(proxy.dir), "%s/proxy%s", reg_tmp, user ? "-user" : "");
	assert_int_equal(msb_mkdir_p(proxy.dir, 0700), 0);
	(void)snprintf(script, sizeof(script), "%s/tests/registry/fake_proxy.py", reg_source);
	(void)snprintf(port_file, sizeof(port_file), "%s/port", proxy.dir);
	(void)snprintf(log, sizeof(log), "%s/log", proxy.dir);
	(void)snprintf(out, sizeof(out), "%s/out", proxy.dir);
	put_text(log, "");
	proxy.pid = start_program(argv, out);
	while (access(port_file, F_OK) < 0) {
		assert_int_equal(waitpid(proxy.pid, NULL, WNOHANG), 0);
		usleep(10000);
	}
	assert_int_equal(msb_read_file(AT_FDCWD, port_file, 16, &text), 0);
	text.buf[text.len - 1] = '\0';
	assert_int_equal(msb_parse_u64(text.buf, 1, 65535, &port), 0);
	msb_str_done(&text);
	(void)snprintf(proxy.host, sizeof(proxy.host), "127.0.0.1:%d", (int)port);
}

static int proxied(const char *what)
{
	struct msb_str s = MSB_STR_INIT;
	char log[256];
	int n = 0;

	(void)snprintf(log, sizeof(log), "%s/log", proxy.dir);
	assert_int_equal(msb_read_file(AT_FDCWD, log, 1 << 20, &s), 0);
	for (char *p = s.buf; p && (p = strstr(p, what)); p++)
		n++;
	msb_str_done(&s);
	return n;
}

static void env(const char *name, const char *fmt, const char *with)
{
	char value[200];

	if (!fmt) {
		unsetenv(name);
		return;
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	(void)snprintf(value, sizeof(value), fmt, with);
#pragma GCC diagnostic pop
	assert_int_equal(setenv(name, value, 1), 0);
}

/* The host's name means something to the proxy alone. */
static void proxies(void **state)
{
	char host[64], ca[200], busy[256];
	struct reg_setup set;
	struct server s;

	(void)snprintf(ca, sizeof(ca), "%s/ca.pem", ca_dir);
	tls_start(&s, "behind", "server", NULL);
	proxy_start(NULL);
	(void)snprintf(host, sizeof(host), "registry.test:%d", plain.port);
	set = setup_of(host);
	set.plain_http = true;
	expect(&set, EHOSTUNREACH, "cannot find the address of registry.test");
	env("HTTP_PROXY", "http://%s", proxy.host);
	expect(&set, 0, NULL);
	assert_int_equal(proxied("GET http://registry.test:"), 1);
	env("NO_PROXY", ".test", "");
	expect(&set, EHOSTUNREACH, "cannot find the address");
	env("NO_PROXY", NULL, NULL);
	env("HTTP_PROXY", NULL, NULL);
	(void)snprintf(host, sizeof(host), "registry.test:%d", s.port);
	set.plain_http = false;
	set.ca = ca;
	env("https_proxy", "http://localhost:%s", strchr(proxy.host, ':') + 1);
	expect(&set, 0, NULL);
	assert_int_equal(proxied("CONNECT registry.test:"), 1);
	/* That it cannot now passes. */
	(void)snprintf(busy, sizeof(busy), "%s/log.busy", proxy.dir);
	put_text(busy, "");
	expect(&set, 0, NULL);
	assert_int_equal(proxied("CONNECT registry.test:"), 3);
	/* This machine is not behind it. */
	set.host = s.host;
	expect(&set, 0, NULL);
	assert_int_equal(proxied("CONNECT "), 3);
	server_stop(&proxy);
	/* With a password of its own; and one that is not there. */
	proxy_start("p:s3cret-Of-Proxy");
	set.host = host;
	env("https_proxy", "http://%s", proxy.host);
	expect(&set, EACCES, "the proxy to registry.test");
	env("https_proxy", "http://p:s3cret-Of-Proxy@%s", proxy.host);
	expect(&set, 0, NULL);
	server_stop(&proxy);
	expect(&set, ECONNREFUSED, "refused");
	env("https_proxy", "::%%", "");
	expect(&set, EINVAL, "the proxy in the environment is not understood");
	env("https_proxy", NULL, NULL);
	server_stop(&s);
}

static int setup(void **state)
{
	if (fixture_setup(state) < 0)
		return -1;
	assert_int_equal(setenv("MSB_LOG", "debug", 1), 0);
	layout_make(&l, "layout", (const size_t[4]){100000, 40u << 20, 0, 0});
	(void)snprintf(serve, sizeof(serve), "x/y=%s", l.dir);
	fake_start(&plain, "plain", (const char *const[]){"--serve", serve, NULL});
	make_ca();
	return 0;
}

static int teardown(void **state)
{
	struct msb_str log = MSB_STR_INIT;
	bool told;

	server_stop(&plain);
	layout_free(&l);
	assert_int_equal(msb_read_file(AT_FDCWD, reg_log_path, 64 << 20, &log), 0);
	told = log.buf && strstr(log.buf, "s3cret");
	msb_str_done(&log);
	return told ? -1 : fixture_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mirrors),
		cmocka_unit_test(prefix),
		cmocka_unit_test(certificates),
		cmocka_unit_test(no_way_down),
		cmocka_unit_test(http2),
		cmocka_unit_test(proxies),
	};

	return cmocka_run_group_tests_name("registry_where", tests, setup, teardown);
}
