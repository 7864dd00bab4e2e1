/* The HTTP server over real sockets, with requests that come in every possible pair of pieces. */
#include "tests/unit/gateway/http_rig.h"

#define BIG (16 << 20) /* more than the kernel takes for a client that does not read */

TestSuite(http, .init = start, .fini = finish, .timeout = 60);

static const char mixed[] = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
                            "GET /d HTTP/1.1\r\nhost: x\r\nX-Request-Id: id-1\r\n\r\n"
                            "PUT /e HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "3\r\nabc\r\n5;x=y\r\ndefgh\r\n0\r\nTrailer: t\r\n\r\n"
                            "POST /f HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

static void check_mixed(const struct buf *out)
{
    static const char *const order[] = { "POST /a?b=c", "GET /d", "PUT /e", "POST /f" };
    const char *at = (char *)out->data;
    cr_assert_str_eq(buf_cstr(&seen.bodies), "hello||abcdefgh||");
    cr_assert_str_eq(seen.events, "bcbcbcbc");
    for (size_t i = 0; i < 4; i++) {
        at = strstr(at, order[i]);
        cr_assert_not_null(at, "%s", (char *)out->data);
    }
    cr_assert_eq(times(out, "x-request-id: id-1\r\n"), 1);
    seen.bodies.len = 0;
    seen.count = 0;
}

Test(http, requests_in_every_pair_of_pieces)
{
    for (size_t cut = 0; cut < sizeof mixed; cut++) {
        struct buf out = { 0 };
        int fd = dial();
        say(fd, mixed, cut);
        size_t before = http_connections(server);
        rig_wait(&rig, http_connections(server) > 0 || before > 0);
        rig_turn(&rig);
        say(fd, mixed + cut, sizeof mixed - 1 - cut);
        await(fd, &out, 4);
        check_mixed(&out);
        close(fd);
        rig_wait(&rig, http_connections(server) == 0);
        buf_finish(&out);
    }
}

Test(http, requests_in_single_bytes)
{
    struct buf out = { 0 };
    int fd = dial();
    for (size_t i = 0; i + 1 < sizeof mixed; i++) {
        say(fd, mixed + i, 1);
        uv_run(loop_uv(rig.loop), UV_RUN_NOWAIT);
    }
    await(fd, &out, 4);
    check_mixed(&out);
    close(fd);
    buf_finish(&out);
}

Test(http, refuses_what_is_no_request)
{
    REFUSED(400, "\1\2\3\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.1\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n");
    REFUSED(400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n");
    REFUSED(400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    REFUSED(400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n");
    REFUSED(400, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n");
    REFUSED(400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    REFUSED(413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    REFUSED(417, "POST / HTTP/1.1\r\nHost: x\r\nExpect: the moon\r\nContent-Length: 1\r\n\r\n");
    REFUSED(505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n");
}

static void refused_when_filled(int status, const char *head, const char *fill, size_t times_)
{
    struct buf data = { 0 };
    buf_append_str(&data, head);
    for (size_t i = 0; i < times_; i++)
        buf_append_str(&data, fill);
    buf_append_str(&data, " HTTP/1.1\r\n\r\n");
    expect_refusal(status, (char *)data.data, data.len);
    buf_finish(&data);
}

Test(http, refuses_what_is_too_long)
{
    refused_when_filled(414, "GET /", "a", HTTP_TARGET_MAX);
    refused_when_filled(431, "GET / HTTP/1.1\r\nHost: x\r\nA: ", "b", HTTP_HEADERS_MAX);
    refused_when_filled(431, "GET / HTTP/1.1\r\nHost: x\r\n", "a:\r\n", HTTP_FIELDS_MAX);
    refused_when_filled(431, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;",
                        "a", HTTP_HEADERS_MAX);
    refused_when_filled(
        413, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "64\r\n0123456789012345678901234567890123456789012345678901234567890123456789"
        "012345678901234567890123456789\r\n",
        11);
}

Test(http, all_bodies_together_are_bounded)
{
    static const char big[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    static const char most[999] = "";
    int first = dial();
    say(first, big, sizeof big - 1);
    say(first, most, sizeof most);
    rig_wait(&rig, seen.count == 1);
    rig_idle(&rig, 60);
    struct buf out = exchange(big, sizeof big - 1);
    cr_assert(strstr((char *)out.data, "503 Service Unavailable"), "%s", (char *)out.data);
    cr_assert(strstr((char *)out.data, "retry-after: 1"), "%s", (char *)out.data);
    buf_finish(&out);
    close(first);
    rig_wait(&rig, http_connections(server) == 0);
    int third = dial();
    say(third, big, sizeof big - 1);
    rig_wait(&rig, strcmp(seen.events, "bbggb") == 0);
    close(third);
}

static void expects(const char *head, size_t count)
{
    struct buf out = { 0 };
    int fd = dial();
    say(fd, head, strlen(head));
    rig_wait(&rig, (hear(fd, &out), seen.count % 2 == 1));
    rig_wait(&rig, (hear(fd, &out), times(&out, "100 Continue") == count));
    say(fd, "hello", 5);
    await(fd, &out, 1);
    cr_assert_eq(times(&out, "100 Continue"), count);
    close(fd);
    buf_finish(&out);
    seen.bodies.len = 0;
}

Test(http, continue_is_said_to_who_expects_it)
{
    expects("POST / HTTP/1.1\r\nExpect: 100-Continue\r\nHost: x\r\nContent-Length: 5\r\n\r\n", 1);
    expects("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 1);
    expects("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nETag: 1\r\n\r\n", 0);
    expects("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", 0);
}

Test(http, head_has_the_length_and_no_body)
{
    static const char text[] = "HEAD /h HTTP/1.1\r\nHost: x\r\n\r\nGET /g HTTP/1.1\r\nHost: "
                               "x\r\nConnection: close\r\n\r\n";
    struct buf out = exchange(text, sizeof text - 1);
    cr_assert_eq(times(&out, "content-length: 7\r\n"), 1);
    cr_assert_eq(times(&out, "HEAD /h"), 0);
    cr_assert_eq(times(&out, "GET /g"), 1);
    buf_finish(&out);
}

Test(http, an_upgrade_is_ignored)
{
    static const char text[] =
        "GET /1 HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
        "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
    struct buf out = { 0 };
    int fd = dial();
    say(fd, text, sizeof text - 1);
    await(fd, &out, 2);
    close(fd);
    buf_finish(&out);
}

static const char one[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

static void asks_with_id(const char *sent, bool taken)
{
    struct buf out = { 0 };
    char text[512], line[300];
    int len =
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n\r\n", sent);
    int fd = dial();
    say(fd, text, (size_t)len);
    await(fd, &out, 1);
    snprintf(line, sizeof line, "x-request-id: %s\r\n", sent);
    cr_assert_eq(times(&out, line) == 1, taken, "%s", (char *)out.data);
    cr_assert_eq(times(&out, "x-request-id: "), 1);
    close(fd);
    buf_finish(&out);
}

Test(http, sane_request_ids_are_taken_over)
{
    char longest[HTTP_ID_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[HTTP_ID_MAX] = 0;
    asks_with_id("abc-1.2:3/4", true);
    asks_with_id(longest, true);
    longest[HTTP_ID_MAX] = 'a';
    longest[HTTP_ID_MAX + 1] = 0;
    asks_with_id(longest, false);
    asks_with_id("a b", false);
    asks_with_id("say \"hi\"", false);
    asks_with_id("\xc3\xa9", false);
}

Test(http, answers_wait_for_their_turn)
{
    struct buf out = { 0 };
    int fd = dial();
    seen.keep = true;
    say(fd, one, sizeof one - 1);
    say(fd, one, sizeof one - 1);
    rig_wait(&rig, seen.count == 2);
    rig_idle(&rig, 60);
    cr_assert_str_eq(seen.events, "bc", "the second waits for the first");
    reply(seen.kept, "first");
    rig_wait(&rig, seen.count == 4);
    reply(seen.kept, "second");
    await(fd, &out, 2);
    cr_assert_lt(strstr((char *)out.data, "first"), strstr((char *)out.data, "second"));
    close(fd);
    buf_finish(&out);
}

Test(http, who_goes_away_is_noticed_while_the_request_is_handled)
{
    int fd = dial();
    seen.keep = true;
    say(fd, one, sizeof one - 1);
    rig_wait(&rig, seen.count == 2);
    close(fd);
    rig_wait(&rig, seen.count == 3);
    cr_assert_str_eq(seen.events, "bcg");
    rig_wait(&rig, http_connections(server) == 0);
}

Test(http, a_truncated_body_is_never_complete)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    int fd = dial();
    say(fd, text, sizeof text - 1);
    rig_wait(&rig, seen.count == 1);
    close(fd);
    rig_wait(&rig, seen.count == 2);
    cr_assert_str_eq(seen.events, "bg");
}

Test(http, an_early_answer_ends_the_connection)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n12345";
    seen.early = true;
    struct buf out = exchange(text, sizeof text - 1);
    cr_assert_eq(times(&out, "early"), 1);
    cr_assert_eq(times(&out, "connection: close"), 1);
    cr_assert_str_eq(seen.events, "b");
    buf_finish(&out);
}

Test(http, a_streamed_body_has_no_limit_and_can_be_held_up)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n";
    char body[3000];
    struct buf out = { 0 };
    int fd = dial();
    seen.stream = true;
    memset(body, 'z', sizeof body);
    say(fd, head, sizeof head - 1);
    say(fd, body, 1000);
    rig_wait(&rig, seen.bodies.len == 1000);
    seen.keep = true;
    say(fd, body, 2000);
    rig_wait(&rig, seen.count == 2);
    cr_assert_eq(seen.bodies.len, 3001);
    http_pause(seen.kept);
    reply(seen.kept, "done");
    await(fd, &out, 1);
    say(fd, one, sizeof one - 1); /* an answer ends the pause */
    rig_wait(&rig, seen.count == 4);
    close(fd);
    buf_finish(&out);
}

Test(http, who_does_not_read_gets_no_second_answer)
{
    struct buf big = { 0 };
    int fd = dial();
    seen.keep = true;
    for (int i = 0; i < 3; i++)
        say(fd, one, sizeof one - 1);
    rig_wait(&rig, seen.count == 2);
    buf_reserve(&big, BIG);
    memset(big.data, 'x', BIG);
    big.len = BIG;
    http_respond(seen.kept, 200, NULL, &big);
    rig_idle(&rig, 60);
    cr_assert_str_eq(seen.events, "bc", "the next request waits until the answer is taken");
    struct buf out = { 0 };
    seen.keep = false;
    rig_wait(&rig, (hear(fd, &out), out.len > BIG && seen.count == 6));
    await(fd, &out, 3);
    cr_assert_str_eq(seen.events, "bcbcbc");
    close(fd);
    buf_finish(&out);
}

static void restart(uint32_t idle_ms, uint32_t read_ms)
{
    struct error err;
    http_destroy(server);
    config.idle_timeout_ms = idle_ms;
    config.read_timeout_ms = read_ms;
    server = http_create(rig.loop, &config, &events, NULL);
    cr_assert_eq(http_listen(server, "127.0.0.1:0", &err), STATUS_OK);
}

Test(http, a_header_that_trickles_is_given_up)
{
    struct buf out = { 0 };
    restart(60000, 300);
    int fd = dial();
    uint64_t begin = clock_ms();
    say(fd, "GET /", 5);
    for (uint64_t said = begin; hear(fd, &out) && !out.len; rig_turn(&rig)) {
        if (clock_ms() - said >= 10) { /* it never stops coming, and is never complete */
            said = clock_ms();
            say(fd, "a", 1);
        }
        cr_assert_lt(clock_ms() - begin, 20000);
    }
    cr_assert_eq(times(&out, "HTTP/1.1 408 Request Timeout"), 1, "%s", (char *)out.data);
    cr_assert_geq(clock_ms() - begin, 250);
    close(fd);
    buf_finish(&out);
}

Test(http, a_body_that_stops_is_given_up)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    restart(60000, 300);
    struct buf out = exchange(text, sizeof text - 1);
    cr_assert_eq(times(&out, "408 Request Timeout"), 1);
    cr_assert_str_eq(seen.events, "bg");
    buf_finish(&out);
}

Test(http, idle_connections_end)
{
    restart(200, 60000);
    struct buf out = exchange(one, sizeof one - 1);
    cr_assert_eq(times(&out, "HTTP/1.1 200 OK"), 1);
    cr_assert_eq(times(&out, "connection: close"), 0);
    buf_finish(&out);
}

Test(http, connections_beyond_the_limit_are_closed)
{
    int fds[4];
    struct buf out = { 0 };
    for (int i = 0; i < 4; i++)
        fds[i] = dial();
    rig_wait(&rig, http_connections(server) == 4);
    int fifth = dial();
    await_close(fifth, &out);
    cr_assert_eq(out.len, 0);
    buf_finish(&out);
    close(fifth);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

Test(http, a_drain_serves_what_still_comes_and_closes_behind_it)
{
    struct buf out = { 0 };
    int idle = dial();
    rig_wait(&rig, http_connections(server) == 1);
    int busy = dial();
    seen.keep = true;
    say(busy, one, sizeof one - 1);
    rig_wait(&rig, seen.count == 2);
    http_drain(server);
    cr_assert_eq(http_end_idle(server), 1);
    await_close(idle, &out);
    cr_assert_eq(out.len, 0);
    reply(seen.kept, "last");
    await_close(busy, &out);
    cr_assert_eq(times(&out, "connection: close"), 1);
    out.len = 0;
    seen.keep = false;
    struct buf late = exchange(one, sizeof one - 1);
    cr_assert_eq(times(&late, "connection: close"), 1);
    http_stop_listening(server);
    rig_turn(&rig);
    close(idle);
    close(busy);
    buf_finish(&out);
    buf_finish(&late);
}

Test(http, requests_that_are_open_at_the_end_are_gone)
{
    int fd = dial();
    seen.keep = true;
    say(fd, one, sizeof one - 1);
    rig_wait(&rig, seen.count == 2);
    http_destroy(server);
    server = NULL;
    cr_assert_str_eq(seen.events, "bcg");
    close(fd);
}

static void address(const char *text, enum status expected)
{
    struct error err;
    struct http_server *s = http_create(rig.loop, &config, &events, NULL);
    cr_assert_eq(http_listen(s, text, &err), expected, "%s", text);
    http_destroy(s);
}

Test(http, addresses)
{
    address("127.0.0.1", STATUS_INVALID);
    address("127.0.0.1:", STATUS_INVALID);
    address("127.0.0.1:x", STATUS_INVALID);
    address("127.0.0.1:65536", STATUS_INVALID);
    address("[]:80", STATUS_INVALID);
    address("nowhere:80", STATUS_INVALID);
    address(http_address(server), STATUS_CONFLICT);
    address("127.0.0.1:0", STATUS_OK);
}
