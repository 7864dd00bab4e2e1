/* test_http_reading.c - connections are told of by edges: nothing that has come may be overlooked, whether it
 * came with something else, while nobody read, or in more than one turn's share. */
#include "tests/unit/gateway/http_rig.h"

TestSuite(http_reading, .init = start, .fini = finish, .timeout = 60);

#define MUCH (8u << 20) /* more than is read in one turn, and than the kernel holds */

static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/* The server has not looked yet: one edge tells of everything. */
Test(http_reading, an_end_behind_half_a_body)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    int fd = dial();
    say(fd, text, sizeof text - 1);
    shutdown(fd, SHUT_WR);
    rig_wait(&rig, seen.count == 2 && !http_connections(server));
    cr_assert_str_eq(seen.events, "bg");
    close(fd);
}

Test(http_reading, an_end_behind_a_request_that_is_answered_at_once)
{
    struct buf out = { 0 };
    int fd = dial();
    say(fd, get, sizeof get - 1);
    shutdown(fd, SHUT_WR);
    await_close(fd, &out);
    cr_assert_eq(times(&out, "HTTP/1.1 200"), 1);
    rig_wait(&rig, !http_connections(server));
    buf_finish(&out);
    close(fd);
}

Test(http_reading, an_end_behind_nothing)
{
    int fd = dial();
    rig_wait(&rig, http_connections(server) == 1);
    shutdown(fd, SHUT_WR);
    rig_wait(&rig, !http_connections(server));
    close(fd);
}

Test(http_reading, what_comes_in_a_pause_is_there_behind_it)
{
    static const char head[] = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    int fd = dial(), other = dial();
    struct buf out = { 0 };
    seen.stream = seen.pause = true;
    say(fd, head, sizeof head - 1);
    rig_wait(&rig, seen.count == 1);
    say(fd, "12345", 5);
    shutdown(fd, SHUT_WR);
    seen.pause = false;
    say(other, get, sizeof get - 1); /* the turns for this one pass by the paused one */
    await(other, &out, 1);
    cr_assert_eq(seen.bodies.len, 1, "only the mark behind the empty body of the other");
    http_resume(seen.held);
    rig_wait(&rig, seen.bodies.len == 7);
    rig_wait(&rig, http_connections(server) == 1);
    close(fd);
    close(other);
    buf_finish(&out);
}

/* One client sends without end; another one's request is answered meanwhile, and nothing is lost. */
Test(http_reading, more_than_one_turn_reads)
{
    char head[96], piece[65536];
    struct buf out = { 0 };
    int fd = dial(), other = dial();
    size_t sent = 0;
    bool asked = false;
    memset(piece, 'z', sizeof piece);
    seen.stream = true;
    snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %u\r\n\r\n", MUCH);
    say(fd, head, strlen(head));
    while (sent < MUCH) {
        size_t len = MUCH - sent < sizeof piece ? MUCH - sent : sizeof piece;
        ssize_t n = send(fd, piece, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        cr_assert_eq(errno, EAGAIN);
        if (!asked)
            say(other, get, sizeof get - 1);
        asked = true;
        rig_wait(&rig, seen.bodies.len + 65536 >= sent);
    }
    await(fd, &out, 1);
    cr_assert(asked);
    cr_assert_eq(seen.bodies.len, MUCH + 2, "the body, and a mark behind each request");
    await(other, &out, 1);
    close(fd);
    close(other);
    buf_finish(&out);
}
