/* deployment.c - see deployment.h. */
#include "services/gateway/api/deployment.h"

#include <assert.h>
#include <math.h>

#define PERCENT 100 /* hundredths of it: weights are parts of SHARES_WHOLE */

static_assert(SHARES_WHOLE == 100 * PERCENT, "weights are no hundredths of a percent");

enum status deployment_version(yyjson_val *v, const struct catalog_model *m, uint32_t *out,
                               struct error *err)
{
    if (yyjson_is_str(v)) {
        struct bytes text = bytes_of(yyjson_get_str(v), yyjson_get_len(v));
        *out = m ? catalog_alias(m, text) : 0;
        return *out ? STATUS_OK : api_version(text, out, err);
    }
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) == 0 || yyjson_get_uint(v) > UINT32_MAX)
        return error_set(err, STATUS_INVALID,
                         "\"version\" is missing, or no version: {\"version\":\"2\"}");
    *out = (uint32_t)yyjson_get_uint(v);
    return STATUS_OK;
}

/* ---- settings ---------------------------------------------------------------------------------- */

static enum status read_number(yyjson_val *v, const char *name, uint32_t max, uint32_t *out,
                               struct error *err)
{
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) > max)
        return error_set(err, STATUS_INVALID, "\"%s\" must be a number from 0 to %u", name, max);
    *out = (uint32_t)yyjson_get_uint(v);
    return STATUS_OK;
}

static enum status read_text(yyjson_val *v, const char *name, struct bytes *out, struct error *err)
{
    if (!yyjson_is_str(v) || yyjson_get_len(v) > MAX_NAME)
        return error_set(err, STATUS_INVALID, "\"%s\" must be a string of at most %d bytes", name,
                         MAX_NAME);
    *out = bytes_of(yyjson_get_str(v), yyjson_get_len(v));
    return STATUS_OK;
}

static enum status read_shadow(yyjson_val *list, const struct catalog_model *m,
                               struct deployment_ask *out, struct error *err)
{
    size_t i, max;
    yyjson_val *v;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MAX_SHADOWS)
        return error_set(err, STATUS_INVALID, "\"shadow\" must be an array of at most %d versions",
                         MAX_SHADOWS);
    yyjson_arr_foreach(list, i, max, v)
    {
        uint32_t version = 0;
        enum status st = deployment_version(v, m, &version, err);
        if (st)
            return st;
        out->shadow[i] = version;
    }
    out->body.shadow = (struct i64s){ out->shadow, yyjson_arr_size(list) };
    return STATUS_OK;
}

static enum status read_setting(yyjson_val *key, yyjson_val *v, const struct catalog_model *m,
                                struct deployment_ask *out, struct error *err)
{
    struct msg_deploy *d = &out->body;
    const struct {
        const char *name;
        uint32_t max;
        uint32_t *number; /* or */
        struct bytes *text;
    } settings[SETTING_COUNT] = {
        [SETTING_INSTANCES] = { "instances", MAX_INSTANCES, &d->instances, NULL },
        [SETTING_MAX_BATCH] = { "max_batch", MAX_BATCH_ROWS, &d->max_batch, NULL },
        [SETTING_MAX_BATCH_DELAY] = { "max_batch_delay_ms", MAX_BATCH_DELAY_MS,
                                      &d->max_batch_delay_ms, NULL },
        [SETTING_QUEUE_MAX] = { "queue_max", MAX_QUEUE, &d->queue_max, NULL },
        [SETTING_POOL] = { "pool", 0, NULL, &d->pool },
        [SETTING_STICKY] = { "sticky", 0, NULL, &d->sticky },
        [SETTING_SHADOW] = { "shadow", 0, NULL, NULL },
    };
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        if (!yyjson_equals_str(key, settings[i].name))
            continue;
        d->changes |= 1u << i;
        if (settings[i].number)
            return read_number(v, settings[i].name, settings[i].max, settings[i].number, err);
        if (settings[i].text)
            return read_text(v, settings[i].name, settings[i].text, err);
        return read_shadow(v, m, out, err);
    }
    return error_set(err, STATUS_INVALID,
                     "a deployment has no \"%.64s\"; it has version or traffic, shadow, sticky, "
                     "pool, instances, max_batch, max_batch_delay_ms and queue_max",
                     yyjson_get_str(key));
}

/* ---- traffic ----------------------------------------------------------------------------------- */

static enum status read_weight(yyjson_val *v, uint32_t *out, struct error *err)
{
    double weight = yyjson_is_num(v) ? yyjson_get_num(v) * PERCENT : -1;
    if (!(weight >= 1 && weight <= SHARES_WHOLE) || fabs(weight - round(weight)) > 1e-6)
        return error_set(err, STATUS_INVALID,
                         "\"weight\" must be a percentage from 0.01 to 100, with two decimals at "
                         "most");
    *out = (uint32_t)lround(weight);
    return STATUS_OK;
}

static enum status read_share(yyjson_val *share, const struct catalog_model *m,
                              struct msg_share *out, struct error *err)
{
    if (!yyjson_is_obj(share))
        return error_set(err, STATUS_INVALID,
                         "\"traffic\" has what is no {\"version\":\"7\",\"weight\":95}");
    yyjson_val *key;
    yyjson_obj_iter members = yyjson_obj_iter_with(share);
    while ((key = yyjson_obj_iter_next(&members)))
        if (!yyjson_equals_str(key, "version") && !yyjson_equals_str(key, "weight"))
            return error_set(err, STATUS_INVALID,
                             "a share of traffic has no \"%.64s\"; it has version and weight",
                             yyjson_get_str(key));
    enum status st = deployment_version(yyjson_obj_get(share, "version"), m, &out->version, err);
    return st ? st : read_weight(yyjson_obj_get(share, "weight"), &out->weight, err);
}

static enum status read_traffic(yyjson_val *list, const struct catalog_model *m,
                                struct deployment_ask *out, struct error *err)
{
    size_t i, max;
    yyjson_val *v;
    if (!yyjson_is_arr(list) || !yyjson_arr_size(list) || yyjson_arr_size(list) > MAX_SHARES)
        return error_set(
            err, STATUS_INVALID,
            "\"traffic\" must be an array of 1 to %d {\"version\":\"7\",\"weight\":95}",
            MAX_SHARES);
    yyjson_arr_foreach(list, i, max, v)
    {
        enum status st = read_share(v, m, &out->traffic[i], err);
        if (st)
            return st;
    }
    out->body.traffic = out->traffic;
    out->body.traffic_count = yyjson_arr_size(list);
    return STATUS_OK;
}

enum status deployment_read(yyjson_val *body, const struct catalog_model *m,
                            struct deployment_ask *out, struct error *err)
{
    yyjson_val *key, *traffic = yyjson_obj_get(body, "traffic");
    yyjson_val *version = yyjson_obj_get(body, "version");
    yyjson_obj_iter members = yyjson_obj_iter_with(body);
    if (traffic && version)
        return error_set(err, STATUS_INVALID, "\"version\" and \"traffic\" exclude each other");
    enum status st = traffic ? read_traffic(traffic, m, out, err)
                             : deployment_version(version, m, &out->body.version, err);
    while (!st && (key = yyjson_obj_iter_next(&members)))
        if (!yyjson_equals_str(key, "version") && !yyjson_equals_str(key, "traffic"))
            st = read_setting(key, yyjson_obj_iter_get_val(key), m, out, err);
    return st;
}
