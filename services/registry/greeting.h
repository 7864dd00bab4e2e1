/* greeting.h - the first commands on a connection to Redis.
 *
 * Who we are (AUTH), whom we have (it must be a primary, and not one that still loads its data), and,
 * on the first link, our functions.  They are loaded in one transaction with their version
 * (LIBRARY_VERSION), which is looked at before: functions of a newer registry are never replaced.
 */
#ifndef SERVICES_REGISTRY_GREETING_H
#define SERVICES_REGISTRY_GREETING_H

#include "common/base/status.h"
#include "services/registry/lookup.h"

#include <stdint.h>

struct redis_link;

enum redis_greeting {
    GREETING_PING,     /* a primary answers */
    GREETING_LIBRARY,  /* and has our functions */
    GREETING_SENTINEL, /* a sentinel answers */
};

enum greeting_end {
    GREETING_DONE,
    GREETING_REFUSED,  /* try again */
    GREETING_OUTDATED, /* this registry is too old */
};

struct greeting {
    struct redis_link *link;
    enum redis_greeting kind;
    const char *user; /* empty: the default one */
    char password[REDIS_PASSWORD_MAX];
    bool reload;      /* the functions are gone, though their version is there */
    uint64_t history; /* result: as in redis_history */
};

/* Ends with redis_link_greeted. */
void greeting_begin(struct greeting *g);

/* ---- pure: the reply to INFO replication ---- */

/* UNAVAILABLE: it is not a primary. */
enum status greeting_primary(struct bytes info, struct error *err) MUST_CHECK;
/* Names the history that the primary writes: another after each failover.  Never 0. */
uint64_t greeting_history(struct bytes info);
/* "2 DIGEST": 2.  0: nothing is there, or it cannot be read. */
unsigned greeting_version(struct bytes library);

#endif
