// SPDX-License-Identifier: Apache-2.0
/*
 * Whose certificates count.
 *
 * Files are read before the process narrows. The system's are many, and parsing them takes longer
 * than a small pull: that waits for the first handshake, which a registry without TLS never asks
 * for. One of them is parsed at once, so that OpenSSL has loaded what it takes.
 */
#include "fs/image/registry/trust.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string.h>

struct reg_trust {
	X509_STORE *store;
	struct msb_str system; /* PEM, not in the store yet; freed once it is */
};

/* How many of the first @max certificates in @p are in @store now. What is none ends it. */
static int add(X509_STORE *store, const char *p, size_t n, int max)
{
	BIO *bio = BIO_new_mem_buf(p, (int)n);
	int count = 0;
	X509 *x;

	while (bio && count < max && (x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, x) == 1; /* also where it is there already */
		X509_free(x);
	}
	ERR_clear_error();
	BIO_free(bio);
	return count;
}

static void system_certificates(struct reg_trust *t)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	const char *const places[] = {getenv("SSL_CERT_FILE"), v->cainfo,
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (places[i] && *places[i] &&
			msb_read_file(AT_FDCWD, places[i], REG_MAX_CA_BYTES, &t->system) == 0 &&
			t->system.buf && add(t->store, t->system.buf, t->system.len, 1) > 0)
			return;
		msb_str_done(&t->system);
	}
	log_warn("no certificates of this system were found: install ca-certificates; only those "
		 "given by ca= are trusted");
}

struct reg_trust *reg_trust_free(struct reg_trust *t)
{
	if (t) {
		X509_STORE_free(t->store);
		msb_str_done(&t->system);
		free(t);
	}
	return NULL;
}

int reg_trust_load(const struct reg_config *cfg, struct reg_trust **ret, struct msb_err *e)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	struct reg_trust *t;
	SSL_CTX *ctx;
	SSL *ssl;

	if (!v->ssl_version || strncmp(v->ssl_version, "OpenSSL", 7) != 0)
		return msb_err_set(e, EOPNOTSUPP,
			"libcurl is built with %s, msb-registry needs it with OpenSSL",
			v->ssl_version ? v->ssl_version : "no TLS");
	t = calloc(1, sizeof(*t));
	if (t)
		t->store = X509_STORE_new();
	if (!t || !t->store) {
		reg_trust_free(t);
		return msb_err_set(e, ENOMEM, "out of memory");
	}
	system_certificates(t);
	if (cfg->ca.len && add(t->store, cfg->ca.buf, cfg->ca.len, INT_MAX) == 0 && cfg->ca_path) {
		reg_trust_free(t);
		return msb_err_set(e, EBADMSG, "%s has no certificate in PEM", cfg->ca_path);
	}
	/* Configuration, providers, random numbers: all that a first connection would open. */
	ctx = SSL_CTX_new(TLS_client_method());
	ssl = ctx ? SSL_new(ctx) : NULL;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	*ret = t;
	return 0;
}

CURLcode reg_trust_use(CURL *easy, void *ssl_ctx, void *trust)
{
	struct reg_trust *t = trust;

	if (t->system.len) {
		(void)add(t->store, t->system.buf, t->system.len, INT_MAX); /* those that can be */
		msb_str_done(&t->system);
	}
	SSL_CTX_set1_cert_store(ssl_ctx, t->store);
	return CURLE_OK;
}
