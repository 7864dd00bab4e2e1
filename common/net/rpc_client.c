/* rpc_client.c - calls to the registry.
 *
 * A call is in the hash by its number and in the heap by its deadline until it is
 * answered, cancelled or out of time.  What was sent is kept (frames are reference-
 * counted), so that it can be sent again when the connection broke, or on a new socket
 * after a silence.  One timer serves deadlines, silence and calls that could not be
 * sent yet.
 */
#include "common/net/rpc.h"

#include "common/base/clock.h"
#include "common/base/heap.h"
#include "common/base/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>
#include <uthash.h>

#define UNSENT_RETRY_MS 20 /* a socket that is connecting is tried again after this */
#define HOLD_MS         50 /* after a disconnect: ZeroMQ may still offer the dead connection */
#define QUEUE_MAX       (2 * RPC_CALLS_MAX)

struct rpc_call {
    UT_hash_handle hh;
    struct heap_node deadline;
    struct rpc_client *client;
    uint64_t id;
    struct frames request; /* envelope and, perhaps, attachment */
    bool moved;            /* UNAVAILABLE was said to it once already */
    bool sent;             /* on the present connection */
    rpc_reply_fn *fn;
    void *arg;
};

struct rpc_client {
    struct loop *loop;
    char *endpoints[RPC_ENDPOINTS_MAX];
    size_t endpoints_count;
    size_t at; /* of them */
    struct sock *sock;
    struct loop_timer *timer;
    struct rpc_call *calls; /* hash by id */
    struct heap deadlines;
    uint64_t next_id;
    size_t unsent;
    uint64_t hold_until_ms;  /* nothing is sent before */
    bool leaving;            /* the next endpoint is to be taken, from the timer */
    uint64_t moved_ms;       /* last time that UNAVAILABLE was the reason */
    uint64_t tried_ms;       /* since when this socket has taken nothing */
    bool closing;            /* rpc_client_destroy is at work */
    uint64_t quiet_since_ms; /* last word, or begin of the oldest wait */
    uint64_t heard_ms;       /* last word, 0: none on this connection */
    uint64_t patience_ms;    /* silence before the next socket: doubles */
    struct msg_decoder decoder;
};

static struct metric_family reconnects = {
    .name = "maas_rpc_reconnects_total",
    .help = "new sockets to the registry after silence",
    .type = METRIC_COUNTER,
};
static struct metric_family bad_answers = {
    .name = "maas_rpc_bad_answers_total",
    .help = "answers of the registry that could not be decoded or that nobody waits for",
    .type = METRIC_COUNTER,
};

static bool several(const struct rpc_client *c)
{
    return c->endpoints_count > 1;
}

static void arm(struct rpc_client *c)
{
    struct heap_node *first = heap_first(&c->deadlines);
    if (c->leaving) {
        loop_timer_start(c->timer, 0, 0);
        return;
    }
    if (!first) {
        loop_timer_stop(c->timer);
        return;
    }
    uint64_t now = clock_ms();
    uint64_t next = first->key;
    if (c->quiet_since_ms + c->patience_ms < next)
        next = c->quiet_since_ms + c->patience_ms;
    if (c->unsent && now + UNSENT_RETRY_MS < next)
        next = now + UNSENT_RETRY_MS;
    loop_timer_start(c->timer, next > now ? next - now : 1, 0);
}

/* Sends references to the call's frames; the frames stay for another try. */
static bool send_call(struct rpc_call *call)
{
    struct frames copy = { .count = 0 };
    for (size_t i = 0; i < call->request.count; i++)
        frame_init_share(frames_add(&copy), &call->request.at[i]);
    if (sock_send(call->client->sock, &copy)) {
        frames_finish(&copy);
        return false;
    }
    call->sent = true;
    call->client->unsent--;
    call->client->tried_ms = 0;
    return true;
}

static void send_unsent(struct rpc_client *c, uint64_t now)
{
    if (now < c->hold_until_ms)
        return;
    for (struct rpc_call *call = c->calls; call && c->unsent; call = call->hh.next)
        if (!call->sent && !send_call(call))
            return;
}

static void forget_what_was_sent(struct rpc_client *c)
{
    c->heard_ms = 0;
    c->unsent = 0;
    for (struct rpc_call *call = c->calls; call; call = call->hh.next) {
        call->sent = false;
        c->unsent++;
    }
}

static void forget(struct rpc_call *call)
{
    struct rpc_client *c = call->client;
    HASH_DEL(c->calls, call);
    heap_remove(&c->deadlines, &call->deadline);
    if (!call->sent)
        c->unsent--;
    frames_finish(&call->request);
}

/* The registry cannot, but perhaps the next one: the call stays open for it. */
static bool try_next(struct rpc_call *call, enum status st)
{
    struct rpc_client *c = call->client;
    uint64_t now = clock_ms();
    if (st != STATUS_UNAVAILABLE || !several(c) || call->moved)
        return false;
    if (!c->leaving && c->moved_ms && now - c->moved_ms < RPC_MOVE_MS)
        return false;
    call->moved = true;
    c->moved_ms = now;
    c->leaving = true;
    return true;
}

/* Ends the call: its callback runs, after everything else is in order. */
static void finish(struct rpc_call *call, const struct rpc_reply *reply)
{
    forget(call);
    call->fn(call->arg, reply);
    free(call);
}

static void on_message(void *arg, struct frames *frames)
{
    struct rpc_client *c = arg;
    struct error err;
    struct msg m;
    c->heard_ms = c->quiet_since_ms = clock_ms();
    c->patience_ms = RPC_SILENCE_MS;
    struct rpc_call *call = NULL;
    if (frames->count > 2 || msg_decode(&c->decoder, frame_bytes(&frames->at[0]), &m, &err)) {
        metric_count(&bad_answers);
        return;
    }
    HASH_FIND(hh, c->calls, &m.id, sizeof m.id, call);
    if (!call) {
        metric_count(&bad_answers); /* too late: its deadline has passed */
        return;
    }
    struct rpc_reply reply = { .kind = m.kind,
                               .body = m.body,
                               .attachment = frames->count == 2 ? &frames->at[1] : NULL };
    char text[MAX_REASON + 1];
    if (m.kind == MSG_FAILURE) {
        const struct msg_failure *failure = m.body;
        reply.status = failure->status ? status_from_wire(failure->status) : STATUS_INTERNAL;
        if (bytes_copy_str(failure->text, text, sizeof text))
            text[0] = 0;
        reply.text = text;
    }
    if (!try_next(call, reply.status))
        finish(call, &reply);
    arm(c);
}

/* What was sent on the connection will not be answered any more. */
static void on_disconnect(void *arg)
{
    struct rpc_client *c = arg;
    c->hold_until_ms = clock_ms() + HOLD_MS;
    c->leaving = several(c); /* not here: this is a handler of the socket */
    forget_what_was_sent(c);
    arm(c);
}

static void connect_anew(struct rpc_client *c, uint64_t now)
{
    static const struct sock_config config = { SOCK_DEALER, QUEUE_MAX, MAX_ENVELOPE, true };
    struct error err;
    sock_destroy(c->sock);
    c->sock = sock_create(c->loop, &config, on_message, c);
    if (sock_connect(c->sock, c->endpoints[c->at], &err))
        die("%s", err.text); /* start-up: the same text never fails later */
    sock_on_disconnect(c->sock, on_disconnect, c);
    c->tried_ms = now;
    forget_what_was_sent(c);
}

static void go_on(struct rpc_client *c, uint64_t now)
{
    c->leaving = false;
    c->hold_until_ms = 0;
    c->quiet_since_ms = now;
    c->at = (c->at + 1) % c->endpoints_count;
    metric_count(&reconnects);
    connect_anew(c, now);
}

/* Something waits, and this registry has not even been connected to. */
static bool in_vain(const struct rpc_client *c, uint64_t now)
{
    return several(c) && c->unsent && c->tried_ms && now - c->tried_ms >= RPC_CONNECT_MS;
}

static void end_late_calls(struct rpc_client *c, uint64_t now)
{
    struct heap_node *first;
    while ((first = heap_first(&c->deadlines)) && first->key <= now) {
        struct rpc_call *call =
            (struct rpc_call *)((char *)first - offsetof(struct rpc_call, deadline));
        struct rpc_reply reply = {
            .status = call->sent ? STATUS_TIMEOUT : STATUS_UNAVAILABLE,
            .text = call->sent ? "the registry did not answer in time"
                               : "the registry cannot be reached",
        };
        finish(call, &reply);
    }
}

static void on_timer(void *arg)
{
    struct rpc_client *c = arg;
    uint64_t now = clock_ms();
    if (c->leaving || in_vain(c, now)) {
        go_on(c, now);
    } else if (c->calls && now >= c->quiet_since_ms + c->patience_ms) {
        go_on(c, now);
        c->patience_ms =
            c->patience_ms < RPC_PATIENCE_MAX_MS / 2 ? 2 * c->patience_ms : RPC_PATIENCE_MAX_MS;
    }
    send_unsent(c, now);
    end_late_calls(c, now);
    arm(c);
}

static void take_endpoints(struct rpc_client *c, const char *text)
{
    for (;; text++) {
        size_t len = strcspn(text, ",");
        if (c->endpoints_count == RPC_ENDPOINTS_MAX)
            die("at most %d registries can be named", RPC_ENDPOINTS_MAX);
        c->endpoints[c->endpoints_count++] = mem_str(bytes_of(text, len));
        text += len;
        if (!*text)
            return;
    }
}

struct rpc_client *rpc_client_create(struct loop *l, const char *endpoints)
{
    struct rpc_client *c = mem_zalloc(sizeof *c);
    c->loop = l;
    take_endpoints(c, endpoints);
    c->at = (size_t)getpid() % c->endpoints_count; /* some begin here, some there */
    c->timer = loop_timer_create(l, on_timer, c);
    c->patience_ms = RPC_SILENCE_MS;
    c->next_id = 1;
    connect_anew(c, clock_ms());
    return c;
}

void rpc_client_destroy(struct rpc_client *c)
{
    if (!c)
        return;
    c->closing = true;
    while (c->calls)
        finish(c->calls, &(struct rpc_reply){ .status = STATUS_CANCELLED,
                                              .text = "the process is stopping" });
    sock_destroy(c->sock);
    loop_timer_destroy(c->timer);
    heap_finish(&c->deadlines);
    msg_decoder_finish(&c->decoder);
    for (size_t i = 0; i < c->endpoints_count; i++)
        free(c->endpoints[i]);
    free(c);
}

struct rpc_call *rpc_call(struct rpc_client *c, enum msg_kind kind, const void *body,
                          struct frame *attachment, uint64_t timeout_ms, rpc_reply_fn *fn,
                          void *arg)
{
    if (HASH_COUNT(c->calls) >= RPC_CALLS_MAX || c->closing)
        return NULL;
    struct rpc_call *call = mem_zalloc(sizeof *call);
    struct buf envelope = { 0 };
    call->client = c;
    call->id = c->next_id++;
    call->fn = fn;
    call->arg = arg;
    msg_encode(&envelope, kind, call->id, body);
    frame_init_buf(frames_add(&call->request), &envelope);
    if (attachment) {
        struct frame *to = frames_add(&call->request);
        frame_init_empty(to);
        frame_move(to, attachment);
    }
    if (!c->calls)
        c->quiet_since_ms = clock_ms();
    HASH_ADD(hh, c->calls, id, sizeof call->id, call);
    uint64_t now = clock_ms();
    heap_push(&c->deadlines, &call->deadline, now + timeout_ms);
    if (++c->unsent == 1 && now >= c->hold_until_ms)
        send_call(call); /* behind others that wait, it waits for the timer as they do */
    arm(c);
    return call;
}

void rpc_cancel(struct rpc_call *call)
{
    if (!call)
        return;
    struct rpc_client *c = call->client;
    forget(call);
    free(call);
    arm(c);
}

bool rpc_connected(const struct rpc_client *c)
{
    return c->heard_ms && clock_ms() - c->heard_ms < RPC_SILENCE_MS;
}
