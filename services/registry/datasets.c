/* datasets.c - named sets of files for training. */
#include "services/registry/registry.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void answer_datasets(struct registry *g, const struct rpc_peer *peer,
                            const struct redisReply *reply)
{
    struct records      records = { 0 };
    struct msg_datasets body    = { 0 };
    enum status         st      = STATUS_OK;
    body.datasets               = mem_zalloc(reply->elements * sizeof *body.datasets);
    while (body.datasets_count < reply->elements && !st) {
        size_t i = body.datasets_count++;
        st       = record_dataset(&records, reply->element[i], &body.datasets[i]);
    }
    if (st)
        rpc_fail(g->rpc, peer, st, "a dataset in Redis cannot be read");
    else
        rpc_answer(g->rpc, peer, MSG_DATASETS, &body, NULL);
    for (size_t i = 0; i < body.datasets_count; i++)
        free(body.datasets[i].files);
    free(body.datasets);
    records_finish(&records);
}

static void ask_datasets(struct registry *g, const struct rpc_request *request, struct bytes name)
{
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_datasets"), bytes_str("0"), name };
    registry_ask(g, request, answer_datasets, argv, 4);
}

void on_dataset_list(void *arg, const struct rpc_request *request)
{
    ask_datasets(arg, request, bytes_of(NULL, 0));
}

void on_dataset_get(void *arg, const struct rpc_request *request)
{
    const struct msg_name *m = request->body;
    if (registry_check_name(arg, request, m->name, "the dataset's name"))
        ask_datasets(arg, request, m->name);
}

void on_file_commit(void *arg, const struct rpc_request *request)
{
    struct registry              *g      = arg;
    const struct msg_file_commit *m      = request->body;
    struct buf                    packed = { 0 };
    char                          size[24], limit[24];
    if (!registry_check_name(g, request, m->dataset, "the dataset's name") ||
        !registry_check_name(g, request, m->file, "the file's name") ||
        !registry_check_digest(g, request, m->digest))
        return;
    struct msg_file file = { .name       = m->file,
                             .digest     = m->digest,
                             .size_bytes = m->size_bytes,
                             .created_ms = clock_wall_ms() };
    msg_pack(&packed, &schema_file, &file);
    snprintf(size, sizeof size, "%" PRIu64, m->size_bytes);
    snprintf(limit, sizeof limit, "%d", MAX_FILES);
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_file_commit"),
                            bytes_str("0"),     m->dataset,
                            m->file,            m->digest,
                            bytes_str(size),    m->chunks,
                            buf_bytes(&packed), bytes_str(limit) };
    registry_ask(g, request, registry_done, argv, sizeof argv / sizeof *argv);
    log_info("dataset file committed", LOG_B("dataset", m->dataset), LOG_B("file", m->file),
             LOG_U("bytes", m->size_bytes));
    buf_finish(&packed);
}
