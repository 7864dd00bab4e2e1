/* test_direct.c - the short way between two processes of one host: the contract of sock.h holds
 * there too, and what comes from a stranger harms nobody. */
#include "tests/unit/net/rig.h"

#include <sys/socket.h>
#include <sys/un.h>

#define FRAME_MAX   (8u << 20)
#define QUEUE_MAX   16
#define LARGE       (3u << 20)
#define ROUND_TRIPS 20000
#define OUTSTANDING 32

static const struct sock_config router_config = { SOCK_ROUTER, QUEUE_MAX, FRAME_MAX, true };
static const struct sock_config dealer_config = { SOCK_DEALER, QUEUE_MAX, FRAME_MAX, true };

struct end {
    struct rig *rig;
    struct sock *sock;
    unsigned received, lost, wrong;
    size_t last_count, last_len;
    struct frame route; /* of the last peer of a ROUTER */
    bool has_route;
};

static void open_end(struct end *e, struct rig *r, const struct sock_config *config, sock_fn *fn)
{
    *e = (struct end){ .rig = r };
    e->sock = sock_create(r->loop, config, fn, e);
}

static void open_pair(struct rig *r, struct end *server, struct end *client, sock_fn *serve,
                      sock_fn *receive)
{
    struct error err;
    rig_init(r);
    open_end(server, r, &router_config, serve);
    open_end(client, r, &dealer_config, receive);
    cr_assert_eq(sock_bind(server->sock, r->endpoint, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(sock_connect(client->sock, r->endpoint, &err), STATUS_OK, "%s", err.text);
}

static void close_pair(struct rig *r, struct end *server, struct end *client)
{
    if (server->has_route)
        frame_finish(&server->route);
    sock_destroy(client->sock);
    sock_destroy(server->sock);
    rig_finish(r);
}

static void note(void *arg, struct frames *frames)
{
    struct end *e = arg;
    e->received++;
    e->last_count = frames->count;
    e->last_len = frame_bytes(&frames->at[frames->count - 1]).len;
}

static void note_route(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    if (e->has_route)
        frame_finish(&e->route);
    frame_init_share(&e->route, &frames->at[0]);
    e->has_route = true;
}

static void echo(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    cr_assert_neq(sock_send(e->sock, frames), STATUS_BUSY);
}

static void echo_twice(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    if (e->received < ROUND_TRIPS && sock_send(e->sock, frames))
        e->wrong++;
}

static enum status send_sized(struct sock *s, size_t first, size_t second)
{
    struct frames f = { .count = 0 };
    memset(frame_init_size(frames_add(&f), first), 'a', first);
    memset(frame_init_size(frames_add(&f), second), 'b', second);
    enum status st = sock_send(s, &f);
    if (st)
        frames_finish(&f);
    return st;
}

static void send_connected(struct rig *r, struct sock *s, size_t first, size_t second)
{
    rig_wait(r, send_sized(s, first, second) == STATUS_OK);
}

Test(direct, no_stall_in_many_round_trips)
{
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, echo, echo_twice);
    send_connected(&r, client.sock, 4, 40);
    for (int i = 1; i < OUTSTANDING / 4; i++)
        cr_assert_eq(send_sized(client.sock, 4, 40), STATUS_OK);
    rig_wait(&r, client.received >= ROUND_TRIPS);
    cr_assert_eq(client.wrong, 0);
    close_pair(&r, &server, &client);
}

static void check_content(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    for (size_t i = 0; i < frames->count; i++) {
        struct bytes data = frame_bytes(&frames->at[i]);
        for (size_t k = 0; k < data.len; k++)
            e->wrong += ((const char *)data.data)[k] != (i ? 'b' : 'a');
    }
}

Test(direct, frames_of_every_size_come_whole)
{
    static const size_t sizes[] = { 0, 1, 29, 40, 8191, 8192, 8193, 65536, 65537, LARGE };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, echo, check_content);
    for (size_t i = 0; i < SIZES; i++) {
        for (size_t k = 0; k < SIZES; k++) {
            unsigned before = client.received;
            send_connected(&r, client.sock, sizes[i], sizes[k]);
            rig_wait(&r, client.received > before);
            cr_assert_eq(client.last_count, 2);
            cr_assert_eq(client.last_len, sizes[k]);
        }
    }
    cr_assert_eq(client.wrong, 0);
    close_pair(&r, &server, &client);
}

Test(direct, a_peer_that_does_not_read_is_busy_and_loses_nothing)
{
    struct rig r;
    struct end server, client;
    unsigned sent = 1;
    open_pair(&r, &server, &client, note, note);
    send_connected(&r, client.sock, 4, 4);
    rig_wait(&r, server.received == 1);
    sock_pause(server.sock, true);
    while (send_sized(client.sock, 4, LARGE) == STATUS_OK)
        sent++;
    cr_assert_leq(sent, QUEUE_MAX + 2);
    rig_idle(&r, 50);
    cr_assert_eq(server.received, 1);
    sock_pause(server.sock, false);
    rig_wait(&r, server.received == sent);
    close_pair(&r, &server, &client);
}

static void count_lost(void *arg)
{
    struct end *e = arg;
    e->lost++;
}

Test(direct, a_lost_peer_is_told_and_not_found)
{
    struct rig r;
    struct end server, client;
    struct frames f = { .count = 0 };
    open_pair(&r, &server, &client, note_route, note);
    sock_on_disconnect(server.sock, count_lost, &server);
    send_connected(&r, client.sock, 4, 4);
    rig_wait(&r, server.received == 1);
    sock_destroy(client.sock);
    client.sock = NULL;
    rig_wait(&r, server.lost > 0);
    frame_init_share(frames_add(&f), &server.route);
    frame_init_copy(frames_add(&f), bytes_str("x"));
    cr_assert_eq(sock_send(server.sock, &f), STATUS_NOT_FOUND);
    frames_finish(&f);
    close_pair(&r, &server, &client);
}

Test(direct, who_connects_is_told_too)
{
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, note_route, note);
    sock_on_disconnect(client.sock, count_lost, &client);
    send_connected(&r, client.sock, 4, 4);
    cr_assert_eq(client.lost, 0);
    sock_destroy(server.sock);
    server.sock = NULL;
    rig_wait(&r, client.lost == 1);
    close_pair(&r, &server, &client);
}

Test(direct, a_router_that_knows_no_short_way_is_reached_by_zmq)
{
    static const struct sock_config plain_config = { SOCK_ROUTER, QUEUE_MAX, FRAME_MAX, false };
    struct rig r;
    struct end server, client;
    struct error err;
    rig_init(&r);
    open_end(&server, &r, &plain_config, echo);
    open_end(&client, &r, &dealer_config, note);
    cr_assert_eq(sock_bind(server.sock, r.endpoint, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(sock_connect(client.sock, r.endpoint, &err), STATUS_OK, "%s", err.text);
    send_connected(&r, client.sock, 4, 4);
    rig_wait(&r, client.received == 1);
    close_pair(&r, &server, &client);
}

Test(direct, it_connects_again_and_before_anybody_listens)
{
    struct rig r;
    struct end server, client;
    struct error err;
    rig_init(&r);
    open_end(&client, &r, &dealer_config, note);
    cr_assert_eq(sock_connect(client.sock, r.endpoint, &err), STATUS_OK);
    cr_assert_eq(send_sized(client.sock, 1, 1), STATUS_BUSY);
    for (int round = 0; round < 3; round++) {
        open_end(&server, &r, &router_config, echo);
        cr_assert_eq(sock_bind(server.sock, r.endpoint, &err), STATUS_OK, "%s", err.text);
        unsigned before = client.received;
        send_connected(&r, client.sock, 1, 1);
        rig_wait(&r, client.received > before);
        sock_destroy(server.sock);
        rig_wait(&r, send_sized(client.sock, 1, 1) == STATUS_BUSY);
    }
    sock_destroy(client.sock);
    rig_finish(&r);
}

static void destroy_itself(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    sock_destroy(e->sock);
    e->sock = NULL;
}

Test(direct, a_handler_may_destroy_its_socket)
{
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, destroy_itself, note);
    send_connected(&r, client.sock, 1, LARGE);
    rig_wait(&r, server.received == 1);
    close_pair(&r, &server, &client);
}

/* ---- strangers ------------------------------------------------------------------------------------- */

static int stranger(const struct rig *r)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(to.sun_path, sizeof to.sun_path, "%s/socket.direct", r->dir);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* Sends the bytes; true once the other side has hung up. */
static bool is_refused(struct rig *r, const void *data, size_t len)
{
    int fd = stranger(r);
    char byte;
    cr_assert_eq(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
    rig_wait(r, recv(fd, &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN);
    close(fd);
    return true;
}

Test(direct, what_is_no_message_costs_the_connection_and_no_more)
{
    static const unsigned char none[4] = { 0 };
    static const unsigned char many[4] = { MAX_FRAMES };
    static const unsigned char most[4] = { 0xff, 0xff, 0xff, 0xff };
    static const unsigned char longer[12] = { 1, 0, 0, 0, 1, 0, 0x80 }; /* FRAME_MAX + 1 */
    static const unsigned char longest[12] = { 1,    0,    0,    0,    0xff, 0xff,
                                               0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, echo, note);
    is_refused(&r, none, sizeof none);
    is_refused(&r, many, sizeof many);
    is_refused(&r, most, sizeof most);
    is_refused(&r, longer, sizeof longer);
    is_refused(&r, longest, sizeof longest);
    cr_assert_eq(server.received, 0);
    send_connected(&r, client.sock, 4, 4);
    rig_wait(&r, client.received == 1);
    close_pair(&r, &server, &client);
}

Test(direct, a_message_may_come_byte_by_byte)
{
    static const unsigned char message[] = { 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0,   0,   0,  0,
                                             0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'x', 'y', 'z' };
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, note_route, note);
    int fd = stranger(&r);
    for (unsigned round = 1; round <= 3; round++) {
        for (size_t i = 0; i < sizeof message; i++) {
            cr_assert_eq(server.received, round - 1);
            cr_assert_eq(send(fd, message + i, 1, MSG_NOSIGNAL), 1);
            rig_turn(&r);
        }
        rig_wait(&r, server.received == round);
        cr_assert_eq(server.last_count, 4); /* the route, and three frames */
        cr_assert_eq(server.last_len, 2);
    }
    close(fd);
    close_pair(&r, &server, &client);
}

Test(direct, half_a_message_is_nothing)
{
    static const unsigned char half[] = { 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 'x' };
    struct rig r;
    struct end server, client;
    open_pair(&r, &server, &client, note, note);
    sock_on_disconnect(server.sock, count_lost, &server);
    int fd = stranger(&r);
    cr_assert_eq(send(fd, half, sizeof half, MSG_NOSIGNAL), (ssize_t)sizeof half);
    rig_idle(&r, 20);
    close(fd);
    rig_wait(&r, server.lost == 1);
    cr_assert_eq(server.received, 0);
    close_pair(&r, &server, &client);
}
