/* versions.c - models, versions, deployments: the catalog. */
#include "services/registry/registry.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NUMBER_TEXT 24

static struct bytes number_text(char out[NUMBER_TEXT], uint64_t n)
{
    int len = snprintf(out, NUMBER_TEXT, "%" PRIu64, n);
    return bytes_of(out, (size_t)len);
}

static void corrupt(struct registry *g, const struct rpc_peer *peer, const char *what)
{
    log_error("a record in redis cannot be read", LOG_S("record", what));
    rpc_fail(g->rpc, peer, STATUS_CORRUPT, "a %s in Redis cannot be read", what);
}

void on_ping(void *arg, const struct rpc_request *request)
{
    struct bytes argv[] = { bytes_str("PING") };
    registry_ask(arg, request, registry_done, argv, 1);
}

/* ---- snapshot ----------------------------------------------------------------------------- */

/* {model, deployment, {number, record, check, checked}...} */
static enum status add_model(struct records *records, const struct redisReply *entry,
                             struct msg_catalog *catalog)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements < 2)
        return STATUS_CORRUPT;
    struct bytes           model = record_text(entry->element[0]);
    struct msg_deployment *d     = &catalog->deployments[catalog->deployments_count];
    enum status            st    = record_deployment(model, entry->element[1], d);
    if (!st && d->version)
        catalog->deployments_count++;
    for (size_t i = 2; i < entry->elements && !st; i++) {
        struct redisReply **v = entry->element[i]->element;
        if (entry->element[i]->elements != 4)
            return STATUS_CORRUPT;
        st = record_version(records, model, record_number(v[0]), record_text(v[1]),
                            record_number(v[2]), record_text(v[3]),
                            &catalog->versions[catalog->versions_count]);
        catalog->versions_count += !st;
    }
    return st;
}

static void answer_snapshot(struct registry *g, const struct rpc_peer *peer,
                            const struct redisReply *reply)
{
    struct records     records  = { 0 };
    struct msg_catalog catalog  = { 0 };
    size_t             versions = 0;
    enum status        st       = STATUS_OK;
    for (size_t i = 1; i < reply->elements; i++)
        versions += reply->element[i]->elements;
    catalog.seq         = reply->elements ? record_number(reply->element[0]) : 0;
    catalog.versions    = mem_zalloc(versions * sizeof *catalog.versions);
    catalog.deployments = mem_zalloc(reply->elements * sizeof *catalog.deployments);
    for (size_t i = 1; i < reply->elements && !st; i++)
        st = add_model(&records, reply->element[i], &catalog);
    if (st)
        corrupt(g, peer, "version");
    else
        rpc_answer(g->rpc, peer, MSG_CATALOG, &catalog, NULL);
    free(catalog.versions);
    free(catalog.deployments);
    records_finish(&records);
}

void on_snapshot(void *arg, const struct rpc_request *request)
{
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_snapshot"), bytes_str("0") };
    registry_ask(arg, request, answer_snapshot, argv, 3);
}

/* ---- commit ------------------------------------------------------------------------------- */

static void answer_commit(struct registry *g, const struct rpc_peer *peer,
                          const struct redisReply *reply)
{
    struct msg_version version = { .number = (uint32_t)record_number(reply) };
    rpc_answer(g->rpc, peer, MSG_VERSION, &version, NULL);
}

void on_version_commit(void *arg, const struct rpc_request *request)
{
    struct registry                 *g = arg;
    const struct msg_version_commit *m = request->body;
    char                             size[NUMBER_TEXT], lease[NUMBER_TEXT];
    if (!registry_check_name(g, request, m->model, "the model's name") ||
        !registry_check_digest(g, request, m->digest))
        return;
    struct msg_version record = {
        .format     = m->format,
        .digest     = m->digest,
        .size_bytes = m->size_bytes,
        .metrics    = m->metrics,
        .lineage    = m->lineage,
        .tags       = m->tags,
        .source     = m->source,
        .created_ms = clock_wall_ms(),
    };
    struct buf packed = { 0 };
    msg_pack(&packed, &schema_version, &record);
    struct bytes argv[] = { bytes_str("FCALL"),        bytes_str("maas_version_commit"),
                            bytes_str("0"),            m->key,
                            m->model,                  m->digest,
                            number_text(size, m->size_bytes), m->chunks,
                            buf_bytes(&packed),        bytes_str(m->deploy ? "1" : "0"),
                            m->training,               number_text(lease, m->lease),
                            m->metrics };
    registry_ask(g, request, answer_commit, argv, sizeof argv / sizeof *argv);
    log_info("version committed", LOG_B("model", m->model), LOG_B("source", m->source),
             LOG_U("bytes", m->size_bytes));
    buf_finish(&packed);
}

/* ---- check -------------------------------------------------------------------------------- */

static void answer_claim(struct registry *g, const struct rpc_peer *peer,
                         const struct redisReply *reply)
{
    struct records     records = { 0 };
    struct msg_version version;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        record_version(&records, record_text(reply->element[0]), record_number(reply->element[1]),
                       record_text(reply->element[2]), CHECK_PENDING, bytes_of(NULL, 0), &version))
        corrupt(g, peer, "version");
    else
        rpc_answer(g->rpc, peer, MSG_VERSION, &version, NULL);
    records_finish(&records);
}

void on_check_claim(void *arg, const struct rpc_request *request)
{
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_check_claim"), bytes_str("0") };
    registry_ask(arg, request, answer_claim, argv, 3);
}

void on_version_checked(void *arg, const struct rpc_request *request)
{
    struct registry                  *g = arg;
    const struct msg_version_checked *m = request->body;
    char                              number[NUMBER_TEXT], check[NUMBER_TEXT];
    struct buf                        packed = { 0 };
    if (!registry_check_name(g, request, m->model, "the model's name"))
        return;
    if (m->check != CHECK_PASSED && m->check != CHECK_FAILED) {
        rpc_fail(g->rpc, &request->peer, STATUS_INVALID, "a check has passed or failed, not %u",
                 m->check);
        return;
    }
    msg_pack(&packed, &schema_version_checked, m);
    struct bytes argv[] = { bytes_str("FCALL"),  bytes_str("maas_version_checked"),
                            bytes_str("0"),      m->model,
                            number_text(number, m->version), number_text(check, m->check),
                            buf_bytes(&packed) };
    registry_ask(g, request, registry_done, argv, 7);
    buf_finish(&packed);
    log_info("version checked", LOG_B("model", m->model), LOG_U("version", m->version),
             LOG_S("result", m->check == CHECK_PASSED ? "passed" : "failed"),
             LOG_B("reason", m->reason));
}

/* ---- deploy ------------------------------------------------------------------------------- */

static void answer_deploy(struct registry *g, const struct rpc_peer *peer,
                          const struct redisReply *reply)
{
    struct msg_deployment deployment;
    if (record_deployment(bytes_of(NULL, 0), reply, &deployment))
        corrupt(g, peer, "deployment");
    else
        rpc_answer(g->rpc, peer, MSG_DEPLOYMENT, &deployment, NULL);
}

void on_deploy(void *arg, const struct rpc_request *request)
{
    struct registry              *g = arg;
    const struct msg_version_ref *m = request->body;
    char                          number[NUMBER_TEXT];
    if (!registry_check_name(g, request, m->model, "the model's name"))
        return;
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_deploy"), bytes_str("0"), m->model,
                            number_text(number, m->version) };
    registry_ask(g, request, answer_deploy, argv, 5);
    log_info("deploy", LOG_B("model", m->model), LOG_U("version", m->version));
}
