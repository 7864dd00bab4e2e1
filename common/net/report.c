/* report.c - reports to the registry; see report.h. */
#include "common/net/report.h"

#include "common/base/metrics.h"
#include "common/net/chunk_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

struct reporter {
    struct rpc_client *registry;
    struct loop_timer *timer;
    struct rpc_call *call;
    struct identity me;
    uint32_t want;
    bool leaving;
    bool stale; /* something changed after the report under way was sent */
    reporter_fill_fn *fill;
    reporter_suite_fn *suite;
    void *arg;
};

void identity_init(struct identity *me, enum role role)
{
    uint32_t random = 0;
    *me = (struct identity){ .role = role };
    if (gethostname(me->host, 64) != 0)
        snprintf(me->host, sizeof me->host, "localhost");
    me->host[64] = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint32_t)(uintptr_t)me;
    snprintf(me->id, sizeof me->id, "%.64s-%d-%08x", me->host, (int)getpid(), random);
}

void identity_finish(struct identity *me)
{
    free(me->counters);
    me->counters = NULL;
}

static void add_counter(void *arg, const char *name, const char *labels, uint64_t value)
{
    struct msg_process *p = arg;
    if (p->counters_count < MAX_COUNTERS && strlen(labels) <= MAX_REASON)
        p->counters[p->counters_count++] =
            (struct msg_counter){ bytes_str(name), bytes_str(labels), value };
}

void identity_describe(struct identity *me, struct msg_process *out)
{
    if (!me->counters)
        me->counters = mem_alloc(MAX_COUNTERS * sizeof *me->counters);
    *out = (struct msg_process){ .role = (uint32_t)me->role,
                                 .id = bytes_str(me->id),
                                 .host = bytes_str(me->host),
                                 .pid = (uint32_t)getpid(),
                                 .counters = me->counters };
    metrics_each_counter(add_counter, out);
}

static void on_answer(void *arg, const struct rpc_reply *reply)
{
    struct reporter *r = arg;
    r->call = NULL;
    if (r->stale)
        reporter_now(r);
    if (reply->status == STATUS_OK && reply->kind == MSG_SUITE && r->suite)
        r->suite(r->arg, reply->body); /* last: it may destroy r */
}

static void on_leave_answer(void *arg, const struct rpc_reply *reply)
{
    (void)arg;
    (void)reply;
}

static void send_report(struct reporter *r)
{
    struct msg_process me;
    identity_describe(&r->me, &me);
    if (r->fill)
        r->fill(r->arg, &me);
    struct msg_report body = {
        .processes = &me, .processes_count = 1, .want = r->want, .leaving = r->leaving
    };
    if (r->leaving) {
        struct rpc_call *call = rpc_call(r->registry, MSG_REPORT, &body, NULL, REPORT_TIMEOUT_MS,
                                         on_leave_answer, NULL);
        (void)call;
        return;
    }
    r->call = rpc_call(r->registry, MSG_REPORT, &body, NULL, REPORT_TIMEOUT_MS, on_answer, r);
}

static void on_timer(void *arg)
{
    struct reporter *r = arg;
    chunk_memory_tidy(); /* all but engines and the registry, which see to it themselves, report */
    if (!r->call)
        send_report(r);
}

struct reporter *reporter_create(struct loop *l, struct rpc_client *registry, enum role role,
                                 uint32_t want, reporter_fill_fn *fill, reporter_suite_fn *suite,
                                 void *arg)
{
    struct reporter *r = mem_zalloc(sizeof *r);
    r->registry = registry;
    r->want = want;
    r->fill = fill;
    r->suite = suite;
    r->arg = arg;
    r->timer = loop_timer_create(l, on_timer, r);
    identity_init(&r->me, role);
    loop_timer_start(r->timer, 0, REPORT_INTERVAL_MS);
    return r;
}

const char *reporter_id(const struct reporter *r)
{
    return r->me.id;
}

const char *reporter_host(const struct reporter *r)
{
    return r->me.host;
}

void reporter_now(struct reporter *r)
{
    r->stale = r->call != NULL;
    if (!r->leaving)
        loop_timer_start(r->timer, 0, REPORT_INTERVAL_MS);
}

void reporter_leave(struct reporter *r)
{
    if (!r || r->leaving)
        return;
    r->leaving = true;
    loop_timer_stop(r->timer);
    send_report(r);
}

void reporter_destroy(struct reporter *r)
{
    if (!r)
        return;
    rpc_cancel(r->call);
    loop_timer_destroy(r->timer);
    identity_finish(&r->me);
    free(r);
}
