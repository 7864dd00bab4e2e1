/* route.c - from a model's name to the lane that serves it.
 *
 * The plain name serves the deployed version as soon as an engine of it has said hello here;
 * until then, the previous one if it still has engines.  Where several versions share the traffic,
 * a hash chooses among them (split.h), and each is stood in for in the same way.  A gateway that
 * is cut off from the registry, and has engines of none, follows them: the newest version that
 * they bring.
 *
 * What has been found is remembered until engines or the catalog change.
 */
#include "services/gateway/hosts.h"
#include "services/gateway/split.h"

#include <stdlib.h>
#include <uthash.h>

/* A part of the traffic. */
struct known_share {
    struct lane *lane; /* NULL: nobody serves it now */
    uint32_t weight;
};

struct known_route {
    UT_hash_handle hh;
    struct lane *lane;          /* gets all; NULL: they share */
    bool shadowed;              /* as in struct routed */
    struct bytes sticky;        /* the header whose value decides, or empty */
    struct known_share *shares; /* owned */
    size_t count;
    char name[];
};

/* ---- who gets a request ----------------------------------------------------------------------- */

/* The header of a deployment's "header:NAME"; empty: it has none. */
static struct bytes sticky_header(const struct msg_deployment *d)
{
    const char *colon = d->sticky.len ? memchr(d->sticky.data, ':', d->sticky.len) : NULL;
    size_t skip = colon ? (size_t)(colon - (const char *)d->sticky.data) + 1 : d->sticky.len;
    return bytes_of((const char *)d->sticky.data + skip, d->sticky.len - skip);
}

static uint64_t hash_of(const struct route_ask *ask, struct bytes sticky)
{
    struct bytes key = sticky.len ? http_field(ask->http, sticky) : sticky;
    return split_hash(ask->model, key.len ? key : bytes_str(ask->http->request_id));
}

/* The lane of the share that the hash falls on; NULL: nobody serves it. */
static struct lane *pick_share(const struct known_route *r, uint64_t hash)
{
    uint32_t point = (uint32_t)(hash % SHARES_WHOLE);
    const struct known_share *s = r->shares;
    while (s + 1 < r->shares + r->count && point >= s->weight)
        point -= s++->weight;
    return s->lane;
}

/* ---- what was found before -------------------------------------------------------------------- */

static struct lane *recall(struct gateway *g, const struct route_ask *ask, bool *shadowed)
{
    struct known_route *r;
    HASH_FIND(hh, g->routes, ask->model.data, ask->model.len, r);
    if (!r)
        return NULL;
    *shadowed = r->shadowed;
    return r->lane ? r->lane : pick_share(r, hash_of(ask, r->sticky));
}

static void know(struct gateway *g, struct bytes model, struct known_route **out)
{
    struct known_route *r = mem_zalloc(sizeof *r + model.len + 1);
    memcpy(r->name, model.data, model.len);
    HASH_ADD_KEYPTR(hh, g->routes, r->name, model.len, r);
    *out = r;
}

void route_forget(struct gateway *g)
{
    struct known_route *r, *next;
    g->only_model = NULL;
    HASH_ITER(hh, g->routes, r, next)
    {
        HASH_DEL(g->routes, r);
        free(r->shares);
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

/* What a deployment says of batches and queues holds for all versions of its model. */
static void configure(struct gateway *g, const struct catalog_model *m, struct lane *l)
{
    struct lane_options options = { m->deployment.max_batch,
                                    m->deployment.max_batch_delay_ms * 1000,
                                    m->deployment.queue_max };
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

static uint32_t first_served(struct gateway *g, const struct catalog_model *m,
                             const struct msg_share *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (engines_of(g, m, list[i].version))
            return list[i].version;
    return 0;
}

static bool failed(const struct catalog_model *m, uint32_t version)
{
    const struct msg_version *v = catalog_version(m, version);
    return v && v->check == CHECK_FAILED;
}

/* Nobody serves any version of the deployment: the one that will, with some luck. */
static uint32_t expected(const struct catalog_model *m, uint32_t chosen, uint32_t before)
{
    const struct msg_deployment *d = &m->deployment;
    if (!failed(m, chosen))
        return chosen;
    for (size_t i = 0; i < d->traffic_count; i++)
        if (!failed(m, d->traffic[i].version))
            return d->traffic[i].version;
    return before ? before : chosen;
}

/* The chosen version while somebody serves it; else what the same hash falls on among those before;
 * else any. */
static uint32_t stand_in(struct gateway *g, const struct catalog_model *m, uint32_t chosen,
                         uint64_t hash)
{
    const struct msg_deployment *d = &m->deployment;
    uint32_t before = 0;
    if (engines_of(g, m, chosen))
        return chosen;
    if (d->previous_traffic_count)
        before =
            d->previous_traffic[split_pick(d->previous_traffic, d->previous_traffic_count, hash)]
                .version;
    if (engines_of(g, m, before))
        return before;
    uint32_t other = first_served(g, m, d->traffic, d->traffic_count);
    if (!other)
        other = first_served(g, m, d->previous_traffic, d->previous_traffic_count);
    if (!other && g->cut_off)
        other = queue_newest(&g->queue, bytes_str(m->name));
    return other ? other : expected(m, chosen, before);
}

uint32_t route_serving(struct gateway *g, const struct catalog_model *m)
{
    return stand_in(g, m, m->deployment.version, 0);
}

bool route_ready(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    const struct msg_deployment *d = &m->deployment;
    const struct msg_version *v = catalog_version(m, version);
    return engines_of(g, m, version) ||
           (v && deployment_uses(d, version) && v->check == CHECK_PASSED &&
            suite_on_demand(g->suite, deployment_pool(d)));
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
    if (deployment_uses(d, version) || engines_of(g, m, version))
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
    if (deployment_uses(&m->deployment, lane_version(l)) && !catalog_version(m, lane_version(l))) {
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

/* Once more is known of the model than its name: the next request for it need not ask again. */
static void remember(struct gateway *g, const struct catalog_model *m, const struct routed *to)
{
    const struct msg_deployment *d = &m->deployment;
    struct known_route *r;
    know(g, bytes_str(m->name), &r);
    r->shadowed = d->shadow.count;
    if (d->traffic_count <= 1 && d->previous_traffic_count <= 1) {
        r->lane = to->lane;
        return;
    }
    r->sticky = sticky_header(d);
    r->count = d->traffic_count;
    r->shares = mem_zalloc(r->count * sizeof *r->shares);
    for (size_t i = 0; i < r->count; i++) {
        bool served = engines_of(g, m, d->traffic[i].version);
        r->shares[i].weight = d->traffic[i].weight;
        r->shares[i].lane = served ? find_lane(g, m, d->traffic[i].version) : NULL;
    }
}

/* The version for a request by the plain name; 0: none. */
static uint32_t choose(struct gateway *g, const struct catalog_model *m,
                       const struct route_ask *ask)
{
    const struct msg_deployment *d = &m->deployment;
    if (d->traffic_count <= 1 && d->previous_traffic_count <= 1)
        return route_serving(g, m);
    uint64_t hash = hash_of(ask, sticky_header(d));
    return stand_in(g, m, d->traffic[split_pick(d->traffic, d->traffic_count, hash)].version, hash);
}

static enum status find_plain(struct gateway *g, struct catalog_model *m,
                              const struct route_ask *ask, struct routed *to, struct error *err)
{
    struct known_route *known;
    uint32_t version = choose(g, m, ask);
    to->shadowed = m->deployment.shadow.count;
    if (!version)
        return error_set(err, STATUS_CONFLICT,
                         "no version of '%s' is deployed; PUT /api/models/%s/deployment", m->name,
                         m->name);
    to->lane = route_lane(g, bytes_str(m->name), version);
    enum status st = learn_signature(g, to->lane, m, &to->loading, err);
    HASH_FIND(hh, g->routes, ask->model.data, ask->model.len, known);
    if (!st && !known)
        remember(g, m, to);
    return st;
}

enum status route_find(struct gateway *g, const struct route_ask *ask, struct routed *to,
                       struct error *err)
{
    *to = (struct routed){ 0 };
    if (!ask->version)
        to->lane = recall(g, ask, &to->shadowed);
    if (to->lane)
        return STATUS_OK;
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), ask->model);
    if (!m)
        return error_set(err, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)ask->model.len,
                         (const char *)ask->model.data);
    if (!ask->version)
        return find_plain(g, m, ask, to, err);
    enum status st = check_named(g, m, ask->version, err);
    if (st)
        return st;
    to->lane = route_lane(g, bytes_str(m->name), ask->version);
    return learn_signature(g, to->lane, m, &to->loading, err);
}

/* The largest share that is not the version's; NULL: there is none. */
static const struct msg_share *largest_beside(const struct msg_share *list, size_t count,
                                              uint32_t version)
{
    const struct msg_share *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (list[i].version != version && (!best || list[i].weight > best->weight))
            best = &list[i];
    return best;
}

struct lane *route_beside(struct gateway *g, struct lane *l)
{
    const struct catalog_model *m =
        catalog_find(replica_catalog(g->replica), bytes_str(lane_model(l)));
    const struct msg_deployment *d = m ? &m->deployment : NULL;
    struct error err;
    bool loading;
    if (!d)
        return NULL;
    const struct msg_share *s = largest_beside(d->traffic, d->traffic_count, lane_version(l));
    if (!s)
        s = largest_beside(d->previous_traffic, d->previous_traffic_count, lane_version(l));
    if (!s)
        return NULL;
    struct lane *beside = route_lane(g, d->model, s->version);
    return learn_signature(g, beside, m, &loading, &err) ? NULL : beside;
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

static void configure_shares(struct gateway *g, const struct catalog_model *m,
                             const struct msg_share *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        configure(g, m, find_lane(g, m, list[i].version));
}

void route_configure(struct gateway *g)
{
    const struct catalog *c = replica_catalog(g->replica);
    bool sticky = false;
    for (size_t i = 0; i < c->count; i++) {
        const struct msg_deployment *d = &c->models[i]->deployment;
        sticky |= d->sticky.len != 0;
        configure_shares(g, c->models[i], d->traffic, d->traffic_count);
        configure_shares(g, c->models[i], d->previous_traffic, d->previous_traffic_count);
        for (size_t k = 0; k < d->shadow.count; k++)
            configure(g, c->models[i], find_lane(g, c->models[i], (uint32_t)d->shadow.at[k]));
    }
    http_keep_fields(g->http, sticky);
}

void route_refresh(struct gateway *g)
{
    route_forget(g);
    shadow_refresh(g->shadows, replica_catalog(g->replica));
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
