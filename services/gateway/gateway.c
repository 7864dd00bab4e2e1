/* gateway.c - set-up, the turn of the loop, reports, and the drain. */
#include "services/gateway/gateway.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/gateway/api/api.h"

#include <stdio.h>

#define ALL_ROLES \
    (1u << ROLE_REGISTRY | 1u << ROLE_GATEWAY | 1u << ROLE_WORKER | 1u << ROLE_TRAINER)
#define DRAIN_POLL_MS 20

static void on_deadline(void *arg)
{
    struct gateway *g = arg;
    uint64_t now = clock_ms();
    uint64_t next = queue_expire(&g->queue, now);
    if (next)
        loop_timer_start(g->deadlines, next > now ? next - now : 1, 0);
}

/* Once per turn, when every read of the turn is in: large batches when loaded, no waiting. */
static void turn(void *arg)
{
    struct gateway *g = arg;
    queue_dispatch(&g->queue);
    if (heap_first(&g->queue.deadlines) && !loop_timer_active(g->deadlines))
        on_deadline(g);
}

static void on_catalog(void *arg)
{
    struct gateway *g = arg;
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
    if (api_open() == 0 || clock_ms() >= g->drain_deadline_ms)
        loop_stop(g->loop);
}

static void on_stop(void *arg)
{
    struct gateway *g = arg;
    if (g->draining)
        return;
    log_info("draining", LOG_U("open_requests", api_open()));
    g->draining = true;
    g->drain_deadline_ms = clock_ms() + g->config->drain_ms;
    reporter_leave(g->reporter);
    http_drain(g->http);
    loop_timer_start(g->drain, DRAIN_POLL_MS, DRAIN_POLL_MS);
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
    struct http_config http = { .body_max_bytes = g->config->max_body_bytes,
                                .connections_max = g->config->max_connections,
                                .idle_timeout_ms = g->config->idle_timeout_ms,
                                .read_timeout_ms = g->config->timeout_ms };
    g->http = http_create(g->loop, &http, &api_events, g);
    return http_listen(g->http, g->config->http, err);
}

enum status gateway_init(struct gateway *g, const struct gateway_config *config, struct loop *l,
                         struct error *err)
{
    struct queue_limits limits = { config->queue_max, config->queue_bytes };
    struct queue_events events = { engines_send, engines_parted };
    *g = (struct gateway){ .config = config, .loop = l };
    queue_init(&g->queue, &limits, &events, g);
    g->suite = suite_view_create();
    g->deadlines = loop_timer_create(l, on_deadline, g);
    g->drain = loop_timer_create(l, drain_step, g);
    g->registry = rpc_client_create(l, config->registry);
    g->replica = replica_create(l, g->registry, config->events, on_catalog, g);
    g->reporter =
        reporter_create(l, g->registry, ROLE_GATEWAY, ALL_ROLES, fill_report, on_suite, g);
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
    queue_finish(&g->queue);
    engines_destroy(g->engines);
    replica_destroy(g->replica);
    reporter_destroy(g->reporter);
    rpc_client_destroy(g->registry);
    loop_timer_destroy(g->deadlines);
    loop_timer_destroy(g->drain);
    suite_view_destroy(g->suite);
}
