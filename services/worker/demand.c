/* demand.c - see demand.h. */
#include "services/worker/demand.h"

#include "common/msg/codec.h"
#include "common/net/sock.h"

#include <stdio.h>
#include <stdlib.h>

#define HOST_MS           1000
#define FIRST_HOST_MS     20 /* after a new gateway: the connection needs a moment */
#define HOSTS_WAITING_MAX 4  /* more are useless: a gateway that does not read is gone */

struct ear {
    struct demand *demand;
    char endpoint[MAX_ENDPOINT + 1];
    struct sock *sock;
};

struct demand {
    struct loop *loop;
    struct loop_timer *timer;
    char worker[MAX_NAME + 1];
    const char *pool; /* the caller's */
    struct ear *ears[MAX_GATEWAYS];
    size_t count;
    demand_fn *fn;
    void *arg;
    struct msg_decoder decoder;
};

static void on_message(void *arg, struct frames *frames)
{
    struct ear *ear = arg;
    struct demand *d = ear->demand;
    struct msg m;
    if (msg_decode(&d->decoder, frame_bytes(&frames->at[0]), &m, NULL) || m.kind != MSG_WANT)
        return;
    const struct msg_version_ref *want = m.body;
    d->fn(d->arg, want->model, want->version);
}

static void say_host(void *arg)
{
    struct demand *d = arg;
    struct msg_name body = { .name = bytes_str(d->worker),
                             .role = ROLE_WORKER,
                             .pool = bytes_str(d->pool) };
    for (size_t i = 0; i < d->count; i++) {
        struct frames frames = { .count = 0 };
        struct buf envelope = { 0 };
        msg_encode(&envelope, MSG_HOST, 0, &body);
        frame_init_buf(frames_add(&frames), &envelope);
        if (sock_send(d->ears[i]->sock, &frames))
            frames_finish(&frames); /* not connected: it is said again */
    }
}

static void ear_destroy(struct ear *ear)
{
    sock_destroy(ear->sock);
    free(ear);
}

static void add_ear(struct demand *d, const char *endpoint)
{
    static const struct sock_config config = { SOCK_DEALER, HOSTS_WAITING_MAX, MAX_SMALL_ENVELOPE,
                                               .direct = true };
    struct ear *ear = mem_zalloc(sizeof *ear);
    ear->demand = d;
    snprintf(ear->endpoint, sizeof ear->endpoint, "%s", endpoint);
    ear->sock = sock_create(d->loop, &config, on_message, ear);
    if (sock_connect(ear->sock, endpoint, NULL))
        ear_destroy(ear);
    else
        d->ears[d->count++] = ear;
}

static bool listed(const struct gateways *g, const char *endpoint)
{
    for (size_t i = 0; i < g->count; i++)
        if (strcmp(g->at[i].jobs, endpoint) == 0)
            return true;
    return false;
}

void demand_gateways(struct demand *d, const struct gateways *g)
{
    if (!d)
        return;
    for (size_t i = 0; i < d->count;) {
        if (listed(g, d->ears[i]->endpoint)) {
            i++;
        } else {
            ear_destroy(d->ears[i]);
            d->ears[i] = d->ears[--d->count];
        }
    }
    for (size_t n = 0; n < g->count; n++) {
        bool known = false;
        for (size_t i = 0; i < d->count; i++)
            known |= strcmp(g->at[n].jobs, d->ears[i]->endpoint) == 0;
        if (!known && d->count < MAX_GATEWAYS)
            add_ear(d, g->at[n].jobs);
    }
    loop_timer_start(d->timer, FIRST_HOST_MS, HOST_MS);
}

struct demand *demand_create(struct loop *l, const char *worker, const char *pool, demand_fn *fn,
                             void *arg)
{
    struct demand *d = mem_zalloc(sizeof *d);
    d->loop = l;
    d->fn = fn;
    d->arg = arg;
    d->timer = loop_timer_create(l, say_host, d);
    d->pool = pool;
    snprintf(d->worker, sizeof d->worker, "%s", worker);
    loop_timer_start(d->timer, HOST_MS, HOST_MS);
    return d;
}

void demand_destroy(struct demand *d)
{
    if (!d)
        return;
    while (d->count)
        ear_destroy(d->ears[--d->count]);
    loop_timer_destroy(d->timer);
    msg_decoder_finish(&d->decoder);
    free(d);
}
