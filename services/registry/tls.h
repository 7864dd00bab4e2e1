/* tls.h - TLS for connections to Redis; the only user of OpenSSL's TLS.
 *
 * libhiredis_ssl and libssl are opened when TLS is asked for, and only then: they cost 7 MiB
 * of resident memory.  The server's certificate is verified always, its name too.
 */
#ifndef SERVICES_REGISTRY_TLS_H
#define SERVICES_REGISTRY_TLS_H

#include "common/base/status.h"

struct redisContext;
struct tls;

struct tls_config {
    const char *ca;   /* file of the certificates that are trusted; empty: the system's */
    const char *cert; /* our own, with its chain; empty: none */
    const char *key;  /* of cert */
    const char *name; /* that the server's certificate must have; empty: the host's name */
};

/* INVALID: a file cannot be read or does not fit; UNSUPPORTED: the libraries are not there. */
struct tls *tls_create(const struct tls_config *config, struct error *err);
void tls_destroy(struct tls *t); /* NULL is fine */

/* Makes c, which is connecting to host (a name or an address), speak TLS. */
enum status tls_begin(struct tls *t, struct redisContext *c, const char *host,
                      struct error *err) MUST_CHECK;
/* Why TLS has ended the connection that has just broken; NULL: it was not TLS.  hiredis does not
 * tell.  Good until the next call. */
const char *tls_reason(struct tls *t);

#endif
