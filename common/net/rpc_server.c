/* rpc_server.c - the registry's side of rpc.h. */
#include "common/net/rpc.h"

#include "common/base/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PEER_QUEUE_MAX (2 * RPC_CALLS_MAX) /* answers for one peer: to all of its calls */

static struct metric_family bad_requests = {
    .name = "maas_rpc_bad_requests_total",
    .help = "requests that could not be decoded or that nobody handles",
    .type = METRIC_COUNTER,
};
static struct metric_family lost_answers = {
    .name = "maas_rpc_lost_answers_total",
    .help = "answers whose peer was gone or did not read",
    .type = METRIC_COUNTER,
};

struct rpc_server {
    struct sock *sock;
    rpc_handler_fn *const *handlers;
    void *arg;
    struct msg_decoder decoder;
};

static void on_message(void *arg, struct frames *frames)
{
    struct rpc_server *s = arg;
    struct error err;
    struct msg m = { .id = 0 };
    struct rpc_request request = { .attachment = frames->count == 3 ? &frames->at[2] : NULL };
    struct bytes route = frame_bytes(&frames->at[0]);
    if (route.len > sizeof request.peer.route) {
        metric_count(&bad_requests);
        return;
    }
    memcpy(request.peer.route, route.data, route.len);
    request.peer.route_len = route.len;
    if (frames->count < 2 || frames->count > 3)
        error_set(&err, STATUS_INVALID, "a request has 1 or 2 frames, this one has %zu",
                  frames->count - 1);
    else if (msg_decode(&s->decoder, frame_bytes(&frames->at[1]), &m, &err))
        ;
    else if (!s->handlers[m.kind])
        error_set(&err, STATUS_INVALID, "%s is not a request", msg_kind_name(m.kind));
    else {
        request.peer.id = m.id;
        request.kind = m.kind;
        request.body = m.body;
        s->handlers[m.kind](s->arg, &request);
        return;
    }
    metric_count(&bad_requests);
    request.peer.id = m.id;
    rpc_fail(s, &request.peer, STATUS_INVALID, "%s", err.text);
}

struct rpc_server *rpc_server_create(struct loop *l, rpc_handler_fn *const handlers[MSG_KIND_COUNT],
                                     void *arg)
{
    static const struct sock_config config = { SOCK_ROUTER, PEER_QUEUE_MAX, RPC_FRAME_MAX, true };
    struct rpc_server *s = mem_zalloc(sizeof *s);
    s->handlers = handlers;
    s->arg = arg;
    s->sock = sock_create(l, &config, on_message, s);
    return s;
}

enum status rpc_server_bind(struct rpc_server *s, const char *endpoint, struct error *err)
{
    return sock_bind(s->sock, endpoint, err);
}

const char *rpc_server_endpoint(const struct rpc_server *s)
{
    return sock_endpoint(s->sock);
}

void rpc_server_destroy(struct rpc_server *s)
{
    if (!s)
        return;
    sock_destroy(s->sock);
    msg_decoder_finish(&s->decoder);
    free(s);
}

void rpc_answer(struct rpc_server *s, const struct rpc_peer *peer, enum msg_kind kind,
                const void *body, struct frame *attachment)
{
    struct frames frames = { .count = 0 };
    struct buf envelope = { 0 };
    frame_init_copy(frames_add(&frames), bytes_of(peer->route, peer->route_len));
    msg_encode(&envelope, kind, peer->id, body);
    frame_init_buf(frames_add(&frames), &envelope);
    if (attachment) {
        struct frame *to = frames_add(&frames);
        frame_init_empty(to);
        frame_move(to, attachment);
    }
    if (sock_send(s->sock, &frames)) {
        metric_count(&lost_answers);
        frames_finish(&frames);
    }
}

void rpc_fail(struct rpc_server *s, const struct rpc_peer *peer, enum status st, const char *fmt,
              ...)
{
    char text[MAX_REASON + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    rpc_answer(s, peer, MSG_FAILURE,
               &(struct msg_failure){ .status = (uint32_t)st, .text = bytes_str(text) }, NULL);
}
