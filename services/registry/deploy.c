/* deploy.c - what the plain name of a model serves: deployments and their rollback. */
#include "services/registry/registry.h"

#include "common/base/log.h"
#include "services/registry/checks.h"
#include "services/registry/records.h"

#include <inttypes.h>
#include <strings.h>

#define STICKY_PREFIX "header:" /* what a sticky key is taken from */

/* ---- checks ------------------------------------------------------------------------------- */

static enum status check_number(const char *name, uint64_t value, uint64_t most, struct error *err)
{
    if (value <= most)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID, "%s is %" PRIu64 "; at most %" PRIu64 " are allowed",
                     name, value, most);
}

static bool named_before(const struct msg_share *list, size_t count, uint32_t version)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].version == version)
            return true;
    return false;
}

static enum status check_traffic(const struct msg_deploy *m, struct error *err)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < m->traffic_count; i++) {
        const struct msg_share *s = &m->traffic[i];
        if (!s->version || !s->weight)
            return error_set(err, STATUS_INVALID,
                             "a share of the traffic has no version or weight");
        if (named_before(m->traffic, i, s->version))
            return error_set(err, STATUS_INVALID, "version %u is in traffic twice", s->version);
        sum += s->weight;
    }
    if (m->traffic_count && sum != SHARES_WHOLE)
        return error_set(err, STATUS_INVALID, "the weights of traffic sum to %g, not to 100",
                         (double)sum * 100 / SHARES_WHOLE);
    return STATUS_OK;
}

static enum status check_shadow(const struct i64s *shadow, struct error *err)
{
    for (size_t i = 0; i < shadow->count; i++) {
        if (shadow->at[i] <= 0 || shadow->at[i] > UINT32_MAX)
            return error_set(err, STATUS_INVALID, "a shadow is no version");
        for (size_t k = 0; k < i; k++)
            if (shadow->at[k] == shadow->at[i])
                return error_set(err, STATUS_INVALID, "version %" PRId64 " is in shadow twice",
                                 shadow->at[i]);
    }
    return STATUS_OK;
}

/* "header:NAME", or empty. */
static enum status check_sticky(struct bytes sticky, struct error *err)
{
    static const struct bytes prefix = { STICKY_PREFIX, sizeof STICKY_PREFIX - 1 };
    if (!sticky.len)
        return STATUS_OK;
    if (sticky.len < prefix.len || memcmp(sticky.data, prefix.data, prefix.len) != 0)
        return error_set(err, STATUS_INVALID, "sticky must be \"header:NAME\"");
    return name_check(bytes_of((const char *)sticky.data + prefix.len, sticky.len - prefix.len),
                      "the header's name", err);
}

static enum status check_deploy(const struct msg_deploy *m, struct error *err)
{
    enum status st = name_check(m->model, "the model's name", err);
    if (!st)
        st = check_who(m->process, err);
    if (!st)
        st = check_number("instances", m->instances, MAX_INSTANCES, err);
    if (!st)
        st = check_number("max_batch", m->max_batch, MAX_BATCH_ROWS, err);
    if (!st)
        st = check_number("max_batch_delay_ms", m->max_batch_delay_ms, MAX_BATCH_DELAY_MS, err);
    if (!st)
        st = check_number("queue_max", m->queue_max, MAX_QUEUE, err);
    if (!st && m->pool.len)
        st = name_check(m->pool, "the pool's name", err);
    if (!st)
        st = check_sticky(m->sticky, err);
    if (!st)
        st = check_traffic(m, err);
    return st ? st : check_shadow(&m->shadow, err);
}

/* ---- deploy ------------------------------------------------------------------------------- */

static void answer_deploy(struct request *r, const struct redisReply *reply)
{
    struct records records = { 0 };
    struct msg_deployment d;
    if (record_deployment(&records, reply, &d)) {
        request_fail_corrupt(r, "deployment");
    } else {
        log_info(r->kind == MSG_ROLLBACK ? "deployment rolled back" : "version deployed",
                 LOG_S("model", r->subject), LOG_U("version", d.version),
                 LOG_U("previous", d.previous), LOG_U("versions", d.traffic_count),
                 LOG_U("instances", d.instances), LOG_U("revision", d.revision));
        request_answer(r, MSG_DEPLOYMENT, &d, NULL);
    }
    records_finish(&records);
}

/* "7:9500,8:500"; empty: nothing is to be served. */
static void put_shares(struct buf *out, const struct msg_deploy *m)
{
    if (!m->traffic_count && m->version)
        buf_printf(out, "%u:%u", m->version, SHARES_WHOLE);
    for (size_t i = 0; i < m->traffic_count; i++)
        buf_printf(out, "%s%u:%u", i ? "," : "", m->traffic[i].version, m->traffic[i].weight);
}

static void put_versions(struct buf *out, const struct i64s *list)
{
    for (size_t i = 0; i < list->count; i++)
        buf_printf(out, "%s%" PRId64, i ? "," : "", list->at[i]);
}

static bool is_meant(const struct msg_deploy *m, enum setting setting)
{
    return m->changes & 1u << setting;
}

/* Name and value of each setting that is meant; the others stay as they are. */
static void add_settings(struct fcall *call, const struct msg_deploy *m, struct bytes shadow)
{
    const struct {
        enum setting setting;
        const char *name;
        uint32_t value;
    } numbers[] = { { SETTING_INSTANCES, "instances", m->instances },
                    { SETTING_MAX_BATCH, "max_batch", m->max_batch },
                    { SETTING_MAX_BATCH_DELAY, "max_batch_delay_ms", m->max_batch_delay_ms },
                    { SETTING_QUEUE_MAX, "queue_max", m->queue_max } };
    const struct {
        enum setting setting;
        const char *name;
        struct bytes value;
    } texts[] = { { SETTING_POOL, "pool", m->pool },
                  { SETTING_STICKY, "sticky", m->sticky },
                  { SETTING_SHADOW, "shadow", shadow } };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!is_meant(m, numbers[i].setting))
            continue;
        fcall_add_str(call, numbers[i].name);
        fcall_add_number(call, numbers[i].value);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!is_meant(m, texts[i].setting))
            continue;
        fcall_add_str(call, texts[i].name);
        fcall_add(call, texts[i].value);
    }
}

void on_deploy(void *arg, const struct rpc_request *from)
{
    const struct msg_deploy *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_deploy);
    struct buf traffic = { 0 }, shadow = { 0 };
    struct error err;
    struct fcall call;
    if (!r)
        return;
    if (check_deploy(m, &err)) {
        request_refuse(r, &err);
        return;
    }
    put_shares(&traffic, m);
    put_versions(&shadow, &m->shadow);
    fcall_begin(&call, "maas_deploy");
    fcall_add(&call, m->model);
    fcall_add(&call, m->process);
    fcall_add(&call, buf_bytes(&traffic));
    add_settings(&call, m, buf_bytes(&shadow));
    request_ask(r, &call);
    buf_finish(&traffic);
    buf_finish(&shadow);
}

void on_rollback(void *arg, const struct rpc_request *from)
{
    const struct msg_version_ref *m = from->body;
    struct request *r = request_open(arg, from, m->model, answer_deploy);
    struct error err;
    struct fcall call;
    if (!r)
        return;
    enum status st = name_check(m->model, "the model's name", &err);
    if (!st && m->key.len)
        st = name_check(m->key, "the key", &err);
    if (st || check_who(m->process, &err)) {
        request_refuse(r, &err);
        return;
    }
    fcall_begin(&call, "maas_rollback");
    fcall_add(&call, m->model);
    fcall_add(&call, m->process);
    fcall_add(&call, m->key);
    request_ask(r, &call);
}
