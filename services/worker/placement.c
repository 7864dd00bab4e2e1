/* placement.c - see placement.h. */
#include "services/worker/placement.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/resources.h"
#include "services/worker/child.h"
#include "services/worker/desired.h"
#include "services/worker/memory.h"
#include "services/worker/places.h"

#include <stdlib.h>
#include <utlist.h>

#define MEASURE_MS 1000 /* memory is looked at so often */
#define RETRY_MS   50   /* somebody is wanted and nobody can go yet */
#define CHECK_MS   1000 /* a check that is not asked for again for so long is over */
#define DEMAND_MS  3000 /* a demand that is not repeated for so long is over */

static struct metric_family started_on_demand = {
    .name = "maas_worker_engines_on_demand_total",
    .help = "engines started because requests waited for them",
    .type = METRIC_COUNTER,
};
static struct metric_family evictions = {
    .name = "maas_worker_engines_evicted_total",
    .help = "engines ended because others needed their memory",
    .type = METRIC_COUNTER,
};

struct placement {
    struct host *host;
    struct loop_timer *timer;
    struct place *places;
    uint64_t budget;
    struct memory_base base;
    uint64_t tickets;
    uint64_t reserved; /* in a reconcile: for those that are wanted and have no room yet */
    uint64_t check_ms; /* when room for a check was asked for last */
    bool hungry;       /* in a reconcile: nobody could make that room */
    uint32_t on_demand;
};

/* The engines of one version: children, and what desired.h needs to know of each. */
struct group {
    struct child **children; /* room for all that the host has */
    struct desired_engine *engines;
    size_t count;
};

/* ---- memory -------------------------------------------------------------------------------- */

/* An estimate alone refuses nobody: what may be too large is tried, alone. */
static uint64_t estimate(const struct placement *p, const struct place *place)
{
    uint64_t bytes =
        memory_estimate(place->known_bytes, place->artifact_bytes, memory_base(&p->base));
    return bytes < p->budget ? bytes : p->budget;
}

static uint64_t memory_of(const struct child *c)
{
    if (c->given_up && !c->process.pid)
        return 0;
    if (c->state == ENGINE_READY || c->state == ENGINE_LEAVING || c->bytes > c->estimate_bytes)
        return c->bytes;
    return c->estimate_bytes;
}

/* Idle are those that have nothing to do, and those that wait for their next try after a crash. */
static bool may_go(const struct child *c, uint64_t now)
{
    if (c->check)
        return false;
    if (c->state == ENGINE_READY)
        return !c->busy && now - c->ready_ms >= MEMORY_SETTLE_MS;
    return c->state == ENGINE_FAILED && !c->process.pid;
}

static size_t list_memory(const struct placement *p, struct memory_engine *list)
{
    const struct child *c;
    uint64_t now = clock_ms();
    size_t n = 0;
    DL_FOREACH(p->host->children, c)
    list[n++] = (struct memory_engine){ .bytes = memory_of(c),
                                        .used_ms = c->used_ms,
                                        .leaving = c->state == ENGINE_LEAVING,
                                        .idle = may_go(c, now) };
    return n;
}

static void evict(struct placement *p, struct child *c)
{
    struct place *place = places_find(p->places, bytes_str(c->model), c->version);
    log_info("engine makes room", LOG_S("model", c->model), LOG_U("version", c->version),
             LOG_U("bytes", c->bytes), LOG_U("unused_ms", clock_ms() - c->used_ms));
    metric_count(&evictions);
    if (place) {
        place->cold = true;
        place->evicted |= c->ready_ms != 0;
    }
    c->comes_back = place != NULL;
    child_stop(c);
}

/* Room for so many bytes more; ends those that make it. */
static enum memory_room make_room(struct placement *p, uint64_t need)
{
    struct memory_engine *list = mem_alloc((p->host->children_count + 1) * sizeof *list);
    size_t count = list_memory(p, list), i = 0;
    enum memory_room room = memory_make_room(list, count, p->budget, need);
    struct child *c, *next;
    DL_FOREACH_SAFE(p->host->children, c, next) /* stopping one may destroy it and nothing else */
    {
        bool goes = i < count && list[i].evict;
        i++;
        if (goes)
            evict(p, c);
    }
    free(list);
    return room;
}

static uint64_t used(const struct placement *p)
{
    const struct child *c;
    uint64_t sum = 0;
    DL_FOREACH(p->host->children, c)
    sum += memory_of(c);
    return sum;
}

static void measure(struct placement *p)
{
    struct memory_base base = { 0 };
    struct child *c;
    DL_FOREACH(p->host->children, c)
    {
        struct place *place = places_find(p->places, bytes_str(c->model), c->version);
        if (c->state == ENGINE_LEAVING)
            continue;
        child_measure(c);
        if (c->state != ENGINE_READY)
            continue;
        memory_learn(&base, c->bytes, c->files.bytes);
        if (place)
            place->known_bytes = c->bytes;
    }
    if (base.count)
        p->base = base;
}

bool placement_loaded(struct placement *p, const struct child *c)
{
    struct place *place = places_find(p->places, bytes_str(c->model), c->version);
    bool fits = c->bytes <= p->budget;
    if (fits)
        memory_learn(&p->base, c->bytes, c->files.bytes);
    if (place)
        place->known_bytes = c->bytes;
    return fits;
}

/* ---- what is wanted ------------------------------------------------------------------------ */

static bool belongs(const struct child *c, const char *model, uint32_t version)
{
    return !c->check && c->version == version && c->state != ENGINE_LEAVING &&
           strcmp(c->model, model) == 0;
}

static bool was_ready(const struct place *place)
{
    const struct child *c = place ? place->first : NULL;
    while (c && !c->ready_ms)
        c = c->sibling;
    return c || (place && place->evicted);
}

/* A version from before is not touched while it goes on serving, whatever is deployed now. */
static bool stale(const struct catalog_model *m, const struct child *c)
{
    return desired_is_present(&m->deployment, c->version) &&
           c->max_batch != m->deployment.max_batch;
}

size_t placement_engines(struct host *h)
{
    const struct catalog *catalog = replica_catalog(h->replica);
    const struct child *c;
    size_t n = 0;
    DL_FOREACH(h->children, c)
    {
        const struct catalog_model *m = catalog_find(catalog, bytes_str(c->model));
        n += !c->check && c->state != ENGINE_LEAVING && m &&
             desired_is_present(&m->deployment, c->version) && !stale(m, c);
    }
    return n;
}

static void collect(const struct place *place, const struct catalog_model *m, struct group *g)
{
    g->count = 0;
    for (struct child *c = place->first; c; c = c->sibling) {
        g->children[g->count] = c;
        g->engines[g->count++] =
            (struct desired_engine){ .ready = c->state == ENGINE_READY, .stale = stale(m, c) };
    }
}

/* ---- what there is against what is wanted -------------------------------------------------- */

/* Counts the engines of a version, ends what is too much, and notes what is missing.  NULL: it is
 * not wanted. */
static struct place *count_version(struct placement *p, const struct catalog_model *m,
                                   uint32_t number, bool deployed_were_ready, struct group *g)
{
    if (!desired_wants(m, number, deployed_were_ready))
        return NULL;
    struct place *place = places_get(&p->places, catalog_version(m, number));
    bool before = !desired_is_present(&m->deployment, number);
    collect(place, m, g);
    size_t want = before && g->count ? g->count : desired_instances(&m->deployment);
    place->model = m;
    place->engines = g->count;
    place->evicted &= !before;
    place->missing = desired_engines(g->engines, g->count, want);
    for (size_t i = 0; i < g->count; i++) /* stopping one may destroy it and nothing else */
        if (g->engines[i].stop)
            child_stop(g->children[i]);
    return place;
}

static void demand(struct placement *p, struct place *place, uint64_t now)
{
    if (!place->wanted)
        place->wanted = ++p->tickets;
    place->renewed_ms = now;
}

static bool all_were_ready(struct placement *p, const struct catalog_model *m)
{
    const struct msg_deployment *d = &m->deployment;
    for (size_t i = 0; i < d->traffic_count; i++)
        if (!was_ready(places_find(p->places, bytes_str(m->name), d->traffic[i].version)))
            return false;
    return true;
}

/* Where some versions of a model run, all that share its traffic, or get copies of it, are wanted,
 * requests or not: they go to those that run until the others are there. */
static void count_model(struct placement *p, const struct catalog_model *m, struct group *g)
{
    const struct msg_deployment *d = &m->deployment;
    uint32_t list[DESIRED_MAX];
    struct place *places[DESIRED_MAX];
    size_t count = desired_versions(d, list);
    bool some = false, ready = all_were_ready(p, m);
    for (size_t i = 0; i < count; i++) {
        places[i] = count_version(p, m, list[i], ready, g);
        some |= places[i] && places[i]->engines;
    }
    for (size_t i = 0; i < count && some; i++)
        if (places[i] && !places[i]->engines && desired_is_present(d, list[i]))
            demand(p, places[i], clock_ms());
}

/* So that each version finds its own. */
static void list_siblings(struct placement *p)
{
    struct place *place;
    struct child *c;
    for (place = p->places; place; place = place->hh.next) {
        place->model = NULL;
        place->first = place->last = NULL;
    }
    DL_FOREACH(p->host->children, c)
    {
        place = places_find(p->places, bytes_str(c->model), c->version);
        c->sibling = NULL;
        if (!place || c->check || c->state == ENGINE_LEAVING)
            continue;
        *(place->last ? &place->last->sibling : &place->first) = c;
        place->last = c;
    }
}

static void count_all(struct placement *p)
{
    const struct catalog *catalog = replica_catalog(p->host->replica);
    size_t most = p->host->children_count + 1;
    struct group g = { mem_alloc(most * sizeof(struct child *)),
                       mem_alloc(most * sizeof(struct desired_engine)), 0 };
    list_siblings(p);
    for (size_t i = 0; i < catalog->count; i++)
        if (desired_in_pool(&catalog->models[i]->deployment, p->host->config->pool))
            count_model(p, catalog->models[i], &g);
    places_forget(&p->places, false);
    free(g.children);
    free(g.engines);
}

static bool keep(struct placement *p, const struct child *c)
{
    const struct place *place = places_find(p->places, bytes_str(c->model), c->version);
    return c->check ? !c->given_up : place != NULL;
}

static void stop_unwanted(struct placement *p)
{
    struct child *c, *next;
    DL_FOREACH_SAFE(p->host->children, c, next)
    if (!keep(p, c))
        child_stop(c);
}

/* ---- starting ------------------------------------------------------------------------------ */

static void start(struct placement *p, struct place *place)
{
    const struct catalog_model *m = place->model;
    struct child *c = child_create(p->host, catalog_version(m, place->key.version),
                                   m->deployment.max_batch, estimate(p, place), false);
    if (place->artifact_bytes > p->budget)
        child_refuse(c, place->artifact_bytes, p->budget);
    place->engines++;
    place->missing -= place->missing > 0;
    place->wanted = 0;
}

static struct place *next_wanted(struct placement *p, uint64_t after, uint64_t now)
{
    struct place *place, *first = NULL;
    for (place = p->places; place; place = place->hh.next) {
        if (place->engines || (place->wanted && now - place->renewed_ms > DEMAND_MS))
            place->wanted = 0;
        if (place->wanted > after && (!first || place->wanted < first->wanted))
            first = place;
    }
    return first;
}

/* In the order in which they were wanted: who comes later takes nobody's room. */
static void serve_wanted(struct placement *p)
{
    uint64_t now = clock_ms(), after = 0;
    struct place *place;
    while ((place = next_wanted(p, after, now))) {
        uint64_t need = estimate(p, place);
        enum memory_room room = make_room(p, p->reserved + need);
        after = place->wanted;
        if (room == MEMORY_FITS) {
            metric_count(&started_on_demand);
            start(p, place);
        } else {
            p->reserved += need;
            p->hungry |= room != MEMORY_SOON;
        }
    }
}

static bool all_fit(const struct placement *p)
{
    const struct place *place;
    uint64_t sum = 0;
    for (place = p->places; place && sum <= p->budget; place = place->hh.next)
        sum += estimate(p, place) * (place->engines + place->missing);
    return sum + p->reserved <= p->budget;
}

/* Starts what fits beside the others.  What does not is on demand until all fit. */
static void fill(struct placement *p)
{
    struct place *place;
    bool room_for_all = all_fit(p);
    uint64_t have = used(p) + p->reserved;
    p->on_demand = 0;
    for (place = p->places; place; place = place->hh.next) {
        uint64_t need = estimate(p, place);
        place->cold &= !room_for_all;
        if (place->artifact_bytes > p->budget)
            need = 0; /* it is refused, and nobody waits for room to hear that */
        while (place->missing && !place->cold) {
            place->cold = need && have + need > p->budget;
            if (place->cold)
                break;
            start(p, place);
            have += need;
        }
        p->on_demand += !place->engines && place->cold;
    }
}

/* Nobody takes the room that is made for a check. */
static bool check_waits(const struct placement *p)
{
    const struct child *c;
    DL_FOREACH(p->host->children, c)
    if (c->check)
        return false;
    return p->check_ms && clock_ms() - p->check_ms < CHECK_MS;
}

void placement_reconcile(struct placement *p)
{
    struct host *h = p->host;
    if (h->stopping || !replica_synced(h->replica))
        return;
    p->reserved = check_waits(p) ? memory_base(&p->base) : 0;
    p->hungry = false;
    count_all(p);
    stop_unwanted(p);
    serve_wanted(p);
    make_room(p, 0);
    fill(p);
    if (p->on_demand)
        make_room(p, p->reserved + memory_reserve(used(p), h->children_count, p->budget));
    if (p->hungry)
        loop_timer_start(p->timer, RETRY_MS, MEASURE_MS);
}

/* ---- what others ask ----------------------------------------------------------------------- */

void placement_want(struct placement *p, struct bytes model, uint32_t version)
{
    struct place *place = places_find(p->places, model, version);
    uint64_t now = clock_ms();
    struct child *c;
    if (!place || p->host->stopping)
        return; /* not wanted here (any more, or yet): it is said again */
    DL_FOREACH(p->host->children, c)
    if (belongs(c, place->key.model, version))
        c->used_ms = now; /* it is on its way, or about to say hello there */
    demand(p, place, now);
    placement_reconcile(p);
}

bool placement_room_for_check(struct placement *p)
{
    p->check_ms = clock_ms();
    uint64_t need = memory_base(&p->base);
    return make_room(p, need < p->budget ? need : p->budget) == MEMORY_FITS;
}

uint64_t placement_estimate(const struct placement *p, uint64_t artifact_bytes)
{
    return memory_estimate(0, artifact_bytes, memory_base(&p->base));
}

struct placement_view placement_view(const struct placement *p)
{
    return (struct placement_view){ used(p), p->budget, p->on_demand };
}

/* ---- life ---------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
    struct placement *p = arg;
    measure(p);
    placement_reconcile(p);
}

struct placement *placement_create(struct host *h)
{
    struct placement *p = mem_zalloc(sizeof *p);
    p->host = h;
    p->budget = resources_budget(h->config->memory_bytes, resources_memory_available(),
                                 resources_memory_limit());
    p->timer = loop_timer_create(h->loop, on_timer, p);
    loop_timer_start(p->timer, MEASURE_MS, MEASURE_MS);
    log_info("memory of engines", LOG_U("budget", p->budget));
    return p;
}

void placement_destroy(struct placement *p)
{
    if (!p)
        return;
    places_forget(&p->places, true);
    loop_timer_destroy(p->timer);
    free(p);
}
