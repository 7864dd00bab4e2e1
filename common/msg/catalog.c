/* catalog.c - a sorted array of models, each with its versions by number. */
#include "common/msg/catalog.h"

#include <stdlib.h>

#define VERSION_NUMBER_MAX 1000000 /* of one model: the array by number stays small */
#define VERSION_BYTES      2048    /* a usual record, unpacked */

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

struct catalog_model *catalog_find(const struct catalog *c, struct bytes name)
{
    bool found;
    size_t place = place_of(c, name, &found);
    return found ? c->models[place] : NULL;
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

static void version_destroy(struct catalog_version *v)
{
    if (!v)
        return;
    buf_finish(&v->packed);
    msg_decoder_finish(&v->decoder);
    free(v);
}

/* A check is decided once. */
static bool decided(const struct catalog *c, const struct msg_version *msg)
{
    const struct catalog_model *m = catalog_find(c, msg->model);
    const struct msg_version *v = m ? catalog_version(m, msg->number) : NULL;
    return v && v->check != CHECK_PENDING;
}

static void put_version(struct catalog *c, const struct msg_version *msg)
{
    const void *body;
    if (msg->number == 0 || msg->number > VERSION_NUMBER_MAX || !msg->model.len)
        return;
    if (decided(c, msg) && msg->check == CHECK_PENDING)
        return; /* an answer that comes after the event which came after it */
    struct catalog_version *v = mem_zalloc(sizeof *v);
    v->decoder.chunk = VERSION_BYTES;
    msg_pack(&v->packed, &schema_version, msg);
    if (msg_unpack(&v->decoder, &schema_version, buf_bytes(&v->packed), &body, NULL)) {
        version_destroy(v); /* cannot be: it was packed a line ago */
        return;
    }
    v->msg = body;
    struct catalog_model *m = find_or_add(c, msg->model);
    if (msg->number > m->versions_count) {
        m->versions = mem_resize(m->versions, msg->number * sizeof *m->versions);
        while (m->versions_count < msg->number)
            m->versions[m->versions_count++] = NULL;
    }
    version_destroy(m->versions[msg->number - 1]);
    m->versions[msg->number - 1] = v;
}

static void put_deployment(struct catalog *c, const struct msg_deployment *d)
{
    if (!d->model.len)
        return;
    struct catalog_model *m = find_or_add(c, d->model);
    if (d->revision < m->deployment.revision)
        return; /* an answer and an event may come in either order */
    m->deployment = *d;
    m->deployment.model = bytes_str(m->name);
}

void catalog_apply(struct catalog *c, const struct msg_catalog *change, bool full)
{
    if (full)
        catalog_finish(c);
    for (size_t i = 0; i < change->versions_count; i++)
        put_version(c, &change->versions[i]);
    for (size_t i = 0; i < change->deployments_count; i++)
        put_deployment(c, &change->deployments[i]);
}

void catalog_finish(struct catalog *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct catalog_model *m = c->models[i];
        for (size_t n = 0; n < m->versions_count; n++)
            version_destroy(m->versions[n]);
        free(m->versions);
        free(m->name);
        free(m);
    }
    free(c->models);
    *c = (struct catalog){ 0 };
}

const struct msg_version *catalog_version(const struct catalog_model *m, uint64_t number)
{
    if (number == 0 || number > m->versions_count || !m->versions[number - 1])
        return NULL;
    return m->versions[number - 1]->msg;
}
