/* registry.c - set-up, the table of requests, and what all handlers share. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "common/base/metrics.h"

#include <stdlib.h>

static struct metric_family failures = {
    .name = "maas_registry_failures_total",
    .help = "requests that were answered with a failure",
    .type = METRIC_COUNTER,
};

struct request {
    struct registry *registry;
    struct rpc_peer  peer;
    enum msg_kind    kind;
    request_done_fn *done;
};

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = {
    [MSG_PING]            = on_ping,
    [MSG_SNAPSHOT]        = on_snapshot,
    [MSG_CHUNK_PUT]       = on_chunk_put,
    [MSG_CHUNK_GET]       = on_chunk_get,
    [MSG_MANIFEST_GET]    = on_manifest_get,
    [MSG_VERSION_COMMIT]  = on_version_commit,
    [MSG_CHECK_CLAIM]     = on_check_claim,
    [MSG_VERSION_CHECKED] = on_version_checked,
    [MSG_DEPLOY]          = on_deploy,
    [MSG_FILE_COMMIT]     = on_file_commit,
    [MSG_DATASET_LIST]    = on_dataset_list,
    [MSG_DATASET_GET]     = on_dataset_get,
    [MSG_TRAINING_SUBMIT] = on_training_submit,
    [MSG_TRAINING_GET]    = on_training_get,
    [MSG_TRAINING_LIST]   = on_training_list,
    [MSG_TRAINING_CANCEL] = on_training_cancel,
    [MSG_TRAINING_CLAIM]  = on_training_claim,
    [MSG_TRAINING_UPDATE] = on_training_update,
    [MSG_REPORT]          = on_report,
    [MSG_HEALTH]          = on_health,
};

static void count_failure(enum msg_kind kind, enum status st)
{
    const struct metric_label labels[] = { { "request", msg_kind_name(kind) },
                                           { "status", status_name(st) } };
    metric_add(metrics_series(&failures, labels, 2), 1);
}

static void on_reply(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct request  *r = arg;
    struct registry *g = r->registry;
    g->open--;
    if (st == STATUS_OK) {
        r->done(g, &r->peer, reply);
    } else if (st != STATUS_CANCELLED) {
        if (st != STATUS_NOT_FOUND || (r->kind != MSG_CHECK_CLAIM && r->kind != MSG_TRAINING_CLAIM))
            count_failure(r->kind, st);
        rpc_fail(g->rpc, &r->peer, st, "%s", text);
    }
    free(r);
}

void registry_ask(struct registry *g, const struct rpc_request *request, request_done_fn *done,
                  const struct bytes *argv, size_t argc)
{
    if (g->open >= REQUESTS_MAX) {
        count_failure(request->kind, STATUS_BUSY);
        rpc_fail(g->rpc, &request->peer, STATUS_BUSY, "the registry has %d requests open; try again",
                 REQUESTS_MAX);
        return;
    }
    struct request *r = mem_alloc(sizeof *r);
    *r                = (struct request){ g, request->peer, request->kind, done };
    g->open++;
    redis_send(g->redis, on_reply, r, argv, argc);
}

void registry_done(struct registry *g, const struct rpc_peer *peer, const struct redisReply *reply)
{
    (void)reply;
    rpc_answer(g->rpc, peer, MSG_DONE, NULL, NULL);
}

bool registry_check_name(struct registry *g, const struct rpc_request *request, struct bytes name,
                         const char *what)
{
    struct error err;
    if (!name_check(name, what, &err))
        return true;
    count_failure(request->kind, err.status);
    rpc_fail(g->rpc, &request->peer, err.status, "%s", err.text);
    return false;
}

bool registry_check_digest(struct registry *g, const struct rpc_request *request,
                           struct bytes digest)
{
    if (digest.len == DIGEST_SIZE)
        return true;
    count_failure(request->kind, STATUS_INVALID);
    rpc_fail(g->rpc, &request->peer, STATUS_INVALID, "a digest has %d bytes, this one %zu",
             DIGEST_SIZE, digest.len);
    return false;
}

enum status registry_init(struct registry *g, const struct registry_config *config, struct loop *l,
                          struct error *err)
{
    *g       = (struct registry){ .config = config, .loop = l };
    g->redis = redis_create(l, config->redis, err);
    if (!g->redis)
        return err->status;
    g->rpc         = rpc_server_create(l, handlers, g);
    enum status st = rpc_server_bind(g->rpc, config->rpc, err);
    if (!st) {
        g->events = events_create(g, err);
        st        = g->events ? STATUS_OK : err->status;
    }
    if (!st)
        g->presence = presence_create(g);
    return st;
}

void registry_finish(struct registry *g)
{
    presence_destroy(g->presence);
    events_destroy(g->events);
    redis_destroy(g->redis);
    rpc_server_destroy(g->rpc);
    *g = (struct registry){ 0 };
}
