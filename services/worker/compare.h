/* compare.h - is a tensor what was expected?  Pure.
 *
 * Whole numbers, truth values and strings must be equal.  Floats may differ by atol + rtol * the
 * expected one; a NaN is expected where the number is not finite, whatever it is then (JSON has one
 * word, null, for all of these).
 */
#ifndef SERVICES_WORKER_COMPARE_H
#define SERVICES_WORKER_COMPARE_H

#include "common/msg/tensor.h"

struct tolerance {
    double rtol, atol;
};

/* A tensor that tensor_check, or who made it, vouches for. */
struct compared {
    enum datatype type;
    const int64_t *shape;
    size_t rank;
    struct bytes data;
};

/* INVALID: *err says what differs, and where.  name: of the tensor, for *err. */
enum status compare_tensors(const char *name, const struct compared *got,
                            const struct compared *expected, const struct tolerance *tolerance,
                            struct error *err) MUST_CHECK;

#endif
