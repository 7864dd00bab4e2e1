/* tensor_json.h - tensors to JSON text (Open Inference Protocol v2, REST); tensor_read.h is the way
 * back.  A number that is not finite has no JSON form: it is written as null.
 */
#ifndef SERVICES_GATEWAY_TENSOR_JSON_H
#define SERVICES_GATEWAY_TENSOR_JSON_H

#include "common/net/sock.h"
#include "common/net/tensor_read.h"

/* Appends the data: flat, or nested like the shape.  INVALID: it has no JSON form. */
enum status tensor_to_json(struct buf *out, enum datatype type, const int64_t *shape, size_t rank,
                           struct bytes data, bool nested, struct error *err) MUST_CHECK;

/* Quoted and escaped (RFC 8259 section 7); what is not UTF-8 becomes U+FFFD. */
void json_string(struct buf *out, struct bytes text);

#endif
