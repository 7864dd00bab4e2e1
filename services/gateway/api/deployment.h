/* deployment.h - the JSON of a deployment: what a client may ask for, and what it is shown.
 *
 *     {"version": "2", "instances": 4, "max_batch": 64, "max_batch_delay_ms": 5}
 *
 * version is needed.  A setting that is left out stays as it was, so that a rollout does not
 * change the size of what it rolls out to; 0 takes the default back.  Pure: no I/O.
 */
#ifndef SERVICES_GATEWAY_API_DEPLOYMENT_H
#define SERVICES_GATEWAY_API_DEPLOYMENT_H

#include "services/gateway/api/api.h"

/* body: an object.  Fills version, the settings and which of them are meant.  INVALID: *err names
 * the member, unknown ones too. */
enum status deployment_read(yyjson_val *body, struct msg_version_ref *out,
                            struct error *err) MUST_CHECK;
/* "instances":N,"max_batch":N,"max_batch_delay_ms":N, */
void deployment_put_settings(struct buf *out, const struct msg_deployment *d);

#endif
