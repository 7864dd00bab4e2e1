/* test_report.c - a process says that it lives, and hears who else does. */
#include "common/base/metrics.h"
#include "common/net/report.h"
#include "tests/unit/net/rig.h"

struct registry {
    struct rpc_server *rpc;
    bool silent;
    struct rpc_peer peer; /* of the last report */
    unsigned reports;
    unsigned leaving;
    uint32_t want;
    char id[MAX_NAME + 1];
    char training[MAX_NAME + 1];
    uint64_t counted;
};

struct listener {
    unsigned told;
    size_t count;
    char jobs[MAX_ENDPOINT + 1];
    const char *training;
};

static struct metric_family events = {
    .name = "test_events_total",
    .help = "something to report",
    .type = METRIC_COUNTER,
};

static void answer(struct registry *g)
{
    struct msg_process gateway = { .role = ROLE_GATEWAY, .jobs = bytes_str("tcp://gateway:1") };
    rpc_answer(g->rpc, &g->peer, MSG_SUITE,
               &(struct msg_suite){ .processes = &gateway, .processes_count = 1 }, NULL);
}

static void on_report(void *arg, const struct rpc_request *request)
{
    struct registry *g = arg;
    const struct msg_report *body = request->body;
    g->reports++;
    if (body->leaving) {
        g->leaving++;
    } else {
        cr_assert_eq(body->processes_count, 1);
        const struct msg_process *p = &body->processes[0];
        cr_assert_eq(p->role, ROLE_TRAINER);
        cr_assert_eq(p->pid, (uint32_t)getpid());
        cr_assert_eq(bytes_copy_str(p->id, g->id, sizeof g->id), STATUS_OK);
        cr_assert_eq(bytes_copy_str(p->training, g->training, sizeof g->training), STATUS_OK);
        g->want = body->want;
        for (size_t i = 0; i < p->counters_count; i++)
            if (bytes_equal_str(p->counters[i].name, "test_events_total"))
                g->counted = p->counters[i].value;
    }
    g->peer = request->peer;
    if (!g->silent)
        answer(g);
}

static rpc_handler_fn *const handlers[MSG_KIND_COUNT] = { [MSG_REPORT] = on_report };

static void on_fill(void *arg, struct msg_process *me)
{
    struct listener *l = arg;
    me->training = bytes_str(l->training);
}

static void on_suite(void *arg, const struct msg_suite *suite)
{
    struct listener *l = arg;
    l->told++;
    l->count = suite->processes_count;
    cr_assert_eq(bytes_copy_str(suite->processes[0].jobs, l->jobs, sizeof l->jobs), STATUS_OK);
}

struct bench {
    struct rig rig;
    struct registry registry;
    struct listener listener;
    struct rpc_client *client;
    struct reporter *reporter;
};

static void bench_init(struct bench *b)
{
    struct error err;
    *b = (struct bench){ .listener = { .training = "job-1" } };
    rig_init(&b->rig);
    b->registry.rpc = rpc_server_create(b->rig.loop, handlers, &b->registry);
    cr_assert_eq(rpc_server_bind(b->registry.rpc, b->rig.endpoint, &err), STATUS_OK);
    b->client = rpc_client_create(b->rig.loop, b->rig.endpoint);
    b->reporter = reporter_create(b->rig.loop, b->client, ROLE_TRAINER, 1 << ROLE_GATEWAY, on_fill,
                                  on_suite, &b->listener);
}

static void bench_finish(struct bench *b)
{
    reporter_destroy(b->reporter);
    rpc_client_destroy(b->client);
    rpc_server_destroy(b->registry.rpc);
    rig_finish(&b->rig);
}

Test(report, tells_of_itself_and_hears_of_the_others)
{
    struct bench b;
    metric_count(&events);
    metric_count(&events);
    bench_init(&b);
    rig_wait(&b.rig, b.listener.told == 1);
    cr_assert_str_eq(b.registry.id, reporter_id(b.reporter));
    cr_assert_eq(strncmp(reporter_id(b.reporter), reporter_host(b.reporter),
                         strlen(reporter_host(b.reporter))),
                 0);
    cr_assert_str_eq(b.registry.training, "job-1");
    cr_assert_eq(b.registry.want, 1u << ROLE_GATEWAY);
    cr_assert_eq(b.registry.counted, 2);
    cr_assert_eq(b.listener.count, 1);
    cr_assert_str_eq(b.listener.jobs, "tcp://gateway:1");
    rig_wait(&b.rig, b.listener.told == 2); /* a second later */
    bench_finish(&b);
    reporter_destroy(NULL);
}

Test(report, what_has_changed_is_told_at_once_even_while_an_answer_is_awaited)
{
    struct bench b;
    bench_init(&b);
    rig_wait(&b.rig, b.listener.told == 1);
    uint64_t start = clock_ms();
    b.listener.training = "job-2";
    b.registry.silent = true;
    reporter_now(b.reporter);
    rig_wait(&b.rig, b.registry.reports == 2);
    b.listener.training = "job-3"; /* the answer to the second is still to come */
    reporter_now(b.reporter);
    rig_idle(&b.rig, 20);
    b.registry.silent = false;
    answer(&b.registry);
    rig_wait(&b.rig, strcmp(b.registry.training, "job-3") == 0);
    cr_assert_lt(clock_ms() - start, REPORT_INTERVAL_MS / 2);
    bench_finish(&b);
}

Test(report, two_starts_have_two_names)
{
    struct identity a, b;
    identity_init(&a, ROLE_WORKER);
    identity_init(&b, ROLE_WORKER);
    cr_assert_str_neq(a.id, b.id);
    cr_assert_str_eq(a.host, b.host);
    identity_finish(&a);
    identity_finish(&b);
}

Test(report, says_goodbye_once_and_is_silent_afterwards)
{
    struct bench b;
    bench_init(&b);
    rig_wait(&b.rig, b.listener.told == 1);
    reporter_leave(b.reporter);
    reporter_leave(b.reporter);
    reporter_leave(NULL);
    rig_wait(&b.rig, b.registry.leaving == 1);
    reporter_now(b.reporter);
    unsigned reports = b.registry.reports;
    rig_idle(&b.rig, REPORT_INTERVAL_MS + 200);
    cr_assert_eq(b.registry.reports, reports);
    bench_finish(&b);
}

Test(report, goes_on_when_the_registry_did_not_answer)
{
    struct bench b;
    bench_init(&b);
    b.registry.silent = true;
    rig_wait(&b.rig, b.registry.reports >= 1);
    b.registry.silent = false;
    rig_wait(&b.rig, b.listener.told >= 1);
    bench_finish(&b);
}

Test(report, destroyed_while_a_report_is_open)
{
    struct bench b;
    bench_init(&b);
    b.registry.silent = true;
    rig_wait(&b.rig, b.registry.reports == 1);
    bench_finish(&b);
}
