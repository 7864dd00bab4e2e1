/* test_rpc.c - calls: each ends exactly once, in time, whatever the other side does. */
#include "common/base/metrics.h"
#include "common/net/rpc.h"
#include "tests/unit/net/rig.h"

#define PEERS_MAX 2048

/* A registry of which the test decides when and what it answers. */
struct server {
    struct rig *rig;
    struct rpc_server *rpc;
    bool silent;
    unsigned requests;
    size_t held; /* requests that `on_later` has kept */
    struct rpc_peer peers[PEERS_MAX];
};

/* What became of the calls. */
struct calls {
    struct rig *rig;
    struct rpc_client *client;
    unsigned ended;
    unsigned ok;
    unsigned by_status[STATUS_COUNT];
    enum msg_kind kind;
    char text[MAX_REASON + 1];
    size_t attached;
    uint64_t ended_ms;
    uint64_t number;
    unsigned again;
};

static void on_ping(void *arg, const struct rpc_request *request)
{
    struct server *s = arg;
    s->requests++;
    if (!s->silent)
        rpc_answer(s->rpc, &request->peer, MSG_DONE, NULL, NULL);
}

static void on_chunk(void *arg, const struct rpc_request *request)
{
    struct server *s = arg;
    s->requests++;
    rpc_answer(s->rpc, &request->peer, MSG_CHUNK, request->body, request->attachment);
}

static void on_later(void *arg, const struct rpc_request *request)
{
    struct server *s = arg;
    s->requests++;
    cr_assert_lt(s->held, PEERS_MAX);
    s->peers[s->held++] = request->peer;
}

static void on_refused(void *arg, const struct rpc_request *request)
{
    struct server *s = arg;
    s->requests++;
    rpc_fail(s->rpc, &request->peer, STATUS_CONFLICT, "version %d is the deployed one", 7);
}

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = {
    [MSG_PING] = on_ping,
    [MSG_CHUNK_PUT] = on_chunk,
    [MSG_DATASET_LIST] = on_later,
    [MSG_DEPLOY] = on_refused,
};

static void start_server(struct server *s, struct rig *r, const char *endpoint)
{
    struct error err;
    *s = (struct server){ .rig = r };
    s->rpc = rpc_server_create(r->loop, handlers, s);
    cr_assert_eq(rpc_server_bind(s->rpc, endpoint, &err), STATUS_OK, "%s", err.text);
}

static void stop_server(struct rig *r, struct server *s)
{
    rpc_server_destroy(s->rpc);
    s->rpc = NULL;
    rig_turn(r); /* its socket is closed at the end of a turn */
}

static void note(void *arg, const struct rpc_reply *reply)
{
    struct calls *c = arg;
    c->ended++;
    c->ok += reply->status == STATUS_OK;
    c->by_status[reply->status]++;
    c->kind = reply->kind;
    c->attached = reply->attachment ? frame_bytes(reply->attachment).len : 0;
    c->ended_ms = clock_ms();
    c->text[0] = 0;
    cr_assert((reply->status == STATUS_OK) == !reply->text, "a failure has a text");
    if (reply->text)
        snprintf(c->text, sizeof c->text, "%s", reply->text);
}

static struct rpc_call *call(struct calls *c, enum msg_kind kind, uint64_t timeout_ms)
{
    return rpc_call(c->client, kind, NULL, NULL, timeout_ms, note, c);
}

static void one_call(struct calls *c, enum msg_kind kind, uint64_t timeout_ms)
{
    unsigned before = c->ended;
    cr_assert_not_null(call(c, kind, timeout_ms));
    rig_wait(c->rig, c->ended == before + 1);
}

static void open_calls(struct calls *c, struct rig *r, const char *endpoint)
{
    *c = (struct calls){ .rig = r, .client = rpc_client_create(r->loop, endpoint) };
}

/* ---- the plain way ----------------------------------------------------------------------- */

static void plain_calls(const char *endpoint)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, endpoint ? endpoint : r.endpoint);
    open_calls(&c, &r, rpc_server_endpoint(s.rpc));
    cr_assert(!rpc_connected(c.client));
    one_call(&c, MSG_PING, 5000);
    cr_assert_eq(c.ok, 1);
    cr_assert_eq(c.kind, MSG_DONE);
    cr_assert(rpc_connected(c.client));
    one_call(&c, MSG_DEPLOY, 5000);
    cr_assert_eq(c.by_status[STATUS_CONFLICT], 1);
    cr_assert_str_eq(c.text, "version 7 is the deployed one");
    one_call(&c, MSG_SNAPSHOT, 5000);
    cr_assert_eq(c.by_status[STATUS_INVALID], 1);
    cr_assert(strstr(c.text, "SNAPSHOT"), "%s", c.text);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, calls_over_ipc)
{
    plain_calls(NULL);
}

Test(rpc, calls_over_tcp)
{
    plain_calls("tcp://127.0.0.1:*");
}

Test(rpc, destroy_accepts_null)
{
    rpc_client_destroy(NULL);
    rpc_server_destroy(NULL);
    rpc_cancel(NULL);
}

Test(rpc, attachments_go_both_ways_and_are_moved)
{
    struct rig r;
    struct server s;
    struct calls c;
    struct frame chunk;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    memset(frame_init_size(&chunk, CHUNK_BYTES), 'c', CHUNK_BYTES);
    cr_assert_not_null(
        rpc_call(c.client, MSG_CHUNK_PUT, &(struct msg_chunk){ 0 }, &chunk, 5000, note, &c));
    cr_assert_eq(frame_bytes(&chunk).len, 0);
    rig_wait(&r, c.ended == 1);
    cr_assert_eq(c.attached, CHUNK_BYTES);
    frame_finish(&chunk);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

static void next_in_callback(void *arg, const struct rpc_reply *reply)
{
    struct calls *c = arg;
    note(arg, reply);
    if (c->again--)
        cr_assert_not_null(rpc_call(c->client, MSG_PING, NULL, NULL, 5000, next_in_callback, c));
}

Test(rpc, a_callback_may_call_again)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    c.again = 5000;
    cr_assert_not_null(rpc_call(c.client, MSG_PING, NULL, NULL, 5000, next_in_callback, &c));
    rig_wait(&r, c.ok == 5001);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- bounds ------------------------------------------------------------------------------ */

Test(rpc, as_many_calls_as_allowed_are_all_answered_at_once)
{
    struct rig r;
    struct server s;
    struct calls c;
    struct frame frame;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < RPC_CALLS_MAX; i++)
            cr_assert_not_null(call(&c, round == 2 ? MSG_DATASET_LIST : MSG_PING, 20000));
        cr_assert_null(call(&c, MSG_PING, 1000));
        frame_init_copy(&frame, bytes_str("stays"));
        cr_assert_null(rpc_call(c.client, MSG_PING, NULL, &frame, 1000, note, &c));
        cr_assert_eq(frame_bytes(&frame).len, 5);
        frame_finish(&frame);
        if (round == 2) { /* the answers in one burst */
            rig_wait(&r, s.held == RPC_CALLS_MAX);
            for (size_t i = 0; i < s.held; i++)
                rpc_answer(s.rpc, &s.peers[i], MSG_DONE, NULL, NULL);
        }
        rig_wait(&r, c.ok == (unsigned)round * RPC_CALLS_MAX);
    }
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- deadlines --------------------------------------------------------------------------- */

Test(rpc, no_server_is_unavailable_within_the_deadline)
{
    struct rig r;
    struct calls c;
    rig_init(&r);
    open_calls(&c, &r, r.endpoint);
    uint64_t start = clock_ms();
    one_call(&c, MSG_PING, 300);
    cr_assert_eq(c.by_status[STATUS_UNAVAILABLE], 1);
    cr_assert_geq(c.ended_ms - start, 300);
    cr_assert_lt(c.ended_ms - start, 1300);
    cr_assert(!rpc_connected(c.client));
    rpc_client_destroy(c.client);
    rig_finish(&r);
}

Test(rpc, a_server_that_never_answers_is_a_timeout)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    s.silent = true;
    uint64_t start = clock_ms();
    one_call(&c, MSG_PING, 400);
    cr_assert_eq(c.by_status[STATUS_TIMEOUT], 1, "%s", c.text);
    cr_assert_geq(c.ended_ms - start, 400);
    cr_assert_lt(c.ended_ms - start, 1400);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, deadlines_end_in_their_order)
{
    struct rig r;
    struct server s;
    struct calls c[20];
    struct calls all;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    s.silent = true;
    open_calls(&all, &r, r.endpoint);
    uint64_t start = clock_ms();
    for (unsigned i = 0; i < 20; i++) {
        c[i] = (struct calls){ .rig = &r, .client = all.client };
        cr_assert_not_null(call(&c[i], MSG_PING, 100 + 20 * ((i * 7) % 20)));
    }
    for (unsigned i = 0; i < 20; i++) {
        rig_wait(&r, c[i].ended == 1);
        cr_assert_geq(c[i].ended_ms - start, 100 + 20 * ((i * 7) % 20));
    }
    rpc_client_destroy(all.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, late_and_doubled_answers_are_ignored)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    one_call(&c, MSG_DATASET_LIST, 200);
    cr_assert_eq(c.by_status[STATUS_TIMEOUT], 1);
    rpc_answer(s.rpc, &s.peers[0], MSG_DONE, NULL, NULL); /* too late */
    one_call(&c, MSG_PING, 5000);
    cr_assert_eq(c.ok, 1);
    cr_assert_not_null(call(&c, MSG_DATASET_LIST, 5000));
    rig_wait(&r, s.held == 2);
    for (int i = 0; i < 5; i++)
        rpc_answer(s.rpc, &s.peers[1], MSG_DONE, NULL, NULL);
    rig_wait(&r, c.ok == 2);
    one_call(&c, MSG_PING, 5000);
    cr_assert_eq(c.ended, 4);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- cancel and destroy ------------------------------------------------------------------ */

Test(rpc, a_cancelled_call_is_never_heard_of)
{
    struct rig r;
    struct server s;
    struct calls c;
    struct rpc_call *calls[100];
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    for (int i = 0; i < 100; i++) /* not even sent: nothing is connected yet */
        calls[i] = call(&c, MSG_PING, 100);
    for (int i = 0; i < 100; i++)
        rpc_cancel(calls[i]);
    one_call(&c, MSG_PING, 5000);
    for (int i = 0; i < 100; i++)
        calls[i] = call(&c, MSG_DATASET_LIST, 100);
    rig_wait(&r, s.held == 100);
    for (int i = 0; i < 100; i++)
        rpc_cancel(calls[i]);
    for (int i = 0; i < 100; i++)
        rpc_answer(s.rpc, &s.peers[i], MSG_DONE, NULL, NULL);
    one_call(&c, MSG_PING, 5000);
    rig_idle(&r, 150);
    cr_assert_eq(c.ended, 2);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

static void call_anew_when_cancelled(void *arg, const struct rpc_reply *reply)
{
    struct calls *c = arg;
    note(arg, reply);
    if (!rpc_call(c->client, MSG_PING, NULL, NULL, 5000, call_anew_when_cancelled, c))
        c->again++;
}

Test(rpc, destroy_ends_open_calls_with_cancelled_and_takes_no_new_ones)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    s.silent = true;
    open_calls(&c, &r, r.endpoint);
    for (int i = 0; i < 10; i++)
        cr_assert_not_null(
            rpc_call(c.client, MSG_PING, NULL, NULL, 5000, call_anew_when_cancelled, &c));
    rig_wait(&r, s.requests == 10);
    rpc_client_destroy(c.client);
    cr_assert_eq(c.by_status[STATUS_CANCELLED], 10);
    cr_assert_eq(c.again, 10);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- the server goes and comes ----------------------------------------------------------- */

static void server_returns(const char *wanted)
{
    struct rig r;
    struct server s;
    struct calls c;
    char endpoint[MAX_ENDPOINT + 1];
    rig_init(&r);
    start_server(&s, &r, wanted ? wanted : r.endpoint);
    snprintf(endpoint, sizeof endpoint, "%s", rpc_server_endpoint(s.rpc));
    open_calls(&c, &r, endpoint);
    one_call(&c, MSG_PING, 5000);
    for (unsigned round = 0; round < 3; round++) {
        /* 10 are with the server when it goes, 10 come while it is away. */
        unsigned before = c.ok;
        for (int i = 0; i < 10; i++)
            cr_assert_not_null(call(&c, MSG_DATASET_LIST, 15000));
        rig_wait(&r, s.held == 10);
        stop_server(&r, &s);
        for (int i = 0; i < 10; i++)
            cr_assert_not_null(call(&c, MSG_PING, 15000));
        rig_idle(&r, 100);
        start_server(&s, &r, endpoint);
        uint64_t start = clock_ms();
        rig_wait(&r, s.requests == 20);
        cr_assert_eq(s.held, 10, "what was lost was sent again");
        for (size_t i = 0; i < s.held; i++)
            rpc_answer(s.rpc, &s.peers[i], MSG_DONE, NULL, NULL);
        rig_wait(&r, c.ok == before + 20);
        cr_assert_lt(c.ended_ms - start, RPC_SILENCE_MS,
                     "a broken connection must not wait for the silence");
    }
    cr_assert_eq(c.ended, c.ok);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, open_calls_survive_a_restart_over_ipc)
{
    server_returns(NULL);
}

Test(rpc, open_calls_survive_a_restart_over_tcp)
{
    server_returns("tcp://127.0.0.1:*");
}

Test(rpc, a_lost_call_is_sent_again_though_others_are_answered)
{
    struct rig r;
    struct server s;
    struct calls c, lost;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    lost = (struct calls){ .rig = &r, .client = c.client };
    one_call(&c, MSG_PING, 5000);
    cr_assert_not_null(call(&lost, MSG_DATASET_LIST, 15000));
    rig_wait(&r, s.held == 1);
    stop_server(&r, &s);
    start_server(&s, &r, r.endpoint);
    while (!s.held) { /* there is no silence: the pings are answered all the time */
        one_call(&c, MSG_PING, 15000);
        cr_assert_eq(lost.ended, 0);
    }
    rpc_answer(s.rpc, &s.peers[0], MSG_DONE, NULL, NULL);
    rig_wait(&r, lost.ok == 1);
    cr_assert_eq(c.ended, c.ok);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, a_silent_registry_is_tried_on_a_new_connection)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    s.silent = true;
    open_calls(&c, &r, r.endpoint);
    cr_assert_not_null(call(&c, MSG_PING, 15000));
    rig_wait(&r, s.requests == 1);
    uint64_t start = clock_ms();
    s.silent = false;
    rig_wait(&r, c.ok == 1);
    cr_assert_geq(c.ended_ms - start, RPC_SILENCE_MS - 500);
    cr_assert_lt(c.ended_ms - start, RPC_SILENCE_MS + 2000);
    cr_assert_eq(s.requests, 2);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, the_client_may_come_first)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    open_calls(&c, &r, r.endpoint);
    for (int i = 0; i < 50; i++)
        cr_assert_not_null(call(&c, MSG_PING, 15000));
    rig_idle(&r, 200);
    start_server(&s, &r, r.endpoint);
    rig_wait(&r, c.ok == 50);
    cr_assert_eq(s.requests, 50);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- rogues ------------------------------------------------------------------------------ */

struct rogue {
    struct sock *sock;
    unsigned received;
    unsigned failures;
};

static const char *const junk[] = { "",
                                    "x",
                                    "\xc1",
                                    "\xdd\xff\xff\xff\xff",
                                    "\x93\x7f\x01\x80",
                                    "\x93\x14\x01\x80 and more",
                                    "\x81\x01\x02" };
#define JUNK (sizeof junk / sizeof *junk)

static void rogue_answers(void *arg, struct frames *frames)
{
    struct rogue *g = arg;
    struct bytes request = frame_bytes(&frames->at[1]);
    g->received++;
    for (size_t i = 0; i <= JUNK; i++) {
        struct frames out = { .count = 0 };
        frame_init_share(frames_add(&out), &frames->at[0]);
        frame_init_copy(frames_add(&out), i < JUNK ? bytes_str(junk[i]) : request);
        if (i % 2)
            for (int n = 0; n < 5; n++)
                frame_init_copy(frames_add(&out), bytes_str("more"));
        if (sock_send(g->sock, &out))
            frames_finish(&out);
    }
}

Test(rpc, a_client_outlives_a_rogue_server)
{
    static const struct sock_config config = { SOCK_ROUTER, 1000, 1u << 20, false };
    struct rig r;
    struct server s;
    struct calls c;
    struct rogue g = { 0 };
    struct error err;
    rig_init(&r);
    g.sock = sock_create(r.loop, &config, rogue_answers, &g);
    cr_assert_eq(sock_bind(g.sock, r.endpoint, &err), STATUS_OK);
    open_calls(&c, &r, r.endpoint);
    for (int i = 0; i < 5; i++)
        cr_assert_not_null(call(&c, MSG_DEPLOY, 500));
    rig_wait(&r, c.ended == 5);
    cr_assert_eq(g.received, 5);
    sock_destroy(g.sock);
    rig_turn(&r);
    start_server(&s, &r, r.endpoint);
    one_call(&c, MSG_PING, 15000);
    cr_assert_eq(c.by_status[STATUS_OK] + c.by_status[STATUS_TIMEOUT], 6);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

static void rogue_reads(void *arg, struct frames *frames)
{
    struct rogue *g = arg;
    struct msg_decoder decoder = { 0 };
    struct msg m;
    struct error err;
    g->received++;
    cr_assert_eq(msg_decode(&decoder, frame_bytes(&frames->at[0]), &m, &err), STATUS_OK);
    if (m.kind == MSG_FAILURE)
        g->failures += ((const struct msg_failure *)m.body)->status == STATUS_INVALID;
    msg_decoder_finish(&decoder);
}

Test(rpc, a_server_answers_rogues_with_invalid_and_serves_the_others)
{
    static const struct sock_config config = { SOCK_DEALER, 1000, 1u << 20, false };
    struct rig r;
    struct server s;
    struct calls c;
    struct rogue g = { 0 };
    struct error err;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    g.sock = sock_create(r.loop, &config, rogue_reads, &g);
    cr_assert_eq(sock_connect(g.sock, r.endpoint, &err), STATUS_OK);
    unsigned sent = 0;
    for (size_t i = 0; i < JUNK; i++) {
        for (size_t count = 1; count <= 4; count++) {
            struct frames out = { .count = 0 };
            for (size_t n = 0; n < count; n++)
                frame_init_copy(frames_add(&out), bytes_str(junk[i]));
            rig_wait(&r, sock_send(g.sock, &out) == STATUS_OK);
            sent++;
        }
    }
    rig_wait(&r, g.received == sent);
    cr_assert_eq(g.failures, sent);
    cr_assert_eq(s.requests, 0);
    open_calls(&c, &r, r.endpoint);
    one_call(&c, MSG_PING, 5000);
    cr_assert_eq(c.ok, 1);
    rpc_client_destroy(c.client);
    sock_destroy(g.sock);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

Test(rpc, answers_to_peers_that_are_gone_are_lost_in_peace)
{
    struct rig r;
    struct server s;
    struct calls c;
    rig_init(&r);
    start_server(&s, &r, r.endpoint);
    open_calls(&c, &r, r.endpoint);
    for (int i = 0; i < 10; i++)
        cr_assert_not_null(call(&c, MSG_DATASET_LIST, 15000));
    rig_wait(&r, s.held == 10);
    rpc_client_destroy(c.client);
    cr_assert_eq(c.by_status[STATUS_CANCELLED], 10);
    open_calls(&c, &r, r.endpoint);
    one_call(&c, MSG_PING, 5000);
    for (int i = 0; i < 10; i++)
        rpc_answer(s.rpc, &s.peers[i], MSG_DONE, NULL, NULL);
    one_call(&c, MSG_PING, 5000);
    cr_assert_eq(c.ended, 2);
    rpc_client_destroy(c.client);
    rpc_server_destroy(s.rpc);
    rig_finish(&r);
}

/* ---- several registries -------------------------------------------------------------------- */

struct two {
    struct rig r;
    char endpoint[2][80];
    struct server s[2];
    struct calls c;
};

static void two_init(struct two *t)
{
    char both[200];
    *t = (struct two){ .c.ended = 0 };
    rig_init(&t->r);
    for (int i = 0; i < 2; i++) {
        snprintf(t->endpoint[i], sizeof t->endpoint[i], "ipc://%s/rpc%d", t->r.dir, i);
        start_server(&t->s[i], &t->r, t->endpoint[i]);
    }
    snprintf(both, sizeof both, "%s,%s", t->endpoint[0], t->endpoint[1]);
    open_calls(&t->c, &t->r, both);
}

static void two_finish(struct two *t)
{
    rpc_client_destroy(t->c.client);
    for (int i = 0; i < 2; i++)
        rpc_server_destroy(t->s[i].rpc);
    rig_finish(&t->r);
}

/* The one that the client talks to. */
static int used(struct two *t)
{
    unsigned before = t->s[0].requests;
    unsigned ok = t->c.ok;
    one_call(&t->c, MSG_PING, 10000);
    cr_assert_eq(t->c.ok, ok + 1, "%s", t->c.text);
    return t->s[0].requests > before ? 0 : 1;
}

Test(rpc, talks_to_one_of_several_registries)
{
    struct two t;
    two_init(&t);
    int first = used(&t);
    for (int i = 0; i < 20; i++)
        cr_assert_eq(used(&t), first);
    two_finish(&t);
}

Test(rpc, open_calls_go_to_the_next_registry_when_one_dies)
{
    struct two t;
    two_init(&t);
    int first = used(&t);
    for (int i = 0; i < 10; i++)
        cr_assert_not_null(call(&t.c, MSG_DATASET_LIST, 10000));
    rig_wait(&t.r, t.s[first].held == 10);
    stop_server(&t.r, &t.s[first]);
    rig_wait(&t.r, t.s[!first].held == 10);
    for (int i = 0; i < 10; i++)
        rpc_answer(t.s[!first].rpc, &t.s[!first].peers[i], MSG_DONE, NULL, NULL);
    rig_wait(&t.r, t.c.ok == 11);
    cr_assert_eq(used(&t), !first);
    start_server(&t.s[first], &t.r, t.endpoint[first]);
    stop_server(&t.r, &t.s[!first]);
    rig_turn(&t.r);
    cr_assert_eq(used(&t), first);
    two_finish(&t);
}

Test(rpc, a_registry_that_is_not_there_is_left_soon)
{
    for (int away = 0; away < 2; away++) { /* either may be the first choice */
        struct two t;
        two_init(&t);
        stop_server(&t.r, &t.s[away]);
        uint64_t start = clock_ms();
        cr_assert_eq(used(&t), !away);
        cr_assert_lt(clock_ms() - start, RPC_SILENCE_MS);
        two_finish(&t);
    }
}

static void on_away(void *arg, const struct rpc_request *request)
{
    struct server *s = arg;
    s->requests++;
    rpc_fail(s->rpc, &request->peer, STATUS_UNAVAILABLE, "Redis is away");
}

static rpc_handler_fn *const away[MSG_KIND_COUNT] = { [MSG_PING] = on_away };

static void make_unavailable(struct two *t, int i)
{
    struct error err;
    stop_server(&t->r, &t->s[i]);
    t->s[i].rpc = rpc_server_create(t->r.loop, away, &t->s[i]);
    cr_assert_eq(rpc_server_bind(t->s[i].rpc, t->endpoint[i], &err), STATUS_OK, "%s", err.text);
}

Test(rpc, what_one_registry_cannot_do_now_another_may)
{
    struct two t;
    two_init(&t);
    make_unavailable(&t, 0);
    rig_wait(&t.r,
             (one_call(&t.c, MSG_PING, 5000), t.c.ok > 0)); /* at the first try, or the next */
    cr_assert_leq(t.c.ended, 2);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(used(&t), 1);
    two_finish(&t);
}

Test(rpc, what_no_registry_can_do_fails_and_is_asked_only_twice)
{
    struct two t;
    two_init(&t);
    make_unavailable(&t, 0);
    make_unavailable(&t, 1);
    rig_idle(&t.r, 50);
    one_call(&t.c, MSG_PING, 5000);
    cr_assert_eq(t.c.by_status[STATUS_UNAVAILABLE], 1);
    cr_assert_str_eq(t.c.text, "Redis is away");
    cr_assert_leq(t.s[0].requests + t.s[1].requests, 2);
    for (int i = 0; i < 100; i++) /* does not go to and fro with each of them */
        one_call(&t.c, MSG_PING, 5000);
    cr_assert_leq(t.s[0].requests + t.s[1].requests, 110);
    two_finish(&t);
}
