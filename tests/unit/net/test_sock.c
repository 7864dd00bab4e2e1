/* test_sock.c - ZeroMQ sockets on the loop: no stall, no spin, no loss that is not told. */
#include "common/base/metrics.h"
#include "tests/unit/net/rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

static const struct sock_config router_config = { SOCK_ROUTER, 1000, 1u << 20, false };
static const struct sock_config dealer_config = { SOCK_DEALER, 1000, 1u << 20, false };

/* One end of a conversation.  What it does with a message is up to `fn`. */
struct end {
    struct rig *rig;
    struct sock *sock;
    unsigned received;
    unsigned disconnects;
    unsigned goal;
    uint64_t last_ms;
    uint64_t longest_gap_ms;
    size_t last_count;
    size_t last_len;
};

static void send_text(struct sock *s, const char *text)
{
    struct frames f = { .count = 0 };
    frame_init_copy(frames_add(&f), bytes_str(text));
    if (sock_send(s, &f))
        frames_finish(&f);
}

/* Sends until the DEALER is connected, then once. */
static void send_when_connected(struct rig *r, struct sock *s, const char *text)
{
    for (uint64_t end = clock_ms() + RIG_WAIT_MS;;) {
        struct frames f = { .count = 0 };
        frame_init_copy(frames_add(&f), bytes_str(text));
        if (!sock_send(s, &f))
            return;
        frames_finish(&f);
        cr_assert_lt(clock_ms(), end, "never connected");
        rig_turn(r);
    }
}

static void note(void *arg, struct frames *frames)
{
    struct end *e = arg;
    e->received++;
    e->last_count = frames->count;
    e->last_len = frame_bytes(&frames->at[frames->count - 1]).len;
}

static void echo(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    enum status st = sock_send(e->sock, frames);
    cr_assert_neq(st, STATUS_BUSY); /* NOT_FOUND: the peer has gone meanwhile */
}

static void open_end(struct end *e, struct rig *r, const struct sock_config *config, sock_fn *fn)
{
    *e = (struct end){ .rig = r, .last_ms = clock_ms() };
    e->sock = sock_create(r->loop, config, fn, e);
}

static void bind_end(struct end *e, const char *endpoint)
{
    struct error err;
    cr_assert_eq(sock_bind(e->sock, endpoint, &err), STATUS_OK, "%s", err.text);
}

static void connect_end(struct end *e, const char *endpoint)
{
    struct error err;
    cr_assert_eq(sock_connect(e->sock, endpoint, &err), STATUS_OK, "%s", err.text);
}

static uint64_t metric_value(const char *wanted)
{
    struct buf text = { 0 };
    metrics_print(&text, NULL, NULL);
    char line[128];
    snprintf(line, sizeof line, "\n%s ", wanted);
    const char *found = strstr(buf_cstr(&text), line);
    uint64_t value = found ? strtoull(found + strlen(line), NULL, 10) : 0;
    buf_finish(&text);
    return value;
}

/* ---- endpoints -------------------------------------------------------------------------- */

Test(sock, wildcard_ports_are_resolved)
{
    struct rig r;
    struct end e;
    rig_init(&r);
    open_end(&e, &r, &router_config, note);
    bind_end(&e, "tcp://127.0.0.1:*");
    cr_assert_eq(strncmp(sock_endpoint(e.sock), "tcp://127.0.0.1:", 16), 0);
    cr_assert_neq(sock_endpoint(e.sock)[16], '*');
    sock_destroy(e.sock);
    rig_finish(&r);
}

Test(sock, a_taken_address_is_a_conflict)
{
    struct rig r;
    struct end a, b;
    struct error err;
    rig_init(&r);
    open_end(&a, &r, &router_config, note);
    open_end(&b, &r, &router_config, note);
    bind_end(&a, "tcp://127.0.0.1:*");
    cr_assert_eq(sock_bind(b.sock, sock_endpoint(a.sock), &err), STATUS_CONFLICT);
    cr_assert(strstr(err.text, sock_endpoint(a.sock)), "%s", err.text);
    sock_destroy(a.sock);
    sock_destroy(b.sock);
    rig_finish(&r);
}

Test(sock, what_is_no_endpoint_is_refused_by_name)
{
    static const char *const bad[] = { "", "tcp", "tcp://", "smtp://x:1", "tcp://127.0.0.1:port" };
    struct rig r;
    struct end e;
    struct error err;
    char longer[MAX_ENDPOINT + 100];
    rig_init(&r);
    open_end(&e, &r, &router_config, note);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(sock_bind(e.sock, bad[i], &err), STATUS_INVALID, "bind %s", bad[i]);
        cr_assert(strstr(err.text, bad[i]), "%s", err.text);
        cr_assert_eq(sock_connect(e.sock, bad[i], &err), STATUS_INVALID, "connect %s", bad[i]);
    }
    snprintf(longer, sizeof longer, "ipc://%0*d", MAX_ENDPOINT + 20, 1);
    cr_assert_eq(sock_connect(e.sock, longer, &err), STATUS_INVALID);
    cr_assert_eq(sock_bind(e.sock, longer, &err), STATUS_INVALID);
    sock_destroy(e.sock);
    sock_destroy(NULL);
    rig_finish(&r);
}

/* ---- many round trips: no stall ---------------------------------------------------------- */

#define ROUND_TRIPS 20000
#define OUTSTANDING 64

static void ping_again(void *arg, struct frames *frames)
{
    struct end *e = arg;
    uint64_t now = clock_ms();
    note(arg, frames);
    if (now - e->last_ms > e->longest_gap_ms)
        e->longest_gap_ms = now - e->last_ms;
    e->last_ms = now;
    if (e->received + OUTSTANDING <= ROUND_TRIPS)
        cr_assert_eq(sock_send(e->sock, frames), STATUS_OK);
}

static void many_round_trips(struct rig *r, const char *endpoint)
{
    struct end server, client;
    open_end(&server, r, &router_config, echo);
    open_end(&client, r, &dealer_config, ping_again);
    bind_end(&server, endpoint);
    connect_end(&client, sock_endpoint(server.sock));
    for (int i = 0; i < OUTSTANDING; i++)
        send_when_connected(r, client.sock, "ping");
    client.last_ms = clock_ms();
    rig_wait(r, client.received == ROUND_TRIPS);
    cr_assert_eq(server.received, ROUND_TRIPS);
    cr_assert_lt(client.longest_gap_ms, 500, "no answer for %lu ms",
                 (unsigned long)client.longest_gap_ms);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
}

Test(sock, no_stall_in_many_round_trips_over_ipc)
{
    struct rig r;
    rig_init(&r);
    many_round_trips(&r, r.endpoint);
    rig_finish(&r);
}

Test(sock, no_stall_in_many_round_trips_over_tcp)
{
    struct rig r;
    rig_init(&r);
    many_round_trips(&r, "tcp://127.0.0.1:*");
    rig_finish(&r);
}

/* Sends come from the turn function, as the gateway's do: they may swallow wake-ups. */
static void send_one_per_turn(void *arg)
{
    struct end *e = arg;
    if (e->goal < ROUND_TRIPS && e->goal - e->received < OUTSTANDING) {
        send_text(e->sock, "from the turn");
        e->goal++;
    }
}

static void note_gap(void *arg, struct frames *frames)
{
    struct end *e = arg;
    uint64_t now = clock_ms();
    note(arg, frames);
    if (now - e->last_ms > e->longest_gap_ms)
        e->longest_gap_ms = now - e->last_ms;
    e->last_ms = now;
}

struct remote {
    pthread_t thread;
    struct loop *loop;
    char endpoint[MAX_ENDPOINT + 1];
    unsigned received;
    struct sock *sock;
};

static void remote_echo(void *arg, struct frames *frames)
{
    struct remote *m = arg;
    m->received++;
    cr_assert_eq(sock_send(m->sock, frames), STATUS_OK);
}

static void *remote_main(void *arg)
{
    struct remote *m = arg;
    loop_run(m->loop);
    sock_destroy(m->sock);
    loop_destroy(m->loop);
    return NULL;
}

static void stop_loop(void *arg)
{
    loop_stop(arg);
}

Test(sock, no_stall_when_two_loops_talk_and_sends_come_from_the_turn)
{
    struct rig r;
    struct end client;
    struct remote m = { .loop = loop_create() };
    struct error err;
    rig_init(&r);
    m.sock = sock_create(m.loop, &router_config, remote_echo, &m);
    cr_assert_eq(sock_bind(m.sock, r.endpoint, &err), STATUS_OK);
    cr_assert_eq(pthread_create(&m.thread, NULL, remote_main, &m), 0);
    open_end(&client, &r, &dealer_config, note_gap);
    connect_end(&client, r.endpoint);
    send_when_connected(&r, client.sock, "first");
    rig_wait(&r, client.received == 1);
    client = (struct end){ .rig = &r, .sock = client.sock, .last_ms = clock_ms() };
    loop_on_turn(r.loop, send_one_per_turn, &client);
    rig_wait(&r, client.received == ROUND_TRIPS);
    cr_assert_lt(client.longest_gap_ms, 500, "no answer for %lu ms",
                 (unsigned long)client.longest_gap_ms);
    cr_assert_eq(loop_post(m.loop, stop_loop, m.loop), STATUS_OK);
    pthread_join(m.thread, NULL);
    sock_destroy(client.sock);
    rig_finish(&r);
}

struct timer_watch {
    uint64_t last_ms;
    uint64_t longest_ms;
};

static void watch_time(void *arg)
{
    struct timer_watch *w = arg;
    uint64_t now = clock_ms();
    if (now - w->last_ms > w->longest_ms)
        w->longest_ms = now - w->last_ms;
    w->last_ms = now;
}

Test(sock, timers_run_while_sockets_are_never_quiet)
{
    struct rig r;
    struct end server, client;
    struct timer_watch w = { .last_ms = clock_ms() };
    rig_init(&r);
    struct loop_timer *t = loop_timer_create(r.loop, watch_time, &w);
    loop_timer_start(t, 5, 5);
    open_end(&server, &r, &router_config, echo);
    open_end(&client, &r, &dealer_config, echo); /* both echo: the ball is always in the air */
    bind_end(&server, r.endpoint);
    connect_end(&client, r.endpoint);
    for (int i = 0; i < OUTSTANDING; i++)
        send_when_connected(&r, client.sock, "ball");
    rig_wait(&r, client.received > 10000);
    cr_assert_lt(w.longest_ms, 500, "a 5 ms timer waited %lu ms", (unsigned long)w.longest_ms);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    loop_timer_destroy(t);
    rig_finish(&r);
}

/* ---- statuses of a send ------------------------------------------------------------------ */

Test(sock, a_send_that_fails_leaves_the_frames)
{
    struct rig r;
    struct end server, client;
    struct frames f = { .count = 0 };
    rig_init(&r);
    open_end(&server, &r, &router_config, note);
    open_end(&client, &r, &dealer_config, note);
    bind_end(&server, r.endpoint);
    frame_init_copy(frames_add(&f), bytes_str("nobody"));
    frame_init_copy(frames_add(&f), bytes_str("text"));
    cr_assert_eq(sock_send(server.sock, &f), STATUS_NOT_FOUND, "no such route");
    cr_assert_eq(f.count, 2);
    cr_assert(bytes_equal_str(frame_bytes(&f.at[1]), "text"));
    cr_assert_eq(sock_send(client.sock, &f), STATUS_BUSY, "not connected");
    cr_assert_eq(f.count, 2);
    cr_assert(bytes_equal_str(frame_bytes(&f.at[0]), "nobody"));
    frames_finish(&f);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    rig_finish(&r);
}

struct flood {
    struct sock *sock;
    struct frames route; /* one frame, once known */
};

static void keep_route(void *arg, struct frames *frames)
{
    struct flood *f = arg;
    frame_init_empty(frames_add(&f->route));
    frame_move(&f->route.at[0], &frames->at[0]);
}

static enum status flood_send(struct flood *f, size_t len)
{
    struct frames frames = { .count = 0 };
    frame_init_share(frames_add(&frames), &f->route.at[0]);
    memset(frame_init_size(frames_add(&frames), len), 'x', len);
    enum status st = sock_send(f->sock, &frames);
    if (st)
        frames_finish(&frames);
    return st;
}

Test(sock, a_peer_that_does_not_read_makes_busy_and_loses_nothing)
{
    static const struct sock_config narrow = { SOCK_ROUTER, 16, 1u << 20, false };
    static const struct sock_config thin = { SOCK_DEALER, 16, 1u << 20, false };
    struct rig r;
    struct end client;
    struct flood f = { .route = { .count = 0 } };
    unsigned sent = 0;
    rig_init(&r);
    f.sock = sock_create(r.loop, &narrow, keep_route, &f);
    struct error err;
    cr_assert_eq(sock_bind(f.sock, r.endpoint, &err), STATUS_OK);
    open_end(&client, &r, &thin, note);
    connect_end(&client, r.endpoint);
    send_when_connected(&r, client.sock, "hello");
    rig_wait(&r, f.route.count == 1);
    sock_pause(client.sock, true);
    /* Busy for good: the I/O thread has moved all that it can. */
    for (uint64_t last_ms = clock_ms(); clock_ms() - last_ms < 300;) {
        while (!flood_send(&f, 100000)) {
            sent++;
            last_ms = clock_ms();
        }
        rig_turn(&r);
    }
    cr_assert_geq(sent, 16);
    cr_assert_lt(sent, 500);
    cr_assert_eq(client.received, 0);
    sock_pause(client.sock, false);
    rig_wait(&r, client.received == sent);
    cr_assert_eq(flood_send(&f, 10), STATUS_OK);
    rig_wait(&r, client.received == sent + 1);
    frames_finish(&f.route);
    sock_destroy(client.sock);
    sock_destroy(f.sock);
    rig_finish(&r);
}

/* ---- no spinning ------------------------------------------------------------------------- */

static void count_turn(void *arg)
{
    ++*(unsigned *)arg;
}

static unsigned turns_in(struct rig *r, uint64_t ms)
{
    unsigned turns = 0;
    loop_on_turn(r->loop, count_turn, &turns);
    rig_idle(r, ms);
    loop_on_turn(r->loop, NULL, NULL);
    return turns;
}

Test(sock, a_paused_socket_with_messages_does_not_spin)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, note);
    open_end(&client, &r, &dealer_config, note);
    bind_end(&server, r.endpoint);
    connect_end(&client, r.endpoint);
    sock_pause(server.sock, true);
    for (int i = 0; i < 100; i++)
        send_when_connected(&r, client.sock, "wait");
    rig_idle(&r, 50);
    unsigned turns = turns_in(&r, 200);
    cr_assert_lt(turns, 50, "%u turns in 200 ms", turns);
    cr_assert_eq(server.received, 0);
    sock_pause(server.sock, false);
    rig_wait(&r, server.received == 100);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    rig_finish(&r);
}

Test(sock, publisher_and_subscriber_do_not_spin_and_nothing_is_lost)
{
    static const struct sock_config pub_config = { SOCK_PUB, 1000, 1u << 20, false };
    static const struct sock_config sub_config = { SOCK_SUB, 1000, 1u << 20, false };
    struct rig r;
    struct end pub, sub[3];
    rig_init(&r);
    open_end(&pub, &r, &pub_config, note);
    bind_end(&pub, r.endpoint);
    for (int i = 0; i < 3; i++) {
        open_end(&sub[i], &r, &sub_config, note);
        connect_end(&sub[i], r.endpoint);
    }
    rig_idle(&r, 100); /* subscriptions arrive */
    unsigned turns = turns_in(&r, 200);
    cr_assert_lt(turns, 50, "%u turns in 200 ms", turns);
    for (int i = 0; i < 3; i++) {
        rig_wait(&r, (send_text(pub.sock, "tick"), rig_turn(&r), sub[i].received > 0));
    }
    rig_idle(&r, 50);
    for (int i = 0; i < 3; i++)
        sub[i].received = 0;
    for (int i = 0; i < 500; i++)
        send_text(pub.sock, "event");
    for (int i = 0; i < 3; i++)
        rig_wait(&r, sub[i].received == 500);
    cr_assert_eq(pub.received, 0);
    for (int i = 0; i < 3; i++)
        sock_destroy(sub[i].sock);
    sock_destroy(pub.sock);
    rig_finish(&r);
}

/* ---- hostile peers ----------------------------------------------------------------------- */

static void send_frames(struct rig *r, struct sock *s, size_t count)
{
    struct frames f = { .count = 0 };
    for (size_t i = 0; i < count; i++)
        frame_init_copy(frames_add(&f), bytes_str("x"));
    rig_wait(r, sock_send(s, &f) == STATUS_OK);
}

Test(sock, messages_of_too_many_frames_are_dropped_and_counted)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, note); /* the route takes one of its frames */
    open_end(&client, &r, &dealer_config, note);
    bind_end(&server, r.endpoint);
    connect_end(&client, r.endpoint);
    send_frames(&r, client.sock, MAX_FRAMES - 1);
    rig_wait(&r, server.received == 1);
    cr_assert_eq(server.last_count, MAX_FRAMES);
    send_frames(&r, client.sock, MAX_FRAMES);
    send_frames(&r, client.sock, 1);
    rig_wait(&r, server.received == 2);
    cr_assert_eq(server.last_count, 2);
    cr_assert_eq(metric_value("maas_net_bad_messages_total"), 1);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    rig_finish(&r);
}

static void lost_peer(void *arg)
{
    ((struct end *)arg)->disconnects++;
}

Test(sock, a_frame_beyond_the_limit_costs_the_connection)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, note);
    sock_on_disconnect(server.sock, lost_peer, &server);
    open_end(&client, &r, &dealer_config, note);
    sock_on_disconnect(client.sock, lost_peer, &client);
    bind_end(&server, r.endpoint);
    connect_end(&client, r.endpoint);
    struct frames f = { .count = 0 };
    memset(frame_init_size(frames_add(&f), (1u << 20) + 1), 0, (1u << 20) + 1);
    rig_wait(&r, sock_send(client.sock, &f) == STATUS_OK);
    rig_wait(&r, server.disconnects == 1);
    cr_assert_eq(server.received, 0);
    rig_wait(&r, client.disconnects == 1);
    /* It reconnects by itself; what is sent meanwhile may still go the old way, and be lost. */
    rig_wait(&r, (send_text(client.sock, "again"), server.received > 0));
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    rig_finish(&r);
}

static int raw_connect(const char *endpoint)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)atoi(strrchr(endpoint, ':') + 1)),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

Test(sock, garbage_on_the_port_harms_nobody)
{
    struct rig r;
    struct end server, client;
    int fd[40];
    rig_init(&r);
    srand(1);
    open_end(&server, &r, &router_config, echo);
    open_end(&client, &r, &dealer_config, note);
    bind_end(&server, "tcp://127.0.0.1:*");
    for (int i = 0; i < 40; i++) {
        unsigned char junk[512];
        for (size_t n = 0; n < sizeof junk; n++)
            junk[n] = (unsigned char)rand();
        if (i % 2) /* a good greeting first: ZMTP 3.0, NULL mechanism */
            memcpy(junk, "\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                   33);
        fd[i] = raw_connect(sock_endpoint(server.sock));
        cr_assert_gt(send(fd[i], junk, (size_t)(i + 1) * 12, MSG_NOSIGNAL), 0);
        rig_turn(&r);
    }
    connect_end(&client, sock_endpoint(server.sock));
    send_when_connected(&r, client.sock, "still there?");
    rig_wait(&r, client.received == 1);
    for (int i = 0; i < 40; i++)
        close(fd[i]);
    sock_destroy(client.sock);
    sock_destroy(server.sock);
    rig_finish(&r);
}

/* ---- ends -------------------------------------------------------------------------------- */

static void destroy_on_message(void *arg, struct frames *frames)
{
    struct end *e = arg;
    note(arg, frames);
    sock_destroy(e->sock);
    e->sock = NULL;
}

Test(sock, a_socket_may_be_destroyed_in_its_own_handler)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, destroy_on_message);
    sock_on_disconnect(server.sock, lost_peer, &server);
    open_end(&client, &r, &dealer_config, note);
    bind_end(&server, r.endpoint);
    connect_end(&client, r.endpoint);
    send_when_connected(&r, client.sock, "one");
    send_text(client.sock, "two");
    rig_wait(&r, !server.sock);
    rig_idle(&r, 20);
    cr_assert_eq(server.received, 1);
    sock_destroy(client.sock);
    rig_finish(&r);
}

static void destroy_on_disconnect(void *arg)
{
    struct end *e = arg;
    e->disconnects++;
    sock_destroy(e->sock);
    e->sock = NULL;
}

Test(sock, a_lost_peer_is_told_and_the_handler_may_destroy)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, note);
    sock_on_disconnect(server.sock, destroy_on_disconnect, &server);
    bind_end(&server, r.endpoint);
    open_end(&client, &r, &dealer_config, note);
    connect_end(&client, r.endpoint);
    send_when_connected(&r, client.sock, "hello");
    rig_wait(&r, server.received == 1);
    sock_destroy(client.sock);
    rig_wait(&r, !server.sock);
    cr_assert_eq(server.disconnects, 1);
    rig_finish(&r);
}

Test(sock, last_words_arrive_after_destroy)
{
    struct rig r;
    struct end server, client;
    rig_init(&r);
    open_end(&server, &r, &router_config, note);
    bind_end(&server, r.endpoint);
    open_end(&client, &r, &dealer_config, note);
    connect_end(&client, r.endpoint);
    send_when_connected(&r, client.sock, "hello");
    rig_wait(&r, server.received == 1);
    for (int i = 0; i < 100; i++)
        send_text(client.sock, "last words");
    sock_destroy(client.sock);
    rig_wait(&r, server.received == 101);
    sock_destroy(server.sock);
    rig_finish(&r);
}

/* ---- frames ------------------------------------------------------------------------------ */

static void count_free(void *data, void *hint)
{
    free(data);
    ++*(_Atomic unsigned *)hint;
}

Test(frames, shared_memory_is_freed_once_by_the_last)
{
    _Atomic unsigned freed = 0;
    struct frame a, b, c;
    void *data = mem_alloc(100000);
    memset(data, 7, 100000);
    frame_init_take(&a, data, 100000, count_free, &freed);
    frame_init_share(&b, &a);
    frame_init_empty(&c);
    frame_move(&c, &a);
    cr_assert_eq(frame_bytes(&a).len, 0);
    cr_assert_eq(frame_bytes(&c).data, data);
    cr_assert_eq(frame_bytes(&b).data, data);
    frame_finish(&a);
    frame_finish(&c);
    cr_assert_eq(freed, 0);
    frame_finish(&b);
    cr_assert_eq(freed, 1);
}

Test(frames, buffers_of_any_size_become_frames)
{
    for (size_t len = 0; len < 5000; len += 499) {
        struct buf b = { 0 };
        struct frame f;
        for (size_t i = 0; i < len; i++)
            buf_append(&b, "z", 1);
        frame_init_buf(&f, &b);
        cr_assert_eq(frame_bytes(&f).len, len);
        cr_assert_eq(b.data, NULL);
        frame_finish(&f);
    }
}

Test(frames, at_most_max_frames)
{
    struct frames f = { .count = 0 };
    for (int i = 0; i < MAX_FRAMES; i++)
        frame_init_empty(frames_add(&f));
    cr_assert_null(frames_add(&f));
    frames_finish(&f);
    cr_assert_eq(f.count, 0);
}
