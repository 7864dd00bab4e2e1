/* presence.c - which processes live.  Reports are kept in Redis with a time to live, so every
 * registry sees them and nothing has to be cleaned up. */
#include "services/registry/registry.h"

#include "common/base/metrics.h"
#include "common/net/report.h"
#include "services/registry/records.h"

#include <stdio.h>
#include <stdlib.h>

struct presence {
    struct registry   *registry;
    struct loop_timer *timer;
    struct identity    me;
};

/* A request that needs the list of processes. */
struct lookup {
    struct registry *registry;
    struct rpc_peer  peer;
    uint32_t         want;                  /* REPORT */
    enum role        role;                  /* HEALTH */
    char             host[MAX_NAME + 1];    /* HEALTH */
};

static void call_report(struct registry *g, struct bytes id, struct bytes packed, bool leaving,
                        redis_fn *fn, void *arg)
{
    char ttl[16];
    snprintf(ttl, sizeof ttl, "%d", PROCESS_TTL_MS);
    struct bytes argv[] = { bytes_str("FCALL"), bytes_str("maas_report"),
                            bytes_str("0"),     id,
                            packed,             bytes_str(ttl),
                            bytes_str(leaving ? "1" : "0") };
    redis_send(g->redis, fn, arg, argv, sizeof argv / sizeof *argv);
}

static size_t read_processes(struct records *records, const struct redisReply *reply,
                             struct msg_process *out)
{
    size_t count = 0;
    for (size_t i = 0; i < reply->elements && count < MAX_PROCESSES; i++) {
        const void *body;
        if (!record_unpack(records, &schema_process, record_text(reply->element[i]), &body))
            out[count++] = *(const struct msg_process *)body;
    }
    return count;
}

static void answer_report(struct lookup *k, struct msg_process *all, size_t count)
{
    struct msg_suite suite = { .processes = all };
    for (size_t i = 0; i < count; i++)
        if (all[i].role < ROLE_COUNT && k->want & 1u << all[i].role)
            all[suite.processes_count++] = all[i];
    rpc_answer(k->registry->rpc, &k->peer, MSG_SUITE, &suite, NULL);
}

static void answer_health(struct lookup *k, const struct msg_process *all, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (all[i].role == (uint32_t)k->role && bytes_equal_str(all[i].host, k->host)) {
            rpc_answer(k->registry->rpc, &k->peer, MSG_DONE, NULL, NULL);
            return;
        }
    }
    rpc_fail(k->registry->rpc, &k->peer, STATUS_UNAVAILABLE,
             "no %s on host '%s' has reported within %d ms", role_name(k->role), k->host,
             PROCESS_TTL_MS);
}

static void on_list(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct lookup *k = arg;
    k->registry->open--;
    if (st && st != STATUS_CANCELLED) {
        rpc_fail(k->registry->rpc, &k->peer, st, "%s", text);
    } else if (!st) {
        struct records      records = { 0 };
        struct msg_process *all     = mem_alloc((reply->elements + 1) * sizeof *all);
        size_t              count   = read_processes(&records, reply, all);
        if (k->role)
            answer_health(k, all, count);
        else
            answer_report(k, all, count);
        free(all);
        records_finish(&records);
    }
    free(k);
}

static struct lookup *lookup_create(struct registry *g, const struct rpc_request *request)
{
    if (g->open >= REQUESTS_MAX) {
        rpc_fail(g->rpc, &request->peer, STATUS_BUSY, "too many requests are open; try again");
        return NULL;
    }
    struct lookup *k = mem_zalloc(sizeof *k);
    k->registry      = g;
    k->peer          = request->peer;
    g->open++;
    return k;
}

void on_report(void *arg, const struct rpc_request *request)
{
    struct registry         *g      = arg;
    const struct msg_report *m      = request->body;
    struct buf               packed = { 0 };
    if (m->processes_count != 1 || m->processes[0].role == ROLE_NONE ||
        m->processes[0].role >= ROLE_COUNT) {
        rpc_fail(g->rpc, &request->peer, STATUS_INVALID, "a report is about one process with a role");
        return;
    }
    if (!registry_check_name(g, request, m->processes[0].id, "the process id"))
        return;
    struct lookup *k = lookup_create(g, request);
    if (!k)
        return;
    k->want = m->want;
    msg_pack(&packed, &schema_process, &m->processes[0]);
    call_report(g, m->processes[0].id, buf_bytes(&packed), m->leaving, on_list, k);
    buf_finish(&packed);
}

void on_health(void *arg, const struct rpc_request *request)
{
    struct registry       *g = arg;
    const struct msg_name *m = request->body;
    if (m->role == ROLE_REGISTRY) {
        on_ping(arg, request);
        return;
    }
    if (m->role == ROLE_NONE || m->role >= ROLE_COUNT) {
        rpc_fail(g->rpc, &request->peer, STATUS_INVALID, "%u is not a role", m->role);
        return;
    }
    struct lookup *k = lookup_create(g, request);
    if (!k)
        return;
    k->role = (enum role)m->role;
    memcpy(k->host, m->name.data ? m->name.data : "", m->name.len);
    /* Leaving without ever having come: only the list is wanted. */
    call_report(g, bytes_str("health"), bytes_of(NULL, 0), true, on_list, k);
}

/* ---- the registry's own report ------------------------------------------------------------- */

static void on_reported(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    (void)arg;
    (void)st;    /* the next report is a second away, and redis.c has logged */
    (void)text;
    (void)reply;
}

static void report_self(void *arg)
{
    struct presence   *p      = arg;
    struct buf         packed = { 0 };
    struct msg_process me;
    identity_describe(&p->me, &me);
    msg_pack(&packed, &schema_process, &me);
    call_report(p->registry, bytes_str(p->me.id), buf_bytes(&packed), false, on_reported, p);
    buf_finish(&packed);
}

struct presence *presence_create(struct registry *g)
{
    struct presence *p = mem_zalloc(sizeof *p);
    p->registry        = g;
    p->timer           = loop_timer_create(g->loop, report_self, p);
    identity_init(&p->me, ROLE_REGISTRY);
    loop_timer_start(p->timer, 0, REPORT_INTERVAL_MS);
    return p;
}

void presence_destroy(struct presence *p)
{
    if (!p)
        return;
    loop_timer_destroy(p->timer);
    identity_finish(&p->me);
    free(p);
}
