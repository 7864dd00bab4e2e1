/* test_http_stream.c - answers in pieces: framing, readers that are slow, that leave, that stall. */
#include "tests/unit/gateway/http_rig.h"

#define PIECE (1u << 20)

TestSuite(http_stream, .init = start, .fini = finish, .timeout = 60);

static const char get[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";

static void restart(uint32_t read_ms)
{
    struct error err;
    http_destroy(server);
    config.read_timeout_ms = read_ms;
    server = http_create(rig.loop, &config, &events, NULL);
    cr_assert_eq(http_listen(server, "127.0.0.1:0", &err), STATUS_OK);
}

/* A connection whose request waits for its answer. */
static int ask(const char *request)
{
    int fd = dial();
    seen.keep = true;
    say(fd, request, strlen(request));
    rig_wait(&rig, seen.kept);
    return fd;
}

static bool put(const char *text)
{
    struct frame f;
    frame_init_copy(&f, bytes_str(text));
    return http_stream_write(seen.kept, &f);
}

static bool put_large(void)
{
    struct frame f;
    memset(frame_init_size(&f, PIECE), 'x', PIECE);
    return http_stream_write(seen.kept, &f);
}

static void end(void)
{
    struct http_request *r = seen.kept;
    seen.kept = NULL;
    http_stream_end(r);
}

static const char *body_of(struct buf *out)
{
    const char *body = strstr((char *)out->data, "\r\n\r\n");
    cr_assert_not_null(body);
    return body + 4;
}

Test(http_stream, with_a_length_and_the_next_request_after_it)
{
    struct buf out = { 0 };
    int fd = ask(get);
    say(fd, get, sizeof get - 1); /* pipelined */
    cr_assert(http_stream_begin(seen.kept, 206, "text/plain", 10));
    cr_assert(put("hello"));
    cr_assert(put(""));
    rig_wait(&rig, (hear(fd, &out), times(&out, "hello") == 1));
    cr_assert(strstr((char *)out.data, "HTTP/1.1 206 Partial Content\r\n"));
    cr_assert(strstr((char *)out.data, "content-length: 10\r\n"));
    cr_assert_eq(seen.count, 2, "the next request waits");
    cr_assert(put("world"));
    seen.keep = false;
    end();
    await(fd, &out, 2);
    cr_assert(strstr((char *)out.data, "helloworldHTTP/1.1 200 OK"), "%s", (char *)out.data);
    close(fd);
    buf_finish(&out);
}

Test(http_stream, without_a_length_in_chunks)
{
    struct buf out = { 0 };
    int fd = ask(get);
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    cr_assert(put("hello, hello, hello"));
    cr_assert(put("x"));
    end();
    rig_wait(&rig, (hear(fd, &out), times(&out, "\r\n0\r\n\r\n") == 1));
    cr_assert(strstr((char *)out.data, "transfer-encoding: chunked\r\n"));
    cr_assert_null(strstr((char *)out.data, "content-length"));
    cr_assert_str_eq(body_of(&out), "13\r\nhello, hello, hello\r\n1\r\nx\r\n0\r\n\r\n");
    close(fd);
    buf_finish(&out);
}

Test(http_stream, an_old_client_reads_until_the_end)
{
    struct buf out = { 0 };
    int fd = ask("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    cr_assert(put("hello"));
    end();
    await_close(fd, &out);
    cr_assert(strstr((char *)out.data, "connection: close\r\n"));
    cr_assert_str_eq(body_of(&out), "hello");
    close(fd);
    buf_finish(&out);
}

Test(http_stream, head_gets_no_body)
{
    struct buf out = { 0 };
    int fd = ask("HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n");
    struct http_request *r = seen.kept;
    seen.kept = NULL;
    cr_assert_not(http_stream_begin(r, 200, NULL, 1ull << 40));
    await(fd, &out, 1);
    cr_assert(strstr((char *)out.data, "content-length: 1099511627776\r\n"));
    cr_assert_str_eq(body_of(&out), "");
    seen.keep = false;
    say(fd, get, sizeof get - 1);
    await(fd, &out, 2);
    close(fd);
    buf_finish(&out);
}

Test(http_stream, a_slow_reader_is_waited_for)
{
    struct buf out = { 0 };
    int fd = ask(get);
    size_t pieces = 1;
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    while (put_large())
        pieces++; /* as many as the kernel takes */
    rig_idle(&rig, 50);
    cr_assert_null(strchr(seen.events, 'd'), "there is no room while nobody reads");
    rig_wait(&rig, (hear(fd, &out), strchr(seen.events, 'd')));
    end();
    rig_wait(&rig,
             (hear(fd, &out), out.len > 5 && memcmp(out.data + out.len - 5, "0\r\n\r\n", 5) == 0));
    cr_assert_geq(out.len, pieces * PIECE);
    close(fd);
    buf_finish(&out);
}

Test(http_stream, a_reader_that_leaves_is_noticed)
{
    int fd = ask(get);
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    while (put_large())
        ;
    close(fd);
    rig_wait(&rig, strchr(seen.events, 'g'));
    rig_wait(&rig, http_connections(server) == 0);
}

Test(http_stream, a_reader_that_left_before_the_first_piece)
{
    struct linger hard = { 1, 0 };
    int fd = ask(get);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd); /* a reset: the next write fails at once */
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    put_large();
    cr_assert_null(strchr(seen.events, 'g'), "it is not told inside of a call");
    rig_wait(&rig, strchr(seen.events, 'g'));
    rig_wait(&rig, http_connections(server) == 0);
}

Test(http_stream, a_reader_that_stalls_is_given_up_but_not_for_our_slowness)
{
    restart(300);
    int fd = ask(get);
    cr_assert(http_stream_begin(seen.kept, 200, NULL, HTTP_LENGTH_UNKNOWN));
    cr_assert(put("some"));
    rig_idle(&rig, 1600); /* the owner has nothing to write: more than a sweep and the timeout */
    cr_assert_str_eq(seen.events, "bc");
    while (put_large())
        ;
    rig_wait(&rig, strchr(seen.events, 'g'));
    close(fd);
}

Test(http_stream, who_reads_on_half_closed_gets_all)
{
    struct buf out = { 0 };
    int fd = ask(get);
    shutdown(fd, SHUT_WR);
    cr_assert(http_stream_begin(seen.kept, 200, NULL, 5));
    rig_idle(&rig, 20);
    cr_assert(put("hello"));
    end();
    await_close(fd, &out);
    cr_assert_str_eq(body_of(&out), "hello");
    close(fd);
    buf_finish(&out);
}

Test(http_stream, what_cannot_be_had_breaks_the_connection)
{
    struct buf out = { 0 };
    int fd = ask(get);
    cr_assert(http_stream_begin(seen.kept, 200, NULL, 10));
    cr_assert(put("hello"));
    struct http_request *r = seen.kept;
    seen.kept = NULL;
    http_stream_abort(r);
    await_close(fd, &out);
    cr_assert_str_eq(body_of(&out), "hello");
    cr_assert_str_eq(seen.events, "bc", "the owner is not told of what it has done");
    close(fd);
    buf_finish(&out);
}
