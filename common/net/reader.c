/* reader.c - see reader.h.  The slots are a ring: those from `head` on, `open` of them, are asked
 * for or answered; the one at `head` is delivered next. */
#include "common/net/reader.h"

#include "common/base/clock.h"
#include "common/net/artifact.h"

#include <assert.h>
#include <stdlib.h>

#define RETRY_MS 200

struct slot {
    struct reader *reader;
    const struct span *span;
    struct rpc_call *call; /* asked for */
    bool there;
    struct frame data; /* when there */
    uint64_t deadline_ms;
};

struct reader {
    struct loop *loop;
    struct rpc_client *registry;
    struct loop_timer *timer; /* begins, and asks again */
    struct reader_events events;
    void *arg;
    struct buf spans;
    size_t count;
    size_t next; /* the first that was not asked for */
    size_t head; /* slot of the next to be delivered */
    size_t open;
    struct slot slots[READER_WINDOW];
    bool paused;
    bool inside; /* an event is being told: destroy must wait */
    bool over;   /* done was told, or destroy called */
};

static void step(struct reader *r);

static void release(struct reader *r)
{
    if (r->inside)
        return;
    buf_finish(&r->spans);
    free(r);
}

/* No event comes any more. */
static void halt(struct reader *r)
{
    r->over = true;
    for (size_t i = 0; i < READER_WINDOW; i++) {
        rpc_cancel(r->slots[i].call);
        r->slots[i].call = NULL;
        if (r->slots[i].there)
            frame_finish(&r->slots[i].data);
        r->slots[i].there = false;
    }
}

/* The last thing that a caller does: the event may destroy r. */
static void finish(struct reader *r, const struct error *err)
{
    struct error copy = err ? *err : (struct error){ .status = STATUS_OK };
    halt(r);
    r->events.done(r->arg, err ? &copy : NULL);
}

static void on_chunk(void *arg, const struct rpc_reply *reply)
{
    struct slot *s = arg;
    struct reader *r = s->reader;
    struct error err;
    size_t len = reply->attachment ? frame_bytes(reply->attachment).len : 0;
    s->call = NULL;
    if (reply->status == STATUS_OK && reply->attachment &&
        len >= (uint64_t)s->span->skip + s->span->take) {
        frame_init_empty(&s->data);
        frame_move(&s->data, reply->attachment);
        s->there = true;
        step(r);
    } else if (status_retryable(reply->status) && clock_ms() + RETRY_MS < s->deadline_ms) {
        loop_timer_start(r->timer, RETRY_MS, 0);
    } else {
        enum status st = reply->status ? reply->status : STATUS_CORRUPT;
        error_set(&err, st, "a chunk of the artifact: %s",
                  reply->status ? reply->text : "it is shorter than it should be");
        finish(r, &err);
    }
}

static void ask(struct slot *s)
{
    struct reader *r = s->reader;
    struct msg_chunk body = { .digest = bytes_of(s->span->digest.byte, DIGEST_SIZE) };
    uint64_t now = clock_ms();
    s->call = rpc_call(r->registry, MSG_CHUNK_GET, &body, NULL,
                       s->deadline_ms > now ? s->deadline_ms - now : 1, on_chunk, s);
    if (!s->call)
        loop_timer_start(r->timer, RETRY_MS, 0);
}

static void fill_window(struct reader *r)
{
    while (r->open < READER_WINDOW && r->next < r->count) {
        struct slot *s = &r->slots[(r->head + r->open++) % READER_WINDOW];
        *s = (struct slot){ .reader = r,
                            .span = (const struct span *)(const void *)r->spans.data + r->next++,
                            .deadline_ms = clock_ms() + ARTIFACT_TIMEOUT_MS };
        ask(s);
    }
}

/* false: r is gone, or over. */
static bool deliver(struct reader *r)
{
    struct slot *s = &r->slots[r->head];
    struct frame piece;
    frame_init_slice(&piece, &s->data, s->span->skip,
                     s->span->take ? s->span->take : frame_bytes(&s->data).len - s->span->skip);
    frame_finish(&s->data);
    s->there = false;
    r->head = (r->head + 1) % READER_WINDOW;
    r->open--;
    r->inside = true;
    r->events.piece(r->arg, &piece);
    r->inside = false;
    frame_finish(&piece);
    if (r->over && !r->timer)
        release(r);
    else if (!r->over)
        return true;
    return false;
}

/* The last thing that a caller does: an event may destroy r. */
static void step(struct reader *r)
{
    if (r->inside || r->over)
        return; /* whoever tells the event goes on by itself */
    fill_window(r);
    while (!r->paused && r->open && r->slots[r->head].there) {
        if (!deliver(r))
            return;
        fill_window(r);
    }
    if (!r->open && r->next == r->count)
        finish(r, NULL);
}

static void on_timer(void *arg)
{
    struct reader *r = arg;
    struct error err;
    if (r->over)
        return;
    for (size_t i = 0; i < r->open; i++) {
        struct slot *s = &r->slots[(r->head + i) % READER_WINDOW];
        if (s->call || s->there)
            continue;
        if (clock_ms() >= s->deadline_ms) {
            error_set(&err, STATUS_UNAVAILABLE, "too many calls to the registry are open");
            finish(r, &err);
            return;
        }
        ask(s);
    }
    step(r);
}

struct reader *reader_create(struct loop *l, struct rpc_client *registry, struct buf *spans,
                             const struct reader_events *events, void *arg)
{
    struct reader *r = mem_zalloc(sizeof *r);
    r->loop = l;
    r->registry = registry;
    r->spans = *spans;
    r->count = spans->len / sizeof(struct span);
    r->events = *events;
    r->arg = arg;
    *spans = (struct buf){ 0 };
    r->timer = loop_timer_create(l, on_timer, r);
    loop_timer_start(r->timer, 0, 0);
    return r;
}

void reader_pause(struct reader *r)
{
    r->paused = true;
}

void reader_resume(struct reader *r)
{
    r->paused = false;
    step(r);
}

void reader_destroy(struct reader *r)
{
    if (!r)
        return;
    halt(r);
    loop_timer_destroy(r->timer);
    r->timer = NULL;
    release(r);
}

void reader_add_range(struct buf *spans, struct bytes chunks, uint64_t first, uint64_t length)
{
    assert(first + length <= chunks.len / DIGEST_SIZE * CHUNK_BYTES);
    while (length) {
        struct span s = { .skip = (uint32_t)(first % CHUNK_BYTES) };
        uint64_t room = CHUNK_BYTES - s.skip;
        s.take = (uint32_t)(length < room ? length : room);
        memcpy(s.digest.byte, (const char *)chunks.data + first / CHUNK_BYTES * DIGEST_SIZE,
               DIGEST_SIZE);
        buf_append(spans, &s, sizeof s);
        first += s.take;
        length -= s.take;
    }
}
