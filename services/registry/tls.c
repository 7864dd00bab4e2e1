/* tls.c - see tls.h.
 *
 * hiredis could make the context of OpenSSL, but its own does not look at the name in the
 * server's certificate.
 */
#include "services/registry/tls.h"

#include "common/base/bytes.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>

#define SSL_LIBRARY     "libssl.so.3"
#define HIREDIS_LIBRARY "libhiredis_ssl.so.1.1.0"

/* The functions that are looked up, from which library. */
#define FUNCTIONS(X)                           \
    X(ssl, TLS_client_method)                  \
    X(ssl, SSL_CTX_new)                        \
    X(ssl, SSL_CTX_free)                       \
    X(ssl, SSL_CTX_ctrl)                       \
    X(ssl, SSL_CTX_set_verify)                 \
    X(ssl, SSL_CTX_set_default_verify_paths)   \
    X(ssl, SSL_CTX_load_verify_file)           \
    X(ssl, SSL_CTX_use_certificate_chain_file) \
    X(ssl, SSL_CTX_use_PrivateKey_file)        \
    X(ssl, SSL_CTX_check_private_key)          \
    X(ssl, SSL_new)                            \
    X(ssl, SSL_free)                           \
    X(ssl, SSL_ctrl)                           \
    X(ssl, SSL_set1_host)                      \
    X(ssl, X509_STORE_CTX_get_error)           \
    X(ssl, X509_verify_cert_error_string)      \
    X(ssl, ERR_peek_last_error)                \
    X(ssl, ERR_clear_error)                    \
    X(ssl, ERR_reason_error_string)            \
    X(hiredis, redisInitiateSSL)

static struct {
    void *ssl, *hiredis;
#define X(library, name) __typeof__(&name) name;
    FUNCTIONS(X)
#undef X
} lib;

struct tls {
    SSL_CTX *context;
    const char *name;
};

/* slot: the pointer to a function that gets its address. */
static enum status find(void *library, const char *name, void *slot, struct error *err)
{
    void *address = dlsym(library, name);
    memcpy(slot, &address, sizeof address);
    return address ? STATUS_OK
                   : error_set(err, STATUS_UNSUPPORTED, "the TLS library has no %s", name);
}

static enum status open_libraries(struct error *err)
{
    enum status st = STATUS_OK;
    lib.ssl = lib.ssl ? lib.ssl : dlopen(SSL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    lib.hiredis =
        lib.ssl && !lib.hiredis ? dlopen(HIREDIS_LIBRARY, RTLD_NOW | RTLD_LOCAL) : lib.hiredis;
    if (!lib.hiredis)
        return error_set(err, STATUS_UNSUPPORTED, "TLS needs a library that is not here: %s",
                         dlerror());
#define X(library, function) st = st ? st : find(lib.library, #function, &lib.function, err);
    FUNCTIONS(X)
#undef X
    return st;
}

/* Of the certificate that was refused last. */
static long refusal = X509_V_OK;

static int on_certificate(int good, X509_STORE_CTX *store)
{
    if (!good)
        refusal = lib.X509_STORE_CTX_get_error(store);
    return good;
}

/* What OpenSSL says about the last failure. */
static const char *reason(void)
{
    static char whole[160];
    const char *text = lib.ERR_reason_error_string(lib.ERR_peek_last_error());
    lib.ERR_clear_error();
    if (refusal == X509_V_OK)
        return text ? text : "no reason is known";
    snprintf(whole, sizeof whole, "%s: %s", text ? text : "TLS has failed",
             lib.X509_verify_cert_error_string(refusal));
    refusal = X509_V_OK;
    return whole;
}

const char *tls_reason(struct tls *t)
{
    return t && lib.ERR_peek_last_error() ? reason() : NULL;
}

static enum status trust(struct tls *t, const char *ca, struct error *err)
{
    if (!ca[0] && lib.SSL_CTX_set_default_verify_paths(t->context) != 1)
        return error_set(err, STATUS_INVALID, "the system's certificates cannot be read: %s",
                         reason());
    if (ca[0] && lib.SSL_CTX_load_verify_file(t->context, ca) != 1)
        return error_set(err, STATUS_INVALID, "there are no certificates to trust in %s: %s", ca,
                         reason());
    return STATUS_OK;
}

static enum status present(struct tls *t, const char *cert, const char *key, struct error *err)
{
    if (!cert[0] != !key[0])
        return error_set(err, STATUS_INVALID,
                         "a certificate needs its key, and a key its "
                         "certificate");
    if (!cert[0])
        return STATUS_OK;
    if (lib.SSL_CTX_use_certificate_chain_file(t->context, cert) != 1)
        return error_set(err, STATUS_INVALID, "there is no certificate in %s: %s", cert, reason());
    if (lib.SSL_CTX_use_PrivateKey_file(t->context, key, SSL_FILETYPE_PEM) != 1 ||
        lib.SSL_CTX_check_private_key(t->context) != 1)
        return error_set(err, STATUS_INVALID, "there is no key for %s in %s: %s", cert, key,
                         reason());
    return STATUS_OK;
}

struct tls *tls_create(const struct tls_config *config, struct error *err)
{
    if (open_libraries(err))
        return NULL;
    struct tls *t = mem_zalloc(sizeof *t);
    t->name = config->name;
    t->context = lib.SSL_CTX_new(lib.TLS_client_method());
    enum status st =
        t->context ? STATUS_OK : error_set(err, STATUS_UNSUPPORTED, "OpenSSL does not start");
    if (!st)
        st = trust(t, config->ca, err);
    if (!st)
        st = present(t, config->cert, config->key, err);
    if (st) {
        tls_destroy(t);
        return NULL;
    }
    lib.SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, on_certificate);
    lib.SSL_CTX_ctrl(t->context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    /* What waits to be sent may grow, and so move, between two writes. */
    lib.SSL_CTX_ctrl(t->context, SSL_CTRL_MODE,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, NULL);
    return t;
}

void tls_destroy(struct tls *t)
{
    if (!t)
        return;
    if (t->context)
        lib.SSL_CTX_free(t->context);
    free(t);
}

static bool is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

enum status tls_begin(struct tls *t, struct redisContext *c, const char *host, struct error *err)
{
    const char *name = t->name[0] ? t->name : host;
    SSL *ssl = lib.SSL_new(t->context);
    bool named = ssl && lib.SSL_set1_host(ssl, name) == 1;
    if (named && !is_address(name)) /* the extension is for names alone: RFC 6066, 3 */
        lib.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                     (void *)(uintptr_t)name);
    if (named && lib.redisInitiateSSL(c, ssl) == REDIS_OK)
        return STATUS_OK;
    if (ssl)
        lib.SSL_free(ssl);
    return error_set(err, STATUS_IO, "TLS with %s does not begin: %s", name,
                     named && c->err ? c->errstr : reason());
}
