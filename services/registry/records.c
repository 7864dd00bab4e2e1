/* records.c - Redis replies to schema structs. */
#include "services/registry/records.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

void records_finish(struct records *r)
{
    for (size_t i = 0; i < r->count; i++)
        msg_decoder_finish(&r->decoders[i]);
    free(r->decoders);
    *r = (struct records){ 0 };
}

struct bytes record_text(const struct redisReply *reply)
{
    bool string = reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
    return string ? bytes_of(reply->str, reply->len) : bytes_of(NULL, 0);
}

uint64_t record_number(const struct redisReply *reply)
{
    if (reply && reply->type == REDIS_REPLY_INTEGER)
        return reply->integer < 0 ? 0 : (uint64_t)reply->integer;
    return reply && reply->type == REDIS_REPLY_STRING ? strtoull(reply->str, NULL, 10) : 0;
}

const struct redisReply *record_field(const struct redisReply *pairs, const char *name)
{
    for (size_t i = 0; i + 1 < pairs->elements; i += 2)
        if (bytes_equal_str(record_text(pairs->element[i]), name))
            return pairs->element[i + 1];
    return NULL;
}

enum status record_unpack(struct records *r, const struct schema_struct *s, struct bytes packed,
                          const void **body)
{
    r->decoders           = mem_resize(r->decoders, (r->count + 1) * sizeof *r->decoders);
    r->decoders[r->count] = (struct msg_decoder){ 0 };
    return msg_unpack(&r->decoders[r->count++], s, packed, body, NULL) ? STATUS_CORRUPT : STATUS_OK;
}

enum status record_version(struct records *r, struct bytes model, uint64_t number,
                           struct bytes record, uint64_t check, struct bytes checked,
                           struct msg_version *out)
{
    const void *body;
    enum status st = record_unpack(r, &schema_version, record, &body);
    if (st)
        return st;
    *out        = *(const struct msg_version *)body;
    out->model  = model;
    out->number = (uint32_t)number;
    out->check  = (uint32_t)check;
    if (!checked.len)
        return STATUS_OK;
    st = record_unpack(r, &schema_version_checked, checked, &body);
    if (st)
        return st;
    const struct msg_version_checked *c = body;
    out->reason                         = c->reason;
    out->inputs                         = c->inputs;
    out->inputs_count                   = c->inputs_count;
    out->outputs                        = c->outputs;
    out->outputs_count                  = c->outputs_count;
    out->batchable                      = c->batchable;
    return STATUS_OK;
}

static void take_submit(const struct msg_submit *s, struct msg_training *out)
{
    out->model   = s->model;
    out->dataset = s->dataset;
    out->target  = s->target;
    out->learner = s->learner;
    out->params  = s->params;
    out->seed    = s->seed;
    out->deploy  = s->deploy;
}

static void take_update(const struct msg_training_update *u, struct msg_training *out)
{
    out->epoch               = u->epoch;
    out->epochs              = u->epochs;
    out->progress            = u->progress;
    out->train_loss          = u->train_loss;
    out->validation_loss     = u->validation_loss;
    out->validation_accuracy = u->validation_accuracy;
    out->history             = u->history;
}

enum status record_training(struct records *r, const struct redisReply *pairs,
                            struct msg_training *out)
{
    const void  *body;
    struct bytes update = record_text(record_field(pairs, "update"));
    enum status  st     = record_unpack(r, &schema_submit, record_text(record_field(pairs, "submit")),
                                        &body);
    if (st)
        return st;
    *out = (struct msg_training){ 0 };
    take_submit(body, out);
    if (update.len) {
        st = record_unpack(r, &schema_training_update, update, &body);
        if (st)
            return st;
        take_update(body, out);
    }
    out->id          = record_text(record_field(pairs, "id"));
    out->state       = (uint32_t)record_number(record_field(pairs, "state"));
    out->metrics     = record_text(record_field(pairs, "metrics"));
    out->version     = (uint32_t)record_number(record_field(pairs, "version"));
    out->error       = record_text(record_field(pairs, "error"));
    out->attempts    = (uint32_t)record_number(record_field(pairs, "attempts"));
    out->trainer     = record_text(record_field(pairs, "trainer"));
    out->created_ms  = record_number(record_field(pairs, "created_ms"));
    out->started_ms  = record_number(record_field(pairs, "started_ms"));
    out->finished_ms = record_number(record_field(pairs, "finished_ms"));
    out->lease       = record_number(record_field(pairs, "lease"));
    out->cancel      = record_number(record_field(pairs, "cancel")) != 0;
    if (out->state == TRAINING_DONE)
        out->progress = 1;
    return STATUS_OK;
}

enum status record_dataset(struct records *r, const struct redisReply *entry,
                           struct msg_dataset *out)
{
    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2)
        return STATUS_CORRUPT;
    const struct redisReply *files = entry->element[1];
    *out                           = (struct msg_dataset){ .name = record_text(entry->element[0]) };
    out->files                     = mem_zalloc((files->elements / 2) * sizeof *out->files);
    for (size_t i = 0; i + 1 < files->elements; i += 2) {
        const void *body;
        enum status st =
            record_unpack(r, &schema_file, record_text(files->element[i + 1]), &body);
        if (st)
            return st;
        out->files[out->files_count++] = *(const struct msg_file *)body;
    }
    return STATUS_OK;
}

enum status record_deployment(struct bytes model, const struct redisReply *values,
                              struct msg_deployment *out)
{
    if (values->type != REDIS_REPLY_ARRAY || values->elements != 5)
        return STATUS_CORRUPT;
    *out = (struct msg_deployment){
        .model      = model,
        .version    = (uint32_t)record_number(values->element[0]),
        .previous   = (uint32_t)record_number(values->element[1]),
        .revision   = record_number(values->element[2]),
        .changed_ms = record_number(values->element[3]),
        .max_batch  = (uint32_t)record_number(values->element[4]),
    };
    return STATUS_OK;
}
