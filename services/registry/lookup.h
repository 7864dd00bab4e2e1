/* lookup.h - what a connection needs and what may block: the host's address and the password.
 *
 * Both are read anew for each connection, on a pool thread, so a name that has moved and a password
 * that has changed are taken up without a restart.
 */
#ifndef SERVICES_REGISTRY_LOOKUP_H
#define SERVICES_REGISTRY_LOOKUP_H

#include "common/net/loop.h"
#include "services/registry/address.h"

#define REDIS_PASSWORD_MAX 513 /* bytes, with the NUL */
#define REDIS_IP_MAX       64

struct lookup {
    struct redis_place place;
    unsigned attempt;          /* a name may have several addresses: another one with each */
    const char *password_file; /* empty: none */
    loop_fn *done;             /* gets the owner */
    void *owner;               /* NULL: nobody waits any more */
    /* Results: */
    struct error err;                  /* status OK: these are set */
    char ip[REDIS_IP_MAX];             /* not of a path */
    char password[REDIS_PASSWORD_MAX]; /* empty: there is none */
};

/* Fills in the results; for a pool thread, or for start-up. */
void lookup_run(struct lookup *l);

/* One password, with or without an end of line.  INVALID: *err says why; it never has the
 * password. */
enum status password_read(const char *file, char out[REDIS_PASSWORD_MAX],
                          struct error *err) MUST_CHECK;

#endif
