/* presence.c - which processes live.  Reports are kept in Redis with a time to live, so every
 * registry sees them and nothing has to be cleaned up. */
#include "services/registry/registry.h"

#include "common/net/report.h"
#include "services/registry/records.h"

#include <stdlib.h>

struct presence {
    struct registry *registry;
    struct loop_timer *timer;
    struct identity me;
};

static void report_call(struct fcall *call, const struct msg_process *p, struct buf *packed,
                        bool leaving, uint32_t want)
{
    msg_pack(packed, &schema_process, p);
    fcall_begin(call, "maas_report");
    fcall_add(call, p->id);
    fcall_add_number(call, p->role);
    fcall_add(call, buf_bytes(packed));
    fcall_add_number(call, PROCESS_TTL_MS);
    fcall_add_str(call, leaving ? "1" : "0");
    fcall_add_number(call, want);
}

static void answer_report(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_suite suite;
    record_processes(&records, reply, &suite);
    request_answer(r, MSG_SUITE, &suite, NULL);
    records_finish(&records);
}

static enum status check_report(const struct msg_report *m, struct error *err)
{
    if (m->processes_count != 1)
        return error_set(err, STATUS_INVALID, "a report is about one process, not %zu",
                         m->processes_count);
    if (m->processes[0].role == ROLE_NONE || m->processes[0].role >= ROLE_COUNT)
        return error_set(err, STATUS_INVALID, "%u is not a role", m->processes[0].role);
    return name_check(m->processes[0].id, "the process id", err);
}

void on_report(void *arg, const struct rpc_request *from)
{
    const struct msg_report *m = from->body;
    struct request *r = request_open(arg, from, bytes_str(""), answer_report);
    struct error err;
    struct buf packed = { 0 };
    struct fcall call;
    if (!r)
        return;
    if (check_report(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    report_call(&call, &m->processes[0], &packed, m->leaving, m->want);
    request_ask(r, &call);
    buf_finish(&packed);
}

/* ---- health -------------------------------------------------------------------------------- */

static void answer_health(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_suite suite;
    bool found = false;
    record_processes(&records, reply, &suite);
    for (size_t i = 0; i < suite.processes_count && !found; i++)
        found = bytes_equal_str(suite.processes[i].host, r->subject);
    if (found)
        request_answer(r, MSG_DONE, NULL, NULL);
    else
        request_fail(r, STATUS_UNAVAILABLE, "no %s on host '%s' has reported within %d ms",
                     role_name((unsigned)r->number), r->subject, PROCESS_TTL_MS);
    records_finish(&records);
}

void on_health(void *arg, const struct rpc_request *from)
{
    const struct msg_name *m = from->body;
    struct request *r;
    struct fcall call;
    if (m->role == ROLE_REGISTRY) { /* it lives, or this would not run; what it needs is Redis */
        on_ping(arg, from);
        return;
    }
    r = request_open(arg, from, m->name, answer_health);
    if (!r)
        return;
    if (m->role == ROLE_NONE || m->role >= ROLE_COUNT) {
        request_fail(r, STATUS_INVALID, "%u is not a role", m->role);
        request_close(r);
        return;
    }
    r->number = m->role;
    fcall_begin(&call, "maas_processes");
    fcall_add_number(&call, 1u << m->role);
    fcall_add_number(&call, PROCESS_TTL_MS);
    request_ask(r, &call);
}

/* ---- the registry's own report ------------------------------------------------------------- */

static void on_reported(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    (void)arg;
    (void)st; /* the next report is a second away, and link.c has logged */
    (void)text;
    (void)reply;
}

static void send_report(struct presence *p, bool leaving)
{
    struct buf packed = { 0 };
    struct msg_process me;
    struct fcall call;
    identity_describe(&p->me, &me);
    report_call(&call, &me, &packed, leaving, 0);
    redis_send(p->registry->redis, on_reported, NULL, call.argv, call.argc);
    buf_finish(&packed);
}

static void report(void *arg)
{
    send_report(arg, false);
}

struct presence *presence_create(struct registry *g)
{
    struct presence *p = mem_zalloc(sizeof *p);
    p->registry = g;
    p->timer = loop_timer_create(g->loop, report, p);
    identity_init(&p->me, ROLE_REGISTRY);
    loop_timer_start(p->timer, 0, REPORT_INTERVAL_MS);
    return p;
}

void presence_leave(struct presence *p)
{
    loop_timer_stop(p->timer);
    send_report(p, true);
}

void presence_destroy(struct presence *p)
{
    if (!p)
        return;
    loop_timer_destroy(p->timer);
    identity_finish(&p->me);
    free(p);
}
