/* guarded.c - see guarded.h. */
#include "services/gateway/guarded.h"

#include "common/base/clock.h"

#include <stdlib.h>
#include <utlist.h>

#define REPORT_MS      500
#define REPORT_SOON_MS 50    /* after a request that has failed, or was slow */
#define ROUNDING_US    10000 /* of deadlines */
#define OVERDUE_MAX    1000  /* more need not be counted: any limit is passed */

/* What lanes have answered. */
struct tally {
    uint64_t answered, rejected;
};

struct watched {
    struct watched *next, *prev;
    char model[MAX_NAME + 1];
    uint32_t version;
    uint64_t revision; /* of the deployment that is the step */
    struct lane *lane;
    uint64_t crashes;    /* of the lane, before the step */
    struct tally others; /* of the model's other versions, before the step */
    struct guard_counts counts;
    struct rpc_call *call; /* a report that was not answered yet, or NULL */
    bool kept;             /* the catalog still has it */
};

struct guarded {
    struct gateway *gateway;
    struct watched *list;
    struct loop_timer *timer;
    bool soon;       /* the timer will fire after REPORT_SOON_MS, for those that want it */
    uint64_t all_ms; /* when all were reported */
};

/* ---- counting --------------------------------------------------------------------------------- */

/* It says something about the version or its engine, not about the request. */
static bool is_failure(enum status st)
{
    switch (st) {
    case STATUS_POISON:
    case STATUS_INTERNAL:
    case STATUS_UNAVAILABLE:
    case STATUS_TIMEOUT:
    case STATUS_CORRUPT:
    case STATUS_IO:
    case STATUS_FULL:
        return true;
    default:
        return false;
    }
}

bool guard_rejection(enum status st)
{
    switch (st) {
    case STATUS_INVALID:
    case STATUS_NOT_FOUND:
    case STATUS_CONFLICT:
    case STATUS_TOO_LARGE:
    case STATUS_UNSUPPORTED:
        return true;
    default:
        return false;
    }
}

static void report_soon(struct guarded *w)
{
    if (w->soon)
        return;
    w->soon = true;
    loop_timer_start(w->timer, REPORT_SOON_MS, REPORT_MS);
}

static void count_time(struct guard_counts *c, uint64_t us)
{
    c->requests++;
    c->latency[latency_slot(us)]++;
    if (!c->slow_us || us <= c->slow_us)
        return;
    c->slow++;
    c->soon = true;
    report_soon(c->owner);
}

static void count_failure(struct guard_counts *c)
{
    c->requests++;
    c->errors++;
    c->soon = true;
    report_soon(c->owner);
}

void guard_count(struct guard_counts *c, enum status st, uint64_t us)
{
    uint64_t patience_us = (uint64_t)c->owner->gateway->config->timeout_ms * 1000;
    bool impatient = us + ROUNDING_US < patience_us; /* its own deadline was shorter */
    if (st == STATUS_TIMEOUT && impatient) {
        guard_count_gone(c, us); /* a deadline of the client's own says as much as hanging up */
    } else if (!st) {
        count_time(c, us);
    } else if (is_failure(st)) {
        count_failure(c);
    } else if (guard_rejection(st)) {
        c->rejected++;
        c->soon = true;
        report_soon(c->owner);
    }
}

void guard_count_refused(struct guard_counts *c)
{
    count_failure(c);
}

void guard_count_gone(struct guard_counts *c, uint64_t us)
{
    if (c->slow_us && us > c->slow_us)
        count_time(c, us);
}

/* ---- reports ---------------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct rpc_reply *reply)
{
    struct watched *v = arg;
    (void)reply; /* what a report has led to comes with the catalog; the next one is near */
    v->call = NULL;
}

static void add_lane(struct gateway *g, struct bytes model, uint32_t version, struct tally *sum)
{
    struct lane *l = queue_find_lane(&g->queue, model, version);
    const struct lane_counts *n = l ? lane_counts(l) : NULL;
    if (!n)
        return;
    sum->answered += n->succeeded + n->failed;
    sum->rejected += *lane_rejected(l);
}

/* Of all versions of the deployment but the one that is brought in. */
static struct tally count_others(struct gateway *g, const struct msg_deployment *d)
{
    struct tally sum = { 0 };
    for (size_t i = 0; i < d->traffic_count; i++)
        if (d->traffic[i].version != d->rollout)
            add_lane(g, d->model, d->traffic[i].version, &sum);
    for (size_t i = 0; i < d->previous_traffic_count; i++) {
        uint32_t version = d->previous_traffic[i].version;
        if (version != d->rollout && !deployment_share(d, version))
            add_lane(g, d->model, version, &sum);
    }
    return sum;
}

/* The same since the step began. */
static struct tally others_since(struct gateway *g, const struct watched *v)
{
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), bytes_str(v->model));
    struct tally now = m ? count_others(g, &m->deployment) : v->others;
    return (struct tally){ now.answered - v->others.answered, now.rejected - v->others.rejected };
}

/* An engine that crashes gives its requests to others, and no client sees it: that counts, too. */
static void report(struct gateway *g, struct watched *v)
{
    int64_t latency[LATENCY_SLOTS];
    const struct guard_counts *c = &v->counts;
    uint64_t now = clock_us(), crashes = lane_counts(v->lane)->crashes - v->crashes;
    struct tally others = others_since(g, v);
    struct msg_rollout_report body = {
        .model = bytes_str(v->model),
        .revision = v->revision,
        .gateway = bytes_str(reporter_id(g->reporter)),
        .engines = (uint32_t)lane_engines(v->lane),
        .requests = c->requests + crashes,
        .errors = c->errors + crashes,
        .slow = c->slow,
        .latency = { latency, LATENCY_SLOTS },
        .rejected = c->rejected,
        .others = others.answered,
        .others_rejected = others.rejected,
    };
    for (size_t i = 0; i < LATENCY_SLOTS; i++)
        latency[i] = (int64_t)c->latency[i];
    if (c->slow_us && now > c->slow_us)
        body.overdue = lane_older(v->lane, now - c->slow_us, OVERDUE_MAX);
    if (!body.engines)
        body.trouble = suite_engines(g->suite, body.model, v->version).reason;
    v->call =
        rpc_call(g->registry, MSG_ROLLOUT_REPORT, &body, NULL, REPORT_TIMEOUT_MS, on_answer, v);
}

static void on_timer(void *arg)
{
    struct guarded *w = arg;
    struct watched *v;
    uint64_t now = clock_ms();
    bool all = !w->soon || now - w->all_ms >= REPORT_MS;
    w->soon = false;
    if (all)
        w->all_ms = now;
    DL_FOREACH(w->list, v)
    {
        if (v->call || !(all || v->counts.soon))
            continue;
        v->counts.soon = false;
        report(w->gateway, v);
    }
}

/* ---- what is watched -------------------------------------------------------------------------- */

static void forget(struct guarded *w, struct watched *v)
{
    DL_DELETE(w->list, v);
    lane_meters(v->lane)->guard = NULL;
    rpc_cancel(v->call);
    free(v);
}

static struct watched *find(struct guarded *w, const struct msg_deployment *d)
{
    struct watched *v;
    DL_FOREACH(w->list, v)
    {
        if (bytes_equal_str(d->model, v->model) && v->version == d->rollout)
            return v;
    }
    return NULL;
}

static struct watched *add(struct guarded *w, const struct msg_deployment *d)
{
    struct watched *v = mem_zalloc(sizeof *v);
    if (bytes_copy_str(d->model, v->model, sizeof v->model))
        v->model[0] = 0; /* never: the catalog has names */
    v->version = d->rollout;
    v->lane = route_lane(w->gateway, d->model, d->rollout);
    lane_meters(v->lane)->guard = &v->counts;
    DL_APPEND(w->list, v);
    return v;
}

static void watch(struct guarded *w, const struct msg_deployment *d)
{
    struct watched *v = find(w, d);
    if (!v)
        v = add(w, d);
    v->kept = true;
    if (v->revision == d->revision)
        return;
    v->revision = d->revision;
    v->crashes = lane_counts(v->lane)->crashes;
    v->others = count_others(w->gateway, d);
    v->counts = (struct guard_counts){ .owner = w, .slow_us = d->slow_us };
}

void guarded_refresh(struct guarded *w)
{
    const struct catalog *c = replica_catalog(w->gateway->replica);
    struct watched *v, *next;
    DL_FOREACH(w->list, v)
    v->kept = false;
    for (size_t i = 0; i < c->count; i++)
        if (c->models[i]->deployment.rollout)
            watch(w, &c->models[i]->deployment);
    DL_FOREACH_SAFE(w->list, v, next)
    {
        if (!v->kept)
            forget(w, v);
    }
    if (!w->list)
        loop_timer_stop(w->timer);
    else if (!loop_timer_active(w->timer))
        loop_timer_start(w->timer, 0, REPORT_MS);
}

struct guarded *guarded_create(struct gateway *g)
{
    struct guarded *w = mem_zalloc(sizeof *w);
    w->gateway = g;
    w->timer = loop_timer_create(g->loop, on_timer, w);
    return w;
}

void guarded_destroy(struct guarded *w)
{
    if (!w)
        return;
    while (w->list)
        forget(w, w->list);
    loop_timer_destroy(w->timer);
    free(w);
}
