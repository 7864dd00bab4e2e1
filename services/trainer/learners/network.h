/* network.h - layers of weights with an activation in between: a linear model is one layer.
 *
 * Inputs are raw features: their standardisation (x - mean) * scale is a part of the model, and so
 * is the way back from the standardised values that a regression learns.  A finished model is
 * packed; while it learns, its rows are padded for the kernels (kernels.h).
 */
#ifndef SERVICES_TRAINER_NETWORK_H
#define SERVICES_TRAINER_NETWORK_H

#include "services/trainer/learner.h"
#include "services/trainer/learners/kernels.h"

#define MAX_HIDDEN       PARAM_LIST_MAX
#define MAX_HIDDEN_UNITS 16384
#define MAX_LAYERS       (MAX_HIDDEN + 1)
#define MAX_WEIGHTS      (64u << 20)  /* of one network; training needs up to six times that */
#define MAX_ACTIVATIONS  (256u << 20) /* units of all layers x rows of a batch */

/* What is minimised, and with it what comes out. */
enum loss {
    LOSS_AUTO,    /* only as a parameter: what fits the table */
    LOSS_SOFTMAX, /* cross-entropy; probabilities of the classes */
    LOSS_BINARY,  /* cross-entropy of one sigmoid; probabilities of two classes */
    LOSS_SQUARED, /* half the square; values */
    LOSS_HUBER,   /* half the square near 0, linear beyond; values */
};

struct layer {
    size_t in, out, stride; /* stride: of a row of w */
    float *w;               /* in x stride, row-major */
    float *b;               /* stride */
};

struct network {
    size_t features, outputs; /* outputs: of the last layer */
    enum activation activation;
    enum loss loss;
    size_t layers_count;
    struct layer layers[MAX_LAYERS]; /* w and b are within theta */
    float *theta;                    /* all numbers that are learnt; what pads rows is 0 */
    size_t count;
    float *mean, *scale;               /* features */
    float *target_mean, *target_scale; /* outputs; of values */
};

struct network_shape {
    size_t features, outputs;
    const uint32_t *hidden;
    size_t hidden_count;
    enum activation activation;
    enum loss loss;
};

/* Zeroed floats at an address for the kernels; free() frees them. */
float *network_floats(size_t count);

/* TOO_LARGE: such a network would not fit.  Before network_init. */
enum status network_check(const struct network_shape *s, uint32_t batch,
                          struct error *err) MUST_CHECK;
/* Weights 0, mean 0 and scale 1. */
void network_init(struct network *n, const struct network_shape *s, bool padded);
/* The same model, padded or not. */
void network_copy_shape(struct network *n, const struct network *from, bool padded);
/* The numbers of theta; the two may be padded differently. */
void network_copy_theta(struct network *to, const struct network *from);
void network_finish(struct network *n); /* zeroed is fine */

/* He's initialisation for ReLU and GELU, Glorot's for tanh; biases 0. */
void network_randomise(struct network *n, uint64_t seed);
/* Fits mean and scale on the rows to learn from: per feature, or one pair for all (images); and those
 * of the values, if there are any.  false: the lesson is cancelled. */
bool network_standardise(struct network *n, const struct lesson *lesson) MUST_CHECK;

/* The answers for `count` raw rows of x (count x features), as wide as the table's classes or
 * values. */
void network_predict(const struct network *n, const float *x, size_t count, float *out);

/* Adds the standardisation, the layers and what turns their last output into answers: training and
 * serving cannot drift apart. */
void network_export(const struct network *n, struct onnx_graph *graph, const char *input,
                    const char *output);

static inline bool network_has_classes(const struct network *n)
{
    return n->loss == LOSS_SOFTMAX || n->loss == LOSS_BINARY;
}

#endif
