/* route.c - from a model's name to the lane that serves it.
 *
 * The plain name serves the deployed version as soon as an engine of it has said hello here;
 * until then, the previous one if it still has engines.
 */
#include "services/gateway/gateway.h"

static size_t engines_of(struct gateway *g, const struct catalog_model *m, uint32_t version)
{
    struct lane *l = version ? queue_find_lane(&g->queue, bytes_str(m->name), version) : NULL;
    return l ? lane_engines(l) : 0;
}

uint32_t route_serving(struct gateway *g, const struct catalog_model *m)
{
    const struct msg_deployment *d = &m->deployment;
    if (engines_of(g, m, d->version))
        return d->version;
    if (engines_of(g, m, d->previous))
        return d->previous;
    const struct msg_version *v = catalog_version(m, d->version);
    return v && v->check == CHECK_FAILED && d->previous ? d->previous : d->version;
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

enum status route_find(struct gateway *g, struct bytes model, uint32_t version, struct lane **lane,
                       struct error *err)
{
    const struct msg_version *v;
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    struct catalog_model *m = catalog_find(replica_catalog(g->replica), model);
    if (!m)
        return error_set(err, STATUS_NOT_FOUND, "there is no model '%.*s'", (int)model.len,
                         (const char *)model.data);
    const struct msg_deployment *d = &m->deployment;
    if (version && version != d->version && version != d->previous && !engines_of(g, m, version)) {
        enum status st = check_version(m, version, &v, err);
        return st ? st
                  : error_set(err, STATUS_CONFLICT,
                              "version %u of '%s' is not deployed; PUT /api/models/%s/deployment",
                              version, m->name, m->name);
    }
    if (!version)
        version = route_serving(g, m);
    if (!version)
        return error_set(err, STATUS_CONFLICT,
                         "no version of '%s' is deployed; PUT /api/models/%s/deployment", m->name,
                         m->name);
    *lane = queue_lane(&g->queue, bytes_str(m->name), version);
    if (lane_signature(*lane)->inputs_count || lane_engines(*lane))
        return STATUS_OK;
    enum status st = check_version(m, version, &v, err);
    if (st)
        return st;
    if (v->check == CHECK_PENDING)
        return error_set(err, STATUS_UNAVAILABLE, "version %u of '%s' is loading; try again",
                         version, m->name);
    lane_set_signature(*lane, v->inputs, v->inputs_count, v->outputs, v->outputs_count);
    return STATUS_OK;
}

void route_refresh(struct gateway *g)
{
    const struct catalog *c = replica_catalog(g->replica);
    for (size_t i = 0; i < c->count; i++) {
        struct catalog_model *m = c->models[i];
        uint32_t serving = route_serving(g, m);
        if (!engines_of(g, m, serving))
            continue;
        struct lane *to = queue_lane(&g->queue, bytes_str(m->name), serving);
        for (uint32_t n = 1; n <= m->versions_count; n++) {
            struct lane *from = queue_find_lane(&g->queue, bytes_str(m->name), n);
            if (from && from != to && !lane_engines(from) && lane_waiting(from))
                queue_move(&g->queue, from, to);
        }
    }
}

enum status route_only_model(struct gateway *g, struct bytes *name, struct error *err)
{
    const struct catalog *c = replica_catalog(g->replica);
    size_t found = 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!c->models[i]->deployment.version)
            continue;
        *name = bytes_str(c->models[i]->name);
        found++;
    }
    if (found == 1)
        return STATUS_OK;
    if (!replica_synced(g->replica))
        return error_set(err, STATUS_UNAVAILABLE, "the catalog has not come yet; try again");
    return found ? error_set(
                       err, STATUS_INVALID,
                       "%zu models are deployed: name one with \"model\" in the body or ?model=",
                       found)
                 : error_set(err, STATUS_UNAVAILABLE, "no model is deployed yet");
}
