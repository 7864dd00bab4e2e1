/* assemble.c - makes a version of uploads: POST /api/uploads/{id}/commit.
 *
 * One file after the other: what is there is looked up, and if nothing is missing, read from the
 * registry in order and hashed.  Chunks that have come in one piece stay as they are; others are
 * put together and stored on the way.  At the end one commit makes all visible at once, and the
 * uploads over.
 */
#include "services/gateway/api/assemble.h"

#include "common/net/reader.h"
#include "services/gateway/api/persist.h"
#include "services/gateway/api/upload.h"
#include "services/gateway/pieces.h"

#include <stdio.h>
#include <stdlib.h>

#define ASSEMBLIES_MAX 8 /* at a time: each reads as fast as it can */
#define GAPS_NAMED     3

struct assembly {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct order order;
    struct upload_target target; /* for the answer */
    uint64_t timeout_ms;
    size_t file; /* the present one */
    struct upload_look look;
    size_t look_at; /* a place in its pieces: pieces_whole */
    struct reader *reader;
    struct upload *upload;
    bool *gone; /* set by destroy, while a piece is being written */
    struct manifest done[MAX_VERSION_FILES];
    struct persist persist; /* of the commit */
};

static void next_file(struct assembly *a);

static void destroy(struct assembly *a)
{
    a->gateway->assemblies--;
    if (a->gone)
        *a->gone = true;
    upload_look_finish(&a->look);
    reader_destroy(a->reader);
    upload_destroy(a->upload);
    persist_finish(&a->persist);
    order_finish(&a->order);
    for (size_t i = 0; i < MAX_VERSION_FILES; i++)
        buf_finish(&a->done[i].chunks);
    free(a);
}

static void on_gone(struct pending *p)
{
    destroy((struct assembly *)p); /* the uploads stay as they are */
}

static void refuse(struct assembly *a, enum status st, const char *text)
{
    api_error(a->http, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    destroy(a);
}

/* ---- the commit --------------------------------------------------------------------------------- */

static void send_commit(void *arg)
{
    struct assembly *a = arg;
    const struct order *o = &a->order;
    struct msg_part parts[MAX_VERSION_FILES];
    struct msg_name uploads[MAX_VERSION_FILES];
    for (size_t i = 0; i < o->count; i++) {
        uploads[i] = (struct msg_name){ .name = bytes_str(o->files[i].upload) };
        if (i)
            parts[i - 1] = manifest_part(&a->done[i], o->files[i].name);
    }
    const struct manifest *first = &a->done[0];
    struct msg_version_commit body = { .key = bytes_str(a->target.key),
                                       .model = bytes_str(o->model),
                                       .format = bytes_str(o->format),
                                       .digest = bytes_of(first->digest.byte, DIGEST_SIZE),
                                       .size_bytes = first->size_bytes,
                                       .chunks = buf_bytes(&first->chunks),
                                       .tags = buf_bytes(&o->tags),
                                       .description = bytes_str(o->description),
                                       .source = bytes_str("upload"),
                                       .process = bytes_str(a->target.who),
                                       .file = bytes_str(o->files[0].name),
                                       .parts = parts,
                                       .parts_count = o->count - 1,
                                       .uploads = uploads,
                                       .uploads_count = o->count };
    persist_send(&a->persist, MSG_VERSION_COMMIT, &body);
}

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct assembly *a = arg;
    struct buf out = { 0 };
    if (reply->status) {
        refuse(a, reply->status, reply->text);
        return;
    }
    api_json(a->http, upload_answer_version(a->gateway, &a->target, reply, &out), &out);
    destroy(a);
}

static void commit(struct assembly *a)
{
    digest_hex(&a->done[0].digest, a->target.digest);
    a->target.size_bytes = a->done[0].size_bytes;
    persist_start(&a->persist, a->timeout_ms);
}

/* ---- one file ----------------------------------------------------------------------------------- */

static void on_piece(void *arg, struct frame *data)
{
    struct assembly *a = arg;
    bool gone = false;
    a->gone = &gone;
    bool more = upload_write(a->upload, frame_bytes(data));
    if (gone)
        return;
    a->gone = NULL;
    if (!more)
        reader_pause(a->reader);
}

static void on_read(void *arg, const struct error *err)
{
    struct assembly *a = arg;
    if (err)
        refuse(a, err->status, err->text);
    else
        upload_end(a->upload);
}

static void on_drained(void *arg)
{
    struct assembly *a = arg;
    reader_resume(a->reader);
}

static void on_assembled(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct assembly *a = arg;
    const struct wanted_file *f = &a->order.files[a->file];
    char hex[DIGEST_HEX_SIZE], text[ERROR_TEXT_MAX];
    struct digest wanted;
    if (err) {
        refuse(a, err->status, err->text);
        return;
    }
    digest_hex(&manifest->digest, hex);
    if (f->sha256[0] && (digest_parse(bytes_str(f->sha256), &wanted) ||
                         !digest_equal(&wanted, &manifest->digest))) {
        snprintf(text, sizeof text,
                 "the SHA-256 of upload '%s' is %s, not %s; send the ranges that are wrong again",
                 f->upload, hex, f->sha256);
        refuse(a, STATUS_CONFLICT, text);
        return;
    }
    manifest_copy(&a->done[a->file++], manifest);
    next_file(a);
}

static bool is_known(void *arg, size_t index, const struct digest *digest)
{
    struct assembly *a = arg;
    const struct wanted_file *f = &a->order.files[a->file];
    const struct digest *whole = pieces_whole(&a->look.state.pieces, f->size, index, &a->look_at);
    return whole && digest_equal(whole, digest);
}

/* Nothing is missing: names what is, otherwise. */
static enum status check_whole(struct assembly *a, struct error *err)
{
    struct wanted_file *f = &a->order.files[a->file];
    const struct upload_state *u = &a->look.state;
    struct gap gaps[GAPS_NAMED];
    char text[200] = "";
    size_t len = 0;
    uint64_t whole = 0, end = pieces_end(&u->pieces);
    if (f->size && u->size_bytes && f->size != u->size_bytes)
        return error_set(err, STATUS_CONFLICT, "upload '%s' was begun with another size, %llu",
                         f->upload, (unsigned long long)u->size_bytes);
    f->size = f->size ? f->size : u->size_bytes ? u->size_bytes : end;
    if (end > f->size)
        return error_set(err, STATUS_CONFLICT, "upload '%s' has bytes up to %llu, behind its size",
                         f->upload, (unsigned long long)end);
    size_t count = pieces_missing(&u->pieces, f->size, gaps, GAPS_NAMED);
    for (size_t i = 0; i < count && i < GAPS_NAMED; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%llu to %llu", i ? ", " : "",
                                (unsigned long long)gaps[i].offset,
                                (unsigned long long)(gaps[i].offset + gaps[i].length - 1));
    for (size_t i = 0; i < a->file; i++)
        whole += a->done[i].size_bytes;
    if (whole > VERSION_BYTES_MAX || f->size > VERSION_BYTES_MAX - whole)
        return error_set(err, STATUS_TOO_LARGE,
                         "all files of a version together may have %llu bytes", VERSION_BYTES_MAX);
    if (count || !f->size)
        return error_set(err, STATUS_CONFLICT, "upload '%s' is not complete; missing: %s%s",
                         f->upload, count ? text : "everything",
                         count > GAPS_NAMED ? " and more" : "");
    return STATUS_OK;
}

static void start_reading(struct assembly *a)
{
    static const struct reader_events reading = { on_piece, on_read };
    static const struct upload_events writing = { on_drained, on_assembled, is_known };
    struct gateway *g = a->gateway;
    const struct buf *pieces = &a->look.state.pieces;
    const struct piece *p = (const struct piece *)(const void *)pieces->data;
    struct buf spans = { 0 };
    for (size_t i = 0; i < pieces->len / sizeof *p; i++) {
        struct span s = { p[i].digest, p[i].skip, p[i].length };
        buf_append(&spans, &s, sizeof s);
    }
    reader_destroy(a->reader);
    upload_destroy(a->upload);
    a->look_at = 0;
    a->upload = upload_create(g->loop, g->registry, g->config->max_artifact_bytes, &writing, a);
    a->reader = reader_create(g->loop, g->registry, &spans, &reading, a);
}

/* It was committed before: the answer is the one that was given then. */
static void answer_again(struct assembly *a)
{
    const char *place = a->look.state.place, *colon = strrchr(place, ':');
    const struct wanted_file *f = &a->order.files[0];
    size_t len = colon ? (size_t)(colon - place) : 0;
    struct catalog_model *m =
        catalog_find(replica_catalog(a->gateway->replica), bytes_of(place, len));
    const struct msg_version *v = m ? catalog_version(m, strtoull(colon + 1, NULL, 10)) : NULL;
    struct digest wanted;
    if (!v) {
        replica_hint(a->gateway->replica);
        refuse(a, STATUS_UNAVAILABLE, "the version that this has become is not known here yet");
        return;
    }
    if (a->file || strcmp(m->name, a->order.model) != 0 || v->digest.len != DIGEST_SIZE ||
        digest_parse(bytes_str(f->sha256), &wanted) ||
        memcmp(wanted.byte, v->digest.data, DIGEST_SIZE) != 0) {
        char text[ERROR_TEXT_MAX];
        snprintf(text, sizeof text, "upload '%s' has become version %s of model '%.*s' already",
                 a->look.state.id, colon ? colon + 1 : "?", (int)len, place);
        refuse(a, STATUS_CONFLICT, text);
        return;
    }
    memcpy(a->target.digest, f->sha256, sizeof a->target.digest);
    a->target.size_bytes = v->size_bytes;
    on_committed(a, &(struct rpc_reply){ .kind = MSG_VERSION, .body = v });
}

static void on_looked(void *arg, const struct error *err)
{
    struct assembly *a = arg;
    struct error why;
    if (err)
        refuse(a, err->status, err->text);
    else if (a->look.state.place[0])
        answer_again(a);
    else if (check_whole(a, &why))
        refuse(a, why.status, why.text);
    else
        start_reading(a);
}

static void next_file(struct assembly *a)
{
    if (a->file == a->order.count) {
        commit(a);
        return;
    }
    upload_look_finish(&a->look);
    upload_look_start(&a->look, a->gateway, bytes_str(a->order.files[a->file].upload), on_looked,
                      a);
}

/* ---- the request -------------------------------------------------------------------------------- */

static enum status read_request(struct call *c, yyjson_val *body, struct assembly *a,
                                struct error *err)
{
    enum status st = order_read(body, c->params[0], &a->order, err);
    a->timeout_ms = PERSIST_TIMEOUT_MS;
    if (!st)
        st = api_timeout(c->http, &a->timeout_ms, err);
    if (!st)
        st = api_key(c->http, a->target.key, err);
    memcpy(a->target.name, a->order.model, sizeof a->target.name);
    memcpy(a->target.file, a->order.format, sizeof a->target.file);
    memcpy(a->target.description, a->order.description, sizeof a->target.description);
    return st;
}

void assemble_upload(struct call *c)
{
    struct gateway *g = c->gateway;
    struct error err;
    struct bytes who;
    if (g->assemblies >= ASSEMBLIES_MAX) {
        api_error(c->http, STATUS_UNAVAILABLE, "%d uploads are being committed already; try again",
                  ASSEMBLIES_MAX);
        return;
    }
    yyjson_doc *doc = api_user(c, &who) ? api_body(c) : NULL;
    if (!doc)
        return;
    struct assembly *a = mem_zalloc(sizeof *a);
    g->assemblies++;
    a->base.gone = on_gone;
    a->gateway = g;
    a->http = c->http;
    memcpy(a->target.who, who.data, who.len); /* a name: it fits */
    persist_init(&a->persist, g, send_commit, on_committed, a);
    enum status st = read_request(c, yyjson_doc_get_root(doc), a, &err);
    yyjson_doc_free(doc);
    if (st) {
        refuse(a, st, err.text);
        return;
    }
    c->http->user = &a->base;
    next_file(a);
}
