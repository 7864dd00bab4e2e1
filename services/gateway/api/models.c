/* models.c - /api/models: lists, versions, and new ones. */
#include "services/gateway/api/search.h"
#include "services/gateway/api/show.h"
#include "services/gateway/api/upload.h"

#include <stdio.h>

/* ---- reading ----------------------------------------------------------------------------------- */

static void list_models(struct call *c)
{
    const struct catalog *catalog = replica_catalog(c->gateway->replica);
    struct search search;
    struct error err;
    struct buf out = { 0 };
    size_t some = 0;
    if (!api_catalog(c))
        return;
    if (search_read(c, &search, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    const struct catalog_model *last = NULL, *m = NULL;
    buf_append_str(&out, "{\"models\":[");
    for (size_t i = catalog_after(catalog, bytes_str(search.after)); i < catalog->count; i++) {
        m = catalog->models[i];
        if (!search_matches(&search, m))
            continue;
        if (some == search.limit)
            break;
        buf_append_str(&out, some++ ? "," : "");
        show_model(c->gateway, &out, m, false);
        last = m;
    }
    buf_append_str(&out, "],");
    if (some == search.limit && m != last)
        api_put_string(&out, "next", bytes_str(last->name));
    else
        buf_append_str(&out, "\"next\":null");
    buf_append_str(&out, "}");
    api_json(c->http, 200, &out);
}

static void get_model(struct call *c)
{
    struct buf out = { 0 };
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    show_model(c->gateway, &out, m, true);
    api_json(c->http, 200, &out);
}

static void get_version(struct call *c)
{
    struct buf out = { 0 };
    struct error err;
    uint32_t number;
    struct catalog_model *m = api_model(c);
    if (!m)
        return;
    if (api_version_of(c->gateway, c->params[0], c->params[1], &number, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    const struct msg_version *v = catalog_version(m, number);
    if (!v) {
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, number);
        return;
    }
    show_version(c->gateway, &out, v, true);
    api_json(c->http, 200, &out);
}

/* ---- uploading --------------------------------------------------------------------------------- */

static void commit(struct body_upload *u, const struct manifest *manifest)
{
    const struct upload_target *t = upload_what(u);
    struct msg_version_commit body = { .key = bytes_str(t->key),
                                       .model = bytes_str(t->name),
                                       .format = bytes_str(t->file),
                                       .digest = bytes_of(manifest->digest.byte, DIGEST_SIZE),
                                       .size_bytes = manifest->size_bytes,
                                       .chunks = buf_bytes(&manifest->chunks),
                                       .source = bytes_str("upload"),
                                       .tags = bytes_str(t->tags),
                                       .description = bytes_str(t->description),
                                       .process = bytes_str(t->who) };
    upload_send_commit(u, MSG_VERSION_COMMIT, &body);
}

/* So that a GET right after the answer shows the version.  What the catalog has is later news, and may
 * be this very record. */
static void show_at_once(struct gateway *g, const struct msg_version *version)
{
    const struct catalog_model *m = catalog_find(replica_catalog(g->replica), version->model);
    struct msg_version v = *version;
    if (m && catalog_version(m, v.number))
        return;
    replica_put(g->replica, &(struct msg_catalog){ .versions = &v, .versions_count = 1 });
}

int upload_answer_version(struct gateway *g, const struct upload_target *t,
                          const struct rpc_reply *reply, struct buf *out)
{
    const struct msg_version *v = reply->body;
    show_at_once(g, v);
    buf_append_str(out, "{");
    api_put_string(out, "model", bytes_str(t->name));
    buf_printf(out, ",\"version\":\"%u\",\"digest\":\"%s\",\"size\":%llu}", v->number, t->digest,
               (unsigned long long)t->size_bytes);
    return 201;
}

/* What the uploader says of the version: ?description= and ?tags=, a JSON object. */
static enum status read_words(struct call *c, struct upload_target *t, struct error *err)
{
    enum status st = api_query(c, "description", t->description, sizeof t->description);
    if (st == STATUS_INVALID)
        return error_set(err, st, "?description= has more than %d bytes, or a NUL",
                         MAX_DESCRIPTION);
    st = api_query(c, "tags", t->tags, sizeof t->tags);
    if (st == STATUS_INVALID)
        return error_set(err, st, "?tags= has more than %d bytes, or a NUL", UPLOAD_TAGS_MAX);
    return STATUS_OK; /* the registry looks at what they say */
}

static void upload_version(struct call *c)
{
    struct upload_target target = { .file = "onnx" };
    struct error err;
    struct bytes who;
    char format[MAX_NAME + 1];
    if (name_check(c->params[0], "the model's name", &err) ||
        bytes_copy_str(c->params[0], target.name, sizeof target.name)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (!api_query(c, "format", format, sizeof format))
        memcpy(target.file, format, sizeof target.file);
    if (strcmp(target.file, "onnx") != 0 && strcmp(target.file, "fake") != 0) {
        api_error(c->http, STATUS_UNSUPPORTED, "the format '%s' is unknown; use onnx", target.file);
        return;
    }
    if (c->http->has_length && c->http->content_length == 0) {
        api_error(c->http, STATUS_INVALID, "the body is empty: it must be an ONNX file");
        return;
    }
    if (read_words(c, &target, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (!api_user(c, &who))
        return;
    memcpy(target.who, who.data, who.len); /* a name: it fits */
    if (archive_is_sent(c))
        archive_begin(c, &target);
    else
        upload_begin(c, &target, commit, upload_answer_version);
}

const struct route models_routes[] = {
    { "GET", "/api/models", list_models, NULL },
    { "GET", "/api/models/{}", get_model, NULL },
    { "GET", "/api/models/{}/versions/{}", get_version, NULL },
    { "POST", "/api/models/{}/versions", NULL, upload_version },
    { 0 },
};
