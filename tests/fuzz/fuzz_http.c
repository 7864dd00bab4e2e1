/* fuzz_http.c - any bytes as what a client sends on a connection, in several cuts.
 *
 * However the stream is cut, and whenever the requests are answered, the same requests come out
 * of it and the same bytes go back.  The first byte chooses limits, and which bodies stream.
 *
 * The server is the real one; the client's end is the other end of a socket pair, and the connection is
 * told of what it sends as the loop would.
 */
#include "services/gateway/http/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX   600 /* small, so that the limits are reached */
#define BODIES_MAX 1000
#define SHORT      2048 /* longer inputs do not go in single bytes */
#define OUT_MAX    (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum cut { WHOLE, PIECES, SINGLE_BYTES, CUTS };

/* One run of a connection. */
static struct run {
    bool late; /* answers come after more bytes have */
    bool stream_all;
    struct buf story; /* what the owner was told */
    struct buf out;   /* what the client got */
    struct buf body;  /* of the present request, when it streams */
    struct http_request *open;
    bool complete;
    bool paused;
    size_t answered, refused, early;
} run;

static struct loop *loop;
static struct http_server *server;
static int client;

/* ---- the owner ------------------------------------------------------------------------------- */

static void answer(struct http_request *r)
{
    struct buf body = { 0 };
    assert(run.open == r);
    run.open = NULL;
    run.complete = run.paused = false;
    run.answered++;
    buf_printf(&body, "%s %zu", r->method, r->target.len);
    http_respond(r, 200, "text/plain", &body);
}

static bool begins(const struct http_request *r, char letter)
{
    return r->target.len > 1 && r->target.data[1] == (unsigned char)letter;
}

static void on_begin(void *arg, struct http_request *r)
{
    (void)arg;
    assert(!run.open && r->method && r->request_id[0]);
    assert(r->target.len <= HTTP_TARGET_MAX);
    assert(r->has_body || !r->content_length);
    run.open = r;
    run.body.len = 0;
    buf_printf(&run.story, "begin %s ", r->method);
    buf_append_bytes(&run.story, buf_bytes(&r->target));
    buf_printf(&run.story, " id=%s ce=%s ae=%s json=%s ms=%s key=%s body=%d length=%d %llu\n",
               r->request_id, r->encoding, r->accept_encoding, r->json_length, r->timeout_ms,
               r->idempotency_key, r->has_body, r->has_length,
               (unsigned long long)r->content_length);
    r->stream = run.stream_all || begins(r, 's');
    if (begins(r, 'e')) {
        run.early++;
        answer(r);
    }
}

static void on_body(void *arg, struct http_request *r, struct bytes piece)
{
    (void)arg;
    assert(run.open == r && r->stream && !run.complete && piece.len);
    buf_append_bytes(&run.body, piece);
    if (run.late && begins(r, 'p') && !run.paused) {
        run.paused = true;
        http_pause(r);
    }
}

static void on_complete(void *arg, struct http_request *r)
{
    (void)arg;
    assert(run.open == r && !run.complete);
    run.complete = true;
    if (r->stream) {
        assert(!r->has_length || run.body.len == r->content_length);
    } else {
        static const char zeros[HTTP_BODY_PADDING];
        assert(r->body.len <= BODY_MAX);
        assert(!r->has_length || r->body.len == r->content_length);
        assert(memcmp(r->body.data + r->body.len, zeros, HTTP_BODY_PADDING) == 0);
    }
    buf_append_str(&run.story, "complete ");
    buf_append_bytes(&run.story, r->stream ? buf_bytes(&run.body) : buf_bytes(&r->body));
    buf_append_str(&run.story, "\n");
    if (!run.late)
        answer(r);
}

static void on_gone(void *arg, struct http_request *r)
{
    (void)arg;
    assert(run.open == r);
    run.open = NULL;
    run.complete = run.paused = false;
}

static void on_refused(void *arg, int status)
{
    (void)arg;
    assert(status / 100 == 4 || status == 503 || status == 505);
    run.refused++;
    buf_printf(&run.story, "refused %d\n", status);
}

/* ---- the client ------------------------------------------------------------------------------ */

static void hear(void)
{
    char piece[4096];
    ssize_t n;
    while ((n = recv(client, piece, sizeof piece, MSG_DONTWAIT)) > 0)
        buf_append(&run.out, piece, (size_t)n);
    assert(run.out.len < OUT_MAX);
}

static struct conn *connect_client(void)
{
    int pair[2];
    int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    assert(rc == 0);
    struct conn *c = conn_create(server);
    rc = uv_tcp_open(&c->tcp, pair[0]);
    assert(rc == 0);
    enum status st = reading_begin(c);
    assert(!st);
    client = pair[1];
    return c;
}

/* Until the connection reads again, is closed, or waits for its client to end. */
static bool settle(struct conn *c)
{
    while (server->count && c->state != CONN_DEAD) {
        if (run.paused) {
            run.paused = false;
            http_resume(run.open);
        }
        if (c->reading)
            return true;
        if (run.open && run.complete)
            answer(run.open);
        hear();
        uv_run(loop_uv(loop), UV_RUN_NOWAIT);
    }
    return false;
}

/* Sends that; how much the kernel had room for. */
static size_t deliver(struct conn *c, struct bytes data)
{
    ssize_t n = send(client, data.data, data.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    conn_look(c, false);
    return n >= 0 ? (size_t)n : errno == EAGAIN ? 0 : data.len;
}

static void disconnect(struct conn *c)
{
    while (settle(c) && ((run.open && run.complete) || conn_has_sent(c))) {
        if (run.open && run.complete)
            answer(run.open); /* which may let the next one in: it is answered, too */
        else
            conn_look(c, false);
    }
    hear();
    if (server->count && c->state != CONN_DEAD)
        buf_printf(&run.story, "left in state %d\n", c->state);
    close(client);
    while (server->count)
        uv_run(loop_uv(loop), UV_RUN_ONCE);
    assert(!run.open && !server->bodies_bytes);
}

static size_t piece_len(enum cut cut, unsigned *random, size_t left)
{
    *random = *random * 1664525u + 1013904223u;
    size_t len = cut == WHOLE ? left : cut == SINGLE_BYTES ? 1 : 1 + (*random >> 16) % 90;
    return len < left ? len : left;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void hide_dates(struct buf *out)
{
    unsigned char *at = out->data, *end = out->len ? at + out->len : at;
    while (at && (at = memmem(at, (size_t)(end - at), "\r\ndate: ", 8))) {
        for (at += 8; at < end && *at != '\r'; at++)
            *at = '-';
    }
}

static size_t count_answers(const struct buf *out)
{
    static const char line[] = "HTTP/1.1 ";
    const unsigned char *at = out->data, *end = out->len ? at + out->len : at;
    size_t n = 0;
    while (at && (at = memmem(at, (size_t)(end - at), line, sizeof line - 1))) {
        n += at[9] != '1'; /* 100 Continue is none */
        at += sizeof line - 1;
    }
    return n;
}

static struct run converse(struct bytes data, enum cut cut, bool late, bool stream_all)
{
    unsigned random = (unsigned)data.len;
    run = (struct run){ .late = late, .stream_all = stream_all };
    server->id_count = 0;
    struct conn *c = connect_client();
    while (data.len && settle(c)) {
        size_t len = piece_len(cut, &random, data.len);
        len = deliver(c, bytes_of(data.data, len));
        data = bytes_of((const char *)data.data + len, data.len - len);
        if (run.open && run.complete && random & 1 << 20)
            answer(run.open);
    }
    disconnect(c);
    hide_dates(&run.out);
    assert(count_answers(&run.out) == run.answered + run.refused);
    return run;
}

static void run_finish(struct run *r)
{
    buf_finish(&r->story);
    buf_finish(&r->out);
    buf_finish(&r->body);
}

static void start(void)
{
    static const struct http_events events = { .begin = on_begin,
                                               .body = on_body,
                                               .complete = on_complete,
                                               .gone = on_gone,
                                               .refused = on_refused };
    static const struct http_config config = { .body_max_bytes = BODY_MAX,
                                               .bodies_max_bytes = BODIES_MAX,
                                               .connections_max = 4,
                                               .idle_timeout_ms = 1u << 30,
                                               .read_timeout_ms = 1u << 30 };
    loop = loop_create();
    server = http_create(loop, &config, &events, NULL);
    server->id_prefix = 0;
}

/* A stretch that is too long may be seen as that, or as what is wrong with it further on: it
 * depends on how much of it comes at once. */
static bool may_differ(size_t len)
{
    return len > HTTP_TARGET_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!server)
        start();
    if (!len)
        return 0;
    struct bytes stream = bytes_of(data + 1, len - 1);
    bool stream_all = data[0] & 1;
    struct run whole = converse(stream, WHOLE, false, stream_all);
    for (enum cut cut = WHOLE; cut < CUTS; cut++) {
        if (cut == SINGLE_BYTES && stream.len > SHORT)
            continue;
        struct run r = converse(stream, cut, data[0] & 2 || cut == WHOLE, stream_all);
        if (!may_differ(stream.len)) {
            assert(bytes_equal(buf_bytes(&r.story), buf_bytes(&whole.story)));
            assert(bytes_equal(buf_bytes(&r.out), buf_bytes(&whole.out)));
        }
        run_finish(&r);
    }
    run_finish(&whole);
    return 0;
}
