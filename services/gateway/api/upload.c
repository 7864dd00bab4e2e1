/* upload.c - a streamed body on its way to the registry.
 *
 * The commit is sent again while the registry cannot decide it: it has a key, or is a put, so
 * that one which was decided after all is harmless.
 */
#include "services/gateway/api/upload.h"

#include "services/gateway/api/persist.h"

#include <stdlib.h>

#define UPLOADS_MAX 32 /* at a time: each holds a window of chunks in memory */

struct body_upload {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct upload *upload;
    struct persist persist;   /* of the commit */
    struct manifest manifest; /* when the data is complete */
    uint64_t timeout_ms;      /* for the commit */
    struct upload_target target;
    upload_commit_fn *commit;
    upload_answer_fn *answer;
};

static void destroy(struct body_upload *u)
{
    u->gateway->uploads--;
    upload_destroy(u->upload);
    persist_finish(&u->persist);
    buf_finish(&u->manifest.chunks);
    free(u);
}

static void on_gone(struct pending *p)
{
    destroy((struct body_upload *)p); /* chunks that nobody commits expire */
}

static void on_drained(void *arg)
{
    struct body_upload *u = arg;
    http_resume(u->http);
}

static void refuse(struct body_upload *u, enum status st, const char *text)
{
    api_error(u->http, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    destroy(u);
}

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct body_upload *u = arg;
    struct buf out = { 0 };
    if (reply->status) {
        refuse(u, reply->status, reply->text);
        return;
    }
    api_json(u->http, u->answer(u->gateway, &u->target, reply, &out), &out);
    destroy(u);
}

void upload_send_commit(struct body_upload *u, enum msg_kind kind, const void *body)
{
    persist_send(&u->persist, kind, body);
}

static void send_commit(void *arg)
{
    struct body_upload *u = arg;
    u->commit(u, &u->manifest);
}

static void on_done(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct body_upload *u = arg;
    if (err) {
        refuse(u, err->status, err->text);
        return;
    }
    manifest_copy(&u->manifest, manifest);
    digest_hex(&manifest->digest, u->target.digest);
    u->target.size_bytes = manifest->size_bytes;
    if (u->commit) {
        persist_start(&u->persist, u->timeout_ms);
        return;
    }
    struct buf out = { 0 };
    api_json(u->http, u->answer(u->gateway, &u->target, NULL, &out), &out);
    destroy(u);
}

static void on_body(struct pending *p, struct bytes piece)
{
    struct body_upload *u = (struct body_upload *)p;
    struct http_request *r = u->http;
    if (!upload_write(u->upload, piece) && r->user == p) /* else u is gone */
        http_pause(r);
}

static void on_complete(struct pending *p)
{
    upload_end(((struct body_upload *)p)->upload);
}

static const struct upload_events events = { .drained = on_drained, .done = on_done };

bool upload_admit(struct call *c, uint64_t limit, uint64_t *timeout_ms, char key[MAX_NAME + 1])
{
    struct error err;
    if (c->http->has_length && c->http->content_length > limit) {
        api_error(c->http, STATUS_TOO_LARGE, "the body has %llu bytes; at most %llu are allowed",
                  (unsigned long long)c->http->content_length, (unsigned long long)limit);
        return false;
    }
    *timeout_ms = PERSIST_TIMEOUT_MS;
    if (api_timeout(c->http, timeout_ms, &err) || api_key(c->http, key, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return false;
    }
    if (c->gateway->uploads >= UPLOADS_MAX) {
        api_error(c->http, STATUS_UNAVAILABLE, "%d files are being uploaded already; try again",
                  UPLOADS_MAX);
        return false;
    }
    c->gateway->uploads++;
    return true;
}

void upload_begin(struct call *c, const struct upload_target *target, upload_commit_fn *commit,
                  upload_answer_fn *answer)
{
    uint64_t limit = c->gateway->config->max_artifact_bytes, timeout_ms;
    char key[MAX_NAME + 1] = "";
    struct body_upload *u;
    if (!upload_admit(c, limit, &timeout_ms, key))
        return;
    u = mem_zalloc(sizeof *u);
    u->base = (struct pending){ .gone = on_gone, .body = on_body, .complete = on_complete };
    u->gateway = c->gateway;
    u->http = c->http;
    u->target = *target;
    memcpy(u->target.key, key, sizeof key);
    u->commit = commit;
    u->answer = answer;
    u->timeout_ms = timeout_ms;
    persist_init(&u->persist, c->gateway, send_commit, on_committed, u);
    u->upload = target->upload[0]
                    ? upload_create_range(c->gateway->loop, c->gateway->registry, target->upload,
                                          target->offset, limit, &events, u)
                    : upload_create(c->gateway->loop, c->gateway->registry, limit, &events, u);
    c->http->user = &u->base;
    c->http->stream = true;
}

const struct upload_target *upload_what(const struct body_upload *u)
{
    return &u->target;
}
