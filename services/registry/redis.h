/* redis.h - the registry's links to Redis.  link.c, siphon.c, greeting.c, sentinel.c, records.c and
 * rollout_record.c are the only users of hiredis beside it.
 *
 * One connection for commands, REDIS_BULK_LINKS for chunks: so a chunk of 1 MiB delays no command,
 * and Redis, which syncs its append-only file once for all that has come by then, syncs once for
 * several chunks.  One more, for the blocking read of the event stream, belongs to events.c.  A
 * link that breaks is replaced, with back-off; a command that Redis does not answer within
 * REDIS_TIMEOUT_MS breaks its link.  A link is up once Redis has taken its greeting, so a
 * Redis that is still loading its data counts as away.  While it is away a command fails at
 * once with UNAVAILABLE.  Loop thread only.
 */
#ifndef SERVICES_REGISTRY_REDIS_H
#define SERVICES_REGISTRY_REDIS_H

#include "services/registry/link.h"
#include "services/registry/tls.h"

#define REDIS_TIMEOUT_MS 5000 /* for one command */
#define REDIS_BULK_LINKS 4

struct redis_config {
    const char *address;                /* see address.h */
    const char *user;                   /* empty: the one of the address, or the default one */
    const char *password_file;          /* empty: none */
    const char *sentinel_password_file; /* empty: none */
    bool use_tls;                       /* also without rediss:// */
    struct tls_config tls;
};

struct redis;

/* config is borrowed.  INVALID with *err when it cannot ever work. */
struct redis *redis_create(struct loop *l, const struct redis_config *config, struct error *err);
void redis_destroy(struct redis *r); /* NULL is fine; open commands end with CANCELLED */

/* Sends a command; the arguments are copied.  fn runs exactly once, later or (when Redis is
 * away) inside this call. */
void redis_send(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv, size_t argc);
void redis_send_bulk(struct redis *r, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);
/* Gets a chunk's data; as redis_link_get. */
void redis_get_bulk(struct redis *r, struct bytes key, redis_value_fn *fn, void *arg);
/* One more link; the caller destroys it before r. */
struct redis_link *redis_link_add(struct redis *r, loop_fn *connected, void *arg);
/* Redis has the functions of a newer registry: this one must not touch the data. */
bool redis_outdated(const struct redis *r);
/* Names the history that Redis writes: it is another one after a failover, where the last changes
 * may be missing, and after a restart.  0: Redis is away. */
uint64_t redis_history(const struct redis *r);

/* ---- pure ---- */

/* An error reply "NOT_FOUND there is no ..." of our functions becomes the status and the text
 * behind its name; Redis' own errors become FULL, UNAVAILABLE or INTERNAL. */
enum status redis_error_status(const char *reply, const char **text);

#endif
