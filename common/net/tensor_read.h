/* tensor_read.h - tensors from JSON text (Open Inference Protocol v2, REST).
 *
 * Data may be nested like the shape or flat; both are row-major.  FP16 and BF16 have no JSON
 * form, and neither have BYTES that are not UTF-8.
 */
#ifndef COMMON_NET_TENSOR_READ_H
#define COMMON_NET_TENSOR_READ_H

#include "common/msg/tensor.h"
#include "common/net/frame.h"

struct yyjson_val;

/* Reads the elements of data into a frame of exactly that tensor.  where: the place in the
 * request, for *err ("inputs[0].data"), which names the element too.  A null
 * is NaN, where there is one (FP32, FP64).  INVALID: wrong type, count or range.  Never needs more memory than eight times the JSON text. */
enum status tensor_from_json(struct yyjson_val *data, enum datatype type, const int64_t *shape,
                             size_t rank, const char *where, struct frame *out,
                             struct error *err) MUST_CHECK;

/* The shape of nested arrays, from their first elements; a ragged one is found by
 * tensor_from_json.  INVALID: deeper than MAX_RANK. */
enum status tensor_json_shape(struct yyjson_val *data, int64_t shape[MAX_RANK], size_t *rank,
                              struct error *err) MUST_CHECK;

/* A list of dimensions.  where: of what, for *err.  INVALID. */
enum status tensor_json_dimensions(struct yyjson_val *list, const char *where,
                                   int64_t shape[MAX_RANK], size_t *rank,
                                   struct error *err) MUST_CHECK;

#endif
