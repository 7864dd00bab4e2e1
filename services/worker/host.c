/* host.c - what the host does beside placing engines (placement.h): checks of new versions, which
 * are children of their own, reports, the cache.
 */
#include "services/worker/host.h"

#include "common/base/cache.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/resources.h"
#include "services/worker/child.h"
#include "services/worker/demand.h"
#include "services/worker/desired.h"
#include "services/worker/placement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <utlist.h>

#define CHECK_INTERVAL_MS 200
#define CLAIM_TIMEOUT_MS  5000
#define CLAIM_RENEW_MS    20000 /* of the 60 s that a claim lasts */
#define CHECKS_MAX        1     /* engines that check, at once */

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

static void on_claim(void *arg, const struct rpc_reply *reply)
{
    struct host *h = arg;
    h->claim = NULL;
    if (reply->status || reply->kind != MSG_VERSION || h->stopping)
        return; /* NOT_FOUND: another worker has it */
    h->claimed_ms = clock_ms();
    if (checks_running(h) >= CHECKS_MAX)
        return; /* the claim lasts anew */
    const struct msg_version *v = reply->body;
    child_create(h, v, 0, placement_estimate(h->placement, files_bytes(v)), true);
}

/* Claims a version to check.  The claim is repeated until it is answered, and while the version is
 * checked, so that no other worker takes it for forgotten; then comes another claim. */
static void on_check_timer(void *arg)
{
    struct host *h = arg;
    placement_reconcile(h->placement);
    if (h->stopping || h->claim || !replica_synced(h->replica) ||
        !desired_checks(replica_catalog(h->replica))) {
        if (!h->claim)
            loop_timer_stop(h->check);
        return;
    }
    bool checking = checks_running(h) >= CHECKS_MAX;
    if (!checking && h->claimed_ms) {
        h->claim_number++;
        h->claimed_ms = 0;
    }
    uint64_t pause_ms = checking ? CLAIM_RENEW_MS : CHECK_INTERVAL_MS;
    loop_timer_start(h->check, pause_ms, pause_ms);
    bool due = checking ? clock_ms() - h->claimed_ms >= CLAIM_RENEW_MS
                        : placement_room_for_check(h->placement);
    if (!due)
        return;
    struct msg_check_claim body = { bytes_str(reporter_id(h->reporter)), h->claim_number };
    h->claim = rpc_call(h->registry, MSG_CHECK_CLAIM, &body, NULL, CLAIM_TIMEOUT_MS, on_claim, h);
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
                                               .pid = (uint32_t)c->process.pid,
                                               .rss_bytes = process_rss_bytes(&c->process),
                                               .restarts = c->restarts };
    }
    struct placement_view view = placement_view(h->placement);
    me->engines = h->engines;
    me->engines_count = n;
    me->memory_bytes = view.used_bytes;
    me->memory_budget_bytes = view.budget_bytes;
    me->on_demand = view.on_demand;
    me->pool = bytes_str(h->config->pool);
}

static void on_want(void *arg, struct bytes model, uint32_t version)
{
    struct host *h = arg;
    placement_want(h->placement, model, version);
}

static void on_suite(void *arg, const struct msg_suite *suite)
{
    struct host *h = arg;
    struct child *c;
    if (!gateways_update(&h->gateways, suite, clock_ms()))
        return;
    DL_FOREACH(h->children, c)
    child_tell_gateways(c);
    demand_gateways(h->demand, &h->gateways);
}

/* ---- the cache --------------------------------------------------------------------------------- */

/* What a pool thread needs to look at the cache. */
struct trim {
    struct host *host;
    char *folder;
    uint64_t limit_bytes;
    struct digest_list used;
    size_t removed;
    bool again; /* something has changed meanwhile */
};

static void trim(void *arg) /* pool thread */
{
    struct trim *t = arg;
    t->removed = cache_trim(t->folder, t->limit_bytes, &t->used);
}

static void on_trimmed(void *arg)
{
    struct trim *t = arg;
    struct host *h = t->host;
    bool again = t->again;
    if (t->removed)
        log_info("unused artifacts removed from the cache", LOG_U("files", t->removed));
    h->trim = NULL;
    free(t->used.at);
    free(t->folder);
    free(t);
    if (again)
        host_trim_cache(h);
}

static void add_used(struct digest_list *used, const struct version_files *files)
{
    used->at[used->count++] = files->key;
    for (size_t i = 0; i < files->count; i++)
        used->at[used->count++] = files->at[i].digest;
}

/* A child that begins with a file while it is removed finds it missing, and fetches it. */
void host_trim_cache(struct host *h)
{
    struct child *c;
    size_t count = 0;
    if (h->trim)
        h->trim->again = true;
    if (!h->config->cache_bytes || h->trim || h->stopping)
        return;
    struct trim *t = mem_zalloc(sizeof *t);
    t->host = h;
    t->folder = mem_str(bytes_str(h->config->cache));
    t->limit_bytes = h->config->cache_bytes;
    DL_FOREACH(h->children, c)
    count += 1 + c->files.count;
    t->used.at = mem_zalloc((count + 1) * sizeof *t->used.at);
    DL_FOREACH(h->children, c)
    add_used(&t->used, &c->files);
    h->trim = t;
    loop_work(h->loop, trim, on_trimmed, t);
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
    demand_destroy(h->demand);
    h->demand = NULL;
    DL_FOREACH_SAFE(h->children, c, next)
    child_stop(c);
    if (!h->children)
        loop_stop(h->loop);
}

enum status host_init(struct host *h, const struct host_config *config, struct loop *l,
                      struct error *err)
{
    *h = (struct host){ .config = config, .loop = l, .cores = resources_cores() };
    if (mkdir(config->cache, 0700) != 0 && errno != EEXIST)
        return error_set(err, STATUS_IO, "cannot make the cache folder %s: %s", config->cache,
                         strerror(errno));
    if (name_check(bytes_str(config->pool), "the pool's name", err))
        return err->status;
    h->registry = rpc_client_create(l, config->registry);
    h->check = loop_timer_create(l, on_check_timer, h);
    h->placement = placement_create(h);
    h->reporter =
        reporter_create(l, h->registry, ROLE_WORKER, 1u << ROLE_GATEWAY, fill_report, on_suite, h);
    h->demand = demand_create(l, reporter_id(h->reporter), config->pool, on_want, h);
    h->replica = replica_create(l, h->registry, config->events, on_catalog, h);
    loop_on_stop_signal(l, stop, h);
    return STATUS_OK;
}

void host_finish(struct host *h)
{
    rpc_cancel(h->claim);
    demand_destroy(h->demand);
    placement_destroy(h->placement);
    replica_destroy(h->replica);
    reporter_destroy(h->reporter);
    loop_timer_destroy(h->check);
    rpc_client_destroy(h->registry);
    free(h->engines);
}
