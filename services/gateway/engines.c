/* engines.c - the jobs socket: engines come, grant credit, answer and go.
 *
 * An engine is known by the route of its job socket; its heartbeats come over a second
 * connection and name it by id.  It is gone when a send says so (after a connection broke,
 * every engine is probed), when its heartbeat stays away, or when it has said BYE.
 *
 * What an engine had in its hands when its connection broke may have crashed it.  One that had
 * been silent before was stopped or cut off, which is no fault of its job: a crash breaks the
 * connection at once.  Nor are jobs to blame where idle engines vanish at the same moment: that
 * was the network, or a whole host.  So a break is looked into only after GATHER_MS, when those
 * that belong to it are known too.  And a suspect (queue.h) is condemned only by the crash of an
 * engine that had said that it begins with it: until then it may have run another gateway's job.
 */
#include "services/gateway/hosts.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"

#include <sched.h>
#include <stdlib.h>
#include <uthash.h>

#define PEER_QUEUE_MAX  256
#define BEAT_TIMEOUT_MS 5000
#define SILENCE_MS      2500 /* beats come each second */
#define SWEEP_MS        500
#define GATHER_MS       20   /* from the first connection that breaks to the last */
#define IDLE_LOST_MS    1000 /* for so long after an idle engine was lost, no job is to blame */

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
    uint64_t begun; /* the suspect's job that it has begun with, last */
    bool parted;    /* BYE_ACK was sent: the sweep removes it */
    bool lost;      /* it cannot be reached, or is silent: the same */
};

struct engines {
    struct gateway *gateway;
    struct sock *sock;
    bool same_host; /* as we: all engines */
    struct loop_timer *sweep;
    struct loop_timer *probe;
    uint64_t swept_ms;
    uint64_t idle_lost_ms; /* when an engine without a job was lost, last */
    uint64_t resumed_ms;   /* when we were stopped ourselves for a while, last */
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

enum status engines_tell(struct engines *es, struct bytes to, enum msg_kind kind, const void *body)
{
    struct route_key route = { .len = to.len };
    if (to.len > sizeof route.byte)
        return STATUS_NOT_FOUND;
    memcpy(route.byte, to.data, to.len);
    return send_to(es, &route, kind, body);
}

enum end { END_PARTED, END_REPLACED, END_LOST };

/* How an engine was lost, for the log; NULL: its job is to blame. */
static const char *excuse(const struct engines *es, const struct engine *e)
{
    uint64_t now = clock_ms();
    if ((now > e->beat_ms && now - e->beat_ms > SILENCE_MS) ||
        (es->resumed_ms && now - es->resumed_ms < SILENCE_MS))
        return "silent";
    if (es->idle_lost_ms && now - es->idle_lost_ms < IDLE_LOST_MS)
        return "with others";
    bool waiting = queue_engine_suspected(e->link) && e->begun != queue_engine_job(e->link);
    return waiting ? "before its job" : NULL;
}

static void remove_engine(struct engines *es, struct engine *e, enum end end)
{
    struct gateway *g = es->gateway;
    const char *excused = excuse(es, e);
    uint64_t job = queue_engine_job(e->link);
    if (end == END_LOST) {
        metric_count(&lost_engines);
        log_warn("engine lost", LOG_S("model", lane_model(e->lane)),
                 LOG_U("version", lane_version(e->lane)), LOG_S("engine", e->id), LOG_U("job", job),
                 LOG_S("how", excused ? excused : "disconnected"));
    }
    HASH_DELETE(by_route, es->by_route, e);
    HASH_DELETE(by_id, es->by_id, e);
    queue_engine_remove(&g->queue, e->link, end == END_LOST && !excused && job);
    free(e);
    route_refresh(g);
    loop_again(g->loop);
}

/* ---- what engines say ------------------------------------------------------------------------ */

static bool tensors_valid(const struct msg_tensor *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!list[i].name.len || datatype_from_wire(list[i].datatype) == DT_NONE)
            return false;
        for (size_t k = 0; k < list[i].shape.count; k++)
            if (list[i].shape.at[k] < -1)
                return false;
    }
    return count > 0;
}

/* Rows of several requests can share a job only where every tensor has rows. */
static bool has_rows(const struct msg_tensor *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!list[i].shape.count || list[i].shape.at[0] >= 0)
            return false;
    return true;
}

static bool hello_valid(struct engines *es, const struct msg_hello *m)
{
    return !name_check(m->model, "model", NULL) && !name_check(m->engine, "engine", NULL) &&
           m->version && m->max_batch && m->credit && m->credit <= CREDIT_MAX &&
           tensors_valid(m->inputs, m->inputs_count) &&
           tensors_valid(m->outputs, m->outputs_count) &&
           HASH_CNT(by_route, es->by_route) < ENGINES_MAX;
}

/* An engine may have heard of a version before we have; its next beat brings it here again.  Where
 * no news comes from the registry, the engine is the news. */
static bool version_known(struct gateway *g, const struct msg_hello *m)
{
    struct catalog_model *model = catalog_find(replica_catalog(g->replica), m->model);
    if (g->cut_off || !replica_synced(g->replica))
        return queue_lanes(&g->queue) < LANES_MAX;
    return model && catalog_version(model, m->version);
}

static struct engine *engine_create(struct engines *es, const struct route_key *route,
                                    const struct msg_hello *m, struct lane *lane)
{
    struct engine *e = mem_zalloc(sizeof *e);
    bool rows = has_rows(m->inputs, m->inputs_count) && has_rows(m->outputs, m->outputs_count);
    e->route = *route;
    e->beat_ms = clock_ms();
    e->lane = lane;
    if (bytes_copy_str(m->engine, e->id, sizeof e->id))
        e->id[0] = 0; /* cannot be: hello_valid() has seen it */
    e->link = queue_engine_add(&es->gateway->queue, lane, e, rows ? m->max_batch : 1, m->credit);
    queue_engine_ahead(e->link, m->ahead);
    HASH_ADD(by_route, es->by_route, route, sizeof e->route, e);
    HASH_ADD_KEYPTR(by_id, es->by_id, e->id, strlen(e->id), e);
    return e;
}

static void on_hello(struct engines *es, const struct route_key *route, struct engine *old,
                     const struct msg_hello *m)
{
    struct gateway *g = es->gateway;
    struct engine *twin = NULL;
    struct msg_endpoint welcome = { .id = bytes_str(reporter_id(g->reporter)) };
    if (!hello_valid(es, m)) {
        metric_count(&bad_messages);
        return;
    }
    if (!version_known(g, m)) {
        replica_hint(g->replica);
        return;
    }
    struct lane *lane = route_lane(g, m->model, m->version);
    if (lane_set_signature(lane, m->inputs, m->inputs_count, m->outputs, m->outputs_count)) {
        metric_count(&bad_messages);
        log_warn("an engine shows another signature than its version has", LOG_B("model", m->model),
                 LOG_U("version", m->version), LOG_B("engine", m->engine));
        return;
    }
    if (old)
        remove_engine(es, old, END_REPLACED); /* it has lost what it had: it asks anew */
    HASH_FIND(by_id, es->by_id, m->engine.data, m->engine.len, twin);
    if (twin)
        remove_engine(es, twin, END_REPLACED); /* the same engine over a new connection */
    struct engine *e = engine_create(es, route, m, lane);
    if (send_to(es, route, MSG_WELCOME, &welcome)) {
        remove_engine(es, e, END_LOST);
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
    enum status st = queue_result(&es->gateway->queue, e->link, clock_us(), m, frames->at + 2,
                                  frames->count - 2, &err);
    if (st == STATUS_NOT_FOUND) {
        metric_count(&late_results);
    } else if (st) {
        metric_count(&bad_messages);
        log_warn("an engine's answer makes no sense", LOG_S("model", lane_model(e->lane)),
                 LOG_S("reason", err.text));
    }
}

/* From somebody that we do not know (any more). */
static void on_stranger(struct engines *es, const struct route_key *route, enum msg_kind kind)
{
    enum status st = send_to(es, route, kind == MSG_BYE ? MSG_BYE_ACK : MSG_WHO, NULL);
    (void)st; /* gone already: nobody needs the answer */
    if (kind != MSG_BYE)
        metric_count(kind == MSG_RESULT ? &late_results : &bad_messages);
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
    } else if (m.kind == MSG_BEAT && e) { /* on the connection of its jobs */
        e->beat_ms = clock_ms();
        e->begun = ((const struct msg_beat *)m.body)->job;
    } else if (m.kind == MSG_BEAT) {
        on_beat(es, &route, m.body);
    } else if (m.kind == MSG_HOST) {
        hosts_hello(es->gateway->hosts, raw, m.body);
    } else if (!e) {
        on_stranger(es, &route, m.kind);
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

enum status engines_send(void *arg, void *peer, const struct msg_job *job, uint32_t rows,
                         struct frames *inputs)
{
    struct gateway *g = arg;
    struct engine *e = peer;
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    struct msg_job said = *job;
    int core = g->engines->same_host ? sched_getcpu() : -1;
    said.core = (uint32_t)(core + 1);
    frame_init_copy(frames_add(&frames), bytes_of(e->route.byte, e->route.len));
    msg_encode(&envelope, MSG_JOB, 0, &said);
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
        e->lost = true; /* it is in use further up the stack */
        loop_timer_start(g->engines->sweep, 0, SWEEP_MS);
    } else {
        meter_batch(e->lane, rows);
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

/* We may have been stopped ourselves: then nobody else's silence means anything. */
static void forgive_own_pause(struct engines *es, uint64_t now)
{
    uint64_t pause = es->swept_ms ? now - es->swept_ms : 0;
    struct engine *e, *next;
    es->swept_ms = now;
    if (pause <= 2 * SWEEP_MS)
        return;
    es->resumed_ms = now;
    HASH_ITER(by_route, es->by_route, e, next)
    e->beat_ms += pause;
}

/* The idle ones first: they speak for the jobs of the others. */
static void remove_lost(struct engines *es)
{
    struct engine *e, *next;
    HASH_ITER(by_route, es->by_route, e, next)
    if (e->lost && !e->parted && !queue_engine_job(e->link))
        es->idle_lost_ms = clock_ms();
    HASH_ITER(by_route, es->by_route, e, next)
    if (e->parted || e->lost)
        remove_engine(es, e, e->parted ? END_PARTED : END_LOST);
}

static void sweep(void *arg)
{
    struct engines *es = arg;
    uint64_t now = clock_ms();
    struct engine *e, *next;
    forgive_own_pause(es, now);
    route_watch(es->gateway);
    HASH_ITER(by_route, es->by_route, e, next)
    if (now > e->beat_ms && now - e->beat_ms > BEAT_TIMEOUT_MS)
        e->lost = true;
    remove_lost(es);
}

/* Connections broke; whose is not told, but a send to it fails now. */
static void probe_all(void *arg)
{
    struct engines *es = arg;
    struct engine *e, *next;
    forgive_own_pause(es, clock_ms());
    HASH_ITER(by_route, es->by_route, e, next)
    if (send_to(es, &e->route, MSG_PROBE, NULL) == STATUS_NOT_FOUND)
        e->lost = true;
    remove_lost(es);
}

static void on_disconnect(void *arg)
{
    struct engines *es = arg;
    if (!loop_timer_active(es->probe))
        loop_timer_start(es->probe, GATHER_MS, 0);
}

struct engines *engines_create(struct gateway *g, struct error *err)
{
    static const struct sock_config config = { SOCK_ROUTER, PEER_QUEUE_MAX, MAX_TENSOR_BYTES,
                                               .direct = true };
    struct engines *es = mem_zalloc(sizeof *es);
    es->gateway = g;
    es->same_host = strncmp(g->config->jobs, "ipc:", 4) == 0;
    es->sock = sock_create(g->loop, &config, on_message, es);
    es->sweep = loop_timer_create(g->loop, sweep, es);
    es->probe = loop_timer_create(g->loop, probe_all, es);
    sock_on_disconnect(es->sock, on_disconnect, es);
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
    loop_timer_destroy(es->probe);
    msg_decoder_finish(&es->decoder);
    free(es);
}

const char *engines_endpoint(const struct engines *es)
{
    return sock_endpoint(es->sock);
}
