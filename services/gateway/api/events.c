/* events.c - GET /api/training/{id}/events: how a job goes, as server-sent events.
 *
 * Each stream asks the registry for the job's record twice a second while the job goes on, and
 * says what is new.  A client that does not read is not asked for: nothing piles up, and what it
 * has missed is in the next record.
 */
#include "common/base/clock.h"
#include "services/gateway/api/catch_up.h"
#include "services/gateway/api/training.h"

#include <stdio.h>
#include <stdlib.h>

#define STREAMS_MAX  128 /* at a time: each costs the registry two requests per second */
#define POLL_MS      500
#define KEEPALIVE_MS 15000             /* proxies close what is silent */
#define COME_AGAIN   "retry: 1000\n\n" /* milliseconds; a gateway that ends is not the job's end */

struct event_stream {
    struct pending base;
    struct gateway *gateway;
    struct http_request *http;
    struct rpc_call *call;
    struct loop_timer *poll;
    struct event_mark mark;
    char id[MAX_NAME + 1];
    bool begun;
    bool blocked; /* the client has to take what is there */
    struct catch_up catch_up;
    struct buf last;     /* words, which wait for the catalog */
    uint64_t written_ms; /* clock_ms() of the last word */
};

static void destroy(struct event_stream *s)
{
    s->gateway->event_streams--;
    rpc_cancel(s->call);
    catch_up_finish(&s->catch_up);
    buf_finish(&s->last);
    loop_timer_destroy(s->poll);
    free(s);
}

static void on_gone(struct pending *p)
{
    destroy((struct event_stream *)p);
}

static void on_drained(struct pending *p)
{
    ((struct event_stream *)p)->blocked = false;
}

static void write_text(struct event_stream *s, struct buf *text)
{
    struct frame f;
    frame_init_copy(&f, buf_bytes(text));
    s->blocked = !api_stream_write(s->http, &f);
    s->written_ms = clock_ms();
    buf_finish(text);
}

static void end(struct event_stream *s)
{
    api_stream_end(s->http);
    destroy(s);
}

/* false: there is no stream any more. */
static bool begin(struct event_stream *s)
{
    struct buf text = { 0 };
    s->begun = s->http->unending = true;
    api_add_header(s->http, "cache-control", "no-store");
    if (!api_stream_begin(s->http, 200, "text/event-stream", HTTP_LENGTH_UNKNOWN)) {
        destroy(s);
        return false;
    }
    loop_timer_start(s->poll, POLL_MS, POLL_MS);
    buf_append_str(&text, COME_AGAIN);
    write_text(s, &text);
    return true;
}

static void say_last(void *arg)
{
    struct event_stream *s = arg;
    write_text(s, &s->last);
    end(s);
}

static void show(struct event_stream *s, const struct rpc_reply *reply)
{
    struct buf text = { 0 };
    if (!event_text(&text, &s->mark, reply->body, clock_wall_ms())) {
        if (text.len)
            write_text(s, &text);
        buf_finish(&text);
        return;
    }
    s->last = text;
    loop_timer_stop(s->poll);
    if (!catch_up_wait(&s->catch_up, s->gateway, reply, say_last, s))
        say_last(s);
}

/* A registry that is away for a moment does not end what has begun. */
static void on_record(void *arg, const struct rpc_reply *reply)
{
    struct event_stream *s = arg;
    enum status st = reply->status == STATUS_CANCELLED ? STATUS_UNAVAILABLE : reply->status;
    struct error err;
    s->call = NULL;
    if (st && !s->begun) {
        api_error(s->http, st, "%s", reply->text);
        destroy(s);
    } else if (st == STATUS_NOT_FOUND) {
        error_set(&err, st, "%s", reply->text);
        api_stream_abort(s->http, &err);
        destroy(s);
    } else if (!st && (s->begun || begin(s))) {
        show(s, reply);
    }
}

static void ask(struct event_stream *s)
{
    struct msg_name body = { .name = bytes_str(s->id) };
    s->call =
        rpc_call(s->gateway->registry, MSG_TRAINING_GET, &body, NULL, RPC_TIMEOUT_MS, on_record, s);
}

static void on_poll(void *arg)
{
    struct event_stream *s = arg;
    struct buf text = { 0 };
    if (gateway_draining(s->gateway)) {
        end(s); /* the client comes again, to another gateway */
        return;
    }
    if (s->blocked)
        return;
    if (clock_ms() - s->written_ms >= KEEPALIVE_MS) {
        buf_append_str(&text, ":\n\n");
        write_text(s, &text);
    }
    if (!s->call && !s->blocked)
        ask(s);
}

static void get_events(struct call *c)
{
    struct gateway *g = c->gateway;
    struct error err;
    if (name_check(c->params[0], "the training job's id", &err)) {
        api_error(c->http, err.status, "%s", err.text);
        return;
    }
    if (g->event_streams >= STREAMS_MAX) {
        api_error(c->http, STATUS_UNAVAILABLE, "%d streams of events are open already; try again",
                  STREAMS_MAX);
        return;
    }
    struct event_stream *s = mem_alloc(sizeof *s);
    *s = (struct event_stream){ .base = { .gone = on_gone, .drained = on_drained },
                                .gateway = g,
                                .http = c->http,
                                .mark = { .epoch = strtoull(c->http->last_event, NULL, 10) } };
    snprintf(s->id, sizeof s->id, "%.*s", (int)c->params[0].len, (const char *)c->params[0].data);
    s->poll = loop_timer_create(g->loop, on_poll, s);
    g->event_streams++;
    c->http->user = &s->base;
    ask(s);
    if (!s->call) {
        api_error(c->http, STATUS_BUSY, "too many requests wait for the registry; try again");
        destroy(s);
    }
}

const struct route events_routes[] = {
    { "GET", "/api/training/{}/events", get_events, NULL },
    { 0 },
};
