/* test_lookup.c - a host name that nobody resolves stops no socket that is bound. */
#include "tests/unit/net/rig.h"

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <zmq.h>

#define ROUND_TRIPS 1000

/* The name server of this test: it keeps silent until the end. */
static pthread_mutex_t silence = PTHREAD_MUTEX_INITIALIZER;
static atomic_int asked;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    (void)name;
    (void)service;
    (void)hints;
    (void)found;
    asked++;
    pthread_mutex_lock(&silence);
    pthread_mutex_unlock(&silence);
    return EAI_NONAME;
}

struct end {
    struct sock *sock;
    unsigned received;
};

static void echo(void *arg, struct frames *frames)
{
    struct end *e = arg;
    e->received++;
    frame_finish(&frames->at[1]);
    frame_init_copy(&frames->at[1], bytes_str(e->received < ROUND_TRIPS ? "ball" : "game over"));
    cr_assert_eq(sock_send(e->sock, frames), STATUS_OK);
}

static void nothing_comes(void *arg, struct frames *frames)
{
    (void)arg;
    (void)frames;
    cr_assert_fail();
}

/* The other player has a ZeroMQ of its own, as another process would. */
static void *play(void *endpoint)
{
    void *context = zmq_ctx_new();
    void *dealer = zmq_socket(context, ZMQ_DEALER);
    int limit_ms = RIG_WAIT_MS;
    char ball[16] = "ball";
    zmq_setsockopt(dealer, ZMQ_RCVTIMEO, &limit_ms, sizeof limit_ms);
    zmq_connect(dealer, endpoint);
    zmq_send(dealer, ball, 4, 0);
    while (zmq_recv(dealer, ball, sizeof ball, 0) == 4)
        zmq_send(dealer, ball, 4, 0);
    zmq_close(dealer);
    zmq_ctx_term(context);
    return NULL;
}

Test(lookup, a_silent_name_server_stops_only_those_who_connect)
{
    static const struct sock_config router = { SOCK_ROUTER, 100, 1u << 20, false };
    static const struct sock_config dealer = { SOCK_DEALER, 100, 1u << 20, false };
    struct rig r;
    struct end server = { 0 };
    struct sock *seeker;
    struct error err;
    pthread_t player;
    rig_init(&r);
    cr_assert_eq(pthread_create(&player, NULL, play, r.endpoint), 0);
    pthread_mutex_lock(&silence);
    seeker = sock_create(r.loop, &dealer, nothing_comes, NULL);
    cr_assert_eq(sock_connect(seeker, "tcp://registry.invalid:5571", &err), STATUS_OK);
    rig_wait(&r, asked > 0);
    server.sock = sock_create(r.loop, &router, echo, &server);
    cr_assert_eq(sock_bind(server.sock, r.endpoint, &err), STATUS_OK);
    rig_wait(&r, server.received == ROUND_TRIPS);
    pthread_join(player, NULL);
    pthread_mutex_unlock(&silence);
    sock_destroy(seeker);
    sock_destroy(server.sock);
    rig_finish(&r);
}
