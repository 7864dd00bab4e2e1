/* registry.h - the registry: every durable fact, behind the requests of schema.h.
 *
 * A handler checks the request, sends one command to Redis (a function of functions.lua
 * that does the whole change in one step) and answers from its reply.  The registry
 * itself keeps nothing but open requests, so several may run side by side.  Loop thread
 * only, but for the hashing of chunks.
 */
#ifndef SERVICES_REGISTRY_REGISTRY_H
#define SERVICES_REGISTRY_REGISTRY_H

#include "common/net/rpc.h"
#include "services/registry/fcall.h"

#define REQUESTS_MAX       4096 /* open requests; more are BUSY */
#define CHUNK_REQUESTS_MAX 32   /* of them with a chunk of 1 MiB that is put: bounds the memory */
#define PROCESS_TTL_MS     5000 /* a process that reports no more is forgotten after this */
#define DRAIN_MS           2000 /* after SIGTERM: open requests may take this long */

struct registry_config {
    struct redis_config redis;
    const char *rpc;
    const char *events;
    const char *artifact_store;
    uint32_t artifact_ttl_ms;
    uint32_t artifact_sweep_ms;
    const char *log_format;
    const char *log_level;
};

struct collector;
struct events;
struct presence;
struct reads;
struct store;

struct registry {
    const struct registry_config *config;
    struct loop *loop;
    struct redis *redis;
    struct store *store; /* of chunks */
    struct reads *reads; /* out of it */
    struct collector *collector;
    struct rpc_server *rpc;
    struct events *events;
    struct presence *presence;
    struct loop_timer *tidy;
    bool untidy; /* requests have used memory since the last look */
    struct loop_timer *drain;
    uint64_t drain_end_ms;
    bool stopping;      /* new requests are refused */
    size_t open;        /* requests that were not answered yet */
    size_t open_chunks; /* of them with a chunk that is put */
};

enum status registry_init(struct registry *g, const struct registry_config *config, struct loop *l,
                          struct error *err) MUST_CHECK;
/* Takes no more requests, finishes the open ones within DRAIN_MS, then stops the loop. */
void registry_stop(struct registry *g);
/* Safe on a half-built registry.  The struct must live on until the loop is destroyed: work on
 * pool threads comes back to it. */
void registry_finish(struct registry *g);

/* ---- requests: for the handlers ---- */

struct request;

/* Turns Redis' reply into the one answer; the request is closed after it. */
typedef void request_done_fn(struct request *r, const struct redisReply *reply);

struct request {
    struct registry *registry;
    struct rpc_peer peer;
    enum msg_kind kind;
    request_done_fn *done;
    char subject[MAX_NAME + 1]; /* the handler's: model, dataset, job or host it is about */
    uint64_t number;            /* the handler's: what it wants to know again when it is done */
};

/* NULL: too many are open, or the registry is stopping; it has been answered. */
struct request *request_open(struct registry *g, const struct rpc_request *from,
                             struct bytes subject, request_done_fn *done);
/* Sends the command; afterwards r->done answers, or the failure is answered, and r is closed. */
void request_ask(struct request *r, const struct fcall *call);
/* A request of struct msg_name that is one function's with the name as its argument.  what: the name's,
 * for who is refused. */
void request_ask_named(struct registry *g, const struct rpc_request *from, const char *function,
                       const char *what, request_done_fn *done);
/* Answers; counted by kind and status.  attachment as in rpc_answer.  Does not close. */
void request_answer(struct request *r, enum msg_kind kind, const void *body,
                    struct frame *attachment);
void request_fail(struct request *r, enum status st, const char *fmt, ...) PRINTF_LIKE(3, 4);
void request_close(struct request *r);
/* Fails with what a check has found, and closes. */
void request_refuse(struct request *r, const struct error *err);
/* For a record in Redis that cannot be decoded: logs and fails. */
void request_fail_corrupt(struct request *r, const char *what);

request_done_fn answer_done;    /* answers DONE */
request_done_fn answer_version; /* answers VERSION; versions.c */

rpc_handler_fn on_ping, on_snapshot, on_version_commit, on_check_claim,
    on_version_checked;                /* versions.c */
rpc_handler_fn on_deploy, on_rollback; /* deploy.c */
rpc_handler_fn on_rollout_begin, on_rollout_get, on_rollout_abort,
    on_rollout_report; /* rollouts.c */
rpc_handler_fn on_alias_put, on_version_describe, on_version_delete, on_model_delete,
    on_history_get;                                            /* describe.c */
rpc_handler_fn on_chunk_put, on_chunk_get, on_manifest_get;    /* artifacts.c */
void count_corrupt_chunk(const char *from);                    /* "store" or "peer" */
rpc_handler_fn on_upload_begin, on_upload_get, on_upload_drop; /* uploads.c */
rpc_handler_fn on_backup_begin, on_backup_read, on_backup_chunks, on_backup_end, on_restore_begin,
    on_restore_put, on_restore_end, on_restore_drop;                               /* backup.c */
rpc_handler_fn on_file_commit, on_dataset_list, on_dataset_get, on_dataset_delete; /* datasets.c */
rpc_handler_fn on_profile_get, on_profile_claim, on_profile_update;                /* profiles.c */
rpc_handler_fn on_training_submit, on_training_get, on_training_list, on_training_cancel,
    on_training_claim, on_training_update, on_training_checkpoint; /* training.c */
rpc_handler_fn on_report, on_health;                               /* presence.c */

struct events *events_create(struct registry *g, struct error *err);
void events_destroy(struct events *e); /* NULL is fine */

/* collect.c: lets go, now and then, what nobody keeps any more. */
struct collector *collector_create(struct registry *g);
void collector_destroy(struct collector *c); /* NULL is fine */

struct presence *presence_create(struct registry *g);
void presence_leave(struct presence *p);   /* says goodbye, for others to see */
void presence_destroy(struct presence *p); /* NULL is fine */

#endif
