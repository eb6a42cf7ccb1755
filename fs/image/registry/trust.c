// SPDX-License-Identifier: Apache-2.0
// Whose certificates count: parsed once, before there is anything to fear.
#include "fs/image/registry/trust.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <string.h>

/* How many of the certificates in @p are in @store now. What is no certificate ends it. */
static int add(X509_STORE *store, const char *p, size_t n)
{
	BIO *bio = BIO_new_mem_buf(p, (int)n);
	int count = 0;
	X509 *x;

	while (bio && (x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(store, x) == 1;
		X509_free(x);
	}
	ERR_clear_error();
	BIO_free(bio);
	return count;
}

static void system_certificates(X509_STORE *store)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	const char *const places[] = {getenv("SSL_CERT_FILE"), v->cainfo,
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem"};

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		_cleanup_str_ struct msb_str s = MSB_STR_INIT;

		if (places[i] && *places[i] &&
			msb_read_file(AT_FDCWD, places[i], REG_MAX_CA_BYTES, &s) == 0 && s.buf &&
			add(store, s.buf, s.len) > 0)
			return;
	}
	log_warn("no certificates of this system were found: install ca-certificates; only those "
		 "given by ca= are trusted");
}

int reg_trust_load(const struct reg_config *cfg, X509_STORE **ret, struct msb_err *e)
{
	const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	X509_STORE *store;
	SSL_CTX *ctx;
	SSL *ssl;

	if (!v->ssl_version || strncmp(v->ssl_version, "OpenSSL", 7) != 0)
		return msb_err_set(e, EOPNOTSUPP,
			"libcurl is built with %s, msb-registry needs it with OpenSSL",
			v->ssl_version ? v->ssl_version : "no TLS");
	store = X509_STORE_new();
	if (!store)
		return msb_err_set(e, ENOMEM, "out of memory");
	system_certificates(store);
	if (cfg->ca.len && add(store, cfg->ca.buf, cfg->ca.len) == 0 && cfg->ca_path) {
		X509_STORE_free(store);
		return msb_err_set(e, EBADMSG, "%s has no certificate in PEM", cfg->ca_path);
	}
	/* Configuration, providers, random numbers: all that a first connection would open. */
	ctx = SSL_CTX_new(TLS_client_method());
	ssl = ctx ? SSL_new(ctx) : NULL;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	*ret = store;
	return 0;
}

CURLcode reg_trust_use(CURL *easy, void *ssl_ctx, void *store)
{
	SSL_CTX_set1_cert_store(ssl_ctx, store);
	return CURLE_OK;
}
