/* artifact.c - a version's files, streamed to the client: whole, or a range.
 *
 * The manifest comes first, then chunks, as fast as the client takes them: what one download holds
 * in memory is a window of chunks.
 */
#include "common/net/reader.h"
#include "services/gateway/api/api.h"
#include "services/gateway/http/range.h"

#include <stdio.h>
#include <stdlib.h>

#define DOWNLOADS_MAX 32 /* at a time: each holds a window of chunks in memory */
#define ETAG_SIZE     (DIGEST_HEX_SIZE + 2)

struct file_download {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct rpc_call *call; /* for the manifest */
    struct reader *reader;
    uint64_t size;
    uint64_t first, length; /* what the client gets of it */
    int status;
};

static void destroy(struct file_download *d)
{
    d->gateway->downloads--;
    rpc_cancel(d->call);
    reader_destroy(d->reader);
    free(d);
}

static void on_gone(struct pending *p)
{
    destroy((struct file_download *)p);
}

static void on_drained(struct pending *p)
{
    reader_resume(((struct file_download *)p)->reader);
}

static void on_piece(void *arg, struct frame *data)
{
    struct file_download *d = arg;
    if (!api_stream_write(d->http, data))
        reader_pause(d->reader);
}

static void on_done(void *arg, const struct error *err)
{
    struct file_download *d = arg;
    if (err)
        api_stream_abort(d->http, err);
    else
        api_stream_end(d->http);
    destroy(d);
}

static const struct reader_events reader_events = { on_piece, on_done };

static void on_manifest(void *arg, const struct rpc_reply *reply)
{
    struct file_download *d = arg;
    const struct msg_manifest *m = reply->body;
    struct buf spans = { 0 };
    d->call = NULL;
    if (reply->status || m->size_bytes != d->size ||
        m->chunks.len / DIGEST_SIZE * CHUNK_BYTES < d->size) {
        api_error(d->http,
                  reply->status == STATUS_OK          ? STATUS_CORRUPT
                  : reply->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE
                                                      : reply->status,
                  "%s", reply->status ? reply->text : "the artifact's manifest does not fit it");
        destroy(d);
        return;
    }
    if (!api_stream_begin(d->http, d->status, "application/octet-stream", d->length)) {
        destroy(d);
        return;
    }
    reader_add_range(&spans, m->chunks, d->first, d->length);
    d->reader = reader_create(d->gateway->loop, d->gateway->registry, &spans, &reader_events, d);
}

/* false: it has been answered. */
static bool choose_range(struct file_download *d, const char *etag)
{
    struct http_request *r = d->http;
    char text[96];
    bool fits = !r->if_range[0] || strcmp(r->if_range, etag) == 0;
    api_add_header(r, "etag", etag);
    if (r->if_none_match[0] && range_tag_matches(r->if_none_match, etag)) {
        api_json(r, 304, &(struct buf){ 0 });
        return false;
    }
    api_add_header(r, "accept-ranges", "bytes");
    d->length = d->size;
    d->status = 200;
    switch (fits ? range_parse(r->range, d->size, &d->first, &d->length) : RANGE_WHOLE) {
    case RANGE_WHOLE:
        return true;
    case RANGE_PART:
        d->status = 206;
        snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)d->first,
                 (unsigned long long)(d->first + d->length - 1), (unsigned long long)d->size);
        api_add_header(r, "content-range", text);
        return true;
    default:
        snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)d->size);
        api_add_header(r, "content-range", text);
        struct buf body = { 0 };
        buf_printf(&body, "{\"error\":\"the file has %llu bytes; the range is outside\"}",
                   (unsigned long long)d->size);
        api_json(r, 416, &body);
        return false;
    }
}

static void send_file(struct call *c, struct bytes digest, uint64_t size)
{
    struct digest d;
    char hex[DIGEST_HEX_SIZE], etag[ETAG_SIZE];
    struct gateway *g = c->gateway;
    struct file_download *file;
    if (digest.len != DIGEST_SIZE || !size) {
        api_error(c->http, STATUS_CORRUPT, "the version's record is damaged");
        return;
    }
    if (g->downloads >= DOWNLOADS_MAX) {
        api_error(c->http, STATUS_UNAVAILABLE, "%d files are being downloaded already; try again",
                  DOWNLOADS_MAX);
        return;
    }
    memcpy(d.byte, digest.data, DIGEST_SIZE);
    digest_hex(&d, hex);
    snprintf(etag, sizeof etag, "\"%s\"", hex);
    g->downloads++;
    file = mem_alloc(sizeof *file);
    *file = (struct file_download){ .base = { .gone = on_gone, .drained = on_drained },
                                    .gateway = g,
                                    .http = c->http,
                                    .size = size };
    if (!choose_range(file, etag)) {
        destroy(file);
        return;
    }
    struct msg_chunk body = { .digest = bytes_of(d.byte, DIGEST_SIZE) };
    c->http->user = &file->base;
    file->call =
        rpc_call(g->registry, MSG_MANIFEST_GET, &body, NULL, RPC_TIMEOUT_MS, on_manifest, file);
    if (!file->call) {
        api_error(c->http, STATUS_BUSY, "too many requests wait for the registry; try again");
        destroy(file);
    }
}

/* The version that the path names; NULL: it has been answered. */
static const struct msg_version *find_version(struct call *c)
{
    struct error err;
    uint32_t number;
    struct catalog_model *m = api_model(c);
    if (!m)
        return NULL;
    if (api_version_of(c->gateway, c->params[0], c->params[1], &number, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return NULL;
    }
    const struct msg_version *v = catalog_version(m, number);
    if (!v)
        api_error(c->http, STATUS_NOT_FOUND, "model '%s' has no version %u", m->name, number);
    return v;
}

static void get_artifact(struct call *c)
{
    const struct msg_version *v = find_version(c);
    if (v)
        send_file(c, v->digest, v->size_bytes);
}

static void get_file(struct call *c)
{
    const struct msg_version *v = find_version(c);
    if (!v)
        return;
    for (size_t i = 0; i < v->files_count; i++)
        if (bytes_equal(v->files[i].name, c->params[2])) {
            send_file(c, v->files[i].digest, v->files[i].size_bytes);
            return;
        }
    if (!v->files_count && bytes_equal_str(c->params[2], "model.onnx"))
        send_file(c, v->digest, v->size_bytes);
    else
        api_error(c->http, STATUS_NOT_FOUND, "version %u has no file '%.*s'", v->number,
                  (int)c->params[2].len, (const char *)c->params[2].data);
}

const struct route artifact_routes[] = {
    { "GET", "/api/models/{}/versions/{}/artifact", get_artifact, NULL },
    { "GET", "/api/models/{}/versions/{}/files/{}", get_file, NULL },
    { 0 },
};
