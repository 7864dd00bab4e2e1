/* test_http_known.c - a head that comes again on its connection is not parsed again: nobody may see that. */
#include "services/gateway/http/http.h"
#include "tests/unit/gateway/http_rig.h"

#include <stdlib.h>

#define REQUESTS       400
#define LINE_MAX_BYTES 1024

static struct buf told; /* what the last request has said, but for an id of the server's own */
static char last_id[HTTP_ID_MAX + 1];

static void tell(void *arg, struct http_request *r)
{
    (void)arg;
    bool own = strcmp(r->request_id, "mine") == 0;
    struct bytes field = http_field(r, bytes_str("x-more"));
    note('c');
    snprintf(last_id, sizeof last_id, "%s", r->request_id);
    told.len = 0;
    buf_printf(&told, "%s %.*s %s [%s %s %s %s %s %s %s %s] %.*s %d %d %llu ", r->method,
               (int)r->target.len, (const char *)r->target.data, own ? "mine" : "", r->content_type,
               r->encoding, r->accept_encoding, r->json_length, r->timeout_ms, r->range,
               r->if_none_match, r->who, (int)field.len, (const char *)field.data, r->has_length,
               r->has_body, (unsigned long long)r->content_length);
    buf_append_bytes(&told, buf_bytes(&r->body));
    struct buf body = { 0 };
    buf_append_bytes(&body, buf_bytes(&told));
    http_respond(r, 200, "text/plain", &body);
}

static void start_telling(void)
{
    static const struct http_events telling = {
        .begin = on_begin, .body = on_body, .complete = tell, .gone = on_gone, .refused = on_refused
    };
    struct error err = { .text = "" };
    start();
    http_destroy(server);
    server = http_create(rig.loop, &config, &telling, NULL);
    cr_assert_eq(http_listen(server, "127.0.0.1:0", &err), STATUS_OK, "%s", err.text);
}

static void finish_telling(void)
{
    buf_finish(&told);
    finish();
}

TestSuite(http_known, .init = start_telling, .fini = finish_telling, .timeout = 60);

static const char *const heads[] = {
    "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n",
    "GET /1 HTTP/1.1\r\nHost: x\r\nX-Request-Id: not a word\r\n\r\n",
    "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-More: 1\r\nX-User: me\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nRange: bytes=1-2\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nAccept-Encoding: gzip\r\n\r\n",
};
#define HEADS (sizeof heads / sizeof *heads)

/* A request with the nth head and a body that it asks for. */
static size_t compose(char text[LINE_MAX_BYTES], size_t n, uint32_t number)
{
    const char *head = heads[n];
    if (strstr(head, "chunked"))
        return (size_t)snprintf(text, LINE_MAX_BYTES, "%s3\r\n%03u\r\n0\r\n\r\n", head,
                                number % 1000);
    if (strstr(head, "Length: 5"))
        return (size_t)snprintf(text, LINE_MAX_BYTES, "%s%05u", head, number);
    return (size_t)snprintf(text, LINE_MAX_BYTES, "%s", head);
}

/* Sends it in two pieces and waits until it was told of. */
static void ask(int fd, const char *text, size_t len, size_t cut)
{
    struct buf out = { 0 };
    seen.count = 0;
    say(fd, text, cut);
    if (cut < len) {
        rig_turn(&rig);
        say(fd, text + cut, len - cut);
    }
    rig_wait(&rig, (hear(fd, &out),
                    memchr(seen.events, 'c', seen.count) && times(&out, "HTTP/1.1 200") == 1));
    cr_assert_eq(seen.refused, 0);
    cr_assert_eq(times(&out, "x-request-id: "), 1);
    buf_finish(&out);
}

/* Of whatever comes after whatever: as on a connection of its own. */
Test(http_known, says_what_a_parsed_one_says)
{
    unsigned seed = 7;
    int fd = dial();
    size_t n = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        char text[LINE_MAX_BYTES], id[HTTP_ID_MAX + 1];
        if (rand_r(&seed) % 2) /* else the same again */
            n = (size_t)rand_r(&seed) % HEADS;
        http_keep_fields(server, i % 100 < 50);
        size_t len = compose(text, n, i);
        size_t cut = rand_r(&seed) % 3 ? len : 1 + (size_t)rand_r(&seed) % len;
        ask(fd, text, len, cut);
        struct buf here = told;
        told = (struct buf){ 0 };
        memcpy(id, last_id, sizeof id);
        int other = dial();
        ask(other, text, len, len);
        close(other);
        cr_assert(bytes_equal(buf_bytes(&here), buf_bytes(&told)), "%s\n%s", buf_cstr(&here),
                  buf_cstr(&told));
        cr_assert_eq(strcmp(id, last_id) == 0, strcmp(id, "mine") == 0, "ids are given once");
        buf_finish(&here);
    }
    close(fd);
}

/* In one piece, with the next one behind it. */
Test(http_known, is_known_in_a_pipeline)
{
    char text[4 * LINE_MAX_BYTES];
    struct buf out = { 0 };
    size_t len = 0;
    int fd = dial();
    for (uint32_t i = 0; i < 8; i++)
        len += compose(text + len, i < 6 ? 6 : 1, i);
    say(fd, text, len);
    await(fd, &out, 8);
    for (uint32_t i = 0; i < 6; i++) {
        char body[16];
        snprintf(body, sizeof body, " 5 %05u", i);
        cr_assert_eq(times(&out, body), 1, "%s", (char *)out.data);
    }
    cr_assert_eq(times(&out, "GET /2"), 2);
    buf_finish(&out);
    close(fd);
}

/* Half of what all bodies may have together, and again: the third is refused before its body comes. */
Test(http_known, is_refused_as_a_parsed_one_is)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 700\r\n\r\n";
    char text[sizeof head - 1 + 700];
    struct buf out = { 0 };
    int fd = dial(), others[2] = { dial(), dial() };
    memset(text, 'z', sizeof text);
    memcpy(text, head, sizeof head - 1);
    say(fd, text, sizeof text);
    await(fd, &out, 1);
    for (int i = 0; i < 2; i++) {
        say(others[i], text, sizeof text - 1);
        rig_wait(&rig, seen.count == 3 + (size_t)i);
    }
    cr_assert_str_eq(seen.events, "bcbb");
    say(fd, head, sizeof head - 1);
    await_close(fd, &out);
    cr_assert_eq(times(&out, "HTTP/1.1 503"), 1, "%s", (char *)out.data);
    cr_assert_eq(times(&out, "x-request-id: "), 2);
    buf_finish(&out);
    close(fd);
    close(others[0]);
    close(others[1]);
}
