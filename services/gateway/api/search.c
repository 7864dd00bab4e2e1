/* search.c - see search.h. */
#include "services/gateway/api/search.h"

#include <stdlib.h>
#include <strings.h>

/* ---- what is asked for ------------------------------------------------------------------------- */

static enum status take(const struct call *c, const char *name, char *out, size_t size,
                        struct error *err)
{
    enum status st = api_query(c, name, out, size);
    if (st == STATUS_NOT_FOUND)
        out[0] = 0;
    return st == STATUS_INVALID ? error_set(err, st, "?%s= is too long, or has a NUL", name)
                                : STATUS_OK;
}

enum status search_read(const struct call *c, struct search *out, struct error *err)
{
    char limit[16], *end = limit;
    enum status st = take(c, "query", out->query, sizeof out->query, err);
    if (!st)
        st = take(c, "tag", out->tag, sizeof out->tag, err);
    if (!st)
        st = take(c, "after", out->after, sizeof out->after, err);
    if (!st)
        st = take(c, "limit", limit, sizeof limit, err);
    if (st)
        return st;
    char *equals = strchr(out->tag, '=');
    out->value = equals ? equals + 1 : NULL;
    if (equals)
        *equals = 0;
    out->limit = limit[0] ? strtoul(limit, &end, 10) : SEARCH_LIMIT_DEFAULT;
    if (*end || out->limit == 0 || out->limit > SEARCH_LIMIT_MAX)
        return error_set(err, STATUS_INVALID, "?limit= must be a number from 1 to %d",
                         SEARCH_LIMIT_MAX);
    return STATUS_OK;
}

/* ---- what matches ------------------------------------------------------------------------------ */

static bool contains(struct bytes text, const char *word)
{
    size_t len = strlen(word);
    const char *p = text.data;
    for (size_t i = 0; i + len <= text.len; i++)
        if (strncasecmp(p + i, word, len) == 0)
            return true;
    return false;
}

static bool value_is(yyjson_val *v, const char *value)
{
    if (yyjson_is_str(v))
        return yyjson_equals_str(v, value);
    char *text = yyjson_val_write(v, 0, NULL);
    bool same = text && strcmp(text, value) == 0;
    free(text);
    return same;
}

/* Most tags do not have the key's letters, and need no parser to see it. */
static bool may_have(struct bytes tags, const char *key)
{
    return tags.len &&
           (memmem(tags.data, tags.len, key, strlen(key)) || memchr(tags.data, '\\', tags.len));
}

static bool has_tag(struct bytes tags, const char *key, const char *value)
{
    if (!may_have(tags, key))
        return false;
    yyjson_doc *doc = yyjson_read(tags.data, tags.len, 0);
    yyjson_val *v = yyjson_obj_get(yyjson_doc_get_root(doc), key);
    bool has = v && (!value || value_is(v, value));
    yyjson_doc_free(doc);
    return has;
}

bool search_matches(const struct search *s, const struct catalog_model *m)
{
    bool query = !s->query[0] || contains(bytes_str(m->name), s->query), tag = !s->tag[0];
    if (!catalog_known(m))
        return false;
    for (uint64_t n = 1; n <= m->versions_count && !(query && tag); n++) {
        const struct msg_version *v = catalog_version(m, n);
        if (!v)
            continue;
        query = query || contains(v->description, s->query);
        tag = tag || has_tag(v->tags, s->tag, s->value);
    }
    return query && tag;
}
