/* describe.c - what is said of models and versions: aliases, tags, history; and their end. */
#include "services/gateway/api/show.h"
#include "services/gateway/tensor_json.h"

#include <stdlib.h>

static void refuse(struct call *c, const struct error *err)
{
    api_error(c->http, err->status, "%s", err->text);
}

/* ---- aliases ----------------------------------------------------------------------------------- */

static void put_alias_line(struct buf *out, struct bytes alias, uint32_t version)
{
    buf_append_str(out, "{");
    api_put_string(out, "alias", alias);
    buf_printf(out, ",\"version\":\"%u\"}", version);
}

static void list_aliases(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    buf_append_str(&out, "{\"aliases\":");
    show_aliases(&out, &m->aliases);
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

static void get_alias(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    uint32_t version = catalog_alias(m, c->params[1]);
    if (!version) {
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no alias '%.*s'", m->name,
                  (int)c->params[1].len, (const char *)c->params[1].data);
        return;
    }
    put_alias_line(&out, c->params[1], version);
    api_json(c->http, 200, &out);
}

/* All of them as they are now. */
static int answer_alias(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                        struct buf *out)
{
    struct msg_aliases all = *(const struct msg_aliases *)reply->body;
    (void)r;
    replica_put(g->replica, &(struct msg_catalog){ .aliases = &all, .aliases_count = 1 });
    buf_append_str(out, "{\"aliases\":");
    show_aliases(out, &all);
    buf_append_str(out, "}");
    return 200;
}

/* A version that an alias stands for; null: none. */
static enum status read_number(yyjson_val *v, const char *name, uint32_t *out, struct error *err)
{
    *out = 0;
    if (yyjson_is_null(v))
        return STATUS_OK;
    if (yyjson_is_str(v))
        return api_version(bytes_of(yyjson_get_str(v), yyjson_get_len(v)), out, err);
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) == 0 || yyjson_get_uint(v) > UINT32_MAX)
        return error_set(err, STATUS_INVALID, "\"%s\" is missing, or no version: \"7\"", name);
    *out = (uint32_t)yyjson_get_uint(v);
    return STATUS_OK;
}

static enum status read_alias(yyjson_val *body, struct msg_alias_put *out, struct error *err)
{
    yyjson_val *key, *version = yyjson_obj_get(body, "version");
    yyjson_val *expected = yyjson_obj_get(body, "expected");
    yyjson_obj_iter members = yyjson_obj_iter_with(body);
    while ((key = yyjson_obj_iter_next(&members)))
        if (!yyjson_equals_str(key, "version") && !yyjson_equals_str(key, "expected"))
            return error_set(err, STATUS_INVALID,
                             "an alias has no \"%.64s\"; it has version and expected",
                             yyjson_get_str(key));
    if (!version || yyjson_is_null(version))
        return error_set(err, STATUS_INVALID, "\"version\" is missing: {\"version\":\"7\"}");
    out->compare = expected != NULL;
    enum status st = read_number(version, "version", &out->version, err);
    return st || !expected ? st : read_number(expected, "expected", &out->expected, err);
}

static void put_alias(struct call *c)
{
    struct msg_alias_put body = { .model = c->params[0], .alias = c->params[1] };
    struct error err;
    if (name_check(c->params[0], "the model's name", &err) ||
        name_check(c->params[1], "the alias", &err)) {
        refuse(c, &err);
        return;
    }
    if (!api_user(c, &body.process))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    enum status st = read_alias(yyjson_doc_get_root(doc), &body, &err);
    yyjson_doc_free(doc);
    if (st)
        refuse(c, &err);
    else
        api_ask(c, MSG_ALIAS_PUT, &body, answer_alias);
}

/* With ?expected= only while it stands for that version. */
static void delete_alias(struct call *c)
{
    struct msg_alias_put body = { .model = c->params[0], .alias = c->params[1] };
    struct error err;
    char text[16];
    enum status st = api_query(c, "expected", text, sizeof text);
    body.compare = st != STATUS_NOT_FOUND;
    if (name_check(c->params[0], "the model's name", &err) ||
        name_check(c->params[1], "the alias", &err) ||
        (body.compare && api_version(bytes_str(st ? "" : text), &body.expected, &err))) {
        refuse(c, &err);
        return;
    }
    if (api_user(c, &body.process))
        api_ask(c, MSG_ALIAS_PUT, &body, answer_alias);
}

/* ---- tags and description ---------------------------------------------------------------------- */

static int answer_version(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    struct msg_version v = *(const struct msg_version *)reply->body;
    (void)r;
    replica_put(g->replica, &(struct msg_catalog){ .versions = &v, .versions_count = 1 });
    show_version(g, out, &v, true);
    return 200;
}

/* *tags: text of the object, to be freed. */
static enum status read_change(yyjson_val *body, struct msg_describe *out, char **tags,
                               struct error *err)
{
    yyjson_val *key;
    yyjson_obj_iter members = yyjson_obj_iter_with(body);
    while ((key = yyjson_obj_iter_next(&members))) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        if (yyjson_equals_str(key, "tags") && yyjson_is_obj(v) && !*tags) {
            size_t len;
            *tags = yyjson_val_write(v, 0, &len);
            out->tags = bytes_of(*tags, len);
            out->changes |= 1u << DESCRIBE_TAGS;
        } else if (yyjson_equals_str(key, "description") && yyjson_is_str(v)) {
            out->description = bytes_of(yyjson_get_str(v), yyjson_get_len(v));
            out->changes |= 1u << DESCRIBE_DESCRIPTION;
        } else if (yyjson_equals_str(key, "tags") || yyjson_equals_str(key, "description")) {
            return error_set(err, STATUS_INVALID,
                             "\"tags\" must be an object, \"description\" a string");
        } else {
            return error_set(err, STATUS_CONFLICT,
                             "\"%.64s\" of a version cannot be changed; tags and description can",
                             yyjson_get_str(key));
        }
    }
    if (!out->changes)
        return error_set(err, STATUS_INVALID, "nothing is changed: {\"tags\":{\"team\":\"blue\"}}");
    if (out->tags.len > MAX_JSON || out->description.len > MAX_DESCRIPTION)
        return error_set(err, STATUS_INVALID,
                         "tags may have %d bytes of JSON, a description %d bytes", MAX_JSON,
                         MAX_DESCRIPTION);
    return STATUS_OK;
}

static void patch_version(struct call *c)
{
    struct msg_describe body = { .model = c->params[0] };
    struct error err;
    char *tags = NULL;
    if (api_version_of(c->gateway, c->params[0], c->params[1], &body.version, &err)) {
        refuse(c, &err);
        return;
    }
    if (!api_user(c, &body.process))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    if (read_change(yyjson_doc_get_root(doc), &body, &tags, &err))
        refuse(c, &err);
    else
        api_ask(c, MSG_VERSION_DESCRIBE, &body, answer_version);
    yyjson_doc_free(doc);
    free(tags);
}

/* ---- deleting ---------------------------------------------------------------------------------- */

static int answer_deleted(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    (void)r;
    replica_put(g->replica, reply->body);
    buf_append_str(out, "{\"deleted\":true}");
    return 200;
}

/* By its number: an alias that stands for a version would be a reason to keep it. */
static void delete_version(struct call *c)
{
    struct msg_version_ref ref = { .model = c->params[0] };
    struct error err;
    if (name_check(c->params[0], "the model's name", &err) ||
        api_version(c->params[1], &ref.version, &err)) {
        refuse(c, &err);
        return;
    }
    if (api_user(c, &ref.process))
        api_ask(c, MSG_VERSION_DELETE, &ref, answer_deleted);
}

static void delete_model(struct call *c)
{
    struct msg_version_ref ref = { .model = c->params[0] };
    struct error err;
    if (name_check(c->params[0], "the model's name", &err))
        refuse(c, &err);
    else if (api_user(c, &ref.process))
        api_ask(c, MSG_MODEL_DELETE, &ref, answer_deleted);
}

/* ---- history ----------------------------------------------------------------------------------- */

/* JSON as it is; what an older release has written is a plain text. */
static void put_side(struct buf *out, const char *name, struct bytes text)
{
    buf_append_str(out, ",");
    if (!text.len || *(const char *)text.data == '{')
        api_put_json(out, name, text, "null");
    else
        api_put_string(out, name, text);
}

static void put_entry(struct buf *out, const struct msg_entry *e)
{
    buf_append_str(out, "{");
    api_put_string(out, "id", e->id);
    buf_append_str(out, ",");
    api_put_time(out, "when", e->changed_ms);
    buf_append_str(out, ",");
    api_put_string(out, "who", e->who);
    buf_append_str(out, ",");
    api_put_string(out, "what", e->what);
    put_side(out, "from", e->from);
    put_side(out, "to", e->to);
    buf_append_str(out, "}");
}

static int answer_history(struct gateway *g, struct http_request *r, const struct rpc_reply *reply,
                          struct buf *out)
{
    const struct msg_history *h = reply->body;
    (void)g;
    (void)r;
    buf_append_str(out, "{");
    api_put_string(out, "model", h->model);
    buf_append_str(out, ",\"history\":[");
    for (size_t i = 0; i < h->entries_count; i++) {
        buf_append_str(out, i ? "," : "");
        put_entry(out, &h->entries[i]);
    }
    buf_append_str(out, "],");
    if (h->more && h->entries_count)
        api_put_string(out, "next", h->entries[h->entries_count - 1].id);
    else
        buf_append_str(out, "\"next\":null");
    buf_append_str(out, "}");
    return 200;
}

static void get_history(struct call *c)
{
    struct msg_history_get body = { .model = c->params[0], .limit = MAX_ENTRIES };
    char before[MAX_NAME + 1] = "", limit[16] = "", *end;
    struct error err;
    enum status st = name_check(c->params[0], "the model's name", &err);
    if (!st && api_query(c, "before", before, sizeof before) == STATUS_INVALID)
        st = error_set(&err, STATUS_INVALID, "?before= is no id of a history's entry");
    body.before = bytes_str(before);
    enum status limited = api_query(c, "limit", limit, sizeof limit);
    if (!st && limited != STATUS_NOT_FOUND) {
        body.limit = (uint32_t)strtoul(limit, &end, 10);
        if (limited || *end || body.limit == 0 || body.limit > MAX_ENTRIES)
            st = error_set(&err, STATUS_INVALID, "?limit= must be a number from 1 to %d",
                           MAX_ENTRIES);
    }
    if (st)
        refuse(c, &err);
    else
        api_ask(c, MSG_HISTORY_GET, &body, answer_history);
}

const struct route describe_routes[] = {
    { "GET", "/api/models/{}/aliases", list_aliases, NULL },
    { "GET", "/api/models/{}/aliases/{}", get_alias, NULL },
    { "PUT", "/api/models/{}/aliases/{}", put_alias, NULL },
    { "DELETE", "/api/models/{}/aliases/{}", delete_alias, NULL },
    { "PATCH", "/api/models/{}/versions/{}", patch_version, NULL },
    { "DELETE", "/api/models/{}/versions/{}", delete_version, NULL },
    { "DELETE", "/api/models/{}", delete_model, NULL },
    { "GET", "/api/models/{}/history", get_history, NULL },
    { 0 },
};
