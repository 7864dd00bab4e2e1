/* kernels.h - the innermost loops of gradient descent, for the vectors that the processor has.
 *
 * OpenBLAS does the large products.  A step of a small network is a microsecond of arithmetic, and
 * there the way into a library costs more than the product: these loops have no set-up.  All
 * matrices are row-major; widths and strides are multiples of KERNEL_LANES, and what fills a row
 * up to its stride is zero, so that no loop has a tail.  Nothing here allocates or fails.
 */
#ifndef SERVICES_TRAINER_KERNELS_H
#define SERVICES_TRAINER_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KERNEL_LANES  16 /* floats of the longest vector */
#define KERNEL_LEVELS 3

enum activation { ACTIVATION_RELU, ACTIVATION_GELU, ACTIVATION_TANH };

/* c[rows x width] = a[rows x depth] * b[depth x width], plus c itself where add is set, else plus
 * the bias of each column where there is one.  a is read at a[row * a_row + k * a_depth]: with the
 * two exchanged it is transposed. */
struct product {
    size_t rows, width, depth;
    const float *a;
    size_t a_row, a_depth;
    const float *b;
    size_t b_stride;
    const float *bias; /* width; or NULL */
    float *c;
    size_t c_stride;
    bool add;
};

/* What an optimiser does with a gradient. */
struct rates {
    float lr;
    float scale;    /* of the gradient, when it is clipped; else 1 */
    float l1, l2;   /* added to the gradient */
    float momentum; /* the part of the speed that stays */
    bool nesterov;  /* looks one step ahead */
    float decay;    /* of AdamW: taken from the weights beside the gradient */
    float b1, b2;   /* of Adam: the parts of the moments that stay */
    float c1, c2;   /* 1 / (1 - b^t): what the moments lack in the first steps */
};

struct kernels {
    const char *name;
    void (*multiply)(const struct product *p);
    /* to[columns x to_stride] = the transposed from[rows x from_stride] */
    void (*transpose)(const float *from, size_t rows, size_t columns, size_t from_stride, float *to,
                      size_t to_stride);
    void (*standardise)(const float *x, const float *mean, const float *scale, size_t count,
                        float *out);
    void (*standardise_bytes)(const unsigned char *x, const float *mean, const float *scale,
                              size_t count, float *out);
    /* x = f(x); slope, which may be NULL, becomes f'(x). */
    void (*activate)(enum activation f, float *x, float *slope, size_t count);
    /* Inverted dropout of x, and of slope: the element `first + i` stays where the hash of key and
     * number is at least `least`, and is then multiplied by `scale`. */
    void (*drop)(float *x, float *slope, size_t count, uint32_t key, uint32_t first, uint32_t least,
                 float scale);
    void (*scale_by)(float *x, const float *by, size_t count); /* x *= by */
    void (*rectify)(float *x, const float *by, size_t count);  /* x = 0 where by <= 0 */
    void (*add_rows)(const float *x, size_t rows, size_t width, size_t stride, bool add,
                     float *sum); /* sum (+)= the sum of the rows */
    /* The row's probabilities in its place; the logarithm of the sum of exp(row). */
    float (*softmax)(float *row, size_t width, size_t stride);
    void (*descend)(float *theta, const float *gradient, float *speed, size_t count,
                    const struct rates *r);
    void (*adam)(float *theta, const float *gradient, float *first, float *second, size_t count,
                 const struct rates *r);
};

/* The best that this processor can. */
const struct kernels *kernels_best(void);
/* For tests: NULL where this processor cannot.  0 is what every one can. */
const struct kernels *kernels_level(unsigned level);

/* A row's length in memory. */
static inline size_t kernel_stride(size_t width)
{
    return (width + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

#endif
