/* redis.h - the registry's links to Redis; the only user of hiredis.
 *
 * Two connections: one for commands, one for chunks (so that a chunk of 1 MiB delays no
 * command).  A third, for the blocking read of the event stream, belongs to events.c.  A
 * link that breaks is replaced, with back-off; a command that Redis does not answer within
 * REDIS_TIMEOUT_MS breaks its link.  A link is up once Redis has taken its greeting, so a
 * Redis that is still loading its data counts as away.  While it is away a command fails at
 * once with UNAVAILABLE.  Loop thread only.
 */
#ifndef SERVICES_REGISTRY_REDIS_H
#define SERVICES_REGISTRY_REDIS_H

#include "common/base/bytes.h"
#include "common/net/loop.h"

#include <hiredis/hiredis.h>

#define REDIS_PENDING_MAX 4096 /* commands under way on one connection; more are BUSY */
#define REDIS_TIMEOUT_MS  5000 /* for one command */
#define REDIS_ARGS_MAX    32
#define REDIS_HOST_MAX    256 /* bytes of a host name or a path, with the NUL */

struct redis;
struct redis_link;

/* reply: NULL, or an error reply, when st is not OK; good until fn returns. */
typedef void redis_fn(void *arg, enum status st, const char *text, const struct redisReply *reply);

/* address: "unix:PATH" or "tcp:HOST:PORT".  INVALID with *err when it is neither. */
struct redis *redis_create(struct loop *l, const char *address, struct error *err);
void redis_destroy(struct redis *r); /* NULL is fine; open commands end with CANCELLED */

/* Sends a command; the arguments are copied.  fn runs exactly once, later or (when Redis is
 * away) inside this call. */
void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc);
void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);

/* ---- one connection ---- */

enum redis_greeting {
    GREETING_PING,    /* Redis answers */
    GREETING_LIBRARY, /* Redis has our functions; this link also logs when Redis comes and goes */
};

/* connected: may be NULL; called each time the link comes up. */
struct redis_link *redis_link_create(struct loop *l, const char *address,
                                     enum redis_greeting greeting, loop_fn *connected, void *arg,
                                     struct error *err);
void redis_link_destroy(struct redis_link *k); /* NULL is fine */
bool redis_link_up(const struct redis_link *k);
void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);

/* ---- pure ---- */

/* Takes "unix:PATH" or "tcp:HOST:PORT" apart; port 0 means a unix path.  "tcp:[::1]:6379" for
 * a numeric IPv6 host.  INVALID: neither. */
enum status redis_address(const char *address, char host[REDIS_HOST_MAX], int *port,
                          struct error *err) MUST_CHECK;

/* An error reply "NOT_FOUND there is no ..." of our functions becomes the status and the text
 * behind its name; Redis' own errors become FULL, UNAVAILABLE or INTERNAL. */
enum status redis_error_status(const char *reply, const char **text);

#endif
