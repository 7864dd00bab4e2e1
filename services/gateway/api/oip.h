/* oip.h - what the files of the Open Inference Protocol v2 share: oip.c (server, models),
 * oip_request.c and oip_answer.c (infer), oip_models.c (config, statistics, repository). */
#ifndef SERVICES_GATEWAY_API_OIP_H
#define SERVICES_GATEWAY_API_OIP_H

#include "services/gateway/api/infer.h"

#define OIP_PLATFORM_ONNX "onnxruntime_onnx"

/* The version or alias in the path, 0 for the plain name.  false: it has been answered. */
bool oip_version(struct call *c, uint32_t *version);
/* The model and version of the path; the one that serves for the plain name.  NULL: answered. */
const struct msg_version *oip_model(struct call *c, struct catalog_model **model);

void oip_infer(struct call *c);
infer_write_fn oip_write;

/* The `classes` largest of each row, as BYTES "value:index" with their shape.  INVALID: the type
 * has no order. */
enum status oip_classify(const struct msg_tensor *t, struct bytes data, bool batchable,
                         uint32_t classes, struct buf *out, int64_t shape[2], size_t *rank,
                         struct error *err) MUST_CHECK;

#endif
