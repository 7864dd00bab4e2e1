/* engines.c - the jobs socket: engines come, grant credit, answer and go.
 *
 * An engine is known by the route of its job socket; its heartbeats come over a second
 * connection and name it by id.  It is gone when a send says so (after a connection broke,
 * every engine is probed), when its heartbeat stays away, or when it has said BYE.
 */
#include "services/gateway/gateway.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"

#include <stdlib.h>
#include <uthash.h>

#define PEER_QUEUE_MAX  256
#define BEAT_TIMEOUT_MS 5000
#define SWEEP_MS        500

static struct metric_family bad_messages = {
    .name = "maas_gateway_bad_job_messages_total",
    .help = "messages on the jobs port that make no sense",
    .type = METRIC_COUNTER,
};
static struct metric_family lost_engines = {
    .name = "maas_gateway_engines_lost_total",
    .help = "engines that went without a word",
    .type = METRIC_COUNTER,
};
static struct metric_family late_results = {
    .name = "maas_gateway_late_results_total",
    .help = "results whose job was not out with that engine any more",
    .type = METRIC_COUNTER,
};

struct route_key {
    unsigned char byte[MAX_ROUTE];
    size_t len;
};

struct engine {
    UT_hash_handle by_route;
    UT_hash_handle by_id;
    struct route_key route;
    char id[MAX_NAME + 1];
    struct engine_link *link;
    struct lane *lane;
    uint64_t beat_ms;
    bool parted; /* BYE_ACK was sent */
};

struct engines {
    struct gateway *gateway;
    struct sock *sock;
    struct loop_timer *sweep;
    struct engine *by_route;
    struct engine *by_id;
    struct msg_decoder decoder;
};

static enum status send_to(struct engines *es, const struct route_key *route, enum msg_kind kind,
                           const void *body)
{
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    frame_init_copy(frames_add(&frames), bytes_of(route->byte, route->len));
    msg_encode(&envelope, kind, 0, body);
    frame_init_buf(frames_add(&frames), &envelope);
    enum status st = sock_send(es->sock, &frames);
    if (st)
        frames_finish(&frames);
    return st;
}

static void remove_engine(struct engines *es, struct engine *e, bool crashed)
{
    struct gateway *g = es->gateway;
    if (crashed) {
        metric_count(&lost_engines);
        log_warn("engine lost", LOG_S("model", lane_model(e->lane)),
                 LOG_U("version", lane_version(e->lane)), LOG_S("engine", e->id));
    }
    HASH_DELETE(by_route, es->by_route, e);
    HASH_DELETE(by_id, es->by_id, e);
    queue_engine_remove(&g->queue, e->link, crashed && queue_engine_job(e->link));
    free(e);
    route_refresh(g);
    loop_again(g->loop);
}

/* ---- what engines say ------------------------------------------------------------------------ */

static void on_hello(struct engines *es, const struct route_key *route, struct engine *old,
                     const struct msg_hello *m)
{
    struct gateway *g = es->gateway;
    char id[MAX_NAME + 1];
    struct engine *twin = NULL;
    if (name_check(m->model, "model", NULL) || name_check(m->engine, "engine", NULL) ||
        !m->version || !m->max_batch || !m->credit || m->credit > CREDIT_MAX ||
        bytes_copy_str(m->engine, id, sizeof id) ||
        HASH_CNT(by_route, es->by_route) >= ENGINES_MAX) {
        metric_count(&bad_messages);
        return;
    }
    if (old)
        remove_engine(es, old, false); /* it has lost what it had: it asks anew */
    HASH_FIND(by_id, es->by_id, id, strlen(id), twin);
    if (twin)
        remove_engine(es, twin, false); /* the same engine over a new connection */
    struct engine *e = mem_zalloc(sizeof *e);
    e->route = *route;
    e->beat_ms = clock_ms();
    memcpy(e->id, id, sizeof id);
    e->lane = queue_lane(&g->queue, m->model, m->version);
    lane_set_signature(e->lane, m->inputs, m->inputs_count, m->outputs, m->outputs_count);
    e->link = queue_engine_add(&g->queue, e->lane, e, m->max_batch, m->credit);
    HASH_ADD(by_route, es->by_route, route, sizeof e->route, e);
    HASH_ADD_KEYPTR(by_id, es->by_id, e->id, strlen(e->id), e);
    struct msg_endpoint welcome = { .id = bytes_str(reporter_id(g->reporter)) };
    if (send_to(es, route, MSG_WELCOME, &welcome)) {
        remove_engine(es, e, true);
        return;
    }
    log_info("engine serves", LOG_B("model", m->model), LOG_U("version", m->version),
             LOG_S("engine", e->id));
    route_refresh(g);
}

static void on_beat(struct engines *es, const struct route_key *route, const struct msg_beat *m)
{
    struct engine *e = NULL;
    if (m->engine.len)
        HASH_FIND(by_id, es->by_id, m->engine.data, m->engine.len, e);
    if (e)
        e->beat_ms = clock_ms();
    struct msg_beat answer = { .engine = m->engine, .known = e != NULL };
    enum status st = send_to(es, route, MSG_BEAT, &answer);
    (void)st; /* who does not hear it beats again */
}

static void on_result(struct engines *es, struct engine *e, const struct msg_result *m,
                      struct frames *frames)
{
    struct error err;
    enum status st =
        queue_result(&es->gateway->queue, e->link, m, frames->at + 2, frames->count - 2, &err);
    if (st == STATUS_NOT_FOUND) {
        metric_count(&late_results);
    } else if (st) {
        metric_count(&bad_messages);
        log_warn("an engine's answer makes no sense", LOG_S("model", lane_model(e->lane)),
                 LOG_S("reason", err.text));
    }
}

static void on_message(void *arg, struct frames *frames)
{
    struct engines *es = arg;
    struct bytes raw = frame_bytes(&frames->at[0]);
    struct route_key route = { .len = raw.len };
    struct engine *e = NULL;
    struct msg m;
    if (raw.len > sizeof route.byte || frames->count < 2 ||
        msg_decode(&es->decoder, frame_bytes(&frames->at[1]), &m, NULL)) {
        metric_count(&bad_messages);
        return;
    }
    memcpy(route.byte, raw.data, raw.len);
    HASH_FIND(by_route, es->by_route, &route, sizeof route, e);
    if (m.kind == MSG_HELLO) {
        on_hello(es, &route, e, m.body);
    } else if (m.kind == MSG_BEAT) {
        on_beat(es, &route, m.body);
    } else if (!e) {
        enum status st = m.kind == MSG_BYE ? send_to(es, &route, MSG_BYE_ACK, NULL)
                                           : send_to(es, &route, MSG_WHO, NULL);
        (void)st;
        metric_count(m.kind == MSG_RESULT ? &late_results : &bad_messages);
    } else if (m.kind == MSG_RESULT) {
        e->beat_ms = clock_ms();
        on_result(es, e, m.body, frames);
    } else if (m.kind == MSG_BYE) {
        queue_engine_leave(&es->gateway->queue, e->link);
        route_refresh(es->gateway);
    } else {
        metric_count(&bad_messages);
    }
}

/* ---- what the queue asks ----------------------------------------------------------------------- */

enum status engines_send(void *arg, void *peer, const struct msg_job *job, struct frames *inputs)
{
    struct gateway *g = arg;
    struct engine *e = peer;
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    frame_init_copy(frames_add(&frames), bytes_of(e->route.byte, e->route.len));
    msg_encode(&envelope, MSG_JOB, 0, job);
    frame_init_buf(frames_add(&frames), &envelope);
    for (size_t i = 0; i < inputs->count; i++) {
        struct frame *f = frames_add(&frames);
        frame_init_empty(f);
        frame_move(f, &inputs->at[i]);
    }
    frames_finish(inputs);
    enum status st = sock_send(g->engines->sock, &frames);
    if (st) {
        frames_finish(&frames);
        e->beat_ms = 0; /* the sweep removes it */
        loop_timer_start(g->engines->sweep, 0, SWEEP_MS);
    }
    return st;
}

void engines_parted(void *arg, void *peer)
{
    struct gateway *g = arg;
    struct engine *e = peer;
    if (e->parted)
        return;
    e->parted = true;
    enum status st = send_to(g->engines, &e->route, MSG_BYE_ACK, NULL);
    (void)st;                                         /* gone already: it did not wait */
    loop_timer_start(g->engines->sweep, 0, SWEEP_MS); /* it is in use further up the stack */
}

/* ---- life and death ----------------------------------------------------------------------------- */

static void sweep(void *arg)
{
    struct engines *es = arg;
    uint64_t now = clock_ms();
    struct engine *e, *next;
    HASH_ITER(by_route, es->by_route, e, next)
    {
        if (e->parted)
            remove_engine(es, e, false);
        else if (now - e->beat_ms > BEAT_TIMEOUT_MS)
            remove_engine(es, e, true);
    }
}

/* Somebody's connection broke; who it was is not told, but a send to it fails now. */
static void probe_all(void *arg)
{
    struct engines *es = arg;
    struct engine *e, *next;
    HASH_ITER(by_route, es->by_route, e, next)
    if (send_to(es, &e->route, MSG_PROBE, NULL) == STATUS_NOT_FOUND)
        remove_engine(es, e, !e->parted);
}

struct engines *engines_create(struct gateway *g, struct error *err)
{
    static const struct sock_config config = { SOCK_ROUTER, PEER_QUEUE_MAX, MAX_TENSOR_BYTES };
    struct engines *es = mem_zalloc(sizeof *es);
    es->gateway = g;
    es->sock = sock_create(g->loop, &config, on_message, es);
    es->sweep = loop_timer_create(g->loop, sweep, es);
    sock_on_disconnect(es->sock, probe_all, es);
    loop_timer_start(es->sweep, SWEEP_MS, SWEEP_MS);
    if (!sock_bind(es->sock, g->config->jobs, err))
        return es;
    engines_destroy(es);
    return NULL;
}

void engines_destroy(struct engines *es)
{
    struct engine *e, *next;
    if (!es)
        return;
    HASH_ITER(by_route, es->by_route, e, next)
    {
        HASH_DELETE(by_route, es->by_route, e);
        HASH_DELETE(by_id, es->by_id, e);
        free(e);
    }
    sock_destroy(es->sock);
    loop_timer_destroy(es->sweep);
    msg_decoder_finish(&es->decoder);
    free(es);
}

const char *engines_endpoint(const struct engines *es)
{
    return sock_endpoint(es->sock);
}
