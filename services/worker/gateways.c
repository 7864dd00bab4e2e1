/* gateways.c - see gateways.h. */
#include "services/worker/gateways.h"

static struct known_gateway *find(struct gateways *g, struct bytes id)
{
    for (size_t i = 0; i < g->count; i++)
        if (bytes_equal_str(id, g->at[i].id))
            return &g->at[i];
    return NULL;
}

/* true: it is new. */
static bool put(struct gateways *g, const struct msg_process *p)
{
    struct known_gateway *known = find(g, p->id);
    if (known) {
        known->missing_ms = 0;
        return false;
    }
    if (g->count == MAX_GATEWAYS || !p->id.len || !p->jobs.len)
        return false;
    known = &g->at[g->count];
    if (bytes_copy_str(p->id, known->id, sizeof known->id) ||
        bytes_copy_str(p->jobs, known->jobs, sizeof known->jobs))
        return false;
    known->missing_ms = 0;
    g->count++;
    return true;
}

/* A gateway at the endpoint of one that is missing has replaced it: it is that one after a
 * restart. */
static bool replaced(const struct gateways *g, const struct known_gateway *missing)
{
    for (size_t i = 0; i < g->count; i++)
        if (!g->at[i].missing_ms && strcmp(g->at[i].jobs, missing->jobs) == 0)
            return true;
    return false;
}

static bool drop_missing(struct gateways *g, uint64_t now_ms)
{
    bool changed = false;
    for (size_t i = 0; i < g->count;) {
        struct known_gateway *k = &g->at[i];
        if (k->missing_ms && (now_ms - k->missing_ms > GATEWAY_KEPT_MS || replaced(g, k))) {
            *k = g->at[--g->count];
            changed = true;
        } else {
            i++;
        }
    }
    return changed;
}

bool gateways_update(struct gateways *g, const struct msg_suite *suite, uint64_t now_ms)
{
    bool changed = false;
    for (size_t i = 0; i < g->count; i++)
        if (!g->at[i].missing_ms)
            g->at[i].missing_ms = now_ms; /* until the answer lists it, below */
    for (size_t i = 0; i < suite->processes_count; i++)
        if (suite->processes[i].role == ROLE_GATEWAY)
            changed |= put(g, &suite->processes[i]);
    changed |= drop_missing(g, now_ms);
    return changed;
}

void gateways_list(const struct gateways *g, struct msg_endpoint *list, struct msg_gateways *out)
{
    for (size_t i = 0; i < g->count; i++)
        list[i] = (struct msg_endpoint){ bytes_str(g->at[i].id), bytes_str(g->at[i].jobs) };
    *out = (struct msg_gateways){ list, g->count };
}
