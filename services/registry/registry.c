/* registry.c - set-up, the table of requests, and the life of one request. */
#include "services/registry/registry.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/net/chunk_memory.h"
#include "services/registry/reads.h"
#include "services/registry/store.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAIN_STEP_MS 10
#define TIDY_MS       1000

static struct metric_family requests = {
    .name = "maas_registry_requests_total",
    .help = "requests that were answered, by their kind and the status",
    .type = METRIC_COUNTER,
};

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = {
    [MSG_PING] = on_ping,
    [MSG_SNAPSHOT] = on_snapshot,
    [MSG_CHUNK_PUT] = on_chunk_put,
    [MSG_CHUNK_GET] = on_chunk_get,
    [MSG_MANIFEST_GET] = on_manifest_get,
    [MSG_VERSION_COMMIT] = on_version_commit,
    [MSG_CHECK_CLAIM] = on_check_claim,
    [MSG_VERSION_CHECKED] = on_version_checked,
    [MSG_DEPLOY] = on_deploy,
    [MSG_ROLLBACK] = on_rollback,
    [MSG_ALIAS_PUT] = on_alias_put,
    [MSG_VERSION_DESCRIBE] = on_version_describe,
    [MSG_VERSION_DELETE] = on_version_delete,
    [MSG_MODEL_DELETE] = on_model_delete,
    [MSG_HISTORY_GET] = on_history_get,
    [MSG_FILE_COMMIT] = on_file_commit,
    [MSG_DATASET_LIST] = on_dataset_list,
    [MSG_DATASET_GET] = on_dataset_get,
    [MSG_DATASET_DELETE] = on_dataset_delete,
    [MSG_PROFILE_GET] = on_profile_get,
    [MSG_PROFILE_CLAIM] = on_profile_claim,
    [MSG_PROFILE_UPDATE] = on_profile_update,
    [MSG_TRAINING_SUBMIT] = on_training_submit,
    [MSG_TRAINING_GET] = on_training_get,
    [MSG_TRAINING_LIST] = on_training_list,
    [MSG_TRAINING_CANCEL] = on_training_cancel,
    [MSG_TRAINING_CLAIM] = on_training_claim,
    [MSG_TRAINING_UPDATE] = on_training_update,
    [MSG_TRAINING_CHECKPOINT] = on_training_checkpoint,
    [MSG_UPLOAD_BEGIN] = on_upload_begin,
    [MSG_UPLOAD_GET] = on_upload_get,
    [MSG_UPLOAD_DROP] = on_upload_drop,
    [MSG_BACKUP_BEGIN] = on_backup_begin,
    [MSG_BACKUP_READ] = on_backup_read,
    [MSG_BACKUP_CHUNKS] = on_backup_chunks,
    [MSG_BACKUP_END] = on_backup_end,
    [MSG_RESTORE_BEGIN] = on_restore_begin,
    [MSG_RESTORE_PUT] = on_restore_put,
    [MSG_RESTORE_END] = on_restore_end,
    [MSG_RESTORE_DROP] = on_restore_drop,
    [MSG_ROLLOUT_BEGIN] = on_rollout_begin,
    [MSG_ROLLOUT_GET] = on_rollout_get,
    [MSG_ROLLOUT_ABORT] = on_rollout_abort,
    [MSG_ROLLOUT_REPORT] = on_rollout_report,
    [MSG_REPORT] = on_report,
    [MSG_HEALTH] = on_health,
};

/* ---- one request -------------------------------------------------------------------------- */

static void count(enum msg_kind kind, enum status st)
{
    static struct metric *series[MSG_KIND_COUNT][STATUS_COUNT];
    if (!series[kind][st]) {
        const struct metric_label labels[] = { { "request", msg_kind_name(kind) },
                                               { "status", status_name(st) } };
        series[kind][st] = metrics_series(&requests, labels, 2);
    }
    metric_add(series[kind][st], 1);
}

struct request *request_open(struct registry *g, const struct rpc_request *from,
                             struct bytes subject, request_done_fn *done)
{
    struct request *r = mem_alloc(sizeof *r);
    *r = (struct request){ g, from->peer, from->kind, done, "", 0 };
    if (bytes_copy_str(subject, r->subject, sizeof r->subject))
        r->subject[0] = 0; /* never: the codec has bounded it */
    g->open++;
    if (!g->stopping && g->open <= REQUESTS_MAX)
        return r;
    if (g->stopping)
        request_fail(r, STATUS_UNAVAILABLE, "the registry is stopping; try again");
    else
        request_fail(r, STATUS_BUSY, "the registry has %d requests open; try again", REQUESTS_MAX);
    request_close(r);
    return NULL;
}

void request_close(struct request *r)
{
    r->registry->open--;
    r->registry->untidy = true;
    free(r);
}

void request_answer(struct request *r, enum msg_kind kind, const void *body,
                    struct frame *attachment)
{
    count(r->kind, STATUS_OK);
    rpc_answer(r->registry->rpc, &r->peer, kind, body, attachment);
}

void request_fail(struct request *r, enum status st, const char *fmt, ...)
{
    char text[MAX_REASON + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    count(r->kind, st);
    rpc_fail(r->registry->rpc, &r->peer, st, "%s", text);
}

void request_refuse(struct request *r, const struct error *err)
{
    request_fail(r, err->status, "%s", err->text);
    request_close(r);
}

void request_ask_named(struct registry *g, const struct rpc_request *from, const char *function,
                       const char *what, request_done_fn *done)
{
    const struct msg_name *m = from->body;
    struct request *r = request_open(g, from, m->name, done);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (name_check(m->name, what, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, function);
    fcall_add(&call, m->name);
    request_ask(r, &call);
}

void request_fail_corrupt(struct request *r, const char *what)
{
    log_error("a record in redis cannot be read", LOG_S("record", what),
              LOG_S("subject", r->subject));
    request_fail(r, STATUS_CORRUPT, "a %s in Redis cannot be read", what);
}

void answer_done(struct request *r, const struct redisReply *reply)
{
    (void)reply;
    request_answer(r, MSG_DONE, NULL, NULL);
}

static void on_reply(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct request *r = arg;
    if (st == STATUS_OK)
        r->done(r, reply);
    else
        request_fail(r, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    request_close(r);
}

void request_ask(struct request *r, const struct fcall *call)
{
    redis_send(r->registry->redis, on_reply, r, call->argv, call->argc);
}

/* ---- life --------------------------------------------------------------------------------- */

/* What a burst of chunks or a snapshot has taken goes back to the system. */
static void tidy(void *arg)
{
    struct registry *g = arg;
    reads_tidy(g->reads);
    chunk_memory_tidy();
    if (g->untidy && !g->open)
        malloc_trim(0);
    g->untidy = g->open > 0;
}

enum status registry_init(struct registry *g, const struct registry_config *config, struct loop *l,
                          struct error *err)
{
    *g = (struct registry){ .config = config, .loop = l };
    g->redis = redis_create(l, &config->redis, err);
    if (!g->redis)
        return err->status;
    const struct store_config store = { config->artifact_store, config->artifact_ttl_ms,
                                        config->artifact_sweep_ms };
    g->store = store_create(l, g->redis, &store, err);
    if (!g->store)
        return err->status;
    g->reads = reads_create(l, g->store);
    g->rpc = rpc_server_create(l, handlers, g);
    enum status st = rpc_server_bind(g->rpc, config->rpc, err);
    if (!st) {
        g->events = events_create(g, err);
        st = g->events ? STATUS_OK : err->status;
    }
    if (!st) {
        g->presence = presence_create(g);
        g->collector = collector_create(g);
        g->tidy = loop_timer_create(l, tidy, g);
        loop_timer_start(g->tidy, TIDY_MS, TIDY_MS);
    }
    return st;
}

static void drain(void *arg)
{
    struct registry *g = arg;
    if (!g->open || clock_ms() >= g->drain_end_ms)
        loop_stop(g->loop);
}

void registry_stop(struct registry *g)
{
    if (g->stopping)
        return;
    g->stopping = true;
    g->drain_end_ms = clock_ms() + DRAIN_MS;
    presence_leave(g->presence);
    g->drain = loop_timer_create(g->loop, drain, g);
    loop_timer_start(g->drain, DRAIN_STEP_MS, DRAIN_STEP_MS);
}

void registry_finish(struct registry *g)
{
    g->stopping = true;
    loop_timer_destroy(g->drain);
    loop_timer_destroy(g->tidy);
    presence_destroy(g->presence);
    events_destroy(g->events);
    collector_destroy(g->collector);
    reads_destroy(g->reads);
    store_destroy(g->store);
    redis_destroy(g->redis); /* open commands are answered here */
    rpc_server_destroy(g->rpc);
    g->drain = g->tidy = NULL;
    g->presence = NULL;
    g->collector = NULL;
    g->reads = NULL;
    g->store = NULL;
    g->events = NULL;
    g->redis = NULL;
    g->rpc = NULL;
}
