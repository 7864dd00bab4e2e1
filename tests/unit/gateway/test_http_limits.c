/* test_http_limits.c - the HTTP server's limits from both sides: what just fits, and what does not. */
#include "tests/unit/gateway/http_rig.h"

TestSuite(http_limits, .init = start, .fini = finish, .timeout = 60);

#define LINES_BYTES (sizeof "Hostx" - 1) /* name and value of the field that is always there */

static void fill(struct buf *out, char letter, size_t count)
{
    buf_reserve(out, count);
    memset(out->data + out->len, letter, count);
    out->len += count;
}

/* status 200: it is answered; else it is refused with that. */
static void gives(int status, struct buf *request)
{
    struct buf out = { 0 };
    if (status != 200) {
        expect_refusal(status, (char *)request->data, request->len);
    } else {
        int fd = dial();
        say(fd, (char *)request->data, request->len);
        await(fd, &out, 1);
        cr_assert_eq(times(&out, "HTTP/1.1 200 OK"), 1);
        close(fd);
    }
    rig_wait(&rig, http_connections(server) == 0);
    buf_finish(&out);
    buf_finish(request);
}

static void target_of(size_t len, int status)
{
    struct buf request = { 0 };
    buf_append_str(&request, "GET /");
    fill(&request, 'a', len - 1);
    buf_append_str(&request, " HTTP/1.1\r\nHost: x\r\n\r\n");
    gives(status, &request);
}

Test(http_limits, targets)
{
    target_of(HTTP_TARGET_MAX, 200);
    target_of(HTTP_TARGET_MAX + 1, 414);
}

/* Names and values count, their colons and line ends do not. */
static void fields_of(size_t bytes, int status)
{
    struct buf request = { 0 };
    buf_append_str(&request, "GET / HTTP/1.1\r\nHost: x\r\nn: ");
    fill(&request, 'v', bytes - LINES_BYTES - 1);
    buf_append_str(&request, "\r\n\r\n");
    gives(status, &request);
}

static void fields_count(size_t count, int status)
{
    struct buf request = { 0 };
    buf_append_str(&request, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (size_t i = 1; i < count; i++)
        buf_append_str(&request, "n:v\r\n");
    buf_append_str(&request, "\r\n");
    gives(status, &request);
}

Test(http_limits, header_fields)
{
    fields_of(HTTP_HEADERS_MAX, 200);
    fields_of(HTTP_HEADERS_MAX + 1, 431);
    fields_count(HTTP_FIELDS_MAX, 200);
    fields_count(HTTP_FIELDS_MAX + 1, 431);
}

/* Trailers are fields like others. */
static void trailers_count(size_t count, int status)
{
    struct buf request = { 0 };
    buf_append_str(&request,
                   "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    for (size_t i = 2; i < count; i++)
        buf_append_str(&request, "n:v\r\n");
    buf_append_str(&request, "\r\n");
    gives(status, &request);
}

Test(http_limits, trailers)
{
    trailers_count(HTTP_FIELDS_MAX, 200);
    trailers_count(HTTP_FIELDS_MAX + 1, 431);
}

static void body_of(size_t len, bool chunked, int status)
{
    struct buf request = { 0 };
    buf_append_str(&request, "POST / HTTP/1.1\r\nHost: x\r\n");
    if (chunked)
        buf_append_str(&request, "Transfer-Encoding: chunked\r\n\r\n");
    else
        buf_printf(&request, "Content-Length: %zu\r\n\r\n", len);
    for (size_t at = 0; chunked && at < len; at += 100) {
        size_t piece = len - at < 100 ? len - at : 100;
        buf_printf(&request, "%zx\r\n", piece);
        fill(&request, 'b', piece);
        buf_append_str(&request, "\r\n");
    }
    if (chunked)
        buf_append_str(&request, "0\r\n\r\n");
    else
        fill(&request, 'b', len);
    seen.bodies.len = 0;
    gives(status, &request);
    if (status == 200)
        cr_assert_eq(seen.bodies.len, len + 1);
}

Test(http_limits, bodies)
{
    body_of(config.body_max_bytes, false, 200);
    body_of(config.body_max_bytes, true, 200);
    body_of(config.body_max_bytes + 1, false, 413);
    body_of(config.body_max_bytes + 1, true, 413);
}

/* A chunked body counts as it comes; what was refused or has gone counts no more. */
Test(http_limits, chunked_bodies_share_the_memory_of_all)
{
    static const char first[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    static const char most[999] = "";
    static const char chunk[] = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                "1f6\r\n";
    char bytes[502];
    memset(bytes, 'x', sizeof bytes);
    int holder = dial();
    say(holder, first, sizeof first - 1);
    rig_wait(&rig, seen.count == 1);
    say(holder, most, sizeof most);
    rig_idle(&rig, 60);
    struct buf request = { 0 };
    buf_append(&request, chunk, sizeof chunk - 1);
    buf_append(&request, bytes, sizeof bytes);
    struct buf out = exchange((char *)request.data, request.len);
    cr_assert(strstr((char *)out.data, "503 Service Unavailable"), "%s", (char *)out.data);
    cr_assert_str_eq(seen.events, "bbg");
    close(holder);
    rig_wait(&rig, http_connections(server) == 0);
    buf_append_str(&request, "\r\n0\r\n\r\n");
    gives(200, &request);
    buf_finish(&out);
}

/* What was only announced takes nothing from the others. */
Test(http_limits, a_body_counts_as_it_comes)
{
    static const char announced[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    int fds[3];
    char bytes[1000];
    struct buf out = { 0 };
    memset(bytes, 'x', sizeof bytes);
    for (size_t i = 0; i < 3; i++) {
        fds[i] = dial();
        say(fds[i], announced, sizeof announced - 1);
    }
    rig_wait(&rig, seen.count == 3);
    say(fds[0], bytes, 999);
    say(fds[1], bytes, 500);
    rig_idle(&rig, 60);
    say(fds[2], bytes, 2);
    await_close(fds[2], &out);
    cr_assert_eq(times(&out, "503 Service Unavailable"), 1, "%s", (char *)out.data);
    out.len = 0;
    say(fds[0], bytes, 1);
    await(fds[0], &out, 1);
    out.len = 0;
    say(fds[1], bytes, 500);
    await(fds[1], &out, 1);
    cr_assert_str_eq(seen.events, "bbbgcc");
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    buf_finish(&out);
}

/* Answers that nobody takes are memory like bodies. */
Test(http_limits, answers_that_wait_count)
{
    enum { LARGE = 16 << 20 };
    static const char post[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    struct buf body = { 0 }, out = { 0 };
    fill(&body, 'x', LARGE);
    seen.keep = true;
    int fd = dial();
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    rig_wait(&rig, seen.count == 2);
    http_respond(seen.kept, 200, NULL, &body);
    seen.keep = false;
    seen.kept = NULL;
    REFUSED(503, post);
    rig_wait(&rig, (hear(fd, &out), out.len > LARGE));
    close(fd);
    rig_wait(&rig, http_connections(server) == 0);
    buf_finish(&out);
    out = (struct buf){ 0 };
    fd = dial();
    say(fd, post, sizeof post - 1);
    await(fd, &out, 1);
    close(fd);
    buf_finish(&out);
}

/* A value that does not fit is told from all values that do. */
static void accepts(size_t len, const char *expected)
{
    struct buf request = { 0 };
    buf_append_str(&request, "GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: ");
    fill(&request, 'z', len);
    buf_append_str(&request, "\t \r\n\r\n");
    gives(200, &request);
    cr_assert_str_eq(seen.accepts, expected);
}

Test(http_limits, values_that_are_kept)
{
    char longest[64];
    memset(longest, 'z', sizeof longest);
    longest[61] = 0;
    accepts(61, longest);
    accepts(64, "?");
    accepts(5000, "?");
    accepts(0, "");
}

/* The bytes that a cut-off value has brought, or an earlier one has left, are nobody's id. */
static void id_of_a_refusal(int fd, const char *field)
{
    struct buf out = { 0 };
    say(fd, field, strlen(field));
    await_close(fd, &out);
    cr_assert_eq(times(&out, "400 Bad Request"), 1, "%s", (char *)out.data);
    cr_assert_eq(times(&out, "x-request-id: "), 1);
    cr_assert_eq(times(&out, "first"), 0, "%s", (char *)out.data);
    cr_assert_eq(times(&out, "id: zz"), 0, "%s", (char *)out.data);
    close(fd);
    buf_finish(&out);
}

Test(http_limits, a_request_id_that_is_cut_off_is_not_shown)
{
    static const char *const damaged[] = { "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: zz\1",
                                           "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: zz\rn: v",
                                           "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: \1" };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        static const char whole[] =
            "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: of-the-first\r\n\r\n";
        struct buf out = { 0 };
        int fd = dial();
        say(fd, whole, sizeof whole - 1);
        await(fd, &out, 1);
        cr_assert_eq(times(&out, "x-request-id: of-the-first\r\n"), 1);
        id_of_a_refusal(fd, damaged[i]);
        buf_finish(&out);
    }
}

/* More than may wait behind a request: the socket is not read, and nothing is lost. */
Test(http_limits, many_requests_behind_one)
{
    enum { REQUESTS = 120 };
    struct buf request = { 0 }, all = { 0 }, out = { 0 };
    buf_append_str(&request, "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n");
    fill(&request, 'p', 900);
    for (int i = 0; i < REQUESTS; i++)
        buf_append_bytes(&all, buf_bytes(&request));
    cr_assert_gt(all.len, HTTP_PIPELINE_BYTES);
    seen.keep = true;
    int fd = dial();
    say(fd, (char *)all.data, all.len);
    rig_wait(&rig, seen.count == 2);
    rig_idle(&rig, 60);
    cr_assert_eq(seen.count, 2);
    seen.keep = false;
    reply(seen.kept, "the first");
    await(fd, &out, REQUESTS);
    cr_assert_eq(seen.count, 2 * REQUESTS);
    cr_assert_eq(seen.bodies.len, REQUESTS * 901);
    close(fd);
    buf_finish(&request);
    buf_finish(&all);
    buf_finish(&out);
}

/* A drain waits for those who have not taken their answer yet. */
Test(http_limits, an_answer_on_its_way_is_open)
{
    enum { LARGE = 16 << 20 };
    struct buf body = { 0 }, out = { 0 };
    fill(&body, 'x', LARGE);
    seen.keep = true;
    int fd = dial();
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    rig_wait(&rig, seen.count == 2);
    http_drain(server);
    cr_assert_eq(http_end_idle(server), 1);
    http_respond(seen.kept, 200, NULL, &body);
    cr_assert_eq(http_end_idle(server), 1);
    await_close(fd, &out);
    cr_assert_gt(out.len, LARGE);
    rig_wait(&rig, http_end_idle(server) == 0);
    close(fd);
    buf_finish(&out);
}

/* Its request is in the kernel when the idle connections end. */
Test(http_limits, a_request_that_was_not_read_yet_is_open)
{
    struct buf out = { 0 };
    int fd = dial();
    rig_wait(&rig, http_connections(server) == 1);
    http_drain(server);
    say(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    cr_assert_eq(http_end_idle(server), 1);
    await_close(fd, &out);
    cr_assert_eq(times(&out, "connection: close"), 1);
    close(fd);
    buf_finish(&out);
}
