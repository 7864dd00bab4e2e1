/* deployment.c - see deployment.h. */
#include "services/gateway/api/deployment.h"

static const struct {
    const char *name;
    uint32_t max;
    size_t asked, shown; /* where it is in version_ref and in deployment */
} settings[SETTING_COUNT] = {
    [SETTING_INSTANCES] = { "instances", MAX_INSTANCES, offsetof(struct msg_version_ref, instances),
                            offsetof(struct msg_deployment, instances) },
    [SETTING_MAX_BATCH] = { "max_batch", MAX_BATCH_ROWS,
                            offsetof(struct msg_version_ref, max_batch),
                            offsetof(struct msg_deployment, max_batch) },
    [SETTING_MAX_BATCH_DELAY] = { "max_batch_delay_ms", MAX_BATCH_DELAY_MS,
                                  offsetof(struct msg_version_ref, max_batch_delay_ms),
                                  offsetof(struct msg_deployment, max_batch_delay_ms) },
};

static enum status read_version(yyjson_val *v, uint32_t *out, struct error *err)
{
    if (yyjson_is_str(v))
        return api_version(bytes_of(yyjson_get_str(v), yyjson_get_len(v)), out, err);
    if (!yyjson_is_uint(v) || yyjson_get_uint(v) == 0 || yyjson_get_uint(v) > UINT32_MAX)
        return error_set(err, STATUS_INVALID,
                         "\"version\" is missing, or no version: {\"version\":\"2\"}");
    *out = (uint32_t)yyjson_get_uint(v);
    return STATUS_OK;
}

static enum status read_setting(yyjson_val *key, yyjson_val *v, struct msg_version_ref *out,
                                struct error *err)
{
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        if (!yyjson_equals_str(key, settings[i].name))
            continue;
        if (!yyjson_is_uint(v) || yyjson_get_uint(v) > settings[i].max)
            return error_set(err, STATUS_INVALID, "\"%s\" must be a number from 0 to %u",
                             settings[i].name, settings[i].max);
        uint32_t value = (uint32_t)yyjson_get_uint(v);
        memcpy((char *)out + settings[i].asked, &value, sizeof value);
        out->changes |= 1u << i;
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID,
                     "a deployment has no \"%.64s\"; it has version, instances, max_batch and "
                     "max_batch_delay_ms",
                     yyjson_get_str(key));
}

enum status deployment_read(yyjson_val *body, struct msg_version_ref *out, struct error *err)
{
    yyjson_val *key;
    yyjson_obj_iter members = yyjson_obj_iter_with(body);
    enum status st = read_version(yyjson_obj_get(body, "version"), &out->version, err);
    while (!st && (key = yyjson_obj_iter_next(&members)))
        if (!yyjson_equals_str(key, "version"))
            st = read_setting(key, yyjson_obj_iter_get_val(key), out, err);
    return st;
}

void deployment_put_settings(struct buf *out, const struct msg_deployment *d)
{
    for (unsigned i = 0; i < SETTING_COUNT; i++) {
        uint32_t value;
        memcpy(&value, (const char *)d + settings[i].shown, sizeof value);
        buf_printf(out, "\"%s\":%u,", settings[i].name, value);
    }
}
