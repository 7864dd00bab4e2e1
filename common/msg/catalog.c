/* catalog.c - a sorted array of models, each with its versions by number. */
#include "common/msg/catalog.h"

#include "common/msg/clone.h"

#include <stdlib.h>

#define VERSION_NUMBER_MAX 1000000 /* of one model: the array by number stays small */

/* Stands for a version that was deleted: what comes late of it is not believed. */
static const struct msg_version gone = { .deleted = true };

static int compare(struct bytes a, const char *b)
{
    size_t b_len = strlen(b);
    int order = memcmp(a.len ? a.data : "", b, a.len < b_len ? a.len : b_len);
    return order ? order : (a.len > b_len) - (a.len < b_len);
}

/* The place of the name, or where it belongs. */
static size_t place_of(const struct catalog *c, struct bytes name, bool *found)
{
    size_t low = 0, high = c->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(name, c->models[middle]->name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

bool catalog_known(const struct catalog_model *m)
{
    return m->present || m->deployment.version;
}

struct catalog_model *catalog_find(const struct catalog *c, struct bytes name)
{
    bool found;
    size_t place = place_of(c, name, &found);
    return found && catalog_known(c->models[place]) ? c->models[place] : NULL;
}

size_t catalog_after(const struct catalog *c, struct bytes name)
{
    bool found;
    size_t place = place_of(c, name, &found);
    return place + found;
}

static struct catalog_model *find_or_add(struct catalog *c, struct bytes name)
{
    bool found;
    size_t place = place_of(c, name, &found);
    if (found)
        return c->models[place];
    struct catalog_model *m = mem_zalloc(sizeof *m);
    m->name = mem_str(name);
    c->models = mem_resize(c->models, (c->count + 1) * sizeof *c->models);
    memmove(c->models + place + 1, c->models + place, (c->count - place) * sizeof *c->models);
    c->models[place] = m;
    c->count++;
    return m;
}

/* ---- versions ------------------------------------------------------------------------------- */

/* A check is decided once, and what is deleted stays so; an answer and an event may come in either
 * order. */
static bool is_late(const struct msg_version *known, const struct msg_version *msg)
{
    return known && (known->deleted || msg->revision < known->revision ||
                     (known->check != CHECK_PENDING && msg->check == CHECK_PENDING));
}

static void set_version(struct catalog_model *m, uint32_t number, const struct msg_version *v)
{
    const struct msg_version **place = &m->versions[number - 1];
    m->present += !v->deleted;
    m->present -= *place && !(*place)->deleted;
    if (*place != &gone)
        free((void *)(uintptr_t)*place);
    *place = v;
}

static void put_version(struct catalog *c, const struct msg_version *msg)
{
    if (msg->number == 0 || msg->number > VERSION_NUMBER_MAX || !msg->model.len)
        return;
    struct catalog_model *m = find_or_add(c, msg->model);
    if (msg->number > m->versions_count) {
        m->versions = mem_resize(m->versions, msg->number * sizeof *m->versions);
        while (m->versions_count < msg->number)
            m->versions[m->versions_count++] = NULL;
    }
    if (msg->deleted)
        set_version(m, msg->number, &gone);
    else if (!is_late(m->versions[msg->number - 1], msg))
        set_version(m, msg->number, msg_clone(&schema_version, msg));
}

const struct msg_version *catalog_version(const struct catalog_model *m, uint64_t number)
{
    if (number == 0 || number > m->versions_count)
        return NULL;
    const struct msg_version *v = m->versions[number - 1];
    return v && !v->deleted ? v : NULL;
}

/* ---- deployments and aliases ---------------------------------------------------------------- */

/* One version, of which nothing but the number was told, has it all. */
static void fill_shares(struct msg_share *share, uint32_t version, struct msg_share **list,
                        size_t *count)
{
    if (*count || !version)
        return;
    *share = (struct msg_share){ version, SHARES_WHOLE };
    *list = share;
    *count = 1;
}

static void put_deployment(struct catalog *c, const struct msg_deployment *msg)
{
    if (!msg->model.len)
        return;
    struct catalog_model *m = find_or_add(c, msg->model);
    struct msg_deployment *d = &m->deployment;
    if (msg->revision < d->revision)
        return; /* an answer and an event may come in either order */
    void *memory = msg_clone(&schema_deployment, msg);
    free(m->deployment_memory);
    m->deployment_memory = memory;
    *d = *(const struct msg_deployment *)memory;
    d->model = bytes_str(m->name);
    fill_shares(&m->share, d->version, &d->traffic, &d->traffic_count);
    fill_shares(&m->previous, d->previous, &d->previous_traffic, &d->previous_traffic_count);
}

static void put_aliases(struct catalog *c, const struct msg_aliases *msg)
{
    if (!msg->model.len)
        return;
    struct catalog_model *m = find_or_add(c, msg->model);
    if (msg->revision < m->aliases.revision)
        return;
    void *memory = msg_clone(&schema_aliases, msg);
    free(m->aliases_memory);
    m->aliases_memory = memory;
    m->aliases = *(const struct msg_aliases *)memory;
}

uint32_t catalog_alias(const struct catalog_model *m, struct bytes name)
{
    for (size_t i = 0; i < m->aliases.aliases_count; i++)
        if (bytes_equal(m->aliases.aliases[i].name, name))
            return m->aliases.aliases[i].version;
    return 0;
}

static const struct msg_share *find_share(const struct msg_share *list, size_t count,
                                          uint32_t version)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].version == version)
            return &list[i];
    return NULL;
}

const struct msg_share *deployment_share(const struct msg_deployment *d, uint32_t version)
{
    return find_share(d->traffic, d->traffic_count, version);
}

bool deployment_shadows(const struct msg_deployment *d, uint32_t version)
{
    for (size_t i = 0; i < d->shadow.count; i++)
        if (d->shadow.at[i] == version)
            return true;
    return false;
}

bool deployment_uses(const struct msg_deployment *d, uint32_t version)
{
    return deployment_share(d, version) || deployment_shadows(d, version) ||
           find_share(d->previous_traffic, d->previous_traffic_count, version);
}

/* ---- the whole ------------------------------------------------------------------------------ */

void catalog_apply(struct catalog *c, const struct msg_catalog *change, bool full)
{
    if (full)
        catalog_finish(c);
    for (size_t i = 0; i < change->versions_count; i++)
        put_version(c, &change->versions[i]);
    for (size_t i = 0; i < change->deployments_count; i++)
        put_deployment(c, &change->deployments[i]);
    for (size_t i = 0; i < change->aliases_count; i++)
        put_aliases(c, &change->aliases[i]);
}

static void model_destroy(struct catalog_model *m)
{
    for (size_t n = 0; n < m->versions_count; n++)
        if (m->versions[n] != &gone)
            free((void *)(uintptr_t)m->versions[n]);
    free(m->versions);
    free(m->deployment_memory);
    free(m->aliases_memory);
    free(m->name);
    free(m);
}

void catalog_finish(struct catalog *c)
{
    for (size_t i = 0; i < c->count; i++)
        model_destroy(c->models[i]);
    free(c->models);
    *c = (struct catalog){ 0 };
}
