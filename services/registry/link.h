/* link.h - one connection to Redis, or to a sentinel, that is replaced when it breaks.
 *
 * Links that want the same server share a target, which says where it is and may be moved.  A link
 * is up once the server has taken its greeting (greeting.h).  A command that is not answered within
 * the target's time breaks its link.  Loop thread only.
 */
#ifndef SERVICES_REGISTRY_LINK_H
#define SERVICES_REGISTRY_LINK_H

#include "common/net/frame.h"
#include "services/registry/greeting.h"

#include <hiredis/hiredis.h>

#define REDIS_PENDING_MAX 4096 /* commands under way on one connection; more are BUSY */
#define REDIS_ARGS_MAX    32

struct redis_link;
struct tls;

/* reply: NULL, or an error reply, when st is not OK; good until fn returns. */
typedef void redis_fn(void *arg, enum status st, const char *text, const struct redisReply *reply);

/* data: the value, when OK; may be moved out. */
typedef void redis_value_fn(void *arg, enum status st, const char *text, struct frame *data);

/* The owner's; it lives longer than the links on it. */
struct redis_target {
    struct loop *loop;
    struct redis_place places[REDIS_PLACES_MAX]; /* taken in turn */
    size_t places_count;                         /* 0: not known yet, links wait for a move */
    const char *user;                            /* empty: the default one */
    const char *password_file;                   /* empty: none */
    struct tls *tls;                             /* NULL: none */
    uint64_t timeout_ms;                         /* for a connection, and for a command */
    struct redis_link *links;                    /* link.c's: all that are there */
};

/* The server is at this place now: links to another one break, and connect there. */
void redis_target_move(struct redis_target *t, const struct redis_place *place);

/* connected: may be NULL; called each time the link comes up.  A link with a greeting other than
 * PING logs when its server comes and goes. */
struct redis_link *redis_link_create(struct redis_target *t, enum redis_greeting greeting,
                                     loop_fn *connected, void *arg);
void redis_link_destroy(struct redis_link *k); /* NULL is fine; open commands end with CANCELLED */
bool redis_link_up(const struct redis_link *k);
size_t redis_link_pending(const struct redis_link *k);   /* commands that were not answered yet */
bool redis_link_outdated(const struct redis_link *k);    /* the greeting ended so the last time */
uint64_t redis_link_history(const struct redis_link *k); /* 0: it is not up */
/* Sends a command; the arguments are copied.  fn runs exactly once, later or (when the server is
 * away) inside this call. */
void redis_link_send(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                     size_t argc);
/* GET of a chunk's data.  NOT_FOUND: nothing is there.  fn as above. */
void redis_link_get(struct redis_link *k, struct bytes key, redis_value_fn *fn, void *arg);
/* Right after its creation: the link will have much to get (siphon.h). */
void redis_link_siphon(struct redis_link *k);
/* Gives the connection up for a new one, to the next place.  Open commands are answered first. */
void redis_link_break(struct redis_link *k, const char *reason);
void redis_link_next(struct redis_link *k); /* the same, soon, and it counts as no failure */

/* ---- for greeting.c ---- */

/* As redis_link_send, but before the link is up.  UNAVAILABLE: fn will not run. */
enum status redis_link_say(struct redis_link *k, redis_fn *fn, void *arg, const struct bytes *argv,
                           size_t argc) MUST_CHECK;
/* The greeting has ended; why is a sentence when it is not DONE.  Said again, it is nothing. */
void redis_link_greeted(struct redis_link *k, enum greeting_end end, const char *why);

#endif
