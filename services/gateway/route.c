/* route.c - from a model's name to the lane that serves it.
 *
 * The plain name serves the deployed version as soon as an engine of it has said hello here;
 * until then, the previous one if it still has engines.  A gateway that is cut off from the
 * registry, and has engines of neither, follows them: the newest version that they bring.
 *
 * What has been found is remembered until engines or the catalog change.
 */
#include "services/gateway/hosts.h"

#include <stdlib.h>
#include <uthash.h>

struct known_route {
    UT_hash_handle hh;
    struct lane *lane;
    char name[];
};

static struct lane *recall(struct gateway *g, struct bytes model)
{
    struct known_route *r;
    HASH_FIND(hh, g->routes, model.data, model.len, r);
    return r ? r->lane : NULL;
}

static void remember(struct gateway *g, struct bytes model, struct lane *lane)
{
    struct known_route *r = mem_zalloc(sizeof *r + model.len + 1);
    memcpy(r->name, model.data, model.len);
    r->lane = lane;
    HASH_ADD_KEYPTR(hh, g->routes, r->name, model.len, r);
}

void route_forget(struct gateway *g)
{
    struct known_route *r, *next;
    g->only_model = NULL;
    HASH_ITER(hh, g->routes, r, next)
    {
        HASH_DEL(g->routes, r);
        free(r);
    }
}

static struct lane *find_lane(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    return version ? queue_find_lane(&g->queue, bytes_str(m->name), version) : NULL;
}

static size_t engines_of(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    struct lane *l = find_lane(g, m, version);
    return l ? lane_engines(l) : 0;
}

/* What a deployment says of batches holds for all versions of its model. */
static void configure(struct gateway *g, const struct catalog_model *m, struct lane *l)
{
    struct lane_options options = { m->deployment.max_batch,
                                    m->deployment.max_batch_delay_ms * 1000 };
    if (l)
        lane_configure(&g->queue, l, &options);
}

struct lane *route_lane(struct gateway *g, struct bytes model, uint32_t version)
{
    struct lane *l = queue_find_lane(&g->queue, model, version);
    if (l)
        return l;
    l = queue_lane(&g->queue, model, version);
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), model);
    if (m)
        configure(g, m, l);
    return l;
}

void route_watch(struct gateway *g)
{
    bool cut_off = replica_synced(g->replica) && !replica_live(g->replica);
    if (cut_off == g->cut_off)
        return;
    g->cut_off = cut_off;
    route_refresh(g);
}

uint32_t route_serving(struct gateway *g, const struct catalog_model *m)
{
    const struct msg_deployment *d = &m->deployment;
    if (engines_of(g, m, d->version))
        return d->version;
    if (engines_of(g, m, d->previous))
        return d->previous;
    uint32_t brought = g->cut_off ? queue_newest(&g->queue, bytes_str(m->name)) : 0;
    if (brought)
        return brought;
    const struct msg_version *v = catalog_version(m, d->version);
    return v && v->check == CHECK_FAILED && d->previous ? d->previous : d->version;
}

bool route_ready(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    const struct msg_deployment *d = &m->deployment;
    const struct msg_version *v = catalog_version(m, version);
    bool deployed = version == d->version || version == d->previous;
    return engines_of(g, m, version) ||
           (v && deployed && v->check == CHECK_PASSED && suite_on_demand(g->suite));
}

const struct catalog_model *route_unready(struct gateway *g)
{
    const struct catalog *catalog = replica_catalog(g->replica);
    for (size_t i = 0; i < catalog->count; i++) {
        const struct catalog_model *m = catalog->models[i];
        if (m->deployment.version && !route_ready(g, m, route_serving(g, m)))
            return m;
    }
    return NULL;
}

static enum status check_version(const struct catalog_model *m, uint32_t version,
                                 const struct msg_version **out, struct error *err)
{
    *out = catalog_version(m, version);
    if (!*out)
        return error_set(err, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, version);
    if ((*out)->check == CHECK_FAILED)
        return error_set(err, STATUS_CONFLICT, "version %u of '%s' cannot be loaded: %.*s", version,
                         m->name, (int)(*out)->reason.len, (const char *)(*out)->reason.data);
    return STATUS_OK;
}

/* A version that may be asked for by its number: deployed, or an engine of it is here. */
static enum status check_named(struct gateway *g, const struct catalog_model *m, uint32_t version,
                               struct error *err)
{
    const struct msg_deployment *d = &m->deployment;
    const struct msg_version *v;
    if (version == d->version || version == d->previous || engines_of(g, m, version))
        return STATUS_OK;
    enum status st = check_version(m, version, &v, err);
    return st ? st
              : error_set(err, STATUS_CONFLICT,
                          "version %u of '%s' is not deployed; PUT /api/models/%s/deployment",
                          version, m->name, m->name);
}

/* The signature comes from the first engine, or before that from the version's record. */
static enum status learn_signature(struct gateway *g, struct lane *l, const struct catalog_model *m,
                                   bool *loading, struct error *err)
{
    const struct msg_version *v;
    if (lane_signature(l)->inputs_count)
        return STATUS_OK;
    if (lane_version(l) == m->deployment.version && !catalog_version(m, lane_version(l))) {
        /* Deployed through this gateway, but uploaded through another one whose news is late. */
        replica_hint(g->replica);
        *loading = true;
        return error_set(err, STATUS_UNAVAILABLE, "version %u of '%s' is not known here yet",
                         lane_version(l), m->name);
    }
    enum status st = check_version(m, lane_version(l), &v, err);
    if (st)
        return st;
    *loading = v->check == CHECK_PENDING;
    if (*loading)
        return error_set(err, STATUS_UNAVAILABLE, "version %u of '%s' is loading; try again",
                         v->number, m->name);
    return lane_set_signature(l, v->inputs, v->inputs_count, v->outputs, v->outputs_count);
}

enum status route_find(struct gateway *g, struct bytes model, uint32_t version, struct lane **lane,
                       bool *loading, struct error *err)
{
    *loading = false;
    *lane = version ? NULL : recall(g, model);
    if (*lane)
        return STATUS_OK;
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), model);
    if (!m)
        return error_set(err, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)model.len,
                         (const char *)model.data);
    bool plain = version == 0;
    enum status st = plain ? STATUS_OK : check_named(g, m, version, err);
    if (st)
        return st;
    if (plain)
        version = route_serving(g, m);
    if (!version)
        return error_set(err, STATUS_CONFLICT,
                         "no version of '%s' is deployed; PUT /api/models/%s/deployment", m->name,
                         m->name);
    *lane = route_lane(g, bytes_str(m->name), version);
    st = learn_signature(g, *lane, m, loading, err);
    if (!st && plain)
        remember(g, model, *lane);
    return st;
}

static void rescue(void *arg, struct lane *from)
{
    struct gateway *g = arg;
    struct catalog_model *m =
        catalog_find(replica_catalog(g->replica), bytes_str(lane_model(from)));
    uint32_t serving = m ? route_serving(g, m) : 0;
    if (serving && serving != lane_version(from) && engines_of(g, m, serving))
        queue_move(&g->queue, from, route_lane(g, bytes_str(m->name), serving));
    else
        hosts_want(g->hosts, bytes_str(lane_model(from)), lane_version(from));
}

void route_configure(struct gateway *g)
{
    const struct catalog *c = replica_catalog(g->replica);
    for (size_t i = 0; i < c->count; i++) {
        configure(g, c->models[i], find_lane(g, c->models[i], c->models[i]->deployment.version));
        configure(g, c->models[i], find_lane(g, c->models[i], c->models[i]->deployment.previous));
    }
}

void route_refresh(struct gateway *g)
{
    route_forget(g);
    queue_each_stranded(&g->queue, rescue, g);
    g->changed = true;
}

enum status route_only_model(struct gateway *g, struct bytes *name, struct error *err)
{
    const struct catalog *c = replica_catalog(g->replica);
    size_t found = 0;
    *name = bytes_str(g->only_model);
    if (g->only_model)
        return STATUS_OK;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->models[i]->deployment.version)
            continue;
        *name = bytes_str(c->models[i]->name);
        found++;
    }
    if (found == 1) {
        g->only_model = name->data;
        return STATUS_OK;
    }
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    return found ? error_set(
                       err, STATUS_INVALID,
                       "%zu models are deployed: name one with \"model\" in the body or ?model=",
                       found)
                 : error_set(err, STATUS_UNAVAILABLE, "no model is deployed yet");
}
