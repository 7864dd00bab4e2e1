/* training.c - training jobs: a queue with leases.  The rules are in functions.lua. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void answer_training(struct registry *g, const struct rpc_peer *peer,
                            const struct redisReply *reply)
{
    struct records      records = { 0 };
    struct msg_training body;
    enum status         st = record_training(&records, reply, &body);
    if (st)
        rpc_fail(g->rpc, peer, st, "a training job in Redis cannot be read");
    else
        rpc_answer(g->rpc, peer, MSG_TRAINING, &body, NULL);
    records_finish(&records);
}

static void answer_trainings(struct registry *g, const struct rpc_peer *peer,
                             const struct redisReply *reply)
{
    struct records       records = { 0 };
    struct msg_trainings body    = { 0 };
    enum status          st      = STATUS_OK;
    body.trainings               = mem_zalloc(reply->elements * sizeof *body.trainings);
    for (size_t i = 0; i < reply->elements && !st; i++) {
        struct msg_training *t = &body.trainings[body.trainings_count++];
        st                     = record_training(&records, reply->element[i], t);
        t->history             = bytes_of(NULL, 0);    /* only with the single job */
    }
    if (st)
        rpc_fail(g->rpc, peer, st, "a training job in Redis cannot be read");
    else
        rpc_answer(g->rpc, peer, MSG_TRAININGS, &body, NULL);
    free(body.trainings);
    records_finish(&records);
}

void on_training_submit(void *arg, const struct rpc_request *request)
{
    struct registry         *g      = arg;
    const struct msg_submit *m      = request->body;
    struct buf               packed = { 0 };
    if (!registry_check_name(g, request, m->model, "the model's name") ||
        !registry_check_name(g, request, m->dataset, "the dataset's name"))
        return;
    msg_pack(&packed, &schema_submit, m);
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_training_submit"), bytes_str("0"),
                            m->key, m->dataset, buf_bytes(&packed) };
    registry_ask(g, request, answer_training, argv, 6);
    log_info("training job queued", LOG_B("model", m->model), LOG_B("dataset", m->dataset));
    buf_finish(&packed);
}

static void call_with_name(struct registry *g, const struct rpc_request *request,
                           const char *function, const char *what)
{
    const struct msg_name *m = request->body;
    if (!registry_check_name(g, request, m->name, what))
        return;
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str(function), bytes_str("0"), m->name };
    registry_ask(g, request, answer_training, argv, 4);
}

void on_training_get(void *arg, const struct rpc_request *request)
{
    call_with_name(arg, request, "maas_training_get", "the training job's id");
}

void on_training_cancel(void *arg, const struct rpc_request *request)
{
    call_with_name(arg, request, "maas_training_cancel", "the training job's id");
}

void on_training_claim(void *arg, const struct rpc_request *request)
{
    call_with_name(arg, request, "maas_training_claim", "the trainer's id");
}

void on_training_list(void *arg, const struct rpc_request *request)
{
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_training_list"), bytes_str("0") };
    registry_ask(arg, request, answer_trainings, argv, 3);
}

void on_training_update(void *arg, const struct rpc_request *request)
{
    struct registry                  *g      = arg;
    const struct msg_training_update *m      = request->body;
    struct buf                        packed = { 0 };
    char                              lease[24], state[24];
    if (!registry_check_name(g, request, m->id, "the training job's id"))
        return;
    msg_pack(&packed, &schema_training_update, m);
    snprintf(lease, sizeof lease, "%" PRIu64, m->lease);
    snprintf(state, sizeof state, "%u", m->state);
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_training_update"),
                            bytes_str("0"),     m->id,
                            bytes_str(lease),   bytes_str(state),
                            buf_bytes(&packed), m->error };
    registry_ask(g, request, answer_training, argv, 8);
    if (m->state != TRAINING_RUNNING)
        log_info("training job ended or returned", LOG_B("job", m->id),
                 LOG_S("state", training_state_name(m->state)), LOG_B("error", m->error));
    buf_finish(&packed);
}
