/* restore.c - POST /api/restore: an archive of backup.c into a registry that is empty.
 *
 * Pages of records go to the registry one at a time, in order; chunks several at once.  Nothing is
 * to be seen until all has come; then everything is, in one step.
 */
#include "services/gateway/api/backup.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "services/gateway/api/catch_up.h"
#include "services/gateway/api/persist.h"
#include "services/gateway/tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#define PUTS_MAX       8 /* with the registry; more: the client has to wait */
#define PUT_TIMEOUT_MS 30000
#define END_TIMEOUT_MS 60000 /* for the step that makes all visible */
#define RETRY_MS       200

/* A page or a chunk on its way. */
struct put {
    struct restore *restore;
    struct frame data;
    struct digest digest; /* of a chunk */
    uint64_t page;        /* 0: a chunk */
    struct rpc_call *call;
    uint64_t deadline_ms;
    struct put *prev, *next;
};

enum part { PART_NONE, PART_HEAD, PART_PAGE, PART_CHUNK, PART_END };

struct restore {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct loop_timer *retry;
    struct loop_timer *hold; /* chunks do not tell the registry whose they are */
    char id[BACKUP_ID_SIZE];
    struct tar_reader tar;
    enum part part; /* of the archive, that is coming */
    struct digest digest;
    struct buf current;
    struct put *puts; /* in their order */
    size_t puts_count;
    bool page_open;         /* a page is with the registry: the next one waits */
    struct persist persist; /* of begin, then end */
    bool begun;
    bool paused;
    bool complete; /* the body has come */
    bool ending;
    uint64_t pages, chunks; /* that have come */
    uint64_t pages_said;    /* at the end of the archive */
    bool end_seen;
    struct catch_up catch_up; /* it is restored, and this gateway has to hear of it */
};

static void step(struct restore *r);

static void put_destroy(struct put *p)
{
    rpc_cancel(p->call);
    frame_finish(&p->data);
    DL_DELETE(p->restore->puts, p);
    p->restore->puts_count--;
    free(p);
}

static void on_dropped(void *arg, const struct rpc_reply *reply)
{
    (void)arg; /* if it does not arrive, the registry's own time ends it */
    (void)reply;
}

static void destroy(struct restore *r, bool drop)
{
    struct msg_restore m = { .id = bytes_str(r->id) };
    struct put *p, *next;
    persist_finish(&r->persist);
    catch_up_finish(&r->catch_up);
    DL_FOREACH_SAFE(r->puts, p, next)
    put_destroy(p);
    if (drop) {
        struct rpc_call *call = rpc_call(r->gateway->registry, MSG_RESTORE_DROP, &m, NULL,
                                         RPC_TIMEOUT_MS, on_dropped, NULL);
        (void)call;
    }
    loop_timer_destroy(r->retry);
    loop_timer_destroy(r->hold);
    r->gateway->backups--;
    buf_finish(&r->current);
    free(r);
}

/* Page 0 has come always: to say so renews the registry's time. */
static void hold(void *arg)
{
    struct restore *r = arg;
    struct msg_restore m = { .id = bytes_str(r->id) };
    struct rpc_call *call =
        rpc_call(r->gateway->registry, MSG_RESTORE_PUT, &m, NULL, RPC_TIMEOUT_MS, on_dropped, NULL);
    (void)call; /* the next one comes */
}

static void on_gone(struct pending *p)
{
    destroy((struct restore *)p, true);
}

/* The last thing that a caller does. */
static void refuse(struct restore *r, enum status st, const char *text)
{
    api_error(r->http, st == STATUS_CANCELLED ? STATUS_UNAVAILABLE : st, "%s", text);
    destroy(r, true);
}

/* ---- to the registry ---------------------------------------------------------------------------- */

static void on_put(void *arg, const struct rpc_reply *reply)
{
    struct put *p = arg;
    struct restore *r = p->restore;
    p->call = NULL;
    if (reply->status && status_retryable(reply->status) && reply->status != STATUS_FULL &&
        clock_ms() + RETRY_MS < p->deadline_ms) {
        loop_timer_start(r->retry, RETRY_MS, 0);
        return;
    }
    if (reply->status) {
        refuse(r, reply->status, reply->text);
        return;
    }
    r->page_open = r->page_open && !p->page;
    put_destroy(p);
    step(r);
}

static void send_put(struct put *p)
{
    struct restore *r = p->restore;
    struct msg_restore page = { .id = bytes_str(r->id), .page = p->page };
    struct msg_chunk chunk = { .digest = bytes_of(p->digest.byte, DIGEST_SIZE) };
    struct frame data;
    frame_init_share(&data, &p->data);
    p->call = rpc_call(r->gateway->registry, p->page ? MSG_RESTORE_PUT : MSG_CHUNK_PUT,
                       p->page ? (const void *)&page : &chunk, &data, PUT_TIMEOUT_MS, on_put, p);
    frame_finish(&data);
    if (!p->call)
        loop_timer_start(r->retry, RETRY_MS, 0);
    r->page_open = r->page_open || p->page;
}

static void send_puts(struct restore *r)
{
    struct put *p;
    DL_FOREACH(r->puts, p)
    {
        bool again = p->page && r->page_open; /* it may be this one, or wait for another */
        if (!p->call && !again)
            send_put(p);
    }
}

static void on_retry(void *arg)
{
    struct restore *r = arg;
    r->page_open = false;
    struct put *p;
    DL_FOREACH(r->puts, p)
    r->page_open = r->page_open || (p->page && p->call);
    step(r);
}

static void answer_restored(void *arg)
{
    struct restore *r = arg;
    struct buf out = { 0 };
    buf_printf(&out, "{\"restored\":true,\"chunks\":%llu}", (unsigned long long)r->chunks);
    api_json(r->http, 200, &out);
    destroy(r, false);
}

static void on_ended(void *arg, const struct rpc_reply *reply)
{
    struct restore *r = arg;
    if (reply->status) {
        refuse(r, reply->status, reply->text);
        return;
    }
    log_info("a backup was restored", LOG_U("pages", r->pages), LOG_U("chunks", r->chunks));
    if (!catch_up_wait(&r->catch_up, r->gateway, reply, answer_restored, r))
        answer_restored(r);
}

static void end(struct restore *r)
{
    if (!r->end_seen || !tar_complete(&r->tar) || r->pages_said != r->pages) {
        refuse(r, STATUS_INVALID, "the backup is cut off: its end is missing");
        return;
    }
    r->ending = true;
    persist_start(&r->persist, END_TIMEOUT_MS);
}

/* Starts what can be started.  The last thing that a caller does. */
static void step(struct restore *r)
{
    if (!r->begun)
        return;
    send_puts(r);
    if (r->complete && !r->puts && !r->ending) {
        end(r);
    } else if (r->paused && r->puts_count < PUTS_MAX) {
        r->paused = false;
        http_resume(r->http);
    }
}

/* ---- out of the archive ------------------------------------------------------------------------- */

static enum status unknown(const char *name, struct error *err)
{
    return error_set(err, STATUS_INVALID, "this is no backup: '%s' is unexpected there", name);
}

static enum status on_file(void *arg, const char *name, uint64_t size, struct error *err)
{
    struct restore *r = arg;
    uint64_t limit = CHUNK_BYTES;
    bool begun = r->part != PART_NONE || r->pages || r->chunks;
    r->current.len = 0;
    if (strcmp(name, BACKUP_HEAD) == 0 && !begun)
        r->part = PART_HEAD;
    else if (strncmp(name, BACKUP_RECORDS, strlen(BACKUP_RECORDS)) == 0 && begun && !r->end_seen)
        r->part = PART_PAGE;
    else if (strncmp(name, BACKUP_CHUNK, strlen(BACKUP_CHUNK)) == 0 && begun && !r->end_seen &&
             !digest_parse(bytes_str(name + strlen(BACKUP_CHUNK)), &r->digest))
        r->part = PART_CHUNK;
    else if (strcmp(name, BACKUP_END) == 0 && begun)
        r->part = PART_END;
    else
        return unknown(name, err);
    if (r->part == PART_HEAD || r->part == PART_END)
        limit = 64;
    if (!size || size > limit)
        return error_set(err, STATUS_INVALID, "'%s' in the backup has an impossible size", name);
    return STATUS_OK;
}

static void add_put(struct restore *r)
{
    struct put *p = mem_zalloc(sizeof *p);
    p->restore = r;
    p->digest = r->digest;
    p->page = r->part == PART_PAGE ? ++r->pages : 0;
    p->deadline_ms = clock_ms() + PUT_TIMEOUT_MS;
    r->chunks += r->part == PART_CHUNK;
    frame_init_buf(&p->data, &r->current);
    DL_APPEND(r->puts, p);
    r->puts_count++;
}

static enum status end_file(struct restore *r, struct error *err)
{
    switch (r->part) {
    case PART_HEAD:
        if (!bytes_equal_str(buf_bytes(&r->current), BACKUP_FORMAT))
            return error_set(err, STATUS_UNSUPPORTED, "the backup has a format that is not known");
        break;
    case PART_END:
        r->end_seen = true;
        r->pages_said = strtoull(buf_cstr(&r->current), NULL, 10);
        break;
    default:
        add_put(r);
    }
    return STATUS_OK;
}

static enum status on_data(void *arg, struct bytes piece, struct error *err)
{
    struct restore *r = arg;
    if (!piece.len)
        return end_file(r, err);
    buf_append_bytes(&r->current, piece);
    return STATUS_OK;
}

/* ---- the request -------------------------------------------------------------------------------- */

static void on_body(struct pending *pending, struct bytes piece)
{
    struct restore *r = (struct restore *)pending;
    struct error err;
    if (tar_feed(&r->tar, piece, &err)) {
        refuse(r, err.status, err.text);
        return;
    }
    if (!r->begun || r->puts_count >= PUTS_MAX) {
        r->paused = true;
        http_pause(r->http);
    }
    step(r);
}

static void on_complete(struct pending *p)
{
    struct restore *r = (struct restore *)p;
    r->complete = true;
    step(r);
}

static void on_begun(void *arg, const struct rpc_reply *reply)
{
    struct restore *r = arg;
    if (reply->status) {
        refuse(r, reply->status, reply->text);
        return;
    }
    r->begun = true;
    step(r);
}

/* Both may arrive twice: the registry knows the id. */
static void on_decided(void *arg, const struct rpc_reply *reply)
{
    struct restore *r = arg;
    if (r->ending)
        on_ended(r, reply);
    else
        on_begun(r, reply);
}

static void send_request(void *arg)
{
    struct restore *r = arg;
    struct msg_restore m = { .id = bytes_str(r->id), .page = r->ending ? r->pages : 0 };
    persist_send(&r->persist, r->ending ? MSG_RESTORE_END : MSG_RESTORE_BEGIN, &m);
}

void backup_restore(struct call *c)
{
    static const struct tar_events events = { on_file, on_data };
    if (c->gateway->backups) {
        api_error(c->http, STATUS_UNAVAILABLE, "another backup or restore is under way; try again");
        return;
    }
    struct restore *r = mem_zalloc(sizeof *r);
    r->base = (struct pending){ .gone = on_gone, .body = on_body, .complete = on_complete };
    r->gateway = c->gateway;
    r->http = c->http;
    r->gateway->backups++;
    r->retry = loop_timer_create(c->gateway->loop, on_retry, r);
    r->hold = loop_timer_create(c->gateway->loop, hold, r);
    loop_timer_start(r->hold, BACKUP_HOLD_MS, BACKUP_HOLD_MS);
    backup_make_id(r->id);
    tar_start(&r->tar, &events, r);
    c->http->user = &r->base;
    c->http->stream = true;
    persist_init(&r->persist, c->gateway, send_request, on_decided, r);
    persist_start(&r->persist, PERSIST_TIMEOUT_MS);
}
