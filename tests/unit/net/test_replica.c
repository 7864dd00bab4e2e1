/* test_replica.c - the copy of the catalog follows a registry that the test plays. */
#include "common/base/metrics.h"
#include "common/net/replica.h"
#include "tests/unit/net/rig.h"

/* A registry whose history is version 1, 2, 3 ... of model "m": change n puts version n. */
struct registry {
    struct rig *rig;
    struct rpc_server *rpc;
    struct sock *events;
    uint64_t seq;
    uint64_t history;
    unsigned snapshots;
    unsigned unavailable; /* so many snapshots are refused */
    bool hold;            /* the answer waits for release */
    bool held;
    struct rpc_peer peer;
    uint64_t after; /* what the held answer comes behind */
    uint64_t page;  /* versions in a page of a snapshot; 0: all */
};

struct bench {
    struct rig rig;
    struct registry registry;
    char events_endpoint[80];
    struct rpc_client *client;
    struct replica *replica;
    unsigned changes;
    bool destroy_in_changed;
};

static void version_at(uint64_t seq, struct msg_version *v)
{
    *v = (struct msg_version){ .model = bytes_str("m"),
                               .number = (uint32_t)seq,
                               .format = bytes_str("fake"),
                               .check = CHECK_PASSED };
}

/* A page behind version `after`. */
static void answer_page(struct registry *g, const struct rpc_peer *peer, uint64_t after)
{
    struct msg_version versions[64];
    uint64_t n = after;
    while (n < g->seq && (!g->page || n - after < g->page)) {
        n++;
        version_at(n, &versions[n - after - 1]);
    }
    rpc_answer(g->rpc, peer, MSG_CATALOG,
               &(struct msg_catalog){ .seq = g->seq,
                                      .history = g->history,
                                      .versions = versions,
                                      .versions_count = (size_t)(n - after),
                                      .more = n < g->seq,
                                      .after = bytes_str("m"),
                                      .after_version = (uint32_t)n },
               NULL);
}

static void answer_snapshot(struct registry *g, const struct rpc_peer *peer)
{
    answer_page(g, peer, 0);
}

static void on_snapshot(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    g->snapshots++;
    if (g->unavailable) {
        g->unavailable--;
        rpc_fail(g->rpc, &request->peer, STATUS_UNAVAILABLE, "Redis is away");
    } else if (g->hold) {
        g->peer = request->peer;
        g->after = ((const struct msg_snapshot *)request->body)->after_version;
        g->held = true;
    } else {
        answer_page(g, &request->peer, ((const struct msg_snapshot *)request->body)->after_version);
    }
}

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = { [MSG_SNAPSHOT] = on_snapshot };

static void nobody_answers(void *arg, struct frames *frames)
{
    (void)arg;
    (void)frames;
}

static void publish(struct registry *g, enum msg_kind kind, const void *body)
{
    struct frames f = { .count = 0 };
    struct buf b = { 0 };
    msg_encode(&b, kind, 0, body);
    frame_init_buf(frames_add(&f), &b);
    cr_assert_eq(sock_send(g->events, &f), STATUS_OK);
}

static void publish_tick(struct registry *g)
{
    publish(g, MSG_CATALOG, &(struct msg_catalog){ .seq = g->seq, .history = g->history });
}

static void publish_version(struct registry *g, uint64_t seq)
{
    struct msg_version v;
    version_at(seq, &v);
    publish(g, MSG_CATALOG,
            &(struct msg_catalog){
                .seq = seq, .history = g->history, .versions = &v, .versions_count = 1 });
}

static void next_change(struct registry *g)
{
    publish_version(g, ++g->seq);
}

static void on_changed(void *arg)
{
    struct bench *b = arg;
    b->changes++;
    if (b->destroy_in_changed) {
        replica_destroy(b->replica);
        b->replica = NULL;
    }
}

static void start_registry(struct bench *b)
{
    static const struct sock_config config = { SOCK_PUB, 10000, 1u << 20, false };
    struct error err;
    b->registry.rig = &b->rig;
    b->registry.rpc = rpc_server_create(b->rig.loop, handlers, &b->registry);
    cr_assert_eq(rpc_server_bind(b->registry.rpc, b->rig.endpoint, &err), STATUS_OK);
    b->registry.events = sock_create(b->rig.loop, &config, nobody_answers, NULL);
    cr_assert_eq(sock_bind(b->registry.events, b->events_endpoint, &err), STATUS_OK);
}

static void stop_registry(struct bench *b)
{
    rpc_server_destroy(b->registry.rpc);
    sock_destroy(b->registry.events);
    rig_turn(&b->rig);
}

static void start_replica(struct bench *b)
{
    b->replica = replica_create(b->rig.loop, b->client, b->events_endpoint, on_changed, b);
}

/* With the first snapshot taken (of seq changes) and events arriving. */
static void bench_init(struct bench *b, uint64_t seq)
{
    *b = (struct bench){ .registry = { .seq = seq, .history = 1 } };
    rig_init(&b->rig);
    snprintf(b->events_endpoint, sizeof b->events_endpoint, "ipc://%s/events", b->rig.dir);
    start_registry(b);
    b->client = rpc_client_create(b->rig.loop, b->rig.endpoint);
    start_replica(b);
    rig_wait(&b->rig, replica_synced(b->replica));
    /* The subscription has arrived when an event does. */
    uint64_t before = replica_seq(b->replica);
    rig_wait(&b->rig,
             (next_change(&b->registry), rig_turn(&b->rig),
              replica_seq(b->replica) == b->registry.seq && replica_seq(b->replica) > before) ||
                 b->registry.seq > 50);
    rig_wait(&b->rig, (publish_tick(&b->registry), rig_turn(&b->rig),
                       replica_seq(b->replica) == b->registry.seq));
    rig_idle(&b->rig, 20);
    b->registry.snapshots = 0;
    b->changes = 0;
}

static void bench_finish(struct bench *b)
{
    replica_destroy(b->replica);
    rpc_client_destroy(b->client);
    stop_registry(b);
    rig_finish(&b->rig);
}

/* The replica has what the registry has: versions 1 to seq, and no more. */
static bool same(const struct bench *b)
{
    struct catalog_model *m = catalog_find(replica_catalog(b->replica), bytes_str("m"));
    size_t seq = (size_t)b->registry.seq;
    if (replica_seq(b->replica) != seq || !m || m->versions_count != seq)
        return false;
    for (size_t n = 1; n <= seq; n++)
        if (!catalog_version(m, n) || catalog_version(m, n)->number != n)
            return false;
    return true;
}

Test(replica, destroy_accepts_null)
{
    replica_destroy(NULL);
}

Test(replica, follows_events_in_order_without_snapshots)
{
    struct bench b;
    bench_init(&b, 3);
    cr_assert(same(&b));
    cr_assert(replica_live(b.replica));
    for (unsigned i = 1; i <= 5; i++) {
        next_change(&b.registry);
        rig_wait(&b.rig, b.changes == i);
        cr_assert(same(&b));
    }
    publish_tick(&b.registry);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.registry.snapshots, 0);
    cr_assert_eq(b.changes, 5);
    bench_finish(&b);
}

Test(replica, a_gap_asks_for_a_snapshot)
{
    struct bench b;
    bench_init(&b, 1);
    b.registry.seq++; /* an event that got lost */
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 1);
    cr_assert_eq(b.changes, 1);
    bench_finish(&b);
}

Test(replica, a_tick_that_is_ahead_asks_for_a_snapshot)
{
    struct bench b;
    bench_init(&b, 1);
    b.registry.seq += 2;
    publish_tick(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 1);
    bench_finish(&b);
}

Test(replica, a_tick_that_is_behind_means_another_history)
{
    struct bench b;
    bench_init(&b, 5);
    b.registry.seq = 2; /* Redis came back empty-handed */
    publish_tick(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 1);
    bench_finish(&b);
}

Test(replica, another_history_asks_for_a_snapshot)
{
    struct bench b;
    bench_init(&b, 5);
    /* A failover has lost change 5, and there is another one with its number. */
    uint64_t last = b.registry.seq;
    cr_expect(replica_has(b.replica, 1, last) && replica_has(b.replica, 0, last));
    cr_expect(!replica_has(b.replica, 1, last + 1) && !replica_has(b.replica, 2, last));
    b.registry.history = 2;
    b.registry.seq--;
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b) && b.registry.snapshots == 1);
    rig_wait(&b.rig, replica_has(b.replica, 2, last));
    cr_expect_not(replica_has(b.replica, 1, last));
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 1);
    bench_finish(&b);
}

Test(replica, a_registry_without_redis_is_alive_and_knows_nothing)
{
    struct bench b;
    bench_init(&b, 5);
    b.registry.history = 0;
    b.registry.seq = 2;
    publish_tick(&b.registry);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.registry.snapshots, 0);
    cr_assert(replica_live(b.replica));
    bench_finish(&b);
}

/* ---- two registries publish the same changes ---------------------------------------------- */

struct pair {
    struct bench b; /* the first one, which answers */
    struct registry second;
};

static void pair_init(struct pair *p)
{
    static const struct sock_config config = { SOCK_PUB, 10000, 1u << 20, false };
    char second[80], both[200];
    struct error err;
    *p = (struct pair){ .b.registry = { .seq = 3, .history = 1 }, .second = { .history = 1 } };
    struct rig *rig = &p->b.rig;
    rig_init(rig);
    snprintf(p->b.events_endpoint, sizeof p->b.events_endpoint, "ipc://%s/events", rig->dir);
    snprintf(second, sizeof second, "ipc://%s/events2", rig->dir);
    snprintf(both, sizeof both, "%s,%s", p->b.events_endpoint, second);
    start_registry(&p->b);
    p->second.events = sock_create(rig->loop, &config, nobody_answers, NULL);
    cr_assert_eq(sock_bind(p->second.events, second, &err), STATUS_OK);
    p->b.client = rpc_client_create(rig->loop, rig->endpoint);
    p->b.replica = replica_create(rig->loop, p->b.client, both, on_changed, &p->b);
    rig_wait(rig, replica_synced(p->b.replica));
    /* Each subscription has arrived when an event of that registry does. */
    struct registry *each[] = { &p->b.registry, &p->second };
    for (size_t i = 0; i < 2; i++) {
        uint64_t before = ++p->b.registry.seq;
        rig_wait(rig, (publish_version(each[i], before), rig_turn(rig),
                       replica_seq(p->b.replica) == before));
    }
    rig_idle(rig, 20);
    p->b.registry.snapshots = p->b.changes = 0;
}

static void pair_finish(struct pair *p)
{
    sock_destroy(p->second.events);
    bench_finish(&p->b);
}

Test(replica, takes_each_change_once_from_whoever_is_first)
{
    struct pair p;
    pair_init(&p);
    for (int i = 0; i < 6; i++) {
        uint64_t seq = ++p.b.registry.seq;
        publish_version(i % 2 ? &p.b.registry : &p.second, seq);
        rig_wait(&p.b.rig, same(&p.b));
        publish_version(i % 2 ? &p.second : &p.b.registry, seq);
    }
    rig_idle(&p.b.rig, 50);
    cr_assert_eq(p.b.registry.snapshots, 0);
    cr_assert_eq(p.b.changes, 6);
    pair_finish(&p);
}

Test(replica, one_registry_may_lag_but_not_both)
{
    struct pair p;
    pair_init(&p);
    p.second.seq = p.b.registry.seq - 1;
    for (int i = 0; i < 10; i++) {
        publish_tick(&p.second);
        rig_idle(&p.b.rig, 10);
        publish_tick(&p.b.registry);
        rig_idle(&p.b.rig, 10);
    }
    cr_assert_eq(p.b.registry.snapshots, 0);
    p.b.registry.seq = 2; /* Redis came back empty-handed */
    rig_wait(&p.b.rig, (publish_tick(&p.second), publish_tick(&p.b.registry), rig_turn(&p.b.rig),
                        same(&p.b)));
    pair_finish(&p);
}

/* ---- snapshots and gaps -------------------------------------------------------------------- */

Test(replica, changes_that_the_snapshot_contained_are_ignored)
{
    struct bench b;
    bench_init(&b, 5);
    for (uint64_t n = 1; n <= 5; n++)
        publish_version(&b.registry, n);
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 0);
    cr_assert_eq(b.changes, 1);
    bench_finish(&b);
}

Test(replica, an_event_during_the_snapshot_is_not_lost)
{
    struct bench b;
    bench_init(&b, 1);
    b.registry.hold = true;
    b.registry.seq++;
    publish_tick(&b.registry);
    rig_wait(&b.rig, b.registry.held);
    /* This change is told before the answer that does not contain it. */
    next_change(&b.registry);
    rig_idle(&b.rig, 50);
    b.registry.hold = false;
    b.registry.seq--;
    answer_snapshot(&b.registry, &b.registry.peer);
    b.registry.seq++;
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 2);
    bench_finish(&b);
}

/* ---- pages ---- */

Test(replica, pages_make_one_snapshot)
{
    struct bench b;
    bench_init(&b, 10);
    b.registry.page = 3;
    b.registry.seq = 11;
    publish_tick(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 4);
    cr_assert_eq(b.changes, 1, "the copy is exchanged once, when it is whole");
    bench_finish(&b);
}

/* Waits for the request of a page behind that version. */
static void hold_page(struct bench *b, uint64_t after)
{
    rig_wait(&b->rig, b->registry.held && b->registry.after == after);
    b->registry.held = false;
}

Test(replica, changes_between_pages_go_into_both_copies)
{
    struct bench b;
    bench_init(&b, 4);
    b.registry.hold = true;
    b.registry.page = 2;
    replica_hint(b.replica);
    hold_page(&b, 0);
    answer_page(&b.registry, &b.registry.peer, 0);
    hold_page(&b, 2);
    next_change(&b.registry);   /* behind the first page's number */
    rig_wait(&b.rig, same(&b)); /* who serves hears of it at once */
    uint64_t seq = b.registry.seq--;
    answer_page(&b.registry, &b.registry.peer, 2); /* as it was when Redis had read it */
    b.registry.seq = seq;
    if (seq - 1 > 4) {
        hold_page(&b, 4);
        answer_page(&b.registry, &b.registry.peer, 4);
    }
    rig_idle(&b.rig, 50);
    cr_assert(same(&b));
    cr_assert_eq(replica_seq(b.replica), seq);
    unsigned asked = b.registry.snapshots;
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, asked, "no gap is left");
    bench_finish(&b);
}

Test(replica, a_registry_that_lost_its_data_between_pages_is_asked_from_the_start)
{
    struct bench b;
    bench_init(&b, 6);
    b.registry.hold = true;
    b.registry.page = 2;
    replica_hint(b.replica);
    hold_page(&b, 0);
    answer_page(&b.registry, &b.registry.peer, 0);
    hold_page(&b, 2);
    b.registry.seq = 3;
    b.registry.hold = false;
    answer_page(&b.registry, &b.registry.peer, 2);
    rig_wait(&b.rig, same(&b));
    bench_finish(&b);
}

Test(replica, snapshots_are_tried_until_one_comes)
{
    struct bench b;
    bench_init(&b, 1);
    b.registry.unavailable = 3;
    b.registry.seq++;
    publish_tick(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 4);
    bench_finish(&b);
}

Test(replica, keeps_the_catalog_while_the_registry_is_away_and_catches_up)
{
    struct bench b;
    bench_init(&b, 4);
    stop_registry(&b);
    rig_wait(&b.rig, !replica_live(b.replica));
    cr_assert(same(&b));
    cr_assert(replica_synced(b.replica));
    b.registry.seq += 3;
    start_registry(&b);
    rig_wait(&b.rig, (publish_tick(&b.registry), rig_turn(&b.rig), same(&b)));
    cr_assert(replica_live(b.replica));
    bench_finish(&b);
}

static void on_pong(void *arg, const struct rpc_reply *reply)
{
    (void)arg;
    (void)reply; /* whatever it says: the registry answers */
}

/* The process talks to the registry all the time, as a reporter does. */
static bool talk(struct bench *b, uint64_t *last_ms)
{
    if (clock_ms() - *last_ms >= 500) {
        *last_ms = clock_ms();
        cr_assert_not_null(rpc_call(b->client, MSG_PING, NULL, NULL, 5000, on_pong, NULL));
    }
    rig_turn(&b->rig);
    return true;
}

Test(replica, asks_when_events_stay_away_but_the_registry_answers)
{
    struct bench b;
    uint64_t last_ms = 0;
    bench_init(&b, 4);
    sock_destroy(b.registry.events);
    b.registry.events = NULL;
    b.registry.seq += 3;
    rig_wait(&b.rig, talk(&b, &last_ms) && same(&b));
    b.registry.seq++;
    rig_wait(&b.rig, talk(&b, &last_ms) && same(&b));
    bench_finish(&b);
}

Test(replica, a_hint_asks_for_a_snapshot_but_not_too_often)
{
    struct bench b;
    bench_init(&b, 4);
    b.registry.seq += 3;
    for (int i = 0; i < 10; i++) {
        replica_hint(b.replica);
        rig_idle(&b.rig, 20);
    }
    cr_assert(same(&b));
    cr_assert_eq(b.registry.snapshots, 1);
    bench_finish(&b);
}

Test(replica, may_come_before_the_registry)
{
    struct bench b = { .registry = { .seq = 2, .history = 1 } };
    rig_init(&b.rig);
    snprintf(b.events_endpoint, sizeof b.events_endpoint, "ipc://%s/events", b.rig.dir);
    b.client = rpc_client_create(b.rig.loop, b.rig.endpoint);
    start_replica(&b);
    rig_idle(&b.rig, 100);
    cr_assert(!replica_synced(b.replica) && !replica_live(b.replica));
    cr_assert_eq(replica_catalog(b.replica)->count, 0);
    start_registry(&b);
    rig_wait(&b.rig, same(&b));
    bench_finish(&b);
}

Test(replica, garbage_on_the_events_socket_is_skipped)
{
    struct bench b;
    bench_init(&b, 1);
    static const char *const junk[] = { "", "\xc1", "\x93\x03", "\x93\x03\x00\x91\x01" };
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        struct frames f = { .count = 0 };
        frame_init_copy(frames_add(&f), bytes_str(junk[i]));
        cr_assert_eq(sock_send(b.registry.events, &f), STATUS_OK);
        frame_init_copy(frames_add(&f), bytes_str("two"));
        frame_init_copy(frames_add(&f), bytes_str("frames"));
        cr_assert_eq(sock_send(b.registry.events, &f), STATUS_OK);
    }
    publish(&b.registry, MSG_BEAT, &(struct msg_beat){ .job = 99 });
    next_change(&b.registry);
    rig_wait(&b.rig, same(&b));
    cr_assert_eq(b.registry.snapshots, 0);
    struct buf text = { 0 };
    metrics_print(&text, NULL, NULL);
    cr_assert(strstr(buf_cstr(&text), "\nmaas_replica_bad_events_total 9\n"), "%s",
              buf_cstr(&text));
    buf_finish(&text);
    bench_finish(&b);
}

Test(replica, what_an_answer_has_told_may_be_put_at_once)
{
    struct bench b;
    struct msg_version v;
    bench_init(&b, 2);
    unsigned before = b.changes;
    version_at(b.registry.seq + 1, &v);
    v.check = CHECK_PENDING;
    replica_put(b.replica, &(struct msg_catalog){ .versions = &v, .versions_count = 1 });
    cr_assert_eq(b.changes, before + 1);
    struct catalog_model *m = catalog_find(replica_catalog(b.replica), v.model);
    cr_assert_eq(catalog_version(m, v.number)->check, CHECK_PENDING);
    next_change(&b.registry); /* says that the check has passed */
    rig_wait(&b.rig, same(&b));
    m = catalog_find(replica_catalog(b.replica), v.model);
    cr_assert_eq(catalog_version(m, v.number)->check, CHECK_PASSED);
    /* An answer that was slower than that event takes nothing back. */
    replica_put(b.replica, &(struct msg_catalog){ .versions = &v, .versions_count = 1 });
    m = catalog_find(replica_catalog(b.replica), v.model);
    cr_assert_eq(catalog_version(m, v.number)->check, CHECK_PASSED);
    bench_finish(&b);
}

Test(replica, may_be_destroyed_when_told_of_a_change_and_during_a_snapshot)
{
    struct bench b;
    bench_init(&b, 2);
    b.destroy_in_changed = true;
    next_change(&b.registry);
    rig_wait(&b.rig, !b.replica);
    start_replica(&b); /* and destroyed by its snapshot */
    rig_wait(&b.rig, b.changes == 2 && !b.replica);
    b.destroy_in_changed = false;
    b.registry.hold = true;
    start_replica(&b);
    rig_wait(&b.rig, b.registry.held);
    replica_destroy(b.replica);
    b.replica = NULL;
    answer_snapshot(&b.registry, &b.registry.peer);
    rig_idle(&b.rig, 50);
    cr_assert_eq(b.changes, 2);
    bench_finish(&b);
}
