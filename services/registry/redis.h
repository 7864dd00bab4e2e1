/* redis.h - the registry's link to Redis; the only user of hiredis.
 *
 * Two connections: one for commands, one for chunks (so that a chunk of 1 MiB delays no
 * command), both with a deadline, both replaced with back-off when they break.  A third,
 * for the blocking read of the event stream, belongs to events.c.  While Redis is away a
 * command fails at once with UNAVAILABLE.  Loop thread only.
 */
#ifndef SERVICES_REGISTRY_REDIS_H
#define SERVICES_REGISTRY_REDIS_H

#include "common/base/bytes.h"
#include "common/net/loop.h"

#include <hiredis/hiredis.h>

#define REDIS_PENDING_MAX 4096    /* commands under way on one connection; more are BUSY */
#define REDIS_TIMEOUT_MS  5000    /* for one command */
#define REDIS_ARGS_MAX    16

struct redis;
struct redis_link;

/* reply: NULL, or an error reply, exactly when st is not OK; good until fn returns. */
typedef void redis_fn(void *arg, enum status st, const char *text, const struct redisReply *reply);

/* address: "unix:PATH" or "tcp:HOST:PORT".  INVALID with *err when it is neither. */
struct redis *redis_create(struct loop *l, const char *address, struct error *err);
void          redis_destroy(struct redis *r);    /* open commands end with CANCELLED */
bool          redis_connected(const struct redis *r);

/* Sends a command; the arguments are copied.  fn runs exactly once, later or (when Redis is away)
 * inside this call. */
void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc);
void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);

/* A connection of its own, for blocking reads; connected: called after each (re)connection. */
struct redis_link *redis_link_create(struct loop *l, const char *address, loop_fn *connected,
                                     void *arg, struct error *err);
void redis_link_destroy(struct redis_link *k);
void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);

/* Pure: takes "unix:PATH" or "tcp:HOST:PORT" apart; port 0 means a unix path. */
enum status redis_address(const char *address, char host[256], int *port, struct error *err)
    MUST_CHECK;

#endif
