/* tensor_json.h - tensors from JSON text and back (Open Inference Protocol v2, REST).
 *
 * Data may be nested like the shape or flat; both are row-major.  FP16 and BF16 have no JSON
 * form, and neither have BYTES that are not UTF-8.  A number that is not finite has none
 * either: it is written as null.
 */
#ifndef SERVICES_GATEWAY_TENSOR_JSON_H
#define SERVICES_GATEWAY_TENSOR_JSON_H

#include "common/msg/tensor.h"
#include "common/net/sock.h"

struct yyjson_val;

/* Reads the elements of data into a frame of exactly that tensor.  where: the place in the
 * request, for *err ("inputs[0].data"), which names the element too.  INVALID: wrong type, count
 * or range.  Never needs more memory than eight times the JSON text. */
enum status tensor_from_json(struct yyjson_val *data, enum datatype type, const int64_t *shape,
                             size_t rank, const char *where, struct frame *out,
                             struct error *err) MUST_CHECK;

/* The shape of nested arrays, from their first elements; a ragged one is found by
 * tensor_from_json.  INVALID: deeper than MAX_RANK. */
enum status tensor_json_shape(struct yyjson_val *data, int64_t shape[MAX_RANK], size_t *rank,
                              struct error *err) MUST_CHECK;

/* Appends the data: flat, or nested like the shape.  INVALID: it has no JSON form. */
enum status tensor_to_json(struct buf *out, enum datatype type, const int64_t *shape, size_t rank,
                           struct bytes data, bool nested, struct error *err) MUST_CHECK;

/* Quoted and escaped (RFC 8259 section 7); what is not UTF-8 becomes U+FFFD. */
void json_string(struct buf *out, struct bytes text);

#endif
