/* address.h - where Redis is, as people write it.  Pure. */
#ifndef SERVICES_REGISTRY_ADDRESS_H
#define SERVICES_REGISTRY_ADDRESS_H

#include "common/base/bytes.h"

#define REDIS_HOST_MAX   256 /* bytes of a host name or a path, with the NUL */
#define REDIS_USER_MAX   128 /* bytes of a user's name, with the NUL */
#define REDIS_PLACES_MAX 8
#define REDIS_PORT       6379 /* of a URL that names none */

struct redis_place {
    char host[REDIS_HOST_MAX]; /* or the path of a unix socket */
    int port;                  /* 0: it is a path */
};

struct redis_address {
    struct redis_place places[REDIS_PLACES_MAX]; /* of Redis, or of its sentinels */
    size_t places_count;
    char primary[REDIS_HOST_MAX]; /* not empty: what the sentinels call the primary */
    char user[REDIS_USER_MAX];    /* of the URL; may be empty */
    bool tls;                     /* rediss:// */
};

/* Takes one of these apart; hosts may be names, IPv4, or IPv6 in brackets:
 *     unix:PATH    tcp:HOST:PORT    sentinel:HOST:PORT,HOST:PORT.../NAME
 *     redis://[USER@]HOST[:PORT]    rediss://[USER@]HOST[:PORT]
 * INVALID: none of them, or a URL with a password, which is not repeated in *err. */
enum status redis_address(const char *text, struct redis_address *out,
                          struct error *err) MUST_CHECK;

bool redis_place_equal(const struct redis_place *a, const struct redis_place *b);

#endif
