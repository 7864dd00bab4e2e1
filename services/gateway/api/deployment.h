/* deployment.h - the JSON of a deployment that a client asks for.
 *
 *     {"traffic": [{"version": "7", "weight": 95}, {"version": "8", "weight": 5}],
 *      "shadow": ["9"], "sticky": "header:x-user-id", "pool": "gold", "instances": 4,
 *      "max_batch": 64, "max_batch_delay_ms": 5, "queue_max": 200}
 *
 * traffic, or "version" for one that gets all, is needed; a version is a number or an alias of the
 * model.  Weights are percents with at most two decimals.  A setting that is left out stays as it
 * was, so that a rollout does not change the size of what it rolls out to; 0, "" or [] takes the
 * default back.  Pure: no I/O.
 */
#ifndef SERVICES_GATEWAY_API_DEPLOYMENT_H
#define SERVICES_GATEWAY_API_DEPLOYMENT_H

#include "services/gateway/api/api.h"

/* The request for the registry, and where its lists are. */
struct deployment_ask {
    struct msg_deploy body;
    struct msg_share traffic[MAX_SHARES];
    int64_t shadow[MAX_SHADOWS];
};

/* A version's number, or an alias of m, which may be NULL.  INVALID. */
enum status deployment_version(yyjson_val *v, const struct catalog_model *m, uint32_t *out,
                               struct error *err) MUST_CHECK;
/* body: an object, which *out borrows from.  m: whose aliases are known, or NULL.  Fills versions,
 * settings, and which of these are meant.  INVALID: *err names the member, unknown ones too.
 * What the registry refuses (weights that do not sum, unknown versions) is not looked at here. */
enum status deployment_read(yyjson_val *body, const struct catalog_model *m,
                            struct deployment_ask *out, struct error *err) MUST_CHECK;

#endif
