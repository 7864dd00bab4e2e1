/* http_rig.h - an HTTP server over real sockets, and an owner that notes what it is told. */
#ifndef TESTS_UNIT_GATEWAY_HTTP_RIG_H
#define TESTS_UNIT_GATEWAY_HTTP_RIG_H

#include "services/gateway/http/http.h"
#include "tests/unit/net/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define SEEN_MAX 256

static struct rig rig;
static struct http_server *server;
static struct http_config config;

/* What the owner has been told: one letter per event, and the bodies. */
static struct {
    char events[SEEN_MAX + 1];
    size_t count;
    struct buf bodies;
    struct http_request *kept; /* not answered yet */
    struct http_request *held; /* paused in begin */
    int refused;
    bool keep;
    bool early; /* answers in begin */
    bool stream;
    bool pause;       /* in begin */
    char accepts[64]; /* accept_encoding of the last request */
} seen;

static inline void note(char event)
{
    if (seen.count < SEEN_MAX)
        seen.events[seen.count++] = event;
    seen.events[seen.count] = 0;
}

static inline void reply(struct http_request *r, const char *text)
{
    struct buf body = { 0 };
    buf_append_str(&body, text);
    http_respond(r, 200, "text/plain", &body);
}

static inline void on_begin(void *arg, struct http_request *r)
{
    (void)arg;
    note('b');
    r->stream = seen.stream;
    memcpy(seen.accepts, r->accept_encoding, sizeof seen.accepts);
    if (seen.pause) {
        http_pause(r);
        seen.held = r;
    }
    if (seen.early)
        reply(r, "early");
}

static inline void on_body(void *arg, struct http_request *r, struct bytes piece)
{
    (void)arg;
    (void)r;
    buf_append_bytes(&seen.bodies, piece);
}

static inline void on_complete(void *arg, struct http_request *r)
{
    char text[64];
    (void)arg;
    note('c');
    buf_append_bytes(&seen.bodies, buf_bytes(&r->body));
    buf_append_str(&seen.bodies, "|");
    seen.kept = seen.keep ? r : NULL;
    if (seen.keep)
        return;
    snprintf(text, sizeof text, "%s %.*s", r->method, (int)r->target.len,
             (const char *)r->target.data);
    reply(r, text);
}

static inline void on_gone(void *arg, struct http_request *r)
{
    (void)arg;
    cr_assert(!seen.kept || seen.kept == r);
    note('g');
}

static inline void on_refused(void *arg, int status)
{
    (void)arg;
    seen.refused = status;
}

/* There is room for more of a streamed answer. */
static inline void on_drained(void *arg, struct http_request *r)
{
    (void)arg;
    cr_assert(seen.kept == r);
    note('d');
}

static const struct http_events events = { on_begin, on_body,    on_complete,
                                           on_gone,  on_refused, on_drained };

static inline void start(void)
{
    struct error err = { .text = "" };
    rig_init(&rig);
    memset(&seen, 0, sizeof seen);
    config = (struct http_config){ .body_max_bytes = 1000,
                                   .bodies_max_bytes = 1500,
                                   .connections_max = 4,
                                   .idle_timeout_ms = 60000,
                                   .read_timeout_ms = 60000 };
    server = http_create(rig.loop, &config, &events, NULL);
    cr_assert_eq(http_listen(server, "127.0.0.1:0", &err), STATUS_OK, "%s", err.text);
}

static inline void finish(void)
{
    http_destroy(server);
    buf_finish(&seen.bodies);
    rig_finish(&rig);
}

static inline int dial(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_port = htons((uint16_t)strtol(strrchr(http_address(server), ':') + 1, NULL, 10));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static inline void say(int fd, const char *data, size_t len)
{
    cr_assert_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* What has come by now; false: the server has closed. */
static inline bool hear(int fd, struct buf *out)
{
    char piece[4096];
    ssize_t n;
    while ((n = recv(fd, piece, sizeof piece, MSG_DONTWAIT)) > 0)
        buf_append(out, piece, (size_t)n);
    buf_cstr(out);
    return n < 0 && errno == EAGAIN;
}

static inline size_t times(const struct buf *text, const char *word)
{
    size_t n = 0;
    for (const char *p = (char *)text->data; text->len && (p = strstr(p, word)); p++)
        n++;
    return n;
}

/* Turns the loop until that many answers have come. */
static inline void await(int fd, struct buf *out, size_t answers)
{
    rig_wait(&rig, (hear(fd, out), times(out, "HTTP/1.1 2") >= answers));
}

static inline void await_close(int fd, struct buf *out)
{
    rig_wait(&rig, !hear(fd, out));
}

/* Sends the bytes on a connection of their own and returns what came until the server closed. */
static inline struct buf exchange(const char *data, size_t len)
{
    struct buf out = { 0 };
    int fd = dial();
    say(fd, data, len);
    await_close(fd, &out);
    close(fd);
    return out;
}

static inline void expect_refusal(int status, const char *data, size_t len)
{
    char line[32];
    seen.refused = 0;
    struct buf out = exchange(data, len);
    snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    cr_assert_eq(strncmp((char *)out.data, line, strlen(line)), 0, "%.*s -> %s", (int)len, data,
                 (char *)out.data);
    cr_assert_eq(seen.refused, status);
    cr_assert(strstr((char *)out.data, "{\"error\":\""), "%s", (char *)out.data);
    cr_assert(strstr((char *)out.data, "x-request-id: "), "%s", (char *)out.data);
    cr_assert(strstr((char *)out.data, "connection: close"), "%s", (char *)out.data);
    buf_finish(&out);
}

#define REFUSED(status, text) expect_refusal(status, text, sizeof(text) - 1)

#endif
