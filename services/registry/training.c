/* training.c - training jobs: a queue with leases.  The rules are in jobs.lua. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <stdlib.h>

/* {name, value ...}.  false: it cannot be read, and that has been answered. */
static bool read_training(struct request *r, struct records *records,
                          const struct redisReply *reply, struct msg_training *out)
{
    if (reply->type == REDIS_REPLY_ARRAY && !record_training(records, reply, out)) {
        out->catalog_history = redis_history(r->registry->redis);
        return true;
    }
    request_fail_corrupt(r, "training job");
    return false;
}

static void answer_training(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_training body;
    if (read_training(r, &records, reply, &body))
        request_answer(r, MSG_TRAINING, &body, NULL);
    records_finish(&records);
}

/* The same, and one line in the log: the job has got a state. */
static void answer_decision(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_training t;
    if (read_training(r, &records, reply, &t)) {
        log_info("training job", LOG_B("job", t.id), LOG_S("state", training_state_name(t.state)),
                 LOG_B("model", t.model), LOG_U("attempt", t.attempts), LOG_B("trainer", t.trainer),
                 LOG_B("error", t.error));
        request_answer(r, MSG_TRAINING, &t, NULL);
    }
    records_finish(&records);
}

static void answer_trainings(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_trainings body = { 0 };
    enum status st = STATUS_OK;
    body.trainings = mem_zalloc(reply->elements * sizeof *body.trainings);
    for (size_t i = 0; i < reply->elements && !st; i++) {
        struct msg_training *t = &body.trainings[body.trainings_count++];
        st = record_training(&records, reply->element[i], t);
        t->catalog_history = redis_history(r->registry->redis);
    }
    if (st)
        request_fail_corrupt(r, "training job");
    else
        request_answer(r, MSG_TRAININGS, &body, NULL);
    free(body.trainings);
    records_finish(&records);
}

static enum status check_submit(const struct msg_submit *m, struct error *err)
{
    enum status st = name_check(m->model, "the model's name", err);
    if (!st)
        st = name_check(m->dataset, "the dataset's name", err);
    return st ? st : check_json_object(m->params, "params", err);
}

void on_training_submit(void *arg, const struct rpc_request *from)
{
    const struct msg_submit *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_decision);
    struct error err;
    struct buf packed = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_submit(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    msg_pack(&packed, &schema_submit, m);
    fcall_begin(&call, "maas_training_submit");
    fcall_add(&call, m->key);
    fcall_add(&call, m->dataset);
    fcall_add(&call, buf_bytes(&packed));
    request_ask(r, &call);
    buf_finish(&packed);
}

void on_training_get(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_training_get", "the training job's id", answer_training);
}

void on_training_cancel(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_training_cancel", "the training job's id", answer_decision);
}

void on_training_claim(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_training_claim", "the trainer's id", answer_decision);
}

void on_training_list(void *arg, const struct rpc_request *from)
{
    struct request *r = request_open(arg, from, bytes_str(""), answer_trainings);
    struct fcall call;
    if (!r)
        return;
    fcall_begin(&call, "maas_training_list");
    request_ask(r, &call);
}

static enum status check_update(const struct msg_training_update *m, struct error *err)
{
    enum status st = name_check(m->id, "the training job's id", err);
    return st ? st : check_json_array(m->history, "history", err);
}

/* The history is kept apart: lists of jobs are shown without it. */
static void pack_update(const struct msg_training_update *m, struct buf *packed)
{
    struct msg_training_update short_update = *m;
    short_update.history = bytes_of(NULL, 0);
    msg_pack(packed, &schema_training_update, &short_update);
}

void on_training_update(void *arg, const struct rpc_request *from)
{
    const struct msg_training_update *m = from->body;
    bool progress = m->state == TRAINING_RUNNING;
    struct request *r =
        request_open(arg, from, m->id, progress ? answer_training : answer_decision);
    struct error err;
    struct buf packed = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_update(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    pack_update(m, &packed);
    fcall_begin(&call, "maas_training_update");
    fcall_add(&call, m->id);
    fcall_add_number(&call, m->lease);
    fcall_add_number(&call, m->state);
    fcall_add(&call, buf_bytes(&packed));
    fcall_add(&call, m->history);
    fcall_add(&call, m->error);
    request_ask(r, &call);
    buf_finish(&packed);
}

static enum status check_checkpoint(const struct msg_checkpoint *m, struct error *err)
{
    if (m->at_count != 1)
        return error_set(err, STATUS_INVALID, "a checkpoint needs the job that it is of");
    enum status st = check_update(&m->at[0], err);
    return st ? st : check_artifact(m->digest, m->size_bytes, m->chunks, err);
}

void on_training_checkpoint(void *arg, const struct rpc_request *from)
{
    const struct msg_checkpoint *m = from->body;
    struct bytes id = m->at_count ? m->at[0].id : bytes_str("");
    struct request *r = request_open(arg, from, id, answer_training);
    struct error err;
    struct buf packed = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_checkpoint(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    pack_update(&m->at[0], &packed);
    fcall_begin(&call, "maas_training_checkpoint");
    fcall_add(&call, id);
    fcall_add_number(&call, m->at[0].lease);
    fcall_add(&call, m->digest);
    fcall_add_number(&call, m->size_bytes);
    fcall_add(&call, m->chunks);
    fcall_add(&call, buf_bytes(&packed));
    fcall_add(&call, m->at[0].history);
    request_ask(r, &call);
    buf_finish(&packed);
}
