/* registry.h - the registry: every durable fact, behind the requests of schema.h.
 *
 * A handler checks the request, sends one command to Redis (a function of functions.lua
 * that does the whole change in one step) and answers from its reply.  The registry
 * itself keeps nothing but open requests, so several may run side by side.
 */
#ifndef SERVICES_REGISTRY_REGISTRY_H
#define SERVICES_REGISTRY_REGISTRY_H

#include "common/net/rpc.h"
#include "services/registry/redis.h"

#define REQUESTS_MAX        4096     /* open requests; more are BUSY */
#define CHUNK_REQUESTS_MAX  64       /* of them with a chunk of 1 MiB */
#define PROCESS_TTL_MS      5000     /* a process that reports no more is forgotten after this */

struct registry_config {
    const char *redis;
    const char *rpc;
    const char *events;
    const char *log_format;
    const char *log_level;
};

struct events;
struct presence;

struct registry {
    const struct registry_config *config;
    struct loop                  *loop;
    struct redis                 *redis;
    struct rpc_server            *rpc;
    struct events                *events;
    struct presence              *presence;
    size_t                        open;          /* requests that wait for Redis */
    size_t                        open_chunks;
};

enum status registry_init(struct registry *g, const struct registry_config *config, struct loop *l,
                          struct error *err) MUST_CHECK;
void        registry_finish(struct registry *g);    /* safe on a half-built registry */

/* ---- for the handlers ---- */

/* An open request: who asked, and how to turn Redis' reply into the answer. */
struct request;
typedef void request_done_fn(struct registry *g, const struct rpc_peer *peer,
                             const struct redisReply *reply);

/* Sends argv to Redis for this request; done runs only when Redis says OK, any failure is
 * answered here.  The arguments are copied. */
void registry_ask(struct registry *g, const struct rpc_request *request, request_done_fn *done,
                  const struct bytes *argv, size_t argc);
/* Answers DONE. */
void registry_done(struct registry *g, const struct rpc_peer *peer,
                   const struct redisReply *reply);
/* false: the request has been answered with the failure. */
bool registry_check_name(struct registry *g, const struct rpc_request *request, struct bytes name,
                         const char *what);
bool registry_check_digest(struct registry *g, const struct rpc_request *request,
                           struct bytes digest);

rpc_handler_fn on_ping, on_snapshot, on_version_commit, on_check_claim, on_version_checked,
    on_deploy;                                               /* versions.c */
rpc_handler_fn on_chunk_put, on_chunk_get, on_manifest_get;  /* artifacts.c */
rpc_handler_fn on_file_commit, on_dataset_list, on_dataset_get;    /* datasets.c */
rpc_handler_fn on_training_submit, on_training_get, on_training_list, on_training_cancel,
    on_training_claim, on_training_update;                   /* training.c */
rpc_handler_fn on_report, on_health;                         /* presence.c */

struct events *events_create(struct registry *g, struct error *err);
void           events_destroy(struct events *e);

struct presence *presence_create(struct registry *g);
void             presence_destroy(struct presence *p);    /* NULL is fine */

#endif
