/* profiles.c - what is in a data set's file: asked for, made by a trainer, kept until the files change.
 * The rules are in datasets.lua. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

/* {{name, value ...}}, and of a claim the data set behind it.  CORRUPT. */
static enum status read_profile(struct records *records, const struct redisReply *reply,
                                struct msg_profile *out)
{
    struct msg_datasets set = { 0 };
    if (reply->type != REDIS_REPLY_ARRAY || !reply->elements ||
        reply->element[0]->type != REDIS_REPLY_ARRAY)
        return STATUS_CORRUPT;
    const struct redisReply *pairs = reply->element[0];
    if (reply->elements > 1) {
        const struct redisReply rest = { .type = REDIS_REPLY_ARRAY,
                                         .elements = 1,
                                         .element = &reply->element[1] };
        if (record_datasets(records, &rest, &set) || set.datasets_count != 1)
            return STATUS_CORRUPT;
    }
    *out = (struct msg_profile){
        .dataset = record_text(record_field(pairs, "dataset")),
        .file = record_text(record_field(pairs, "file")),
        .target = record_text(record_field(pairs, "target")),
        .state = (uint32_t)record_number(record_field(pairs, "state")),
        .json = record_text(record_field(pairs, "json")),
        .error = record_text(record_field(pairs, "error")),
        .lease = record_number(record_field(pairs, "lease")),
    };
    if (set.datasets_count) {
        out->files = set.datasets[0].files;
        out->files_count = set.datasets[0].files_count;
    }
    return STATUS_OK;
}

static void answer_profile(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_profile body;
    if (read_profile(&records, reply, &body))
        request_fail_corrupt(r, "profile");
    else
        request_answer(r, MSG_PROFILE, &body, NULL);
    records_finish(&records);
}

static enum status check_get(const struct msg_profile *m, struct error *err)
{
    enum status st = name_check(m->dataset, "the dataset's name", err);
    if (!st && m->file.len)
        st = name_check(m->file, "the file's name", err);
    return st ? st : check_text(m->target, "the target", err);
}

void on_profile_get(void *arg, const struct rpc_request *from)
{
    const struct msg_profile *m = from->body;
    struct request *r = request_open(arg, from, m->dataset, answer_profile);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (check_get(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_profile_get");
    fcall_add(&call, m->dataset);
    fcall_add(&call, m->file);
    fcall_add(&call, m->target);
    request_ask(r, &call);
}

void on_profile_claim(void *arg, const struct rpc_request *from)
{
    struct request *r = request_open(arg, from, bytes_str(""), answer_profile);
    struct fcall call;
    if (!r)
        return;
    fcall_begin(&call, "maas_profile_claim");
    request_ask(r, &call);
}

static enum status check_update(const struct msg_profile *m, struct error *err)
{
    enum status st = name_check(m->dataset, "the dataset's name", err);
    if (!st)
        st = check_text(m->error, "the error", err);
    return st ? st : check_json_object(m->json, "the profile", err);
}

void on_profile_update(void *arg, const struct rpc_request *from)
{
    const struct msg_profile *m = from->body;
    struct request *r = request_open(arg, from, m->dataset, answer_profile);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (check_update(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    if (m->state != TRAINING_RUNNING)
        log_info("profile", LOG_B("dataset", m->dataset), LOG_B("file", m->file),
                 LOG_S("state", training_state_name(m->state)), LOG_B("error", m->error));
    fcall_begin(&call, "maas_profile_update");
    fcall_add(&call, m->dataset);
    fcall_add_number(&call, m->lease);
    fcall_add_number(&call, m->state);
    fcall_add(&call, m->json);
    fcall_add(&call, m->error);
    request_ask(r, &call);
}
