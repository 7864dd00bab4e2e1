/* rollout_record.c - a rollout as Redis keeps it (rollouts.lua): its own record, and what each gateway has
 * reported of the step. */
#include "services/registry/records.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>

static struct bytes text_of(const struct redisReply *pairs, const char *name)
{
    return record_text(record_field(pairs, name));
}

static uint64_t number_of(const struct redisReply *pairs, const char *name)
{
    return record_number(record_field(pairs, name));
}

static double fraction_of(const struct redisReply *pairs, const char *name)
{
    char text[32];
    return bytes_copy_str(text_of(pairs, name), text, sizeof text) ? 0 : strtod(text, NULL);
}

/* "100,5000,10000" */
static void read_steps(struct bytes text, struct rollout_record *out)
{
    const char *p = text.data, *end = p + text.len;
    size_t count = 0;
    for (char *stop; p < end && count < MAX_STEPS; p = stop + 1) {
        out->steps[count++] = strtol(p, &stop, 10);
        if (stop == p)
            break;
    }
    out->rollout.steps = (struct i64s){ out->steps, count };
}

/* What cannot be read is left out: the next report is half a second away. */
static void add_report(struct records *r, struct bytes packed, uint64_t latency[LATENCY_SLOTS],
                       struct msg_rollout *out)
{
    const void *body;
    if (!packed.len || msg_unpack(&r->decoder, &schema_rollout_report, packed, &body, NULL))
        return;
    const struct msg_rollout_report *report = body;
    out->requests += report->requests;
    out->errors += report->errors;
    out->slow += report->slow;
    out->overdue += report->overdue;
    out->rejected += report->rejected;
    out->others += report->others;
    out->others_rejected += report->others_rejected;
    for (size_t i = 0; i < report->latency.count && i < LATENCY_SLOTS; i++)
        latency[i] += report->latency.at[i] > 0 ? (uint64_t)report->latency.at[i] : 0;
}

enum status record_rollout(struct records *r, const struct redisReply *reply,
                           struct rollout_record *out)
{
    uint64_t latency[LATENCY_SLOTS] = { 0 };
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return STATUS_CORRUPT;
    const struct redisReply *pairs = reply->element[0], *reports = reply->element[1];
    if (pairs->type != REDIS_REPLY_ARRAY || reports->type != REDIS_REPLY_ARRAY)
        return STATUS_CORRUPT;
    out->rollout = (struct msg_rollout){
        .id = number_of(pairs, "id"),
        .version = (uint32_t)number_of(pairs, "version"),
        .hold_ms = number_of(pairs, "hold_ms"),
        .limits = (uint32_t)number_of(pairs, "limits"),
        .error_rate = fraction_of(pairs, "error_rate"),
        .slow_us = number_of(pairs, "slow_us"),
        .state = (uint32_t)number_of(pairs, "state"),
        .step = (uint32_t)number_of(pairs, "step"),
        .revision = number_of(pairs, "revision"),
        .since_ms = number_of(pairs, "since_ms"),
        .held_ms = number_of(pairs, "held_ms"),
        .away_ms = number_of(pairs, "away_ms"),
        .trouble = text_of(pairs, "trouble"),
        .reason = text_of(pairs, "reason"),
        .who = text_of(pairs, "who"),
        .begun_ms = number_of(pairs, "begun_ms"),
        .ended_ms = number_of(pairs, "ended_ms"),
        .catalog_seq = number_of(pairs, "catalog"),
    };
    read_steps(text_of(pairs, "steps"), out);
    for (size_t i = 0; i < reports->elements; i++)
        add_report(r, record_text(reports->element[i]), latency, &out->rollout);
    out->rollout.p99_us = latency_quantile_us(latency, 0.99);
    return out->rollout.version && out->rollout.steps.count ? STATUS_OK : STATUS_CORRUPT;
}
