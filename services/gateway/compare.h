/* compare.h - how far the outputs of two versions are apart, for the same inputs.  Pure; any thread.
 *
 * Numbers (truth values count as 0 and 1) are subtracted.  Rows agree or not:
 * - of whole numbers, truth values and strings, a row is one of the first dimension, and agrees when
 *   all of it is equal;
 * - of the first output of floats that has rows of two or more, a row is the last dimension, and
 *   agrees when the largest number, the class, is at the same place.  A NaN is never the largest.
 */
#ifndef SERVICES_GATEWAY_COMPARE_H
#define SERVICES_GATEWAY_COMPARE_H

#include "common/msg/codec.h"
#include "common/msg/tensor.h"

#define COMPARE_GAP_MAX 1e30 /* larger differences count as this one: so their sums stay numbers */

/* What one version has answered: tensors that tensor_check, or who made them, vouches for. */
struct compare_side {
    const struct msg_tensor *tensors;
    const struct bytes *data;
    size_t count;
};

/* Of one output. */
struct comparison {
    bool matched;         /* both have it, with the same type and shape; else all else is 0 */
    uint64_t values;      /* pairs of finite numbers */
    uint64_t not_finite;  /* pairs with a NaN or an infinity */
    double mean, largest; /* absolute difference of those values */
    uint64_t rows, agreeing;
};

/* out: one for each output of a, in its order; b may have others, and more. */
void compare_outputs(const struct compare_side *a, const struct compare_side *b,
                     struct comparison *out);

#endif
