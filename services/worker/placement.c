/* placement.c - see placement.h. */
#include "services/worker/placement.h"

#include "services/worker/child.h"
#include "services/worker/desired.h"

#include <stdlib.h>
#include <utlist.h>

/* The engines of one version: children, and what desired.h needs to know of each. */
struct group {
    struct child **children; /* room for all that the host has */
    struct desired_engine *engines;
    size_t count;
};

static bool belongs(const struct child *c, const char *model, uint32_t version)
{
    return !c->check && c->version == version && c->state != ENGINE_LEAVING &&
           strcmp(c->model, model) == 0;
}

static bool was_ready(struct host *h, const struct catalog_model *m, uint32_t version)
{
    struct child *c;
    DL_FOREACH(h->children, c)
    if (c->ready_ms && belongs(c, m->name, version))
        return true;
    return false;
}

static bool wanted(struct host *h, const struct catalog_model *m, uint32_t number)
{
    return desired_wants(m, number, was_ready(h, m, m->deployment.version));
}

/* The version before is not touched while it goes on serving, whatever is deployed now. */
static bool stale(const struct catalog_model *m, const struct child *c)
{
    return c->version == m->deployment.version && c->max_batch != m->deployment.max_batch;
}

size_t placement_engines(struct host *h)
{
    const struct catalog *catalog = replica_catalog(h->replica);
    const struct child *c;
    size_t n = 0;
    DL_FOREACH(h->children, c)
    {
        const struct catalog_model *m = catalog_find(catalog, bytes_str(c->model));
        n += !c->check && c->state != ENGINE_LEAVING && m && c->version == m->deployment.version &&
             !stale(m, c);
    }
    return n;
}

static void collect(struct host *h, const struct catalog_model *m, uint32_t number, struct group *g)
{
    struct child *c;
    g->count = 0;
    DL_FOREACH(h->children, c)
    {
        if (!belongs(c, m->name, number))
            continue;
        g->children[g->count] = c;
        g->engines[g->count++] =
            (struct desired_engine){ .ready = c->state == ENGINE_READY, .stale = stale(m, c) };
    }
}

static void keep_instances(struct host *h, const struct catalog_model *m, uint32_t number,
                           struct group *g)
{
    collect(h, m, number, g);
    bool before = number != m->deployment.version && g->count;
    size_t want = before ? g->count : desired_instances(&m->deployment);
    size_t missing = desired_engines(g->engines, g->count, want);
    for (size_t i = 0; i < g->count; i++) /* stopping one may destroy it and nothing else */
        if (g->engines[i].stop)
            child_stop(g->children[i]);
    while (missing--)
        child_create(h, catalog_version(m, number), m->deployment.max_batch, false);
}

static bool keep(struct host *h, const struct child *c)
{
    if (c->check)
        return !c->given_up;
    const struct catalog_model *m = catalog_find(replica_catalog(h->replica), bytes_str(c->model));
    return m && wanted(h, m, c->version);
}

static void stop_unwanted(struct host *h)
{
    struct child *c, *next;
    DL_FOREACH_SAFE(h->children, c, next)
    if (!keep(h, c))
        child_stop(c);
}

static void place(struct host *h, const struct catalog_model *m)
{
    const uint32_t numbers[] = { m->deployment.version, m->deployment.previous };
    for (size_t i = 0; i < 2; i++) {
        if (!wanted(h, m, numbers[i]))
            continue;
        struct group g = { mem_alloc((h->children_count + 1) * sizeof(struct child *)),
                           mem_alloc((h->children_count + 1) * sizeof(struct desired_engine)), 0 };
        keep_instances(h, m, numbers[i], &g);
        free(g.children);
        free(g.engines);
    }
}

void placement_reconcile(struct host *h)
{
    const struct catalog *catalog = replica_catalog(h->replica);
    if (h->stopping || !replica_synced(h->replica))
        return;
    for (size_t i = 0; i < catalog->count; i++)
        place(h, catalog->models[i]);
    stop_unwanted(h);
}
