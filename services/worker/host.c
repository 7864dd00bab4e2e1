/* host.c - the desired set, and what keeps it.
 *
 * reconcile() compares what the catalog wants with the children there are.  For each
 * deployment: its version; and the previous one as long as our own engine of the new one is
 * not ready.  A version whose check failed is not wanted.
 */
#include "services/worker/host.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/worker/child.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <utlist.h>

#define GATEWAY_KEPT_MS   30000 /* after it was last listed */
#define CHECK_INTERVAL_MS 200
#define CLAIM_TIMEOUT_MS  5000
#define CHECKS_MAX        1 /* engines that check, at once */

static void reconcile(struct host *h);

static struct child *find(struct host *h, const char *model, uint32_t version, bool check)
{
    struct child *c;
    DL_FOREACH(h->children, c)
    if (c->version == version && c->check == check && c->state != ENGINE_LEAVING &&
        strcmp(c->model, model) == 0)
        return c;
    return NULL;
}

static bool loadable(const struct catalog_model *m, uint32_t number)
{
    const struct msg_version *v = catalog_version(m, number);
    return v && v->check != CHECK_FAILED;
}

static bool ready(struct host *h, const struct catalog_model *m, uint32_t number)
{
    struct child *c = find(h, m->name, number, false);
    return c && c->state == ENGINE_READY;
}

/* Is this version wanted on this host? */
static bool wanted(struct host *h, const struct catalog_model *m, uint32_t number)
{
    const struct msg_deployment *d = &m->deployment;
    if (!number || !loadable(m, number))
        return false;
    return number == d->version || (number == d->previous && !ready(h, m, d->version));
}

static void start_wanted(struct host *h, const struct catalog_model *m, uint32_t number)
{
    if (wanted(h, m, number) && !find(h, m->name, number, false))
        child_create(h, catalog_version(m, number), m->deployment.max_batch, false);
}

static void stop_unwanted(struct host *h)
{
    struct child *c, *next;
    DL_FOREACH_SAFE(h->children, c, next)
    {
        struct catalog_model *m = catalog_find(replica_catalog(h->replica), bytes_str(c->model));
        bool keep = c->check ? c->state != ENGINE_FAILED : m && wanted(h, m, c->version);
        if (!keep && c->state != ENGINE_LEAVING) {
            child_stop(c);
            return; /* the list may have changed: the child's change brings us back */
        }
    }
}

static void reconcile(struct host *h)
{
    const struct catalog *catalog = replica_catalog(h->replica);
    if (h->stopping || !replica_synced(h->replica))
        return;
    for (size_t i = 0; i < catalog->count; i++) {
        start_wanted(h, catalog->models[i], catalog->models[i]->deployment.version);
        start_wanted(h, catalog->models[i], catalog->models[i]->deployment.previous);
    }
    stop_unwanted(h);
}

void host_child_changed(struct host *h)
{
    if (h->reporter)
        reporter_now(h->reporter);
    if (h->stopping && !h->children)
        loop_stop(h->loop);
    else if (!h->stopping)
        loop_timer_start(h->check, 0, CHECK_INTERVAL_MS);
}

/* ---- checks of new versions -------------------------------------------------------------------- */

static size_t checks_running(struct host *h)
{
    struct child *c;
    size_t n = 0;
    DL_FOREACH(h->children, c)
    n += c->check;
    return n;
}

/* Something is pending that no engine of ours is loading anyway. */
static bool something_pending(struct host *h)
{
    const struct catalog *catalog = replica_catalog(h->replica);
    for (size_t i = 0; i < catalog->count; i++) {
        const struct catalog_model *m = catalog->models[i];
        for (size_t n = 1; n <= m->versions_count; n++) {
            const struct msg_version *v = catalog_version(m, n);
            if (v && v->check == CHECK_PENDING)
                return true;
        }
    }
    return false;
}

static void on_claim(void *arg, const struct rpc_reply *reply)
{
    struct host *h = arg;
    h->claim = NULL;
    if (reply->status || reply->kind != MSG_VERSION || h->stopping)
        return; /* NOT_FOUND: another worker has it */
    const struct msg_version *v = reply->body;
    child_create(h, v, 0, true);
}

static void on_check_timer(void *arg)
{
    struct host *h = arg;
    reconcile(h);
    if (h->stopping || h->claim || !replica_synced(h->replica) || checks_running(h) >= CHECKS_MAX ||
        !something_pending(h)) {
        if (!h->claim)
            loop_timer_stop(h->check);
        return;
    }
    struct msg_name body = { .name = bytes_str(reporter_id(h->reporter)) };
    h->claim = rpc_call(h->registry, MSG_CHECK_CLAIM, &body, NULL, CLAIM_TIMEOUT_MS, on_claim, h);
    loop_timer_start(h->check, CHECK_INTERVAL_MS, CHECK_INTERVAL_MS);
}

static void on_catalog(void *arg)
{
    struct host *h = arg;
    loop_timer_start(h->check, 0, CHECK_INTERVAL_MS);
}

/* ---- reports and gateways ---------------------------------------------------------------------- */

static void fill_report(void *arg, struct msg_process *me)
{
    struct host *h = arg;
    struct child *c;
    h->engines = mem_resize(h->engines, (h->children_count + 1) * sizeof *h->engines);
    size_t n = 0;
    DL_FOREACH(h->children, c)
    {
        if (c->check || n == MAX_ENGINES)
            continue;
        h->engines[n++] = (struct msg_engine){ .model = bytes_str(c->model),
                                               .version = c->version,
                                               .state = c->state,
                                               .reason = bytes_str(c->reason),
                                               .pid = (uint32_t)c->pid,
                                               .rss_bytes = child_rss_bytes(c),
                                               .restarts = c->restarts };
    }
    me->engines = h->engines;
    me->engines_count = n;
}

static bool put_gateway(struct host *h, const struct msg_process *p, uint64_t now)
{
    for (size_t i = 0; i < h->gateways_count; i++) {
        if (!bytes_equal_str(p->id, h->gateways[i].id))
            continue;
        h->gateways[i].seen_ms = now;
        return false;
    }
    if (h->gateways_count == MAX_GATEWAYS)
        return false;
    struct host_gateway *g = &h->gateways[h->gateways_count];
    if (bytes_copy_str(p->id, g->id, sizeof g->id) ||
        bytes_copy_str(p->jobs, g->jobs, sizeof g->jobs) || !p->jobs.len)
        return false;
    g->seen_ms = now;
    h->gateways_count++;
    return true;
}

/* A gateway at the endpoint of an older one has replaced it: they are one after a restart. */
static bool drop_old_gateways(struct host *h, uint64_t now)
{
    bool changed = false;
    for (size_t i = 0; i < h->gateways_count;) {
        struct host_gateway *g = &h->gateways[i];
        bool old = now - g->seen_ms > GATEWAY_KEPT_MS;
        for (size_t k = 0; k < h->gateways_count; k++)
            old |= h->gateways[k].seen_ms > g->seen_ms && strcmp(h->gateways[k].jobs, g->jobs) == 0;
        if (old) {
            *g = h->gateways[--h->gateways_count];
            changed = true;
        } else {
            i++;
        }
    }
    return changed;
}

static void on_suite(void *arg, const struct msg_suite *suite)
{
    struct host *h = arg;
    uint64_t now = clock_ms();
    bool changed = false;
    struct child *c;
    for (size_t i = 0; i < suite->processes_count; i++)
        if (suite->processes[i].role == ROLE_GATEWAY)
            changed |= put_gateway(h, &suite->processes[i], now);
    changed |= drop_old_gateways(h, now);
    if (!changed)
        return;
    DL_FOREACH(h->children, c)
    child_tell_gateways(c);
}

void host_list_gateways(struct host *h, struct msg_endpoint *list, struct msg_gateways *out)
{
    for (size_t i = 0; i < h->gateways_count; i++)
        list[i] =
            (struct msg_endpoint){ bytes_str(h->gateways[i].id), bytes_str(h->gateways[i].jobs) };
    *out = (struct msg_gateways){ list, h->gateways_count };
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void stop(void *arg)
{
    struct host *h = arg;
    struct child *c, *next;
    if (h->stopping)
        return;
    h->stopping = true;
    log_info("draining", LOG_U("engines", h->children_count));
    reporter_leave(h->reporter);
    DL_FOREACH_SAFE(h->children, c, next)
    child_stop(c);
    if (!h->children)
        loop_stop(h->loop);
}

enum status host_init(struct host *h, const struct host_config *config, struct loop *l,
                      struct error *err)
{
    *h = (struct host){ .config = config, .loop = l };
    if (mkdir(config->cache, 0700) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "cannot make the cache folder %s: %s", config->cache,
                         strerror(errno));
    h->registry = rpc_client_create(l, config->registry);
    h->check = loop_timer_create(l, on_check_timer, h);
    h->reporter =
        reporter_create(l, h->registry, ROLE_WORKER, 1u << ROLE_GATEWAY, fill_report, on_suite, h);
    h->replica = replica_create(l, h->registry, config->events, on_catalog, h);
    loop_on_stop_signal(l, stop, h);
    return STATUS_OK;
}

void host_finish(struct host *h)
{
    rpc_cancel(h->claim);
    replica_destroy(h->replica);
    reporter_destroy(h->reporter);
    loop_timer_destroy(h->check);
    rpc_client_destroy(h->registry);
    free(h->engines);
}
