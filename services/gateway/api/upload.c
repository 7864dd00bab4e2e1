/* upload.c - a streamed body on its way to the registry. */
#include "services/gateway/api/upload.h"

#include "common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define COMMIT_TIMEOUT_MS 30000

struct body_upload {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct upload *upload;
    struct rpc_call *commit_call;
    struct upload_target target;
    upload_commit_fn *commit;
    upload_answer_fn *answer;
};

static void destroy(struct body_upload *u)
{
    upload_destroy(u->upload);
    rpc_cancel(u->commit_call);
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

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct body_upload *u = arg;
    struct http_request *r = u->http;
    struct buf out = { 0 };
    u->commit_call = NULL;
    if (reply->status)
        api_error(r, reply->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : reply->status, "%s",
                  reply->text);
    else
        api_json(r, u->answer(u->gateway, &u->target, reply, &out), &out);
    destroy(u);
}

void upload_send_commit(struct body_upload *u, enum msg_kind kind, const void *body)
{
    u->commit_call =
        rpc_call(u->gateway->registry, kind, body, NULL, COMMIT_TIMEOUT_MS, on_committed, u);
    if (u->commit_call)
        return;
    api_error(u->http, STATUS_BUSY, "too many requests wait for the registry; try again");
    destroy(u);
}

static void on_done(void *arg, const struct manifest *manifest, const struct error *err)
{
    struct body_upload *u = arg;
    if (err) {
        api_error(u->http, err->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : err->status, "%s",
                  err->text);
        destroy(u);
        return;
    }
    digest_hex(&manifest->digest, u->target.digest);
    u->target.size_bytes = manifest->size_bytes;
    u->commit(u, manifest);
}

static const struct upload_events events = { .drained = on_drained, .done = on_done };

void upload_begin(struct call *c, const struct upload_target *target, upload_commit_fn *commit,
                  upload_answer_fn *answer)
{
    uint64_t random = 0;
    uint64_t limit = c->gateway->config->max_artifact_bytes;
    struct body_upload *u;
    if (c->http->has_length && c->http->content_length > limit) {
        api_error(c->http, STATUS_TOO_LARGE, "the body has %llu bytes; at most %llu are allowed",
                  (unsigned long long)c->http->content_length, (unsigned long long)limit);
        return;
    }
    u = mem_zalloc(sizeof *u);
    u->base.gone = on_gone;
    u->gateway = c->gateway;
    u->http = c->http;
    u->target = *target;
    u->commit = commit;
    u->answer = answer;
    u->upload = upload_create(c->gateway->loop, c->gateway->registry, limit, &events, u);
    c->http->user = &u->base;
    c->http->stream = true;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = clock_us();
    snprintf(u->target.key, sizeof u->target.key, "u%016llx%llx", (unsigned long long)random,
             (unsigned long long)clock_us());
}

const struct upload_target *upload_what(const struct body_upload *u)
{
    return &u->target;
}

void upload_piece(struct http_request *r, struct bytes piece)
{
    struct body_upload *u = r->user;
    if (u && !upload_write(u->upload, piece) && r->user == &u->base)
        http_pause(r);
}

void upload_complete(struct http_request *r)
{
    struct body_upload *u = r->user;
    if (u)
        upload_end(u->upload);
}
