/* upload.c - a streamed body on its way to the registry.
 *
 * The commit is sent again while the registry cannot decide it: it has a key, or is a put, so
 * that one which was decided after all is harmless.
 */
#include "services/gateway/api/upload.h"

#include "common/base/clock.h"

#include <stdlib.h>

#define UPLOADS_MAX       32    /* at a time: each holds a window of chunks in memory */
#define COMMIT_TIMEOUT_MS 30000 /* with all tries, unless the client says another deadline */
#define TRY_TIMEOUT_MS    8000  /* for one; the registry itself waits for Redis for less */
#define RETRY_MIN_MS      100   /* before the second try; doubles up to RETRY_MAX_MS */
#define RETRY_MAX_MS      2000

struct body_upload {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct upload *upload;
    struct rpc_call *commit_call;
    struct loop_timer *retry; /* of the commit */
    struct manifest manifest; /* when the data is complete */
    uint64_t timeout_ms;      /* for the commit */
    uint64_t deadline_ms;     /* of the commit, once it was sent */
    uint64_t pause_ms;        /* before the next try */
    struct upload_target target;
    upload_commit_fn *commit;
    upload_answer_fn *answer;
};

static void destroy(struct body_upload *u)
{
    u->gateway->uploads--;
    upload_destroy(u->upload);
    rpc_cancel(u->commit_call);
    loop_timer_destroy(u->retry);
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

/* A store that is full stays full for longer than anybody waits. */
static void retry_or_refuse(struct body_upload *u, enum status st, const char *text)
{
    bool passing = status_retryable(st) && st != STATUS_FULL;
    if (!passing || clock_ms() + u->pause_ms >= u->deadline_ms) {
        refuse(u, st, text);
        return;
    }
    loop_timer_start(u->retry, u->pause_ms, 0);
    u->pause_ms = u->pause_ms < RETRY_MAX_MS / 2 ? 2 * u->pause_ms : RETRY_MAX_MS;
}

static void on_committed(void *arg, const struct rpc_reply *reply)
{
    struct body_upload *u = arg;
    struct buf out = { 0 };
    u->commit_call = NULL;
    if (reply->status) {
        retry_or_refuse(u, reply->status, reply->text);
        return;
    }
    api_json(u->http, u->answer(u->gateway, &u->target, reply, &out), &out);
    destroy(u);
}

void upload_send_commit(struct body_upload *u, enum msg_kind kind, const void *body)
{
    uint64_t now = clock_ms();
    uint64_t left_ms = u->deadline_ms > now ? u->deadline_ms - now : 1;
    u->commit_call = rpc_call(u->gateway->registry, kind, body, NULL,
                              left_ms < TRY_TIMEOUT_MS ? left_ms : TRY_TIMEOUT_MS, on_committed, u);
    if (!u->commit_call)
        retry_or_refuse(u, STATUS_BUSY, "too many requests wait for the registry; try again");
}

static void on_retry(void *arg)
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
    u->manifest =
        (struct manifest){ .digest = manifest->digest, .size_bytes = manifest->size_bytes };
    buf_append_bytes(&u->manifest.chunks, buf_bytes(&manifest->chunks));
    digest_hex(&manifest->digest, u->target.digest);
    u->target.size_bytes = manifest->size_bytes;
    u->deadline_ms = clock_ms() + u->timeout_ms;
    u->commit(u, &u->manifest);
}

static const struct upload_events events = { .drained = on_drained, .done = on_done };

void upload_begin(struct call *c, const struct upload_target *target, upload_commit_fn *commit,
                  upload_answer_fn *answer)
{
    uint64_t limit = c->gateway->config->max_artifact_bytes;
    uint64_t timeout_ms = COMMIT_TIMEOUT_MS;
    struct error err;
    char key[MAX_NAME + 1] = "";
    struct body_upload *u;
    if (c->http->has_length && c->http->content_length > limit) {
        api_error(c->http, STATUS_TOO_LARGE, "the body has %llu bytes; at most %llu are allowed",
                  (unsigned long long)c->http->content_length, (unsigned long long)limit);
        return;
    }
    if (api_timeout(c->http, &timeout_ms, &err) || api_key(c->http, key, &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (c->gateway->uploads >= UPLOADS_MAX) {
        api_error(c->http, STATUS_UNAVAILABLE, "%d files are being uploaded already; try again",
                  UPLOADS_MAX);
        return;
    }
    c->gateway->uploads++;
    u = mem_zalloc(sizeof *u);
    u->base.gone = on_gone;
    u->gateway = c->gateway;
    u->http = c->http;
    u->target = *target;
    memcpy(u->target.key, key, sizeof key);
    u->commit = commit;
    u->answer = answer;
    u->timeout_ms = timeout_ms;
    u->pause_ms = RETRY_MIN_MS;
    u->retry = loop_timer_create(c->gateway->loop, on_retry, u);
    u->upload = upload_create(c->gateway->loop, c->gateway->registry, limit, &events, u);
    c->http->user = &u->base;
    c->http->stream = true;
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
