/* gateway.c - set-up, the turn of the loop, reports, and the drain. */
#include "services/gateway/gateway.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/gateway/api/catch_up.h"
#include "services/gateway/api/dispatch.h"
#include "services/gateway/api/hold.h"
#include "services/gateway/guarded.h"
#include "services/gateway/hosts.h"

#include <sched.h>
#include <stdio.h>

#define ALL_ROLES \
    (1u << ROLE_REGISTRY | 1u << ROLE_GATEWAY | 1u << ROLE_WORKER | 1u << ROLE_TRAINER)
#define DRAIN_POLL_MS 20
#define GATHER_TURNS  4

/* One timer for all requests: it follows the first deadline. */
static void watch_deadlines(struct gateway *g, uint64_t next_ms)
{
    uint64_t now = clock_ms();
    if (!next_ms || (loop_timer_active(g->deadlines) && g->deadline_ms <= next_ms))
        return;
    g->deadline_ms = next_ms;
    loop_timer_start(g->deadlines, next_ms > now ? next_ms - now : 1, 0);
}

static void on_deadline(void *arg)
{
    struct gateway *g = arg;
    uint64_t now = clock_ms();
    uint64_t queued = queue_expire(&g->queue, now), held = hold_expire(g, now);
    watch_deadlines(g, queued);
    watch_deadlines(g, held);
}

/* A turn without any event, for batches that wait to grow. */
static void wake_later(struct gateway *g, uint64_t wake_us)
{
    uint64_t now = clock_us();
    if (wake_us)
        loop_timer_start(g->wake, wake_us > now ? (wake_us - now + 999) / 1000 : 0, 0);
}

static void on_wake(void *arg)
{
    (void)arg; /* the turn that follows dispatches */
}

/* Work is sent after a turn that has brought none: the sockets are looked at once more, without
 * waiting, for what makes the batch larger.  When requests never stop, it is sent all the same. */
static bool more_may_come(struct gateway *g)
{
    bool some = g->queue.submitted != g->seen_submitted;
    g->seen_submitted = g->queue.submitted;
    g->gathering = some ? g->gathering + 1 : 0;
    if (g->gathering > GATHER_TURNS)
        g->gathering = 0;
    return g->gathering;
}

/* A quick engine answers sooner than this thread would have gone to sleep and been woken.  It may
 * need this very core for it. */
static void look_for_answers(struct gateway *g)
{
    if (!queue_answer_is_near(&g->queue, clock_us()))
        return;
    sched_yield();
    loop_again(g->loop);
}

/* Once per turn, when every read of the turn is in: large batches when loaded, no waiting. */
static void turn(void *arg)
{
    struct gateway *g = arg;
    if (g->changed) {
        g->changed = false;
        catch_up_look(g);
        hold_retry(g);
        watch_deadlines(g, hold_expire(g, clock_ms()));
    }
    if (more_may_come(g))
        loop_again(g->loop);
    else
        wake_later(g, queue_dispatch(&g->queue, clock_us()));
    look_for_answers(g);
    awake_note(&g->awake, g->queue.submitted);
    struct heap_node *first = heap_first(&g->queue.deadlines);
    if (first)
        watch_deadlines(g, first->key);
}

static void on_catalog(void *arg)
{
    struct gateway *g = arg;
    route_configure(g);
    guarded_refresh(g->guarded);
    route_refresh(g);
}

static void fill_report(void *arg, struct msg_process *me)
{
    struct gateway *g = arg;
    me->jobs = bytes_str(g->jobs);
}

static void on_suite(void *arg, const struct msg_suite *suite)
{
    struct gateway *g = arg;
    suite_view_put(g->suite, suite);
}

/* ---- drain: readiness first, then what is open, then the end ----------------------------------- */

static void drain_step(void *arg)
{
    struct gateway *g = arg;
    uint64_t since = clock_ms() - g->drain_since_ms;
    bool open = since < g->config->drain_accept_ms;
    if (!open) {
        http_stop_listening(g->http);
        open = http_end_idle(g->http) || api_open();
    }
    if (!open || since >= g->config->drain_ms) {
        reporter_leave(g->reporter); /* not sooner: what is open needs the engines */
        loop_timer_stop(g->drain);
        loop_stop(g->loop);
    }
}

static void on_stop(void *arg)
{
    struct gateway *g = arg;
    if (gateway_draining(g))
        return;
    log_info("draining", LOG_U("open_requests", api_open()));
    g->drain_since_ms = clock_ms();
    http_drain(g->http);
    loop_timer_start(g->drain, 0, DRAIN_POLL_MS);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* Where engines are to connect: as told, else as bound with this host's name for a wildcard. */
static enum status choose_endpoint(struct gateway *g, struct error *err)
{
    const char *bound = engines_endpoint(g->engines);
    int len;
    if (g->config->jobs_advertise[0])
        len = snprintf(g->jobs, sizeof g->jobs, "%s", g->config->jobs_advertise);
    else if (strncmp(bound, "tcp://0.0.0.0:", 14) == 0)
        len = snprintf(g->jobs, sizeof g->jobs, "tcp://%s:%s", reporter_host(g->reporter),
                       bound + 14);
    else
        len = snprintf(g->jobs, sizeof g->jobs, "%s", bound);
    return len < 0 || (size_t)len >= sizeof g->jobs
               ? error_set(err, STATUS_INVALID, "the jobs endpoint is too long")
               : STATUS_OK;
}

static enum status start_http(struct gateway *g, struct error *err)
{
    const struct gateway_config *c = g->config;
    struct http_config http = { .body_max_bytes = c->max_body_bytes,
                                .bodies_max_bytes = c->max_bodies_bytes > c->max_body_bytes
                                                        ? c->max_bodies_bytes
                                                        : c->max_body_bytes,
                                .connections_max = c->max_connections,
                                .idle_timeout_ms = c->idle_timeout_ms,
                                .read_timeout_ms = c->read_timeout_ms };
    g->http = http_create(g->loop, &http, &dispatch_events, g);
    return http_listen(g->http, c->http, err);
}

enum status gateway_init(struct gateway *g, const struct gateway_config *config, struct loop *l,
                         struct error *err)
{
    struct queue_limits limits = { config->queue_max, config->queue_bytes };
    struct queue_events events = { engines_send, engines_parted };
    *g = (struct gateway){ .config = config, .loop = l };
    queue_init(&g->queue, &limits, &events, g);
    g->shadows = shadows_create(&g->queue, l, config->timeout_ms);
    g->suite = suite_view_create();
    g->deadlines = loop_timer_create(l, on_deadline, g);
    g->drain = loop_timer_create(l, drain_step, g);
    g->wake = loop_timer_create(l, on_wake, g);
    g->forget = loop_timer_create(l, forget_gone, g);
    loop_timer_start(g->forget, config->forget_ms, config->forget_ms);
    awake_init(&g->awake, l, config->keep_awake ? AWAKE_DEVICE : NULL);
    g->registry = rpc_client_create(l, config->registry);
    g->guarded = guarded_create(g);
    g->replica = replica_create(l, g->registry, config->events, on_catalog, g);
    g->reporter =
        reporter_create(l, g->registry, ROLE_GATEWAY, ALL_ROLES, fill_report, on_suite, g);
    g->hosts = hosts_create(g);
    g->engines = engines_create(g, err);
    enum status st = g->engines ? choose_endpoint(g, err) : err->status;
    if (!st)
        st = start_http(g, err);
    loop_on_turn(l, turn, g);
    loop_on_stop_signal(l, on_stop, g);
    return st;
}

void gateway_finish(struct gateway *g)
{
    http_destroy(g->http);
    route_forget(g);
    guarded_destroy(g->guarded);
    queue_finish(&g->queue);
    shadows_destroy(g->shadows);
    engines_destroy(g->engines);
    hosts_destroy(g->hosts);
    replica_destroy(g->replica);
    reporter_destroy(g->reporter);
    rpc_client_destroy(g->registry);
    loop_timer_destroy(g->deadlines);
    loop_timer_destroy(g->drain);
    loop_timer_destroy(g->wake);
    loop_timer_destroy(g->forget);
    awake_finish(&g->awake);
    suite_view_destroy(g->suite);
}
