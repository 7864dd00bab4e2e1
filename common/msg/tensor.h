/* tensor.h - datatypes of the Open Inference Protocol v2 and the arithmetic of shapes.
 *
 * Tensors are row-major and little-endian.  A BYTES tensor is its elements one
 * after the other, each a uint32 length and that many bytes (the protocol's
 * binary tensor data extension).
 */
#ifndef COMMON_MSG_TENSOR_H
#define COMMON_MSG_TENSOR_H

#include "common/base/bytes.h"
#include "common/msg/limits.h"

/* X(name, number on the wire, bytes per element; 0: varies) */
#define DATATYPE_LIST(X) \
    X(BOOL, 1, 1)        \
    X(UINT8, 2, 1)       \
    X(UINT16, 3, 2)      \
    X(UINT32, 4, 4)      \
    X(UINT64, 5, 8)      \
    X(INT8, 6, 1)        \
    X(INT16, 7, 2)       \
    X(INT32, 8, 4)       \
    X(INT64, 9, 8)       \
    X(FP16, 10, 2)       \
    X(FP32, 11, 4)       \
    X(FP64, 12, 8)       \
    X(BF16, 13, 2)       \
    X(BYTES, 14, 0)

enum datatype {
    DT_NONE = 0,
#define X(name, number, size) DT_##name = number,
    DATATYPE_LIST(X)
#undef X
        DATATYPE_COUNT
};

const char *datatype_name(enum datatype t);        /* "FP32"; "?" for none */
enum datatype datatype_parse(struct bytes name);   /* DT_NONE: no such type */
size_t datatype_size(enum datatype t);             /* 0 for BYTES */
enum datatype datatype_from_wire(unsigned number); /* DT_NONE: unknown */

/* The product of the dimensions; 1 for rank 0.  INVALID: a negative dimension or an overflow. */
enum status shape_elements(const int64_t *shape, size_t rank, uint64_t *elements) MUST_CHECK;

/* Checks that frame holds a tensor of this type and shape: the exact size, and for BYTES
 * that the elements fill the frame.  INVALID with *err naming what is off. */
enum status tensor_check(enum datatype t, const int64_t *shape, size_t rank, struct bytes frame,
                         struct error *err) MUST_CHECK;

/* The next `rows` rows of a tensor that tensor_check has seen; *at: where they begin, 0 at first,
 * moved on behind them. */
struct bytes tensor_cut(enum datatype t, const int64_t *shape, size_t rank, struct bytes frame,
                        uint64_t rows, size_t *at);

/* "[64,3,-1]" */
void shape_text(const int64_t *shape, size_t rank, struct buf *out);

#endif
