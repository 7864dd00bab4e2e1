/* rollout.c - /api/models/{m}/rollout: a version gets its share of the requests step by step.
 *
 *     {"version": "8", "steps": [1, 10, 50, 100], "hold_s": 60,
 *      "abort_if": {"error_rate": 0.01, "p99_ms": 50}}
 */
#include "services/gateway/api/deployment.h"

#include <math.h>

#define PERCENT    100 /* hundredths of it: steps are parts of SHARES_WHOLE */
#define P99_MS_MAX 600000.0

/* The request for the registry, and where its list is. */
struct rollout_ask {
    struct msg_rollout_begin body;
    int64_t steps[MAX_STEPS];
};

/* ---- reading ----------------------------------------------------------------------------------- */

static enum status read_steps(yyjson_val *list, struct rollout_ask *out, struct error *err)
{
    size_t i, max;
    yyjson_val *v;
    if (!yyjson_is_arr(list) || !yyjson_arr_size(list) || yyjson_arr_size(list) > MAX_STEPS)
        return error_set(err, STATUS_INVALID,
                         "\"steps\" must be an array of 1 to %d percentages: [1,10,50,100]",
                         MAX_STEPS);
    yyjson_arr_foreach(list, i, max, v)
    {
        double step = yyjson_is_num(v) ? yyjson_get_num(v) * PERCENT : 0;
        if (!(step >= 1 && step <= SHARES_WHOLE) || fabs(step - round(step)) > 1e-6)
            return error_set(err, STATUS_INVALID,
                             "each of \"steps\" must be a percentage from 0.01 to 100, with two "
                             "decimals at most");
        out->steps[i] = lround(step);
    }
    out->body.steps = (struct i64s){ out->steps, yyjson_arr_size(list) };
    return STATUS_OK;
}

static enum status read_hold(yyjson_val *v, struct rollout_ask *out, struct error *err)
{
    double ms = yyjson_is_num(v) ? yyjson_get_num(v) * 1000 : 0;
    if (!(ms >= ROLLOUT_HOLD_MIN_MS && ms <= ROLLOUT_HOLD_MAX_MS))
        return error_set(err, STATUS_INVALID, "\"hold_s\" must be a number from %g to %u",
                         ROLLOUT_HOLD_MIN_MS / 1000.0, ROLLOUT_HOLD_MAX_MS / 1000);
    out->body.hold_ms = (uint64_t)llround(ms);
    return STATUS_OK;
}

static enum status read_limit(yyjson_val *key, yyjson_val *v, struct rollout_ask *out,
                              struct error *err)
{
    double value = yyjson_is_num(v) ? yyjson_get_num(v) : -1;
    if (yyjson_equals_str(key, "error_rate")) {
        if (!(value >= 0 && value <= 1))
            return error_set(err, STATUS_INVALID, "\"error_rate\" must be a number from 0 to 1");
        out->body.error_rate = value;
        out->body.limits |= 1u << LIMIT_ERRORS;
    } else if (yyjson_equals_str(key, "p99_ms")) {
        if (!(value >= 0.001 && value <= P99_MS_MAX))
            return error_set(err, STATUS_INVALID, "\"p99_ms\" must be a number from 0.001 to %.0f",
                             P99_MS_MAX);
        out->body.slow_us = (uint64_t)llround(value * 1000);
        out->body.limits |= 1u << LIMIT_P99;
    } else {
        return error_set(err, STATUS_INVALID,
                         "abort_if has no \"%.64s\"; it has error_rate and p99_ms",
                         yyjson_get_str(key));
    }
    return STATUS_OK;
}

static enum status read_limits(yyjson_val *object, struct rollout_ask *out, struct error *err)
{
    yyjson_val *key;
    enum status st = STATUS_OK;
    if (!yyjson_is_obj(object) || !yyjson_obj_size(object))
        return error_set(err, STATUS_INVALID,
                         "\"abort_if\" must be an object with error_rate, p99_ms or both");
    yyjson_obj_iter members = yyjson_obj_iter_with(object);
    while (!st && (key = yyjson_obj_iter_next(&members)))
        st = read_limit(key, yyjson_obj_iter_get_val(key), out, err);
    return st;
}

static enum status read_rollout(struct gateway *g, yyjson_val *body, struct rollout_ask *out,
                                struct error *err)
{
    static const char *const names[] = { "version", "steps", "hold_s", "abort_if" };
    yyjson_val *key;
    yyjson_obj_iter members = yyjson_obj_iter_with(body);
    while ((key = yyjson_obj_iter_next(&members))) {
        size_t i = 0;
        while (i < sizeof names / sizeof *names && !yyjson_equals_str(key, names[i]))
            i++;
        if (i == sizeof names / sizeof *names)
            return error_set(err, STATUS_INVALID,
                             "a rollout has no \"%.64s\"; it has version, steps, hold_s and "
                             "abort_if",
                             yyjson_get_str(key));
    }
    enum status st = deployment_version(yyjson_obj_get(body, "version"),
                                        catalog_find(replica_catalog(g->replica), out->body.model),
                                        &out->body.version, err);
    if (!st)
        st = read_steps(yyjson_obj_get(body, "steps"), out, err);
    if (!st)
        st = read_hold(yyjson_obj_get(body, "hold_s"), out, err);
    return st ? st : read_limits(yyjson_obj_get(body, "abort_if"), out, err);
}

/* ---- showing ----------------------------------------------------------------------------------- */

static void put_limits(struct buf *out, const struct msg_rollout *r)
{
    const char *comma = "";
    buf_append_str(out, ",\"abort_if\":{");
    if (r->limits & 1u << LIMIT_ERRORS) {
        buf_printf(out, "\"error_rate\":%.9g", r->error_rate);
        comma = ",";
    }
    if (r->limits & 1u << LIMIT_P99)
        buf_printf(out, "%s\"p99_ms\":%.9g", comma, (double)r->slow_us / 1000);
    buf_append_str(out, "}");
}

/* Of the present step, or of the last one; slow: with those that have not ended. */
static void put_measured(struct buf *out, const struct msg_rollout *r)
{
    uint64_t slow = r->slow + r->overdue;
    buf_printf(out,
               ",\"measured\":{\"requests\":%llu,\"errors\":%llu,\"rejected\":%llu,\"slow\":%llu,"
               "\"p99_ms\":",
               (unsigned long long)r->requests, (unsigned long long)r->errors,
               (unsigned long long)r->rejected, (unsigned long long)slow);
    if (r->p99_us)
        buf_printf(out, "%.6g}", (double)r->p99_us / 1000);
    else
        buf_append_str(out, "null}");
}

static void put_state(struct buf *out, const struct msg_rollout *r)
{
    static const char *const states[] = { "running", "done", "aborted" };
    int64_t weight = r->step < r->steps.count ? r->steps.at[r->step] : 0;
    buf_printf(out, "{\"version\":\"%u\",\"state\":\"%s\",\"step\":%u,\"weight\":%g,", r->version,
               states[r->state < 3 ? r->state : 0], r->step + 1, (double)weight / PERCENT);
    api_put_time(out, "since", r->since_ms);
    buf_printf(out, ",\"held_s\":%.6g", (double)r->held_ms / 1000);
    if (r->state == ROLLOUT_RUNNING && r->away_ms) {
        buf_append_str(out, ",");
        api_put_string(out, "waits_for_engine", r->trouble);
    }
    put_measured(out, r);
    buf_append_str(out, ",");
    api_put_string(out, "reason", r->reason);
}

static int answer_rollout(struct gateway *g, struct http_request *http,
                          const struct rpc_reply *reply, struct buf *out)
{
    const struct msg_rollout *r = reply->body;
    (void)g;
    (void)http;
    buf_append_str(out, "{");
    api_put_string(out, "model", r->model);
    buf_append_str(out, ",\"rollout\":");
    put_state(out, r);
    buf_append_str(out, ",\"steps\":[");
    for (size_t i = 0; i < r->steps.count; i++)
        buf_printf(out, "%s%g", i ? "," : "", (double)r->steps.at[i] / PERCENT);
    buf_printf(out, "],\"hold_s\":%.9g", (double)r->hold_ms / 1000);
    put_limits(out, r);
    buf_append_str(out, ",");
    api_put_string(out, "who", r->who);
    buf_append_str(out, ",");
    api_put_time(out, "begun", r->begun_ms);
    if (r->ended_ms) {
        buf_append_str(out, ",");
        api_put_time(out, "ended", r->ended_ms);
    }
    buf_append_str(out, "}}");
    return 200;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static void begin_rollout(struct call *c)
{
    struct rollout_ask ask = { .body.model = c->params[0] };
    struct error err;
    if (!api_model_named(c) || !api_user(c, &ask.body.process))
        return;
    yyjson_doc *doc = api_body(c);
    if (!doc)
        return;
    if (read_rollout(c->gateway, yyjson_doc_get_root(doc), &ask, &err))
        api_error(c->http, err.status, "%s", err.text);
    else
        api_ask(c, MSG_ROLLOUT_BEGIN, &ask.body, answer_rollout);
    yyjson_doc_free(doc);
}

static void get_rollout(struct call *c)
{
    struct msg_name name = { .name = c->params[0] };
    if (api_model_named(c))
        api_ask(c, MSG_ROLLOUT_GET, &name, answer_rollout);
}

static void abort_rollout(struct call *c)
{
    struct msg_version_ref ref = { .model = c->params[0] };
    if (api_model_named(c) && api_user(c, &ref.process))
        api_ask(c, MSG_ROLLOUT_ABORT, &ref, answer_rollout);
}

const struct route rollout_routes[] = {
    { "POST", "/api/models/{}/rollout", begin_rollout, NULL },
    { "GET", "/api/models/{}/rollout", get_rollout, NULL },
    { "DELETE", "/api/models/{}/rollout", abort_rollout, NULL },
    { 0 },
};
