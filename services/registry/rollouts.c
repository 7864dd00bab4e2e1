/* rollouts.c - guarded rollouts: a new version gets its share of the requests in steps, and none any more
 * as soon as it passes a limit.
 *
 * What there is of a rollout is in Redis (rollouts.lua).  Each report of a gateway brings it here to
 * be judged (guard.h); any registry may do that, and the first one to say so makes the next step. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "common/base/metrics.h"
#include "services/registry/checks.h"
#include "services/registry/guard.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FRACTION_SIZE 32 /* of a number as text */
#define NUMBERS_SIZE  192

/* ---- checks ------------------------------------------------------------------------------- */

static enum status check_steps(const struct i64s *steps, struct error *err)
{
    for (size_t i = 0; i < steps->count; i++)
        if (steps->at[i] <= (i ? steps->at[i - 1] : 0) || steps->at[i] > SHARES_WHOLE)
            return error_set(err, STATUS_INVALID, "the steps must rise, from 0.01 to 100");
    if (!steps->count || steps->at[steps->count - 1] != SHARES_WHOLE)
        return error_set(err, STATUS_INVALID, "the last step must be 100");
    return STATUS_OK;
}

static enum status check_limits(const struct msg_rollout_begin *m, struct error *err)
{
    if (!m->limits || m->limits >= 1u << LIMIT_COUNT)
        return error_set(err, STATUS_INVALID, "abort_if needs error_rate, p99_ms or both");
    if (!(m->error_rate >= 0 && m->error_rate <= 1))
        return error_set(err, STATUS_INVALID, "error_rate must be from 0 to 1");
    if (m->limits & 1u << LIMIT_P99 && !m->slow_us)
        return error_set(err, STATUS_INVALID, "p99_ms must be more than 0");
    return STATUS_OK;
}

static enum status check_begin(const struct msg_rollout_begin *m, struct error *err)
{
    enum status st = name_check(m->model, "the model's name", err);
    if (!st)
        st = check_who(m->process, err);
    if (!st)
        st = check_steps(&m->steps, err);
    if (!st && (m->hold_ms < ROLLOUT_HOLD_MIN_MS || m->hold_ms > ROLLOUT_HOLD_MAX_MS))
        st = error_set(err, STATUS_INVALID, "hold_s must be from %g to %u",
                       ROLLOUT_HOLD_MIN_MS / 1000.0, ROLLOUT_HOLD_MAX_MS / 1000);
    return st ? st : check_limits(m, err);
}

/* ---- begin, get, abort ----------------------------------------------------------------------- */

static void answer_rollout(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct rollout_record record;
    if (record_rollout(&records, reply, &record)) {
        request_fail_corrupt(r, "rollout");
    } else {
        struct msg_rollout *m = &record.rollout;
        m->model = bytes_str(r->subject);
        m->catalog_history = redis_history(r->registry->redis);
        if (r->kind != MSG_ROLLOUT_GET)
            log_info(r->kind == MSG_ROLLOUT_BEGIN ? "rollout begun" : "rollout aborted",
                     LOG_S("model", r->subject), LOG_U("version", m->version),
                     LOG_U("step", m->step));
        request_answer(r, MSG_ROLLOUT, m, NULL);
    }
    records_finish(&records);
}

void on_rollout_begin(void *arg, const struct rpc_request *from)
{
    const struct msg_rollout_begin *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_rollout);
    char error_rate[FRACTION_SIZE];
    struct buf steps = { 0 };
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (check_begin(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    for (size_t i = 0; i < m->steps.count; i++)
        buf_printf(&steps, "%s%" PRId64, i ? "," : "", m->steps.at[i]);
    snprintf(error_rate, sizeof error_rate, "%.17g", m->error_rate);
    fcall_begin(&call, "maas_rollout_begin");
    fcall_add(&call, m->model);
    fcall_add(&call, m->process);
    fcall_add_number(&call, m->version);
    fcall_add(&call, buf_bytes(&steps));
    fcall_add_number(&call, m->hold_ms);
    fcall_add_number(&call, m->limits);
    fcall_add_str(&call, error_rate);
    fcall_add_number(&call, m->slow_us);
    request_ask(r, &call);
    buf_finish(&steps);
}

void on_rollout_get(void *arg, const struct rpc_request *from)
{
    request_ask_named(arg, from, "maas_rollout_get", "the model's name", answer_rollout);
}

void on_rollout_abort(void *arg, const struct rpc_request *from)
{
    const struct msg_version_ref *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_rollout);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (st || check_who(m->process, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_rollout_abort");
    fcall_add(&call, m->model);
    fcall_add(&call, m->process);
    request_ask(r, &call);
}

/* ---- watching ----------------------------------------------------------------------------- */

static struct metric_family turns = {
    .name = "maas_registry_rollout_turns_total",
    .help = "steps of rollouts and their ends, that this registry has brought about",
    .type = METRIC_COUNTER,
};

static void count_turn(const char *what)
{
    const struct metric_label label = { "turn", what };
    metric_add(metrics_series(&turns, &label, 1), 1);
}

/* A verdict that Redis has been told of. */
struct turn {
    char model[MAX_NAME + 1];
    char reason[ERROR_TEXT_MAX]; /* empty: it goes on */
    uint32_t version;
};

static void on_turned(void *arg, enum status st, const char *text, const struct redisReply *reply)
{
    struct turn *t = arg;
    bool over = !st && reply->type == REDIS_REPLY_INTEGER && reply->integer < 0;
    uint64_t step = st ? 0 : record_number(reply);
    if (st) {
        log_warn("a rollout does not move", LOG_S("model", t->model), LOG_S("error", text));
    } else if (over) {
        count_turn(t->reason[0] ? "abort" : "end");
        log_info(t->reason[0] ? "rollout aborted" : "rollout done", LOG_S("model", t->model),
                 LOG_U("version", t->version), LOG_S("reason", t->reason));
    } else if (step) {
        count_turn("step");
        log_info("rollout moves", LOG_S("model", t->model), LOG_U("version", t->version),
                 LOG_U("step", step));
    }
    free(t);
}

/* For the history: members of JSON, each with its comma. */
static void measured(const struct msg_rollout *m, char out[NUMBERS_SIZE])
{
    snprintf(out, NUMBERS_SIZE,
             ",\"requests\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"rejected\":%" PRIu64
             ",\"slow\":%" PRIu64 ",\"p99_ms\":%.3g",
             m->requests, m->errors, m->rejected, m->slow + m->overdue, (double)m->p99_us / 1000);
}

/* why: empty, or the reason for its end. */
static void turn(struct registry *g, const char *model, const struct msg_rollout *m,
                 const char *why)
{
    struct turn *t = mem_zalloc(sizeof *t);
    char numbers[NUMBERS_SIZE];
    struct fcall call;
    snprintf(t->model, sizeof t->model, "%s", model);
    snprintf(t->reason, sizeof t->reason, "%s", why);
    t->version = m->version;
    measured(m, numbers);
    fcall_begin(&call, "maas_rollout_turn");
    fcall_add_str(&call, t->model);
    fcall_add_number(&call, m->id);
    fcall_add_number(&call, m->revision);
    fcall_add_str(&call, t->reason);
    fcall_add_str(&call, numbers);
    redis_send(g->redis, on_turned, t, call.argv, call.argc);
}

static void judge(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct rollout_record record;
    struct error why = { .text = "" };
    request_answer(r, MSG_DONE, NULL, NULL);
    if (reply->type == REDIS_REPLY_INTEGER)
        return; /* about a step that is over */
    if (record_rollout(&records, reply, &record))
        log_error("a rollout in redis cannot be read", LOG_S("model", r->subject));
    else if (guard_judge(&record.rollout, &why) != GUARD_WAIT)
        turn(r->registry, r->subject, &record.rollout, why.text);
    records_finish(&records);
}

void on_rollout_report(void *arg, const struct rpc_request *from)
{
    struct msg_rollout_report said = *(const struct msg_rollout_report *)from->body, *m = &said;
    struct request *r = request_open(arg, from, m->model, judge);
    char trouble[MAX_REASON + 1];
    struct buf packed = { 0 };
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (!st)
        st = name_check(m->gateway, "the gateway's id", &err);
    if (st) {
        request_refuse(r, &err);
        return;
    }
    m->trouble = check_readable(m->trouble, trouble); /* last words of an engine */
    msg_pack(&packed, &schema_rollout_report, m);
    fcall_begin(&call, "maas_rollout_report");
    fcall_add(&call, m->model);
    fcall_add_number(&call, m->revision);
    fcall_add(&call, m->gateway);
    fcall_add(&call, buf_bytes(&packed));
    fcall_add_number(&call, m->engines);
    fcall_add(&call, m->trouble);
    request_ask(r, &call);
    buf_finish(&packed);
}
