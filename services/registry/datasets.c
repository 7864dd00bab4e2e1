/* datasets.c - named sets of files for training. */
#include "services/registry/registry.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

static void answer_datasets(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_datasets body;
    if (record_datasets(&records, reply, &body))
        request_fail_corrupt(r, "dataset");
    else
        request_answer(r, MSG_DATASETS, &body, NULL);
    records_finish(&records);
}

void on_dataset_list(void *arg, const struct rpc_request *from)
{
    struct request *r = request_open(arg, from, bytes_str(""), answer_datasets);
    struct fcall call;
    if (!r)
        return;
    fcall_begin(&call, "maas_datasets");
    fcall_add_str(&call, "");
    request_ask(r, &call);
}

void on_dataset_get(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_datasets", "the dataset's name", answer_datasets);
}

static void answer_file_commit(struct request *r, const struct redisReply *reply)
{
    log_info("dataset file stored", LOG_S("dataset", r->subject), LOG_U("bytes", r->number));
    answer_datasets(r, reply);
}

static enum status check_file(const struct msg_file_commit *m, struct error *err)
{
    enum status st = name_check(m->dataset, "the dataset's name", err);
    if (!st)
        st = name_check(m->file, "the file's name", err);
    return st ? st : check_artifact(m->digest, m->size_bytes, m->chunks, err);
}

void on_file_commit(void *arg, const struct rpc_request *from)
{
    const struct msg_file_commit *m = from->body;
    struct request *r = request_open(arg, from, m->dataset, answer_file_commit);
    struct error err;
    struct buf packed = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_file(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    r->number = m->size_bytes;
    struct msg_file file = { .name = m->file,
                             .digest = m->digest,
                             .size_bytes = m->size_bytes,
                             .created_ms = clock_wall_ms() };
    msg_pack(&packed, &schema_file, &file);
    fcall_begin(&call, "maas_file_commit");
    fcall_add(&call, m->dataset);
    fcall_add(&call, m->file);
    fcall_add(&call, m->digest);
    fcall_add_number(&call, m->size_bytes);
    fcall_add(&call, m->chunks);
    fcall_add(&call, buf_bytes(&packed));
    fcall_add_number(&call, MAX_FILES);
    request_ask(r, &call);
    buf_finish(&packed);
}

static void answer_delete(struct request *r, const struct redisReply *reply)
{
    log_info("dataset files deleted", LOG_S("dataset", r->subject));
    answer_datasets(r, reply);
}

void on_dataset_delete(void *arg, const struct rpc_request *from)
{
    const struct msg_file_ref *m = from->body;
    struct request *r = request_open(arg, from, m->dataset, answer_delete);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->dataset, "the dataset's name", &err);
    if (!st && m->file.len)
        st = name_check(m->file, "the file's name", &err);
    if (st) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_dataset_delete");
    fcall_add(&call, m->dataset);
    fcall_add(&call, m->file);
    request_ask(r, &call);
}
