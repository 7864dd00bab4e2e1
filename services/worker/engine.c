/* engine.c - loads one model version and answers jobs.
 *
 * The job thread (main) has a loop with one DEALER per gateway and runs the model right in
 * the handler of a job.  That is deliberate: this loop exists to run inference, and handing
 * a job to another thread and back would cost two wake-ups for each.  What must not wait for
 * a long inference, the heartbeat, has a thread of its own (pulse.c).
 *
 *     load -> warm up -> HELLO to each gateway with credit 1 -> READY to the host
 *     JOB -> check -> run -> RESULT with credit 1
 *     SIGTERM, or the host is gone -> BYE to each -> BYE_ACK from each -> exit
 *
 * A job that is not a first attempt may have crashed the engine that had it before.  Other gateways
 * have jobs here too, and could not tell whose it was.  So the engine says that it begins with it
 * (BEAT, on the connection of the job), takes nothing else in hand, and begins when that is out.
 *
 * READY waits a moment for the gateways' WELCOME, for it ends the engine of the version before:
 * so no gateway is without an engine in between.
 * Until the model is loaded there is nothing to lose: SIGTERM simply ends the process.
 */
#include "services/worker/engine.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/pipe.h"
#include "common/net/report.h"
#include "services/worker/confine.h"
#include "services/worker/near.h"
#include "services/worker/pulse.h"
#include "services/worker/use.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CREDIT         1     /* jobs that run at once */
#define AHEAD          1     /* jobs that may wait in the pipe; see gateway/queue.h */
#define RESULTS_MAX    64    /* answers that wait for one gateway */
#define LEAVE_MS       10000 /* for the gateways' BYE_ACK, after the last job */
#define COUNT_DELAY_MS 1000  /* bad messages are told to the host at most this often */
#define GREET_FIRST_MS 2     /* for a connection to be there; doubles from try to try up to */
#define GREET_MS       50    /* between tries to reach a gateway */
#define GREETED_MS     500   /* a gateway must have seen HELLO by then */
#define BEGIN_MS       20    /* for the word that a suspect is begun with to get out */
#define WELCOME_MS     500   /* READY waits so long for gateways that do not answer */

struct channel {
    struct engine *engine;
    char gateway[MAX_NAME + 1];
    char endpoint[MAX_ENDPOINT + 1];
    struct sock *sock;
    bool greeted;     /* HELLO has been handed to the connection that there is */
    uint64_t hold_ms; /* no HELLO before: ZeroMQ may still offer a connection that broke */
    bool welcomed;    /* WELCOME has come, once */
    bool parted;      /* BYE_ACK has come, or nobody was there */
};

struct engine {
    const struct engine_config *config;
    struct loop *loop;
    struct pipe *host;
    struct pulse *pulse;
    struct watch watch;
    struct loop_timer *greet; /* tries HELLO again; active while a channel has no peer */
    uint64_t greet_ms;
    struct loop_timer *counters;
    struct loop_timer *announce; /* READY to the host; not active any more once it was told */
    struct loop_timer *leave;
    struct use *use;
    struct near near;
    struct model model;
    struct channel *channels[MAX_GATEWAYS];
    size_t channels_count;
    struct channel *suspect_from; /* NULL: no suspect is held, and no channel paused */
    struct frames suspect;
    struct loop_timer *begin;
    char id[MAX_NAME + 1];
    bool leaving;
    uint64_t bad_messages;
    struct msg_decoder decoder;
};

static void count_bad(struct engine *e)
{
    if (e->bad_messages++ == 0 || !loop_timer_active(e->counters))
        loop_timer_start(e->counters, COUNT_DELAY_MS, 0);
}

/* ---- messages to the host -------------------------------------------------------------------- */

static void tell_host(struct engine *e, enum engine_state state, const char *reason)
{
    struct msg_engine_status body = { .state = state,
                                      .reason = bytes_str(reason),
                                      .inputs = e->model.signature.inputs,
                                      .inputs_count = e->model.signature.inputs_count,
                                      .outputs = e->model.signature.outputs,
                                      .outputs_count = e->model.signature.outputs_count,
                                      .batchable = e->model.signature.batchable,
                                      .bad_messages = e->bad_messages };
    if (pipe_send(e->host, MSG_ENGINE_STATUS, &body))
        log_debug("the host does not listen");
}

static void announce(void *arg)
{
    struct engine *e = arg;
    loop_timer_stop(e->announce);
    tell_host(e, ENGINE_READY, "");
}

static void on_welcome(struct channel *c)
{
    struct engine *e = c->engine;
    c->welcomed = true;
    for (size_t i = 0; i < e->channels_count; i++)
        if (!e->channels[i]->welcomed)
            return;
    if (loop_timer_active(e->announce))
        announce(e);
}

/* ---- messages to gateways ------------------------------------------------------------------ */

static enum status send_message(struct channel *c, enum msg_kind kind, const void *body)
{
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    msg_encode(&envelope, kind, 0, body);
    frame_init_buf(frames_add(&frames), &envelope);
    enum status st = sock_send(c->sock, &frames);
    if (st)
        frames_finish(&frames);
    return st;
}

static void greet(struct channel *c)
{
    struct engine *e = c->engine;
    struct msg_hello body = {
        .engine = bytes_str(e->id),
        .worker = bytes_str(e->config->worker),
        .model = bytes_str(e->config->model),
        .version = e->config->version,
        .inputs = e->model.signature.inputs,
        .inputs_count = e->model.signature.inputs_count,
        .outputs = e->model.signature.outputs,
        .outputs_count = e->model.signature.outputs_count,
        .max_batch = e->model.signature.batchable ? e->config->source.max_batch : 1,
        .credit = CREDIT,
        .ahead = AHEAD,
        .pid = (uint32_t)getpid(),
    };
    if (!e->leaving)
        c->greeted = send_message(c, MSG_HELLO, &body) == STATUS_OK;
    if (c->greeted)
        c->hold_ms = clock_ms() + GREETED_MS;
}

static void greet_all(void *arg)
{
    struct engine *e = arg;
    bool missing = false;
    for (size_t i = 0; i < e->channels_count; i++) {
        struct channel *c = e->channels[i];
        if (!c->greeted && clock_ms() >= c->hold_ms)
            greet(c);
        missing |= !c->greeted;
    }
    if (missing && !e->leaving)
        loop_timer_start(e->greet, e->greet_ms, 0);
    e->greet_ms = 2 * e->greet_ms < GREET_MS ? 2 * e->greet_ms : GREET_MS;
}

static void greet_soon(struct channel *c)
{
    c->greeted = false;
    c->engine->greet_ms = GREET_FIRST_MS;
    greet_all(c->engine);
}

static void on_unknown(void *arg, const char *gateway)
{
    struct engine *e = arg;
    for (size_t i = 0; i < e->channels_count; i++)
        if (strcmp(e->channels[i]->gateway, gateway) == 0 &&
            clock_ms() >= e->channels[i]->hold_ms) /* else a beat has overtaken HELLO */
            greet_soon(e->channels[i]);
}

/* ---- a job --------------------------------------------------------------------------------- */

/* Moves the outputs' frames behind the envelope and sends it. */
static void answer(struct channel *c, struct msg_result *result, struct tensor_out *out)
{
    const struct signature *s = &c->engine->model.signature;
    struct msg_tensor described[MAX_TENSORS];
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    struct frame *first = frames_add(&frames);
    for (size_t i = 0; i < result->outputs_count; i++) {
        described[i] =
            (struct msg_tensor){ s->outputs[i].name, out[i].type, { out[i].shape, out[i].rank } };
        struct frame *f = frames_add(&frames);
        frame_init_empty(f);
        frame_move(f, &out[i].data);
        frame_finish(&out[i].data);
    }
    result->outputs = described;
    msg_encode(&envelope, MSG_RESULT, 0, result);
    result->outputs = NULL; /* `described` ends with this function */
    frame_init_buf(first, &envelope);
    if (sock_send(c->sock, &frames))
        frames_finish(&frames); /* the gateway is gone, and so is who asked */
}

static void on_job(struct channel *c, const struct msg_job *job, struct frames *frames)
{
    struct engine *e = c->engine;
    struct tensor_in in[MAX_TENSORS];
    struct tensor_out out[MAX_TENSORS];
    struct error err = { .status = STATUS_OK };
    struct msg_result result = { .job = job->job, .attempt = job->attempt, .credit = CREDIT };
    use_note(e->use);
    uint64_t begin = clock_us();
    watch_begin(&e->watch, job->job, begin / 1000, job->timeout_ms);
    enum status st = model_check(&e->model, job, frames, in, &err);
    if (!st)
        st = model_run(&e->model, in, job->inputs_count, out, &result.outputs_count, &err);
    if (watch_end(&e->watch) && st)
        st = error_set(&err, STATUS_TIMEOUT, "the run was interrupted: its deadline had passed");
    result.status = st;
    result.text = bytes_str(st ? err.text : "");
    result.compute_us = clock_us() - begin;
    answer(c, &result, out);
    near_note(&e->near, job->core, begin + result.compute_us, result.compute_us);
    if (e->leaving)
        loop_timer_start(e->leave, LEAVE_MS, 0);
}

static void hold_suspect(struct channel *c, const struct msg_job *job, struct frames *frames)
{
    struct engine *e = c->engine;
    struct msg_beat body = { .engine = bytes_str(e->id), .job = job->job };
    if (send_message(c, MSG_BEAT, &body))
        return; /* the gateway is gone, and so is who asked */
    for (size_t i = 0; i < frames->count; i++) {
        struct frame *f = frames_add(&e->suspect);
        frame_init_empty(f);
        frame_move(f, &frames->at[i]);
    }
    e->suspect_from = c;
    for (size_t i = 0; i < e->channels_count; i++)
        sock_pause(e->channels[i]->sock, true);
    loop_timer_start(e->begin, BEGIN_MS, 0);
}

/* The channels go on. */
static void release_suspect(struct engine *e)
{
    frames_finish(&e->suspect);
    loop_timer_stop(e->begin);
    e->suspect_from = NULL;
    for (size_t i = 0; i < e->channels_count; i++)
        sock_pause(e->channels[i]->sock, false);
}

static void run_suspect(void *arg)
{
    struct engine *e = arg;
    struct msg m;
    if (!msg_decode(&e->decoder, frame_bytes(&e->suspect.at[0]), &m, NULL))
        on_job(e->suspect_from, m.body, &e->suspect);
    release_suspect(e);
}

static void finish_leaving(struct engine *e)
{
    for (size_t i = 0; i < e->channels_count; i++)
        if (!e->channels[i]->parted)
            return;
    loop_stop(e->loop);
}

/* The gateway has forgotten this engine, or has died and will not answer BYE. */
static void on_lost(void *arg)
{
    struct channel *c = arg;
    c->hold_ms = clock_ms() + GREET_MS;
    greet_soon(c);
    c->parted = c->engine->leaving;
    if (c->parted)
        finish_leaving(c->engine);
}

static void on_message(void *arg, struct frames *frames)
{
    struct channel *c = arg;
    struct engine *e = c->engine;
    struct msg m;
    struct error err;
    if (msg_decode(&e->decoder, frame_bytes(&frames->at[0]), &m, &err)) {
        count_bad(e);
        return;
    }
    switch (m.kind) {
    case MSG_JOB:
        if (((const struct msg_job *)m.body)->attempt > 1)
            hold_suspect(c, m.body, frames);
        else
            on_job(c, m.body, frames);
        return;
    case MSG_WHO:
        greet_soon(c);
        return;
    case MSG_BYE_ACK:
        c->parted = true;
        if (e->leaving)
            finish_leaving(e);
        return;
    case MSG_WELCOME:
        on_welcome(c);
        return;
    default:
        if (m.kind != MSG_PROBE && m.kind != MSG_BEAT)
            count_bad(e);
    }
}

/* ---- gateways come and go -------------------------------------------------------------------- */

static void channel_destroy(struct channel *c)
{
    if (c->engine->suspect_from == c)
        release_suspect(c->engine);
    sock_destroy(c->sock);
    free(c);
}

static void add_channel(struct engine *e, const struct msg_endpoint *g)
{
    static const struct sock_config config = { SOCK_DEALER, RESULTS_MAX, MAX_TENSOR_BYTES,
                                               .direct = true };
    struct channel *c = mem_zalloc(sizeof *c);
    c->engine = e;
    if (bytes_copy_str(g->id, c->gateway, sizeof c->gateway) ||
        bytes_copy_str(g->jobs, c->endpoint, sizeof c->endpoint)) {
        free(c);
        return;
    }
    c->sock = sock_create(e->loop, &config, on_message, c);
    if (sock_connect(c->sock, c->endpoint, NULL)) {
        channel_destroy(c);
        return;
    }
    sock_on_disconnect(c->sock, on_lost, c);
    e->channels[e->channels_count++] = c;
    sock_pause(c->sock, e->suspect_from != NULL);
    greet_soon(c);
}

static bool listed(const struct msg_gateways *m, const char *id)
{
    for (size_t i = 0; i < m->gateways_count; i++)
        if (bytes_equal_str(m->gateways[i].id, id))
            return true;
    return false;
}

static void on_gateways(struct engine *e, const struct msg_gateways *m)
{
    if (e->leaving)
        return;
    for (size_t i = 0; i < e->channels_count;) {
        if (listed(m, e->channels[i]->gateway)) {
            i++;
        } else {
            channel_destroy(e->channels[i]);
            e->channels[i] = e->channels[--e->channels_count];
        }
    }
    for (size_t n = 0; n < m->gateways_count; n++) {
        bool known = false;
        for (size_t i = 0; i < e->channels_count; i++)
            known |= bytes_equal_str(m->gateways[n].id, e->channels[i]->gateway);
        if (!known && e->channels_count < MAX_GATEWAYS)
            add_channel(e, &m->gateways[n]);
    }
    pulse_gateways(e->pulse, m);
}

/* ---- the host ---------------------------------------------------------------------------------- */

static void report_counters(void *arg)
{
    struct engine *e = arg;
    tell_host(e, e->leaving ? ENGINE_LEAVING : ENGINE_READY, "");
}

static void leave_now(void *arg)
{
    struct engine *e = arg;
    loop_stop(e->loop);
}

static void leave(void *arg)
{
    struct engine *e = arg;
    if (e->leaving)
        return;
    e->leaving = true;
    loop_timer_start(e->leave, LEAVE_MS, 0);
    for (size_t i = 0; i < e->channels_count; i++)
        if (send_message(e->channels[i], MSG_BYE, NULL))
            e->channels[i]->parted = true;
    finish_leaving(e);
}

static void on_host(void *arg, const struct msg *m)
{
    struct engine *e = arg;
    if (!m)
        leave(e); /* the host is gone: nobody would end this process later */
    else if (m->kind == MSG_GATEWAYS)
        on_gateways(e, m->body);
    else
        count_bad(e);
}

/* ---- life ------------------------------------------------------------------------------------- */

/* What the host shall do about it: fetch the file again, try again later, or blame the model. */
static enum engine_state state_of(enum status st)
{
    if (!st || st == STATUS_CORRUPT)
        return st ? ENGINE_FETCHING : ENGINE_READY;
    return status_retryable(st) ? ENGINE_LOADING : ENGINE_FAILED;
}

static void engine_finish(struct engine *e)
{
    pulse_destroy(e->pulse);
    while (e->channels_count)
        channel_destroy(e->channels[--e->channels_count]);
    loop_timer_destroy(e->greet);
    loop_timer_destroy(e->counters);
    loop_timer_destroy(e->announce);
    loop_timer_destroy(e->leave);
    loop_timer_destroy(e->begin);
    use_destroy(e->use);
    pipe_destroy(e->host);
    msg_decoder_finish(&e->decoder);
}

static void serve(struct engine *e)
{
    loop_on_stop_signal(e->loop, leave, e); /* before the host learns that it is ready */
    e->pulse = pulse_create(e->loop, e->id, &e->watch, on_unknown, e);
    loop_timer_start(e->announce, WELCOME_MS, 0);
    loop_run(e->loop);
}

int engine_main(const struct engine_config *config)
{
    struct identity me;
    struct error err;
    if (!confine_watch_host(ENGINE_PIPE_FD))
        return 1;
    confine();
    struct engine *e = mem_zalloc(sizeof *e);
    e->config = config;
    watch_init(&e->watch, &e->model);
    near_init(&e->near);
    identity_init(&me, ROLE_WORKER);
    snprintf(e->id, sizeof e->id, "e-%.*s", MAX_NAME - 2, me.id);
    e->loop = loop_create();
    e->host = pipe_create(e->loop, ENGINE_PIPE_FD, on_host, e);
    e->greet = loop_timer_create(e->loop, greet_all, e);
    e->counters = loop_timer_create(e->loop, report_counters, e);
    e->announce = loop_timer_create(e->loop, announce, e);
    e->leave = loop_timer_create(e->loop, leave_now, e);
    e->begin = loop_timer_create(e->loop, run_suspect, e);
    e->use = use_create(e->loop, e->host);
    enum status st = model_load(&e->model, &config->source, &err);
    if (st || config->check) {
        loop_on_stop_signal(e->loop, leave_now, e);
        tell_host(e, state_of(st), st ? err.text : "");
        if (st) /* one turn, in which that is written; what has loaded stays until it was measured */
            loop_timer_start(e->leave, 0, 0);
        loop_run(e->loop);
    } else {
        serve(e);
    }
    engine_finish(e); /* and with it the thread that watches */
    loop_destroy(e->loop);
    watch_finish(&e->watch);
    model_unload(&e->model); /* last: answers that ZeroMQ was still sending borrow from it */
    free(e);
    return 0;
}
