/* replica.c - follows the registry's events; see replica.h. */
#include "common/net/replica.h"

#include "common/base/clock.h"
#include "common/base/metrics.h"

#include <stdlib.h>

#define EVENTS_QUEUE_MAX    10000
#define SNAPSHOT_TIMEOUT_MS 10000
#define RETRY_MS            250 /* after a snapshot that failed; doubles up to the next */
#define RETRY_MAX_MS        2000
#define LIVE_MS             3500 /* ticks come each second */
#define TICK_MS             1000
#define TICKS_MISSED_MAX    3    /* while the registry answers: its events do not come through */
#define HINT_MS             1000 /* a hint is taken at most this often */

static struct metric_family bad_events = {
    .name = "maas_replica_bad_events_total",
    .help = "events that could not be decoded",
    .type = METRIC_COUNTER,
};
static struct metric_family resyncs = {
    .name = "maas_replica_snapshots_total",
    .help = "snapshots of the catalog that were taken",
    .type = METRIC_COUNTER,
};

struct replica {
    struct loop *loop;
    struct rpc_client *registry;
    struct sock *events;
    struct loop_timer *retry;
    struct loop_timer *watch;
    unsigned missed_ticks;
    struct rpc_call *call; /* a page of the snapshot under way, or NULL */
    uint64_t retry_ms;
    bool synced;
    uint64_t seq;
    uint64_t history;        /* that seq counts in */
    uint64_t missed_seq;     /* the highest event that came meanwhile and is not in the snapshot */
    uint64_t missed_history; /* of that one */
    unsigned publishers;
    unsigned behind; /* ticks with a lower number than ours since one that has it */
    uint64_t heard_ms;
    uint64_t hinted_ms;
    struct catalog catalog;
    struct catalog next; /* of the snapshot: the pages so far, and what has changed since */
    uint64_t first_seq;  /* of its first page */
    uint64_t next_seq;   /* with what has changed since */
    uint64_t next_history;
    bool paging; /* next has a page, and more are to come */
    replica_fn *changed;
    void *arg;
    struct msg_decoder decoder;
};

/* ---- snapshots ------------------------------------------------------------------------------ */

static void ask(void *arg);
static void on_page(void *arg, const struct rpc_reply *reply);

static void ask_later(struct replica *r)
{
    r->paging = false;
    catalog_finish(&r->next);
    loop_timer_start(r->retry, r->retry_ms, 0);
    r->retry_ms = r->retry_ms < RETRY_MAX_MS ? 2 * r->retry_ms : RETRY_MAX_MS;
}

static void ask_page(struct replica *r, struct bytes after, uint32_t after_version)
{
    struct msg_snapshot body = { after, after_version };
    r->call = rpc_call(r->registry, MSG_SNAPSHOT, &body, NULL, SNAPSHOT_TIMEOUT_MS, on_page, r);
    if (!r->call)
        ask_later(r);
}

static void exchange(struct replica *r)
{
    catalog_finish(&r->catalog);
    r->catalog = r->next;
    r->next = (struct catalog){ 0 };
    r->paging = false;
    r->retry_ms = RETRY_MS;
    r->seq = r->next_seq;
    r->history = r->next_history;
    r->behind = 0;
    r->synced = true;
    metric_count(&resyncs);
    if (r->missed_seq > r->seq && r->missed_history == r->history)
        ask(r); /* something has been told meanwhile that was missed */
    r->changed(r->arg);
}

/* Does the page belong to those before it? */
static bool fits(const struct replica *r, const struct msg_catalog *page)
{
    return !r->paging || (page->history == r->next_history && page->seq >= r->first_seq);
}

static void on_page(void *arg, const struct rpc_reply *reply)
{
    struct replica *r = arg;
    r->call = NULL;
    if (reply->status == STATUS_CANCELLED)
        return;
    const struct msg_catalog *page = reply->body;
    if (reply->status || reply->kind != MSG_CATALOG || !fits(r, page)) {
        ask_later(r); /* or the registry has lost its data in between */
        return;
    }
    r->heard_ms = clock_ms();
    if (!r->paging) {
        r->next_seq = r->first_seq = page->seq; /* what is told from here on goes into next too */
        r->next_history = page->history;
    }
    r->paging = page->more;
    catalog_apply(&r->next, page, false);
    if (page->more)
        ask_page(r, page->after, page->after_version);
    else
        exchange(r);
}

static void ask(void *arg)
{
    struct replica *r = arg;
    if (r->call)
        return;
    loop_timer_stop(r->retry);
    r->missed_seq = 0;
    ask_page(r, bytes_of(NULL, 0), 0);
}

/* ---- changes -------------------------------------------------------------------------------- */

static void note_missed(struct replica *r, const struct msg_catalog *event)
{
    if (event->history != r->missed_history || event->seq > r->missed_seq)
        r->missed_seq = event->seq;
    r->missed_history = event->history;
}

/* While a snapshot is under way: a change that follows on those which it has goes into it. */
static void take_into_snapshot(struct replica *r, const struct msg_catalog *change)
{
    bool same = r->paging && change->history == r->next_history;
    if (same && change->seq == r->next_seq + 1) {
        r->next_seq = change->seq;
        catalog_apply(&r->next, change, false);
    } else if (!same || change->seq > r->next_seq) {
        note_missed(r, change);
    }
}

static void take(struct replica *r, const struct msg_catalog *change)
{
    r->seq = change->seq;
    catalog_apply(&r->catalog, change, false);
    r->changed(r->arg);
}

/* One registry may lag behind the others, for a moment.  When all are behind, they have lost data. */
static bool all_behind(struct replica *r, const struct msg_catalog *tick)
{
    r->behind = tick->seq < r->seq ? r->behind + 1 : 0;
    return r->behind >= 2 * r->publishers - 1;
}

static void on_event(void *arg, struct frames *frames)
{
    struct replica *r = arg;
    struct error err;
    struct msg m;
    if (frames->count != 1 || msg_decode(&r->decoder, frame_bytes(&frames->at[0]), &m, &err) ||
        m.kind != MSG_CATALOG) {
        metric_count(&bad_events);
        return;
    }
    const struct msg_catalog *change = m.body;
    r->heard_ms = clock_ms();
    r->missed_ticks = 0;
    if (!change->history)
        return; /* a registry without Redis lives, and knows nothing new */
    bool tick = !change->versions_count && !change->deployments_count && !change->aliases_count;
    bool ours = r->synced && change->history == r->history;
    if (r->call && !tick)
        take_into_snapshot(r, change);
    else if (r->call && !r->paging)
        note_missed(r, change);
    if (ours && !tick && change->seq == r->seq + 1)
        take(r, change);
    else if (r->call || !r->synced)
        return;
    else if (!ours)
        replica_hint(r); /* or one registry still follows a Redis that the others have left */
    else if (change->seq > r->seq || (tick && all_behind(r, change)))
        ask(r); /* a gap; or the registry lost its data */
    /* else: a change that the snapshot contained already, or that another registry has told */
}

/* The registry answers, but its events stay away: that link is cut, or the subscription was lost. */
static void watch(void *arg)
{
    struct replica *r = arg;
    bool answers = rpc_connected(r->registry);
    if (r->paging || (answers && ++r->missed_ticks <= TICKS_MISSED_MAX))
        return;
    r->missed_ticks = 0;
    if (answers)
        ask(r);
}

void replica_hint(struct replica *r)
{
    if (!r->synced || (r->hinted_ms && clock_ms() - r->hinted_ms < HINT_MS))
        return;
    r->hinted_ms = clock_ms();
    ask(r);
}

static void subscribe(struct replica *r, const char *endpoints)
{
    char endpoint[MAX_ENDPOINT + 1];
    struct error err;
    for (;; endpoints++) {
        size_t len = strcspn(endpoints, ",");
        if (bytes_copy_str(bytes_of(endpoints, len), endpoint, sizeof endpoint))
            die("an endpoint has at most %d bytes", MAX_ENDPOINT);
        if (sock_connect(r->events, endpoint, &err))
            die("%s", err.text);
        r->publishers++;
        endpoints += len;
        if (!*endpoints)
            return;
    }
}

struct replica *replica_create(struct loop *l, struct rpc_client *registry,
                               const char *events_endpoints, replica_fn *changed, void *arg)
{
    static const struct sock_config config = { SOCK_SUB, EVENTS_QUEUE_MAX, MAX_SMALL_ENVELOPE,
                                               false };
    struct replica *r = mem_zalloc(sizeof *r);
    r->loop = l;
    r->registry = registry;
    r->changed = changed;
    r->arg = arg;
    r->retry_ms = RETRY_MS;
    r->retry = loop_timer_create(l, ask, r);
    r->events = sock_create(l, &config, on_event, r);
    subscribe(r, events_endpoints);
    r->watch = loop_timer_create(l, watch, r);
    loop_timer_start(r->watch, TICK_MS, TICK_MS);
    ask(r);
    return r;
}

void replica_destroy(struct replica *r)
{
    if (!r)
        return;
    rpc_cancel(r->call);
    sock_destroy(r->events);
    loop_timer_destroy(r->retry);
    loop_timer_destroy(r->watch);
    msg_decoder_finish(&r->decoder);
    catalog_finish(&r->catalog);
    catalog_finish(&r->next);
    free(r);
}

const struct catalog *replica_catalog(const struct replica *r)
{
    return &r->catalog;
}

void replica_put(struct replica *r, const struct msg_catalog *change)
{
    if (r->paging)
        catalog_apply(&r->next, change, false);
    catalog_apply(&r->catalog, change, false);
    r->changed(r->arg);
}

bool replica_synced(const struct replica *r)
{
    return r->synced;
}

bool replica_live(const struct replica *r)
{
    return r->heard_ms && clock_ms() - r->heard_ms < LIVE_MS;
}

uint64_t replica_seq(const struct replica *r)
{
    return r->seq;
}

bool replica_has(const struct replica *r, uint64_t history, uint64_t seq)
{
    return r->synced && r->seq >= seq && (!history || history == r->history);
}
